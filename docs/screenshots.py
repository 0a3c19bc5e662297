"""Take the pictures of README and docs from the running demo, with a real browser.

    .venv/bin/python docs/screenshots.py [--output docs/images]

The demo runs in a temporary CURATOR_HOME, which is gone afterwards.
"""

import argparse
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--hide-scrollbars",
]
LONGEST_START = 900.0  # a busy machine takes its time to train
LONGEST_STOP = 60.0
LINK = re.compile(r"^\s*(owner|curator|annotator)\s+(http://\S+)")
LAST = "Ctrl-C stops everything"
ANSWERS = 6  # practice among them, before the picture of labelling is taken
PLANTED = ROOT / "curator" / "demo" / "planted_flips.jsonl"
SAMPLE, REVIEWED = 120, 70  # labels of the audit sample, and how many of them the curator decides
DESKTOP, PHONE = (1440, 900), (390, 844)
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images")
    output: Path = parser.parse_args().output
    executable = browser_executable()
    output.mkdir(parents=True, exist_ok=True)
    with demo() as links, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        take_all(browser, links["curator"], output)
        take_desk(browser, links["owner"], output)
        take_labelling(browser, links["annotator"], output)
        browser.close()
    size = sum(path.stat().st_size for path in output.glob("*.png"))
    tell(f"{len(list(output.glob('*.png')))} pictures in {output}, {size / 1024:.0f} KiB.")


def browser_executable() -> str:
    """The first installed Chromium, or an exit that says what to install."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise SystemExit(
        f"No browser is installed: put one of {', '.join(BROWSERS)} on the PATH, then try again."
    )


@contextmanager
def demo() -> Iterator[dict[str, str]]:
    """The demo on a free port; yields one one-time sign-in link for each role."""
    with tempfile.TemporaryDirectory(prefix="curator-screenshots-") as home:
        environment = {
            **{k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")},
            "CURATOR_HOME": home,
            "WORKER_NICENESS": "0",
        }
        command = [sys.executable, "manage.py", "demo", "--port", str(free_port())]
        tell("Starting the demo (about half a minute).")
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield wait_for_links(process)
            finally:
                process.send_signal(signal.SIGINT)
                stop(process)


def wait_for_links(process: subprocess.Popen[str]) -> dict[str, str]:
    """Read what the demo says until it has printed its links; what follows is read and thrown
    away."""
    stream = process.stderr or io.StringIO()
    watchdog = threading.Timer(LONGEST_START, process.kill)
    watchdog.start()
    said = []
    links: dict[str, str] = {}
    for line in stream:
        said.append(line)
        if found := LINK.search(line):
            links.setdefault(found[1], found[2])
        if LAST in line:
            watchdog.cancel()
            threading.Thread(target=stream.read, daemon=True).start()
            return links
    watchdog.cancel()
    raise SystemExit(f"The demo ended before it served:\n{''.join(said[-10:])}")


def stop(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(timeout=LONGEST_STOP)
    except subprocess.TimeoutExpired:
        process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def take_all(browser: Browser, link: str, output: Path) -> None:
    """Sign in once, do what the pictures show, and take each in light and in dark."""
    base = "{0.scheme}://{0.netloc}".format(urlsplit(link))
    signed_in = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    page = signed_in.new_page()
    page.goto(link)
    page.get_by_role("button", name="Continue as").click()
    page.locator("#review .pair").wait_for()
    run_url = audited_run(page, base)
    snapshot_url = exported_snapshot(page, base)
    pages = {
        "review": first_short_pair(page, base),
        "run": run_url,
        "snapshot": snapshot_url,
        "rounds": f"{base}/datasets/demo/labelling/",
        "disputes": f"{base}/datasets/demo/disputes/",
        "team": f"{base}/datasets/demo/team/",
    }
    for scheme in SCHEMES:
        with context_like(browser, signed_in, DESKTOP, scheme) as context:
            for name, url in pages.items():
                take(context, url, output / f"{name}-{scheme}.png")
        with context_like(browser, signed_in, PHONE, scheme) as context:
            take(context, pages["review"], output / f"review-phone-{scheme}.png")


def take_desk(browser: Browser, link: str, output: Path) -> None:
    """Curate the dataset with planted flips, as docs/curating.md does, and take what it shows."""
    base = "{0.scheme}://{0.netloc}".format(urlsplit(link))
    desk = f"{base}/datasets/demo-planted"
    signed_in = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    page = signed_in.new_page()
    page.goto(link)
    page.get_by_role("button", name="Continue as").click()
    page.wait_for_url(re.compile("/datasets/"))
    freeze(page, desk)
    reviewed_sample(page, desk)
    planted(page, desk)
    pages = {
        "evidence": f"{desk}/evidence/",
        "planted": f"{desk}/evidence/#planted",
        "hidden": f"{desk}/review/?queue=audit",
    }
    for scheme in SCHEMES:
        with context_like(browser, signed_in, DESKTOP, scheme) as context:
            for name, url in pages.items():
                take(context, url, output / f"{name}-{scheme}.png")
            take_panel(context, desk, output / f"pairs-{scheme}.png")
            take_policy(context, desk, output / f"policy-{scheme}.png")
            take_bulk(context, desk, output / f"bulk-{scheme}.png")
    take_decided(browser, signed_in, page, desk, output)


def take_decided(
    browser: Browser, signed_in: BrowserContext, page: Page, desk: str, output: Path
) -> None:
    """Decide many pairs at once and freeze them, and take what shows them decided."""
    decided_in_bulk(page, desk)
    pages = {
        "batch": applied_policy(page, desk),
        "changes": f"{desk}/snapshots/2/changes/1/",
        "activity": f"{desk}/activity/",
        "overview": f"{desk}/",
    }
    freeze(page, desk)
    pages["experiment"] = experiment(page, desk)
    pages["recipe"] = f"{desk}/recipes/new/?recipe=soft+labels+%2B+margin"
    for scheme in SCHEMES:
        with context_like(browser, signed_in, DESKTOP, scheme) as context:
            for name, url in pages.items():
                take(context, url, output / f"{name}-{scheme}.png")
        with context_like(browser, signed_in, PHONE, scheme) as context:
            take(context, pages["overview"], output / f"overview-phone-{scheme}.png")


def take_labelling(browser: Browser, link: str, output: Path) -> None:
    """Sign in as an annotator, answer some pairs, and take the next one."""
    base = "{0.scheme}://{0.netloc}".format(urlsplit(link))
    signed_in = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    page = signed_in.new_page()
    page.goto(link)
    page.get_by_role("button", name="Continue as").click()
    for _ in range(ANSWERS):
        answer(page)
    for scheme in SCHEMES:
        for size, name in ((DESKTOP, "label"), (PHONE, "label-phone")):
            with context_like(browser, signed_in, size, scheme) as context:
                take(context, f"{base}/datasets/demo/label/", output / f"{name}-{scheme}.png")


def answer(page: Page) -> None:
    """Prefer the first response; after practice, go on from what it teaches."""
    page.locator("[name=choice][value=first]").wait_for(state="attached")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.wait_for_load_state("networkidle")
    if page.locator("[data-continue]").count():
        page.keyboard.press("Enter")
        page.wait_for_load_state("networkidle")


@contextmanager
def context_like(
    browser: Browser,
    signed_in: BrowserContext,
    size: tuple[int, int],
    scheme: Literal["light", "dark"],
) -> Iterator[BrowserContext]:
    """A browser context of the given size and colour scheme, signed in as the other one is."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        device_scale_factor=1,
        reduced_motion="reduce",
        storage_state=signed_in.storage_state(),
    )
    try:
        yield context
    finally:
        context.close()


