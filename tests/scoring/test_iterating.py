"""Pseudo-labels: an ensemble labels what it is sure of, as a policy, and learns from that."""

import pytest

from annotations import batches
from annotations import launch as annotations_launch
from annotations import tasks as annotations_tasks
from annotations.models import Dataset, Decision, DecisionBatch, PairStanding, Verdict
from curator.lib.refusals import Conflict, Refusal
from curator.lib.work import Work
from scoring import device_tasks, iterating, labels, tasks
from scoring.core.recipe_presets import PRESETS
from scoring.models import Iteration, TrainingRun
from tests import factories

THRESHOLD = 0.6


@pytest.fixture
def half_labelled(dataset: Dataset) -> Dataset:
    """Forty pairs of which one response is better; every second came without a label."""
    rows = [factories.row(number) for number in range(0, 32, 2)]
    rows += [factories.row(number, labels=[]) for number in range(1, 32, 2)]
    rows += [factories.row(number, label="b") for number in range(32, 40)]
    factories.imported(dataset, rows)
    return dataset


@pytest.fixture
def iteration(half_labelled: Dataset, tiny_backbone: str) -> Iteration:
    return iterating.start(
        dataset=half_labelled,
        name="pool",
        by=None,
        rounds=2,
        threshold=THRESHOLD,
        members=4,
        backbone=tiny_backbone,
    )


def go_on(row: Iteration, steps: int = 20) -> Iteration:
    """What the workers do, until the iteration is over or so many steps are done."""
    for _ in range(steps):
        tasks.go_on_iterating(iteration_id=row.pk)
        row.refresh_from_db()
        if row.is_over:
            break
        last = row.rounds.select_related("run").last()
        assert last is not None
        training = TrainingRun.objects.get(ensemble=last.ensemble)
        if not training.is_over:
            train(training)
        elif last.run is not None and not last.run.is_over:
            factories.work_off(last.run)
    return row


def train(run: TrainingRun) -> None:
    tasks.plan_training(run_id=run.pk)
    for shard in run.shards.all():
        device_tasks.embed_shard(shard_id=shard.pk)
    device_tasks.fit_ensemble(run_id=run.pk)


def test_an_iteration_labels_what_it_is_sure_of_and_learns_from_it(iteration: Iteration) -> None:
    before = len(labels.labelled_pairs(iteration.dataset).ids)
    row = go_on(iteration)
    assert row.status == Work.Status.DONE, row.problem
    first = row.rounds.first()
    assert first is not None
    assert first.batch is not None
    assert first.figures["learnt_from"] == before
    made = Decision.objects.filter(batch=first.batch)
    assert made.count() == first.figures["labelled"] > 0
    for decision in made:
        assert decision.kind == Decision.Kind.POLICY
        assert decision.verdict in (Verdict.PREFER_A, Verdict.PREFER_B)
        assert decision.evidence["probability"] > THRESHOLD
        assert decision.evidence["run"] == first.run_id
        standing = decision.pair.standing
        assert standing.source_preference == ""
        assert standing.decided_by == PairStanding.DecidedBy.POLICY
    after = len(labels.labelled_pairs(iteration.dataset).ids)
    assert after == before + sum(each.figures["labelled"] for each in row.rounds.all())


def test_a_label_goes_to_the_response_that_the_run_prefers(iteration: Iteration) -> None:
    row = go_on(iteration)
    first = row.rounds.first()
    assert first is not None
    assert first.run is not None
    for decision in Decision.objects.filter(batch=first.batch):
        strength = first.run.scores.get(pair=decision.pair).strength
        assert strength is not None
        assert (strength > 0) == (decision.verdict == Verdict.PREFER_A)


def test_labels_of_people_and_of_the_source_are_never_touched(
    iteration: Iteration,
) -> None:
    labelled = iteration.dataset.standings.exclude(source_preference="")
    row = go_on(iteration)
    assert row.rounds.exists()
    assert not labelled.exclude(verdict="").exists()


def test_a_round_is_undone_as_one(iteration: Iteration) -> None:
    row = go_on(iteration)
    dataset = row.dataset
    for each in row.rounds.order_by("-position"):
        assert each.batch is not None
        if not each.batch.decided:
            continue
        undo = annotations_launch.start_undo(batch=each.batch, by=None)
        annotations_tasks.decide_batch(batch_id=undo.pk)
    assert not dataset.standings.filter(source_preference="").exclude(verdict="").exists()
    assert batches.as_dict(DecisionBatch.objects.latest("pk"))["status"] == "done"


def test_it_ends_when_a_round_is_sure_of_nothing_more(
    half_labelled: Dataset, tiny_backbone: str
) -> None:
    row = iterating.start(
        dataset=half_labelled,
        name="strict",
        by=None,
        rounds=5,
        threshold=0.999,
        members=4,
        backbone=tiny_backbone,
    )
    row = go_on(row)
    assert row.status == Work.Status.DONE
    assert [each.figures["labelled"] for each in row.rounds.all()] == [0]


