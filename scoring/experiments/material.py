"""What the trials of one fold have in common: the features of all pairs that are learnt from or
judged, projected once, and kept by the process for the trials that follow. Runs on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations.models import PreferencePair, Snapshot
from curator.lib import work
from curator.lib.refusals import Refusal
from scoring import fitting
from scoring.core.recipes import HIDDEN
from scoring.engine import backbones
from scoring.engine.backbones import Backbone
from scoring.engine.devices import best_precision
from scoring.engine.heads import Keys, Slices
from scoring.experiments import planning
from scoring.experiments.kept import Kept
from scoring.labels import Labelled, Labels, Until, labelled_pairs, slice_of
from scoring.models import Arm, Experiment, Trial
from scoring.training import hidden
from scoring.training.heads import Space, TrainingPairs

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

SAMPLED_PAIRS = 4096  # whose responses the feature space is fitted on
PAGE = 2000
KEPT = 2  # folds


@dataclass(frozen=True, eq=False)
class Material:
    """n pairs, by ascending id."""

    ids: Indices  # (n,)
    space: Space
    differences: Floats  # (n, components): projected features of A minus those of B
    # of A and of B (n, hidden.COMPONENTS at most), for heads with a hidden layer, which read these
    both: tuple[Floats, Floats] | None
    norms: Floats  # (n,): mean squared norm of both responses' projected features
    keys_a: Keys  # (n,)
    keys_b: Keys
    slices: list[str]
    judged: Indices  # the ids of those that trials are asked about

    def places(self, ids: Sequence[int] | Indices) -> Indices:
        return np.searchsorted(self.ids, np.asarray(ids, dtype=np.int64))


def of(trial: Trial) -> Material:
    """The material of the trial's fold, from memory where this process has made it before."""
    return _kept.get(name_of(trial), lambda: _made(trial, trial.arm.experiment))


def name_of(trial: Trial) -> tuple[int, int, int]:
    """Names what the trials of an experiment's fold share; without folds, all trials do."""
    experiment = trial.arm.experiment
    fold = -1 if experiment.evaluated_on_id is not None else trial.fold
    return experiment.pk, round(experiment.created_at.timestamp()), fold


def backbone_of(experiment: Experiment) -> Backbone:
    """The experiment's backbone, the same in the same precision for all of its trials. Raises
    ModelUnavailable."""
    rows = Experiment.objects.filter(pk=experiment.pk)
    rows.filter(precision="").update(precision=best_precision())
    experiment.refresh_from_db(fields=["precision", "backbone_digest"])
    backbone = backbones.load(experiment.backbone, experiment.precision)
    if not experiment.backbone_digest:
        rows.filter(backbone_digest="").update(backbone_digest=backbone.digest)
        experiment.refresh_from_db(fields=["backbone_digest"])
    if backbone.digest != experiment.backbone_digest:
        raise Refusal(
            f"The backbone {experiment.backbone} is not the one that this experiment began with: "
            f"start another experiment."
        )
    return backbone


def labelled_of(arm: Arm, *, keeps_ties: bool = False, outside: int | None = None) -> Labelled:
    """The pairs that the arm has labels of, in all folds or outside of one. Raises
    NotEnoughPairs."""
    experiment = arm.experiment

    def keep(group: str) -> bool:
        return outside is None or not planning.is_held_out(experiment, group, outside)

    given: Labels | Snapshot = Labels.NOW
    if arm.snapshot is not None:
        given = arm.snapshot
    elif arm.labels == Arm.Labels.SOURCE:
        given = Labels.SOURCE
    return labelled_pairs(
        experiment.dataset,
        labels=given,
        keep=keep,
        keeps_ties=keeps_ties,
        until=Until(experiment.last_decision, experiment.last_pair),
    )


