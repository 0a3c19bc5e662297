import pytest

from tests import scenarios
from tests.scenarios import Scene


@pytest.fixture
def scene(db: object, tiny_backbone: str) -> Scene:
    return scenarios.scene(tiny_backbone)
