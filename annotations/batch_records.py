"""What a batch of decisions is, in words, what came after it, and what taking it back would do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any

from django.db.models import Count, QuerySet

from annotations import conditions, unwinding
from annotations.conditions import parse_clauses
from annotations.fields import Use
from annotations.models import Dataset, Decision, DecisionBatch, PairStanding
from annotations.proposals import QUEUE, REASONS, UNDECIDED
from curator.lib.bulk import among

DID = {QUEUE: "put forward for review", UNDECIDED: "undecided again"}
CHUNK = 10_000
PAGE_SIZE = 50
RECENT = 20


@dataclass(frozen=True)
class Recent:
    """A batch in a list."""

    batch: DecisionBatch
    what: str
    undone_by: DecisionBatch | None


@dataclass
class TakenBack:
    """What an undo of a batch would do now."""

    restored: dict[str, int] = field(default_factory=dict)  # by the verdict that holds again
    queued: int = 0  # pairs whose being put forward is taken back, or comes back
    stays: int = 0  # decided again since

    @property
    def is_nothing(self) -> bool:
        return not self.restored and not self.queued


def in_words(batch: DecisionBatch) -> str:
    """What was asked for: “flip: flag likely flipped and strength below 0”."""
    if batch.undoes_id is not None:
        return f"take back batch {batch.undoes_id}"
    if batch.policy is not None:
        return f"policy “{batch.policy.name}”"
    if batch.snapshot is not None:
        return f"restore snapshot {batch.snapshot.number}"
    if batch.kind == DecisionBatch.Kind.PSEUDO:
        return batch.reason
    how = "" if batch.label_probability is None else f" to {batch.label_probability:g}"
    clauses, _ = parse_clauses(batch.filter, use=Use.EXPLORE)
    return f"{batch.verdict}{how}: {conditions.in_words(clauses)}"


def did(batch: DecisionBatch) -> list[tuple[str, int]]:
    """What it did, in words, and to how many pairs."""
    return [(DID.get(name, name), count) for name, count in batch.counts.items()]


def passed_over(batch: DecisionBatch) -> list[tuple[str, int]]:
    """Why it left pairs as they were, and how many."""
    return [(REASONS.get(name, name), count) for name, count in batch.passed_over.items()]


def fell_short(batch: DecisionBatch) -> int:
    """How many pairs fewer were decided than the preview showed that the person confirmed."""
    shown: Mapping[str, int] = batch.expected.get("counts", {})
    return max(sum(shown.values()) - batch.decided - int(batch.counts.get(QUEUE, 0)), 0)


def recent(dataset: Dataset) -> list[Recent]:
    """The latest batches of the dataset, each with the one by which it holds no more."""
    rows = dataset.batches.select_related("policy", "snapshot", "undoes")[:RECENT]
    undone = _undone(dataset)
    return [Recent(row, in_words(row), _taken_back_by(row, undone)) for row in rows]


def taken_back_by(batch: DecisionBatch) -> DecisionBatch | None:
    """The undo by which the batch holds no more; none where that was taken back in its turn."""
    return _taken_back_by(batch, _undone(batch.dataset))


def _taken_back_by(batch: DecisionBatch, undone: dict[int, DecisionBatch]) -> DecisionBatch | None:
    following = undone.get(batch.pk)
    if following is None or _taken_back_by(following, undone) is not None:
        return None
    return following


def _undone(dataset: Dataset) -> dict[int, DecisionBatch]:
    """The undos that were done, by what they take back."""
    done = dataset.batches.filter(undoes__isnull=False, status=DecisionBatch.Status.DONE)
    return {row.undoes_id: row for row in done if row.undoes_id is not None}


def latest_by_policy(dataset: Dataset) -> dict[str, DecisionBatch]:
    """The last application of each policy, by the policy's name."""
    rows = dataset.batches.filter(kind=DecisionBatch.Kind.POLICY).select_related("policy")
    found: dict[str, DecisionBatch] = {}
    for row in rows.order_by("pk"):
        assert row.policy is not None
        found[row.policy.name] = row
    return found


def chain(batch: DecisionBatch) -> Sequence[DecisionBatch]:
    """The batch, what it takes back, and what has taken it back, the earliest first."""
    first = batch
    while first.undoes is not None:
        first = first.undoes
    found = [first]
    while following := DecisionBatch.objects.filter(undoes=found[-1]).first():
        found.append(following)
    for earlier, later in pairwise(found):
        later.undoes = earlier
    return found


def made(batch: DecisionBatch, *, after: int = 0) -> QuerySet[Decision]:
    """Its decisions on pairs after this one, in the order of the pairs."""
    found = Decision.objects.filter(batch=batch, pair__gt=after).order_by("pair")
    return found.select_related("pair__standing", "supersedes").defer("pair__meta")


def taken_back(batch: DecisionBatch) -> TakenBack:
    """What an undo of the batch would do now."""
    found = TakenBack()
    decided = Decision.objects.filter(batch=batch)
    untouched: Any = decided.filter(successor__isnull=True).order_by()
    for verdict, count in untouched.values_list("supersedes__verdict").annotate(Count("pk")):
        _add_restored(found, verdict, count)
    followed = decided.filter(successor__isnull=False).order_by("pair")
    rows = followed.values_list("pk", "pair__standing__decision").iterator(CHUNK)
    while some := dict(islice(rows, CHUNK)):
        back = unwinding.reached(some)
        before: Any = Decision.objects.filter(pk__in=among(back.values())).order_by()
        for verdict, count in before.values_list("supersedes__verdict").annotate(Count("pk")):
            _add_restored(found, verdict, count)
    found.stays = decided.count() - sum(found.restored.values())
    _add_put_forward(batch, found)
    return found


def _add_restored(found: TakenBack, verdict: str | None, count: int) -> None:
    name = verdict or UNDECIDED
    found.restored[name] = found.restored.get(name, 0) + count


def _add_put_forward(batch: DecisionBatch, found: TakenBack) -> None:
    origin, is_back = batch, True
    while origin.undoes is not None:
        origin, is_back = origin.undoes, not is_back
    there = PairStanding.objects.filter(pk__in=origin.put_forward.values("pair"))
    found.queued = there.filter(put_forward_by=origin if is_back else None).count()
    found.stays += there.count() - found.queued
