"""Pseudo-labels round by round: train on the labels that hold, score, let the policy label what the
ensemble is sure of, and begin again (SSRM, arXiv 2409.06903).

Each round's training and scoring are ordinary rows that can be watched, and its labels are an
ordinary batch that can be undone. The work of an iteration is only to say what comes next; it ends
after the rounds that were wanted, or when a round finds nothing more to label.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from django.db import IntegrityError, transaction
from django.db.models import Q

from annotations import permissions, pseudo_labels
from annotations.models import Dataset, DecisionBatch
from annotations.pseudo_labels import PseudoLabel
from curator.lib import work
from curator.lib.doorbell import ring_on_commit
from curator.lib.refusals import Conflict, Refusal
from curator.lib.work import Work
from curator.models import User
from scoring import launch
from scoring.core import pseudo, recipes
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import Recipe
from scoring.models import Iteration, IterationRound, Mode, PairScore, ScoringRun, TrainingRun

logger = logging.getLogger(__name__)

GO_ON_ITERATING = "scoring.tasks.go_on_iterating"
DEFAULT_THRESHOLD = 0.8
DEFAULT_ROUNDS = 3
MOST_ROUNDS = 20
FETCHED = 2000


@transaction.atomic
def start(
    *,
    dataset: Dataset,
    name: str,
    by: User | None,
    rounds: int = DEFAULT_ROUNDS,
    threshold: float = DEFAULT_THRESHOLD,
    members: int = launch.DEFAULT_MEMBERS,
    backbone: str = launch.DEFAULT_BACKBONE,
    recipe: Recipe | None = None,
) -> Iteration:
    """Begin the rounds. `by` is None on the command line of the machine."""
    if by is not None:
        permissions.check_can_curate(by, dataset)
    recipe = recipe or PRESETS["plain"]
    _lock(dataset)
    check(dataset=dataset, name=name, rounds=rounds, threshold=threshold, recipe=recipe)
    launch.check_recipe(dataset=dataset, recipe=recipe, by=by, members=members)
    for position in range(1, rounds + 1):
        launch.check_training(
            dataset=dataset, name=round_name(name, position), members=members, bag_unit="pair"
        )
    row = Iteration(
        dataset=dataset,
        name=name,
        rounds_wanted=rounds,
        threshold=threshold,
        backbone=backbone,
        members_count=members,
        recipe=recipes.as_json(recipe),
        created_by=by,
    )
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:  # sent twice at once
        raise _is_taken(dataset, name) from error
    ring_on_commit(GO_ON_ITERATING, iteration_id=row.pk)
    return row


def check(*, dataset: Dataset, name: str, rounds: int, threshold: float, recipe: Recipe) -> None:
    """Raises a Refusal where `start` would, beside what the training itself refuses."""
    if not 1 <= rounds <= MOST_ROUNDS:
        raise Refusal(f"An iteration has 1 to {MOST_ROUNDS} rounds, not {rounds}.")
    if not 0.5 <= threshold < 1:
        raise Refusal(
            f"A pair is labelled where its probability exceeds the threshold: a number from 0.5 "
            f"and below 1, not {threshold:g}."
        )
    if recipe.needs_run:
        raise Refusal(
            f"The recipe “{recipe.name}” goes by the flags or strengths of a run, which the rounds "
            f"do not have: choose one that treats all pairs alike."
        )
    if dataset.iterations.filter(name=name).exists():
        raise _is_taken(dataset, name)
    _check_is_alone(dataset)
    if not unlabelled(dataset).exists():
        raise Refusal(
            f"Every pair of {dataset.name} has a label: there is nothing to give pseudo-labels to."
        )


def _lock(dataset: Dataset) -> None:
    """One iteration of a dataset begins at a time."""
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)


def _is_taken(dataset: Dataset, name: str) -> Conflict:
    return Conflict(f"{dataset.name} has an iteration called {name!r} already.")


def _check_is_alone(dataset: Dataset, but: Iteration | None = None) -> None:
    at_work = dataset.iterations.filter(status__in=work.OPEN)
    if but is not None:
        at_work = at_work.exclude(pk=but.pk)
    if at_work.exists():
        raise Conflict(
            f"Another iteration of {dataset.name} is at work: its labels are what this one would "
            f"learn from, so wait for its end."
        )


def round_name(name: str, position: int) -> str:
    """What the ensemble of a round is called."""
    return f"{name}-{position}"


def unlabelled(dataset: Dataset) -> Any:
    """The standings of the pairs that have no label and no decision."""
    return dataset.standings.undecided().filter(source_preference="")


def advance(row: Iteration) -> None:
    """Take the next step that is due, if any, and give the row back or finish it. Raises Refusal
    where a round's training or scoring has failed."""
    last = row.rounds.select_related("ensemble", "run", "batch").last()
    if last is None:
        _begin_round(row, 1)
    elif last.run is None:
        _after_training(row, last)
    elif last.batch is None:
        if _after_scoring(row, last):
            advance(row)  # nobody else has to do anything before the next round
            return
    elif not last.batch.decided or last.position >= row.rounds_wanted:
        work.finish(row)
        return
    else:
        _begin_round(row, last.position + 1)
    work.release(row)


def _begin_round(row: Iteration, position: int) -> None:
    with transaction.atomic():
        work.renew(row)
        training = launch.start_training(
            dataset=row.dataset,
            name=round_name(row.name, position),
            by=row.created_by,
            members=row.members_count,
            backbone=row.backbone,
            recipe=recipes.parse(row.recipe),
        )
        IterationRound.objects.create(iteration=row, position=position, ensemble=training.ensemble)
    logger.info("round begun iteration=%s round=%d", row.pk, position)


