"""Probabilities fitted to people's verdicts: what is fitted, what pairs carry, and the way back."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest

from annotations import queue, whose_scores
from annotations.models import Dataset, PairStanding
from curator.lib.refusals import Conflict, Forbidden, Refusal
from curator.models import User
from scoring import recalibrating, sampling, tasks
from scoring.core import recalibration as core
from scoring.core.flags import CLEAR, FLIPPED
from scoring.models import CalibrationUse, PairScore, Recalibration, ReviewSample, ScoringRun
from tests import factories
from tests.scoring.test_sampling import review

pytestmark = pytest.mark.django_db
COUNT = 60


@pytest.fixture
def run(dataset: Dataset) -> ScoringRun:
    """A run whose weakest third contradicts the label, handed over to the pairs' standings."""
    pairs = factories.pairs(dataset, COUNT)
    strengths = np.linspace(-1.0, 2.0, COUNT)
    run = factories.judged(
        dataset,
        {
            pair.pk: (float(strength), FLIPPED if strength < 0 else CLEAR)
            for pair, strength in zip(pairs, strengths, strict=True)
        },
    )
    run.summary["slope"] = 0.2
    run.save()
    for score in PairScore.objects.filter(run=run):
        score.label_probability = 1 / (1 + np.exp(-0.2 * (score.strength or 0.0)))
        score.save()
        PairStanding.objects.filter(pk=score.pair_id).update(
            run_id=run.pk,
            strength=score.strength,
            flag=score.flag,
            label_probability=score.label_probability,
        )
    return run


@pytest.fixture
def reviewed(run: ScoringRun, casey: User) -> ReviewSample:
    """All labels reviewed: nearly always wrong where the models contradict them."""
    sample = sampling.draw(run, COUNT)
    rows = list(sample.rows.order_by("position"))
    verdicts = ["flip" if row.flag == FLIPPED and row.position % 8 else "keep" for row in rows]
    review(sample, casey, verdicts)
    return sample


def carried(run: ScoringRun) -> list[tuple[float, float]]:
    """Strength and probability of each pair, as its standing has them."""
    rows = run.dataset.standings.order_by("pair").values_list("strength", "label_probability")
    return [(strength or 0.0, probability or 0.0) for strength, probability in rows]


def put_to_use(run: ScoringRun, fitted: Recalibration | None, by: User | None = None) -> None:
    row = recalibrating.use(run, fitted, by=by)
    tasks.use_calibration(use_id=row.pk)
    row.refresh_from_db()
    assert row.status == CalibrationUse.Status.DONE, row.problem
    run.refresh_from_db()
    run.dataset.refresh_from_db()


def test_verdicts_make_probabilities_that_are_nearer_to_the_truth(
    reviewed: ReviewSample, casey: User
) -> None:
    fitted = recalibrating.recalibrate(reviewed, by=casey)
    assert fitted.description["method"] in (core.PLATT, core.ISOTONIC)
    quality = fitted.quality
    assert quality["verdicts"] == COUNT
    assert quality["after"]["ece"] < quality["before"]["ece"]
    assert sum(each["count"] for each in quality["after"]["reliability"]) == COUNT


def test_unclear_verdicts_are_left_out(run: ScoringRun, casey: User) -> None:
    sample = sampling.draw(run, COUNT)
    review(sample, casey, ["keep", "flip", "tie", "keep", "drop"] * 10)
    assert recalibrating.recalibrate(sample).quality["verdicts"] == 30


def test_too_few_verdicts_are_refused(run: ScoringRun, casey: User) -> None:
    sample = sampling.draw(run, COUNT)
    with pytest.raises(Refusal, match="at least 30 verdicts; there are 0"):
        recalibrating.recalibrate(sample)
    review(sample, casey, ["keep"] * 40)
    with pytest.raises(Refusal, match="call their label right"):
        recalibrating.recalibrate(sample)
    with pytest.raises(Forbidden):
        recalibrating.recalibrate(sample, by=factories.user("nobody"))


def test_pairs_carry_the_fitted_probabilities_and_the_runs_own_again(
    run: ScoringRun, reviewed: ReviewSample, casey: User
) -> None:
    own = carried(run)
    fitted = recalibrating.recalibrate(reviewed)
    put_to_use(run, fitted, casey)
    assert recalibrating.in_use(run) == fitted
    assert run.dataset.calibration == f"recalibration {fitted.pk}"
    strengths, found = map(np.array, zip(*carried(run), strict=True))
    expected = core.apply(cast(core.Description, fitted.description), strengths)
    assert found == pytest.approx(expected, abs=1e-9)
    assert not PairScore.objects.filter(run=run, label_probability__in=found.tolist()).exists()
    put_to_use(run, None)
    assert carried(run) == own
    assert (recalibrating.in_use(run), run.dataset.calibration) == (None, "")
    assert run.dataset.scores_being_written_by == ""


