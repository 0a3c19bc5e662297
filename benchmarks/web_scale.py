"""The curator's desk over 10,000 to 1,000,000 pairs: how long its pages take, and its bulk work.

    python -m benchmarks.web_scale [--sizes 10000,100000,1000000]
                                   [--database sqlite|postgresql|both]
                                   [--quick] [--keep DIR] [--json PATH]

Each size is an installation of its own: on SQLite what `manage.py dev` starts, on PostgreSQL and
Redis what docs/operations.md does. One curator asks over HTTP, one request after the other, each
with other values than the last, so that neither a cache nor a lucky plan flatters a page; the first
requests only warm the processes up. A target is for the 95th percentile.

DATABASE_URL and REDIS_URL name a PostgreSQL server, on which a database is made for each size, and
a broker; without them both are started from the installed binaries. `--keep DIR` leaves what was
built for the next time, on PostgreSQL together with DATABASE_URL.
"""

import argparse
import html
import http.client
import json
import os
import re
import shutil
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from benchmarks.annotate_load import Services, wait_for_web, wait_for_workers, web, worker
from benchmarks.measuring import DATA, BenchmarkError, Installation, Memory
from benchmarks.reporting import Report, Row, say
from curator.lib.ports import first_free
from tests.services import MissingService, postgresql, redis

SIZES = (10_000, 100_000, 1_000_000)
QUICK = (2_000,)
SOURCE = DATA / "pairs" / "hh_rlhf.jsonl.gz"
AT = "/datasets/desk/"
FIRST_PORT = 18800
LONGEST_REQUEST = 300.0
LONGEST_BATCH = 3600.0
POLL = 0.5  # seconds between two looks at a batch, as its page has it
WARM_UP = 6
REQUESTS, FEW = 40, 12
MANY = 100_000  # pairs decided in bulk

OVERVIEW, PAGE, FACETS, SEARCH, NEXT, PREVIEW = 300.0, 150.0, 1000.0, 500.0, 50.0, 3000.0  # ms
BULK = 20.0  # seconds
WEB = 250.0  # MB

