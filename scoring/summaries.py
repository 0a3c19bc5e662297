"""What a finished run found, with the keys that scripts rely on: for the command line and the REST
API."""

from typing import Any

from scoring.models import ScoringRun


def of_run(run: ScoringRun) -> dict[str, Any]:
    found = run.summary
    return {
        "run": run.pk,
        "dataset": run.dataset.slug,
        "ensemble": run.ensemble.name,
        "mode": run.mode,
        "pairs": run.pairs_total,
        "labelled": found["labelled"],
        "seconds": round(run.seconds or 0.0, 2),
        "pairs_per_second": round(run.pairs_per_second or 0.0, 1),
        "accuracy": found.get("accuracy"),
        "flags": found["flags"],
        "cut": found.get("cut"),
        "cut_by": found.get("cut_by"),
        "truncated": found.get("truncated"),
        "refused": found.get(
            "refused"
        ),  # absent, as what follows, from runs before members' shards
        "adaptive": run.is_adaptive,
        "calls": found.get("calls"),
        "calls_of_all": found.get("calls_of_all"),
        "tokens": found.get("tokens"),
        "problem": run.problem,
        "noise_rate": found.get("noise_rate"),
        "noise_rate_is_known": found.get("noise_rate_is_known"),
    }
