"""Gather what the card of a snapshot says, and keep the card with it for good."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, When
from django.utils import timezone

from annotations import agreement, answers, cards, exporting
from annotations.agreement import Scale
from annotations.checks import SHOWN
from annotations.models import (
    Annotator,
    Decision,
    DecisionBatch,
    Export,
    Label,
    PairStanding,
    Policy,
    Preference,
    Snapshot,
    SnapshotCard,
    SnapshotPair,
)

MOST_ORIGINS = 20
LATE = timedelta(hours=1)  # after freezing, from which on a card is dated
SEED = 7  # of the bootstrap: the same labels always have the same interval
LIKELY_FLIPPED = "flipped"


def keep(snapshot: Snapshot, scored: cards.Scored | None) -> SnapshotCard:
    """The snapshot's card; the one that is there where there is one. `scored` is what scoring says
    of the run that the snapshot's figures come from."""
    known = of_snapshot(snapshot)
    if known is not None:
        return known
    return SnapshotCard.objects.create(
        snapshot=snapshot, text=cards.write(describe(snapshot, scored))
    )


def of_snapshot(snapshot: Snapshot) -> SnapshotCard | None:
    """The card, where one was written: snapshots of old have none."""
    return SnapshotCard.objects.filter(snapshot=snapshot).first()


def with_files(card: SnapshotCard) -> str:
    """The card's text, with the files that were written from the snapshot."""
    snapshot = card.snapshot
    rows = snapshot.exports.filter(status=Export.Status.DONE).order_by("format")
    files = [
        cards.File(exporting.file_name(row), row.rows, row.left_out, row.sha256) for row in rows
    ]
    return cards.with_files(card.text, files)


def file_name(snapshot: Snapshot) -> str:
    """What the card is called when it is downloaded."""
    slug, digest = snapshot.dataset.slug, snapshot.short_digest
    return f"{slug}-snapshot{snapshot.number}-{digest}.card.md"


def describe(snapshot: Snapshot, scored: cards.Scored | None) -> cards.Card:
    """All that the card says, asked of the snapshot's rows and the standing of its pairs."""
    dataset, standing = snapshot.dataset, _standings(snapshot)
    sides = _sides(standing)
    labels, annotators = _labels(snapshot)
    return cards.Card(
        slug=dataset.slug,
        name=dataset.name,
        description=dataset.description,
        number=snapshot.number,
        digest=snapshot.digest,
        frozen_on=f"{snapshot.created_at:%Y-%m-%d}",
        frozen_by=snapshot.created_by.shown_name if snapshot.created_by else "",
        note=snapshot.note,
        pairs=snapshot.pairs_count,
        prompts=dataset.pairs.aggregate(count=Count("group", distinct=True))["count"],
        labelled=sides["labelled"],
        verdicts=snapshot.counts["verdicts"],
        preferences=snapshot.counts["preferences"],
        origins=_origins(standing),
        flags=_counted(snapshot, "flag"),
        by_people=_decided_by_people(snapshot),
        by_people_in_bulk=_decided_in_bulk(snapshot),
        policies=_policies(snapshot),
        labels=labels,
        annotators=annotators,
        agreement=_agreement(snapshot),
        checks=_checks(standing),
        prefers_a=sides["prefers_a"],
        prefers_longer=sides["prefers_longer"],
        unequal=sides["unequal"],
        unreviewed=snapshot.rows.filter(flag=LIKELY_FLIPPED, verdict="").count(),
        scored=scored,
        written_later=_written_later(snapshot),
    )


def _written_later(snapshot: Snapshot) -> str:
    """Today, where the snapshot was frozen a while ago, so that what is asked of now is dated."""
    now = timezone.now()
    return f"{now:%Y-%m-%d}" if now - snapshot.created_at > LATE else ""


def _standings(snapshot: Snapshot) -> QuerySet[PairStanding]:
    """Of the pairs that the snapshot holds: later ones are no part of it."""
    pairs = SnapshotPair.objects.filter(snapshot=snapshot).values("pair")
    return snapshot.dataset.standings.filter(pair__in=pairs).order_by()


def _counted(snapshot: Snapshot, column: str) -> dict[str, int]:
    rows = snapshot.rows.order_by().values_list(column).annotate(Count("pk"))
    return dict(rows)


def _origins(standing: QuerySet[PairStanding]) -> list[tuple[str, int]]:
    rows = standing.values_list("origin").annotate(count=Count("pk"))
    return list(rows.order_by("-count", "origin")[:MOST_ORIGINS])


