"""A random sample to audit flags by: what is drawn, which verdicts count, and what they say."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotations import decisions
from annotations.models import Dataset, Decision, DecisionBatch, PairStanding, Verdict
from curator.lib.refusals import Forbidden, Refusal
from curator.models import User
from scoring import queues, sampling
from scoring.core.flags import CLEAR, FLIPPED
from scoring.models import Flag, Mode, PairScore, ReviewSample, ScoringRun
from tests import factories

pytestmark = pytest.mark.django_db
COUNT = 60


@pytest.fixture
def run(dataset: Dataset) -> ScoringRun:
    return judged(dataset, COUNT)


def judged(dataset: Dataset, count: int) -> ScoringRun:
    """A run of `count` labels, of which the weakest sixth are flagged as likely flipped."""
    pairs = factories.pairs(dataset, count)
    return factories.judged(
        dataset,
        {
            pair.pk: (number / count - 0.3, FLIPPED if number < count // 6 else CLEAR)
            for number, pair in enumerate(pairs)
        },
    )


def review(
    sample: ReviewSample, by: User, verdicts: Iterable[str | None], *, queue: str = "audit"
) -> None:
    """Decide the pairs of the sample from its beginning on; None passes one over."""
    rows = sample.rows.select_related("pair__dataset").order_by("position")
    for row, verdict in zip(rows, verdicts, strict=False):
        if verdict is not None:
            decide(row.pair, by, verdict, queue=queue)


def decide(pair: Any, by: User, verdict: str, *, queue: str = "audit") -> Decision:
    latest = PairStanding.objects.get(pk=pair.pk).decision_id
    said = {"queue": queue, "seen": False}
    return decisions.decide(
        pair=pair, verdict=Verdict(verdict), by=by, based_on=latest, evidence=said
    )


def ids(sample: ReviewSample) -> list[int]:
    return list(sample.rows.order_by("position").values_list("pair", flat=True))


# Drawing


def test_a_sample_is_drawn_from_every_range_of_strength(run: ScoringRun, casey: User) -> None:
    sample = sampling.draw(run, 20, by=casey, seed=3)
    assert sample.size == len(set(ids(sample))) == 20
    drawn = np.bincount(list(sample.rows.values_list("stratum", flat=True)), minlength=10)
    assert drawn.min() >= 1
    assert drawn[0] >= drawn[-1]
    strata = sampling.strata_of(sample)
    assert [each.pairs for each in strata] == [COUNT // 10] * 10
    assert strata[0].flags["flipped"] == 6
    assert sum(s.flags["flipped"] for s in strata) == 10
    assert all(weak.high <= strong.low for weak, strong in pairwise(strata))


def test_the_seed_says_what_is_drawn(dataset: Dataset) -> None:
    first, again, other = (
        sampling.draw(ScoringRun.objects.get(pk=judged_again(dataset).pk), 20, seed=seed)
        for seed in (1, 1, 2)
    )
    assert ids(first) == ids(again) != ids(other)


def test_labels_are_drawn_from_as_columns_and_not_as_objects(run: ScoringRun) -> None:
    found = sampling._labels(run)
    assert found.nbytes == 17 * COUNT
    scores = run.scores.order_by("strength", "pair").values_list("pair", "strength", "flag")
    flags = Flag.values
    assert [(pk, strength, flags[flag]) for pk, strength, flag in found.tolist()] == list(scores)


def judged_again(dataset: Dataset) -> ScoringRun:
    """Another run that found the same."""
    first = dataset.scoring_runs.first()
    if first is None:
        return judged(dataset, COUNT)
    found = PairScore.objects.filter(run=first).values_list("pair", "strength", "flag")
    return factories.judged(dataset, {pk: (strength or 0.0, flag) for pk, strength, flag in found})


def test_a_second_draw_enlarges_the_sample_and_keeps_its_order(run: ScoringRun) -> None:
    sample = sampling.draw(run, 20)
    before = ids(sample)
    assert sampling.draw(run, 30).pk == sample.pk
    grown = sampling.enlarge(sample, 10)
    assert grown.size == 40
    assert ids(grown)[:20] == before
    assert len(set(ids(grown))) == 40
    assert list(grown.rows.values_list("position", flat=True)) == list(range(40))
    with pytest.raises(Refusal, match="40 pairs already"):
        sampling.draw(run, 40)


def test_what_cannot_be_drawn_is_refused(run: ScoringRun, dataset: Dataset) -> None:
    with pytest.raises(Refusal, match=r"60 labels .* so 61 cannot be drawn"):
        sampling.draw(run, COUNT + 1)
    with pytest.raises(Refusal, match="one pair or more, not 0"):
        sampling.draw(run, 0)
    with pytest.raises(Refusal, match="a run that is done"):
        sampling.draw(factories.judged(dataset, {}, status="running"), 5)
    with pytest.raises(Refusal, match="flagged no label"):
        sampling.draw(factories.judged(dataset, {}), 5)
    with pytest.raises(Forbidden):
        sampling.draw(run, 5, by=factories.user("nobody"))
    assert not ReviewSample.objects.exists()


def test_every_label_can_be_drawn(run: ScoringRun) -> None:
    sample = sampling.draw(run, 50)
    assert sampling.enlarge(sample, 10).size == COUNT
    with pytest.raises(Refusal, match="so 61 cannot"):
        sampling.enlarge(sample, 1)


# Which verdicts count


def test_verdicts_become_right_wrong_or_unclear(run: ScoringRun, casey: User) -> None:
    sample = sampling.draw(run, 12)
    review(sample, casey, ["keep", "flip", "keep", "flip", "tie", "drop"])
    found = sampling.found(sample)
    assert (found.reviewed, found.wrong, found.unclear, found.right) == (6, 2, 2, 2)
    assert found.waiting == 6
    assert found.noise.figure is not None
    assert found.noise.figure.low < 2 / 6
    assert found.unclear_share is not None
    assert found.unclear_share.estimate == 2 / 6


def test_the_review_counts_up_to_where_it_has_come(run: ScoringRun, casey: User) -> None:
    """A pair further on that another queue led to would tilt the figures towards its flag."""
    sample = sampling.draw(run, 20)
    rows = list(sample.rows.select_related("pair__dataset"))
    for row in rows[10:15]:
        decide(row.pair, casey, "flip", queue="flipped")
    assert sampling.found(sample).reviewed == 0
    assert sampling.found(sample).verdicts.further_on == 5
    review(sample, casey, ["keep", "keep", None, "keep"])
    found = sampling.found(sample)
    assert (found.reviewed, found.wrong, found.verdicts.passed_over) == (3, 0, 1)
    decide(rows[15].pair, casey, "keep")
    assert sampling.found(sample).reviewed == 9  # the five count as the review passes them
    assert sampling.found(sample).verdicts.passed_over == 7


def test_what_was_decided_before_the_draw_counts_in_its_turn(run: ScoringRun, casey: User) -> None:
    for standing in run.dataset.standings.all():
        decide(standing.pair, casey, "keep", queue="all")
    sample = sampling.draw(run, 15)
    found = sampling.found(sample)
    assert (found.reviewed, found.waiting) == (15, 0)


def test_bulk_decisions_and_policies_are_no_review(run: ScoringRun, casey: User) -> None:
    sample = sampling.draw(run, 10)
    row = sample.rows.select_related("pair__standing").all()
    batch = DecisionBatch.objects.create(dataset=run.dataset, kind="bulk", actor="casey")
    for number, kind in ((0, "person"), (1, "policy")):
        decision = Decision.objects.create(
            pair=row[number].pair, verdict="flip", kind=kind, batch=batch, actor="casey"
        )
        PairStanding.objects.filter(pk=row[number].pair_id).update(
            decision=decision, verdict="flip", decided_by=kind
        )
    found = sampling.found(sample)
    assert (found.reviewed, found.waiting, sampling.left(sample)) == (0, 10, 10)
    queue = queues.audit(run.dataset)
    assert queue is not None
    assert list(queue.waiting.values_list("pair", flat=True).order_by("position")) == ids(sample)


def test_a_verdict_that_an_undo_brings_back_counts_again(run: ScoringRun, casey: User) -> None:
    sample = sampling.draw(run, 10)
    pair = sample.rows.select_related("pair__dataset")[0].pair
    decide(pair, casey, "flip")
    changed = decide(pair, casey, "keep", queue="list")
    assert sampling.found(sample).wrong == 0
    decisions.undo(decision=changed, by=casey)
    assert (sampling.found(sample).reviewed, sampling.found(sample).wrong) == (1, 1)


# What they say


def test_reviewing_everything_gives_the_truth(run: ScoringRun, casey: User) -> None:
    sample = sampling.draw(run, COUNT)
    flips = {row.pk: row.flag == FLIPPED or row.position % 9 == 0 for row in sample.rows.all()}
    review(sample, casey, ["flip" if wrong else "keep" for wrong in flips.values()])
    found = sampling.found(sample)
    truth = sum(flips.values()) / COUNT
    assert found.noise.figure is not None
    figure = found.noise.figure
    assert [figure.estimate, figure.low, figure.high] == pytest.approx([truth] * 3)
    precision, recall = found.flags[FLIPPED].precision.figure, found.flags[FLIPPED].recall
    assert precision is not None
    assert precision.low == pytest.approx(1.0)
    assert recall is not None
    assert recall.estimate == pytest.approx(10 / sum(flips.values()))
    assert found.needed == {0.05: 0, 0.02: 0, 0.01: 0}
    assert [share.reviews for share in found.bins] == [6] * 10


def test_before_the_first_review_nothing_is_claimed(run: ScoringRun) -> None:
    found = sampling.found(sampling.draw(run, 10))
    assert found.noise.figure is None
    assert found.flags[FLIPPED].precision.figure is None
    assert found.unclear_share is None
    assert 0 < found.needed[0.05] <= found.needed[0.02] <= found.needed[0.01] <= COUNT
    assert found.needed == sampling.needed_at_first(found.sample.run)


def test_a_large_sample_takes_no_more_queries_than_a_small_one(
    run: ScoringRun, casey: User
) -> None:
    sample = sampling.draw(run, 10)
    review(sample, casey, ["keep"] * 5)
    with CaptureQueriesContext(
        connection,
    ) as small:
        sampling.found(sample)
    sampling.enlarge(sample, 40)
    review(ReviewSample.objects.get(pk=sample.pk), casey, ["keep"] * 45)
    with CaptureQueriesContext(connection) as large:
        assert sampling.found(ReviewSample.objects.get(pk=sample.pk)).reviewed == 45
    assert len(large) - 1 == len(small)


def test_the_overview_goes_by_the_reviews_once_there_are_enough(
    run: ScoringRun, casey: User
) -> None:
    run.summary["noise_rate"] = {"estimate": 0.3, "low": 0.2, "high": 0.4}
    run.summary["noise_rate_is_known"] = True
    run.save()
    sample = sampling.draw(run, 40)
    review(sample, casey, ["keep"] * 29)
    assert "models alone" in sampling.noise_of(run).basis
    review(sample, casey, [*[None] * 29, "keep", "flip"])
    noise = sampling.noise_of(run)
    assert "31 reviews of labels drawn at random" in noise.basis
    assert noise.figure is not None
    assert noise.figure.high < 0.3


def test_in_sample_runs_can_be_audited(dataset: Dataset, casey: User) -> None:
    run = judged(dataset, 40)
    run.mode = Mode.IN_SAMPLE
    run.save()
    assert sampling.noise_of(run).figure is None
    sample = sampling.draw(run, 40)
    review(sample, casey, ["keep"] * 40)
    assert sampling.noise_of(run).figure is not None


def test_the_interval_of_samples_drawn_and_read_here_covers_the_truth(dataset: Dataset) -> None:
    """Forty samples of one run, each by its own seed, through the product's own functions: no more
    than a few intervals of 95 % may miss."""
    first = judged(dataset, 120)
    chance = np.random.default_rng(5)
    wrong = {
        pk: bool(chance.random() < (0.45 if flag == FLIPPED else 0.08))
        for pk, flag in PairScore.objects.filter(run=first).values_list("pair", "flag")
    }
    truth = sum(wrong.values()) / len(wrong)
    by = factories.user("reviewer")
    dataset.memberships.create(user=by, role="curator")
    for standing in dataset.standings.select_related("pair__dataset"):
        decide(standing.pair, by, "flip" if wrong[standing.pk] else "keep", queue="all")
    covers = 0
    for seed in range(40):
        sample = sampling.draw(judged_again(dataset), 40, seed=seed)
        figure = sampling.found(sample).noise.figure
        assert figure is not None
        covers += figure.low <= truth <= figure.high
    assert covers >= 36
