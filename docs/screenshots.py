"""Take the pictures of README and docs from the running demo, with a real browser.

    .venv/bin/python docs/screenshots.py [--output docs/images]

The demo runs in a temporary CURATOR_HOME, which is gone afterwards.
"""

import argparse
import io
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
LONGEST_START = 300.0
LONGEST_STOP = 60.0
LINK = re.compile(r"^\s*(owner|curator|annotator)\s+(http://\S+)")
LAST = "Ctrl-C stops everything"
ANSWERS = 6  # practice among them, before the picture of labelling is taken
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
        "overview": f"{base}/datasets/demo/",
        "pairs": f"{base}/datasets/demo/pairs/?flag=flipped",
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
    page.locator("main").wait_for()
    for chart in page.locator(".chart").all():
        chart.locator(".main-svg").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path)
    tell(f"  {path.name}")
    page.close()


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
