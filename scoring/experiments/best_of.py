"""Sampled responses in experiments: which of them an arm's members like best, and what a recipe
that meta-trains on them reads. Runs on the device."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annotations.models import Dataset
from curator.lib import digests, work
from curator.lib.batches import batches
from scoring import embedding, responses
from scoring.core import strength
from scoring.core.recipes import Meta
from scoring.engine.heads import Head, HiddenHead
from scoring.experiments import material, planning
from scoring.experiments.kept import Kept
from scoring.experiments.material import Material
from scoring.models import Experiment, ResponseSet, Trial
from scoring.shards import NotEnoughPairs
from scoring.training.heads import Trained

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

CHUNK = 256  # prompts
KEPT = 2  # folds


@dataclass(frozen=True, eq=False)
class Answers:
    """Projected features of all responses of a set, prompt by prompt."""

    projected: Floats  # (responses, components)
    ends: Indices  # (prompts,): one past the last response of each
    scores: Doubles  # (responses,): NaN where there is none
    is_judged: npt.NDArray[np.bool_]  # (prompts,): no arm learns anything of the prompt
    is_held_out: npt.NDArray[np.bool_]  # (prompts,): no recipe may meta-train on the prompt

    def of(self, prompt: int) -> slice:
        return slice(int(self.ends[prompt - 1]) if prompt else 0, int(self.ends[prompt]))

    @property
    def to_judge(self) -> list[int]:
        """The prompts that nothing is learnt of and whose responses all have a score."""
        return [
            prompt
            for prompt in range(len(self.ends))
            if self.is_judged[prompt] and np.isfinite(self.scores[self.of(prompt)]).all()
        ]


_kept: Kept[Answers] = Kept(KEPT)


def answers_of(trial: Trial, found: Material) -> Answers | None:
    """The experiment's sampled responses as the trial's fold projects them; None where it has
    none."""
    experiment = trial.arm.experiment
    given = experiment.responses
    if given is None:
        return None
    name = experiment.pk, round(experiment.created_at.timestamp()), trial.fold
    return _kept.get(name, lambda: _read(trial, experiment, given, found))


def choose(
    answers: Answers, trained: Trained, found: Material, scales: Doubles
) -> dict[str, object]:
    """The prompts that were judged, and the score of the response that the members like best of
    each."""
    said = np.stack(
        [rewards(head, answers.projected, found.space.directions) for head in trained.heads], axis=1
    )
    liked = strength.preference_strength(strength.standardise(said.astype(np.float64), scales))
    prompts = answers.to_judge
    chosen = [float(answers.scores[answers.of(i)][liked[answers.of(i)].argmax()]) for i in prompts]
    return {"prompts": prompts, "chosen": chosen}


def rewards(head: Head | HiddenHead, projected: Floats, directions: Floats) -> Floats:
    """Rewards (n,) of features projected on these directions, (n, components), of responses of no
    known slice, that stand in no other pair."""
    if isinstance(head, Head):
        return np.asarray(projected @ (head.weights[0] @ directions))
    units = np.maximum(projected @ (head.weights @ directions).T + head.bias, 0.0)
    return np.asarray(units @ head.outputs + projected @ (head.straight @ directions))


def to_meta_train_on(answers: Answers, meta: Meta, name: str) -> Floats:
    """Features (prompts, responses a prompt, components) of prompts that are not held out: the
    first so many responses of each that has as many. Raises NotEnoughPairs."""
    starts = np.concatenate([[0], answers.ends[:-1]])
    wanted = [
        int(start)
        for start, end, held_out in zip(starts, answers.ends, answers.is_held_out, strict=True)
        if end - start >= meta.responses and not held_out
    ]
    if not wanted:
        raise NotEnoughPairs(
            f"No prompt of {name} has the {meta.responses} responses that the recipe asks for."
        )
    rows = np.array(wanted)[:, None] + np.arange(meta.responses)
    return np.asarray(answers.projected[rows])


def _read(trial: Trial, experiment: Experiment, given: ResponseSet, found: Material) -> Answers:
    backbone = material.backbone_of(experiment)
    known, elsewhere = _groups(experiment, experiment.dataset), set[str]()
    if experiment.evaluated_on is not None:
        elsewhere = _groups(experiment, experiment.evaluated_on)
    some_meta_train = any(arm.recipe.get("meta") for arm in experiment.arms.all())
    projected, counts, scores, is_judged, is_held_out = [], [], [], [], []
    for some in batches(responses.read(given), CHUNK):
        asked = [(row.prompt, text) for row in some for text in row.responses]
        projected.append(found.space.project(embedding.response_features(asked, backbone)))
        for row in some:
            group = digests.of_value(row.prompt)
            held_out = group in elsewhere or planning.is_in_fold(experiment, group, trial.fold)
            learnt = group in known and not planning.is_held_out(experiment, group, trial.fold)
            counts.append(len(row.responses))
            scores += [np.nan if score is None else score for score in row.scores]
            is_held_out.append(held_out)
            is_judged.append(not learnt and (held_out or not some_meta_train))
        work.renew(trial)
    return Answers(
        projected=np.concatenate(projected),
        ends=np.cumsum(counts, dtype=np.int64),
        scores=np.array(scores, dtype=np.float64),
        is_judged=np.array(is_judged),
        is_held_out=np.array(is_held_out),
    )


def _groups(experiment: Experiment, dataset: Dataset) -> set[str]:
    pairs = dataset.pairs.filter(pk__lte=experiment.last_pair)
    return set(pairs.order_by().values_list("group", flat=True))
