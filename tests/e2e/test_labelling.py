"""Annotators at work, with the keyboard: a whole round, drafts, marks, practice, two people at
once."""

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, BrowserContext, Page, expect

from annotations import blind
from annotations.models import Comment, Dataset, GoldPair, Label, Lease, PreferencePair
from curator.models import User
from tests import factories
from tests.e2e.conftest import sign_in

CONVERSATION = [
    {"role": "user", "content": "Earlier question?"},
    {"role": "assistant", "content": "Earlier answer."},
    {"role": "user", "content": "Why does $e^{i\\pi} = -1$ hold?"},
]
GUIDELINES = "# Guidelines\n\nPrefer the response that *answers the question*."


@pytest.fixture
def anna(transactional_db: Any) -> User:
    return factories.user("anna")


@pytest.fixture
def asked(anna: User) -> Dataset:
    """A dataset of six pairs that asks for everything that can be asked."""
    into = factories.dataset("asked", curators=[factories.user("casey")], annotators=[anna])
    factories.pairs(into, 6, prompt=CONVERSATION)
    into.aspects, into.requires_rationale = ["helpful", "honest"], True
    into.guidelines = GUIDELINES
    into.save()
    factories.opened_round(into)
    return into


@pytest.fixture
def plain(anna: User) -> Dataset:
    """A dataset of six pairs that asks for the choice alone."""
    into = factories.dataset("plain", annotators=[anna, factories.user("ben")])
    factories.pairs(into, 6)
    into.asks_strength = False
    into.save()
    factories.opened_round(into)
    return into


@pytest.fixture
def at(
    page: Page, context: BrowserContext, live_server: Any, anna: User, troubles: list[str]
) -> Callable[[str], Page]:
    """Opens an address as anna."""
    sign_in(context, live_server, anna)

    def go(path: str) -> Page:
        page.goto(live_server.url + path)
        return page

    return go


def held(page: Page, *, after: Lease | None = None) -> Lease:
    """What the page shows, once it is another pair than `after`."""
    shown = page.locator("#label[data-lease]")
    if after is not None:
        expect(shown).not_to_have_attribute("data-lease", str(after.pk))
    return Lease.objects.select_related("pair").get(pk=int(shown.get_attribute("data-lease") or 0))


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def label_of(lease: Lease) -> Label:
    return Label.objects.current().get(pair=lease.pair, annotator=lease.annotator)


# --- A whole round by keyboard --------------------------------------------------------------------


def test_a_whole_round_by_keyboard(at: Any, asked: Dataset, anna: User) -> None:
    page = at("/datasets/asked/label/")
    one = held(page)
    press(page, "2", "5", "a", "1", "t", "r")
    page.keyboard.type("It says why")
    press(page, "Control+Enter")
    two = held(page, after=one)
    said = label_of(one)
    assert said.preference == blind.preference_of(one, "second")
    assert (said.strength, said.rationale) == (3, "It says why")
    assert said.aspects == {"helpful": blind.preference_of(one, "first"), "honest": "tie"}
    assert said.seconds is not None
    press(page, "s", "3")
    three = held(page, after=two)
    assert (label_of(two).preference, label_of(two).skip_reason) == ("skip", "language")
    press(page, "b", "r")
    page.keyboard.type("Both are rude")
    press(page, "Escape", "Enter")
    four = held(page, after=three)
    assert label_of(three).preference == "both_bad"
    press(page, "u")
    again = held(page, after=four)
    assert again == three
    expect(page.get_by_role("textbox", name="Why")).to_have_value("Both are rude")
    expect(page.get_by_role("radio", name="Both bad")).to_be_checked()
    press(page, "t", "Enter")
    held(page, after=again)
    assert label_of(three).preference == "tie"
    expect(page.locator(".progress-words")).to_contain_text("3 today")


def test_the_queue_ends_with_what_was_done(at: Any, plain: Dataset) -> None:
    page = at("/datasets/plain/label/")
    for key in "12tb12":
        lease = held(page)
        press(page, key)
        expect(page.locator(f'#label[data-lease="{lease.pk}"]')).to_have_count(0)
    expect(page.get_by_text("You labelled 6 pairs today")).to_be_visible()
    assert Label.objects.current().filter(annotator__user__username="anna").count() == 6
    press(page, "u")
    expect(page.get_by_role("radio", name="2 better")).to_be_checked()
    press(page, "Enter")
    press(page, "Enter")
    expect(page.get_by_role("heading", name="Plain")).to_be_visible()


