"""What the benchmark of the desk sets up and looks up inside a Curator of its own: a dataset of any
size with labels, checks, topics, a finished run, decisions, batches and snapshots.

Run through `manage.py shell`; what a function finds is printed as one line of JSON. Texts, labels,
scores and people's decisions are loaded in bulk; all that follows from them goes through the
product's own work: what a run finds, its handing over, a policy, snapshots, a sample and figures.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotations import launch as annotations_launch
from annotations import policies, queue
from annotations import tasks as annotations_tasks
from annotations.checks import Check
from annotations.filters import ORDERS
from annotations.models import (
    Annotator,
    Dataset,
    Decision,
    DecisionBatch,
    Import,
    Label,
    Membership,
    PairStanding,
    PreferencePair,
    Role,
    SavedView,
)
from benchmarks.desk_texts import Base, Texts, bases, texts
from curator.lib import work
from curator.models import User
from scoring import counting, freezing, sampling, strengths
from scoring.collecting import Collected
from scoring.core.flags import FlagRule
from scoring.core.places import PromptMap
from scoring.core.topics import Compression
from scoring.models import (
    DatasetFigures,
    Ensemble,
    Mode,
    PairPlace,
    PairScore,
    RewardModel,
    ScoringRun,
    TopicMap,
)

SLUG = "desk"
BACKEND = "django.contrib.auth.backends.ModelBackend"
CURATORS, PEOPLE, CROWD, JUDGES, IMPORTS, MEMBERS = 4, 8, 12, 2, 4, 4
CHUNK = 20_000
NOISE = 0.1  # of the labels
ORIGINS = {"hh / helpful-base": 0.5, "hh / harmless-base": 0.3, "arena": 0.12, "in-house": 0.07}
RARE_ORIGIN = "a partner"
TOPICS, CLUSTERS, WIDTH = 16, 256, 64
CHECKED = {
    Check.CUT_OFF: 0.02,
    Check.REFUSAL: 0.01,
    Check.PREFIX: 0.002,
    Check.IDENTITY: 0.001,
    Check.IDENTICAL: 0.0005,
    Check.API_ERROR: 0.0002,
}
DECIDED_BY_PEOPLE = 0.025
VERDICTS = {"keep": 0.5, "flip": 0.35, "tie": 0.07, "drop": 0.08}
POLICY = {
    "name": "soften the weakest",
    "note": "",
    "rules": [
        {
            "when": [{"field": "people", "is": "divided"}],
            "then": {"action": "queue"},
            "because": "People are divided.",
        },
        {
            "when": [{"field": "percentile", "below": 0.025}],
            "then": {"action": "soften", "probability": "calibrated"},
            "because": "Among the weakest fortieth.",
        },
    ],
}
STOOD = """
UPDATE annotations_pairstanding AS standing
SET decision_id = made.id, verdict = made.verdict, decided_by = 'person',
    decided_at = made.created_at
