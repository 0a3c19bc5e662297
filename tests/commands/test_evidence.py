"""Samples at the command line: drawn, enlarged, and what they say."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from annotations.models import Dataset
from curator.command import Refused
from curator.models import User
from scoring import sampling
from scoring.core.flags import CLEAR, FLIPPED
from scoring.models import ScoringRun
from tests import factories
from tests.scoring.test_sampling import review

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(dataset: Dataset) -> ScoringRun:
    pairs = factories.pairs(dataset, 40)
    found = {pair.pk: (n / 40 - 0.3, FLIPPED if n < 8 else CLEAR) for n, pair in enumerate(pairs)}
    return factories.judged(dataset, found)


def said(*command: str) -> dict[str, Any]:
    out = StringIO()
    call_command(*command, "--json", stdout=out)
    parsed: dict[str, Any] = json.loads(out.getvalue())
    return parsed


def test_a_sample_is_drawn_and_grows(run: ScoringRun) -> None:
    drawn = said("sample", "pairs", "--size", "12", "--seed", "3")
    assert (drawn["run"], drawn["size"], drawn["waiting"], drawn["seed"]) == (run.pk, 12, 12, 3)
    grown = said("sample", "pairs", "--size", "20")
    assert (grown["sample"], grown["size"], grown["seed"]) == (drawn["sample"], 20, 3)


def test_the_evidence_is_told_in_json_and_in_lines(run: ScoringRun, casey: User) -> None:
    sample = sampling.draw(run, 20)
    verdicts = ["flip" if row.flag == FLIPPED else "keep" for row in sample.rows.all()]
    review(sample, casey, [*verdicts[:18], "tie", None])
    found = said("evidence", "pairs")
    assert (found["reviewed"], found["unclear"], found["waiting"]) == (19, 1, 1)
    assert found["wrong"] == verdicts[:18].count("flip")
    assert found["noise_rate"]["low"] < found["noise_rate"]["estimate"]
    assert found["flags"]["flipped"]["precision"]["estimate"] == 1.0
    assert sum(stratum["pairs"] for stratum in found["strata"]) == 40
    assert set(found["reviews_needed"]) == {"0.05", "0.02", "0.01"}
    out = StringIO()
    call_command("evidence", "pairs", stdout=out)
    assert "wrong labels: " in out.getvalue()
    assert "flipped: " in out.getvalue()


def test_what_is_not_there_is_refused(run: ScoringRun) -> None:
    with pytest.raises(Refused, match="No sample of run"):
        said("evidence", "pairs")
    with pytest.raises(Refused, match="cannot be drawn"):
        said("sample", "pairs")
    with pytest.raises(Refused, match=f"pairs has no run 999; it has: {run.pk}"):
        said("evidence", "pairs", "--run", "999")
