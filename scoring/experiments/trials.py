"""One trial: train an arm on the folds that are not held out, with one seed, and ask its members
about the pairs that are. Runs on the device.

Nothing of a held-out prompt reaches the training: not its pairs, not the space that features are
projected on, and not the strengths that a recipe goes by. Those are measured inside the trial, by
an out-of-bag ensemble of linear heads that learns the arm's own labels on the same folds.
"""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curator.lib import work
from scoring import fitting, labels
from scoring.core import calibration, curves, recipes, strength
from scoring.core.bags import bags, in_bag
from scoring.core.flags import FlagRule
from scoring.core.judging import FEWEST_TO_CALIBRATE, judge
from scoring.core.recipes import FLAGS, Recipe
from scoring.core.targets import Measured, Targets
from scoring.engine.heads import Head
from scoring.environment import environment
from scoring.experiments import best_of, material, steps
from scoring.experiments.kept import Kept
from scoring.experiments.material import Material
from scoring.labels import Labelled, Labels
from scoring.models import Arm, Experiment, Trial
from scoring.shards import NotEnoughPairs
from scoring.training import heads
from scoring.training.heads import Trained
from scoring.training.teaching import teach

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

FEWEST_PAIRS = 20  # to learn from
KEPT = 4  # measurements, for the recipes that go by them


@dataclass(frozen=True, eq=False)
class ArmTargets:
    """What an arm learns in one fold: the pairs that count, their labels and their targets (m,)."""

    places: Indices  # in the material
    labels: Floats  # (m,): +1 where A is preferred, -1 where B is; +1 for a tie
    digests: list[str]
    targets: Targets


def run(trial: Trial) -> None:
    """Train, ask, and keep what was said."""
    # whose truths, one for every trusted pair, are needed only where the material is made
    arms = Arm.objects.select_related("experiment__dataset", "snapshot").defer("experiment__truths")
    trial.arm = arms.get(pk=trial.arm_id)
    experiment = trial.arm.experiment
    steps.begin(experiment)
    found = material.of(trial)
    started = time.monotonic()  # what arms share is not part of what they cost
    recipe = recipes.parse(trial.arm.recipe)
    learnt = _targets(trial, recipe, found)
    trained, bag = _taught(trial, recipe, found, learnt)
    asked = _asked(trained, found, found.judged)
    scales = _scales(trained, bag)
    margins = strength.preference_strength(strength.standardise(asked, scales))
    answers = best_of.answers_of(trial, found)
    figures = {
        "treated": fitting.treated(learnt.targets),
        "slope": _slope(trained, bag, scales, learnt),
        "penalty": trained.penalty,
        "out_of_bag_loss": trained.loss,
        "warnings": [*learnt.targets.warnings, *trained.warnings],
        "seconds": time.monotonic() - started,
    }
    if answers is not None:
        figures["best_of"] = best_of.choose(answers, trained, found, scales)
    _note_environment(experiment)
    work.finish(
        trial,
        pair_ids=found.judged.astype(np.int64).tobytes(),
        margins=margins.astype(np.float32).tobytes(),
        figures=figures,
        curve=[point.as_dict() for point in curves.thinned(trained.curve)],
    )


def _targets(trial: Trial, recipe: Recipe, found: Material) -> ArmTargets:
    """Raises NotEnoughPairs, CannotFollow."""
    arm = trial.arm
    labelled = material.labelled_of(arm, keeps_ties=recipe.keeps_ties, outside=trial.fold)
    grades = None
    if recipe.needs_grades:
        said = Labels.NOW if arm.snapshot is None else arm.snapshot
        experiment = arm.experiment
        grades = labels.grades(
            labelled, experiment.dataset, labels=said, until=experiment.created_at
        )
    taught = fitting.targets_of(
        labelled,
        recipe,
        measured=_measured(trial, labelled, found) if recipe.needs_run else None,
        grades=grades,
    )
    used = np.flatnonzero(taught.used)
    if len(used) < FEWEST_PAIRS:
        raise NotEnoughPairs(
            f"The arm {arm.name!r} has {len(used)} pairs to learn from outside fold "
            f"{trial.fold + 1}; it needs at least {FEWEST_PAIRS}."
        )
    return ArmTargets(
        places=found.places(np.array(labelled.ids, dtype=np.int64)[used]),
        labels=np.where(labelled.labels[used] >= 0, 1.0, -1.0).astype(np.float32),
        digests=[labelled.digests[i] for i in used],
        targets=taught.of(taught.used),
    )


