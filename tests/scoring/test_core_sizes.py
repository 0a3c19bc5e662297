"""How much memory a training takes is known before it begins."""

from typing import Any

import pytest

from scoring.core import sizes
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import Recipe, parse
from scoring.core.sizes import TooLarge


def hidden(*, batch: int = 64, width: int = 64, **parts: Any) -> Recipe:
    model, optimiser = {"kind": "hidden", "hidden": width}, {"batch": batch}
    return parse({"name": "wide", "model": model, "optimiser": optimiser, **parts})


SIMCSE = {"method": "simcse"}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_small_enough_for_a_hundred_members(name: str) -> None:
    sizes.check_step(PRESETS[name], members=100, pairs=1_000_000)


def test_what_no_machine_holds_is_refused_with_its_size() -> None:
    widest = hidden(batch=4096, width=4096, contrastive=SIMCSE)
    with pytest.raises(TooLarge, match=r"about \d+ GB with 100 members of 4,096 hidden units"):
        sizes.check_step(widest, members=100, pairs=10_000)
    sizes.check_step(widest, members=2, pairs=100)  # a batch is no larger than all pairs


@pytest.mark.parametrize(
    "larger",
    [
        hidden(batch=128),
        hidden(width=128),
        hidden(contrastive=SIMCSE),
        hidden(meta={}),
    ],
    ids=["batch", "width", "contrastive", "meta"],
)
def test_what_is_asked_for_beside_is_counted(larger: Recipe) -> None:
    plain = sizes.bytes_of_step(hidden(), members=10, pairs=1000)
    assert sizes.bytes_of_step(larger, members=10, pairs=1000) > plain
    assert sizes.bytes_of_step(hidden(), members=20, pairs=1000) == 2 * plain


def test_likenesses_grow_with_the_square_of_the_batch() -> None:
    few, many = (
        sizes.bytes_of_step(hidden(batch=batch, width=1, contrastive=SIMCSE), members=1, pairs=4096)
        for batch in (1024, 4096)
    )
    assert many > 14 * few
