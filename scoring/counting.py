"""What the overview of a dataset shows and labels, decisions and imports change: counted over the
narrow standings, never in a request where there are many of them.

Figures know the state of the dataset that they are of. Where that has changed, those of a small
dataset are counted at once; those of a large one in the background, and until then the page shows
the last ones and says how old they are.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import (
    Case,
    Count,
    IntegerField,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.utils import timezone

from annotations import checks, teams
from annotations.checks import Check
from annotations.models import (
    Dataset,
    Decision,
    PairStanding,
    Preference,
    Verdict,
)
from annotations.models.words import UNCLEAR, WRONG
from curator.lib import work
from curator.lib.doorbell import ring_on_commit
from curator.lib.kept import kept
from scoring.models import DatasetFigures, Flag, ScoringRun, TopicMap
from scoring.sampling import one_by_one

COUNT_FIGURES = "scoring.tasks.count_figures"
FORM = 2  # of the figures; another one is counted anew
AT_ONCE = 20_000  # pairs, up to which a request counts
AGREEMENT_BINS = 20  # of percentile
MOST_ROWS = 12  # of one kind of slice; what is smaller is joined
LENGTHS = (250, 500, 1000, 2000, 4000, 8000)  # characters, from which on a slice begins
TURNS = (1, 2, 3, 4, 5, 7, 11)
CHUNK = 10_000
LATELY = timedelta(seconds=30)
# what leaves no label that could be right as it stands
BROKEN = Check.IDENTICAL | Check.EMPTY | Check.API_ERROR | checks.OF_GROUP
BROKEN_NAMES = [name for name, check in checks.NAMES.items() if check in BROKEN]

FLIPPED = Q(flag=Flag.FLIPPED)
BY_PEOPLE = Q(decided_by=PairStanding.DecidedBy.PERSON)
Standings = QuerySet[PairStanding]


@dataclass(frozen=True)
class Counted:
    """Figures as `count` makes them, when they were counted, and whether they are of now."""

    figures: dict[str, Any]
    counted_at: datetime
    is_current: bool


def figures_of(dataset: Dataset, *, state: str | None = None) -> Counted | None:
    """The last figures. Where they are not of now they are counted, or asked for; None before the
    first of a large dataset are there."""
    state = state_of(dataset) if state is None else state
    if pairs_of(dataset) > AT_ONCE:
        return _last(dataset, state)
    name = f"figures-{dataset.pk}-{dataset.created_at.timestamp()}"
    found = kept(name, state, lambda: count(dataset))
    return Counted(found.found, found.made_at, found.is_current)


def pairs_of(dataset: Dataset) -> int:
    """How many pairs the dataset holds, by what its imports brought."""
    return dataset.imports.aggregate(created=Sum("created"))["created"] or 0


def state_of(dataset: Dataset) -> str:
    """Changes whenever the figures may: with pairs, checks, labels, decisions, batches of these,
    runs and topics. Every part stands at the end of an index, however large the dataset is."""
    theirs = Decision.objects.filter(decided_by=OuterRef("user")).order_by("-pk")
    decided = dataset.memberships.annotate(latest=Subquery(theirs.values("pk")[:1]))
    run = ScoringRun.objects.defer("summary", "members_record").current(dataset)
    parts = (
        FORM,
        dataset.standings.aggregate(last=Max("pair"))["last"],
        Dataset.objects.values_list("checked_at", flat=True).get(pk=dataset.pk),
        decided.aggregate(last=Max("latest"))["last"],
        dataset.batches.aggregate(last=Max("finished_at"))["last"],
        run and run.pk,
        TopicMap.objects.filter(dataset=dataset).aggregate(last=Max("made_at"))["last"],
        teams.last_labels(dataset)[:16],
    )
    return "/".join("" if part is None else str(part) for part in parts)


def _last(dataset: Dataset, state: str) -> Counted | None:
    row = DatasetFigures.objects.filter(dataset=dataset).first()
    if row is None or row.state != state:
        ask(dataset, state=state)
    if row is None or row.counted_at is None or not row.state.startswith(f"{FORM}/"):
        return None
    return Counted(row.figures, row.counted_at, row.state == state)


@transaction.atomic
def ask(dataset: Dataset, *, state: str | None = None) -> None:
    """Have the figures counted in the background, where that takes a while and they are not of
    now."""
    if pairs_of(dataset) <= AT_ONCE:
        return
    state = state_of(dataset) if state is None else state
    row, is_new = DatasetFigures.objects.get_or_create(dataset=dataset, defaults={"wanted": state})
    is_counted = row.state == state and row.status == work.Work.Status.DONE
    if not is_counted and (is_new or work.requeue(row, also_done=True)):
        DatasetFigures.objects.filter(pk=row.pk).update(wanted=state)
        ring_on_commit(COUNT_FIGURES, figures_id=row.pk)


def ask_where_lately_changed() -> None:
    """Ask for the figures of datasets into which an import, or on which a batch of decisions, came
    to its end just now, so that nobody has to look first."""
    since = timezone.now() - LATELY
    imported, decided = (
        Q(**{f"{rows}__status": work.Work.Status.DONE, f"{rows}__finished_at__gte": since})
        for rows in ("imports", "batches")
    )
    found = {pk for met in (imported, decided) for pk in _ids(Dataset.objects.filter(met))}
    for dataset in Dataset.objects.filter(pk__in=found):
        ask(dataset)


def _ids(datasets: "QuerySet[Dataset, Dataset]") -> Iterable[int]:
    return datasets.values_list("pk", flat=True)


def run(row: DatasetFigures) -> None:
    """Count the figures that were asked for."""
    state, begun = state_of(row.dataset), timezone.now()
    figures = count(row.dataset)
    work.finish(row, state=state, figures=figures, counted_at=begun)


# --- What is counted ------------------------------------------------------------------------------


def count(dataset: Dataset) -> dict[str, Any]:
    """All figures of the dataset, as they are stored."""
    standings = dataset.standings.order_by()
    flagged = standings.filter(flag__in=Flag.values)
    by_flag, rest = _by_flag(standings)
    return {
        **rest,
        "flags": by_flag,
        "disputed": standings.in_dispute().count(),
        "labels": _before_and_after(flagged),
        **_checks(standings),
        "slices": {
            "origin": _by_origin(flagged),
            "topic": _by_topic(dataset, flagged),
            "annotator": _by_annotator(dataset),
            **_by_length_and_turns(flagged),
        },
        "agreement": _agreement(dataset),
    }


def _by_flag(standings: Standings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of each flag how many pairs stand at which verdict, how many of them people have looked at
    one by one and found wrong or unclear; and the sums over all pairs."""
    flags: dict[str, Any] = {flag: {"verdicts": Counter[str]()} for flag in Flag.values}
    sums, verdicts = Counter[str](), Counter[str]()
    rows: Any = standings.values_list(
        "flag", "source_preference", "verdict", "decided_by"
    ).annotate(
        pairs=Count("pk"),
        scored=Count("pk", filter=Q(run_id__isnull=False)),
        put_forward=Count("pk", filter=Q(put_forward_by__isnull=False) & ~BY_PEOPLE),
    )
    for flag, source, verdict, decider, pairs, scored, put_forward in rows:
        sums.update(pairs=pairs, scored=scored, put_forward=put_forward)
        sums["labelled"] += pairs * (source in (Preference.A, Preference.B))
        verdicts[verdict] += pairs
        sums[f"by_{decider}"] += pairs if decider else 0
        if flag in flags:
            flags[flag]["verdicts"][verdict] += pairs
    undecided = verdicts.pop(Verdict.UNDECIDED, 0)
    looked_at: Any = standings.filter(one_by_one()).values_list("flag", "verdict")
    reviewed = {(flag, verdict): pairs for flag, verdict, pairs in looked_at.annotate(Count("pk"))}
    for flag, found in flags.items():
        said = {verdict: pairs for (of, verdict), pairs in reviewed.items() if of == flag}
        found["reviewed"] = sum(said.values())
        found["wrong"] = sum(said.get(verdict, 0) for verdict in WRONG)
        found["unclear"] = sum(said.get(verdict, 0) for verdict in UNCLEAR)
    alone = sum(reviewed.values())
    decided = {
        "person": alone,
        "bulk": sums["by_person"] - alone,  # by a person, many at once
        "policy": sums["by_policy"],
    }
    names = ("pairs", "labelled", "scored", "put_forward")
    rest = {name: sums[name] for name in names}
    return flags, rest | {"undecided": undecided, "verdicts": verdicts, "decided": decided}