def take(context: BrowserContext, url: str, path: Path) -> None:
    """A picture of what the window shows of the page."""
    page = context.new_page()
    page.goto(url)
    picture(page, path)


def picture(page: Page, path: Path) -> None:
    """A picture of the page as it stands, once all is drawn, or of the part that its address
    names."""
    page.locator("main").wait_for()
    for chart in page.locator(".chart").all():
        chart.locator(".main-svg").first.wait_for()
    page.wait_for_load_state("networkidle")
    part = urlsplit(page.url).fragment
    if part:
        page.locator(f"#{part}").screenshot(path=path)
    else:
        page.screenshot(path=path)
    tell(f"  {path.name}")
    page.close()


def take_panel(context: BrowserContext, desk: str, path: Path) -> None:
    """The list with the third pair beside it."""
    page = context.new_page()
    page.goto(f"{desk}/pairs/?flag=flipped")
    page.locator(".facet").first.wait_for()
    for _ in range(3):
        page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.locator("#panel h2").first.wait_for()
    picture(page, path)


def take_policy(context: BrowserContext, desk: str, path: Path) -> None:
    """A preset in the editor, with what it would do."""
    page = context.new_page()
    page.goto(f"{desk}/policies/new/?preset=conservative")
    page.locator("#policy-preview .effects").wait_for()
    page.locator("#policy-preview .examples").wait_for()
    picture(page, path)


def take_bulk(context: BrowserContext, desk: str, path: Path) -> None:
    """What dropping the pairs of a filter would do."""
    page = context.new_page()
    page.goto(f"{desk}/pairs/decide/?check=cycle&check=contradicted")
    page.get_by_label("drop the pairs").check()
    page.locator("#bulk-preview button[value=confirm]").wait_for()
    picture(page, path)