def training_pairs(of: Material, chosen: Indices, labels: Floats, slices: Slices) -> TrainingPairs:
    """What training reads of some of the pairs, by their places (m,) and labels (m,)."""
    keys, a, b = fitting.compared(of.keys_a[chosen], of.keys_b[chosen])
    return TrainingPairs(
        differences=of.differences[chosen],
        norm=float(of.norms[chosen].mean()),
        keys=keys,
        a=a,
        b=b,
        labels=labels,
        codes=slices.codes_of([of.slices[i] for i in chosen]),
        projected_a=of.both[0][chosen] if of.both is not None else None,
        projected_b=of.both[1][chosen] if of.both is not None else None,
    )


_kept: Kept[Material] = Kept(KEPT)


def _made(trial: Trial, experiment: Experiment) -> Material:
    backbone = backbone_of(experiment)
    arms = list(experiment.arms.select_related("experiment__dataset", "snapshot"))
    learnt: set[int] = set()
    for arm in {(arm.labels, arm.snapshot_id): arm for arm in arms}.values():
        learnt.update(labelled_of(arm, keeps_ties=True).ids)
    judged = _judged(experiment, trial.fold)
    rows = _rows(experiment, learnt | set(judged))
    ids = np.array(sorted(rows), dtype=np.int64)
    training = [
        pk
        for pk in ids.tolist()
        if pk in learnt and not planning.is_held_out(experiment, rows[pk][0], trial.fold)
    ]
    space = _space(training, backbone, trial)
    needs_both = any(arm.recipe["model"]["kind"] == HIDDEN for arm in arms)
    parts: dict[str, list[Any]] = {name: [] for name in ("x", "a", "b", "norms", "ka", "kb")}
    for found in fitting.read_pairs(ids.tolist(), backbone, trial):
        a, b = space.project(found.a), space.project(found.b)
        parts["x"].append(a - b)
        parts["norms"].append((np.square(a).sum(1) + np.square(b).sum(1)) / 2)
        parts["ka"].append(found.keys_a)
        parts["kb"].append(found.keys_b)
        if needs_both:
            parts["a"].append(a[:, : hidden.COMPONENTS].copy())
            parts["b"].append(b[:, : hidden.COMPONENTS].copy())
    joined = {name: np.concatenate(of) for name, of in parts.items() if of}
    return Material(
        ids=ids,
        space=space,
        differences=joined["x"],
        both=(joined["a"], joined["b"]) if needs_both else None,
        norms=joined["norms"],
        keys_a=joined["ka"],
        keys_b=joined["kb"],
        slices=[rows[pk][1] for pk in ids.tolist()],
        judged=np.array(sorted(judged), dtype=np.int64),
    )


def _judged(experiment: Experiment, fold: int) -> list[int]:
    """The pairs that trials of the fold are asked about: those of which the source prefers one
    response, or of which the truth is known."""
    dataset = experiment.evaluated_on or experiment.dataset
    elsewhere = experiment.evaluated_on_id is not None
    pairs = dataset.pairs.filter(pk__lte=experiment.last_pair)
    rows: Any = pairs.order_by().values_list("pk", "group", "source_preference")
    return [
        pk
        for pk, group, source in rows.iterator(PAGE)
        if (source in ("a", "b") or experiment.truths.get(str(pk)))
        and (elsewhere or planning.is_held_out(experiment, group, fold))
    ]


def _rows(experiment: Experiment, wanted: set[int]) -> dict[int, tuple[str, str]]:
    """Prompt group and slice of the wanted pairs by their ids."""
    datasets = [experiment.dataset_id, experiment.evaluated_on_id]
    rows: Any = PreferencePair.objects.filter(dataset__in=[pk for pk in datasets if pk]).order_by()
    named = rows.values_list("pk", "group", "meta", "imported_in_id")
    return {
        pk: (group, slice_of(meta, imported_in))
        for pk, group, meta, imported_in in named.iterator(PAGE)
        if pk in wanted
    }


def _space(training: list[int], backbone: Backbone, row: work.Work) -> Space:
    """Of the responses that are learnt from alone. Held-out pairs leave no trace in it."""
    sample = training[:: max(1, len(training) // SAMPLED_PAIRS)][:SAMPLED_PAIRS]
    found = fitting.read_pairs(sample, backbone, row)
    return Space.of(np.concatenate([side for some in found for side in (some.a, some.b)]))
