"""Annotators label at once over HTTP while imports and scoring runs go on: how long the next pair
and a vote take, and whether any answer is lost, doubled or one too many.

    python -m benchmarks.annotate_load [--quick] [--json PATH]

The server is the product's own: gunicorn as docs/operations.md starts it, on PostgreSQL and Redis,
with ordinary durability. DATABASE_URL and REDIS_URL name an empty database and a broker that may be
written to; without them, both are started from the installed binaries on free loopback ports.

200 simulated annotators think for 5 to 15 seconds between two requests, evenly; people take several
times as long, so they stand for several times as many. Each opens the label page, answers so many
pairs as the page does with htmx (the answer to a vote is the next pair), autosaves a draft before
every fifth answer, clicks twice at every fiftieth, skips some, and opens the page anew after every
fifth. First with nothing else going on, then while, over and over, fresh pairs are imported into
the same dataset and a run embeds them, scores all pairs and orders the rounds anew. All of it, the
annotators too, runs on the machine that is measured.
"""

import http.client
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring import DATA, REPOSITORY, BenchmarkError, Installation, Others
from benchmarks.reporting import Report, Row, options_of, say
from curator.lib.ports import first_free
from tests.services import MissingService, postgresql, redis

SLUG = "labelled"
TARGET = 100.0  # ms at the 95th percentile
LABELS = 3
FIRST_PORT = 18700
LONGEST_START = 180.0
LONGEST_REQUEST = 60.0
SLICE = 1000  # fresh pairs of each import beside the load
CHOICES = ("first", "second", "tie", "both_bad", "skip")
WEIGHTS = (40, 40, 8, 6, 6)
DRAFT_EVERY, RELOAD_EVERY, TWICE_EVERY = 5, 5, 50
KINDS = {"page": "the label page", "vote": "a vote and the next pair", "draft": "a draft"}


@dataclass(frozen=True)
class Load:
    """How many annotators answer how many pairs each, and how long they think."""

    people: int
    votes: int
    think: tuple[float, float]


FULL = Load(people=200, votes=12, think=(5.0, 15.0))
QUICK = Load(people=20, votes=4, think=(0.2, 0.6))


