"""Let a policy label pairs that came without a label, where an ensemble is sure of the preference.

Who measured it hands over values: which response, how probable, and what that rests on. The labels
are decisions by a policy, in a batch that is undone as one; they are no labels of people, and never
touch a pair that has a label or a decision.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from annotations import batches
from annotations.models import Dataset, Decision, DecisionBatch, PairStanding, Verdict
from curator.lib import batches as chunks
from curator.lib import digests
from curator.lib.bulk import among
from curator.models import User

CHUNK = 1000
NOBODY = "the command line"


@dataclass(frozen=True)
class PseudoLabel:
    """The response that an ensemble prefers, and how probable it holds that."""

    pair_id: int
    prefers_a: bool
    probability: float  # that the response it prefers is the better one, at least 1/2


@transaction.atomic
def give(
    *,
    dataset: Dataset,
    labels: Iterable[PseudoLabel],
    policy: Mapping[str, Any],
    evidence: Mapping[str, Any],
    by: User | None,
) -> DecisionBatch:
    """Label the pairs, in one transaction, but for those that have a label or a decision by now.

    `policy` holds the `name` and the rule that chose them, and gives the decisions their digest;
    `evidence` is what all of them rest on, beside the probability of each.
    """
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    chosen = {label.pair_id: label for label in labels}
    now = timezone.now()
    batch = DecisionBatch.objects.create(
        dataset=dataset,
        kind=DecisionBatch.Kind.PSEUDO,
        status=DecisionBatch.Status.RUNNING,
        reason=str(policy["name"]),
        actor=by.shown_name if by else NOBODY,
        created_by=by,
        started_at=now,
        total=len(chosen),
    )
    free = dataset.standings.undecided().filter(source_preference="")
    held = free.filter(pk__in=among(chosen)).order_by("pk").select_for_update(no_key=True)
    supersedes = dict(held.values_list("pk", "decision"))
    rests_on = {
        **evidence,
        "policy": digests.of_text(digests.canonical_json(dict(policy))),
        "policy_name": policy["name"],
    }
    for some in chunks.batches(sorted(supersedes), CHUNK):
        _append(batch, [chosen[pk] for pk in some], supersedes, rests_on)
    _end(batch, chosen, supersedes)
    return batch


def _append(
    batch: DecisionBatch,
    labels: Sequence[PseudoLabel],
    supersedes: Mapping[int, int | None],
    rests_on: Mapping[str, Any],
) -> None:
    """A decision for each, which its standing repeats."""
    Decision.objects.bulk_create(
        Decision(
            pair_id=label.pair_id,
            verdict=Verdict.PREFER_A if label.prefers_a else Verdict.PREFER_B,
            kind=Decision.Kind.POLICY,
            decided_by=batch.created_by,
            actor=f"{batch.reason}, applied by {batch.actor}"[:150],
            batch=batch,
            evidence={**rests_on, "probability": round(label.probability, 6)},
            supersedes_id=supersedes[label.pair_id],
        )
        for label in labels
    )
    within = (labels[0].pair_id, labels[-1].pair_id)
    with connection.cursor() as cursor:
        cursor.execute(batches.STAND, [batch.pk, *within, *within])


def _end(
    batch: DecisionBatch, chosen: Mapping[int, PseudoLabel], labelled: Mapping[int, Any]
) -> None:
    to_a = sum(chosen[pk].prefers_a for pk in labelled)
    counts = {Verdict.PREFER_A.value: to_a, Verdict.PREFER_B.value: len(labelled) - to_a}
    since = len(chosen) - len(labelled)
    DecisionBatch.objects.filter(pk=batch.pk).update(
        status=DecisionBatch.Status.DONE,
        finished_at=timezone.now(),
        done=len(chosen),
        counts={verdict: count for verdict, count in counts.items() if count},
        passed_over={"since": since} if since else {},
    )
    batch.refresh_from_db()


def given_in(dataset: Dataset) -> int:
    """How many pairs stand by a pseudo-label now."""
    return (
        PairStanding.objects.filter(dataset=dataset, source_preference="")
        .filter(decided_by=PairStanding.DecidedBy.POLICY, verdict__in=("a", "b"))
        .count()
    )