@pytest.mark.parametrize(
    "description",
    [
        core.Description(method="platt", slope=3.0, intercept=-0.7, knots=[]),
        core.Description(
            method="isotonic",
            slope=0.0,
            intercept=0.0,
            knots=[[-0.5, 0.1], [0.2, 0.1], [0.4, 0.8], [1.5, 0.95]],
        ),
        core.Description(method="isotonic", slope=0.0, intercept=0.0, knots=[[0.3, 0.6]]),
        core.symmetric(500.0),
    ],
)
def test_the_database_draws_the_same_curve(run: ScoringRun, description: core.Description) -> None:
    rows = run.dataset.standings.annotate(found=recalibrating.expression(description))
    strengths, found = map(np.array, zip(*rows.values_list("strength", "found"), strict=True))
    assert found == pytest.approx(core.apply(description, strengths), abs=1e-9)


def test_pairs_of_another_run_stay_as_they_are(
    run: ScoringRun, reviewed: ReviewSample, dataset: Dataset
) -> None:
    last = dataset.standings.order_by("-pair")[0]
    PairStanding.objects.filter(pk=last.pk).update(run_id=run.pk + 99, label_probability=0.123)
    put_to_use(run, recalibrating.recalibrate(reviewed))
    assert carried(run)[-1][1] == 0.123


def test_only_the_current_run_is_recalibrated_and_one_at_a_time(
    run: ScoringRun, reviewed: ReviewSample, casey: User
) -> None:
    fitted = recalibrating.recalibrate(reviewed)
    recalibrating.use(run, fitted)
    with pytest.raises(Conflict, match="being written already"):
        recalibrating.use(run, None)
    with pytest.raises(Forbidden):
        recalibrating.use(run, None, by=factories.user("nobody"))
    CalibrationUse.objects.update(status="cancelled")
    pairs = run.dataset.pairs.values_list("pk", flat=True)
    newer = factories.judged(run.dataset, dict.fromkeys(pairs, (0.5, CLEAR)))
    with pytest.raises(Refusal, match=f"Run {run.pk} is not the one"):
        recalibrating.use(run, fitted)
    with pytest.raises(Refusal, match=f"not fitted to run {newer.pk}"):
        recalibrating.use(newer, fitted)


def interrupted(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """What happens once all steps are taken, before anybody is told."""
    steps = queue.set_scores

    def set_scores(*arguments: Any, **scores: Any) -> Iterator[int]:
        yield from steps(*arguments, **scores)
        act()

    monkeypatch.setattr(queue, "set_scores", set_scores)


def test_a_run_that_is_handed_over_meanwhile_keeps_its_own_calibration(
    run: ScoringRun, reviewed: ReviewSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = recalibrating.use(run, recalibrating.recalibrate(reviewed))
    found = dict.fromkeys(run.dataset.pairs.values_list("pk", flat=True), (0.5, CLEAR))
    interrupted(monkeypatch, lambda: factories.judged(run.dataset, found))
    tasks.use_calibration(use_id=row.pk)
    row.refresh_from_db()
    run.dataset.refresh_from_db()
    assert (row.status, run.dataset.calibration) == (CalibrationUse.Status.FAILED, "")
    assert row.problem.startswith(f"Run {run.pk} is not the one")


def test_whoever_takes_the_mark_displaces_a_calibration(
    run: ScoringRun, reviewed: ReviewSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = recalibrating.use(run, recalibrating.recalibrate(reviewed))
    marks: list[str] = []

    def act() -> None:
        marks.append(Dataset.objects.get(pk=run.dataset_id).scores_being_written_by)
        whose_scores.take(run.dataset, "run 99")

    interrupted(monkeypatch, act)
    tasks.use_calibration(use_id=row.pk)
    row.refresh_from_db()
    run.dataset.refresh_from_db()
    assert marks == [f"calibration {row.pk}"]
    assert row.problem == "The pairs of Pairs are being given the scores of run 99 by now."
    assert (run.dataset.calibration, run.dataset.scores_being_written_by) == ("", "run 99")
    with pytest.raises(Conflict, match=r"being given other scores \(run 99\)"):
        recalibrating.use(run, None)