def _before_and_after(flagged: Standings) -> dict[str, Any]:
    """The flagged labels as they came and as they are decided: how many there are, the sum of their
    strengths, and how many wrong ones were `mended`, that is set right or taken out.

    A label that a person flipped looking at it was wrong. What was flipped otherwise, or taken out,
    was wrong as likely as the models say. Where a person who looked found no side better, nothing
    was wrong.
    """
    sums = {"strengths": Sum("strength"), "right": Sum("label_probability")}
    counts = {"labels": Count("pk"), "told": Count("label_probability")}
    rows: Any = flagged.annotate(alone=Case(When(one_by_one(), then=Value(1)), default=Value(0)))
    found = {"imported": [0, 0.0], "decided": [0, 0.0]}
    mended = 0.0
    for row in rows.values("verdict", "alone").annotate(**sums, **counts):
        labels, verdict = row["labels"], row["verdict"]
        strengths, right = row["strengths"] or 0.0, row["right"] or 0.0
        _add(found["imported"], labels, strengths)
        if verdict in UNCLEAR:
            mended += 0.0 if row["alone"] else row["told"] - right
        elif verdict in WRONG:
            _add(found["decided"], labels, -strengths)
            mended += labels if row["alone"] else row["told"] - 2 * right
        else:
            _add(found["decided"], labels, strengths)
    return {**found, "mended": mended}


