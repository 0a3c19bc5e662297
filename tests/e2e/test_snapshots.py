"""From one snapshot to the next and back: tags, the card, what changed, restoring, and the feed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from annotations import decisions, tasks
from annotations.models import DecisionBatch, PreferencePair, Verdict
from scoring import freezing
from tests.e2e.conftest import sign_in
from tests.scenarios import Scene


@pytest.fixture
def at(
    page: Page, context: BrowserContext, live_server: Any, scene: Scene, troubles: list[str]
) -> Any:
    """Opens an address of the scene's dataset as its curator, once two snapshots differ: one pair
    was flipped and one dropped."""
    sign_in(context, live_server, scene.curator)
    one, other = scene.dataset.pairs.labelled().order_by("pk")[:2]
    for pair, verdict in ((one, Verdict.FLIP), (other, Verdict.DROP)):
        decisions.decide(
            pair=pair, verdict=verdict, by=scene.curator, based_on=None, reason=f"to {verdict}"
        )
    freezing.freeze(dataset=scene.dataset, by=scene.curator)

    def go(path: str) -> Page:
        page.goto(f"{live_server.url}/datasets/scene/{path}")
        return page

    return go


def undecided(scene: Scene) -> int:
    return scene.dataset.standings.undecided().count()


def worked_off() -> None:
    """The worker's part."""
    for batch in DecisionBatch.objects.filter(status=DecisionBatch.Status.QUEUED):
        tasks.decide_batch(batch_id=batch.pk)


def test_what_changed_is_found_and_leads_to_the_pairs(
    at: Any, scene: Scene, accessible: Callable[[Page], None]
) -> None:
    page = at("snapshots/2/")
    page.get_by_label("What changed between this and").select_option("1")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="From snapshot 1 to snapshot 2")).to_be_visible()
    expect(page.locator("#changed tbody tr")).to_have_count(2)
    expect(page.get_by_text("decided one by one")).to_be_visible()
    accessible(page)
    page.get_by_role("row", name="undecided").get_by_role("link").first.click()
    row = page.locator("#changed tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("“to drop”")
    row.get_by_role("link").click()
    expect(page.get_by_role("button", name="Drop")).to_have_attribute("aria-pressed", "true")


def test_a_snapshot_is_tagged_and_its_card_downloaded(
    at: Any, scene: Scene, tmp_path: Path, accessible: Callable[[Page], None]
) -> None:
    page = at("snapshots/1/")
    page.get_by_label("Tag it as").fill("v1")
    page.get_by_role("button", name="Tag", exact=True).click()
    expect(page.get_by_role("list", name="Tags")).to_contain_text("v1")
    accessible(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download it as Markdown").click()
    path = tmp_path / "card.md"
    download.value.save_as(path)
    assert path.read_text().startswith('---\npretty_name: "Scene"\n')
    expect(page.locator(".dataset-card")).to_contain_text("How the labels were checked")
    at("snapshots/tags/v1/")
    expect(page.get_by_role("heading", name="Snapshot 1")).to_be_visible()
    page.get_by_role("button", name="Take the tag v1 away").click()
    expect(page.get_by_role("list", name="Tags")).not_to_contain_text("v1")


def test_decisions_are_restored_after_a_look_and_the_restoring_undone(
    at: Any, scene: Scene, accessible: Callable[[Page], None]
) -> None:
    before = undecided(scene)
    page = at("snapshots/1/")
    page.get_by_role("link", name="Restore its decisions…").click()
    expect(page.get_by_text("2 pairs would get the verdict back")).to_be_visible()
    accessible(page)
    page.get_by_label("Reason").fill("the review was of the wrong file")
    page.get_by_role("button", name="Restore 2 verdicts").click()
    expect(page.get_by_text("are being restored")).to_be_visible()
    worked_off()
    assert undecided(scene) == before + 2
    page.reload()
    page.get_by_role("link", name="Undo").click()
    page.get_by_role("button", name="Take it back").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("take back batch")
    worked_off()
    assert undecided(scene) == before
    assert set(PreferencePair.objects.values_list("standing__verdict", flat=True)) == {
        "",
        "flip",
        "drop",
    }


def test_the_feed_names_what_was_done_and_leads_there(
    at: Any, scene: Scene, accessible: Callable[[Page], None]
) -> None:
    page = at("activity/")
    expect(page.get_by_role("link", name="casey decided 2 times: 1 flip, 1 drop")).to_be_visible()
    accessible(page)
    page.get_by_label("What").select_option("decisions")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".feed li:not(.day)")).to_have_count(1)
    page.get_by_role("link", name="decided 2 times").click()
    expect(page.get_by_role("heading", name="What casey decided")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(2)
    accessible(page)


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_fit(at: Any, page: Page, size: tuple[int, int], theme: Any) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=theme)
    for path in ("snapshots/", "snapshots/2/", "snapshots/2/changes/1/", "snapshots/1/restore/"):
        at(path)
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{path} is {overflow} px too wide"
    at("activity/")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