def test_one_key_sends_where_nothing_else_is_asked_and_this_can_be_turned_off(
    at: Any, plain: Dataset
) -> None:
    page = at("/datasets/plain/label/")
    one = held(page)
    press(page, "1")
    two = held(page, after=one)
    page.get_by_role("button", name="At once").click()
    press(page, "2")
    expect(page.get_by_role("radio", name="2 better")).to_be_checked()
    page.reload()
    expect(page.get_by_role("button", name="At once")).to_have_attribute("aria-pressed", "false")
    assert held(page) == two
    press(page, "1", "Enter")
    held(page, after=two)


def test_arrows_walk_over_the_answers_without_sending_one(at: Any, plain: Dataset) -> None:
    page = at("/datasets/plain/label/")
    one = held(page)
    page.get_by_role("radio", name="1 better").focus()
    press(page, "ArrowRight", "ArrowRight")
    expect(page.get_by_role("radio", name="Tie")).to_be_checked()
    assert held(page) == one
    press(page, "Enter")
    held(page, after=one)
    assert label_of(one).preference == "tie"


def test_pressing_an_answer_with_the_pointer_sends_it(at: Any, plain: Dataset) -> None:
    page = at("/datasets/plain/label/")
    one = held(page)
    page.get_by_text("2 better").click()
    held(page, after=one)
    assert label_of(one).preference == blind.preference_of(one, "second")