def _add(to: list[Any], labels: int, strengths: float) -> None:
    to[0] += labels
    to[1] += strengths


def _checks(standings: Standings) -> dict[str, Any]:
    """How many pairs each check found something of and how many of these are undecided; and of how
    many undecided pairs no label can be right."""
    found = {shown.name: {"pairs": 0, "undecided": 0} for shown in checks.SHOWN.values()}
    broken = 0
    rows: Any = standings.filter(checks__gt=0).values_list("checks")
    counts = rows.annotate(pairs=Count("pk"), undecided=Count("pk", filter=Q(verdict="")))
    for mask, pairs, undecided in counts:
        broken += undecided if mask & BROKEN else 0
        for name, check in checks.NAMES.items():
            if mask & check:
                found[name]["pairs"] += pairs
                found[name]["undecided"] += undecided
    some = {name: counts for name, counts in found.items() if counts["pairs"]}
    return {"checks": some, "broken": broken}


# --- Slices ---------------------------------------------------------------------------------------


def _slice(name: str, where: list[dict[str, Any]], labels: int, flipped: int) -> dict[str, Any]:
    """A part of the labels: its name, the conditions it meets, and how many are likely flipped."""
    return {"name": name, "where": where, "labels": labels, "flipped": flipped}


def _largest(
    rows: "QuerySet[Any, Any]", column: str
) -> tuple[list[tuple[Any, int, int]], tuple[int, int]]:
    """The largest groups by the column as (value, labels, flipped), and the sums of all others."""
    sums = rows.aggregate(labels=Count("pk"), flipped=Count("pk", filter=FLIPPED))
    grouped: Any = rows.values_list(column).annotate(
        labels=Count("pk"), flipped=Count("pk", filter=FLIPPED)
    )
    found = list(grouped.order_by("-labels", column)[:MOST_ROWS])
    labels = sums["labels"] - sum(row[1] for row in found)
    return found, (labels, sums["flipped"] - sum(row[2] for row in found))


def _by_origin(flagged: Standings) -> list[dict[str, Any]]:
    found, (labels, flipped) = _largest(flagged, "origin")
    names = [origin or "none" for origin, *_ in found]
    slices = [
        _slice(origin, [{"field": "origin", "is": name}], *counts)
        for name, (origin, *counts) in zip(names, found, strict=True)
    ]
    rest = [{"field": "origin", "is_not": names}]
    return [*slices, _slice("all others", rest, labels, flipped)] if labels else slices