ORDERS = (
    *("strength", "-strength", "spread", "-spread", "decided", "-decided"),
    *("characters", "-characters", "imported", "-imported"),
)
FILTERS: Mapping[str, Sequence[str]] = {
    "no filter": [""],
    "one flag": [f"flag={flag}" for flag in ("flipped", "ambiguous", "clear", "strong")],
    "without a label, not scored": ["flag=none", "flag=unscored"],
    "two flags": ["flag=flipped&flag=ambiguous", "flag=clear&flag=strong"],
    "rare combination": [
        "flag=strong&check=identity&origin=a+partner",
        "flag=clear&check=api_error&turns_from=5",
    ],
    "text and flag": [
        "text=people&flag=flipped",
        "text=quokka&flag=clear",
        "text=zeppelin&flag=strong",
    ],
    "range of spread": ["spread_from=0.3&spread_to=0.5", "spread_from=1.4", "spread_to=0.1"],
    "range of strength": ["strength_from=0.2&strength_to=0.25", "strength_below=-2.2"],
    "people against": ["people=against", "people_against_from=2", "people=divided"],
    "AI judges against": ["ai_against_from=2", "ai_against_from=1&flag=clear"],
    "check": ["check=api_error", "check=cut_off", "check=identity&check=prefix"],
    "origin": ["origin=a+partner", "origin=arena", "origin=hh+%2F+helpful-base"],
    "topic": ["topic=3", "topic=11", "topic=none"],
    "date": ["imported_from={since}", "decided_from={since}"],
    "decision": ["status=flip", "status=undecided", "decided_by=policy", "status=decided"],
    "probability": ["label_probability_below=0.02", "percentile_from=0.99", "votes_to=0"],
    "length": ["characters_to=150", "longer_from=300", "turns_from=9"],
    "annotator": ["annotator=judge+0", "annotator=crowd+3"],
    "nothing passes": ["strength_from=50", "label_probability_below=0&flag=strong"],
}
SEARCHES: Mapping[str, Sequence[str]] = {
    "a common word": ["the", "you", "people"],
    "a rare word": ["quokka", "marmalade", "zeppelin"],
    "a phrase": ['"do you know"', '"i don t"', '"a lot of"'],
    "a word without another": ["people -you", "marmalade -the"],
    "no hit": ["xylophonist", '"quokka xylophonist"', "zzz"],
}
FACETED = ("", "flag=flipped", "text=people", "text=quokka", "spread_from=0.3&spread_to=0.5")
QUEUES = (
    *("flipped", "ambiguous", "disputed", "put-forward", "all", "view-{view}"),
    *("list&flag=flipped&check=cut_off", "list&origin=a+partner&order=-spread"),
)
PRESETS = (
    *("review-first", "conservative", "paper-flip-bottom-10", "paper-soft-labels"),
    "remove-suspects",
)
CUSTOM: Mapping[str, Any] = {
    "name": "five rules",
    "rules": [
        {
            "when": [{"field": "checks", "has": ["identical", "api_error"]}],
            "then": {"action": "drop"},
        },
        {
            "when": [
                {"field": "flag", "is": "flipped"},
                {"field": "people_against", "at_least": 2},
                {"field": "people_for", "at_most": 0},
            ],
            "then": {"action": "flip"},
        },
        {
            "when": [
                {"field": "label_probability", "below": 0.2},
                {"any": [{"field": "turns", "at_least": 3}, {"field": "origin", "is": "arena"}]},
            ],
            "then": {"action": "soften", "probability": "calibrated"},
        },
        {
            "when": [{"field": "people", "is": "divided"}, {"field": "spread", "above": 0.5}],
            "then": {"action": "queue"},
        },
        {"when": [{"field": "flag", "is": "strong"}], "then": {"action": "keep"}},
    ],
}
MADE_READY = (
    "from django.core.management import call_command as call; call('migrate', verbosity=0); "
    "call('collectstatic', interactive=False, verbosity=0)"
)
KEEP_ALL: Mapping[str, Any] = {
    "name": "keep every label",
    "rules": [{"when": [], "then": {"action": "keep"}}],
}


Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """What the server said, and how long it took."""

    status: int
    text: str
    location: str
    refreshes: bool  # whether it asks the page to be loaded anew
    milliseconds: float


@dataclass
class Visitor:
    """A signed-in curator's browser, without scripts."""

    port: int
    cookies: dict[str, str]
    token: str = ""

    def get(self, address: str, *, fragment: bool = False) -> Answer:
        return self._ask("GET", address, None, fragment=fragment)

    def post(
        self, address: str, fields: Mapping[str, str] | Fields, *, fragment: bool = False
    ) -> Answer:
        pairs = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
        body = urllib.parse.urlencode([*pairs, ("csrfmiddlewaretoken", self.token)])
        return self._ask("POST", address, body, fragment=fragment)

    def _ask(self, method: str, address: str, body: str | None, *, fragment: bool) -> Answer:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if fragment:
            headers["HX-Request"] = "true"
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONGEST_REQUEST)
        try:
            connection.request(method, address, body, headers)
            given = connection.getresponse()
            text = given.read().decode()
        finally:
            connection.close()
        took = (time.perf_counter() - began) * 1000
        for cookie in given.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        token = hidden(text, "csrfmiddlewaretoken")
        self.token = token or self.token
        location = given.headers.get("Location") or ""
        if given.status >= 400 or location.startswith("/sign-in/"):
            raise BenchmarkError(f"{method} {address}: {given.status} {given.reason} {location}")
        return Answer(given.status, text, location, "HX-Refresh" in given.headers, took)


def hidden(text: str, name: str) -> str:
    """The value of a field of a form."""
    found = re.search(rf'name="{name}"\s+value="([^"]*)"', text)
    return html.unescape(found[1]) if found else ""


