"""Owners and curators look at what labels are worth, and let people in."""

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, BrowserContext, Page, expect

from annotations.models import Annotator, GoldPair
from tests import factories
from tests.e2e.conftest import sign_in
from tests.scenarios import Scene

SIZES = {"desk": (1440, 900), "phone": (390, 844)}


@pytest.fixture
def crowd(scene: Scene) -> list[Annotator]:
    """Three people who have labelled all pairs: hasty by side and in no time, bo with care, and
    cleo, who contradicts him now and then."""
    people = [factories.annotator(scene.dataset, name) for name in ("hasty", "bo", "cleo")]
    for number, pair in enumerate(scene.dataset.pairs.order_by("pk")):
        first = "ab"[number % 2]
        for place, by in enumerate(people):
            careful = "b" if place == 2 and number % 4 == 0 else "a"
            factories.put(
                by,
                pair,
                careful if place else first,
                is_gold=number < 12,
                shown_first=first,
                seconds=20.0 if place else 1.5,
                strength=2,
            )
        if number < 12:
            GoldPair.objects.create(pair=pair, dataset=scene.dataset, preference="a")
    scene.dataset.standings.count_voices()
    return people


@pytest.fixture
def at(page: Page, context: BrowserContext, live_server: Any, scene: Scene) -> Any:
    """Opens an address of the scene's dataset as its owner."""
    sign_in(context, live_server, scene.owner)

    def go(path: str) -> Page:
        page.goto(f"{live_server.url}/datasets/scene/{path}")
        return page

    return go


def test_an_owner_lets_somebody_in_and_they_come_in(
    at: Any, browser: Browser, live_server: Any, scene: Scene, troubles: list[str]
) -> None:
    page = at("people/")
    page.get_by_label("Username").fill("dana")
    page.get_by_label("Full name").fill("Dana Duval")
    page.get_by_role("button", name="Invite").click()
    link = page.get_by_label("Sign-in link", exact=True)
    address = link.input_value()
    assert address.startswith(f"{live_server.url}/sign-in/")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    theirs = browser.new_context().new_page()
    theirs.goto(address)
    theirs.get_by_role("button", name="Continue as Dana Duval").click()
    expect(theirs.get_by_role("link", name="Scene", exact=True)).to_be_visible()
    theirs.context.close()
    page = at("people/")
    expect(page.get_by_label("Sign-in link", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Deactivate Dana Duval").click()
    expect(page.get_by_text("Dana Duval sees nothing more of this dataset")).to_be_visible()
    page.get_by_role("button", name="Reactivate Dana Duval").click()
    expect(page.get_by_role("button", name="Deactivate Dana Duval")).to_be_visible()


@pytest.mark.usefixtures("crowd")
def test_the_team_is_read_sorted_and_followed_to_one_annotator(
    at: Any, troubles: list[str]
) -> None:
    page = at("team/")
    expect(page.get_by_text("prefers the first response")).to_be_visible()
    page.get_by_role("columnheader", name="Under 3 s").get_by_role("link").click()
    expect(page.locator("table.annotators tbody th").first).to_have_text("hasty")
    page.get_by_role("columnheader", name="Under 3 s").get_by_role("link").click()
    expect(page.locator("table.annotators tbody th").first).not_to_have_text("hasty")
    page.get_by_label("Pairs").select_option("dispute")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("annotators on")).to_be_visible()
    page.locator("table.annotators").get_by_role("link", name="hasty").click()
    expect(page.get_by_role("heading", name="hasty")).to_be_visible()
    expect(page.get_by_role("heading", name="Over time")).to_be_visible()


@pytest.mark.usefixtures("crowd")
def test_the_consensus_comes_in_place_and_leads_to_its_own_page(
    at: Any, troubles: list[str]
) -> None:
    page = at("team/?part=undecided")
    section = page.locator("#consensus")
    expect(section.get_by_role("row", name="Reliability")).to_be_visible()
    section.get_by_role("link", name="By flag, status or strength").click()
    expect(page.get_by_role("heading", name="Agreement and consensus")).to_be_visible()
    expect(page.get_by_label("Pairs")).to_have_value("undecided")
    page.get_by_label("Flag").select_option("clear")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_label("Flag")).to_have_value("clear")
    expect(page.locator("#consensus").get_by_role("row", name="Reliability")).to_be_visible()


@pytest.mark.usefixtures("crowd")
def test_without_scripts_the_pages_say_the_same(
    browser: Browser, live_server: Any, scene: Scene
) -> None:
    context = browser.new_context(java_script_enabled=False)
    sign_in(context, live_server, scene.owner)
    page = context.new_page()
    page.goto(f"{live_server.url}/datasets/scene/team/?sort=-quick")
    expect(page.locator("table.annotators tbody th").first).to_have_text("hasty")
    page.get_by_role("link", name="What the labels come to, pair by pair").click()
    expect(page.locator("#consensus").get_by_role("row", name="Reliability")).to_be_visible()
    page.goto(f"{live_server.url}/datasets/scene/people/")
    page.get_by_label("Username").fill("dana")
    page.get_by_role("button", name="Invite").click()
    expect(page.get_by_label("Sign-in link", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Copy")).to_be_hidden()
    context.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_of_the_team_fits_and_is_accessible(
    browser: Browser,
    live_server: Any,
    scene: Scene,
    crowd: list[Annotator],
    accessible: Callable[[Page], None],
    size: str,
    theme: Any,
) -> None:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    visits = [
        (scene.owner, reverse("annotations:team", args=["scene"])),
        (scene.owner, reverse("annotations:people", args=["scene"])),
        (scene.owner, reverse("annotations:annotator", args=["scene", crowd[0].pk])),
        (scene.owner, reverse("scoring:agreement", args=["scene"])),
        (scene.annotator, reverse("annotations:own-figures", args=["scene"])),
    ]
    for person, address in visits:
        sign_in(context, live_server, person)
        page.goto(live_server.url + address)
        expect(page.locator("main")).to_be_visible()
        expect(page.locator("#consensus[hx-get]")).to_have_count(0)  # it is fetched by now
        for details in page.locator("details").all():
            details.evaluate("element => { element.open = true }")
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{address} is {overflow} px too wide"
        accessible(page)
        assert troubles == [], address
    context.close()
