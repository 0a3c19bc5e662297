"""What an experiment consists of: its arms, a trial for each arm and seed, and the truth that all
are judged by, all written down before the first of them starts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from annotations.models import Dataset, Snapshot
from curator.lib.bulk import among
from curator.lib.refusals import Conflict, Refusal
from curator.models import User
from scoring import labels, recipe_book
from scoring.core import recipes, sizes
from scoring.core.bags import bags
from scoring.core.experiments import fold_of
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import Recipe
from scoring.experiments import leaks, trusted
from scoring.experiments.trusted import Trusted
from scoring.labels import Until
from scoring.models import Arm, Experiment, ResponseSet, Trial

PLAIN = PRESETS["plain"]
LONGEST_NAME = 120
MOST_ARMS = 12
MOST_SEEDS = 50
MOST_FOLDS = 20
MOST_MEMBERS = 100
MOST_TRIALS = 240  # arms times seeds
MOST_MARGINS = 25_000_000  # trials times pairs: what is brought together in memory in the end
SHOWN = 80  # characters of a prompt
PAGE = 2000


@dataclass(frozen=True)
class ArmPlan:
    """One way to train. The first of an experiment is what the others are compared with."""

    name: str
    labels: str  # of Arm.Labels
    snapshot: Snapshot | None = None
    recipe: Recipe = PLAIN


@dataclass(frozen=True)
class Design:
    """An experiment as a person asks for it."""

    dataset: Dataset
    name: str
    arms: Sequence[ArmPlan]
    backbone: str
    seeds: int = 5
    folds: int = 5
    members: int = 10
    truth: Mapping[str, bool] | None = None  # which ids are flipped; none: what people say
    evaluated_on: Dataset | None = None
    responses: ResponseSet | None = None

    @property
    def judged(self) -> Dataset:
        """The dataset whose pairs the arms are judged on."""
        return self.evaluated_on or self.dataset

    @property
    def seed_numbers(self) -> list[int]:
        return list(range(self.seeds))

    @property
    def folds_judged(self) -> set[int]:
        return {number % self.folds for number in range(self.seeds)}


def before_and_after(before: Snapshot | None, after: Snapshot, recipe: Recipe) -> list[ArmPlan]:
    """The arms of the usual question: did the cleaning help? Without a snapshot of before, the
    labels as they were imported."""
    arms = [
        ArmPlan("raw labels", Arm.Labels.SOURCE, recipe=recipe)
        if before is None
        else _of_snapshot(before, recipe)
    ]
    return [*arms, _of_snapshot(after, recipe)]


def _of_snapshot(snapshot: Snapshot, recipe: Recipe) -> ArmPlan:
    return ArmPlan(f"snapshot {snapshot.number}", Arm.Labels.SNAPSHOT, snapshot, recipe)


def check(design: Design) -> Trusted:
    """What the experiment would be judged by. Raises a Refusal where it makes no sense."""
    _check_numbers(design)
    if design.dataset.experiments.filter(name=design.name).exists():
        raise _is_taken(design)
    _check_size(design)
    for arm in design.arms:
        _check_arm(arm, design)
    repeated = [
        name for name, times in Counter(arm.name for arm in design.arms).items() if times > 1
    ]
    if repeated:
        raise Refusal(f"Two arms are called {repeated[0]!r}: give each a name of its own.")
    if design.evaluated_on is not None:
        _check_is_new(design.dataset, design.evaluated_on)
    found = _trusted(design)
    where = "in the folds that are held out" if design.evaluated_on is None else "to judge on"
    trusted.check_enough(found, design.judged, where=where)
    return found


@transaction.atomic
def plan(design: Design, *, by: User | None) -> Experiment:
    """The experiment with its arms and trials. Raises a Refusal where it makes no sense."""
    found = check(design)
    until = Until.now(design.dataset, design.judged)
    experiment = Experiment(
        dataset=design.dataset,
        name=design.name,
        backbone=design.backbone,
        members_count=design.members,
        seeds=design.seed_numbers,
        folds=design.folds,
        trusted=Experiment.Trusted.PEOPLE if design.truth is None else Experiment.Trusted.FILE,
        evaluated_on=design.evaluated_on,
        responses=design.responses,
        truths={str(pk): truth for pk, truth in found.truths.items()},
        warnings=[*found.warnings, *_leaks(design)],
        last_decision=until.last_decision,
        last_pair=until.last_pair,
        planned_at=timezone.now(),
        created_by=by,
    )
    try:
        with transaction.atomic():
            experiment.save()
    except IntegrityError as error:  # sent twice at once
        raise _is_taken(design) from error
    arms = Arm.objects.bulk_create(
        Arm(
            experiment=experiment,
            position=position,
            name=arm.name,
            labels=arm.labels,
            snapshot=arm.snapshot,
            recipe=recipes.as_json(arm.recipe),
            recipe_version=recipe_book.version_of(dataset=design.dataset, recipe=arm.recipe, by=by),
        )
        for position, arm in enumerate(design.arms)
    )
    # seed by seed, so that a worker meets all arms of a fold one after the other
    Trial.objects.bulk_create(
        Trial(arm=arm, seed=seed, fold=number % design.folds)
        for number, seed in enumerate(design.seed_numbers)
        for arm in arms
    )
    return experiment


def is_held_out(experiment: Experiment, group: str, fold: int) -> bool:
    """Whether the pairs of a prompt group are kept from what is trained on the other folds."""
    return experiment.evaluated_on_id is None and is_in_fold(experiment, group, fold)


def is_in_fold(experiment: Experiment, group: str, fold: int) -> bool:
    """Whether a prompt group is dealt to the fold, held out or not."""
    return fold_of(group, seed=experiment.seeds[0], folds=experiment.folds) == fold


def _check_numbers(design: Design) -> None:
    if not design.name.strip() or len(design.name) > LONGEST_NAME:
        raise Refusal(f"An experiment needs a name of at most {LONGEST_NAME} characters.")
    if not 2 <= len(design.arms) <= MOST_ARMS:
        raise Refusal(
            f"An experiment compares 2 to {MOST_ARMS} arms, not {len(design.arms)}: say which "
            f"labels, and by which recipe."
        )
    if not 1 <= design.seeds <= MOST_SEEDS:
        raise Refusal(f"An experiment takes 1 to {MOST_SEEDS} seeds, not {design.seeds}.")
    if not 2 <= design.folds <= MOST_FOLDS:
        raise Refusal(f"Prompts are dealt to 2 to {MOST_FOLDS} folds, not {design.folds}.")
    if design.members > MOST_MEMBERS:
        raise Refusal(f"An arm has at most {MOST_MEMBERS} members, not {design.members}.")
    try:
        bags(design.members, seed=0)
    except ValueError as error:
        raise Refusal(
            f"An arm needs an even number of members from 2 to {MOST_MEMBERS}, not "
            f"{design.members}."
        ) from error


def _is_taken(design: Design) -> Conflict:
    return Conflict(
        f"{design.dataset.name} has an experiment called {design.name!r} already: choose another "
        f"name."
    )


def _check_size(design: Design) -> None:
    trials = len(design.arms) * design.seeds
    if trials > MOST_TRIALS:
        raise Refusal(
            f"{len(design.arms)} arms with {design.seeds} seeds each are {trials} trials, and an "
            f"experiment has at most {MOST_TRIALS}: take fewer arms or seeds."
        )
    pairs = design.judged.pairs.labelled().count()
    if design.evaluated_on is None:
        pairs = round(pairs * len(design.folds_judged) / design.folds)
    if trials * pairs > MOST_MARGINS:
        raise Refusal(
            f"{len(design.arms)} arms with {design.seeds} seeds each, judged on about {pairs:,} "
            f"pairs, are {trials * pairs:,} margins, and an experiment has at most "
            f"{MOST_MARGINS:,}: take fewer arms or seeds."
        )


def _check_arm(arm: ArmPlan, design: Design) -> None:
    if not arm.name.strip() or len(arm.name) > LONGEST_NAME:
        raise Refusal(f"An arm needs a name of at most {LONGEST_NAME} characters.")
    if arm.labels not in Arm.Labels.values:
        raise Refusal(
            f"The arm {arm.name!r} takes labels from {arm.labels!r}: say "
            f"{', '.join(Arm.Labels.values)}."
        )
    if (arm.labels == Arm.Labels.SNAPSHOT) != (arm.snapshot is not None):
        raise Refusal(f"Say which snapshot the arm {arm.name!r} takes its labels from.")
    if arm.snapshot is not None and arm.snapshot.dataset_id != design.dataset.pk:
        raise Refusal(
            f"Snapshot {arm.snapshot.number} is of another dataset than {design.dataset.slug}: "
            f"choose one of its own."
        )
    if not arm.recipe.model.is_head:
        raise Refusal(
            f"The arm {arm.name!r} trains a model of kind `{arm.recipe.model.kind}`; experiments "
            f"compare heads, `linear` or `hidden`. Train it with `train_ensemble` instead."
        )
    sizes.check_step(arm.recipe, members=design.members, pairs=design.dataset.pairs.count())
    if arm.recipe.needs_grades and not labels.graded(design.dataset).exists():
        raise Refusal(
            f"The recipe {arm.recipe.name!r} weighs pairs by how strongly people prefer, and "
            f"nobody has said so in {design.dataset.slug}: collect labels with a strength first."
        )
    if arm.recipe.meta is not None and design.responses is None:
        raise Refusal(
            f"The recipe {arm.recipe.name!r} learns from sampled responses as well: name a set of "
            f"responses."
        )


def _check_is_new(dataset: Dataset, other: Dataset) -> None:
    """Nothing is judged on prompts that were learnt from. Raises Refusal naming the overlap."""
    if other.pk == dataset.pk:
        raise Refusal(
            f"{dataset.slug} is what the arms learn from: leave the other dataset out, and they "
            f"are judged on folds of it that are held out."
        )
    shared = other.pairs.filter(group__in=dataset.pairs.order_by().values("group"))
    count = shared.count()
    if count:
        example = shared.only("prompt")[:1].get()
        groups = shared.order_by().values("group").distinct().count()
        raise Refusal(
            f"{other.slug} cannot judge what learns from {dataset.slug}: they share {groups:,} "
            f"{'prompt' if groups == 1 else 'prompts'} ({count:,} pairs), such as "
            f"“{_beginning(example.prompt)}”."
        )


def _leaks(design: Design) -> list[str]:
    """Where other pairs judge than those that the arms' labels are of, nothing leaks."""
    if design.evaluated_on is not None:
        return []
    said = [
        leaks.warning(design.dataset, arm.name, arm.labels, arm.snapshot) for arm in design.arms
    ]
    return [each for each in said if each is not None]


def _beginning(prompt: list[dict[str, Any]]) -> str:
    text = " ".join(str(prompt[0]["content"]).split()) if prompt else ""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _trusted(design: Design) -> Trusted:
    """What is held for true of the pairs that will be judged."""
    if design.truth is None:
        found = trusted.of_people(design.judged)
    else:
        found = trusted.of_file(design.judged, design.truth)
    if design.evaluated_on is not None:
        return found
    groups: Any = design.dataset.pairs.filter(pk__in=among(found.truths)).order_by()
    held_out = {
        pk
        for pk, group in groups.values_list("pk", "group").iterator(PAGE)
        if fold_of(group, seed=design.seed_numbers[0], folds=design.folds) in design.folds_judged
    }
    return found.among(held_out)