FROM annotations_decision AS made WHERE made.pair_id = standing.pair_id
"""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Seconds = dict[str, float]


@dataclass(frozen=True)
class Drawn:
    """What chance says of n pairs, as arrays (n,)."""

    preference: npt.NDArray[np.str_]
    wrong: npt.NDArray[np.bool_]  # labels that are
    origin: npt.NDArray[np.str_]
    topic: Ints  # -1 for none
    cluster: Ints
    checks: Ints
    brought_by: Ints  # the number of the import


# --- Building -------------------------------------------------------------------------------------


def build(pairs: int, source: str) -> None:
    """The dataset of so many pairs, unless it is there; how long each step took."""
    dataset = Dataset.objects.filter(slug=SLUG).first()
    if dataset is not None:
        if dataset.snapshots.count() < 2:
            raise SystemExit(
                "A dataset that was not finished stands in the way: empty the database."
            )
        _say({"seconds": {}, "is_new": False})
        return
    seconds: Seconds = {}
    random = np.random.default_rng(pairs)
    with _timed(seconds, "people and texts"):
        dataset = _people()
        drawn = draw(pairs, random)
        imports = _imports(dataset, drawn)
        with _without_checks():
            _texts(dataset, imports, drawn, bases(Path(source)))
    with _timed(seconds, "labels"):
        with _without_checks():
            _labels(dataset, imports, drawn, random)
        _count_voices()
    with _timed(seconds, "scores"), _without_checks():
        run = _score(dataset, drawn, random)
    tidy()
    with _timed(seconds, "scores handed over"):
        for _ in queue.set_scores(dataset, **strengths._figures_of(run)):
            pass
    with _timed(seconds, "places and decisions"), _without_checks():
        _places(dataset, drawn, random)
        _decide_one_by_one(dataset, random)
    tidy()
    with _timed(seconds, "snapshot"):
        freezing.freeze(dataset=dataset, by=None, note="before the policy")
    with _timed(seconds, "policy"):
        _apply(dataset, policies.parse(POLICY))
    with _timed(seconds, "second snapshot"):
        freezing.freeze(dataset=dataset, by=None, note="after the policy")
    sampling.draw(run, min(200, sampling.labels_of(run)))
    SavedView.objects.create(
        dataset=dataset, name="Short and flipped", query="flag=flipped&characters_to=400"
    )
    tidy()
    with _timed(seconds, "figures"):
        _count(dataset)
    _say({"seconds": seconds, "is_new": True})


def draw(count: int, random: np.random.Generator) -> Drawn:
    """Traits of so many pairs in proportions that real sets have."""
    names, shares = [*ORIGINS, RARE_ORIGIN], [*ORIGINS.values(), 0.0]
    shares[-1] = 1 - sum(shares)
    checks = np.zeros(count, dtype=np.int64)
    for check, share in CHECKED.items():
        checks |= np.where(random.random(count) < share, int(check), 0)
    cluster = random.integers(0, CLUSTERS, count)
    return Drawn(
        preference=random.choice(["a", "b", "tie", ""], count, p=[0.49, 0.48, 0.015, 0.015]),
        wrong=random.random(count) < NOISE,
        origin=random.choice(names, count, p=shares),
        topic=np.where(random.random(count) < 0.02, -1, cluster % TOPICS),
        cluster=cluster,
        checks=checks,
        brought_by=np.arange(count) * IMPORTS // count,
    )


def _people() -> Dataset:
    """The dataset, its curators and its annotators."""
    dataset = Dataset.objects.create(slug=SLUG, name="The desk")
    for number in range(CURATORS):
        user = User.objects.create_user(username=f"curator-{number}")
        Membership.objects.create(dataset=dataset, user=user, role=Role.CURATOR)
    kinds = [("crowd", Annotator.Kind.SOURCE, CROWD), ("judge", Annotator.Kind.AI, JUDGES)]
    for name, kind, count in [("person", Annotator.Kind.HUMAN, PEOPLE), *kinds]:
        for number in range(count):
            Annotator.objects.create(dataset=dataset, name=f"{name} {number}", kind=kind)
    return dataset


def _imports(dataset: Dataset, drawn: Drawn) -> list[Import]:
    """The files that brought the pairs, a month after one another."""
    counts = np.bincount(drawn.brought_by, minlength=IMPORTS)
    return [
        Import.objects.create(
            dataset=dataset,
            file=f"imports/made-up-{number}",
            file_name=f"part-{number}.jsonl",
            status=work.Work.Status.DONE,
            read=int(count),
            created=int(count),
            queued_at=_days_ago(30 * (IMPORTS - number)),
            finished_at=_days_ago(30 * (IMPORTS - number)),
        )
        for number, count in enumerate(counts)
    ]


def _texts(dataset: Dataset, imports: list[Import], drawn: Drawn, found: list[Base]) -> None:
    """Pairs, their standings, and their words for the search."""
    with _words_of_search() as search:
        made = enumerate(texts(found, len(drawn.preference)))
        while some := list(islice(made, CHUNK)):
            load(PreferencePair, (_pair(dataset, imports, drawn, *each) for each in some))
            load(PairStanding, (_standing(dataset, imports, drawn, *each) for each in some))
            search((number + 1, each.words) for number, each in some)


def _pair(
    dataset: Dataset, imports: list[Import], drawn: Drawn, number: int, made: Texts
) -> dict[str, Any]:
    brought = imports[drawn.brought_by[number]]
    return {
        "id": number + 1,
        "source_id": f"made-up-{number}",
        "source_line": number + 1,
        "digest": sha256(str(number).encode()).hexdigest(),
        "group": sha256(made.prompt.encode()).hexdigest(),
        "prompt": made.prompt,
        "response_a": made.response_a,
        "response_b": made.response_b,
        "is_in_order": True,
        "meta": "{}",
        "source_preference": str(drawn.preference[number]),
        "dataset": dataset.pk,
        "imported_in": brought.pk,
        "created_at": brought.queued_at,
    }


def _standing(
    dataset: Dataset, imports: list[Import], drawn: Drawn, number: int, made: Texts
) -> dict[str, Any]:
    topic = int(drawn.topic[number])
    return {
        "pair": number + 1,
        "dataset": dataset.pk,
        "imported_in": imports[drawn.brought_by[number]].pk,
        "source_preference": str(drawn.preference[number]),
        "origin": str(drawn.origin[number]),
        "turns": made.turns,
        "characters": made.characters,
        "longer_a": made.longer_a,
        "checks": int(drawn.checks[number]),
        "verdict": "",
        "topic": None if topic < 0 else topic,
    }


def _labels(
    dataset: Dataset, imports: list[Import], drawn: Drawn, random: np.random.Generator
) -> None:
    """The source's labels, and what people and AI judges said of some pairs since."""
    known = dict(dataset.annotators.values_list("name", "pk"))
    count = len(drawn.preference)
    brought = [each.pk for each in imports]

    def said(pair: int, annotator: int, preference: str, brought_by: int | None) -> dict[str, Any]:
        return {
            "pair": pair,
            "annotator": annotator,
            "preference": preference,
            "aspects": "{}",
            "spans": "[]",
            "meta": "{}",
            "imported_in": brought_by,
            "created_at": timezone.now(),
        }

    crowd = random.integers(0, CROWD, count)
    load(
        Label,
        (
            said(n + 1, known[f"crowd {crowd[n]}"], str(side), brought[drawn.brought_by[n]])
            for n, side in enumerate(drawn.preference)
            if side
        ),
    )
    for name, annotators, share, most in (("person", PEOPLE, 0.12, 4), ("judge", JUDGES, 0.06, 2)):
        some = np.flatnonzero(
            (random.random(count) < share) & np.isin(drawn.preference, ["a", "b"])
        )
        others = _second_labels(some, drawn, random, annotators, most)
        load(Label, (said(n + 1, known[f"{name} {who}"], side, None) for n, who, side in others))