def test_what_is_missing_is_said_and_nothing_is_lost(at: Any, asked: Dataset) -> None:
    page = at("/datasets/asked/label/")
    one = held(page)
    press(page, "1", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("Say in a sentence why")
    expect(page.get_by_role("radio", name="1 better")).to_be_checked()
    expect(page.get_by_role("textbox", name="Why")).to_be_focused()
    page.keyboard.type("Because")
    press(page, "Control+Enter")
    held(page, after=one)


def test_a_server_that_is_away_costs_nothing(at: Any, plain: Dataset, page: Page) -> None:
    at("/datasets/plain/label/")
    one = held(page)
    page.context.set_offline(True)
    press(page, "1")
    expect(page.locator("#notices")).to_contain_text("The server cannot be reached")
    page.context.set_offline(False)
    press(page, "Enter")
    held(page, after=one)
    assert label_of(one).preference == blind.preference_of(one, "first")


# --- Drafts ---------------------------------------------------------------------------------------


def test_a_draft_survives_a_reload(at: Any, asked: Dataset) -> None:
    page = at("/datasets/asked/label/")
    press(page, "2", "4", "a", "2", "Escape", "r")
    page.keyboard.type("half a senten")
    expect(page.get_by_text("Draft saved")).to_be_visible()
    page.reload()
    expect(page.get_by_role("textbox", name="Why")).to_have_value("half a senten")
    expect(page.get_by_role("radio", name="2 better")).to_be_checked()
    expect(page.get_by_role("radio", name="clearly")).to_be_checked()
    expect(page.get_by_role("group", name="helpful").get_by_role("radio", name="2")).to_be_checked()


def test_a_skip_that_is_taken_back_begins_where_it_was(at: Any, plain: Dataset) -> None:
    page = at("/datasets/plain/label/")
    one = held(page)
    press(page, "s", "3")
    two = held(page, after=one)
    press(page, "u")
    held(page, after=two)
    expect(page.locator('[data-reason="3"]')).to_be_focused()
    press(page, "Enter")
    held(page, after=one)
    assert label_of(one).skip_reason == "language"


def test_a_comment_is_written_and_sent_by_the_keyboard(at: Any, plain: Dataset) -> None:
    page = at("/datasets/plain/label/")
    lease = held(page)
    press(page, "c")
    expect(page.locator("#comment-text")).to_be_focused()
    page.keyboard.type("Cut off?")
    bar = page.locator("#answer").bounding_box() or {}
    button = page.locator("#send-comment").bounding_box() or {}
    assert button["y"] + button["height"] <= bar["y"]
    press(page, "Control+Enter")
    expect(page.locator("#own-comments .comments")).to_contain_text("Cut off?")
    press(page, "c")
    page.keyboard.type("Not sent.")
    press(page, "Escape", "1")
    if held(page).pk == lease.pk:
        press(page, "Enter")
    held(page, after=lease)
    said = Comment.objects.filter(pair=lease.pair).order_by("pk")
    assert [one.text for one in said] == ["Cut off?", "Not sent."]
    assert Label.objects.get(annotator__user__username="anna").pair == lease.pair


def test_on_a_phone_the_bar_says_what_is_asked_out_of_sight(at: Any, asked: Dataset) -> None:
    page = at("/datasets/asked/label/")
    page.set_viewport_size({"width": 390, "height": 844})
    asked_still = page.locator(".still-asked")
    expect(asked_still).to_have_text("Also asked, above this bar: 2 aspects and a reason")
    page.locator("#choice-first").check(force=True)
    page.locator("#send").click()
    expect(page.get_by_role("alert")).to_contain_text("Say in a sentence why")
    expect(page.locator("#rationale")).to_be_focused()
    field = page.locator("#rationale").bounding_box() or {}
    bar = page.locator(".answer-bar").bounding_box() or {}
    assert field["y"] + field["height"] <= bar["y"]
    page.locator("#rationale").fill("So.")
    page.locator("#aspect-0-tie").check(force=True)
    expect(asked_still).to_have_text("Also asked, above this bar: 1 aspect")


def test_a_draft_is_kept_when_the_page_is_left_at_once(at: Any, asked: Dataset) -> None:
    page = at("/datasets/asked/label/")
    press(page, "r")
    page.keyboard.type("left in a hurry")
    page.goto("about:blank")
    at("/datasets/asked/label/")
    field = page.get_by_role("textbox", name="Why")
    for _ in range(5):  # the last save may still be on its way
        if field.input_value():
            break
        page.reload()
    expect(field).to_have_value("left in a hurry")


def test_who_is_signed_out_is_told_and_loses_nothing(
    at: Any, asked: Dataset, anna: User, context: BrowserContext, live_server: Any
) -> None:
    page = at("/datasets/asked/label/")
    lease = held(page)
    context.clear_cookies()
    press(page, "r")
    page.keyboard.type("written signed out")
    expect(page.get_by_text("You are signed out: sign in in another tab")).to_be_visible()
    assert not Lease.objects.get(pk=lease.pk).draft
    press(page, "Escape", "w")
    button = page.get_by_role("button", name="Differences")
    expect(button).to_have_attribute("title", "You are signed out: sign in in another tab")
    sign_in(context, live_server, anna)  # which also changes what forms are signed with
    mark = {"name": "csrftoken", "value": "s" * 32, "url": live_server.url}
    context.add_cookies([mark])  # type: ignore[list-item]
    press(page, "r")
    page.keyboard.type(", then in")
    expect(page.get_by_text("Draft saved")).to_be_visible()
    press(page, "Escape", "1", "Enter")
    held(page, after=lease)
    assert label_of(lease).rationale == "written signed out, then in"


def test_a_draft_of_any_length_is_kept_when_the_page_is_hidden(at: Any, asked: Dataset) -> None:
    page = at("/datasets/asked/label/")
    lease, written = held(page), "長" * 20_000
    page.get_by_role("textbox", name="Why").fill(written)
    page.evaluate(
        """() => {
            const mark = {side: "first", start: 0, end: 2, mark: "good"};
            const field = document.getElementById("answer").elements.spans;
            field.value = JSON.stringify(Array(200).fill(mark));
            Object.defineProperty(document, "hidden", {value: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(page.get_by_text("Draft saved")).to_be_visible()
    assert Lease.objects.get(pk=lease.pk).draft["rationale"] == written


# --- Views and marks ------------------------------------------------------------------------------


def painted(page: Page, name: str) -> list[str]:
    """The words over which marks of this kind are painted."""
    found: list[str] = page.evaluate(
        "name => [...(CSS.highlights.get(name) ?? [])].map(range => range.toString())", name
    )
    return found


def expect_painted(page: Page, name: str, words: list[str]) -> None:
    for _ in range(100):
        if sorted(painted(page, name)) == words:
            return
        page.wait_for_timeout(50)
    assert sorted(painted(page, name)) == words


def test_formulas_views_and_guidelines(at: Any, asked: Dataset) -> None:
    page = at("/datasets/asked/label/")
    prompt = page.get_by_role("region", name="Prompt")
    expect(prompt.locator("math")).to_be_visible()
    press(page, "m")
    expect(prompt.locator("math")).to_be_hidden()
    expect(prompt.get_by_text("$e^{i\\pi} = -1$")).to_be_visible()
    guidelines = page.get_by_role("region", name="Guidelines")
    expect(guidelines).to_be_visible()  # for who has not labelled yet
    press(page, "g")
    expect(guidelines).to_be_hidden()
    page.reload()
    expect(guidelines).to_be_hidden()
    expect(prompt.locator("math")).to_be_hidden()
    press(page, "?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    press(page, "Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_differences_are_painted_on_request(at: Any, plain: Dataset) -> None:
    PreferencePair.objects.update(
        response_a=[{"role": "assistant", "content": "😀 the **red** house by the lake"}],
        response_b=[{"role": "assistant", "content": "😀 the **blue** house by the lake"}],
    )
    page = at("/datasets/plain/label/")
    lease = held(page)
    assert painted(page, "differs") == []
    press(page, "w")
    expect_painted(page, "differs", ["blue", "red"])
    press(page, "w")
    expect_painted(page, "differs", [])
    press(page, "w", "1")
    held(page, after=lease)
    expect_painted(page, "differs", ["blue", "red"])


def test_marks_are_set_on_selected_words_and_removed(at: Any, asked: Dataset) -> None:
    text = "😀 Good\r\n\u202eadvice, and bad grammar.  A second sentence."
    PreferencePair.objects.update(
        response_a=[{"role": "assistant", "content": text}],
        response_b=[{"role": "assistant", "content": text + " More."}],
    )
    page = at("/datasets/asked/label/")
    one = held(page)
    press(page, "m")
    select(page, "first", "bad grammar")
    expect(page.locator("#mark-bar")).to_be_visible()
    press(page, "-")
    select(page, "second", "Good")
    page.get_by_role("button", name="+ Good").click()
    assert painted(page, "bad") == ["bad grammar"]
    assert painted(page, "good") == ["Good"]
    expect(page.get_by_role("list", name="Your marks on response 1")).to_contain_text("bad grammar")
    expect(page.get_by_text("Draft saved")).to_be_visible()
    page.reload()
    assert painted(page, "bad") == ["bad grammar"]
    page.get_by_role("button", name="Remove the mark “Good”").click()
    assert painted(page, "good") == []
    press(page, "1", "r")
    page.keyboard.type("grammar")
    press(page, "Control+Enter")
    held(page, after=one)
    (span,) = label_of(one).spans
    shown = blind.shown(one).first[0]["content"]
    assert shown[span["start"] : span["end"]] == "bad grammar"
    assert span["response"] == blind.preference_of(one, "first")


def test_words_marked_in_the_formatted_text_are_marked_where_they_stand(
    at: Any, asked: Dataset
) -> None:
    content = [{"role": "assistant", "content": "Some **bold words** here, here."}]
    PreferencePair.objects.update(response_a=content, response_b=content)
    page = at("/datasets/asked/label/")
    select(page, "first", "bold words", inside=".formatted")
    press(page, "+")
    expect(page.locator(".response .text").first).to_be_visible()
    assert painted(page, "good") == ["bold words"]
    press(page, "m")
    select(page, "second", "here", inside=".formatted")
    press(page, "-")
    expect(page.locator("#notices")).to_contain_text("select the words again")
    assert painted(page, "bad") == []


def test_marks_by_keyboard_alone(at: Any, asked: Dataset) -> None:
    content = [{"role": "assistant", "content": "One sentence. Another one. A third."}]
    PreferencePair.objects.update(response_a=content, response_b=content)
    page = at("/datasets/asked/label/")
    press(page, "n", "n", "+", "n", "-")
    assert painted(page, "good") == ["Another one."]
    assert painted(page, "bad") == ["A third."]


def select(page: Page, side: str, words: str, *, inside: str = ".text") -> None:
    page.evaluate(
        """([side, words, inside]) => {
            const root = document.querySelector(`.response[data-side="${side}"] ${inside}`);
            const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) {
                const node = walker.currentNode;
                const at = node.data.indexOf(words);
                if (at < 0) continue;
                getSelection().setBaseAndExtent(node, at, node, at + words.length);
                return;
            }
            throw new Error("no such words");
        }""",
        [side, words, inside],
    )


# --- Practice -------------------------------------------------------------------------------------


def test_practice_teaches_after_each_answer(at: Any, plain: Dataset, accessible: Any) -> None:
    for number, pair in enumerate(plain.pairs.order_by("pk")[:2]):
        GoldPair.objects.create(
            dataset=plain,
            pair=pair,
            preference="a",
            explanation=f"Explanation {number} with **reasons**.",
            is_practice=True,
        )
    page = at("/datasets/plain/label/")
    expect(page.get_by_text("Practice 1 of 2")).to_be_visible()
    lease = held(page)
    press(page, "1" if blind.choice_of(lease, "a") == "first" else "2")
    expect(page.get_by_role("heading", name="Right:")).to_be_visible()
    expect(page.get_by_text("Explanation 0")).to_be_visible()
    accessible(page)
    press(page, "Enter")
    expect(page.get_by_text("Practice 2 of 2")).to_be_visible()
    lease = held(page)
    press(page, "2" if blind.choice_of(lease, "a") == "first" else "1")
    expect(page.get_by_role("heading", name="Not quite:")).to_be_visible()
    page.get_by_role("link", name="Continue").click()
    expect(page.locator(".progress-words")).to_contain_text("0 today")


# --- Two people, a phone, no scripts --------------------------------------------------------------


def test_two_annotators_at_once_get_what_each_may_label_and_both_count(
    browser: Browser, live_server: Any, plain: Dataset, anna: User
) -> None:
    ben = User.objects.get(username="ben")
    contexts = [browser.new_context() for _ in range(2)]
    pages = []
    for context, person in zip(contexts, (anna, ben), strict=True):
        sign_in(context, live_server, person)
        pages.append(context.new_page())
        pages[-1].goto(f"{live_server.url}/datasets/plain/label/")
    leases = [held(page) for page in pages]
    assert leases[0].pair != leases[1].pair  # one label a pair is asked for
    for page in pages:
        press(page, "1")
    for page, lease in zip(pages, leases, strict=True):
        held(page, after=lease)
        assert label_of(lease).preference == blind.preference_of(lease, "first")
    for context in contexts:
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_the_pages_fit_and_are_accessible(
    browser: Browser,
    live_server: Any,
    asked: Dataset,
    anna: User,
    accessible: Any,
    size: tuple[int, int],
    theme: Any,
) -> None:
    long = "A long answer with `code` and a table.\n\n|a|b|\n|-|-|\n|1|2|\n\n" + "word " * 300
    PreferencePair.objects.update(
        response_a=[{"role": "assistant", "content": long + "x" * 300}],
        response_b=[{"role": "assistant", "content": f"{long}$$\\sum_{{i=1}}^n {'x+' * 60}x$$"}],
    )
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce"
    )
    sign_in(context, live_server, anna)
    page = context.new_page()
    for address in (
        reverse("annotations:label", args=["asked"]),
        reverse("annotations:keys"),
        reverse("scoring:overview", args=["asked"]),
    ):
        page.goto(live_server.url + address)
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{address} is {overflow} px too wide"
        accessible(page)
    page.goto(f"{live_server.url}/datasets/asked/label/")
    if page.locator("#guidelines").get_attribute("open") is not None:
        press(page, "g")
    one = held(page)
    page.get_by_text("1 better").click()
    page.get_by_role("textbox", name="Why").fill("It fits")
    page.locator(".skip summary").click()
    expect(page.get_by_role("button", name="I cannot tell")).to_be_in_viewport(ratio=1)
    accessible(page)
    press(page, "Escape", "?")
    accessible(page)
    press(page, "Escape")
    page.get_by_role("button", name="Send").click()
    held(page, after=one)
    context.close()


def test_without_scripts_the_form_does_the_same(
    browser: Browser, live_server: Any, asked: Dataset, anna: User
) -> None:
    context = browser.new_context(java_script_enabled=False)
    sign_in(context, live_server, anna)
    page = context.new_page()
    page.goto(f"{live_server.url}/datasets/asked/label/")
    one = held(page)
    page.get_by_text("1 better").click()
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("Say in a sentence why")
    page.get_by_role("textbox", name="Why").fill("clearer")
    page.get_by_role("button", name="Send").click()
    two = held(page, after=one)
    assert label_of(one).rationale == "clearer"
    page.locator(".skip summary").click()
    page.get_by_role("button", name="the texts are broken").click()
    three = held(page, after=two)
    assert label_of(two).skip_reason == "broken"
    page.get_by_role("button", name="Undo").click()
    assert held(page, after=three) == two
    context.close()


# --- Own keys -------------------------------------------------------------------------------------


def test_own_keys_are_chosen_and_answer(at: Any, plain: Dataset, anna: User) -> None:
    page = at("/datasets/plain/label/")
    press(page, "?")
    page.get_by_role("link", name="Choose your own keys").click()
    page.wait_for_url("**/keys/**")  # and until its script runs, as a person's eyes do
    page.get_by_label("Response 1 is better").focus()
    press(page, "j")
    page.get_by_label("Response 2 is better").focus()
    press(page, "<")
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("#choice-second + span kbd")).to_have_text("<")
    one = held(page)
    press(page, "1")
    assert held(page) == one
    press(page, "<")
    two = held(page, after=one)
    assert label_of(one).preference == blind.preference_of(one, "second")
    press(page, "j")
    held(page, after=two)


def test_single_keys_can_be_turned_off(at: Any, plain: Dataset) -> None:
    page = at("/datasets/plain/label/")
    one = held(page)
    press(page, "?")
    page.get_by_role("button", name="Single keys").click()
    press(page, "Escape", "1")
    expect(page.get_by_role("radio", name="1 better")).not_to_be_checked()
    assert held(page) == one