@dataclass
class Desk:
    """A served installation with its dataset, and what was measured of it."""

    database: str
    size: int
    curator: Installation
    visitor: Visitor
    known: Mapping[str, Any]  # what addresses are made of
    memory: Memory
    measured: list["Measured"] = field(default_factory=list)

    def scene(self, call: str) -> dict[str, Any]:
        return scene(self.curator, call)

    def add(self, name: str, value: float | None, unit: str, **more: Any) -> None:
        self.measured.append(Measured(self.database, self.size, name, value, unit, **more))

    def visit(
        self,
        name: str,
        addresses: Sequence[str],
        target: float | None = None,
        *,
        requests: int = REQUESTS,
        fragment: bool = False,
    ) -> None:
        """Ask for the addresses in turn, so many times in all."""
        self.time(
            name,
            [partial(self.visitor.get, at, fragment=fragment) for at in addresses],
            target,
            requests=requests,
            named=addresses,
        )

    def time(
        self,
        name: str,
        asks: Sequence[Callable[[], Answer]],
        target: float | None,
        *,
        requests: int = REQUESTS,
        named: Sequence[str] = (),
    ) -> None:
        """The 95th percentile of the requests, which are made in turn."""
        for ask in islice(cycle(asks), min(WARM_UP, len(asks) * 2)):
            ask()
        count = max(requests, len(asks))
        took = [ask().milliseconds for ask in islice(cycle(asks), count)]
        ordered = sorted(took)
        slowest = took.index(ordered[-1]) % len(asks)
        where = f", {named[slowest].removeprefix(AT)}" if len(named) > 1 else ""
        note = f"median {ordered[count // 2]:.0f}, slowest {ordered[-1]:.0f} of {count}{where}"
        p95 = ordered[min(int(0.95 * count), count - 1)]
        self.add(name, p95, "ms", target=target, note=note)
        say(f"    {name}: {p95:.0f} ms ({note})")


@dataclass(frozen=True)
class Measured:
    """One figure of one size."""

    database: str
    size: int
    name: str
    value: float | None
    unit: str
    target: float | None = None
    note: str = ""
    smaller_is_better: bool = True

    def row(self, smallest: "Measured | None") -> Row:
        return Row(
            f"{self.database}, {self.size:,} pairs: {self.name}",
            self.value,
            self.unit,
            target=self.target,
            baseline=smallest.value if smallest else None,
            smaller_is_better=self.smaller_is_better,
            note=self.note,
        )


def main() -> None:
    options = _options()
    sizes = QUICK if options.quick else [int(each) for each in options.sizes.split(",")]
    kinds = ["sqlite", "postgresql"] if options.database == "both" else [options.database]
    report = Report("web_scale", baseline=f"at {sizes[0]:,}")
    if not SOURCE.exists():
        report.skip(f"real texts, because {SOURCE} is absent: words are made up.")
    found: list[Measured] = []
    for kind in kinds:
        try:
            with ExitStack() as stack:
                urls = servers(stack) if kind == "postgresql" else None
                for size in sizes:
                    found += measure(kind, size, options.keep, urls)
        except MissingService as missing:
            report.skip(str(missing))
    smallest = {(one.database, one.name): one for one in reversed(found) if one.size == sizes[0]}
    report.rows = [
        one.row(smallest.get((one.database, one.name)) if one.size != sizes[0] else None)
        for one in found
    ]
    if options.quick:
        report.skip("all but a small dataset: these figures only show that everything works.")
    report.show(options.json)
    for kind in kinds:
        print_growth([one for one in found if one.database == kind])


def measure(
    kind: str, size: int, keep: Path | None, urls: tuple[str, str] | None
) -> list[Measured]:
    """Build the dataset unless it is there, serve it, and ask for everything."""
    say(f"{kind}, {size:,} pairs:")
    with ExitStack() as stack:
        curator = stack.enter_context(installed(kind, size, keep, urls))
        built = scene(curator, f"build({size}, {str(SOURCE)!r})")["seconds"]
        known = scene(curator, "prepare()")
        desk = stack.enter_context(served(kind, size, curator, known))
        for name, seconds in built.items():
            desk.add(f"building: {name}", seconds, "s")
        pages(desk)
        review(desk)
        proposals(desk)
        exports(desk)
        queries(desk)
        many(desk)
        desk.memory.look()
        peak = desk.memory.largest.get("web")
        desk.add("a web process at most", peak and peak / 1e6, "MB", target=WEB)
        return desk.measured


# --- Pages ----------------------------------------------------------------------------------------