def _sides(standing: QuerySet[PairStanding]) -> dict[str, int]:
    """On which side, and of which length, the preferred responses are."""
    a, b = Q(source_preference=Preference.A), Q(source_preference=Preference.B)
    return standing.aggregate(
        labelled=Count("pk", filter=a | b),
        prefers_a=Count("pk", filter=a),
        prefers_longer=Count("pk", filter=(a & Q(longer_a__gt=0)) | (b & Q(longer_a__lt=0))),
        unequal=Count("pk", filter=(a | b) & ~Q(longer_a=0)),
    )


def _checks(standing: QuerySet[PairStanding]) -> list[cards.FoundByCheck]:
    """By the sums that occur, of which there are few, rather than check by check."""
    rows: Any = standing.values_list("checks").annotate(Count("pk"))
    sums = [(found, count) for found, count in rows if found]
    return [
        cards.FoundByCheck(
            shown.title,
            shown.explanation,
            sum(count for found, count in sums if found & check),
        )
        for check, shown in SHOWN.items()
    ]


def _decided_by_people(snapshot: Snapshot) -> int:
    held = snapshot.rows.filter(verdict__gt="", decision__kind=Decision.Kind.PERSON)
    return held.count()


def _decided_in_bulk(snapshot: Snapshot) -> int:
    """Pairs that a person decided together with others, without having read each."""
    held = snapshot.rows.filter(verdict__gt="", decision__kind=Decision.Kind.PERSON)
    own = Q(decision__restores=None, decision__batch__kind=DecisionBatch.Kind.BULK)
    return held.filter(own | Q(decision__restores__batch__kind=DecisionBatch.Kind.BULK)).count()


def _policies(snapshot: Snapshot) -> Sequence[cards.AppliedPolicy]:
    """The policies that hold verdicts, whoever took another decision back in between."""
    held = snapshot.rows.filter(verdict__gt="", decision__kind=Decision.Kind.POLICY).order_by()
    policy = Case(
        When(decision__restores__isnull=False, then=F("decision__restores__batch__policy")),
        default=F("decision__batch__policy"),
    )
    rows: Any = held.annotate(policy=policy).values_list("policy").annotate(Count("pk"))
    counts = dict(rows)
    known = Policy.objects.in_bulk([pk for pk in counts if pk is not None])
    applied = [
        cards.AppliedPolicy(
            known[pk].name if pk in known else "a policy",
            known[pk].digest if pk in known else "",
            count,
        )
        for pk, count in counts.items()
    ]
    return sorted(applied, key=lambda each: (-each.pairs, each.name))


def _labels(snapshot: Snapshot) -> tuple[dict[str, int], dict[str, int]]:
    """Judgements that hold, and who gave them, by kind of annotator."""
    given = Label.objects.judgements().filter(pk__lte=snapshot.last_label)
    theirs = given.filter(annotator=OuterRef("pk")).order_by().values("annotator")
    counted = Subquery(theirs.annotate(count=Count("pk")).values("count"))
    labels: dict[str, int] = {}
    people: dict[str, int] = {}
    annotators = snapshot.dataset.annotators.annotate(given=counted)
    for kind, count in annotators.values_list("kind", "given"):
        if count:
            name = _kind_name(kind)
            labels[name] = labels.get(name, 0) + count
            people[name] = people.get(name, 0) + 1
    return labels, people


def _kind_name(kind: str) -> str:
    return {"human": "people", "ai": "AI judges", "gold": "gold", "source": "source"}[
        Annotator.Kind(kind)
    ]


def _agreement(snapshot: Snapshot) -> list[cards.Agreement]:
    """Of people; nothing where no pair has the labels of two."""
    several = F("people_a") + F("people_b") + F("people_tie") + F("people_both_bad")
    standing = snapshot.dataset.standings.annotate(several=several)
    if not standing.filter(several__gt=1).exists():
        return []
    given = answers.load(snapshot.dataset).judgements
    titles = {Scale.TIES: "Krippendorff's alpha, ties counted", Scale.SIDES: "of A or B alone"}
    found = {
        title: agreement.krippendorff_alpha(given, scale, generator=np.random.default_rng(SEED))
        for scale, title in titles.items()
    }
    return [
        cards.Agreement(title, alpha.figure, alpha.units, alpha.reason)
        for title, alpha in found.items()
    ]
