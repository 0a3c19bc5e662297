"""Recipes in plain words: what one does, in sentences; what it needs before it can be followed; and
the group that it is offered in."""

from collections.abc import Iterator, Sequence

from scoring.core.recipes import (
    BRADLEY_TERRY,
    DIFFERENCES,
    FULL,
    GOALS,
    HIDDEN,
    LINEAR,
    LORA,
    ROBUST,
    SIMCSE,
    UNBIASED,
    Contrastive,
    Loss,
    Meta,
    Model,
    Optimiser,
    Recipe,
    Then,
    Treatment,
    When,
)

PLAIN_GROUP = "Plain"
RUN_GROUP = "By what a run found"
LOSS_GROUP = "By the loss"
HIDDEN_GROUP = "With a hidden layer"
TUNED_GROUP = "Fine-tuning"
GROUPS = {
    PLAIN_GROUP: "The labels that hold, and nothing else.",
    RUN_GROUP: "Labels are turned round, softened, dropped or asked for a margin by their strength "
    "or flag in a run.",
    LOSS_GROUP: "All pairs alike, by another loss or weight.",
    HIDDEN_GROUP: "Heads that have features of their own to learn, and losses that pull on these.",
    TUNED_GROUP: "Whole models, or adapters on one; a task for each member, on a GPU in practice.",
}
NAMES_OF_FLAGS = {
    "flipped": "likely flipped",
    "ambiguous": "ambiguous",
    "clear": "clear",
    "strong": "strong",
}


def in_words(recipe: Recipe) -> list[str]:
    """What the recipe does, a sentence for each part, in the order in which they count."""
    said = [_model(recipe.model), _loss(recipe.loss)]
    said += [_treatment(treatment) for treatment in recipe.treatments]
    if len(recipe.treatments) > 1:
        said.append(
            "A pair takes every treatment that it meets; where two differ, the later counts."
        )
    if recipe.keeps_ties:
        said.append("Ties are learnt as even chances.")
    if recipe.contrastive is not None:
        said.append(_contrastive(recipe.contrastive))
    if recipe.meta is not None:
        said.append(_meta(recipe.meta))
    if recipe.model.kind != LINEAR:
        said.append(_optimiser(recipe.optimiser, recipe.model.kind))
    return said


def needs(recipe: Recipe) -> list[str]:
    """What must be there before the recipe can be followed, each as a phrase."""
    return list(_needs(recipe))


def group_of(recipe: Recipe) -> str:
    """The group that the recipe is offered in, one of GROUPS."""
    if recipe.model.kind in (LORA, FULL):
        return TUNED_GROUP
    if recipe.model.kind == HIDDEN:
        return HIDDEN_GROUP
    if recipe.needs_run:
        return RUN_GROUP
    return PLAIN_GROUP if recipe.is_plain else LOSS_GROUP


def _needs(recipe: Recipe) -> Iterator[str]:
    if recipe.needs_calibration:
        yield "an out-of-bag run, whose probabilities it takes"
    elif recipe.needs_run:
        yield "a run that has scored the dataset"
    if recipe.flags:
        yield f"pairs that the run flagged {_either([NAMES_OF_FLAGS[f] for f in recipe.flags])}"
    if recipe.needs_grades:
        yield "labels that say how strongly"
    if recipe.meta is not None:
        yield "a set of sampled responses"
    if recipe.model.kind in (LORA, FULL):
        yield f"the model {recipe.model.base}, and in practice a GPU"


def _model(model: Model) -> str:
    if model.kind == LINEAR:
        return "Linear heads on a frozen backbone, solved exactly."
    if model.kind == HIDDEN:
        return (
            f"Heads with a hidden layer of {model.hidden:,} units and {_percent(model.dropout)} "
            f"dropout, on a frozen backbone."
        )
    reads = f"reading at most {model.max_length:,} tokens of a text"
    if model.kind == LORA:
        return f"Adapters of rank {model.rank} (LoRA) on {model.base}, {reads}."
    return f"The whole of {model.base}, {reads}."