def audited_run(page: Page, base: str) -> str:
    """The run of the demo whose audit, asked for here, has ended."""
    page.goto(f"{base}/datasets/demo/ensembles/")
    page.get_by_role("link", name=re.compile(r"^Run \d+$")).first.click()
    url = page.url
    page.get_by_role("button", name="Plant and audit").click()
    page.locator(".audit dt", has_text="AUROC").wait_for(timeout=120_000)
    return url


def exported_snapshot(page: Page, base: str) -> str:
    """A snapshot whose export for TRL's RewardTrainer is written."""
    page.goto(f"{base}/datasets/demo/snapshots/")
    page.get_by_role("button", name="Freeze a snapshot").click()
    page.locator("#exports article", has_text="TRL RewardTrainer").get_by_role("button").click()
    page.locator("#exports a[download]").first.wait_for(timeout=120_000)
    return page.url


def freeze(page: Page, desk: str) -> None:
    page.goto(f"{desk}/snapshots/")
    page.get_by_role("button", name="Freeze a snapshot").click()
    page.locator(".dataset-card").wait_for()


def reviewed_sample(page: Page, desk: str) -> None:
    """Draw a sample and decide the first labels of it as somebody would who knows which ones were
    planted; then fit probabilities to these verdicts."""
    page.goto(f"{desk}/evidence/")
    page.get_by_label("Labels to draw").fill(str(SAMPLE))
    page.get_by_role("button", name="Draw a sample").click()
    page.get_by_role("link", name="Review them").wait_for()
    flipped = {row["id"]: row["flipped"] for row in map(json.loads, PLANTED.open())}
    page.goto(f"{desk}/review/?queue=audit")
    page.get_by_role("button", name="Evidence hidden").click()
    for _ in range(REVIEWED):
        name = page.locator(".review-bar > .muted").inner_text()
        pair = page.locator("#review").get_attribute("data-pair")
        verdict = "flip" if flipped[name] else "keep"
        page.locator(f"button[name=verdict][value={verdict}]").click()
        page.locator(f"#review:not([data-pair='{pair}']):not([aria-busy])").wait_for()
        page.locator("form.decide button:enabled").first.wait_for()
    page.get_by_role("button", name="Evidence shown").click()
    page.get_by_role("button", name="Evidence hidden").wait_for()
    page.goto(f"{desk}/evidence/")
    page.get_by_role("button", name="Fit to the verdicts").click()
    page.locator("#recalibration .chart").wait_for()


def planted(page: Page, desk: str) -> None:
    """An audit by planted flips that has ended."""
    page.goto(f"{desk}/evidence/")
    page.get_by_role("button", name="Plant and audit").click()
    page.locator("#planted .lift").wait_for(timeout=120_000)


def decided_in_bulk(page: Page, desk: str) -> None:
    """Pairs with a response that stops in the middle, dropped as one batch."""
    page.goto(f"{desk}/pairs/decide/?check=cut_off")
    page.get_by_label("drop the pairs").check()
    page.get_by_label("Reason").fill("a response stops in the middle")
    page.locator("#bulk-preview button[value=confirm]").click()
    page.get_by_text("Left as they were").or_(page.get_by_text("Its pairs")).first.wait_for()


def applied_policy(page: Page, desk: str) -> str:
    """The conservative preset, applied. The address of its batch."""
    page.goto(f"{desk}/policies/new/?preset=conservative")
    page.get_by_role("button", name="Apply…").click()
    page.get_by_role("button", name="Decide").click()
    page.get_by_role("heading", name="Its pairs").wait_for(timeout=120_000)
    return page.url


def experiment(page: Page, desk: str) -> str:
    """Raw labels, the last snapshot and soft labels, judged by what was planted; the address of the
    report."""
    page.goto(f"{desk}/experiments/new/")
    page.get_by_role("button", name="Add an arm").click()
    page.get_by_label("Name of arm 3").fill("soft labels")
    page.get_by_label("Recipe of arm 3").select_option("soft labels")
    page.get_by_label("a file that says").check()
    page.get_by_label("The file").set_input_files(PLANTED)
    page.get_by_role("button", name="Start the experiment").click()
    page.locator(".verdict-sentence").wait_for(timeout=600_000)
    return page.url


def first_short_pair(page: Page, base: str) -> str:
    """Among the most suspect labels the first whose prompt and responses fit on one screen."""
    page.goto(f"{base}/datasets/demo/pairs/?flag=flipped")
    links = page.locator("a[href*='/datasets/demo/pairs/']").evaluate_all(
        "links => links.map(link => link.href).filter(href => /\\/pairs\\/\\d+\\/$/.test(href))"
    )
    for url in dict.fromkeys(links):
        page.goto(url)
        texts = page.locator(".prompt .text, .response .text").all_text_contents()
        if all(len(text) < 700 for text in texts) and all(len(text) > 120 for text in texts[1:]):
            return str(url)
    return f"{base}/datasets/demo/review/"


def tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
