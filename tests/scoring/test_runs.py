"""Training and scoring runs: cut into shards, done once however often they are rung for, brought
together, taken up again."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.utils import timezone

from annotations import decisions
from annotations.models import Dataset, Verdict
from curator.lib import doorbell, work
from curator.lib.refusals import Conflict, Refusal
from curator.lib.work import Work
from curator.models import User
from scoring import device_tasks, launch, margins, shards, slicing, tasks
from scoring.core import strength
from scoring.engine.heads import BadHead
from scoring.models import Ensemble, Flag, Mode, PairScore, RewardModel, ScoringRun
from tests import factories


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "MOST_PAIRS", 8)


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, int]]]:
    """What was rung for, with a broker at which nothing waits."""
    heard: list[tuple[str, dict[str, int]]] = []

    def ring(task: str, **arguments: int) -> bool:
        heard.append((task, arguments))
        return True

    monkeypatch.setattr(shards, "ring", ring)
    monkeypatch.setattr(shards, "is_quiet", lambda queue: True)
    return heard


def start(ensemble: Ensemble, mode: str = Mode.OUT_OF_BAG) -> ScoringRun:
    """A run that is planned and waits for its shards to be scored."""
    run = launch.start_scoring(ensemble=ensemble, by=None, mode=mode)
    tasks.plan_scoring(run_id=run.pk)
    run.refresh_from_db()
    return run


def score_all(run: ScoringRun) -> None:
    for shard in run.shards.all():
        device_tasks.score_shard(shard_id=shard.pk)
    tasks.finish_scoring(run_id=run.pk)
    run.refresh_from_db()


def first_of(run: Any) -> int:
    """The id of the run's first shard."""
    return int(run.shards.order_by("position").values_list("pk", flat=True)[0])


def rows_of(run: ScoringRun) -> list[Any]:
    columns = [field.name for field in PairScore._meta.fields if field.name not in ("id", "run")]
    return list(run.scores.order_by("pair_id").values_list(*columns))


def long_ago(run: ScoringRun) -> None:
    past = timezone.now() - timedelta(minutes=5)
    ScoringRun.objects.filter(pk=run.pk).update(queued_at=past)
    run.shards.update(queued_at=past)


def test_every_pair_gets_one_score_by_the_members_that_never_saw_it(run: ScoringRun) -> None:
    scores = list(run.scores.all())
    assert len(scores) == run.pairs_total == 30
    assert run.shards.count() == 4
    for score in scores:
        asked = [margin for margin in score.margins if margin is not None]
        assert (len(score.margins), len(asked)) == (4, 2)


def test_in_sample_asks_every_member(ensemble: Ensemble) -> None:
    run = factories.scored(ensemble, mode=Mode.IN_SAMPLE)
    assert all(None not in score.margins for score in run.scores.all())
    assert run.summary["cut_by"] == "percentiles"
    assert "noise_rate" not in run.summary


def test_figures_follow_from_the_margins(run: ScoringRun) -> None:
    scores = list(run.scores.exclude(flag=""))
    assert len(scores) == run.summary["labelled"] == 28
    asked = np.array([score.margins for score in scores], dtype=np.float64)
    stored = np.array([score.strength for score in scores], dtype=np.float64)
    standard = asked / np.array(run.member_scales)
    expected = strength.preference_strength(standard)
    np.testing.assert_allclose(stored, expected)
    assert sum(run.summary["flags"].values()) == 28
    assert set(run.summary["flags"]) == set(Flag.values)


def test_pairs_without_a_preference_have_margins_but_no_flag(run: ScoringRun) -> None:
    scores = run.scores.filter(pair__source_id__in=["pair-28", "pair-29"])
    assert [(score.flag, score.label_probability) for score in scores] == [("", None)] * 2


def test_the_weaker_a_label_the_earlier_it_is_reviewed(run: ScoringRun) -> None:
    queue = run.dataset.standings.queued_for_review()
    by_strength = run.scores.exclude(flag="").order_by("strength", "-pair_id")
    assert [pair.pk for pair in queue] == [score.pair_id for score in by_strength]


def test_the_same_run_twice_gives_equal_scores(ensemble: Ensemble) -> None:
    assert rows_of(factories.scored(ensemble)) == rows_of(factories.scored(ensemble))


def test_training_again_with_the_same_seed_gives_equal_members(
    ensemble: Ensemble, tiny_backbone: str
) -> None:
    again = factories.trained(ensemble.dataset, tiny_backbone, name="again")
    assert [m.digest for m in again.members.all()] == [m.digest for m in ensemble.members.all()]