def _loss(loss: Loss) -> str:
    said = {
        BRADLEY_TERRY: "The loss is Bradley–Terry",
        UNBIASED: f"The loss is unbiased where {_percent(loss.noise)} of the labels are flipped at "
        f"random (rDPO)",
        ROBUST: f"The loss counts pairs less the worse they fit (Dr. DPO, β = {loss.beta:g})",
    }[loss.name]
    held = f"; rewards are held around 0 by {loss.centring:g} of their square"
    return f"{said}{held if loss.centring else ''}."


def _treatment(treatment: Treatment) -> str:
    return f"{_when(treatment.when)}: {_then(treatment.then)}."


def _when(when: When) -> str:
    if when.is_everything:
        return "Every pair"
    said = []
    if when.flags:
        said.append(f"flagged {_either([NAMES_OF_FLAGS[flag] for flag in when.flags])}")
    if when.percentile is not None:
        said.append(_span(*when.percentile))
    low, high = when.strength_from, when.strength_below
    if low is not None and high is not None:
        said.append(f"of strength {_signed(low)} to {_signed(high)}")
    elif high is not None:
        said.append("that the ensemble contradicts" if high == 0 else f"below {_signed(high)}")
    elif low is not None:
        said.append(f"of strength {_signed(low)} or more")
    return f"Pairs {' and '.join(said)}"


def _span(low: float, high: float) -> str:
    if low == 0.0:
        return f"among the weakest {_percent(high)}"
    if high == 1.0:
        return f"among the strongest {_percent(1.0 - low)}"
    return f"between {_percent(low)} and {_percent(high)} by strength, from the weakest"


def _then(then: Then) -> str:
    said = []
    if then.drop:
        said.append("left out")
    if then.flip:
        said.append("the label is turned round")
    if then.alpha is not None:
        said.append(f"the label is right with probability {1.0 - then.alpha:g}")
    if then.calibrated:
        said.append("the label is as probable as the run found it")
    if then.margin is not None:
        times = "" if then.margin == 1.0 else f"{then.margin:g} times "
        said.append(f"a margin of {times}its strength is asked for")
    if then.weight is not None:
        said.append(f"weighs {then.weight:g}")
    if then.by_grade:
        said.append("weighs as much as people said that they prefer")
    return ", ".join(said)


def _contrastive(of: Contrastive) -> str:
    what = "differences of responses" if of.on == DIFFERENCES else "responses"
    weight = f"weight {of.weight:g}, temperature {of.temperature:g}"
    if of.method == SIMCSE:
        return (
            f"Contrastive (SimCSE): features of {what} seen twice through dropout are pulled "
            f"together ({weight})."
        )
    if of.method == GOALS:
        return (
            f"Contrastive, by goals: states along a chosen response are drawn towards its end "
            f"({weight})."
        )
    return (
        f"Contrastive (SwAV): two views of {what} are assigned to the same of {of.prototypes:,} "
        f"prototypes ({weight})."
    )


def _meta(meta: Meta) -> str:
    return (
        f"MetaRM: each step is taken where the scores of {meta.responses} responses to each of "
        f"{meta.prompts} prompts are spread by an ascent of {meta.step:g} first."
    )


def _optimiser(of: Optimiser, kind: str) -> str:
    most = "At most " if of.patience else ""
    epochs = f"{most}{of.epochs:,} epoch{'' if of.epochs == 1 else 's'}"
    looks = "1 look" if of.patience == 1 else f"{of.patience:,} looks"
    often = "each epoch" if kind == HIDDEN else "about twenty times in all"
    stops = f"; stops after {looks} without a lower loss on what is held out, looked at {often}"
    return (
        f"{epochs} in batches of {of.batch:,} pairs, learning rate {of.learning_rate:g}, weight "
        f"decay {of.weight_decay:g}, {_percent(of.warm_up)} warm-up"
        f"{stops if of.patience else ''}."
    )


def _percent(share: float) -> str:
    return f"{100.0 * share:.3g} %"


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"


def _either(words: Sequence[str]) -> str:
    return " or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} or {words[-1]}"
