"""A real browser on a real server. Skipped, with the reason, where no Chromium is installed."""

import shutil
from collections.abc import Callable, Iterator
from threading import Condition
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.signals import request_finished, request_started
from django.test import Client
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

from curator.models import User
from tests import scenarios
from tests.scenarios import Scene

LONGEST_ANSWER = 20.0  # seconds
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SWITCHES = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
expect.set_options(timeout=20_000)  # two browsers, two servers and CI's other work share two cores


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium is installed"))


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    return {"executable_path": CHROMIUM, "headless": True, "args": SWITCHES.split()}


@pytest.fixture(scope="session")
def browser_context_args() -> dict[str, Any]:
    return {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"}


@pytest.fixture(autouse=True)
def answered(transactional_db: Any) -> Iterator[None]:
    """No request is still being answered when a test's rows are cleared away: a page may ask for
    a part of itself at the very end, and PostgreSQL clears no table that is being read."""
    changed, open_requests = Condition(), 0

    def count(by: int) -> None:
        nonlocal open_requests
        with changed:
            open_requests += by
            changed.notify_all()

    def begin(**_: Any) -> None:
        count(1)

    def end(**_: Any) -> None:
        count(-1)

    request_started.connect(begin)
    request_finished.connect(end)
    yield
    with changed:
        all_ended = changed.wait_for(lambda: open_requests <= 0, timeout=LONGEST_ANSWER)
    request_started.disconnect(begin)
    request_finished.disconnect(end)
    assert all_ended, "a request was never answered"


@pytest.fixture
def scene(transactional_db: Any, tiny_backbone: str) -> Scene:
    return scenarios.scene(tiny_backbone)


@pytest.fixture
def troubles(page: Page) -> Iterator[list[str]]:
    """What the browser complained of: scripts that failed, rules of the policy that were broken.
    The test fails if there is anything at its end."""
    found: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        expected = ("Failed to load resource", "Response Status Error Code 4", "htmx:")
        if message.type == "error" and not message.text.startswith(expected):
            found.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: found.append(str(error)))
    yield found
    assert found == []


@pytest.fixture
def accessible() -> Callable[[Page], None]:
    """Fails where axe finds something serious or critical on the page as it stands."""

    def check(page: Page) -> None:
        violations = Axe().run(page).response["violations"]
        serious = [
            f"{found['id']}: {found['help']} at {node['target']}"
            for found in violations
            if found["impact"] in ("serious", "critical")
            for node in found["nodes"]
        ]
        assert serious == [], "\n".join(serious)

    return check


def sign_in(context: BrowserContext, live_server: Any, person: User) -> None:
    """As if the person had just signed in."""
    client = Client()
    client.force_login(person)
    cookie = client.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
