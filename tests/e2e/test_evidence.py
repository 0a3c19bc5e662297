"""A curator draws a sample, reviews it by keys, and reads how many labels are wrong."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from scoring import device_tasks
from scoring.models import Audit, SampledPair
from tests.e2e.conftest import sign_in
from tests.scenarios import Scene

SIZE = 8


@pytest.fixture
def evidence(
    page: Page, context: BrowserContext, live_server: Any, scene: Scene, troubles: list[str]
) -> Page:
    """The page of evidence, open before its curator."""
    sign_in(context, live_server, scene.curator)
    page.goto(f"{live_server.url}/datasets/scene/evidence/")
    return page


def test_a_sample_is_drawn_reviewed_by_keys_and_says_how_many_labels_are_wrong(
    evidence: Page, accessible: Callable[[Page], None]
) -> None:
    page = evidence
    accessible(page)
    page.get_by_label("Labels to draw").fill(str(SIZE))
    page.get_by_role("button", name="Draw a sample").click()
    expect(page.get_by_text(f"0 of {SIZE} reviewed")).to_be_visible()
    page.get_by_role("link", name="Review them").click()
    page.wait_for_load_state("load")  # the keys are heard
    for row in SampledPair.objects.order_by("position"):
        expect(page.locator(f'#review[data-pair="{row.pair_id}"]')).to_be_visible()
        page.keyboard.press("1" if row.position else "t")
    expect(page.get_by_role("heading", name="Everything here is reviewed")).to_be_visible()
    page.get_by_role("link", name="Evidence", exact=True).click()
    expect(page.get_by_text(f"{SIZE} of {SIZE} reviewed")).to_be_visible()
    expect(page.get_by_text("1 unclear")).to_be_visible()
    expect(page.locator(".noise-rate")).to_contain_text("of the labels are wrong")
    expect(page.get_by_role("heading", name="By flag")).to_be_visible()
    accessible(page)
    page.get_by_label("More labels").fill("4")
    page.get_by_role("button", name="Enlarge the sample").click()
    expect(page.get_by_text(f"{SIZE} of {SIZE + 4} reviewed")).to_be_visible()


def test_planted_flips_are_audited_and_drawn(
    evidence: Page, accessible: Callable[[Page], None]
) -> None:
    page = evidence
    page.get_by_label("Labels to flip, in percent").fill("20")
    page.get_by_role("button", name="Plant and audit").click()
    expect(page.locator("#planted .state.queued")).to_be_visible()
    device_tasks.run_audit(audit_id=Audit.objects.get().pk)
    expect(page.get_by_text("as many as random review")).to_be_visible()
    expect(page.locator('[data-figure="audit"] .plotly')).to_be_visible()
    expect(page.get_by_role("cell", name="top 20")).to_be_visible()
    accessible(page)