def pages(desk: Desk) -> None:
    pairs = desk.known["pairs"]
    desk.visit("overview", [AT], OVERVIEW)
    for name, queries in FILTERS.items():
        desk.visit(f"list, {name}", listed(desk, queries), PAGE)
    faceted = [f"{AT}pairs/facets/?{query}" for query in FACETED]
    desk.visit("facets", faceted, FACETS, fragment=True)
    for name, texts in SEARCHES.items():
        found = [f"{AT}pairs/?{urllib.parse.urlencode({'text': text})}" for text in texts]
        desk.visit(f"search, {name}", found, SEARCH)
    desk.visit("a pair beside the list", [f"{AT}pairs/{pk}/panel/" for pk in pairs], fragment=True)
    desk.visit("similar pairs", [f"{AT}pairs/{pk}/similar/" for pk in pairs], fragment=True)
    first = desk.visitor.get(f"{AT}snapshots/2/changes/1/").milliseconds
    desk.add("changes between two snapshots, the first time", first, "ms")
    kinds = [f"{AT}snapshots/2/changes/1/?kind={kind}" for kind in ("verdict", "label", "again")]
    desk.visit("changes between two snapshots", kinds)
    now = desk.visitor.get(f"{AT}snapshots/now/changes/1/").milliseconds
    desk.add("changes since a snapshot, the first time", now, "ms")
    desk.visit("a snapshot", [f"{AT}snapshots/{number}/" for number in (1, 2)])
    groups = ("", "?group=decisions", "?group=snapshots", "?group=imports")
    desk.visit("activity", [f"{AT}activity/{group}" for group in groups])
    desk.visit("evidence", [f"{AT}evidence/"])


def listed(desk: Desk, queries: Sequence[str]) -> list[str]:
    """The filter in every order, its first page and one from deep in the list."""
    found = []
    values = cycle(queries)
    for order in ORDERS:
        for cursor in ("", *desk.known["places"][order]):
            query = next(values).format(**desk.known)
            after = f"&{urllib.parse.urlencode({'after': cursor})}" if cursor else ""
            found.append(f"{AT}pairs/?{query}&order={order}{after}")
    Random(0).shuffle(found)  # noqa: S311 - the order of requests
    return found


def review(desk: Desk) -> None:
    """The next pair of each queue, and the next after a decision."""
    for queue in QUEUES:
        name = queue.format(**desk.known)
        desk.visit(f"next pair, {name}", [f"{AT}review/?queue={name}"], NEXT)
    desk.visit("the pair ahead", [f"{AT}pairs/{pk}/ahead/?queue=all" for pk in desk.known["pairs"]])
    queue = "queue=flipped"
    shown = desk.visitor.get(f"{AT}review/?{queue}").text

    def decide() -> Answer:
        nonlocal shown
        pair = re.search(rf"{AT}pairs/(\d+)/decide/", shown)
        if pair is None:
            raise BenchmarkError("The queue of the likely flipped ended.")
        fields = {"verdict": "keep", "based_on": hidden(shown, "based_on")}
        at = f"{AT}pairs/{pair[1]}/decide/?{queue}"
        answer = desk.visitor.post(at, fields, fragment=True)
        shown = answer.text
        return answer

    desk.time("decide, and the next pair", [decide], NEXT)


def proposals(desk: Desk) -> None:
    """What policies would do."""
    policies = {name: preset(desk, name) for name in PRESETS} | {"five rules": json.dumps(CUSTOM)}
    for name, policy in policies.items():
        fields = {"json": policy, "json-was": ""}

        ask = partial(desk.visitor.post, fields=fields, fragment=True)
        for part, target in (("preview", PREVIEW), ("examples", None)):
            at = f"{AT}policies/{part}/"
            desk.time(f"{part}, {name}", [partial(ask, at)], target, requests=FEW)


def preset(desk: Desk, name: str) -> str:
    """The preset as its editor writes it."""
    page = desk.visitor.get(f"{AT}policies/new/?preset={name}").text
    found = re.search(r'<textarea id="policy-json"[^>]*>(.*?)</textarea>', page, re.S)
    if found is None:
        raise BenchmarkError(f"The editor of {name} shows no JSON.")
    return html.unescape(found[1])


