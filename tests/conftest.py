"""What every test stands on: people and data at hand, and no built assets needed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
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


@pytest.fixture(scope="session", autouse=True)
def _no_session_left(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """PostgreSQL drops no database that somebody uses, and a killed worker's session lingers."""
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


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