def _count_voices() -> None:
    """Let the standings say what people and AI judges hold of their pairs."""
    said_since = Label.objects.exclude(annotator__kind=Annotator.Kind.SOURCE).order_by("pair")
    pair_ids = iter(list(said_since.values_list("pair", flat=True).distinct()))
    while ids := list(islice(pair_ids, 5_000)):
        PairStanding.objects.filter(pk__in=ids).count_voices()


def _second_labels(
    some: Ints, drawn: Drawn, random: np.random.Generator, annotators: int, most: int
) -> Iterator[tuple[int, int, str]]:
    """Of each of these pairs one label or several: mostly the right one."""
    for number in some.tolist():
        is_a = (drawn.preference[number] == "a") != drawn.wrong[number]
        for who in random.choice(annotators, random.integers(1, most + 1), replace=False).tolist():
            chance = random.random()
            side = "tie" if chance < 0.05 else "a" if (chance < 0.85) == is_a else "b"
            yield number, who, side


def _score(dataset: Dataset, drawn: Drawn, random: np.random.Generator) -> ScoringRun:
    """A finished run of four members, and the scores that it found."""
    ensemble = Ensemble.objects.create(dataset=dataset, name="made-up", members_count=MEMBERS)
    for position in range(MEMBERS):
        RewardModel.objects.create(
            ensemble=ensemble,
            position=position,
            name=f"member {position + 1}",
            digest="0" * 64,
            file="models/made-up",
        )
    labelled = np.isin(drawn.preference, ["a", "b"])
    count = len(labelled)
    true = random.normal(1.0, 0.8, count) * np.where(drawn.wrong, -1, 1)
    margins = true[:, None] + random.normal(0, 0.7, (count, MEMBERS))
    everybody = np.ones(margins.shape, dtype=np.bool_)
    collected = Collected(list(range(1, count + 1)), margins, everybody, labelled)
    rule = FlagRule()
    found = strengths.find(collected, rule)
    run = ScoringRun.objects.create(
        dataset=dataset,
        ensemble=ensemble,
        mode=Mode.OUT_OF_BAG,
        rule=rule.as_dict(),
        pairs_total=count,
        member_scales=found.scales.tolist(),
        started_at=_days_ago(1),
    )
    found.summary.update(strengths._work_of(run, collected))
    found.summary.update(strengths._confounds(run, collected, found))
    load(PairScore, _scores(run, collected, found))
    ended = {"status": work.Work.Status.DONE, "finished_at": timezone.now()}
    ScoringRun.objects.filter(pk=run.pk).update(summary=found.summary, **ended)
    return ScoringRun.objects.get(pk=run.pk)


