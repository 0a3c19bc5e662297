"""What every test stands on: people and data at hand, and no built assets needed."""

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from annotations.models import Dataset
from curator.models import User
from tests import factories
from tests.environment import HOME

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