def _by_topic(dataset: Dataset, flagged: Standings) -> list[dict[str, Any]]:
    """Empty where no topics were found yet."""
    made = TopicMap.objects.filter(dataset=dataset).first()
    if made is None:
        return []
    names = {topic["number"]: topic["name"] for topic in made.topics}
    found, (labels, flipped) = _largest(flagged.filter(topic__isnull=False), "topic")
    slices = [
        _slice(names.get(topic, f"topic {topic}"), [{"field": "topic", "is": topic}], *counts)
        for topic, *counts in found
    ]
    rest = [{"field": "topic", "is_not": [*(topic for topic, *_ in found), "none"]}]
    return [*slices, _slice("all others", rest, labels, flipped)] if labels else slices


def _by_length_and_turns(flagged: Standings) -> dict[str, list[dict[str, Any]]]:
    lengths, turns = _step("characters", (0, *LENGTHS)), _step("turns", TURNS)
    rows: Any = flagged.annotate(length=lengths, asked=turns).values_list("length", "asked")
    counts = list(rows.annotate(labels=Count("pk"), flipped=Count("pk", filter=FLIPPED)))
    return {
        "length": _steps("characters", (0, *LENGTHS), ((row[0], *row[2:]) for row in counts)),
        "turns": _steps("turns", TURNS, (row[1:] for row in counts)),
    }


def _step(column: str, begins: Iterable[int]) -> Case:
    """Which of the steps, by its place, a number of the standing falls into."""
    places = reversed(list(enumerate(begins)))
    whens = [When(**{f"{column}__gte": begin}, then=Value(place)) for place, begin in places]
    return Case(*whens, default=Value(0), output_field=IntegerField())


def _steps(
    field: str, begins: tuple[int, ...], rows: Iterable[tuple[int, int, int]]
) -> list[dict[str, Any]]:
    """The slices of a field of whole numbers, one a step."""
    labels, flipped = Counter[int](), Counter[int]()
    for place, count, count_flipped in rows:
        labels[place] += count
        flipped[place] += count_flipped
    bounds = list(zip(begins, [*(begin - 1 for begin in begins[1:]), None], strict=True))
    return [
        _slice(*_range(field, *bounds[place]), labels[place], flipped[place])
        for place in sorted(labels)
    ]


def _range(field: str, low: int, high: int | None) -> tuple[str, list[dict[str, Any]]]:
    """A range of whole numbers in words and as conditions."""
    if high is None:
        return f"{low:,} or more", [{"field": field, "at_least": low}]
    words = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return words, [{"field": field, "between": [low, high]}]


def _by_annotator(dataset: Dataset) -> list[dict[str, Any]]:
    """Of whoever gave the labels that came with the pairs: the source's labels that are theirs."""
    rows = list(_asked(THEIRS_BY_ANNOTATOR, [Flag.FLIPPED, dataset.pk, *Flag.values]))
    found, others = rows[:MOST_ROWS], rows[MOST_ROWS:]
    slices = [
        _slice(name, [{"field": "annotator", "is": name}], labels, flipped)
        for name, labels, flipped in found
    ]
    if not others:
        return slices
    labels, flipped = (sum(row[place] for row in others) for place in (1, 2))
    return [*slices, _slice("all others", [], labels, flipped)]


# --- A second source of labels --------------------------------------------------------------------


def _agreement(dataset: Dataset) -> dict[str, list[list[int]]]:
    """How often a second source agrees with the source's label, in even bins of percentile: for
    `people` and `ai` a list of [agreeing, compared], empty where there is no such source.

    What people say is the majority of those who prefer a response. A label that came with its pair
    made the source's own label, and is a second source only where a judge of more weight made it
    (`formats.parsed.source_preference`).
    """
    counts: dict[str, list[list[int]]] = {"people": [], "ai": []}
    for name, percentile, agrees in _opinions(dataset):
        bins = counts[name]
        if not bins:
            bins.extend([0, 0] for _ in range(AGREEMENT_BINS))
        found = bins[min(int(percentile * AGREEMENT_BINS), AGREEMENT_BINS - 1)]
        found[0] += agrees
        found[1] += 1
    return counts


