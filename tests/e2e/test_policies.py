"""A curator decides on many pairs at once: by a policy and in bulk, seen first and taken back."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from annotations import tasks
from annotations.models import DecisionBatch
from tests.e2e.conftest import sign_in
from tests.scenarios import Scene

FLIPPED, AMBIGUOUS = 5, 3


@pytest.fixture
def at(
    page: Page, context: BrowserContext, live_server: Any, scene: Scene, troubles: list[str]
) -> Any:
    """Opens an address of the scene's dataset as its curator. Its flags are made up, so that there
    are some of each."""
    sign_in(context, live_server, scene.curator)
    preferring = scene.dataset.standings.filter(source_preference__in=["a", "b"])
    ids = list(preferring.order_by("pk").values_list("pk", flat=True))
    scene.dataset.standings.update(flag="clear", strength=0.5)
    scene.dataset.standings.filter(pk__in=ids[:FLIPPED]).update(flag="flipped", strength=-1.25)
    doubtful = ids[FLIPPED : FLIPPED + AMBIGUOUS]
    scene.dataset.standings.filter(pk__in=doubtful).update(flag="ambiguous", strength=0.0)

    def go(path: str) -> Page:
        page.goto(f"{live_server.url}/datasets/scene/{path}")
        return page

    return go


def verdicts(scene: Scene, verdict: str) -> int:
    return scene.dataset.standings.filter(verdict=verdict).count()


def work_off(scene: Scene, page: Page) -> DecisionBatch:
    """The batch that the page shows, done by a worker while the page waits."""
    expect(page.locator(".state.queued")).to_be_visible()
    batch = scene.dataset.batches.latest("pk")
    tasks.decide_batch(batch_id=batch.pk)
    expect(page.locator(".state.done")).to_be_visible()
    batch.refresh_from_db()
    return batch


def test_a_policy_is_built_seen_applied_and_taken_back(
    at: Any, scene: Scene, accessible: Callable[[Page], None]
) -> None:
    page = at("policies/")
    accessible(page)
    page.get_by_role("link", name="Write a policy").click()
    preview = page.locator("#policy-preview")
    expect(preview).to_contain_text("Put forward for review: 5")
    page.get_by_label("Name").fill("drop what is low")
    page.get_by_label("Rule 1: what is asked").select_option("strength")
    expect(page.get_by_label("Strength: compared how")).to_have_value("below")
    page.get_by_label("Strength: value").fill("-1")
    page.get_by_label("then").select_option("drop")
    expect(preview).to_contain_text(f"Drop the pair: {FLIPPED}")
    page.get_by_role("button", name="Add a rule").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#r1-action")).to_be_focused()
    page.locator(".rule").nth(1).get_by_label("likely flipped").uncheck()
    expect(page.locator("#r1-problems")).to_contain_text("is empty")
    page.locator(".rule").nth(1).get_by_label("ambiguous").check()
    expect(page.locator("#r1-problems")).to_have_text("")
    expect(preview).to_contain_text(f"Put forward for review: {AMBIGUOUS}")
    page.get_by_text(f"{FLIPPED} examples: drop the pair").click()
    expect(preview.get_by_text("→ dropped").first).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="Rule 2 earlier").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#r0-action")).to_have_value("queue")
    expect(page.get_by_role("button", name="Rule 1 later")).to_be_focused()
    page.get_by_role("button", name="Apply…").click()
    page.get_by_label("Reason").fill("a first cleaning")
    accessible(page)
    page.get_by_role("button", name=f"Decide {FLIPPED} pairs, put {AMBIGUOUS} forward").click()
    work_off(scene, page)
    assert verdicts(scene, "drop") == FLIPPED
    accessible(page)
    page.get_by_role("link", name="Undo…").click()
    expect(page.get_by_text("Undecided again")).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="Take it back").click()
    back = work_off(scene, page)
    assert verdicts(scene, "drop") == 0
    expect(page.get_by_text(f"took back batch {back.undoes_id}")).to_be_visible()


def test_the_form_and_its_json_follow_each_other(at: Any, scene: Scene) -> None:
    page = at("policies/new/?preset=remove-suspects")
    page.get_by_text("The same as JSON").click()
    text = page.get_by_label("The policy as JSON")
    page.get_by_label("Name").fill("mine")
    expect(text).to_have_value(re.compile('"name": "mine"'))
    written = '{"name": "yours", "rules": [{"when": [], "then": {"action": "tie"}}]}'
    text.fill(written)
    expect(page.locator("#policy-preview")).to_contain_text("Call it a tie")
    text.blur()
    expect(page.get_by_label("Name")).to_have_value("yours")
    expect(page.locator("#r0-action")).to_have_value("tie")
    text.fill("{")
    expect(page.locator("#policy-problems")).to_contain_text("This is not JSON")
    page.get_by_label("Name").focus()
    page.get_by_role("button", name="Write the form's again").click()
    expect(text).to_have_value(re.compile('"name": "yours"'))


def test_all_pairs_of_a_filter_are_decided_and_taken_back(
    at: Any, scene: Scene, accessible: Callable[[Page], None]
) -> None:
    page = at("pairs/decide/?flag=flipped")
    expect(page.get_by_role("heading", name=f"Decide on {FLIPPED} pairs")).to_be_visible()
    alpha = page.get_by_label("α, for")
    expect(alpha).to_be_hidden()
    page.get_by_label("soften the labels", exact=True).check()
    expect(alpha).to_be_visible()
    page.get_by_label("flip them").check()
    expect(alpha).to_be_hidden()
    preview = page.locator("#bulk-preview")
    expect(preview).to_contain_text(f"Flip the label: {FLIPPED}")
    page.get_by_label("drop the pairs").check()
    expect(preview).to_contain_text(f"Drop the pair: {FLIPPED}")
    expect(preview.locator(".illustrations li")).to_have_count(FLIPPED)
    accessible(page)
    page.get_by_role("button", name=f"Decide on {FLIPPED} pairs").click()
    work_off(scene, page)
    assert verdicts(scene, "drop") == FLIPPED
    page.get_by_role("link", name="Undo…").click()
    page.get_by_role("button", name="Take it back").click()
    work_off(scene, page)
    assert verdicts(scene, "drop") == 0


def test_without_scripts_a_policy_is_built_all_the_same(
    browser: Any, live_server: Any, scene: Scene, at: Any
) -> None:
    context = browser.new_context(java_script_enabled=False)
    sign_in(context, live_server, scene.curator)
    page = context.new_page()
    page.goto(f"{live_server.url}/datasets/scene/policies/new/")
    page.get_by_label("Name").fill("by hand")
    page.get_by_role("button", name="Add a rule").click()
    page.locator("#r1-action").select_option("drop")
    page.locator("#r1-c0-o0-field").select_option("strength")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Rule 2 earlier").click()
    preview = page.locator("#policy-preview")
    expect(preview).to_contain_text("Drop the pair: strength below 0.")
    expect(page.get_by_label("Name")).to_have_value("by hand")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="by hand")).to_be_visible()
    assert scene.dataset.policies.get().rules[0]["then"] == {"action": "drop"}
    context.close()
