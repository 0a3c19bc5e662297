"""A curator sets up labelling and settles disputes, with the keyboard."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from annotations import commenting, golds, rounds
from annotations.models import Dataset, Label, PreferencePair, Round
from curator.models import User
from tests import factories
from tests.e2e.conftest import sign_in

NAMES = ("ann", "ben", "cleo", "dan")
PAGES = (
    "labelling/",
    "labelling/rules/",
    "labelling/gold/",
    "rounds/new/",
    "disputes/",
    "disputes/end/",
)


@pytest.fixture
def casey(transactional_db: Any) -> User:
    return factories.user("casey")


@pytest.fixture
def divided(casey: User) -> Dataset:
    """Four pairs in dispute, the most contested first, with reasons and marks; a round, a gold and
    a practice pair."""
    into = factories.dataset("divided", curators=[casey])
    votes = (("a", "b", "a", "b"), ("a", "b"), ("b", "a"), ("a", "b", "a"), ("a", "a"))
    rows = [
        factories.row(
            number,
            labels=[
                {"annotator": name, "label": said, "rationale": f"{name} says why"}
                for name, said in zip(NAMES, labels, strict=False)
            ],
        )
        for number, labels in enumerate(votes)
    ]
    factories.imported(into, rows)
    gil = factories.annotator(into, "gil")
    marks = [{"response": "a", "start": 2, "end": 6, "mark": "good"}]
    Label.objects.create(pair=pair_of(into, 0), annotator=gil, preference="tie", spans=marks)
    factories.opened_round(into, name="Pilot", labels=2)
    golds.mark(pair=pair_of(into, 4), preference="a", by=casey)
    taught = pair_of(into, 3)
    golds.mark(pair=taught, preference="a", by=casey, explanation="A answers.", is_practice=True)
    return into


@pytest.fixture
def at(
    page: Page, context: BrowserContext, live_server: Any, divided: Dataset, troubles: list[str]
) -> Callable[[str], Page]:
    """Opens an address of the dataset as its curator."""
    sign_in(context, live_server, User.objects.get(username="casey"))

    def go(path: str) -> Page:
        page.goto(f"{live_server.url}/datasets/divided/{path}")
        return page

    return go


def pair_of(dataset: Dataset, number: int) -> PreferencePair:
    return dataset.pairs.get(source_id=f"pair-{number}")


def expect_pair(page: Page, number: int) -> None:
    expect(page.locator("#review .prompt-scroll .text")).to_have_text(f"Question {number}?")


def verdict_of(dataset: Dataset, number: int) -> str:
    return str(pair_of(dataset, number).standing.verdict)


def test_disputes_are_settled_skipped_and_taken_back_by_keys(at: Any, divided: Dataset) -> None:
    page = at("disputes/")
    expect_pair(page, 0)
    expect(page.get_by_text("dan says why")).to_be_visible()
    expect(page.locator(".span-mark.good").first).to_have_text("good")
    page.keyboard.press("b")
    expect_pair(page, 1)
    expect(page.locator("#announcer")).to_contain_text("Question 1?")
    page.keyboard.press("s")
    expect_pair(page, 2)
    page.keyboard.press("u")
    expect_pair(page, 1)
    page.keyboard.press("r")
    page.keyboard.type("a tie it is, b")
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    expect_pair(page, 2)
    page.keyboard.press("d")
    expect_pair(page, 3)
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="Nobody contradicts anybody")).to_be_visible()
    assert [verdict_of(divided, number) for number in range(4)] == ["b", "keep", "drop", "keep"]
    assert pair_of(divided, 1).decisions.get().reason == "a tie it is, b"
    page.keyboard.press("u")
    expect_pair(page, 3)
    assert verdict_of(divided, 3) == ""


def test_the_curator_comments_asks_one_more_and_looks_at_the_models_last(
    at: Any, divided: Dataset
) -> None:
    pair = pair_of(divided, 0)
    factories.judged(divided, {pair.pk: (-1.5, "flipped")})
    page = at("disputes/")
    expect(page.get_by_text("likely flipped")).to_have_count(0)
    page.keyboard.press("e")
    expect(page.get_by_text("likely flipped")).to_be_visible()
    page.keyboard.press("c")
    page.keyboard.type("Both are odd")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#comments")).to_contain_text("casey")
    expect(page.locator(".comment-text")).to_have_text("Both are odd")
    page.locator("h2", has_text="A").first.click()  # out of the field
    page.keyboard.press("o")
    expect(page.locator("#second-opinion summary").first).to_contain_text("1 asked for")
    assert Round.objects.filter(pair=pair).count() == 1
    page.keyboard.press("s")
    expect_pair(page, 1)
    page = at("disputes/")
    expect_pair(page, 1)  # the first waits for one more opinion


def test_marks_are_turned_off_and_on(at: Any, divided: Dataset) -> None:
    page = at("disputes/")
    expect(page.locator(".span-mark").first).to_be_visible()
    page.keyboard.press("w")
    expect(page.locator(".span-mark").first).not_to_be_visible()
    expect(page.locator(".formatted").nth(1)).to_be_visible()
    page.keyboard.press("w")
    expect(page.locator(".span-mark").first).to_be_visible()


def test_what_stands_beside_a_pair_leaves_the_page_where_it_is(at: Any, divided: Dataset) -> None:
    page = at(f"pairs/{pair_of(divided, 0).pk}/")
    page.set_viewport_size({"width": 1440, "height": 420})
    page.get_by_text("Use as a gold or practice pair").click()
    page.get_by_label("What is right").select_option("b")
    page.get_by_label("Why").fill("B is short.")
    button = page.get_by_role("button", name="Hold for right")
    button.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    assert before > 0
    button.click()
    expect(page.locator("#gold summary")).to_contain_text("B is right")
    assert page.evaluate("scrollY") > 0
    assert golds.known_of(pair_of(divided, 0)) is not None


def test_the_list_of_pairs_leads_to_a_round_and_the_count_follows_the_filter(
    at: Any, divided: Dataset
) -> None:
    page = at("pairs/?text=Question")
    page.get_by_role("link", name="Have these labelled").click()
    expect(page.locator("#round-pairs")).to_contain_text("5 pairs now")
    page.get_by_label("Text").fill("Question 3")
    expect(page.locator("#round-pairs")).to_contain_text("1 pair now")
    page.get_by_label("Name").fill("Only one")
    page.get_by_label("Labels per pair").fill("2")
    page.get_by_role("button", name="Open the round").click()
    expect(page.get_by_role("heading", name="Only one")).to_be_visible()
    expect(page.get_by_text("being filled")).to_be_visible()
    row = Round.objects.get(name="Only one")
    assert row.filter == {"conditions": [{"field": "text", "contains": "Question 3"}]}
    assert row.labels_per_pair == 2


def test_guidelines_are_previewed_while_one_writes(at: Any, divided: Dataset) -> None:
    page = at("labelling/rules/")
    page.get_by_label("In Markdown").fill("Prefer **truth**.")
    expect(page.locator("#guidelines-preview strong")).to_have_text("truth")
    page.get_by_label("Aspects").fill("helpful\nhonest")
    page.get_by_role("button", name="Keep the rules").click()
    expect(page.get_by_text("The rules are kept")).to_be_visible()
    divided.refresh_from_db()
    assert divided.aspects == ["helpful", "honest"]


def test_labels_are_downloaded(at: Any, divided: Dataset) -> None:
    page = at("labelling/")
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON lines").first.click()
    assert download.value.suggested_filename == "divided-labels.jsonl"
    assert len(download.value.path().read_text().splitlines()) == 14


def test_without_scripts_the_buttons_do_the_same(
    browser: Browser, live_server: Any, divided: Dataset, casey: User
) -> None:
    context = browser.new_context(java_script_enabled=False)
    sign_in(context, live_server, casey)
    page = context.new_page()
    page.goto(f"{live_server.url}/datasets/divided/disputes/")
    page.locator("#comments summary").click()
    page.get_by_placeholder("Comment on this pair").fill("Hm.")
    page.get_by_role("button", name="Comment").click()
    expect(page.locator(".comment-text")).to_have_text("Hm.")
    page.get_by_role("button", name="B better").click()
    expect_pair(page, 1)
    page.get_by_role("button", name="Undo").click()
    expect_pair(page, 0)
    assert [found.verdict for found in pair_of(divided, 0).decisions.order_by("pk")] == ["b", ""]
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible(
    at: Any, divided: Dataset, casey: User, accessible: Callable[[Page], None], theme: Any
) -> None:
    pair = pair_of(divided, 0)
    commenting.comment(pair=pair, by=casey, text="Look.")
    rounds.second_opinion(pair=pair_of(divided, 2), by=casey)
    factories.judged(divided, {pair.pk: (-1.5, "flipped")})
    for path in (*PAGES, f"pairs/{pair.pk}/"):
        page = at(path)
        page.emulate_media(color_scheme=theme)
        page = at(path)
        for summary in page.locator("details > summary").all():
            if summary.is_visible():
                summary.click()
        fetched_when_opened = page.locator(".machine-said > noscript, .similar-pairs > a")
        expect(page.locator("details[open]").filter(has=fetched_when_opened)).to_have_count(0)
        accessible(page)


def test_on_a_phone_nothing_is_wider_than_the_screen(at: Any, divided: Dataset) -> None:
    for path in (*PAGES, f"pairs/{pair_of(divided, 0).pk}/"):
        page = at(path)
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
