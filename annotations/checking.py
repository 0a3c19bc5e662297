"""Let standings say what the checks find of pairs that are there: of each pair by itself, and of
the pairs of one prompt together."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.db import transaction
from django.db.models import Count, F, QuerySet
from django.utils import timezone

from annotations import checks, contradictions
from annotations.checks import Check
from annotations.contradictions import Judged
from annotations.models import Dataset, Import, PairStanding, PreferencePair
from curator.lib.batches import batches

BATCH = 500
PROMPTS = 100  # whose responses are read together
OF_GROUP = int(checks.OF_GROUP)
OF_PAIR = int(~checks.OF_GROUP)
RESPONSES = ("group", "pk", "response_a", "response_b", "source_preference", "standing__checks")

Changes = dict[int, int]  # what the checks newly say of pairs, by their ids


def prompts_of_import(row: Import) -> Iterator[int]:
    """Find contradictions among the pairs of every prompt that the import brought pairs of, as
    `prompts_of` does."""
    brought = PreferencePair.objects.filter(imported_in=row).order_by()
    pairs = row.dataset.pairs.filter(group__in=brought.values("group"))
    return _prompts(row.dataset, pairs)


def prompts_of(dataset: Dataset) -> Iterator[int]:
    """Mark the pairs that others of their prompt contradict, and clear the marks of those that none
    does. Labels are the source's, as they came. Some prompts at a time; yields how many pairs have
    changed with each step."""
    return _prompts(dataset, dataset.pairs.order_by())


def pairs_of(dataset: Dataset) -> Iterator[int]:
    """Check the texts of every pair anew. Some at a time; yields how many pairs have changed with
    each step."""
    # all read before the first is written: SQLite lets no reader of an older state write
    ids = list(dataset.standings.order_by("pair").values_list("pair", flat=True))
    for batch in batches(ids, BATCH):
        yield _write(_of_texts(batch), of=OF_PAIR)
    _stamp(dataset)


def count(dataset: Dataset) -> dict[str, int]:
    """How many pairs each check found something of."""
    found = dict.fromkeys(checks.NAMES, 0)
    rows: Any = dataset.standings.filter(checks__gt=0).order_by().values_list("checks")
    for mask, pairs in rows.annotate(Count("pk")):
        for name in checks.names_of(mask):
            found[name] += pairs
    return found


def _of_texts(ids: Sequence[int]) -> Changes:
    rows: Any = PreferencePair.objects.filter(pk__in=ids).values_list(
        "pk", "standing__checks", "prompt", "response_a", "response_b"
    )
    return {
        pk: found
        for pk, before, *texts in rows
        if (found := int(checks.of_pair(*texts))) != before & OF_PAIR
    }


def _prompts(dataset: Dataset, pairs: "QuerySet[PreferencePair]") -> Iterator[int]:
    """Only prompts with several pairs are read: most have one."""
    several = pairs.order_by().values("group").annotate(count=Count("pk")).filter(count__gt=1)
    groups = list(several.order_by("group").values_list("group", flat=True))
    for batch in batches(groups, PROMPTS):
        yield _write(_of_prompts(dataset, batch), of=OF_GROUP)
    _stamp(dataset)


def _stamp(dataset: Dataset) -> None:
    """Say when, for whoever keeps what they have counted."""
    Dataset.objects.filter(pk=dataset.pk).update(checked_at=timezone.now())


def _of_prompts(dataset: Dataset, groups: Sequence[str]) -> Changes:
    rows: Any = dataset.pairs.filter(group__in=groups).order_by("group", "pk")
    changes: Changes = {}
    read = rows.values_list(*RESPONSES).iterator(chunk_size=BATCH)
    for _, pairs in groupby(read, key=itemgetter(0)):
        before: Changes = {}
        judged: list[Judged] = []
        for _, pk, a, b, preferred, mask in pairs:
            before[pk] = mask & OF_GROUP
            digest_a, digest_b = contradictions.digest(a), contradictions.digest(b)
            judged.append(Judged(pk, digest_a, digest_b, preferred))
        found = _found(judged)
        changes |= {pk: found.get(pk, 0) for pk in before if found.get(pk, 0) != before[pk]}
    return changes


def _found(judged: list[Judged]) -> Changes:
    found = contradictions.among(judged)
    contradicted = dict.fromkeys(found.contradicted, int(Check.CONTRADICTED))
    return contradicted | dict.fromkeys(found.cycle, int(Check.CYCLE))


def _write(changes: Changes, *, of: int) -> int:
    """Set those bits of the pairs' checks that are `of` the kind, and return how many pairs that
    are. Standings are locked in the order in which all lock them."""
    rest = int(~Check(of))
    with transaction.atomic():
        standings = PairStanding.objects.filter(pk__in=changes).order_by("pk")
        list(standings.select_for_update(no_key=True).values_list("pk", flat=True))
        for mask in set(changes.values()):
            theirs = [pk for pk, found in changes.items() if found == mask]
            kept = F("checks").bitand(rest)
            PairStanding.objects.filter(pk__in=theirs).update(checks=kept.bitor(mask))
    return len(changes)
