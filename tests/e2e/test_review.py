"""A curator at work, with the keyboard."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from annotations import decisions
from annotations.models import PreferencePair, Verdict
from curator import sign_in_links
from scoring.models import ReviewSample, SampledPair
from tests import factories
from tests.e2e.conftest import sign_in
from tests.scenarios import Scene

ALL = "review/?queue=all"


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
    """The pairs of the queue of everything, in its order."""
    queued = scene.dataset.standings.queued_for_review().select_related("pair")
    return [standing.pair for standing in queued]


def prompt_of(pair: PreferencePair) -> str:
    return str(pair.prompt[-1]["content"])


def expect_pair(page: Page, pair: PreferencePair) -> None:
    """The server has answered with the pair."""
    answered = page.locator("#review:not([aria-busy]) .prompt-scroll .text")
    expect(answered).to_have_text(prompt_of(pair))


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
    page = at(ALL)
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
    page = at(ALL)
    page.keyboard.press("r")
    page.keyboard.type("keeps to the question")
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    expect_pair(page, two)
    assert one.decisions.get().reason == "keeps to the question"


def test_a_reason_is_one_key_and_the_verdict_another(at: Any, scene: Scene) -> None:
    one, two, *_ = queue_of(scene)
    page = at(ALL)
    page.keyboard.press("r")
    expect(page.get_by_role("button", name="prompt broken")).to_be_visible()
    page.keyboard.press("6")
    expect(page.get_by_label("Reason", exact=True)).to_have_value("prompt broken")
    expect(page.get_by_role("button", name="prompt broken")).to_be_hidden()
    page.keyboard.press("d")
    expect_pair(page, two)
    decision = one.decisions.get()
    assert (decision.verdict, decision.reason) == ("drop", "prompt broken")


def test_the_help_names_the_keys_and_keeps_them_from_deciding(at: Any, scene: Scene) -> None:
    one, *_ = queue_of(scene)
    page = at(ALL)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Flip it: the other response is better")
    page.keyboard.press("f")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect_pair(page, one)
    assert verdict_of(one) == ""


def drawn(scene: Scene, *pairs: PreferencePair) -> None:
    """A sample of these pairs, in this order."""
    sample = ReviewSample.objects.create(run=scene.run, size=len(pairs))
    for position, pair in enumerate(pairs):
        SampledPair.objects.create(
            sample=sample, pair=pair, position=position, stratum=0, flag="clear"
        )


def test_an_audit_is_decided_by_keys_before_the_evidence_is_seen(
    at: Any, scene: Scene, accessible: Any
) -> None:
    one, two, three, *_ = queue_of(scene)
    drawn(scene, three, one, two)
    page = at("review/?queue=audit")
    expect_pair(page, three)
    expect(page.get_by_text("labelled better")).to_be_hidden()
    expect(page.get_by_label("What the models say")).to_be_hidden()
    accessible(page)
    page.keyboard.press("1")
    expect_pair(page, one)
    strip = page.get_by_label("The pair that you have just decided")
    expect(strip.get_by_label("What the models say")).to_be_visible()
    accessible(page)
    page.keyboard.press("u")
    expect_pair(page, three)
    expect(page.get_by_text("labelled better")).to_be_visible()  # it was seen by now
    page.keyboard.press("k")
    expect_pair(page, one)
    expect(strip).to_be_hidden()
    page.keyboard.press("2")
    expect_pair(page, two)
    page.keyboard.press("e")
    expect(page.get_by_role("button", name="Keep")).to_be_visible()
    page.keyboard.press("k")
    expect(page.get_by_role("heading", name="Everything here is reviewed")).to_be_visible()
    held = [decisions.latest_decision(pair) for pair in (three, one, two)]
    assert [decision.evidence["seen"] for decision in held if decision] == [True, False, True]
    assert verdict_of(two) == "keep"


def test_keep_and_flip_say_why_they_do_nothing_while_the_evidence_is_hidden(
    at: Any, scene: Scene, accessible: Any
) -> None:
    one, two, *_ = queue_of(scene)
    drawn(scene, one, two)
    page = at("review/?queue=audit")
    expect_pair(page, one)
    page.keyboard.press("f")
    why = "while the evidence is hidden there is no label to keep or flip"
    expect(page.locator("#announcer")).to_contain_text(why)
    expect(page.get_by_role("group", name="Decide").get_by_text(why)).to_be_visible()
    accessible(page)
    assert verdict_of(one) == ""
    page.keyboard.press("1")
    expect_pair(page, two)
    expect(page.get_by_role("group", name="Decide").get_by_text(why)).to_be_hidden()


def test_earlier_turns_are_opened_by_their_key(at: Any, scene: Scene) -> None:
    one, *_ = queue_of(scene)
    turns = [("user", "Of what?"), ("assistant", "Of tea."), ("user", "And then?")]
    PreferencePair.objects.filter(pk=one.pk).update(
        prompt=[{"role": role, "content": text} for role, text in turns]
    )
    page = at(ALL)
    earlier = page.locator(".earlier").get_by_text("Of tea.")
    expect(earlier.first).to_be_hidden()
    page.keyboard.press("p")
    expect(page.locator(".earlier .turn.assistant")).to_contain_text("Of tea.")
    expect(page.locator(".earlier .turn.assistant")).to_be_visible()
    page.keyboard.press("p")
    expect(page.locator(".earlier .turn.assistant")).to_be_hidden()


@pytest.mark.parametrize("queue", ["all", "audit"])
def test_on_a_phone_the_first_screen_shows_the_prompt_and_the_responses(
    at: Any, scene: Scene, page: Page, accessible: Any, queue: str
) -> None:
    one, two, *_ = queue_of(scene)
    drawn(scene, one, two)
    long = "\n".join(f"Line {number} of a prompt that goes on." for number in range(40))
    PreferencePair.objects.update(prompt=[{"role": "user", "content": long}])
    page.set_viewport_size({"width": 390, "height": 844})
    at(f"review/?queue={queue}")
    bar = page.get_by_role("group", name="Decide").bounding_box()
    prompt = page.locator(".prompt-scroll").bounding_box()
    response = page.locator(".response").first.bounding_box()
    text = page.locator(".response .formatted").first.bounding_box()
    assert bar
    assert prompt
    assert response
    assert text
    assert bar["y"] + bar["height"] <= 844
    assert prompt["y"] + prompt["height"] < response["y"]
    assert text["y"] + 100 < bar["y"]
    accessible(page)
    whole = page.get_by_role("button", name="Whole prompt")
    whole.click()
    expect(page.get_by_role("button", name="Fewer lines")).to_be_visible()
    opened = page.locator(".prompt-scroll").bounding_box()
    assert opened
    assert opened["height"] > 40 * 15


def test_the_pairs_of_a_list_are_reviewed_in_its_order_to_its_end(
    at: Any, scene: Scene, accessible: Any
) -> None:
    listed = sorted(
        (pair for pair in queue_of(scene) if pair.source_preference == "b"),
        key=lambda pair: -(pair.standing.strength or 0.0),
    )
    page = at("review/?queue=list&source_preference=b&order=-strength")
    for pair in listed:
        expect_pair(page, pair)
        page.keyboard.press("s")
    expect(page.get_by_role("heading", name="End of the queue")).to_be_visible()
    accessible(page)
    page.get_by_role("link", name="Begin again").click()
    expect_pair(page, listed[0])
    page.get_by_text("The list", exact=True).click()
    expect(page.get_by_role("navigation", name="Queues")).to_contain_text("Source label B")
    accessible(page)


def test_an_earlier_decision_is_taken_back_from_the_list_of_the_last(at: Any, scene: Scene) -> None:
    one, two, three, *_ = queue_of(scene)
    page = at(ALL)
    page.keyboard.press("f")
    expect_pair(page, two)
    page.keyboard.press("d")
    expect_pair(page, three)
    page.get_by_text("Your last 2 decisions").click()
    page.get_by_role("button", name=f"Undo the decision on {prompt_of(one)}").click()
    expect_pair(page, one)
    assert [verdict_of(pair) for pair in (one, two)] == ["", "drop"]


def test_the_next_pair_is_there_before_the_server_has_answered(
    at: Any, scene: Scene, page: Page
) -> None:
    one, two, three, *_ = queue_of(scene)
    answered = False

    def slowly(route: Any) -> None:
        nonlocal answered
        expect(page.locator("#review[aria-busy] .prompt-scroll .text")).to_have_text(prompt_of(two))
        expect(page.get_by_role("button", name="Keep")).to_be_disabled()
        answered = True
        route.continue_()

    at(ALL)
    expect(page.locator("#review")).to_have_attribute("data-fetched", str(one.pk))
    page.route("**/decide/**", slowly)
    page.keyboard.press("f")
    expect(page.get_by_role("button", name="Keep")).to_be_enabled()
    expect_pair(page, two)
    page.unroute("**/decide/**")
    page.keyboard.press("k")
    expect_pair(page, three)
    assert answered
    assert [verdict_of(pair) for pair in (one, two)] == ["flip", "keep"]


def test_the_focus_stays_on_the_button_from_pair_to_pair(at: Any, scene: Scene) -> None:
    _, two, three, *_ = queue_of(scene)
    page = at(ALL)
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
    page = at(ALL)
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
    page = at(ALL)
    other = context.new_page()
    other.goto(f"{live_server.url}/datasets/scene/pairs/{one.pk}/?queue=all")
    other.keyboard.press("d")
    expect_pair(other, two)
    page.keyboard.press("k")
    expect(page.get_by_role("alert")).to_contain_text("You decided “drop” on this pair meanwhile")
    expect(page.get_by_role("button", name="Drop")).to_have_attribute("aria-pressed", "true")
    assert verdict_of(one) == Verdict.DROP
    # a key counts for what is shown once the answer has settled, and what was shown before is gone
    expect(page.locator("body > div[hidden] .prompt-scroll")).to_have_count(0)
    page.keyboard.press("k")
    expect_pair(page, two)
    assert verdict_of(one) == Verdict.KEEP


def test_a_server_that_is_away_is_said_to_be_away(at: Any, scene: Scene, page: Page) -> None:
    one, *_ = queue_of(scene)
    at(ALL)
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
    page.goto(f"{live_server.url}/datasets/scene/{ALL}")
    page.get_by_role("button", name="Flip").click()
    expect_pair(page, two)
    page.get_by_role("button", name="Undo").click()
    expect_pair(page, one)
    assert [decision.verdict for decision in one.decisions.order_by("pk")] == ["flip", ""]
    context.close()


def test_from_decisions_to_a_file_for_the_trainer(at: Any, scene: Scene, tmp_path: Path) -> None:
    one, two, three, *_ = queue_of(scene)
    page = at(ALL)
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
