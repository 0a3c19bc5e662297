"""Freeze where a dataset stands: every pair with the label that holds now, under one digest, for
good."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from django.db import connection, models, transaction
from django.db.models import Max, Value, Window
from django.db.models.functions import RowNumber

from annotations import permissions
from annotations.models import (
    Dataset,
    Decision,
    Label,
    Preference,
    PreferencePair,
    Snapshot,
    SnapshotPair,
)
from annotations.querysets import preference_that_holds
from curator.lib import digests
from curator.lib.bulk import insert_from_select, refresh_statistics
from curator.lib.refusals import Refusal
from curator.models import User

EVIDENCE = ("strength", "spread", "votes", "flag")
PAGE = 2000
OTHER_SIDE = {Preference.A: Preference.B, Preference.B: Preference.A}


class NothingToFreeze(Refusal):
    """The dataset holds no pairs."""


@dataclass
class Tally:
    """What is counted while the rows pass by."""

    verdicts: Counter[str] = field(default_factory=Counter)
    preferences: Counter[str] = field(default_factory=Counter)
    strengths: list[float] = field(default_factory=list)


@transaction.atomic
def freeze(
    *,
    dataset: Dataset,
    by: User | None,
    scored: "models.QuerySet[PreferencePair] | None" = None,
    scored_by: str = "",
    note: str = "",
) -> Snapshot:
    """A snapshot of the dataset as it stands; the latest one again when nothing has changed since.

    `scored` is the dataset's pairs annotated with `strength` (towards A), `spread`, `votes` and
    `flag`, each of which may be null; scoring hands it over together with the words that name the
    run. Without it there is no evidence in the snapshot. `by` is None on the command line of the
    machine.
    """
    if by is not None:
        permissions.check_can_curate(by, dataset)
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    last_label = _last_label(dataset)
    _hold_back(Decision)
    standing = _standing(dataset, scored)
    tally = Tally()
    digest = digests.of_lines(_lines(standing, tally))
    if not tally.verdicts:
        raise NothingToFreeze(f"{dataset.name} holds no pairs yet: import some first.")
    latest = dataset.snapshots.first()
    last_decision = Decision.objects.filter(pair__dataset=dataset).aggregate(last=Max("pk"))["last"]
    stand = {"digest": digest, "last_label": last_label, "last_decision": last_decision or 0}
    if latest is not None and all(getattr(latest, name) == stand[name] for name in stand):
        return latest
    snapshot = Snapshot.objects.create(
        dataset=dataset,
        number=latest.number + 1 if latest else 1,
        pairs_count=tally.verdicts.total(),
        counts={"verdicts": dict(tally.verdicts), "preferences": dict(tally.preferences)},
        scored_by=scored_by,
        margin_scale=median(tally.strengths) if tally.strengths else None,
        note=note,
        created_by=by,
        **stand,
    )
    columns = ["pair", "decision", "verdict", "preference", *EVIDENCE]
    rows = standing.annotate(
        new_snapshot=Value(snapshot.pk, output_field=models.BigIntegerField()),
        place=Window(RowNumber(), order_by="digest"),
    )
    chosen = rows.order_by("place").values_list(
        *("new_snapshot", "place", "pk", "standing__decision", "standing__verdict", "preference"),
        *EVIDENCE,
    )
    insert_from_select(SnapshotPair, ["snapshot", "position", *columns], chosen)
    refresh_statistics(SnapshotPair)
    return snapshot


def _standing(
    dataset: Dataset, scored: "models.QuerySet[PreferencePair] | None"
) -> "models.QuerySet[Any]":
    """The dataset's pairs with the preference that holds, and evidence where there is some."""
    pairs = scored if scored is not None else _without_evidence(dataset)
    preference = preference_that_holds("standing__verdict", "source_preference")
    return pairs.filter(dataset=dataset).annotate(preference=preference)


def _without_evidence(dataset: Dataset) -> "models.QuerySet[PreferencePair]":
    number = Value(None, output_field=models.FloatField())
    return dataset.pairs.annotate(
        strength=number,
        spread=number,
        votes=number,
        flag=Value("", output_field=models.CharField()),
    )


def _lines(standing: "models.QuerySet[Any]", tally: Tally) -> Iterator[str]:
    """One line a pair, in the order of the pairs' digests; the tally is kept on the way.

    A pair's digest is the same whichever way round its responses stand, so what is said of A and B
    is said here of the first and the second response by digest.
    """
    columns = (
        "digest",
        "is_in_order",
        "standing__verdict",
        "preference",
        "standing__decision__label_probability",
        "strength",
        "flag",
    )
    for row in standing.order_by("digest").values_list(*columns).iterator(PAGE):
        digest, is_in_order, verdict, preference, probability, strength, flag = row
        tally.verdicts[verdict] += 1
        tally.preferences[preference] += 1
        if strength is not None:
            tally.strengths.append(abs(strength))
        if not is_in_order:
            preference = OTHER_SIDE.get(preference, preference)
            strength = strength and -strength
        yield digests.canonical_json([digest, verdict, preference, probability, strength, flag])


def _last_label(dataset: Dataset) -> int:
    """The last of the labels that the snapshot knows of: all up to it are there, and none comes
    later. New ones wait for this question alone, not for the whole snapshot: PostgreSQL gives back
    a lock with the savepoint that it was taken in."""
    before = transaction.savepoint()
    _hold_back(Label)
    last = Label.objects.filter(pair__dataset=dataset).aggregate(last=Max("pk"))["last"]
    transaction.savepoint_rollback(before)
    return last or 0


def _hold_back(facts: type[models.Model]) -> None:
    """Wait for those that are being written, and keep new ones out until the transaction ends.

    SQLite's write transaction does that by itself.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            table = connection.ops.quote_name(facts._meta.db_table)
            cursor.execute(f"LOCK TABLE {table} IN SHARE MODE")
