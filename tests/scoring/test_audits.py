"""Audits: flips planted in a copy, and files that know the truth."""

import json
from pathlib import Path

import pytest

from annotations.models import Dataset
from curator.lib.refusals import Refusal
from scoring import launch, truths
from scoring.models import Audit, RewardModel, ScoringRun
from scoring.truths import BadTruth
from tests import factories


def truth_file(folder: Path, *lines: object) -> Path:
    path = folder / "truth.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def test_an_audit_plants_the_share_and_reports_what_is_found(run: ScoringRun) -> None:
    audit = factories.audited(run, share=0.25)
    assert audit.result["pairs"] == 28
    assert audit.result["planted_flips"] == 7
    assert 0.0 <= audit.result["auroc"] <= 1.0
    assert audit.result["curve"][-1] == {"reviewed": 1.0, "found": 1.0}


def test_an_audit_compares_with_random_review_and_with_cleanlab(run: ScoringRun) -> None:
    result = factories.audited(run, share=0.25).result
    curves = result["curves"]
    assert {name: len(curve) for name, curve in curves.items()} == {
        "strength": 101,
        "cleanlab": 101,
        "random": 101,
    }
    at_fifth = next(point for point in result["curve"] if point["reviewed"] == 0.2)
    assert at_fifth in curves["strength"]
    assert {"reviewed": 0.2, "found": 0.2} in curves["random"]
    assert result["lift"] == pytest.approx(at_fifth["found"] * 28 / round(0.2 * 28))
    assert result["precision_at"][0]["reviewed"] == 10
    assert curves["cleanlab"][20] in result["cleanlab"]["curve"]
    assert 0.0 <= result["cleanlab"]["auroc"] <= 1.0


def test_an_audit_leaves_dataset_ensemble_and_run_as_they_were(run: ScoringRun) -> None:
    labels = list(
        run.dataset.pairs.order_by("pk").values_list("source_preference", "standing__verdict")
    )
    members = list(RewardModel.objects.values_list("digest", flat=True))
    scores = list(run.scores.order_by("pk").values_list("strength", "flag"))
    factories.audited(run)
    assert labels == list(
        run.dataset.pairs.order_by("pk").values_list("source_preference", "standing__verdict")
    )
    assert members == list(RewardModel.objects.values_list("digest", flat=True))
    assert scores == list(run.scores.order_by("pk").values_list("strength", "flag"))


def test_the_same_seed_plants_the_same_flips(run: ScoringRun) -> None:
    assert factories.audited(run).result == factories.audited(run).result


@pytest.mark.parametrize("share", [0.0, 0.5, -1.0])
def test_a_share_of_half_or_more_cannot_be_planted(run: ScoringRun, share: float) -> None:
    with pytest.raises(Refusal, match="must be between 0 and"):
        launch.start_audit(run=run, by=None, share=share)
    assert not Audit.objects.exists()


def test_wrong_labels_that_are_known_are_found_by_a_real_ensemble(
    dataset: Dataset, tmp_path: Path
) -> None:
    """Good answers are long, bad ones short, and one label in six is wrong: plain enough for the
    default backbone."""
    wrong = {number for number in range(60) if number % 6 == 0}
    rows = []
    for number in range(60):
        row = factories.row(number, label="a")
        if number % 2:
            row["response_a"], row["response_b"] = row["response_b"], row["response_a"]
            row["labels"][0]["label"] = "b"
        if number in wrong:
            row["labels"][0]["label"] = "b" if row["labels"][0]["label"] == "a" else "a"
        rows.append(row)
    factories.imported(dataset, rows)
    run = factories.scored(factories.trained(dataset, "minilm", members=4))
    path = truth_file(tmp_path, *({"id": f"pair-{n}", "flipped": n in wrong} for n in range(60)))
    found = truths.audit_against(run, path)
    assert found["pairs"] == 60
    assert found["auroc"] > 0.95
    assert found["recall"] >= 0.5


def test_ids_that_the_run_does_not_know_are_counted(run: ScoringRun, tmp_path: Path) -> None:
    path = truth_file(
        tmp_path,
        {"id": "pair-0", "flipped": True},
        {"id": "pair-1", "flipped": False},
        {"id": "elsewhere", "flipped": False},
    )
    found = truths.audit_against(run, path)
    assert (found["pairs"], found["unknown_ids"]) == (2, 1)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["nonsense"], "Line 1 of truth.jsonl is not"),
        (["[" * 50_000], "Line 1 of truth.jsonl is not"),
        ([{"id": "pair-0", "flipped": "yes"}], "`flipped` must be true or false"),
        ([{"id": "elsewhere", "flipped": True}], "None of the ids"),
        ([{"id": "pair-0", "flipped": True}], "cannot judge this run"),
        ([], "None of the ids"),
    ],
)
def test_a_file_that_does_not_tell_the_truth_is_refused(
    run: ScoringRun, tmp_path: Path, lines: list[object], reason: str
) -> None:
    with pytest.raises(BadTruth, match=reason):
        truths.audit_against(run, truth_file(tmp_path, *lines))