def _after_training(row: Iteration, last: IterationRound) -> None:
    training = TrainingRun.objects.get(ensemble=last.ensemble)
    if not _is_done(training, f"The training of round {last.position}"):
        return
    with transaction.atomic():
        work.renew(row)
        run = launch.start_scoring(ensemble=last.ensemble, by=row.created_by, mode=Mode.OUT_OF_BAG)
        last.run = run
        last.save(update_fields=["run"])


def _after_scoring(row: Iteration, last: IterationRound) -> bool:
    """Label what the run is sure of; False while it is still at work."""
    run = last.run
    assert run is not None
    if not _is_done(run, f"The scoring of round {last.position}"):
        return False
    if "slope" not in run.summary:
        raise Refusal(
            "Too few pairs are labelled to say how sure the ensemble is, so nothing was labelled."
        )
    found = list(_sure(row, last))
    with transaction.atomic():
        work.renew(row)
        batch = pseudo_labels.give(
            dataset=row.dataset,
            labels=found,
            policy={
                "name": f"pseudo-labels above {row.threshold:g}",
                "threshold": row.threshold,
                "iteration": row.name,
            },
            evidence={"run": run.pk, "ensemble": last.ensemble.name, "round": last.position},
            by=row.created_by,
        )
        last.batch = batch
        last.figures = _figures(last, batch)
        last.save(update_fields=["batch", "figures"])
    logger.info("labelled iteration=%s round=%d pairs=%d", row.pk, last.position, batch.decided)
    return True


def _sure(row: Iteration, last: IterationRound) -> Iterator[PseudoLabel]:
    """What the round's run is sure of among the pairs that have no label yet."""
    run = last.run
    assert run is not None
    scores = PairScore.objects.filter(run=run, strength__isnull=False)
    open_pairs = Q(pair__standing__verdict="", pair__standing__source_preference="")
    rows = list(
        scores.filter(open_pairs).values_list("pair", "strength").order_by("pair").iterator(FETCHED)
    )
    strengths = np.array([strength for _, strength in rows], dtype=np.float64)
    probabilities = pseudo.prefers_a(strengths, float(run.summary["slope"]))
    for i in np.flatnonzero(pseudo.sure(probabilities, row.threshold)):
        p = float(probabilities[i])
        yield PseudoLabel(rows[i][0], prefers_a=p > 0.5, probability=max(p, 1.0 - p))


def _figures(last: IterationRound, batch: DecisionBatch) -> dict[str, Any]:
    """What the round came to: pairs learnt from, the ensemble's out-of-bag accuracy on labels as
    imported, pairs labelled, and pairs that stay unsure."""
    training = TrainingRun.objects.get(ensemble=last.ensemble)
    assert last.run is not None
    return {
        "learnt_from": training.summary.get("labelled"),
        "accuracy": last.run.summary.get("accuracy"),
        "labelled": batch.decided,
        "unsure": unlabelled(batch.dataset).count(),
    }


def _is_done(run: Any, what: str) -> bool:
    """Whether it came to its end. Raises Refusal where it never will."""
    if run.status in (Work.Status.FAILED, Work.Status.CANCELLED):
        raise Refusal(f"{what} {run.get_status_display()}: {run.problem or 'it was stopped.'}")
    return bool(run.status == Work.Status.DONE)


def waiting_for(ensemble_id: int) -> list[int]:
    """Iterations that go on once work on this ensemble is over."""
    rows = IterationRound.objects.filter(ensemble=ensemble_id, iteration__status__in=work.OPEN)
    return list(rows.values_list("iteration", flat=True))


def due() -> list[int]:
    """Open iterations that nobody holds, and whose last step is over or never began."""
    found = []
    for row in Iteration.objects.filter(status__in=work.OPEN):
        if not work.is_free(row):
            continue
        step = _step(row)
        if step is None or step.is_over:
            found.append(row.pk)
    return found


def _step(row: Iteration) -> TrainingRun | ScoringRun | None:
    """The last training or scoring that was begun."""
    last = row.rounds.select_related("run").last()
    return None if last is None else last.run or TrainingRun.objects.get(ensemble=last.ensemble)


@transaction.atomic
def cancel(row: Iteration, *, by: User | None) -> bool:
    """Begin no further step; a training or scoring at work comes to its end, and labels that were
    given stay until their batch is undone."""
    if by is not None:
        permissions.check_can_curate(by, row.dataset)
    return work.cancel(row)


@transaction.atomic
def start_again(row: Iteration, *, by: User | None) -> None:
    """Go on with an iteration that failed or was cancelled: with its last round, whose training or
    scoring is tried again where it failed. Raises Refusal where it did neither."""
    if by is not None:
        permissions.check_can_curate(by, row.dataset)
    _lock(row.dataset)
    _check_is_alone(row.dataset, but=row)
    if not work.requeue(row):
        raise Refusal("Only an iteration that failed or was cancelled can be started again.")
    step = _step(row)
    if step is not None and step.status in (Work.Status.FAILED, Work.Status.CANCELLED):
        launch.start_again(step, by=by)
    ring_on_commit(GO_ON_ITERATING, iteration_id=row.pk)


def as_dict(row: Iteration) -> dict[str, Any]:
    """The iteration in plain JSON values."""
    return {
        "iteration": row.name,
        "dataset": row.dataset.slug,
        "status": row.status,
        "threshold": row.threshold,
        "rounds": [
            {
                "round": each.position,
                "ensemble": each.ensemble.name,
                "run": each.run_id,
                "batch": each.batch_id,
                **each.figures,
            }
            for each in row.rounds.select_related("ensemble")
        ],
    }