def _scores(
    run: ScoringRun, collected: Collected, found: strengths.Found
) -> Iterator[dict[str, Any]]:
    number = strengths._number
    for i, pair_id in enumerate(collected.pair_ids):
        yield {
            "run": run.pk,
            "pair": pair_id,
            "margins": json.dumps([round(each, 6) for each in collected.margins[i].tolist()]),
            "strength": number(found.strength[i]),
            "spread": number(found.spread[i]),
            "votes": number(found.votes[i]),
            "label_probability": number(found.probability[i]),
            "percentile": number(found.percentile[i]),
            "flag": str(found.flags[i]),
        }


def _places(dataset: Dataset, drawn: Drawn, random: np.random.Generator) -> None:
    """Topics, and where each prompt stands among the others."""
    centroids = random.normal(size=(CLUSTERS, WIDTH)).astype(np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    axes = np.eye(WIDTH, dtype=np.float32)
    of_cluster = np.arange(CLUSTERS, dtype=np.int32) % TOPICS
    found = PromptMap(Compression(np.zeros(WIDTH, dtype=np.float32), axes), centroids, of_cluster)
    counts = np.bincount(drawn.topic[drawn.topic >= 0], minlength=TOPICS)
    TopicMap.objects.create(
        dataset=dataset,
        ensemble=Ensemble.objects.get(dataset=dataset),
        topics=[{"number": n, "name": f"topic {n}", "pairs": int(c)} for n, c in enumerate(counts)],
        fitted=found.to_bytes(),
        fitted_pairs=len(drawn.cluster),
        status=work.Work.Status.DONE,
    )

    def rows() -> Iterator[dict[str, Any]]:
        for start in range(0, len(drawn.cluster), CHUNK):
            clusters = drawn.cluster[start : start + CHUNK]
            near = centroids[clusters] + random.normal(0, 0.08, (len(clusters), WIDTH))
            codes = np.rint(127 * near / np.abs(near).max(axis=1, keepdims=True)).astype(np.int8)
            for n, (cluster, code) in enumerate(zip(clusters, codes, strict=True), start + 1):
                code_bytes = code.tobytes()
                yield {
                    "pair": n,
                    "dataset": dataset.pk,
                    "cluster": int(cluster),
                    "code": code_bytes,
                }

    load(PairPlace, rows())


def _decide_one_by_one(dataset: Dataset, random: np.random.Generator) -> None:
    """What people have decided pair by pair in the last three months, most of it on flagged
    pairs."""
    users = list(User.objects.filter(username__startswith="curator-"))
    wanted = int(DECIDED_BY_PEOPLE * dataset.standings.count())
    flagged = list(dataset.standings.filter(flag="flipped").values_list("pk", flat=True))
    others = dataset.standings.filter(flag__gt="").exclude(flag="flipped")
    rest = list(others.order_by("pk").values_list("pk", flat=True)[: 4 * wanted])
    many = min(len(flagged) // 4, 2 * wanted // 3)
    chosen = np.concatenate(
        [random.permutation(flagged)[:many], random.permutation(rest)[: wanted - many]]
    )
    verdicts = random.choice(
        ["keep", "flip", "tie", "drop"], len(chosen), p=[0.5, 0.35, 0.07, 0.08]
    )
    moments = np.sort(random.random(len(chosen)))[::-1] * 90
    load(
        Decision,
        (
            {
                "pair": int(pair),
                "verdict": str(verdict),
                "kind": "person",
                "decided_by": users[n % len(users)].pk,
                "actor": users[n % len(users)].username,
                "reason": "more helpful",
                "evidence": '{"queue":"flipped","seen":true}',
                "created_at": _days_ago(float(days)),
            }
            for n, (pair, verdict, days) in enumerate(zip(chosen, verdicts, moments, strict=True))
        ),
    )
    with connection.cursor() as cursor:
        cursor.execute(STOOD)


def _apply(dataset: Dataset, policy: policies.Policy) -> DecisionBatch:
    row = annotations_launch.start_policy(dataset=dataset, policy=policy, by=None)
    annotations_tasks.decide_batch(batch_id=row.pk)
    row.refresh_from_db()
    if row.status != work.Work.Status.DONE:
        raise SystemExit(f"Batch {row.pk} did not end well: {row.problem}")
    return row


def _count(dataset: Dataset) -> None:
    counting.ask(dataset)
    row = DatasetFigures.objects.filter(dataset=dataset).first()
    if row is not None:  # a small dataset is counted by whoever asks
        work.perform(DatasetFigures, row.pk, counting.run)


# --- Rows in bulk ---------------------------------------------------------------------------------


def load(kind: Any, rows: Iterable[dict[str, Any]]) -> None:
    """Rows of a model by the names of its fields, all with the same ones, copied into its table;
    JSON is given as text. Columns that are left out have defaults in the database."""
    given = iter(rows)
    first = next(given, None)
    if first is None:
        return
    fields = {field.name: field for field in kind._meta.concrete_fields}
    columns = [str(fields[name].column) for name in first]
    filled = {
        str(field.column): field.get_default()
        for field in fields.values()
        if field.name not in first and _needs_value(field)
    }
    values = ([*each.values(), *filled.values()] for each in _with(first, given))
    _copied(kind._meta.db_table, [*columns, *filled], values)


def _needs_value(field: Any) -> bool:
    return not field.null and not field.primary_key and not field.has_db_default()


def _with(first: dict[str, Any], rest: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from rest


def _copied(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    names = ", ".join(map(connection.ops.quote_name, columns))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            return
        places = ", ".join(["%s"] * len(columns))
        statement = f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608 - our own names
        given = iter(rows)
        while some := [[_stored(value) for value in row] for row in islice(given, CHUNK)]:
            cursor.executemany(statement, some)


def _stored(value: Any) -> Any:
    """As Django writes it on SQLite."""
    if isinstance(value, datetime):
        return str(value.astimezone(UTC).replace(tzinfo=None))
    return value


@contextmanager
def _without_checks() -> Iterator[None]:
    """Let PostgreSQL take the rows without looking up what each of them names."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        try:
            yield
        finally:
            cursor.execute("SET session_replication_role = DEFAULT")
            for kind in (PreferencePair, PairStanding, Label, PairScore, Decision):
                cursor.execute("ANALYZE " + connection.ops.quote_name(kind._meta.db_table))
            cursor.execute(
                "SELECT setval(pg_get_serial_sequence('annotations_preferencepair', 'id'),"
                " GREATEST((SELECT MAX(id) FROM annotations_preferencepair), 1))"
            )


@contextmanager
def _words_of_search() -> Iterator[Callable[[Iterable[tuple[int, str]]], None]]:
    """Tell the search of pairs; on PostgreSQL its index is made at the end, which is quicker."""
    if connection.vendor != "postgresql":
        yield lambda rows: _copied("annotations_pairtext", ["rowid", "words"], rows)
        return
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX annotations_pairtext_document")
        cursor.execute("CREATE TEMPORARY TABLE found (pair_id bigint, words text)")

        def add(rows: Iterable[tuple[int, str]]) -> None:
            _copied("found", ["pair_id", "words"], rows)
            cursor.execute(
                "INSERT INTO annotations_pairtext (pair_id, document)"
                " SELECT pair_id, to_tsvector('simple', words) FROM found"
            )
            cursor.execute("TRUNCATE found")

        yield add
        cursor.execute("SET maintenance_work_mem = '512MB'")
        cursor.execute(
            "CREATE INDEX annotations_pairtext_document ON annotations_pairtext"
            " USING gin (document)"
        )


def tidy() -> None:
    """What autovacuum does after large changes, now."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


@contextmanager
def _timed(seconds: Seconds, what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[what] = time.perf_counter() - began
    sys.stderr.write(f"    {what}: {seconds[what]:.1f} s\n")


def _days_ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


# --- What the benchmark asks of it ----------------------------------------------------------------


def prepare() -> None:
    """Sessions of the curators, and what addresses are made of."""
    dataset = Dataset.objects.get(slug=SLUG)
    sample = dataset.standings.order_by("pk").values_list("pk", flat=True)
    every = max(dataset.standings.count() // 50, 1)
    _say(
        {
            "sessions": [_session(user) for user in _curators()],
            "pairs": list(sample[::every]),
            "places": {name: places(dataset, name) for name in ORDERS},
            "snapshots": list(
                dataset.snapshots.order_by("number").values_list("number", flat=True)
            ),
            "view": dataset.views.values_list("pk", flat=True).first(),
            "since": _days_ago(45).date().isoformat(),
        }
    )


def places(dataset: Dataset, order: str) -> list[str]:
    """Cursors deep in the list of all pairs: after a tenth, a half and nine tenths of those that
    have what it is ordered by."""
    asked = ORDERS[order]
    column = asked.column
    rows = dataset.standings.filter(**{f"{column}__isnull": False})
    count = rows.count()
    found = rows.order_by(f"{asked.sign}{column}", f"{asked.sign}pair")
    wanted = [int(count * share) for share in (0.1, 0.5, 0.9)]
    return [_cursor(*found.values_list(column, "pk")[n]) for n in wanted if n < count]


def _cursor(value: Any, pair_id: int) -> str:
    written = value.isoformat() if isinstance(value, datetime) else repr(value)
    return f"{written}_{pair_id}"


def batch(batch_id: int) -> None:
    """How a batch ended."""
    row = DecisionBatch.objects.get(pk=batch_id)
    _say(
        {
            "status": row.status,
            "problem": row.problem,
            "seconds": row.seconds,
            "decided": row.decided,
            "total": row.total,
        }
    )


def digest() -> None:
    """Of where all pairs stand: the same before a batch and after its undo."""
    said = sha256()
    rows = Dataset.objects.get(slug=SLUG).standings.order_by("pk")
    columns = ("pk", "verdict", "decided_by", "decided_at", "put_forward_by")
    for row in rows.values_list(*columns).iterator(chunk_size=10_000):
        said.update(repr(row).encode())
    _say({"digest": said.hexdigest()})


def queries(addresses: Sequence[str]) -> None:
    """How many queries a curator's page at each of these addresses takes, once it is warm."""
    settings.ALLOWED_HOSTS = ["*"]
    client = Client()
    client.force_login(_curators()[0], backend=BACKEND)
    found = {}
    for address in addresses:
        client.get(address)
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(address)
        found[address] = len(captured) if answer.status_code == 200 else -answer.status_code
    _say({"queries": found})


def tidied() -> None:
    """Between two batches."""
    tidy()
    _say({})


def _curators() -> list[User]:
    return list(User.objects.filter(username__startswith="curator-").order_by("pk"))


def _session(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = BACKEND
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def _say(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
