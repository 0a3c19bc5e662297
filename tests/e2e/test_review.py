"""A curator at work, with the keyboard."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from annotations.models import PreferencePair, Verdict
from curator import sign_in_links
from tests import factories
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


def queue_of(scene: Scene) -> list[PreferencePair]:
    return list(scene.dataset.pairs.queued_for_review())


def prompt_of(pair: PreferencePair) -> str:
    return str(pair.prompt[-1]["content"])


def expect_pair(page: Page, pair: PreferencePair) -> None:
    expect(page.locator("#review .prompt-scroll .text")).to_have_text(prompt_of(pair))


def verdict_of(pair: PreferencePair) -> str:
    pair.refresh_from_db()
    return pair.standing.verdict


def test_one_signs_in_by_a_link_and_out_again(
    page: Page, live_server: Any, scene: Scene, troubles: list[str]
) -> None:
    page.goto(live_server.url + sign_in_links.path_for(scene.curator))
    page.get_by_role("button", name="Continue as casey").click()
    expect(page.get_by_role("link", name="Scene", exact=True)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_one_signs_in_with_a_password(
    page: Page, live_server: Any, scene: Scene, troubles: list[str]
) -> None:
    page.goto(f"{live_server.url}/datasets/scene/")
    page.get_by_label("Username").fill("casey")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("correct username and password")).to_be_visible()
    page.get_by_label("Password").fill("a long enough password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Scene")).to_be_visible()


def test_pairs_are_decided_skipped_and_taken_back_by_keys(at: Any, scene: Scene) -> None:
    one, two, three, four, *_ = queue_of(scene)
    page = at("review/")
    expect_pair(page, one)
    page.keyboard.press("f")
    expect_pair(page, two)
    page.keyboard.press("s")
    expect_pair(page, three)
    page.keyboard.press("d")
    expect_pair(page, four)
    assert [verdict_of(pair) for pair in (one, two, three)] == ["flip", "", "drop"]
    page.keyboard.press("u")
    expect_pair(page, three)
    page.keyboard.press("u")
    expect_pair(page, two)
    page.keyboard.press("u")
    expect_pair(page, one)
    assert {verdict_of(pair) for pair in (one, two, three)} == {""}
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()


def test_a_reason_is_typed_and_kept(at: Any, scene: Scene) -> None:
    one, two, *_ = queue_of(scene)
    page = at("review/")
    page.keyboard.press("r")
    page.keyboard.type("keeps to the question")
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    expect_pair(page, two)
    assert one.decisions.get().reason == "keeps to the question"


def test_the_focus_stays_on_the_button_from_pair_to_pair(at: Any, scene: Scene) -> None:
    _, two, three, *_ = queue_of(scene)
    page = at("review/")
    page.get_by_role("button", name="Keep").focus()
    page.keyboard.press("Enter")
    expect_pair(page, two)
    expect(page.get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Enter")
    expect_pair(page, three)


def test_markdown_is_formatted_and_can_be_seen_as_it_stands(at: Any, scene: Scene) -> None:
    text = "Use **bold** words:\n\n```\nprint(1)\n```\n\n<script>document.title = 'owned'</script>"
    PreferencePair.objects.filter(pk=scene.pair.pk).update(
        response_a=[{"role": "assistant", "content": text}]
    )
    page = at(f"pairs/{scene.pair.pk}/")
    answer = page.get_by_role("article", name="Response A")
    expect(answer.locator("strong")).to_be_visible()
    expect(answer.locator("pre code")).to_have_text("print(1)")
    page.keyboard.press("m")
    expect(answer.locator("strong")).to_be_hidden()
    expect(answer.get_by_text("Use **bold** words")).to_be_visible()
    assert "owned" not in page.title()


def test_going_back_gives_the_whole_page(at: Any, scene: Scene) -> None:
    _, two, three, *_ = queue_of(scene)
    page = at("review/")
    page.keyboard.press("s")
    expect_pair(page, two)
    page.keyboard.press("s")
    expect_pair(page, three)
    page.go_back()
    expect_pair(page, two)
    expect(page.get_by_role("navigation", name="Dataset")).to_be_visible()
    page.keyboard.press("f")
    expect_pair(page, three)
    assert verdict_of(two) == Verdict.FLIP


def test_two_tabs_on_one_pair_the_second_is_shown_how_it_stands(
    at: Any, context: BrowserContext, live_server: Any, scene: Scene
) -> None:
    one, two, *_ = queue_of(scene)
    page = at("review/")
    other = context.new_page()
    other.goto(f"{live_server.url}/datasets/scene/pairs/{one.pk}/")
    other.keyboard.press("d")
    expect_pair(other, two)
    page.keyboard.press("k")
    expect(page.get_by_role("alert")).to_contain_text("You decided “drop” on this pair meanwhile")
    expect(page.get_by_role("button", name="Drop")).to_have_attribute("aria-pressed", "true")
    assert verdict_of(one) == Verdict.DROP
    page.keyboard.press("k")
    expect_pair(page, two)
    assert verdict_of(one) == Verdict.KEEP


def test_a_server_that_is_away_is_said_to_be_away(at: Any, scene: Scene, page: Page) -> None:
    one, *_ = queue_of(scene)
    at("review/")
    page.context.set_offline(True)
    page.keyboard.press("f")
    expect(page.locator("#notices")).to_contain_text("The server cannot be reached")
    page.context.set_offline(False)
    expect_pair(page, one)
    assert verdict_of(one) == ""


def test_without_scripts_the_buttons_do_the_same(
    browser: Any, live_server: Any, scene: Scene
) -> None:
    one, two, *_ = queue_of(scene)
    context = browser.new_context(java_script_enabled=False)
    sign_in(context, live_server, scene.curator)
    page = context.new_page()
    page.goto(f"{live_server.url}/datasets/scene/review/")
    page.get_by_role("button", name="Flip").click()
    expect_pair(page, two)
    page.get_by_role("button", name="Undo").click()
    expect_pair(page, one)
    assert [decision.verdict for decision in one.decisions.order_by("pk")] == ["flip", ""]
    context.close()


def test_from_decisions_to_a_file_for_the_trainer(at: Any, scene: Scene, tmp_path: Path) -> None:
    one, two, three, *_ = queue_of(scene)
    page = at("review/")
    page.keyboard.press("f")
    expect_pair(page, two)
    page.keyboard.press("d")
    expect_pair(page, three)
    page = at("snapshots/")
    page.get_by_label("Note").fill("after review")
    page.get_by_role("button", name="Freeze").click()
    expect(page.get_by_role("heading", name="Snapshot 2")).to_be_visible()
    article = page.locator("article", has_text="TRL RewardTrainer")
    article.get_by_role("button", name="Write the file").click()
    expect(article.get_by_text("queued")).to_be_visible()
    snapshot = scene.dataset.snapshots.get(number=2)
    factories.exported(snapshot, "trl-reward")  # the worker's part
    with page.expect_download() as download:
        article.get_by_role("link", name="Download").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    chosen = {
        line["prompt"][-1]["content"]: line["chosen"][-1]["content"]
        for line in map(json.loads, path.read_text().splitlines())
    }
    better = one.response_b if one.source_preference == "a" else one.response_a
    assert chosen[prompt_of(one)] == better[-1]["content"]
    assert prompt_of(two) not in chosen
