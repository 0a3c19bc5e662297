"""Judge a run's flags against a file that says which labels are flipped."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from curator.lib.refusals import Refusal
from scoring.core import audit
from scoring.models import Flag, PairScore, ScoringRun

LONGEST_LINE = 100_000


class BadTruth(Refusal):
    """The file does not say what is needed."""


def audit_against(run: ScoringRun, path: Path) -> dict[str, Any]:
    """Figures of the run's ranking and flags on the pairs that the file knows.

    The file holds JSON lines {"id": the pair's id at its source, "flipped": true or false}. Raises
    BadTruth.
    """
    truth = read_truth(path)
    scores: Any = PairScore.objects.filter(run=run).exclude(flag="").exclude(pair__source_id="")
    rows = [
        row
        for row in scores.values_list("pair__source_id", "strength", "flag").iterator()
        if row[0] in truth
    ]
    if not rows:
        raise BadTruth(
            f"None of the ids in {path.name} belongs to a scored pair of {run.dataset.slug}."
        )
    wrong = np.array([truth[source_id] for source_id, _, _ in rows], dtype=np.bool_)
    strengths = np.array([strength for _, strength, _ in rows], dtype=np.float64)
    flagged = np.array([flag == Flag.FLIPPED for _, _, flag in rows], dtype=np.bool_)
    try:
        result = audit.audit(-strengths, wrong, flagged)
    except ValueError as error:
        raise BadTruth(f"{path.name} cannot judge this run: {error}.") from error
    return {"pairs": len(rows), "unknown_ids": len(truth) - len(rows), **as_json(result)}


def read_truth(path: Path) -> dict[str, bool]:
    """Which ids are flipped. Raises BadTruth naming the line that is wrong."""
    if not path.is_file():
        raise BadTruth(f"There is no file {path}.")
    with path.open(encoding="utf-8", errors="replace") as file:
        return truth_in(file, name=path.name)


def truth_in(lines: Iterable[str], *, name: str) -> dict[str, bool]:
    """Which ids are flipped, by the lines of a file of that name. Raises BadTruth naming the line
    that is wrong."""
    truth: dict[str, bool] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line[:LONGEST_LINE])
            flipped, source_id = row["flipped"], str(row["id"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadTruth(
                f'Line {number} of {name} is not {{"id": …, "flipped": true|false}}.'
            ) from error
        if not isinstance(flipped, bool):
            raise BadTruth(f"Line {number} of {name}: `flipped` must be true or false.")
        truth[source_id] = flipped
    return truth


def as_json(result: audit.AuditResult) -> dict[str, Any]:
    """The figures with the keys that scripts rely on."""
    values = asdict(result)
    values["curve"] = points(result.curve)
    values["precision_at"] = [
        {"reviewed": reviewed, "precision": precision}
        for reviewed, precision in result.precision_at
    ]
    return values


def points(curve: list[tuple[float, float]]) -> list[dict[str, float]]:
    """A review curve as JSON."""
    return [{"reviewed": reviewed, "found": found} for reviewed, found in curve]
