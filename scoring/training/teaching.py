"""Train the heads of an ensemble by a recipe: which trainer a recipe calls for."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from scoring.core.curves import Point
from scoring.core.recipes import HIDDEN, Recipe
from scoring.engine.heads import Slices
from scoring.training import heads, hidden
from scoring.training.heads import Space, Trained, TrainingPairs

Floats = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]
OnStep = Callable[[int, int], None]
OnLook = Callable[[Point], None]


def teach(
    pairs: TrainingPairs,
    bag: Booleans,
    recipe: Recipe,
    *,
    space: Space,
    slices: Slices,
    seed: int = 0,
    responses: Floats | None = None,
    trusted: Floats | None = None,
    on_step: OnStep | None = None,
    on_look: OnLook | None = None,
) -> Trained:
    """The heads for bags (n, members), trained as the recipe says on `pairs.targets`.

    `responses` (prompts, responses a prompt, components) are projected features of sampled
    responses, for a recipe with `meta`; `trusted` (n,) are trusted labels, +1 towards A, -1 towards
    B, 0 where unknown, to stop early by. `on_step` hears how many of all steps are done, `on_look`
    each point of the curve. Raises Diverged.
    """
    if recipe.model.kind == HIDDEN:
        return hidden.train(
            pairs,
            bag,
            recipe,
            space=space,
            seed=seed,
            responses=responses,
            trusted=trusted,
            on_step=on_step,
            on_look=on_look,
        )
    return heads.train(pairs, bag, space=space, slices=slices, loss=recipe.loss, on_step=on_step)
