"""Start long work: write the row that the user watches, then ring for a worker once it is
committed."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from annotations import permissions, rounds
from annotations.filters import Filter
from annotations.models import Dataset, Round, SnapshotRequest
from annotations.models.words import TRAINED_ON
from curator.lib import work
from curator.lib.doorbell import ring_on_commit
from curator.lib.refusals import Conflict, Refusal
from curator.models import User
from scoring import assembling, labels, recipe_book, routing, shards, topics
from scoring.core import recipes, sizes
from scoring.core.flags import FlagRule, PercentileRule
from scoring.core.options import EngineOptions
from scoring.core.recipes import Recipe
from scoring.core.references import is_hub_id, is_within
from scoring.models import (
    Audit,
    Checkpoint,
    Ensemble,
    Mode,
    Precision,
    ResponseSet,
    ScoreAt,
    ScoringRun,
    TopicMap,
    TrainingRun,
)

DEFAULT_BACKBONE = "minilm"
DEFAULT_MEMBERS = 10
MOST_MEMBERS = 100
FEWEST_PAIRS = 20
FILL_ROUND = "scoring.tasks.fill_round"
FREEZE_DATASET = "scoring.tasks.freeze_dataset"
RULES: dict[str, type[FlagRule | PercentileRule]] = {
    Mode.OUT_OF_BAG: FlagRule,
    Mode.IN_SAMPLE: PercentileRule,
}


@transaction.atomic
def start_training(
    *,
    dataset: Dataset,
    name: str,
    by: User | None,
    members: int = DEFAULT_MEMBERS,
    backbone: str = DEFAULT_BACKBONE,
    seed: int = 0,
    bag_unit: str = "pair",
    recipe: Recipe | None = None,
    run: ScoringRun | None = None,
    responses: ResponseSet | None = None,
) -> TrainingRun:
    """Train an ensemble on the labels that hold now, by a recipe or plainly.

    A recipe that goes by strengths or flags takes them from `run`, or from the dataset's current
    one; one that learns from sampled responses takes `responses`. `by` is None on the command line
    of the machine.
    """
    if by is not None:
        permissions.check_can_curate(by, dataset)
    check_training(dataset=dataset, name=name, members=members, bag_unit=bag_unit)
    ensemble = Ensemble(
        dataset=dataset,
        name=name,
        backbone=backbone,
        members_count=members,
        recipe={"seed": seed, "bag_unit": bag_unit},
        created_by=by,
    )
    if recipe is not None:
        run = check_recipe(
            dataset=dataset,
            recipe=recipe,
            by=by,
            run=run,
            responses=responses,
            members=members,
        )
        if not recipe.model.is_head:
            ensemble.backbone = ""  # nothing reads through one
        ensemble.recipe |= {
            "training": recipes.as_json(recipe),
            "training_version": recipe_book.version_of(dataset=dataset, recipe=recipe, by=by),
            "run": run.pk if run else None,
            "responses": responses.pk if responses else None,
        }
    _check(ensemble)
    ensemble.save()
    training = TrainingRun.objects.create(ensemble=ensemble, created_by=by)
    ring_on_commit(shards.PLAN_TRAINING, run_id=training.pk)
    return training


def check_training(*, dataset: Dataset, name: str, members: int, bag_unit: str) -> None:
    """Raises a Refusal where `start_training` would."""
    _check_name(name)
    if members % 2 or not 2 <= members <= MOST_MEMBERS:
        raise Refusal(
            f"An ensemble needs an even number of members from 2 to {MOST_MEMBERS}, not {members}."
        )
    if bag_unit not in ("pair", "prompt"):
        raise Refusal(f"Bags are drawn by `pair` or by `prompt`, not by {bag_unit!r}.")
    if dataset.ensembles.filter(name=name).exists():
        raise Conflict(
            f"{dataset.name} has an ensemble called {name!r} already: choose another name."
        )
    labelled = dataset.pairs.labelled().count()
    if labelled < FEWEST_PAIRS:  # where few came with a label, many may have been decided since
        labelled += (
            dataset.pairs.exclude(source_preference__in=TRAINED_ON)
            .filter(standing__verdict__in=TRAINED_ON)
            .count()
        )
    if labelled < FEWEST_PAIRS:
        raise shards.NotEnoughPairs(
            f"{dataset.name} has {labelled} pairs with a preference; an ensemble needs at least "
            f"{FEWEST_PAIRS}."
        )


def check_recipe(
    *,
    dataset: Dataset,
    recipe: Recipe,
    by: User | None = None,
    run: ScoringRun | None = None,
    responses: ResponseSet | None = None,
    members: int | None = None,
) -> ScoringRun | None:
    """The run that the recipe goes by, if any. Raises a Refusal where it cannot be followed, or not
    with so many members."""
    if members is not None:
        sizes.check_step(recipe, members=members, pairs=dataset.pairs.count())
    if not recipe.model.is_head and by is not None:
        check_reference_from_browser(recipe.model.base)
    if responses is not None and responses.dataset_id != dataset.pk:
        raise Refusal(f"The responses {responses.name!r} are of another dataset.")
    if recipe.meta is not None and responses is None:
        raise Refusal(
            f"The recipe “{recipe.name}” learns from several responses to a prompt, sampled from "
            f"a policy: import some with `manage.py import_responses {dataset.slug} FILE --name "
            f"NAME`, then name them."
        )
    if recipe.meta is None and responses is not None:
        raise Refusal(
            f"The recipe “{recipe.name}” makes no use of sampled responses: leave them out, or "
            f"choose a recipe with `meta`."
        )
    if recipe.needs_grades and not labels.graded(dataset).exists():
        raise Refusal(
            f"The recipe “{recipe.name}” weighs pairs by how strongly people prefer, and nobody "
            f"has said so in {dataset.name}: collect labels with a strength first."
        )
    if not recipe.needs_run:
        return None
    run = run or ScoringRun.objects.current(dataset)
    if run is None:
        raise Refusal(
            f"The recipe “{recipe.name}” goes by what an ensemble found of the labels, and "
            f"{dataset.name} has not been scored: train an ensemble plainly and score with it "
            f"first."
        )
    _check_run(dataset, recipe, run)
    return run


def _check_run(dataset: Dataset, recipe: Recipe, run: ScoringRun) -> None:
    if run.dataset_id != dataset.pk:
        raise Refusal(f"Run {run.pk} scored another dataset than {dataset.name}.")
    if run.status != work.Work.Status.DONE:
        raise Refusal(f"Run {run.pk} is {run.get_status_display()}: name a run that is done.")
    if recipe.needs_calibration and run.mode != Mode.OUT_OF_BAG:
        raise Refusal(
            f"The recipe “{recipe.name}” takes calibrated probabilities, which only an out-of-bag "
            f"run has: run {run.pk} is {run.get_mode_display()}."
        )
    there = [flag for flag, count in run.summary.get("flags", {}).items() if count]
    lacking = [flag for flag in recipe.flags if flag not in there]
    if lacking:
        raise Refusal(
            f"The recipe “{recipe.name}” treats pairs flagged {lacking[0]}, and run {run.pk} has "
            f"none: it has {', '.join(there) or 'no flags at all'}."
        )


@transaction.atomic
def start_registration(*, by: User | None, **wanted: Any) -> Checkpoint:
    """Register a reward model that others have trained: a worker loads and tests it. `wanted` are
    the fields of a Checkpoint that a person chooses."""
    if by is not None:
        permissions.check_can_create_datasets(by)
    checkpoint = check_registration(**wanted)
    if by is not None:
        check_reference_from_browser(checkpoint.reference)
    checkpoint.created_by = by
    try:
        with transaction.atomic():
            checkpoint.save()
    except IntegrityError as error:  # somebody else took the name just now
        raise _name_is_taken(checkpoint.name) from error
    ring_on_commit(shards.REGISTER_CHECKPOINT, checkpoint_id=checkpoint.pk)
    return checkpoint


def check_registration(
    *,
    name: str,
    reference: str,
    revision: str = "",
    dtype: str = Precision.FLOAT32,
    max_length: int = 0,
    score_at: str = "",
) -> Checkpoint:
    """The row as it would be saved. Raises a Refusal where `start_registration` would."""
    _check_name(name)
    if Checkpoint.objects.filter(name=name).exists():
        raise _name_is_taken(name)
    if not reference.strip():
        raise Refusal("Say where the model is: a folder, or an id on the model hub.")
    if dtype not in Precision.values:
        raise Refusal(f"The precision {dtype!r} is not known: {' or '.join(Precision.values)}.")
    if score_at not in ["", *ScoreAt.values]:
        raise Refusal(f"Scores are read at {' or '.join(ScoreAt.values)}, not {score_at!r}.")
    if max_length < 0:
        raise Refusal("A model reads a positive number of tokens; 0 is its own limit.")
    checkpoint = Checkpoint(
        name=name,
        reference=reference,
        revision=revision,
        dtype=dtype,
        max_length=max_length,
        score_at=score_at,
    )
    _check(checkpoint)
    return checkpoint


def check_reference_from_browser(reference: str) -> None:
    """Who has an account may name models of the hub and of the folder that the operator set aside,
    not every folder of the machine."""
    if is_hub_id(reference) or is_within(reference, settings.CHECKPOINTS_FOLDER):
        return
    raise Refusal(
        f"From the browser, a folder must lie in {settings.CHECKPOINTS_FOLDER}; an operator "
        f"registers others with `manage.py register_model`."
    )


def _name_is_taken(name: str) -> Conflict:
    return Conflict(f"A model called {name!r} is registered already: choose another name.")


@transaction.atomic
def test_again(checkpoint: Checkpoint, *, by: User | None) -> None:
    """Load and test a checkpoint again whose registration failed. Raises Refusal when it did
    not."""
    if by is not None:
        permissions.check_can_create_datasets(by)
    if not work.requeue(checkpoint):
        raise Refusal("Only a model whose registration failed can be tested again.")
    ring_on_commit(shards.REGISTER_CHECKPOINT, checkpoint_id=checkpoint.pk)


@transaction.atomic
def assemble(
    *,
    dataset: Dataset,
    name: str,
    by: User | None,
    checkpoints: Sequence[Checkpoint],
    heads_of: Ensemble | None = None,
) -> Ensemble:
    """Put an ensemble together from registered checkpoints and, where wanted, the heads of one that
    was trained. It scores as soon as it is there."""
    if by is not None:
        own = [each.dataset for each in checkpoints if each.dataset is not None]
        for trained_on in [dataset, *own]:
            permissions.check_can_curate(by, trained_on)
    _check_name(name)
    if dataset.ensembles.filter(name=name).exists():
        raise Conflict(
            f"{dataset.name} has an ensemble called {name!r} already: choose another name."
        )
    return assembling.assemble(
        dataset=dataset, name=name, by=by, checkpoints=checkpoints, heads_of=heads_of
    )


@transaction.atomic
def start_scoring(
    *,
    ensemble: Ensemble,
    by: User | None,
    mode: str = Mode.OUT_OF_BAG,
    rule: FlagRule | PercentileRule | None = None,
    adaptive: bool = False,
    options: EngineOptions | None = None,
) -> ScoringRun:
    """Score the ensemble's dataset with all its members or, where adaptive, with as many as each
    flag needs."""
    if by is not None:
        permissions.check_can_curate(by, ensemble.dataset)
    check_scoring(ensemble, mode)
    run = ScoringRun.objects.create(
        dataset=ensemble.dataset,
        ensemble=ensemble,
        mode=mode,
        rule=(rule or RULES[mode]()).as_dict(),
        is_adaptive=adaptive,
        engine=(options or EngineOptions()).as_dict(),
        created_by=by,
    )
    ring_on_commit(shards.PLAN_SCORING, run_id=run.pk)
    return run


def check_scoring(ensemble: Ensemble, mode: str) -> None:
    """Raises a Refusal where `start_scoring` would."""
    if mode not in Mode.values:
        raise Refusal(f"The mode {mode!r} is not known: choose {' or '.join(Mode.values)}.")
    if not ensemble.is_trained:
        raise Refusal(
            f"The ensemble {ensemble.name!r} is not trained yet: wait for its training, or start "
            f"it again."
        )
    if not ensemble.dataset.pairs.exists():
        raise shards.NotEnoughPairs(
            f"{ensemble.dataset.name} holds no pairs yet: import some first."
        )


@transaction.atomic
def start_audit(*, run: ScoringRun, by: User | None, share: float, seed: int = 0) -> Audit:
    """Plant flips in a copy of the labels, train and score as the run did, and see how many are
    found."""
    if by is not None:
        permissions.check_can_curate(by, run.dataset)
    check_audit(run, share)
    audit = Audit.objects.create(run=run, share=share, seed=seed, created_by=by)
    ring_on_commit(shards.RUN_AUDIT, audit_id=audit.pk)
    return audit


def check_audit(run: ScoringRun, share: float) -> None:
    """Raises a Refusal where `start_audit` would."""
    if not 0 < share < 0.5:
        raise Refusal(f"The share of planted flips must be between 0 and 0.5, not {share}.")
    if run.status != ScoringRun.Status.DONE:
        raise Refusal(f"Run {run.pk} is {run.get_status_display()}: audit a run that is done.")
    if run.ensemble.is_assembled or not recipe_book.recipe_of(run.ensemble).model.is_head:
        raise Refusal(
            f"An audit trains the members anew, and {run.ensemble.name} is not made of heads "
            f"alone: audit a run of heads that were trained together."
        )


@transaction.atomic
def find_topics(dataset: Dataset, *, by: Ensemble | None = None) -> TopicMap | None:
    """Find what the dataset's prompts are about with an ensemble's backbone, or place the pairs
    that came since; None where that is being done. Raises NoBackbone."""
    row = topics.want(dataset, by=by)
    if row is not None:
        ring_on_commit(shards.PLACE_PROMPTS, map_id=row.pk)
    return row


def find_topics_after(run: TrainingRun | ScoringRun | None) -> None:
    """Find topics once an ensemble is trained, and place new pairs once they are scored. A dataset
    of registered models only goes without."""
    if run is None or run.status != work.Work.Status.DONE:
        return
    ensemble, dataset = run.ensemble, run.ensemble.dataset
    is_training = isinstance(run, TrainingRun)
    reads_anew = is_training or not TopicMap.objects.filter(dataset=dataset).exists()
    if is_training or topics.lacks_places(dataset):
        with suppress(topics.NoBackbone):
            find_topics(dataset, by=ensemble if reads_anew else None)


def _check_name(name: str) -> None:
    try:
        Ensemble._meta.get_field("name").clean(name, None)
    except ValidationError as error:
        raise Refusal(f"{name!r} cannot be an ensemble: {' '.join(error.messages)}") from error


def _check(row: Ensemble | Checkpoint) -> None:
    try:
        row.full_clean()
    except ValidationError as error:
        raise Refusal(" ".join(error.messages)) from error


@transaction.atomic
def start_again(run: TrainingRun | ScoringRun, *, by: User | None) -> None:
    """Let a failed or cancelled run go on from where it stands. Raises Refusal when it is
    neither."""
    dataset = run.ensemble.dataset
    if by is not None:
        permissions.check_can_curate(by, dataset)
    if not shards.retry(run):
        raise Refusal("Only a run that failed, was cancelled or lacks shards can be started again.")
    transaction.on_commit(lambda: shards.go_on(type(run)._default_manager.get(pk=run.pk)))


@transaction.atomic
def start_round(
    *,
    dataset: Dataset,
    name: str,
    by: User | None,
    labels_per_pair: int = 1,
    random_share: float = 0.1,
    annotators: Iterable[User] = (),
    filters: Filter | None = None,
    flags: Sequence[str] = (),
) -> Round:
    """Put the pairs that pass the filter to annotators, or to those named; several `flags` stand in
    place of the filter's one. Without either, the whole dataset. It fills in the background, and
    pairs can be labelled from the first on."""
    if by is not None:
        permissions.check_can_curate(by, dataset)
    stored = routing.as_stored(filters, flags)
    routing.check(dataset, stored)
    row = rounds.plan(
        dataset=dataset,
        name=name,
        by=by,
        labels_per_pair=labels_per_pair,
        random_share=random_share,
        annotators=annotators,
        filter=stored,
    )
    ring_on_commit(FILL_ROUND, round_id=row.pk)
    return row


@transaction.atomic
def fill_again(round: Round, *, by: User | None) -> None:
    """Add to an open round the pairs that pass its filter by now, or go on where filling failed."""
    if by is not None:
        permissions.check_can_curate(by, round.dataset)
    if round.closed_at is not None or round.pair_id is not None:
        raise Refusal("Only an open round of many pairs can be filled again.")
    if not work.requeue(round, also_done=True):
        raise Refusal("This round is being filled now: wait for its end.")
    ring_on_commit(FILL_ROUND, round_id=round.pk)


@transaction.atomic
def start_snapshot(*, dataset: Dataset, by: User | None, note: str = "") -> SnapshotRequest:
    """Freeze a large dataset in the background, as it stands when a worker takes it up. Raises
    Conflict while another snapshot of it is being frozen."""
    if by is not None:
        permissions.check_can_curate(by, dataset)
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    if dataset.snapshot_requests.filter(status__in=work.OPEN).exists():
        raise Conflict(f"A snapshot of {dataset.name} is being frozen already: wait for it.")
    row = SnapshotRequest.objects.create(dataset=dataset, note=note, created_by=by)
    ring_on_commit(FREEZE_DATASET, request_id=row.pk)
    return row