def _opinions(dataset: Dataset) -> Iterator[tuple[str, float, bool]]:
    """Of each flagged label that a second source speaks of: which source, the label's percentile,
    and whether the majority agrees."""
    later = _votes_that_came_later(dataset)
    by_source = {pk for (pk,) in _asked(BY_SOURCE, [dataset.pk])}
    voices = ("people_a", "people_b", "ai_a", "ai_b")
    rows: Any = dataset.standings.order_by().filter(
        Q(people_a__gt=0) | Q(people_b__gt=0) | Q(ai_a__gt=0) | Q(ai_b__gt=0),
        flag__in=Flag.values,
        percentile__isnull=False,
    )
    columns = ("pk", "percentile", "source_preference", *voices)
    for pk, percentile, source, *votes in rows.values_list(*columns).iterator(chunk_size=CHUNK):
        since = later.get(pk, NO_VOTES)
        came_with_people = sum(votes[:2]) > sum(since[:2])
        for name, at in (("people", 0), ("ai", 2)):
            weightier = pk in by_source or (name == "ai" and came_with_people)
            for_a, for_b = (votes if weightier else since)[at : at + 2]
            if for_a != for_b:
                yield name, percentile, (for_a > for_b) == (source == Preference.A)


NO_VOTES = (0, 0, 0, 0)
PLACES = {("human", "a"): 0, ("human", "b"): 1, ("ai", "a"): 2, ("ai", "b"): 3}


def _votes_that_came_later(dataset: Dataset) -> dict[int, list[int]]:
    """How many people, and AI judges, prefer A and B of each pair, but for labels that came with
    it."""
    found: dict[int, list[int]] = {}
    for pair_id, kind, preference in _asked(LATER, [dataset.pk]):
        found.setdefault(pair_id, [0, 0, 0, 0])[PLACES[kind, preference]] += 1
    return found


def _asked(statement: str, arguments: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of a statement, some at a time."""
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        while rows := cursor.fetchmany(CHUNK):
            yield from rows


# In SQL, because Django would join labels to standings by way of the pairs, whose rows hold texts.
# A label counts as LabelQuerySet.judgements says.
CURRENT = """
    FROM annotations_label AS label
    JOIN annotations_annotator AS annotator ON annotator.id = label.annotator_id
    JOIN annotations_pairstanding AS standing ON standing.pair_id = label.pair_id
    WHERE label.occasion = '' AND label.preference IN ('a', 'b') AND NOT EXISTS (
        SELECT 1 FROM annotations_label AS later WHERE later.supersedes_id = label.id
    )
"""
THEIRS_BY_ANNOTATOR = (
    "SELECT annotator.name, COUNT(*), SUM(CASE WHEN standing.flag = %s THEN 1 ELSE 0 END)"
    + CURRENT
    + """
    AND annotator.dataset_id = %s AND label.imported_in_id = standing.imported_in_id
    AND label.preference = standing.source_preference AND standing.flag IN (%s, %s, %s, %s)
    GROUP BY annotator.name ORDER BY 2 DESC, 1
"""
)
BY_SOURCE = (
    "SELECT label.pair_id"
    + CURRENT
    + """
    AND annotator.dataset_id = %s AND annotator.kind IN ('source', 'gold')
    AND label.imported_in_id = standing.imported_in_id
    AND (standing.people_a > 0 OR standing.people_b > 0 OR standing.ai_a > 0 OR standing.ai_b > 0)
"""
)
LATER = (
    "SELECT label.pair_id, annotator.kind, label.preference"
    + CURRENT
    + """
    AND annotator.dataset_id = %s AND annotator.kind IN ('human', 'ai')
    AND (label.imported_in_id IS NULL OR label.imported_in_id <> standing.imported_in_id)
"""
)


def waiting(figures: Mapping[str, Any], flag: Flag) -> int:
    """How many labels with the flag nobody has decided on."""
    return int(figures["flags"][flag]["verdicts"].get(Verdict.UNDECIDED, 0))
