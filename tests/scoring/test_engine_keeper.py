"""Loaded checkpoints are kept while they fit together, and what they share counts once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scoring.engine.checkpoints import Checkpoint, Setup, load
from scoring.engine.decoders import share_weights
from scoring.engine.keeper import Keeper
from tests import tiny_models


@pytest.fixture
def loader(tmp_path: Path) -> Callable[[int], Callable[[], Checkpoint]]:
    """What loads the model of a seed; all have their two lowest layers in common."""

    def of(seed: int) -> Callable[[], Checkpoint]:
        folder = tiny_models.decoder(tmp_path / str(seed), seed=seed, shared_layers=2)
        return lambda: load(str(folder), setup=Setup())

    return of


def test_the_least_recently_used_leaves_first(
    loader: Callable[[int], Callable[[], Checkpoint]],
) -> None:
    keeper = Keeper()
    first = keeper.get("a", loader(1), bytes_needed=0)
    size = keeper.bytes
    keeper.most_bytes = 2 * size
    keeper.get("b", loader(2), bytes_needed=size)
    assert keeper.get("a", loader(1), bytes_needed=size) is first
    keeper.get("c", loader(3), bytes_needed=size)
    assert list(keeper.kept) == ["a", "c"]


def test_weights_that_members_share_count_once(
    loader: Callable[[int], Callable[[], Checkpoint]],
) -> None:
    keeper = Keeper()
    members = [keeper.get(name, loader(n), bytes_needed=0) for n, name in enumerate("ab")]
    apart = keeper.bytes
    share_weights(members, 2)
    assert keeper.bytes < 0.75 * apart