def exports(desk: Desk) -> None:
    """The ids of a filter's pairs as a file."""
    for name, query in (("txt", ""), ("csv", "flag=clear")):
        answer = desk.visitor.get(f"{AT}pairs/ids.{name}?{query}")
        lines = answer.text.count("\n")
        rate = lines / answer.milliseconds * 1000
        note = f"{lines:,} in {answer.milliseconds / 1000:.1f} s"
        desk.add(f"ids as {name}", rate, "ids/s", note=note, smaller_is_better=False)


def queries(desk: Desk) -> None:
    """Queries of pages, which must not grow with the pairs."""
    pair = desk.known["pairs"][len(desk.known["pairs"]) // 2]
    asked = {
        "overview": AT,
        "list": f"{AT}pairs/?flag=flipped",
        "list, search": f"{AT}pairs/?text=people",
        "facets": f"{AT}pairs/facets/?flag=flipped",
        "a pair": f"{AT}pairs/{pair}/",
        "next pair": f"{AT}review/?queue=flipped",
        "similar pairs": f"{AT}pairs/{pair}/similar/",
        "bulk": f"{AT}pairs/decide/?flag=flipped",
        "policies": f"{AT}policies/",
        "changes between two snapshots": f"{AT}snapshots/2/changes/1/",
        "activity": f"{AT}activity/",
        "evidence": f"{AT}evidence/",
    }
    found = desk.scene(f"queries({list(asked.values())!r})")["queries"]
    for name, address in asked.items():
        if found[address] < 0:
            raise BenchmarkError(f"{address} answers {-found[address]}.")
        desk.add(f"queries: {name}", found[address], "queries")


# --- Work on many pairs ---------------------------------------------------------------------------


def many(desk: Desk) -> None:
    """Decide many pairs at once and take it back, in bulk and by a policy."""
    share = 1.02 * MANY / desk.size
    query = f"percentile_below={share}" if share < 1 else "flag_not=unscored"
    before = desk.scene("digest()")["digest"]
    work(desk, "bulk decision", lambda: in_bulk(desk, query), BULK)
    desk.scene("tidied()")
    work(desk, "policy on every pair", lambda: by_policy(desk), None)
    after = desk.scene("digest()")["digest"]
    desk.add("datasets changed by both and their undo", float(before != after), "pairs", target=0)


def work(desk: Desk, name: str, start: Callable[[], int], target: float | None) -> None:
    batch = start()
    done = followed(desk, batch)
    at = f"{AT}batches/{batch}/undo/"
    desk.visitor.get(at)
    undo = followed(desk, number_in(desk.visitor.post(at, {"reason": ""})))
    for what, found in ((name, done), (f"{name}, its undo", undo)):
        note = f"{found['decided']:,} decisions, {found['looks']} looks at its page"
        desk.add(what, found["seconds"], "s", target=target, note=note)
        say(f"    {what}: {found['seconds']:.1f} s ({note})")


def in_bulk(desk: Desk, query: str) -> int:
    fields = [*urllib.parse.parse_qsl(query), ("verdict", "keep"), ("reason", "measured")]
    at = f"{AT}pairs/decide/"
    desk.visitor.get(f"{at}?{query}")
    preview = desk.visitor.post(at, [*fields, ("do", "preview")])
    desk.add("bulk decision, its preview", preview.milliseconds, "ms", target=PREVIEW)
    shown = hidden(preview.text, "shown")
    return number_in(desk.visitor.post(at, [*fields, ("do", "confirm"), ("shown", shown)]))


def by_policy(desk: Desk) -> int:
    kept = desk.visitor.post(
        f"{AT}policies/new/", {"json": json.dumps(KEEP_ALL), "json-was": "", "do": "apply"}
    )
    shown = hidden(desk.visitor.get(kept.location).text, "shown")
    return number_in(desk.visitor.post(kept.location, {"shown": shown, "reason": ""}))


def number_in(answer: Answer) -> int:
    """The batch that the answer leads to."""
    found = re.search(r"/batches/(\d+)/", answer.location)
    if found is None:
        raise BenchmarkError(f"No batch was started ({answer.status}).")
    return int(found[1])


def followed(desk: Desk, batch: int) -> dict[str, Any]:
    """How the batch ended, its page being looked at meanwhile."""
    deadline, looks = time.monotonic() + LONGEST_BATCH, 0
    while not desk.visitor.get(f"{AT}batches/{batch}/", fragment=True).refreshes:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"Batch {batch} does not end.")
        looks += 1
        time.sleep(POLL)
    found = desk.scene(f"batch({batch})")
    if found["status"] != "done":
        raise BenchmarkError(f"Batch {batch} failed: {found['problem']}")
    return {**found, "looks": looks}


