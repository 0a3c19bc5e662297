"""The page of evidence: draw a sample, review it, read what it says, and recalibrate."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotations import queue
from annotations.models import Dataset
from curator import tokens
from curator.lib.refusals import Refusal
from curator.models import User
from scoring import recalibrating, sampling, tasks
from scoring.core.flags import CLEAR, FLIPPED
from scoring.models import (
    Audit,
    CalibrationUse,
    PairScore,
    Recalibration,
    ReviewSample,
    ScoringRun,
)
from tests import factories
from tests.scoring.test_sampling import review

pytestmark = pytest.mark.django_db
COUNT = 50


@pytest.fixture
def run(dataset: Dataset) -> ScoringRun:
    found = {
        pair.pk: (number / COUNT - 0.3, FLIPPED if number < 10 else CLEAR)
        for number, pair in enumerate(factories.pairs(dataset, COUNT))
    }
    return factories.judged(dataset, found)


def page(client: Any, query: str = "") -> str:
    answer = client.get(reverse("scoring:evidence", args=["pairs"]) + query)
    assert answer.status_code == 200
    text: str = answer.content.decode()
    return text


def post(client: Any, name: str, run: ScoringRun, **data: Any) -> Any:
    return client.post(reverse(f"scoring:{name}", args=["pairs", run.pk]), data)


def reviewed(run: ScoringRun, by: User, size: int = 40) -> ReviewSample:
    sample = sampling.draw(run, size)
    flips = [row.flag == FLIPPED and row.position % 5 > 0 for row in sample.rows.all()]
    review(sample, by, ["flip" if wrong else "keep" for wrong in flips])
    return sample


# The sample


def test_without_a_run_the_page_says_what_to_do(as_casey: Any, dataset: Dataset) -> None:
    text = page(as_casey)
    assert "Nothing to audit yet" in text
    assert reverse("scoring:ensembles", args=["pairs"]) in text


def test_a_sample_is_drawn_reviewed_and_read(as_casey: Any, run: ScoringRun) -> None:
    assert "Draw a sample" in page(as_casey)
    assert post(as_casey, "sample", run, size=20).status_code == 302
    text = page(as_casey)
    assert "0 of 20 reviewed" in text
    assert "Nothing is reviewed yet" in text
    queue = reverse("scoring:review", args=["pairs"]) + "?queue=audit"
    assert queue in text
    at = as_casey.get(queue)
    sample = ReviewSample.objects.get()
    for row in sample.rows.order_by("position"):
        assert f'data-pair="{row.pair_id}"' in at.content.decode()  # in the order of the sample
        verdict = "flip" if row.flag == FLIPPED else "keep"
        decide = reverse("scoring:decide", args=["pairs", row.pair_id]) + "?queue=audit"
        at = as_casey.post(decide, {"verdict": verdict, "based_on": ""}, follow=True)
    text = page(as_casey)
    wrong = sample.rows.filter(flag=FLIPPED).count()
    assert f"{20 - wrong} right, {wrong} wrong, 0 unclear" in text
    assert "of the labels are wrong" in text
    assert f"Of the run&#x27;s {COUNT} labels" in text


def test_the_sample_is_enlarged_from_the_page(as_casey: Any, run: ScoringRun, casey: User) -> None:
    reviewed(run, casey, 10)
    post(as_casey, "sample-more", run, more=15)
    assert ReviewSample.objects.get().size == 25
    assert "10 of 25 reviewed" in page(as_casey)


def test_what_was_passed_over_and_decided_elsewhere_is_told(
    as_casey: Any, run: ScoringRun, casey: User
) -> None:
    sample = sampling.draw(run, 20)
    review(sample, casey, ["keep", None, "tie"])
    review(sample, casey, [*[None] * 10, "flip", "flip"], queue="flipped")
    text = page(as_casey)
    assert "1 pair passed over" in text
    assert "2 pairs further on were decided in another queue" in text
    assert "1 right, 0 wrong, 1 unclear" in text


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("sample", {"size": "all"}, "a whole number"),
        ("sample", {"size": COUNT + 1}, "cannot be drawn"),
        ("sample-more", {"more": 5}, "draw one first"),
        ("recalibrate", {}, "draw one first"),
        ("plant", {"share": 60, "seed": 0}, "between 1 % and 49 %"),
    ],
)
def test_what_makes_no_sense_is_refused_on_the_page_and_what_was_typed_is_kept(
    as_casey: Any, run: ScoringRun, name: str, data: dict[str, Any], says: str
) -> None:
    answer = post(as_casey, name, run, **data)
    assert answer.status_code == 422
    text = answer.content.decode().replace("\u202f", " ")
    assert says in text
    assert "Audit my flags" in text
    for typed in [data[field] for field in ("size", "share") if field in data]:
        assert f'value="{typed}"' in text
    assert not ReviewSample.objects.exists()


def test_a_sample_that_cannot_grow_says_so_beside_its_form(
    as_casey: Any, run: ScoringRun, casey: User
) -> None:
    reviewed(run, casey, 10)
    answer = post(as_casey, "sample-more", run, more=COUNT)
    assert answer.status_code == 422
    text = answer.content.decode()
    assert "cannot be drawn" in text
    assert f'value="{COUNT}"' in text
    assert ReviewSample.objects.get().size == 10


def test_evidence_is_for_curators_alone(client: Any, dataset: Dataset, run: ScoringRun) -> None:
    anna = factories.user("anna")
    dataset.memberships.create(user=anna, role="annotator")
    client.force_login(anna)
    assert client.get(reverse("scoring:evidence", args=["pairs"])).status_code == 403
    assert post(client, "sample", run, size=5).status_code == 403
    assert post(client, "calibrate", run).status_code == 403
    assert not ReviewSample.objects.exists()


def test_a_larger_sample_takes_no_more_queries(as_casey: Any, run: ScoringRun, casey: User) -> None:
    sample = reviewed(run, casey, 10)
    page(as_casey)
    with CaptureQueriesContext(connection) as small:
        page(as_casey)
    sampling.enlarge(sample, 30)
    review(ReviewSample.objects.get(), casey, ["keep"] * 40)
    with CaptureQueriesContext(connection) as large:
        page(as_casey)
    assert len(large) == len(small)


# Recalibration


def test_a_recalibration_is_fitted_used_and_taken_back(
    as_casey: Any, run: ScoringRun, casey: User
) -> None:
    reviewed(run, casey)
    post(as_casey, "recalibrate", run)
    fitted = Recalibration.objects.get()
    text = page(as_casey)
    assert "Calibration error before" in text
    assert "Use it" in text
    assert 'data-figure="reliability"' in text
    post(as_casey, "calibrate", run, recalibration=fitted.pk)
    row = CalibrationUse.objects.get()
    assert "Writing label probabilities" in page(as_casey)
    tasks.use_calibration(use_id=row.pk)
    text = page(as_casey)
    assert f"recalibration {fitted.pk}" in text
    assert "Use it" not in text
    post(as_casey, "calibrate", run)
    tasks.use_calibration(use_id=CalibrationUse.objects.latest("pk").pk)
    assert "the run’s own probabilities" in page(as_casey)
    run.dataset.refresh_from_db()
    assert recalibrating.in_use(run) is None


@pytest.mark.parametrize(
    ("verdicts", "lacks"),
    [
        (["keep"] * 20 + ["flip"] * 8 + ["tie"] * 5, "28 of 30 verdicts"),
        (["keep"] * 33, "all 33 verdicts call their label right"),
    ],
)
def test_the_button_to_fit_says_what_it_waits_for(
    as_casey: Any, run: ScoringRun, casey: User, verdicts: list[str], lacks: str
) -> None:
    review(sampling.draw(run, 40), casey, verdicts)
    text = page(as_casey)
    assert lacks in text
    assert 'disabled aria-describedby="recalibration-lacks"' in text
    assert post(as_casey, "recalibrate", run).status_code == 422
    assert not Recalibration.objects.exists()


def test_a_calibration_that_failed_halfway_names_the_way_out(
    as_casey: Any, run: ScoringRun, casey: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviewed(run, casey)
    post(as_casey, "recalibrate", run)
    fitted = Recalibration.objects.get()
    post(as_casey, "calibrate", run, recalibration=fitted.pk)
    broken = CalibrationUse.objects.get()

    def fail(*_: Any, **__: Any) -> Any:
        raise Refusal("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(queue, "set_scores", fail)
        tasks.use_calibration(use_id=broken.pk)
    text = page(as_casey)
    assert "The disk is full." in text
    assert "use it once more, or go back to the run&#x27;s own" in text
    assert "Use it" in text
    assert "Back to the run’s own" in text
    post(as_casey, "calibrate", run)
    tasks.use_calibration(use_id=CalibrationUse.objects.latest("pk").pk)
    text = page(as_casey)
    assert "use it once more" not in text
    assert "the run’s own probabilities" in text
    run.dataset.refresh_from_db()
    assert run.dataset.scores_being_written_by == ""


def test_a_decision_keeps_the_probability_that_was_shown(
    as_casey: Any, run: ScoringRun, casey: User
) -> None:
    reviewed(run, casey)
    fitted = recalibrating.recalibrate(ReviewSample.objects.get())
    tasks.use_calibration(use_id=recalibrating.use(run, fitted).pk)
    undecided = run.dataset.standings.filter(verdict="").first()
    assert undecided is not None
    pair = undecided.pair
    own = pair.scores.get(run=run).label_probability
    PairScore.objects.filter(run=run, pair=pair).update(label_probability=0.123)
    as_casey.post(
        reverse("scoring:decide", args=["pairs", pair.pk]), {"verdict": "keep", "based_on": ""}
    )
    evidence = pair.decisions.get().evidence
    assert own != evidence["label_probability"] != 0.123
    assert evidence["label_probability"] == pytest.approx(undecided.label_probability)
    assert evidence["calibration"] == f"recalibration {fitted.pk}"


@pytest.mark.parametrize("number", ["99", "9" * 30, "9" * 5000])
def test_a_recalibration_of_another_run_is_not_found(
    as_casey: Any, run: ScoringRun, number: str
) -> None:
    answer = post(as_casey, "calibrate", run, recalibration=number)
    assert answer.status_code == 404


# Planted flips


def test_planted_flips_are_audited_from_the_page(as_casey: Any, run: ScoringRun) -> None:
    post(as_casey, "plant", run, share=10, seed=4)
    audit = Audit.objects.get()
    assert (audit.share, audit.seed) == (0.1, 4)
    assert 'hx-trigger="every 1s"' in page(as_casey)
    curve = [{"reviewed": n / 100, "found": min(2 * n / 100, 1.0)} for n in range(101)]
    Audit.objects.update(
        status="done",
        result={
            "curves": {"strength": curve, "cleanlab": curve, "random": curve},
            "lift": 2.4,
            "auroc": 0.7,
            "precision": 0.3,
            "recall": 0.4,
        },
    )
    text = page(as_casey).replace("\u202f", " ")
    assert "finds 40 % of the planted flips: 2.4 × as many as random review" in text
    assert 'data-figure="audit"' in text
    assert "top 20 %" in text


def test_an_audit_of_before_the_curves_still_has_its_line(as_casey: Any, run: ScoringRun) -> None:
    old = {"auroc": 0.7, "precision": None, "recall": 0.4}
    Audit.objects.create(run=run, share=0.2, status="done", result=old)
    text = page(as_casey)
    assert "0.700" in text
    assert 'data-figure="audit"' not in text


# The REST API


def test_programs_draw_and_read_the_evidence(run: ScoringRun, casey: User, client: Any) -> None:
    as_casey = {"Authorization": f"Bearer {tokens.issue(user=casey, name='tests')}"}
    address = f"/api/datasets/pairs/runs/{run.pk}"
    answer = client.get(f"{address}/evidence", headers=as_casey)
    assert "draw one first" in answer.content.decode()
    wanted = {"size": 10, "seed": 1}
    answer = client.post(f"{address}/sample", wanted, "application/json", headers=as_casey)
    assert answer.status_code == 200
    assert answer.json()["waiting"] == 10
    assert answer.json()["noise_rate"] is None
    review(ReviewSample.objects.get(), casey, ["keep"] * 10)
    found = client.get(f"{address}/evidence", headers=as_casey).json()
    assert (found["reviewed"], found["noise_rate"]["estimate"]) == (10, 0.0)
    assert found["flags"]["flipped"]["pairs"] == 10
