"""The charts of the overview lead to their pairs: by mouse, by keyboard, and without scripts."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.http import QueryDict
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect

from annotations import filters
from scoring.models import PairScore
from tests.e2e.conftest import sign_in
from tests.scenarios import Scene

Box = dict[str, float]


@pytest.fixture
def overview(page: Page, live_server: Any, scene: Scene, troubles: list[str]) -> Page:
    """The overview, its charts drawn; nothing may be complained of."""
    sign_in(page.context, live_server, scene.curator)
    page.goto(live_server.url + reverse("scoring:overview", args=["scene"]))
    expect(page.locator('[data-figure="histogram"] .barlayer .point').first).to_be_attached()
    expect(page.locator('[data-figure="map"] .scatterlayer .trace').first).to_be_attached()
    return page


def plot_of(page: Page, name: str) -> Box:
    """Where the plane of a chart lies on the screen."""
    place = page.locator(f'[data-figure="{name}"]')
    place.scroll_into_view_if_needed()
    box = place.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    return {name: float(value) for name, value in box.items()}  # type: ignore[arg-type]


def range_of(page: Page, name: str, axis: str) -> list[float]:
    drawn = f"document.querySelector('[data-figure=\"{name}\"]')._fullLayout.{axis}.range"
    return list(page.evaluate(drawn))


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=4)
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def listed(page: Page, scene: Scene) -> set[int]:
    """The pairs that the list shows under the filter of its address."""
    expect(page.get_by_role("heading", name="Pairs", level=1)).to_be_visible()
    asked = filters.from_query(QueryDict(urlsplit(page.url).query))
    assert asked.problems == ()
    found = scene.dataset.standings.filter(filters.where(asked.clauses))
    ids = set(found.values_list("pk", flat=True))
    for pair_id in ids:
        address = reverse("scoring:pair", args=["scene", pair_id])
        expect(page.locator(f'#pairs a[href^="{address}"]').first).to_be_attached()
    return ids


def labels_between(
    scene: Scene, low: float, high: float, holds: Callable[[PairScore], bool] = lambda score: True
) -> set[int]:
    scores = PairScore.objects.filter(run=scene.run, strength__gte=low, strength__lte=high)
    return {score.pair_id for score in scores.exclude(flag="") if holds(score)}


def test_dragging_over_the_histogram_lists_exactly_the_pairs_of_its_bars(
    overview: Page, scene: Scene
) -> None:
    edges = scene.run.summary["histogram"]["edges"]
    plot, (left, right) = plot_of(overview, "histogram"), range_of(overview, "histogram", "xaxis")

    def across(strength: float) -> float:
        return plot["x"] + (strength - left) / (right - left) * plot["width"]

    middle = plot["y"] + plot["height"] / 2
    first, last = 22, 37  # bars
    step = edges[1] - edges[0]
    start = across(edges[first] + 0.2 * step)
    drag(overview, (start, middle), (across(edges[last + 1] - 0.2 * step), middle + 20))
    overview.wait_for_url("**/pairs/?**")
    expected = labels_between(scene, edges[first], edges[last + 1])
    assert 0 < len(expected) < 28
    assert listed(overview, scene) == expected


def test_dragging_to_the_end_takes_in_what_lies_beyond(overview: Page, scene: Scene) -> None:
    plot = plot_of(overview, "histogram")
    middle = plot["y"] + plot["height"] / 2
    drag(
        overview,
        (plot["x"] + plot["width"] / 2, middle),
        (plot["x"] + plot["width"] - 1, middle + 10),
    )
    overview.wait_for_url("**/pairs/?**")
    assert "strength_to" not in parse_qs(urlsplit(overview.url).query)
    strongest = PairScore.objects.filter(run=scene.run).exclude(flag="").order_by("strength").last()
    assert strongest is not None
    assert strongest.pair_id in listed(overview, scene)


def test_what_is_dragged_over_is_said_meanwhile(overview: Page) -> None:
    plot = plot_of(overview, "histogram")
    middle = plot["y"] + plot["height"] / 2
    overview.mouse.move(plot["x"] + 5, middle)
    overview.mouse.down()
    overview.mouse.move(plot["x"] + plot["width"] - 5, middle, steps=6)
    told = overview.locator("#strength .selection")
    expect(told).to_contain_text("28 labels")
    expect(told).to_have_attribute("aria-live", "polite")
    overview.mouse.up()
    overview.wait_for_url("**/pairs/**")


def test_a_box_on_the_map_lists_exactly_the_pairs_inside(overview: Page, scene: Scene) -> None:
    plot = plot_of(overview, "map")
    drag(
        overview,
        (plot["x"] + 0.45 * plot["width"], plot["y"] + 0.02 * plot["height"]),
        (plot["x"] + 0.99 * plot["width"], plot["y"] + 0.98 * plot["height"]),
    )
    overview.wait_for_url("**/pairs/?**")
    asked = parse_qs(urlsplit(overview.url).query)
    names = ("strength_from", "strength_to", "spread_from", "spread_to")
    low, high, least, most = (float(asked[name][0]) for name in names)
    expected = labels_between(scene, low, high, lambda score: least <= (score.spread or 0) <= most)
    assert 0 < len(expected) < 28
    assert listed(overview, scene) == expected


def test_a_point_of_the_map_leads_to_its_pair(overview: Page) -> None:
    plot_of(overview, "map")
    point = overview.locator('[data-figure="map"] .scatterlayer .point').last.bounding_box()
    assert point is not None
    overview.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    overview.mouse.down()
    overview.mouse.up()
    overview.wait_for_url("**/pairs/*/")


def test_a_range_can_be_typed(overview: Page, scene: Scene) -> None:
    overview.locator("#histogram-from").focus()
    overview.keyboard.type("-0.5")
    overview.keyboard.press("Tab")
    overview.keyboard.type("0.9")
    overview.keyboard.press("Enter")
    overview.wait_for_url("**/pairs/?**")
    assert listed(overview, scene) == labels_between(scene, -0.5, 0.9)


def test_without_scripts_the_tables_say_the_same_and_lead_on(
    browser: Browser, live_server: Any, scene: Scene
) -> None:
    context = browser.new_context(java_script_enabled=False)
    sign_in(context, live_server, scene.curator)
    page = context.new_page()
    page.goto(live_server.url + reverse("scoring:overview", args=["scene"]))
    page.locator("#strength .as-table summary").click()
    expect(page.locator("#strength tbody tr").first).to_be_visible()
    page.locator("#deciles tbody a").first.click()
    weakest = scene.run.summary["deciles"][0]
    expected = labels_between(scene, weakest["lowest"], weakest["highest"])
    assert listed(page, scene) == expected
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_in_the_way_of_anybody(
    browser: Browser, live_server: Any, scene: Scene, accessible: Callable[[Page], None], theme: Any
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=theme)
    sign_in(context, live_server, scene.curator)
    page = context.new_page()
    page.goto(live_server.url + reverse("scoring:overview", args=["scene"]))
    expect(page.locator('[data-figure="length"] .scatterlayer .trace').first).to_be_attached()
    for summary in page.locator("details > summary").all():
        summary.click()
    accessible(page)
    context.close()