def test_an_interrupted_iteration_takes_no_step_twice(iteration: Iteration) -> None:
    tasks.go_on_iterating(iteration_id=iteration.pk)
    assert iterating.due() == []  # its training is at work
    tasks.go_on_iterating(iteration_id=iteration.pk)
    assert iteration.rounds.count() == 1
    row = go_on(iteration)
    assert row.rounds.count() == len({each.ensemble_id for each in row.rounds.all()}) == 2


def test_a_training_that_fails_ends_the_iteration_with_its_reason(iteration: Iteration) -> None:
    tasks.go_on_iterating(iteration_id=iteration.pk)
    training = TrainingRun.objects.get(ensemble__name="pool-1")
    TrainingRun.objects.filter(pk=training.pk).update(status="failed", problem="No memory left.")
    tasks.go_on_iterating(iteration_id=iteration.pk)
    iteration.refresh_from_db()
    assert iteration.status == Work.Status.FAILED
    assert "No memory left." in iteration.problem


def test_an_iteration_goes_on_where_its_training_failed(iteration: Iteration) -> None:
    tasks.go_on_iterating(iteration_id=iteration.pk)
    training = TrainingRun.objects.filter(ensemble__name="pool-1")
    training.update(status="failed", problem="No memory left.")
    tasks.go_on_iterating(iteration_id=iteration.pk)
    iteration.refresh_from_db()
    iterating.start_again(iteration, by=None)
    assert training.get().status == Work.Status.QUEUED
    row = go_on(iteration)
    assert row.status == Work.Status.DONE, row.problem
    assert row.problem == ""
    assert [each.ensemble.name for each in row.rounds.all()] == ["pool-1", "pool-2"]
    with pytest.raises(Refusal, match="failed or was cancelled"):
        iterating.start_again(row, by=None)


def test_a_cancelled_iteration_goes_on_unless_another_is_at_work(
    iteration: Iteration, tiny_backbone: str
) -> None:
    assert iterating.cancel(iteration, by=None)
    dataset = iteration.dataset
    other = iterating.start(
        dataset=dataset, name="other", by=None, members=4, backbone=tiny_backbone
    )
    with pytest.raises(Conflict, match="Another iteration"):
        iterating.start_again(iteration, by=None)
    assert iterating.cancel(other, by=None)
    with pytest.raises(Refusal, match="Only curators"):
        iterating.start_again(iteration, by=factories.user("stranger"))
    iterating.start_again(iteration, by=None)
    assert go_on(iteration).status == Work.Status.DONE


@pytest.mark.parametrize(
    ("name", "words"),
    [("pool", "an ensemble called 'pool-2' already"), ("p" * 59, "cannot be an ensemble")],
)
def test_the_names_of_all_rounds_must_be_free(
    half_labelled: Dataset, tiny_backbone: str, name: str, words: str
) -> None:
    factories.trained(half_labelled, tiny_backbone, name="pool-2")
    with pytest.raises(Refusal, match=words):
        iterating.start(
            dataset=half_labelled,
            name=name,
            by=None,
            rounds=10,
            members=4,
            backbone=tiny_backbone,
        )


def test_an_iteration_that_is_sent_twice_at_once_is_begun_once(
    iteration: Iteration, tiny_backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # nothing was there when both looked
    monkeypatch.setattr(iterating, "check", lambda **wanted: None)
    with pytest.raises(Conflict, match="has an iteration called 'pool' already"):
        iterating.start(
            dataset=iteration.dataset, name="pool", by=None, members=4, backbone=tiny_backbone
        )
    assert Iteration.objects.get() == iteration


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"threshold": 0.4}, "from 0.5 and below 1"),
        ({"threshold": 1.0}, "from 0.5 and below 1"),
        ({"rounds": 0}, "1 to 20 rounds"),
        ({"recipe": PRESETS["soft labels"]}, "flags or strengths of a run"),
    ],
)
def test_what_makes_no_sense_is_refused(
    half_labelled: Dataset, tiny_backbone: str, wanted: dict[str, object], words: str
) -> None:
    with pytest.raises(Refusal, match=words):
        iterating.start(
            dataset=half_labelled,
            name="pool",
            by=None,
            **{"members": 4, "backbone": tiny_backbone, **wanted},  # type: ignore[arg-type]
        )


def test_a_dataset_without_unlabelled_pairs_has_nothing_to_iterate(dataset: Dataset) -> None:
    factories.imported(dataset, [factories.row(number) for number in range(30)])
    with pytest.raises(Refusal, match="nothing to give pseudo-labels to"):
        iterating.start(dataset=dataset, name="pool", by=None)


def test_two_iterations_do_not_learn_from_each_other(iteration: Iteration) -> None:
    with pytest.raises(Conflict, match="Another iteration"):
        iterating.start(dataset=iteration.dataset, name="second", by=None)
