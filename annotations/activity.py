"""Who did what in a dataset, the newest first: read from the rows that the doing left, so that
nothing is told twice or can be forgotten.

Each kind of event is one bounded query, and their answers are merged: a page costs as many queries
as there are kinds, however much has happened. Whoever else has rows hands in sources of its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min, Q, QuerySet, TextField
from django.db.models.functions import Cast, Substr
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_aware

from annotations.models import (
    Comment,
    Dataset,
    Decision,
    DecisionBatch,
    Export,
    GoldPair,
    Import,
    Membership,
    Policy,
    RoleChange,
    Round,
    SavedView,
    Snapshot,
    SnapshotTag,
    Verdict,
)
from curator.models import User

PAGE_SIZE = 50
LONGEST_SAID = 300
LONGEST_ID = 19  # digits, from which on no database counts
COMMAND_LINE = "the command line"
HOUR = "%Y-%m-%dT%H"
GROUPS: Mapping[str, str] = {
    "imports": "Imports",
    "people": "People",
    "rounds": "Rounds",
    "comments": "Comments",
    "gold": "Gold pairs",
    "decisions": "Decisions",
    "policies": "Policies",
    "snapshots": "Snapshots and exports",
    "views": "Saved views",
}
Rows = QuerySet[Any, Any]


@dataclass(frozen=True)
class Entry:
    """One thing that somebody did. `name` and `said` are texts that people typed."""

    at: datetime
    kind: str
    pk: int
    who: str
    words: str
    name: str = ""
    said: str = ""
    url: str = ""

    @property
    def key(self) -> "Key":
        return Key(self.at, self.kind, self.pk)


@dataclass(frozen=True, order=True)
class Key:
    """The place of an entry in the feed."""

    at: datetime
    kind: str
    pk: int

    def __str__(self) -> str:
        return f"{self.at.isoformat()},{self.kind},{self.pk}"

    @classmethod
    def read(cls, text: str) -> "Key | None":
        """The key that was written so; None for what is none."""
        moment, _, rest = text.partition(",")
        kind, _, pk = rest.partition(",")
        try:
            at = parse_datetime(moment)
            if at is None or not is_aware(at):
                return None
            at = at.astimezone(UTC)
        except (ValueError, OverflowError):  # such as the year 0 or 99999, or 1 west of Greenwich
            return None
        if not (pk.isascii() and pk.isdigit() and len(pk) < LONGEST_ID):
            return None
        return cls(at, kind, int(pk))


@dataclass(frozen=True)
class Told:
    """What an entry says, and where it leads."""

    words: str
    who: str = COMMAND_LINE
    name: str = ""
    said: str = ""
    url: str = ""


@dataclass(frozen=True)
class Source:
    """One kind of event: its rows, when each happened, whose it is, and how it is told."""

    kind: str
    group: str
    rows: Callable[[Dataset], Rows]
    at: str
    tell: Callable[[Any, Dataset], Told]
    person: str = "created_by"
    pk: str = "pk"


@dataclass(frozen=True)
class Wanted:
    """Which part of the feed: of one group, by one person, from a moment until before another, and
    after an entry."""

    group: str = ""
    person: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: Key | None = None


@dataclass(frozen=True)
class Page:
    """Some entries, the newest first."""

    entries: Sequence[Entry]
    next_cursor: Key | None


def feed(
    dataset: Dataset, wanted: Wanted, *, more: Iterable[Source] = (), size: int = PAGE_SIZE
) -> Page:
    """A page of what was done in the dataset; `more` are sources that others hand in."""
    found: list[Entry] = []
    for source in (*SOURCES, *more):
        if wanted.group in ("", source.group) and (wanted.person is None or source.person):
            found += _entries(source, dataset, wanted, size + 1)
    found.sort(key=lambda entry: entry.key, reverse=True)
    following = found[size - 1].key if len(found) > size else None
    return Page(found[:size], following)


def by_hand(dataset: Dataset, person: int | None, hour: datetime) -> QuerySet[Decision]:
    """The decisions that a person made one by one within an hour from this moment."""
    decided = _one_by_one(dataset).filter(
        decided_by=person, created_at__gte=hour, created_at__lt=hour + timedelta(hours=1)
    )
    return decided.select_related("pair").order_by("-pk")


def _entries(source: Source, dataset: Dataset, wanted: Wanted, size: int) -> list[Entry]:
    at, pk = source.at, source.pk
    rows = source.rows(dataset).filter(**{f"{at}__isnull": False})
    if wanted.person is not None:
        rows = rows.filter(**{source.person: wanted.person})
    if wanted.since is not None:
        rows = rows.filter(**{f"{at}__gte": wanted.since})
    if wanted.until is not None:
        rows = rows.filter(**{f"{at}__lt": wanted.until})
    if wanted.after is not None:
        rows = rows.filter(_further_on(source, wanted.after))
    return [_entry(source, row, dataset) for row in rows.order_by(f"-{at}", f"-{pk}")[:size]]


def _further_on(source: Source, after: Key) -> Q:
    """The rows whose entries come after that one: it is the order of keys that counts."""
    earlier = Q(**{f"{source.at}__lt": after.at})
    if source.kind > after.kind:
        return earlier
    same = Q(**{source.at: after.at})
    if source.kind == after.kind:
        same &= Q(**{f"{source.pk}__lt": after.pk})
    return earlier | same


def _entry(source: Source, row: Any, dataset: Dataset) -> Entry:
    told = source.tell(row, dataset)
    at, pk = _value(row, source.at), _value(row, source.pk)
    return Entry(
        at, source.kind, pk, told.who, told.words, told.name, told.said[:LONGEST_SAID], told.url
    )


def _value(row: Any, name: str) -> Any:
    return row[name] if isinstance(row, dict) else getattr(row, name)


# --- How each kind is told ------------------------------------------------------------------------


def name_of(user: User | None) -> str:
    return user.shown_name if user is not None else COMMAND_LINE


def _by(row: Any, words: str, **more: str) -> Told:
    return Told(words, who=name_of(row.created_by), **more)


def _made(row: Dataset, dataset: Dataset) -> Told:
    return _by(row, "made the dataset", url=reverse("scoring:overview", args=[dataset.slug]))


def _imported(row: Import, dataset: Dataset) -> Told:
    counts = f"{row.created:,} new pairs"
    if row.labels_created:
        counts = f"{counts}, {row.labels_created:,} new labels"
    state = counts if row.status == Import.Status.DONE else row.get_status_display()
    url = reverse("annotations:import", args=[dataset.slug, row.pk])
    return _by(row, f"brought in a file ({state}):", name=row.file_name, url=url)


def _opened_round(row: Round, dataset: Dataset) -> Told:
    url = reverse("annotations:labelling", args=[dataset.slug])
    what = "asked for a second opinion:" if row.pair_id else "opened a round:"
    return _by(row, what, name=row.name, url=url)


def _closed_round(row: Round, dataset: Dataset) -> Told:
    url = reverse("annotations:labelling", args=[dataset.slug])
    return Told("was closed", who="", name=row.name, url=url)


def _joined(row: Membership, dataset: Dataset) -> Told:
    url = reverse("annotations:people", args=[dataset.slug])
    role = row.get_role_display()
    return Told(f"became a member, now {role}", who=row.user.shown_name, url=url)


def _given_role(row: RoleChange, dataset: Dataset) -> Told:
    url = reverse("annotations:people", args=[dataset.slug])
    role = row.get_role_display()
    if row.was:
        words = f"changed a role from {row.get_was_display()} to {role}, of"
    else:
        words = f"made a former member {role} again:"
    return _by(row, words, name=row.membership.user.shown_name, url=url)


def _left(row: Membership, dataset: Dataset) -> Told:
    url = reverse("annotations:people", args=[dataset.slug])
    return Told("is no longer a member", who=row.user.shown_name, url=url)


def _batch(row: DecisionBatch, dataset: Dataset) -> Told:
    what = {
        DecisionBatch.Kind.BULK: f"decided “{row.get_verdict_display()}” in bulk",
        DecisionBatch.Kind.POLICY: "applied a policy",
        DecisionBatch.Kind.RESTORE: f"restored snapshot {row.snapshot and row.snapshot.number}",
        DecisionBatch.Kind.UNDO: f"undid batch {row.undoes_id}",
        DecisionBatch.Kind.PSEUDO: "let an ensemble label what it is sure of",
    }[DecisionBatch.Kind(row.kind)]
    is_done = row.status == DecisionBatch.Status.DONE
    state = f"{row.decided:,} pairs" if is_done else row.get_status_display()
    name = f"{row.policy.name} ({row.policy.digest[:12]})" if row.policy else ""
    url = reverse("scoring:batch", args=[dataset.slug, row.pk])
    return Told(f"{what} ({state}){':' if name else ''}", row.actor, name, row.reason, url)


def _decided(row: dict[str, Any], dataset: Dataset) -> Told:
    counts = [
        f"{row[f'to_{verdict.name}']:,} {verdict.label}"
        for verdict in Verdict
        if verdict and row[f"to_{verdict.name}"]
    ]
    if row["undone"]:
        counts.append(f"{row['undone']:,} taken back")
    pairs = "1 pair" if row["count"] == 1 else f"{row['count']:,} times"
    if row["count"] == 1:
        url = reverse("scoring:pair", args=[dataset.slug, row["pair_first"]])
    else:
        hour = row["hour"].replace(" ", "T")
        url = reverse("scoring:activity-hour", args=[dataset.slug, row["decided_by"] or 0, hour])
    return Told(f"decided {pairs}: {', '.join(counts)}", row["actor"], url=url)


def _commented(row: Comment, dataset: Dataset) -> Told:
    url = reverse("scoring:pair", args=[dataset.slug, row.pair_id])
    return Told("commented on a pair:", row.actor, said=row.text, url=url)


def _gold(row: GoldPair, dataset: Dataset) -> Told:
    url = reverse("scoring:pair", args=[dataset.slug, row.pair_id])
    what = "a practice pair" if row.is_practice else "a gold pair"
    return _by(row, f"made {what}", said=row.explanation, url=url)


def _gold_retired(row: GoldPair, dataset: Dataset) -> Told:
    url = reverse("scoring:pair", args=[dataset.slug, row.pair_id])
    return Told("A gold pair was retired", who="", url=url)


def _policy(row: Policy, dataset: Dataset) -> Told:
    name = f"{row.name} ({row.digest[:12]})"
    url = reverse("scoring:policy", args=[dataset.slug, row.pk])
    return _by(row, "kept a policy:", name=name, said=row.note, url=url)


def _snapshot_url(dataset: Dataset, number: int) -> str:
    return reverse("annotations:snapshot", args=[dataset.slug, number])


def _froze(row: Snapshot, dataset: Dataset) -> Told:
    url = _snapshot_url(dataset, row.number)
    words = f"froze snapshot {row.number} ({row.pairs_count:,} pairs)"
    return _by(row, words, said=row.note, url=url)


def _tagged(row: SnapshotTag, dataset: Dataset) -> Told:
    number = row.snapshot.number
    url = _snapshot_url(dataset, number)
    return _by(row, f"tagged snapshot {number}:", name=row.name, url=url)


def _untagged(row: SnapshotTag, dataset: Dataset) -> Told:
    number = row.snapshot.number
    url = _snapshot_url(dataset, number)
    who = name_of(row.retired_by)
    return Told(f"took a tag from snapshot {number}:", who, name=row.name, url=url)


def _exported(row: Export, dataset: Dataset) -> Told:
    is_done = row.status == Export.Status.DONE
    state = f"{row.rows:,} rows" if is_done else row.get_status_display()
    words = f"exported snapshot {row.snapshot.number} as {row.format} ({state})"
    return _by(row, words, url=_snapshot_url(dataset, row.snapshot.number))


def _saved_view(row: SavedView, dataset: Dataset) -> Told:
    url = f"{reverse('scoring:pairs', args=[dataset.slug])}?{row.query.lstrip('?')}"
    return _by(row, "saved a view:", name=row.name, url=url)


def _removed_view(row: SavedView, dataset: Dataset) -> Told:
    url = reverse("scoring:pairs", args=[dataset.slug])
    return Told("is no longer a saved view", who="", name=row.name, url=url)


# --- Their rows -----------------------------------------------------------------------------------


def _one_by_one(dataset: Dataset) -> QuerySet[Decision]:
    """Decisions that people made on one pair at a time."""
    pairs = dataset.standings.order_by().values("pair")
    return Decision.objects.filter(batch=None, pair__in=pairs)


def _by_hour(dataset: Dataset) -> Rows:
    """A person's decisions of an hour of the clock, as one row. The hour by its text: to cut a time
    short SQLite would call Python, row by row."""
    hour = Substr(Cast("created_at", TextField()), 1, len("2026-01-31 10"))
    ways = {
        f"to_{verdict.name}": Count("pk", filter=Q(verdict=verdict, undoes=None))
        for verdict in Verdict
        if verdict
    }
    grouped = _one_by_one(dataset).order_by().annotate(hour=hour)
    return grouped.values("decided_by", "actor", "hour").annotate(
        at=Max("created_at"),
        last=Max("pk"),
        pair_first=Min("pair"),
        count=Count("pk"),
        undone=Count("pk", filter=~Q(undoes=None)),
        **ways,
    )


def _of(kind: Any, *related: str) -> Callable[[Dataset], Rows]:
    """The rows of a dataset, with what is told of them."""

    def rows(dataset: Dataset) -> Rows:
        found: Rows = kind.objects.filter(dataset=dataset)
        return found.select_related(*related)

    return rows


def _of_pairs(kind: Any) -> Callable[[Dataset], Rows]:
    return lambda dataset: kind.objects.filter(pair__dataset=dataset)


def _of_snapshots(kind: Any) -> Callable[[Dataset], Rows]:
    return lambda dataset: kind.objects.filter(snapshot__dataset=dataset).select_related(
        "snapshot", "created_by"
    )


def _role_changes(dataset: Dataset) -> Rows:
    found = RoleChange.objects.filter(membership__dataset=dataset)
    return found.select_related("membership__user", "created_by")


def _dataset(dataset: Dataset) -> Rows:
    return Dataset.objects.filter(pk=dataset.pk).select_related("created_by")


_tags = _of(SnapshotTag, "snapshot", "created_by", "retired_by")
_rounds, _views = _of(Round, "created_by"), _of(SavedView, "created_by")
_members, _golds = _of(Membership, "user"), _of(GoldPair, "created_by")
_batches = _of(DecisionBatch, "policy", "snapshot")

SOURCES: Sequence[Source] = (
    Source("created", "people", _dataset, "created_at", _made),
    Source("import", "imports", _of(Import, "created_by"), "queued_at", _imported),
    Source("member-joined", "people", _members, "joined_at", _joined, person="user"),
    Source("member-left", "people", _members, "ended_at", _left, person="user"),
    Source("role", "people", _role_changes, "created_at", _given_role),
    Source("round", "rounds", _rounds, "queued_at", _opened_round),
    Source("round-closed", "rounds", _rounds, "closed_at", _closed_round, person=""),
    Source("comment", "comments", _of_pairs(Comment), "created_at", _commented, person="author"),
    Source("gold", "gold", _golds, "created_at", _gold),
    Source("gold-retired", "gold", _golds, "retired_at", _gold_retired, person=""),
    Source("decisions", "decisions", _by_hour, "at", _decided, person="decided_by", pk="last"),
    Source("batch", "decisions", _batches, "queued_at", _batch),
    Source("policy", "policies", _of(Policy, "created_by"), "created_at", _policy),
    Source("snapshot", "snapshots", _of(Snapshot, "created_by"), "created_at", _froze),
    Source("tag", "snapshots", _tags, "created_at", _tagged),
    Source("tag-removed", "snapshots", _tags, "retired_at", _untagged, person="retired_by"),
    Source("export", "snapshots", _of_snapshots(Export), "queued_at", _exported),
    Source("view", "views", _views, "created_at", _saved_view),
    Source("view-removed", "views", _views, "retired_at", _removed_view, person=""),
)