@dataclass(frozen=True)
class Services(Installation):
    """A Curator on PostgreSQL and Redis."""

    database_url: str
    redis_url: str

    @property
    def environment(self) -> dict[str, str]:
        own = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        return super().environment | own | {"LOG_LEVEL": "WARNING"}

    def call(self, *arguments: str) -> None:
        """A command of Django's own, which prints no JSON."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchmarkError(f"{arguments[0]} failed:\n{done.stderr[-2000:]}")

    def scene(self, call: str) -> dict[str, Any]:
        """What a function of `labelling_scene` finds."""
        printed = self.ask(f"from benchmarks import labelling_scene as s; s.{call}")
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return found

    @contextmanager
    def process(self, name: str, *command: str) -> Iterator[None]:
        """A process of the product beside us, stopped afterwards."""
        log = self.home / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=REPOSITORY,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,  # as the supervisor and service managers do
            )
        try:
            yield
            if process.poll() is not None:
                raise BenchmarkError(f"{name} died:\n{log.read_text()[-2000:]}")
        finally:
            process.terminate()
            try:
                process.wait(LONGEST_START)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main() -> None:
    options = options_of("annotate_load", __doc__ or "")
    load = QUICK if options.quick else FULL
    name = "vicuna80" if options.quick else "hh_rlhf"
    source = DATA / "pairs" / f"{name}.jsonl.gz"
    report = Report("annotate_load", baseline="nothing else")
    try:
        with ExitStack() as stack:
            curator = stack.enter_context(services())
            measure(report, curator, load, source, is_quick=options.quick)
    except MissingService as missing:
        report.skip(str(missing))
    report.show(options.json)


def measure(report: Report, curator: Services, load: Load, source: Path, *, is_quick: bool) -> None:
    say("A Curator on PostgreSQL and Redis:")
    curator.call("migrate", "--verbosity", "0")
    curator.call("collectstatic", "--no-input", "--verbosity", "0")
    with ExitStack() as stack:
        for queue in ("default", "scoring"):
            stack.enter_context(curator.process(queue, *worker(queue)))
        wait_for_workers(curator)
        curator.run("import_pairs", source, "--dataset", SLUG)
        curator.run("train_ensemble", SLUG, "--name", "heads", "--members", 4)
        people = curator.scene(f"prepare({SLUG!r}, {load.people}, {LABELS})")["people"]
        port = first_free(FIRST_PORT)
        stack.enter_context(curator.process("web", *web(port)))
        wait_for_web(port)
        warm_up(port, people)
        say(f"{load.people} annotators, nothing else going on:")
        alone = run(port, people, load)
        say(f"{load.people} annotators, imports and scoring runs beside them:")
        with beside(curator) as done:
            busy = run(port, people, load)
        log = curator.home / "answers.jsonl"
        log.write_text("".join(json.dumps(one) + "\n" for one in alone.answers + busy.answers))
        found = curator.scene(f"check({str(log)!r})")
    report.rows += rows(alone, busy, found, done)
    if is_quick:
        report.skip("200 annotators; these figures only show that everything works.")


def rows(alone: "Run", busy: "Run", found: dict[str, Any], done: dict[str, int]) -> list[Row]:
    took = []
    for kind, words in KINDS.items():
        for share, name in ((0.5, "median"), (0.95, "p95"), (1.0, "max")):
            target = TARGET if name == "p95" and kind != "draft" else None
            note = f"{len(busy.took[kind]):,} requests" if name == "median" else ""
            took.append(
                Row(
                    f"{words}: {name}",
                    busy.quantile(kind, share),
                    "ms",
                    target=target,
                    baseline=alone.quantile(kind, share),
                    smaller_is_better=True,
                    note=note,
                )
            )
    kept = f"{found['kept']:,} answers were taken, {found['labels']:,} labels are there"
    none = [
        ("answers lost", found["lost"], kept),
        ("answers doubled", found["doubled"] + abs(found["labels"] - found["kept"]), ""),
        ("pairs put to one person twice", found["same_pair_twice"], ""),
        ("labels more than were asked for", found["overshoot"], ""),
        ("places miscounted", found["miscounted"], ""),
        ("requests that failed", len(alone.failed) + len(busy.failed), _first(alone, busy)),
    ]
    return [
        *took,
        Row("votes", busy.rate, "votes/s", baseline=alone.rate, note=busy.words(done)),
        Row(
            "processors taken by other programs",
            busy.others,
            baseline=alone.others,
            note="the rest of this table waited for them",
        ),
        *(
            Row(case, number, "", target=0, smaller_is_better=True, note=note)
            for case, number, note in none
        ),
    ]


def _first(*runs: "Run") -> str:
    failed = [one for run in runs for one in run.failed]
    return failed[0][:60] if failed else ""


# --- The annotators -------------------------------------------------------------------------------


@dataclass
class Run:
    """What all annotators of a run saw: milliseconds by kind of request, answers, and what
    failed."""

    took: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    answers: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    others: float | None = None  # share of the processors that programs other than ours took

    def quantile(self, kind: str, share: float) -> float | None:
        values = sorted(self.took[kind])
        return values[min(int(share * len(values)), len(values) - 1)] if values else None

    @property
    def rate(self) -> float:
        return len(self.took["vote"]) / self.seconds if self.seconds else 0.0

    def words(self, done: dict[str, int]) -> str:
        return f"meanwhile {done['imports']} imports, {done['runs']} runs, {done['pairs']:,} pairs"


@dataclass
class Person:
    """One simulated annotator: a browser without scripts that knows the label page."""

    port: int
    number: int
    session: str
    run: Run
    random: random.Random
    cookies: dict[str, str] = field(default_factory=dict)
    page: str = ""

    def work(self, load: Load) -> None:
        """Label as many pairs as the load says, or until none is left."""
        self.cookies["sessionid"] = self.session
        time.sleep(self.random.uniform(0, load.think[1]))
        try:
            self.open()
            for number in range(1, load.votes + 1):
                time.sleep(self.random.uniform(*load.think))
                if self.lease is None:
                    return
                if number % DRAFT_EVERY == 0:
                    self.ask("draft", f"{self.lease}/draft/", {"rationale": "Because of the way"})
                self.vote(twice=self.random.randrange(TWICE_EVERY) == 0)
                if number % RELOAD_EVERY == 0:
                    self.open()
        except (OSError, http.client.HTTPException) as error:
            self.run.failed.append(f"{type(error).__name__}: {error}")

    def open(self) -> None:
        answer = self.ask("page", "", None)
        if answer is not None:
            self.page = answer

    def vote(self, *, twice: bool) -> None:
        lease = self.lease
        choice = self.random.choices(CHOICES, WEIGHTS)[0]
        entered = {"choice": choice, "based_on": self.field("based_on"), "seconds": "9.5"}
        if choice == "skip":
            entered["skip_reason"] = "unsure"
        elif choice in ("first", "second"):
            entered["strength"] = str(self.random.randint(1, 3))
        second = threading.Thread(target=self.ask, args=("vote", f"{lease}/vote/", entered))
        if twice:
            second.start()
        answer = self.ask("vote", f"{lease}/vote/", entered)
        if twice:
            second.join()
        is_kept = answer is not None and 'role="alert"' not in answer
        self.run.answers.append(
            {"annotator": self.number, "lease": lease, "choice": choice, "kept": is_kept}
        )
        if answer is not None:
            self.page = answer

    @property
    def lease(self) -> int | None:
        found = re.search(r"/label/(\d+)/vote/", self.page)
        return int(found[1]) if found else None

    def field(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.page)
        return found[1] if found else ""

    def ask(self, kind: str, path: str, entered: dict[str, str] | None) -> str | None:
        """The body of the answer, None when it is none that the page could use."""
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        body = None
        if entered is not None:
            entered = {**entered, "csrfmiddlewaretoken": self.field("csrfmiddlewaretoken")}
            body = urllib.parse.urlencode(entered)
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "HX-Request": "true"}
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONGEST_REQUEST)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, f"/datasets/{SLUG}/label/{path}", body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        self.run.took[kind].append((time.perf_counter() - began) * 1000)
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        if answer.status not in (200, 204):
            self.run.failed.append(f"{kind}: {answer.status} {answer.reason}")
            return None
        return text


def run(port: int, people: Sequence[dict[str, str]], load: Load) -> Run:
    """Everybody labels at once; what they saw."""
    found = Run()
    threads = [
        threading.Thread(target=person(port, number, one, found).work, args=(load,))
        for number, one in enumerate(people)
    ]
    began, others = time.perf_counter(), Others()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.seconds, found.others = time.perf_counter() - began, others.share()
    return found


def warm_up(port: int, people: Sequence[dict[str, str]]) -> None:
    """Templates are read and connections opened by the first requests, which are not measured."""
    nothing = Load(people=1, votes=0, think=(0.0, 0.0))
    for number, one in enumerate(people[:16]):
        person(port, number, one, Run()).work(nothing)


def person(port: int, number: int, known: dict[str, str], found: Run) -> Person:
    chance = random.Random(number)  # noqa: S311 - the same people in every run
    return Person(port, number, known["session"], found, chance)


# --- What goes on beside them ---------------------------------------------------------------------


@contextmanager
def beside(curator: Services) -> Iterator[dict[str, int]]:
    """Import fresh pairs and score them, over and over, until the block ends; how often."""
    over = threading.Event()
    done = {"imports": 0, "runs": 0, "pairs": 0}

    def repeat() -> None:
        while not over.is_set():
            file = fresh_pairs(curator.home, f"beside-{done['imports']}")
            done["pairs"] += curator.run("import_pairs", file, "--dataset", SLUG).found["created"]
            done["imports"] += 1
            if not over.is_set():
                curator.run("score", SLUG, "--ensemble", "heads")
                done["runs"] += 1

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def fresh_pairs(home: Path, mark: str) -> Path:
    """A file of pairs that no other has."""
    path = home / f"{mark}.jsonl"
    numbers = random.Random(mark)  # noqa: S311 - texts, no secrets
    with path.open("w", encoding="utf-8") as file:
        for number in range(SLICE):
            row = {
                "prompt": f"{mark}, question {number}: {_words(numbers, 30)}?",
                "response_a": _words(numbers, 60),
                "response_b": _words(numbers, 60),
                "labels": [
                    {"annotator": "source", "kind": "source", "label": numbers.choice("ab")}
                ],
            }
            file.write(json.dumps(row) + "\n")
    return path


def _words(numbers: random.Random, count: int) -> str:
    known = ("the", "of", "model", "water", "bread", "why", "because", "never", "good", "short")
    return " ".join(numbers.choice(known) for _ in range(count))


# --- The services ---------------------------------------------------------------------------------


@contextmanager
def services() -> Iterator[Services]:
    with ExitStack() as stack:
        database = os.environ.get("DATABASE_URL") or stack.enter_context(
            postgresql(is_durable=True)
        )
        broker = os.environ.get("REDIS_URL") or stack.enter_context(redis())
        home = Path(tempfile.mkdtemp(prefix="curator-benchmark-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        yield Services(home, database, broker)


def worker(queue: str) -> list[str]:
    beat = ["--beat"] if queue == "default" else []
    number = {"default": "2", "scoring": "1"}[queue]
    return [
        *("celery", "--app", "curator", "worker", "--queues", queue, "--concurrency", number),
        *("--hostname", f"{queue}@%h", "--loglevel", "WARNING"),
        *beat,
    ]


def web(port: int) -> list[str]:
    """As docs/operations.md has it."""
    return [
        *("gunicorn", "curator.wsgi", "--bind", f"127.0.0.1:{port}"),
        *("--workers", "2", "--threads", "8", "--log-level", "warning"),
    ]


def wait_for_workers(curator: Services) -> None:
    asked = "from curator import presence; print(all(map(presence.alive, ('default', 'scoring'))))"
    _wait("the workers", lambda: curator.ask(asked).endswith("True"))


def wait_for_web(port: int) -> None:
    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    _wait("the web server", answers)


def _wait(what: str, ready: Any) -> None:
    deadline = time.monotonic() + LONGEST_START
    while not ready():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{what} did not start.")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