# --- Installations --------------------------------------------------------------------------------


def scene(curator: Installation, call: str) -> dict[str, Any]:
    """What a function of `desk_scene` finds."""
    printed = curator.ask(f"from benchmarks import desk_scene as s; s.{call}")
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def servers(stack: ExitStack) -> tuple[str, str]:
    """A PostgreSQL server and a broker."""
    database = os.environ.get("DATABASE_URL") or stack.enter_context(postgresql(is_durable=True))
    return database, os.environ.get("REDIS_URL") or stack.enter_context(redis())


@contextmanager
def installed(
    kind: str, size: int, keep: Path | None, urls: tuple[str, str] | None
) -> Iterator[Installation]:
    """An installation for one size, migrated."""
    home = Path(tempfile.mkdtemp(prefix="curator-benchmark-"))
    if keep is not None:
        home = keep / f"{kind}-{size}"
        home.mkdir(parents=True, exist_ok=True)
    try:
        if urls is None:
            curator: Installation = Installation(home)
        else:
            curator = Services(home, database_for(urls[0], size), urls[1])
        curator.ask(MADE_READY)
        yield curator
    finally:
        if keep is None:
            shutil.rmtree(home, ignore_errors=True)


def database_for(server: str, size: int) -> str:
    """A database of its own on the server; made unless it is there."""
    name = f"curator_web_scale_{size}"
    with psycopg.connect(server, autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if known.fetchone() is None:
            connection.execute(f'CREATE DATABASE "{name}"')
    return urllib.parse.urlsplit(server)._replace(path=f"/{name}").geturl()


@contextmanager
def served(kind: str, size: int, curator: Installation, known: Mapping[str, Any]) -> Iterator[Desk]:
    """The installation's web server and workers beside us."""
    with ExitStack() as stack:
        if isinstance(curator, Services):
            stack.enter_context(curator.process("default", *worker("default")))
            stack.enter_context(curator.process("scoring", *worker("scoring")))
            port = first_free(FIRST_PORT)
            stack.enter_context(curator.process("web", *web(port)))
            memory = stack.enter_context(Memory(os.getpid()))
            wait_for_workers(curator)
        else:
            running = stack.enter_context(curator.serving())
            port, memory = int(running.base.rpartition(":")[2]), running.memory
        wait_for_web(port)
        visitor = Visitor(port, {"sessionid": known["sessions"][0]})
        yield Desk(kind, size, curator, visitor, known, memory)


# --- Reports --------------------------------------------------------------------------------------


def print_growth(found: Sequence[Measured]) -> None:
    """A line for each figure, a column for each size."""
    sizes = sorted({one.size for one in found})
    by_name: dict[str, dict[int, Measured]] = {}
    for one in found:
        by_name.setdefault(one.name, {})[one.size] = one
    if not found or len(sizes) < 2:
        return
    print(f"\n{found[0].database}:\n")
    widest = max(map(len, by_name))
    print(" " * widest, *(f"{size:>12,}" for size in sizes), "  target")
    for name, by_size in by_name.items():
        cells = [_cell(by_size.get(size)) for size in sizes]
        target = next(iter(by_size.values())).target
        print(name.ljust(widest), *cells, f"  {'' if target is None else f'{target:g}'}".rstrip())


def _cell(one: Measured | None) -> str:
    if one is None or one.value is None:
        return f"{'–':>12}"
    digits = 1 if one.unit == "s" else 0
    return f"{one.value:,.{digits}f} {one.unit}".rjust(12)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.web_scale", description="The desk over many pairs."
    )
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), metavar="N,N,…")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--quick", action="store_true", help="a small dataset: whether it works")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave what was built here")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures here as well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
