"""One trial: train an arm on the folds that are not held out, with one seed, and ask its members
about the pairs that are. Runs on the device.

Nothing of a held-out prompt reaches the training: not its pairs, not the space that features are
projected on, and not the strengths that a recipe goes by. Those are measured inside the trial, by
an out-of-bag ensemble of linear heads that learns the arm's own labels on the same folds.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curator.lib import work
from curator.lib.refusals import Refusal
from scoring import fitting, labels
from scoring.core import calibration, curves, recipes, strength
from scoring.core.bags import bags, in_bag
from scoring.core.flags import FlagRule
from scoring.core.judging import FEWEST_TO_CALIBRATE, judge
from scoring.core.recipes import FLAGS, BadRecipe, Recipe
from scoring.core.targets import Measured, Targets, targets
from scoring.engine.heads import AnyHead, Head, Slices
from scoring.environment import environment
from scoring.experiments import material, planning, steps
from scoring.experiments.material import Material
from scoring.labels import Labelled
from scoring.models import Experiment, Trial
from scoring.shards import NotEnoughPairs
from scoring.training import heads
from scoring.training.diverging import Diverged
from scoring.training.heads import Trained
from scoring.training.teaching import teach

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

FEWEST_PAIRS = 20  # to learn from
KEPT = 4  # measurements, for the recipes that go by them


class CannotFollow(Refusal):
    """The recipe asks for what the arm's labels do not have."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What an arm learns in one fold: the pairs that count, their labels and their targets (m,)."""

    places: Indices  # in the material
    labels: Floats  # (m,): +1 where A is preferred, -1 where B is; +1 for a tie
    digests: list[str]
    targets: Targets


def run(trial: Trial) -> None:
    """Train, ask, and keep what was said."""
    experiment = trial.arm.experiment
    steps.begin(experiment)
    found = material.of(trial)
    started = time.monotonic()
    recipe = recipes.parse(trial.arm.recipe)
    lesson = _lesson(trial, recipe, found)
    trained, bag = _taught(trial, recipe, found, lesson)
    asked = _asked(trained, found, found.judged)
    scales = _scales(trained, bag)
    margins = strength.preference_strength(strength.standardise(asked, scales))
    figures = {
        "learnt_from": len(lesson.places),
        "turned": int(lesson.targets.flipped.sum()),
        "softened": int((lesson.targets.probability < 1.0).sum()),
        "slope": _slope(trained, bag, scales, lesson),
        "penalty": trained.penalty,
        "out_of_bag_loss": trained.loss,
        "warnings": trained.warnings,
        "seconds": time.monotonic() - started,
    }
    _note_environment(experiment)
    work.finish(
        trial,
        pair_ids=found.judged.astype(np.int64).tobytes(),
        margins=margins.astype(np.float32).tobytes(),
        figures=figures,
        curve=[point.as_dict() for point in curves.thinned(trained.curve)],
    )


def _lesson(trial: Trial, recipe: Recipe, found: Material) -> Lesson:
    """Raises NotEnoughPairs, CannotFollow."""
    arm = trial.arm
    labelled = material.labelled_of(arm, keeps_ties=recipe.keeps_ties)
    kept = np.array(
        [not planning.is_held_out(arm.experiment, group, trial.fold) for group in labelled.groups],
        dtype=np.bool_,
    )
    measured = _measured(trial, labelled, kept, found) if recipe.needs_run else None
    graded = any(treatment.then.by_grade for treatment in recipe.treatments)
    said = labels.Labels.SOURCE if arm.snapshot is None else arm.snapshot
    grades = labels.grades(labelled, arm.experiment.dataset, labels=said) if graded else None
    try:
        made = targets(
            labelled.labels[kept].astype(np.float64),
            recipe,
            measured=measured,
            probabilities=labelled.probabilities[kept],
            grades=None if grades is None else grades[kept],
        )
    except BadRecipe as error:
        raise CannotFollow(f"The arm {arm.name!r} cannot follow its recipe: {error}") from error
    used = np.flatnonzero(kept)[made.used]
    said_a = labelled.labels[used] >= 0
    lesson = Lesson(
        places=found.places(np.array(labelled.ids, dtype=np.int64)[used]),
        labels=np.where(said_a, 1.0, -1.0).astype(np.float32),
        digests=[labelled.digests[i] for i in used],
        targets=made.of(made.used),
    )
    if len(used) < FEWEST_PAIRS:
        raise NotEnoughPairs(
            f"The arm {arm.name!r} has {len(used)} pairs to learn from outside fold "
            f"{trial.fold + 1}; it needs at least {FEWEST_PAIRS}."
        )
    if len(set(lesson.targets.direction.tolist())) < 2:
        raise NotEnoughPairs(
            f"There is nothing to learn for the arm {arm.name!r}: all labels prefer the same side."
        )
    return lesson


_kept: "OrderedDict[tuple[Any, ...], Measured]" = OrderedDict()


