"""Whether pairs that are held out have had a say in the labels that an arm learns: a policy decides
by scores, and the models behind these may have learnt the very pairs that judge it."""

from typing import Any

from django.db.models import Q

from annotations.models import Dataset, Decision, Snapshot, SnapshotPair
from curator.lib.bulk import among
from scoring.models import Arm, RewardModel, ScoringRun


def warning(dataset: Dataset, name: str, labels: str, snapshot: Snapshot | None) -> str | None:
    """A sentence where policies decided some of the arm's labels by scores of models that were
    trained on the dataset; else None."""
    decided = _decided(dataset, labels, snapshot)
    if decided is None:
        return None
    by_run: dict[int, int] = {}
    for run_id in decided.iterator(2000):
        if isinstance(run_id, int):
            by_run[run_id] = by_run.get(run_id, 0) + 1
    # heads, and models that were fine-tuned here: these have a bag of the dataset
    learnt = RewardModel.objects.filter(Q(checkpoint__isnull=True) | ~Q(bag={}))
    trained = ScoringRun.objects.filter(
        pk__in=among(by_run), ensemble__in=learnt.values("ensemble")
    )
    count = sum(by_run[run.pk] for run in trained)
    if not count:
        return None
    return (
        f"Policies decided {count:,} labels of {name} by scores of models that have also learnt "
        f"the pairs that are held out here, so it knows something of the pairs that it is judged "
        f"on, and may look better than it is. Judge on another dataset, or compare recipes "
        f"that treat flags: they are measured without what is held out."
    )


def _decided(dataset: Dataset, labels: str, snapshot: Snapshot | None) -> Any:
    """The runs that the policies' decisions rest on, one a label; None where there are no
    decisions."""
    policy = Decision.Kind.POLICY
    if snapshot is not None:
        rows = SnapshotPair.objects.filter(snapshot=snapshot, decision__kind=policy)
        return rows.values_list("decision__evidence__run", flat=True)
    if labels == Arm.Labels.NOW:
        rows_now = dataset.standings.filter(decided_by=policy)
        return rows_now.values_list("decision__evidence__run", flat=True)
    return None