_kept: Kept[Measured] = Kept(KEPT)


def _measured(trial: Trial, labelled: Labelled, found: Material) -> Measured:
    """What an ensemble of linear heads makes of the arm's labels outside the fold, each pair by the
    members that have not learnt from it. Arms with the same labels share it."""
    arm = trial.arm
    name = (*material.name_of(trial), trial.seed, arm.labels, arm.snapshot_id, len(labelled.ids))
    return _kept.get(name, lambda: _measure(trial, labelled, found))


def _measure(trial: Trial, labelled: Labelled, found: Material) -> Measured:
    told = np.flatnonzero(labelled.labels)
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
    count = len(labelled.ids)
    strengths, probabilities = np.full(count, np.nan), np.full(count, np.nan)
    flags = np.full(count, "", dtype="<U9")
    strengths[told], flags[told] = judged.strengths, judged.flagging.flags
    probabilities[told] = judged.calibrated.probabilities
    return labels.measured_of(strengths, flags, probabilities=probabilities, given=frozenset(FLAGS))


def _taught(
    trial: Trial, recipe: Recipe, found: Material, learnt: ArmTargets
) -> tuple[Trained, Booleans]:
    """The arm's members, and what each of them has learnt from (m, members)."""
    slices = fitting.slices_of([found.slices[i] for i in learnt.places])
    plain = material.training_pairs(found, learnt.places, learnt.labels, slices)
    pairs = heads.TrainingPairs(**{**vars(plain), "targets": learnt.targets})
    bag = _bag(trial, learnt.digests)
    fitting.check_bags(bag, learnt.targets)

    def heard(done: int, total: int) -> None:
        work.renew(trial, steps_done=done, steps_total=total)

    sampled, answers = None, best_of.answers_of(trial, found)
    if recipe.meta is not None and answers is not None:
        given = trial.arm.experiment.responses
        sampled = best_of.to_meta_train_on(answers, recipe.meta, given.name if given else "")
    trained = teach(
        pairs,
        bag,
        recipe,
        space=found.space,
        slices=slices,
        seed=trial.seed,
        responses=sampled,
        on_step=heard,
    )
    return trained, bag


def _bag(trial: Trial, digests: list[str]) -> Booleans:
    """The same for every arm of a seed: a pair lies in the same bags, whatever its label."""
    return in_bag(digests, bags(trial.arm.experiment.members_count, seed=trial.seed))


def _asked(trained: Trained, found: Material, ids: Indices) -> Doubles:
    """Margins towards A of pairs that were not learnt from, (n, members).

    Effects of single responses are those of prompts that were learnt from, and say nothing here.
    """
    places, directions = found.places(ids), found.space.directions
    codes = trained.slices.codes_of([found.slices[i] for i in places])
    columns = []
    for head in trained.heads:
        if isinstance(head, Head):
            blocks = found.differences[places] @ (head.weights @ directions).T  # (n, 1 + slices)
            columns.append(blocks[:, 0] + (blocks[:, 1:] * codes).sum(axis=1))
        else:
            assert found.both is not None
            read = directions[:, : found.both[0].shape[1]]
            a, b = (best_of.rewards(head, side[places], read) for side in found.both)
            columns.append(a - b)
    return np.stack(columns, axis=1).astype(np.float64)


def _scales(trained: Trained, bag: Booleans) -> Doubles:
    """How loud each member speaks of pairs that it has not learnt from, (members,)."""
    return strength.member_scales(np.where(bag, np.nan, trained.margins.astype(np.float64)))


def _slope(trained: Trained, bag: Booleans, scales: Doubles, learnt: ArmTargets) -> float:
    """What makes probabilities of the arm's margins: fitted to what it was taught, out-of-bag, on
    the folds that it has learnt from."""
    unseen = np.where(bag, np.nan, trained.margins.astype(np.float64))
    strengths = strength.preference_strength(strength.standardise(unseen, scales))
    towards = strengths * learnt.labels * learnt.targets.direction
    known = np.isfinite(towards)
    towards, probability = towards[known], learnt.targets.probability[known]
    weight = learnt.targets.weight[known]
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