def test_a_shard_rung_for_twice_is_scored_once(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(ensemble)
    scored: list[int] = []
    once = margins.score_shard

    def counted(shard: Any) -> None:
        scored.append(shard.pk)
        once(shard)

    monkeypatch.setattr(margins, "score_shard", counted)
    for shard in [*run.shards.all(), *run.shards.all()]:
        device_tasks.score_shard(shard_id=shard.pk)
    assert len(scored) == len(set(scored)) == 4
    assert not run.shards.filter(margins=None).exists()


def test_a_worker_that_died_before_its_commit_leaves_nothing_and_the_next_finishes(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores of a shard and its end are one transaction."""
    undisturbed = rows_of(factories.scored(ensemble))
    run = start(ensemble)
    first, *_ = run.shards.all()

    def die(*args: Any, **kwargs: Any) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr(work, "finish", die)
        with pytest.raises(SystemExit):
            device_tasks.score_shard(shard_id=first.pk)
    assert run.shards.filter(margins__isnull=True).count() == 4
    run.shards.filter(pk=first.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    score_all(run)
    assert run.status == Work.Status.DONE
    assert rows_of(run) == undisturbed


def test_a_worker_believed_dead_cannot_write_after_another_took_over(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(ensemble)
    shard_id = first_of(run)
    ask = margins._towards_a

    def lose_the_lease_first(*args: Any) -> Any:
        run.shards.filter(pk=shard_id).update(fence=99)
        return ask(*args)

    monkeypatch.setattr(margins, "_towards_a", lose_the_lease_first)
    device_tasks.score_shard(shard_id=shard_id)
    assert run.shards.filter(margins__isnull=True).count() == 4


def test_a_cancelled_run_scores_nothing_more_and_can_go_on(ensemble: Ensemble) -> None:
    run = start(ensemble)
    first, *others = run.shards.all()
    device_tasks.score_shard(shard_id=first.pk)
    shards.cancel(run)
    for shard in others:
        device_tasks.score_shard(shard_id=shard.pk)
    assert run.shards.filter(margins__isnull=False).count() == 1
    launch.start_again(run, by=None)
    run.refresh_from_db()
    score_all(run)
    assert (run.status, run.scores.count()) == (Work.Status.DONE, 30)


def test_a_run_none_of_whose_shards_can_be_scored_fails_with_the_reason(
    ensemble: Ensemble,
) -> None:
    run = start(ensemble)
    Ensemble.objects.filter(pk=ensemble.pk).update(backbone_digest="another")
    score_all(run)
    assert run.status == Work.Status.FAILED
    assert run.problem.startswith("4 of 4 shards failed (of heads-01, heads-02, heads-03")
    assert "The backbone" in run.problem
    assert not run.shards.filter(status__in=work.OPEN).exists()


def test_a_shard_that_fails_leaves_the_rest_of_the_run_and_can_be_tried_again(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = rows_of(factories.scored(ensemble))
    run = start(ensemble)
    with monkeypatch.context() as patch:
        patch.setattr(margins, "score_shard", _refuse)
        device_tasks.score_shard(shard_id=first_of(run))
    score_all(run)
    assert (run.status, run.scores.count()) == (Work.Status.DONE, 22)
    assert "1 of 4 shards failed" in run.problem
    assert "the model has moved" in run.problem
    launch.start_again(run, by=None)
    score_all(run)
    assert (run.status, run.problem) == (Work.Status.DONE, "")
    assert rows_of(run) == undisturbed


def _refuse(*_: Any) -> None:
    raise Refusal("the model has moved")


def test_a_paused_run_takes_up_no_shard_until_it_goes_on(ensemble: Ensemble) -> None:
    run = start(ensemble)
    assert shards.pause(run)
    assert not shards.pause(run)
    device_tasks.score_shard(shard_id=first_of(run))
    assert run.shards.filter(status=Work.Status.QUEUED).count() == 4
    assert shards.resume(run)
    assert not shards.resume(run)
    score_all(run)
    assert run.status == Work.Status.DONE


def test_a_member_whose_file_was_changed_is_not_used(ensemble: Ensemble) -> None:
    member = ensemble.members.first()
    assert member is not None
    path = member.file.path
    with open(path, "ab") as file:  # noqa: PTH123
        file.write(b"x")
    run = start(ensemble)
    score_all(run)
    assert run.status == Work.Status.FAILED
    assert "changed since it was trained" in run.problem
    assert issubclass(BadHead, Refusal)


def test_a_lost_message_is_rung_again_by_the_sweep(
    ensemble: Ensemble, rung: list[tuple[str, dict[str, int]]]
) -> None:
    run = launch.start_scoring(ensemble=ensemble, by=None)
    shards.sweep()
    assert rung == []  # it may still be on its way
    long_ago(run)
    shards.sweep()
    assert rung == [(shards.PLAN_SCORING, {"run_id": run.pk})]
    tasks.plan_scoring(run_id=run.pk)
    rung.clear()
    long_ago(run)
    shards.sweep()
    waiting = [(shards.SCORE_SHARD, {"shard_id": pk}) for pk in shard_ids(run)]
    assert sorted(rung, key=str) == sorted(waiting, key=str)
    for shard in run.shards.all():
        device_tasks.score_shard(shard_id=shard.pk)
    rung.clear()
    shards.sweep()
    assert rung == [(shards.FINISH_SCORING, {"run_id": run.pk})]


def shard_ids(run: ScoringRun) -> list[int]:
    return list(run.shards.values_list("pk", flat=True))


def test_a_broker_that_is_away_refuses_no_work(
    ensemble: Ensemble, django_capture_on_commit_callbacks: Any
) -> None:
    """No broker runs in these tests but where REDIS_URL names one: the row waits for the sweep."""
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        run = launch.start_scoring(ensemble=ensemble, by=None)
    assert len(callbacks) == 1
    assert doorbell.ring(shards.PLAN_SCORING, run_id=run.pk) is not settings.IS_EMBEDDED
    run.refresh_from_db()
    assert run.status == Work.Status.QUEUED


def test_a_new_run_of_other_labels_leaves_the_old_one_as_it_was(ensemble: Ensemble) -> None:
    first = factories.scored(ensemble)
    before = rows_of(first)
    factories.imported(ensemble.dataset, [factories.row(100 + number) for number in range(5)])
    second = factories.scored(ensemble)
    assert rows_of(first) == before
    assert second.scores.count() == 35


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"members": 5}, "even number of members"),
        ({"members": 0}, "even number of members"),
        ({"bag_unit": "moon"}, "by `pair` or by `prompt`"),
        ({"name": "no spaces"}, "Use letters, digits"),
    ],
)
def test_training_refuses_what_makes_no_ensemble(
    thirty: Dataset, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refusal, match=reason):
        launch.start_training(dataset=thirty, **{"name": "heads", "by": None, **options})
    assert not thirty.ensembles.exists()


def test_an_ensembles_name_is_taken_once(ensemble: Ensemble) -> None:
    with pytest.raises(Conflict, match="choose another name"):
        launch.start_training(dataset=ensemble.dataset, name="heads", by=None)


def test_too_few_pairs_are_refused_at_once(dataset: Dataset) -> None:
    factories.pairs(dataset, 3)
    with pytest.raises(shards.NotEnoughPairs, match="3 pairs with a preference"):
        launch.start_training(dataset=dataset, name="heads", by=None)


def test_labels_that_all_prefer_one_side_teach_nothing(
    dataset: Dataset, tiny_backbone: str
) -> None:
    """All labels on one side of the screen is a property of the file, not of quality."""
    factories.pairs(dataset, 24)
    run = launch.start_training(
        dataset=dataset, name="heads", by=None, members=4, backbone=tiny_backbone
    )
    tasks.plan_training(run_id=run.pk)
    device_tasks.fit_ensemble(run_id=run.pk)
    run.refresh_from_db()
    assert run.status == Work.Status.FAILED
    assert "There is nothing to learn" in run.problem


def test_a_backbone_that_is_not_there_fails_the_run_with_a_sentence(thirty: Dataset) -> None:
    run = launch.start_training(
        dataset=thirty, name="heads", by=None, members=4, backbone="/nowhere/at/all"
    )
    tasks.plan_training(run_id=run.pk)
    device_tasks.embed_shard(shard_id=first_of(run))
    run.refresh_from_db()
    assert run.status == Work.Status.FAILED
    assert "There is no folder /nowhere/at/all" in run.problem


def test_an_untrained_ensemble_does_not_score(thirty: Dataset, tiny_backbone: str) -> None:
    run = launch.start_training(
        dataset=thirty, name="heads", by=None, members=4, backbone=tiny_backbone
    )
    with pytest.raises(Refusal, match="not trained yet"):
        launch.start_scoring(ensemble=run.ensemble, by=None)


def test_members_carry_a_card_that_says_how_they_came_about(ensemble: Ensemble) -> None:
    member = RewardModel.objects.filter(ensemble=ensemble).first()
    assert member is not None
    assert {"backbone_digest", "data_digest", "bag", "penalty", "out_of_bag_accuracy"} <= set(
        member.card
    )
    assert 0.0 <= (member.out_of_bag_accuracy or -1.0) <= 1.0


def test_flips_decided_by_curators_are_learnt_from(
    ensemble: Ensemble, tiny_backbone: str, casey: User
) -> None:
    for pair in ensemble.dataset.pairs.filter(source_preference="b"):
        decisions.decide(pair=pair, verdict=Verdict.FLIP, by=casey, based_on=None)
    kept = ensemble.dataset.pairs.filter(source_preference="a")[0]
    decisions.decide(pair=kept, verdict=Verdict.DROP, by=casey, based_on=None)
    run = launch.start_training(
        dataset=ensemble.dataset, name="after", by=None, members=4, backbone=tiny_backbone
    )
    tasks.plan_training(run_id=run.pk)
    for shard in run.shards.all():
        device_tasks.embed_shard(shard_id=shard.pk)
    device_tasks.fit_ensemble(run_id=run.pk)
    run.refresh_from_db()
    assert "labels prefer the same side" in run.problem
