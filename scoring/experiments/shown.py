"""What is shown of an experiment: how far it is, and its report as JSON."""

from typing import Any

from django.db.models import Count, F, Q, Sum

from curator.lib.work import Work
from scoring.models import Experiment, Trial


def share_done(experiment: Experiment) -> float:
    """Of all trials, those under way counted by their steps."""
    if experiment.status == Work.Status.DONE:
        return 1.0
    trials = Trial.objects.filter(arm__experiment=experiment)
    counts = trials.aggregate(
        total=Count("pk"),
        done=Count("pk", filter=Q(status=Work.Status.DONE)),
        under_way=Sum(
            F("steps_done") * 1.0 / F("steps_total"),
            filter=Q(status=Work.Status.RUNNING, steps_total__gt=0),
        ),
    )
    done = float(counts["done"] or 0) + float(counts["under_way"] or 0.0)
    return done / max(int(counts["total"]), 1)


def in_words(experiment: Experiment) -> str:
    """How far it is, for who waits at a terminal."""
    trials = Trial.objects.filter(arm__experiment=experiment)
    counts = trials.aggregate(
        total=Count("pk"),
        over=Count("pk", filter=Q(status__in=("done", "failed", "cancelled"))),
        failed=Count("pk", filter=Q(status=Work.Status.FAILED)),
    )
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    return f"training: {counts['over']} of {counts['total']} trials{failed}"


def report(experiment: Experiment) -> dict[str, Any]:
    """Everything that a reader of the report is told; the keys are relied on by scripts."""
    arms = experiment.arms.select_related("snapshot")
    return {
        "experiment": experiment.pk,
        "name": experiment.name,
        "dataset": experiment.dataset.slug,
        "status": experiment.status,
        "problem": experiment.problem,
        "backbone": experiment.backbone,
        "members": experiment.members_count,
        "seeds": experiment.seeds,
        "folds": experiment.folds,
        "trusted": experiment.trusted,
        "evaluated_on": experiment.evaluated_on.slug if experiment.evaluated_on else None,
        "responses": experiment.responses.name if experiment.responses else None,
        "design": [
            {
                "name": arm.name,
                "labels": arm.labels,
                "snapshot": arm.snapshot.number if arm.snapshot else None,
                "recipe": arm.recipe["name"],
                "recipe_version": arm.recipe_version,
            }
            for arm in arms
        ],
        "wall_seconds": experiment.seconds,
        "environment": experiment.environment,
        "arms": [],
        "differences": [],
        "verdict": "",
        "warnings": experiment.warnings,
        "failed": [],
        **experiment.result,
    }
