"""The list of pairs in a browser: by keyboard, with a pair beside it, by facets and saved views."""

import re
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from annotations import decisions
from annotations.models import SavedView, Verdict
from tests.e2e.conftest import sign_in
from tests.scenarios import Scene


@pytest.fixture
def at(
    page: Page, context: BrowserContext, live_server: Any, scene: Scene, troubles: list[str]
) -> Any:
    """Opens an address of the scene's dataset as its curator."""
    sign_in(context, live_server, scene.curator)

    def go(path: str) -> Page:
        page.goto(f"{live_server.url}/datasets/scene/{path}")
        return page

    return go


def test_pairs_are_gone_through_by_keyboard(at: Any, scene: Scene, accessible: Any) -> None:
    page = at("pairs/")
    labelled = scene.dataset.standings.filter(strength__isnull=False)
    weakest = list(labelled.order_by("strength", "pk")[:3])
    page.keyboard.press("j")
    expect(page.locator("tr.chosen")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#panel h2")).to_have_text(f"Pair {weakest[0].pk}")
    expect(page.locator("#panel .evidence")).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator("#panel h2")).to_have_text(f"Pair {weakest[1].pk}")
    expect(page.locator("#panel")).to_contain_text("Of the same prompt")
    accessible(page)
    page.keyboard.press("k")
    expect(page.locator("#panel h2")).to_have_text(f"Pair {weakest[0].pk}")
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    expect(page.locator("tr.chosen a").first).to_be_focused()
    page.keyboard.press("r")
    expect(page).to_have_url(re.compile(rf"/pairs/{weakest[0].pk}/\?queue=list"))


def test_a_facet_narrows_and_a_chip_widens(at: Any, scene: Scene, accessible: Any) -> None:
    page = at("pairs/?status=undecided")
    flipped = scene.dataset.standings.filter(flag="flipped").count()
    facet = page.locator(".facets").get_by_role("link", name="likely flipped")
    facet.click()
    expect(page.locator("#pair-count")).to_contain_text(f"{flipped} pair")
    expect(page.locator(".chips")).to_contain_text("flag likely flipped")
    expect(page.locator(".facets [aria-current]").first).to_be_visible()
    accessible(page)
    page.locator(".chip", has_text="likely flipped").click()
    expect(page.locator(".chips")).not_to_contain_text("likely flipped")


def test_the_list_follows_what_is_typed(at: Any, scene: Scene) -> None:
    page = at("pairs/")
    page.get_by_label("Text").fill("Question 7")
    expect(page.locator("#pair-rows tr")).to_have_count(1)
    expect(page).to_have_url(re.compile("text=Question"))
    page.get_by_text("More filters").click()
    page.get_by_label("Turns from").fill("3")
    page.get_by_label("Turns from").blur()
    expect(page.get_by_role("heading", name="No pair matches")).to_be_visible()


def test_the_address_holds_what_was_set_alone(at: Any, scene: Scene) -> None:
    page = at("pairs/")
    page.get_by_label("Flag", exact=True).select_option("flipped")
    expect(page).to_have_url(re.compile(r"/pairs/\?flag=flipped$"))
    page.get_by_text("More filters").click()
    page.get_by_label("Turns to").fill("3")
    page.get_by_label("Turns to").blur()
    expect(page).to_have_url(re.compile(r"/pairs/\?flag=flipped&turns_to=3$"))
    page.get_by_label("Order").select_option("-strength")
    expect(page).to_have_url(re.compile(r"/pairs/\?flag=flipped&order=-strength&turns_to=3$"))
    page.get_by_label("Order").select_option("strength")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page).to_have_url(re.compile(r"/pairs/\?flag=flipped&turns_to=3$"))


def test_the_list_fits_beside_an_open_pair(at: Any, scene: Scene) -> None:
    decisions.decide(
        pair=scene.dataset.standings.order_by("strength")[0].pair,
        verdict=Verdict.KEEP,
        by=scene.curator,
        based_on=None,
    )
    page = at("pairs/")
    page.locator("#pair-rows .excerpt > a").first.click()
    expect(page.locator("#panel .evidence")).to_be_visible()
    table = page.locator(".explore-list .table-wrap")
    assert table.evaluate("element => element.scrollWidth <= element.clientWidth")


def test_a_filter_is_saved_and_opened_by_its_name(at: Any, scene: Scene) -> None:
    page = at("pairs/?flag=flipped")
    page.locator(".views summary").click()
    page.get_by_label("Name of a view of this filter").fill("Suspects")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Suspects")).to_be_visible()
    assert SavedView.objects.get().query == "flag=flipped"
    page = at("pairs/")
    page.locator(".views summary").click()
    page.get_by_role("link", name="Suspects").click()
    expect(page.locator(".chips")).to_contain_text("flag likely flipped")


def test_the_list_works_on_a_phone(at: Any, page: Page, accessible: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    at("pairs/?flag=flipped")
    expect(page.locator(".facets")).to_contain_text("likely flipped")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#pair-rows .excerpt > a").first.click()
    expect(page.locator("#panel")).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="Close the pair").click()
    expect(page.locator("#panel")).to_be_hidden()
