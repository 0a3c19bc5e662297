"""What every test stands on: a home of its own, no service unless the environment names one, and
people at hand."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

HOME = Path(tempfile.mkdtemp(prefix="curator-tests-"))
XDIST_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")


def _of_this_process(url: str) -> str:
    """The Redis URL with a database number of this test process's own."""
    number = int("".join(filter(str.isdigit, XDIST_WORKER)) or 0) + 1
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))


# Before anything of Curator's is imported: its settings read the environment once.
os.environ["CURATOR_HOME"] = str(HOME)
os.environ["SECRET_KEY"] = "for-tests-only"
os.environ["LOG_LEVEL"] = "WARNING"
os.environ["DJANGO_SETTINGS_MODULE"] = "curator.settings"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop here
os.environ.pop("CURATOR_HTTPS", None)
if os.environ.get("REDIS_URL"):
    os.environ["REDIS_URL"] = _of_this_process(os.environ["REDIS_URL"])

from django.conf import settings  # noqa: E402
from hypothesis import HealthCheck  # noqa: E402
from hypothesis import settings as hypothesis_settings  # noqa: E402

from annotations.models import Dataset  # noqa: E402
from curator.models import User  # noqa: E402
from tests import factories  # noqa: E402

hypothesis_settings.register_profile(
    "curator", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("curator")


def pytest_configure() -> None:
    static = HOME / "static"
    static.mkdir(exist_ok=True)
    settings.STATIC_ROOT = static
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture
def home() -> Path:
    """The CURATOR_HOME of this test process."""
    return HOME


@pytest.fixture
def casey(db: Any) -> User:
    return factories.user("casey")


@pytest.fixture
def dataset(casey: User) -> Dataset:
    """A dataset that casey curates, without pairs."""
    return factories.dataset("pairs", curators=[casey])


@pytest.fixture
def as_casey(client: Any, casey: User) -> Any:
    """A browser without scripts in which casey is signed in."""
    client.force_login(casey)
    return client


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a small random encoder with MiniLM's tokenizer: everything real but good."""
    return str(factories.tiny_backbone(tmp_path_factory.mktemp("tiny-backbone")))