def _measured(trial: Trial, labelled: Labelled, kept: Booleans, found: Material) -> Measured:
    """What an ensemble of linear heads makes of the arm's labels outside the fold, each pair by the
    members that have not learnt from it. Arms with the same labels share it."""
    arm = trial.arm
    held = trial.fold if arm.experiment.evaluated_on_id is None else -1
    name = (arm.experiment_id, held, trial.seed, arm.labels, arm.snapshot_id, len(labelled.ids))
    if name not in _kept:
        while len(_kept) >= KEPT:
            _kept.popitem(last=False)
        _kept[name] = _measure(trial, labelled, kept, found)
    _kept.move_to_end(name)
    return _kept[name]


def _measure(trial: Trial, labelled: Labelled, kept: Booleans, found: Material) -> Measured:
    chosen = np.flatnonzero(kept)
    told = chosen[labelled.labels[chosen] != 0]
    if len(told) < max(FEWEST_PAIRS, FEWEST_TO_CALIBRATE):
        raise NotEnoughPairs(
            f"The arm {trial.arm.name!r} has too few labels to measure their strength by: "
            f"{len(told)}."
        )
    places = found.places(np.array(labelled.ids, dtype=np.int64)[told])
    slices = fitting.slices_of([found.slices[i] for i in places])
    pairs = material.training_pairs(found, places, labelled.labels[told], slices)
    bag = _bag(trial, [labelled.digests[i] for i in told])
    trained = heads.train(
        pairs, bag, space=found.space, slices=slices, on_step=lambda done, total: work.renew(trial)
    )
    judged = judge(np.where(bag, np.nan, trained.margins.astype(np.float64)), FlagRule())
    assert judged.calibrated is not None
    strengths, probabilities = np.full(len(kept), np.nan), np.full(len(kept), np.nan)
    flags = np.full(len(kept), "", dtype="<U9")
    strengths[told], flags[told] = judged.strengths, judged.flagging.flags
    probabilities[told] = judged.calibrated.probabilities
    return labels.measured_of(
        strengths[kept], flags[kept], probabilities=probabilities[kept], given=frozenset(FLAGS)
    )


def _taught(
    trial: Trial, recipe: Recipe, found: Material, lesson: Lesson
) -> tuple[Trained, Booleans]:
    """The arm's members, and what each of them has learnt from (m, members)."""
    slices = fitting.slices_of([found.slices[i] for i in lesson.places])
    plain = material.training_pairs(found, lesson.places, lesson.labels, slices)
    pairs = heads.TrainingPairs(**{**vars(plain), "targets": lesson.targets})
    bag = _bag(trial, lesson.digests)

    def heard(done: int, total: int) -> None:
        work.renew(trial, steps_done=done, steps_total=total)

    try:
        trained = teach(
            pairs,
            bag,
            recipe,
            space=found.space,
            slices=slices,
            seed=trial.seed,
            on_step=heard,
        )
    except Diverged as error:
        raise CannotFollow(f"The arm {trial.arm.name!r} diverged: {error}") from error
    return trained, bag


def _bag(trial: Trial, digests: list[str]) -> Booleans:
    """The same for every arm of a seed: a pair lies in the same bags, whatever its label."""
    return in_bag(digests, bags(trial.arm.experiment.members_count, seed=trial.seed))


def _asked(trained: Trained, found: Material, ids: Indices) -> Doubles:
    """Margins towards A of pairs that were not learnt from, (n, members)."""
    places = found.places(ids)
    return _margins(trained.heads, found, places, trained.slices)


def _margins(members: list[AnyHead], found: Material, places: Indices, slices: Slices) -> Doubles:
    columns = []
    codes = slices.codes_of([found.slices[i] for i in places])
    for head in members:
        if isinstance(head, Head):
            # no effects of single responses: those of prompts that are not held out
            blocks = head.weights @ found.space.directions  # (1 + slices, components)
            parts = found.differences[places] @ blocks.T
            columns.append(parts[:, 0] + (parts[:, 1:] * codes).sum(axis=1))
        else:
            assert found.both is not None
            a, b = (
                np.maximum(side[places] @ head.weights.T + head.bias, 0.0) @ head.outputs
                for side in found.both
            )
            columns.append(a - b)
    return np.stack(columns, axis=1).astype(np.float64)


def _scales(trained: Trained, bag: Booleans) -> Doubles:
    """How loud each member speaks of pairs that it has not learnt from, (members,)."""
    return strength.member_scales(np.where(bag, np.nan, trained.margins.astype(np.float64)))


def _slope(trained: Trained, bag: Booleans, scales: Doubles, lesson: Lesson) -> float:
    """What makes probabilities of the arm's margins: fitted to what it was taught, out-of-bag, on
    the folds that it has learnt from."""
    unseen = np.where(bag, np.nan, trained.margins.astype(np.float64))
    strengths = strength.preference_strength(strength.standardise(unseen, scales))
    towards = strengths * lesson.labels * lesson.targets.direction
    known = np.isfinite(towards)
    towards, probability = towards[known], lesson.targets.probability[known]
    weight = lesson.targets.weight[known]
    return calibration.fit_slope(
        np.concatenate([towards, -towards]),
        np.concatenate([probability * weight, (1.0 - probability) * weight]),
    )


def _note_environment(experiment: Experiment) -> None:
    if experiment.environment:
        return
    backbone = material.backbone_of(experiment)
    noted = environment(
        device=backbone.device, precision=str(backbone.dtype).removeprefix("torch.")
    )
    Experiment.objects.filter(pk=experiment.pk, environment={}).update(environment=noted)
