import math

import pytest

from curator.lib import kept
from tests import scenarios
from tests.scenarios import Scene


@pytest.fixture
def scene(db: object, tiny_backbone: str) -> Scene:
    return scenarios.scene(tiny_backbone)


@pytest.fixture(autouse=True)
def figures_are_computed_when_something_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes on a slow machine; elsewhere they are then shown for a while as they
    were."""
    monkeypatch.setattr(kept, "CHEAP", math.inf)
