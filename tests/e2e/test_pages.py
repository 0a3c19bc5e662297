"""Every page at a desk and on a phone, by day and by night: nothing breaks, nothing overflows."""

from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, expect

from scoring import launch
from tests.e2e.conftest import sign_in
from tests.scenarios import Scene

PAGES = {
    "scoring:datasets": (),
    "annotations:dataset-new": (),
    "machinery": (),
    "scoring:models": (),
    "scoring:model": ("tiny-llama",),
    "scoring:overview": ("scene",),
    "scoring:pairs": ("scene",),
    "scoring:review": ("scene",),
    "scoring:ensembles": ("scene",),
    "scoring:ensemble": ("scene", "heads"),
    "scoring:snapshots": ("scene",),
    "annotations:snapshot": ("scene", 1),
    "annotations:import-new": ("scene",),
    "scoring:policies": ("scene",),
    "scoring:activity": ("scene",),
    "scoring:evidence": ("scene",),
    "scoring:recipes": ("scene",),
    "scoring:recipe-new": ("scene",),
    "scoring:responses": ("scene",),
    "scoring:iterations": ("scene",),
    "scoring:experiments": ("scene",),
    "scoring:experiment-new": ("scene",),
}
# those that stand on more than one line
BROKEN_NUMBERS = """() => {
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const broken = [], number = /(?<!\\w)[+\u2212]?\\d[\\d,.\u202f]*\\d(?!\\w)/g;
  while (texts.nextNode()) {
    for (const found of texts.currentNode.data.matchAll(number)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, found.index);
      range.setEnd(texts.currentNode, found.index + found[0].length);
      const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
      if (lines.size > 1) broken.push(texts.currentNode.data.trim());
    }
  }
  return broken;
}"""
SIZES = {"desk": (1440, 900), "phone": (390, 844)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_fits_and_complains_of_nothing(
    browser: Browser, live_server: Any, scene: Scene, size: str, theme: Any
) -> None:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    sign_in(context, live_server, scene.curator)
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    addresses = {name: reverse(name, args=arguments) for name, arguments in PAGES.items()}
    addresses["run"] = reverse("scoring:run", args=["scene", scene.run.pk])
    both = ["scene", scene.run.pk, scene.run.pk]
    addresses["run-compare"] = reverse("scoring:run-compare", args=both)
    launch.assemble(
        dataset=scene.dataset,
        name="mixed",
        by=None,
        checkpoints=[scene.checkpoint],
        heads_of=scene.ensemble,
    )
    addresses["assembled"] = reverse("scoring:ensemble", args=["scene", "mixed"])
    addresses["import"] = reverse("annotations:import", args=["scene", scene.imported.pk])
    for name, address in addresses.items():
        page.goto(live_server.url + address)
        expect(page.locator("main")).to_be_visible()
        for details in page.locator("details").all():
            details.evaluate("element => { element.open = true }")
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{name} is {overflow} px too wide"
        assert page.evaluate(BROKEN_NUMBERS) == [], name
        assert troubles == [], name
    context.close()


def test_the_charts_are_drawn_and_lead_to_their_pairs(
    browser: Browser, live_server: Any, scene: Scene
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    sign_in(context, live_server, scene.curator)
    page = context.new_page()
    page.goto(f"{live_server.url}/datasets/scene/")
    bars = page.locator('[data-figure="histogram"] .barlayer .point path')
    expect(bars.first).to_be_attached()
    expect(page.locator('[data-figure="map"] .scatterlayer .trace').first).to_be_attached()
    page.locator('[data-figure="histogram"]').scroll_into_view_if_needed()
    boxes = [bar.bounding_box() for bar in bars.all()]
    box = max((box for box in boxes if box), key=lambda box: box["height"])
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.get_by_role("heading", name="Pairs")).to_be_visible()
    context.close()


def test_a_filter_narrows_the_list_and_back_leads_to_the_page_before(
    browser: Browser, live_server: Any, scene: Scene
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    sign_in(context, live_server, scene.curator)
    page = context.new_page()
    page.goto(f"{live_server.url}/datasets/scene/pairs/")
    count = scene.run.summary["flags"]["strong"]
    page.get_by_label("Flag").select_option("strong")
    expect(page.locator("#pair-count")).to_contain_text(f"{count} pair")
    page.go_back()
    expect(page.locator("#pair-count")).to_contain_text("29 pairs")
    expect(page.get_by_role("navigation", name="Dataset")).to_be_visible()
    context.close()
