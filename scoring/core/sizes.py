"""How much memory heads with a hidden layer take while they learn, told before they begin."""

from curator.lib.refusals import Refusal
from scoring.core.recipes import DIFFERENCES, HIDDEN, SIMCSE, Recipe

# main directions that are read: the rest costs as much again, and nothing more was found in it
COMPONENTS = 256
LARGEST = 8 << 30  # bytes
NUMBER = 4  # bytes
# numbers held at once for each that is named, as measured on CPUs: hidden units of a view with
# their masks and slopes; likenesses of all samples of a batch; parameters with what AdamW knows
UNITS, LIKENESSES, PARAMETERS = 8, 3, 8


class TooLarge(Refusal):
    """A training would hold more at once than any machine is asked for."""


def bytes_of_step(recipe: Recipe, *, members: int, pairs: int) -> int:
    """What one step of all members holds, about."""
    hidden, meta, contrasts = recipe.model.hidden, recipe.meta, recipe.contrastive
    responses = 2 * min(recipe.optimiser.batch, pairs)
    views = 1 if contrasts is None else 2
    numbers = UNITS * views * responses * hidden + PARAMETERS * COMPONENTS * (hidden + 1)
    if contrasts is not None and contrasts.method == SIMCSE:
        samples = responses // 2 if contrasts.on == DIFFERENCES else responses
        numbers += LIKENESSES * samples**2
    if meta is not None:
        numbers += UNITS * meta.prompts * meta.responses * hidden
    return NUMBER * members * numbers


def check_step(recipe: Recipe, *, members: int, pairs: int) -> None:
    """Raises TooLarge where the members' steps are larger than LARGEST; linear heads are of one
    size."""
    if recipe.model.kind != HIDDEN:
        return
    found = bytes_of_step(recipe, members=members, pairs=pairs)
    if found > LARGEST:
        raise TooLarge(
            f"A step of the recipe “{recipe.name}” holds about {found / (1 << 30):,.0f} GB with "
            f"{members} members of {recipe.model.hidden:,} hidden units and batches of "
            f"{recipe.optimiser.batch:,}, and at most {LARGEST >> 30} GB are taken: ask for fewer "
            f"members, fewer hidden units or smaller batches."
        )
