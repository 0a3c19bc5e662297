"""What the pages tell: where a dataset stands and what its curator does next, how far a run is and
who works on it, and what is known of a registered model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from statistics import fmean
from typing import Any

from django.db.models import Count, DurationField, F, Max, Min, Q, Sum
from django.urls import reverse
from django.utils import timezone

from annotations.models import Dataset, Export, Snapshot
from annotations.sittings import FlagPrecision
from curator.lib import work
from curator.lib.work import Work
from scoring import counting, overviews
from scoring.core.adaptive import Savings
from scoring.core.options import EngineOptions
from scoring.counting import Counted
from scoring.models import (
    Checkpoint,
    Ensemble,
    Flag,
    RewardModel,
    ScoreAt,
    ScoringRun,
    ScoringShard,
)

MOST_WORKERS = 100  # shown of one run
MOST_TROUBLES = 20
SCORE_POSITIONS = {**dict(ScoreAt.choices), "last": "the last token", "head": "its own head"}


@dataclass(frozen=True)
class NextStep:
    """The one thing to do next, and where."""

    words: str
    url: str
    button: str


@dataclass(frozen=True)
class Standing:
    """A dataset's figures: how much of it is imported, scored, flagged, decided and exported."""

    dataset: Dataset
    run: ScoringRun | None
    counted: Counted | None  # None while a large dataset is counted for the first time
    pairs: int
    snapshot: Snapshot | None
    exported: int
    importing: bool

    @property
    def labelled(self) -> int | None:
        return self.counted.figures["labelled"] if self.counted else None

    @property
    def verdicts(self) -> dict[str, int]:
        return dict(self.counted.figures["verdicts"]) if self.counted else {}

    @property
    def decided(self) -> int | None:
        return sum(self.verdicts.values()) if self.counted else None

    @property
    def unscored(self) -> int:
        """Pairs that came after the run."""
        return max(self.pairs - self.scored, 0) if self.run else 0

    @property
    def flags(self) -> dict[str, int]:
        return dict(self.run.summary["flags"]) if self.run else {}

    @property
    def scored(self) -> int:
        return self.run.summary["pairs"] if self.run else 0

    @property
    def waiting(self) -> int:
        """Likely flipped labels that nobody has decided on."""
        return counting.waiting(self.counted.figures, Flag.FLIPPED) if self.counted else 0

    @property
    def cut_sentence(self) -> str:
        """What the flags of the run are worth, where they are no verdict; else empty."""
        return overviews.cut_sentence(self.run.summary) if self.run else ""

    @property
    def last_snapshot(self) -> int | None:
        return self.snapshot.number if self.snapshot else None

    @property
    def next_step(self) -> NextStep:
        slug = self.dataset.slug
        if self.pairs == 0:
            words = "An import is running." if self.importing else "There are no pairs yet."
            return NextStep(words, reverse("annotations:import-new", args=[slug]), "Import pairs")
        if self.run is None:
            return NextStep(
                "No model has looked at the pairs yet.",
                reverse("scoring:ensembles", args=[slug]),
                "Train and score",
            )
        if self.unscored > 0:
            return NextStep(
                f"{self.unscored:,} {'pair' if self.unscored == 1 else 'pairs'} came after the "
                f"last run and {'is' if self.unscored == 1 else 'are'} not scored.",
                reverse("scoring:ensemble", args=[slug, self.run.ensemble.name]),
                "Score again",
            )
        if self.waiting:
            return NextStep(
                "1 likely flipped label is waiting."
                if self.waiting == 1
                else f"{self.waiting:,} likely flipped labels are waiting.",
                reverse("scoring:review", args=[slug]),
                "Review",
            )
        return NextStep(
            "The flagged pairs are reviewed.",
            reverse("scoring:snapshots", args=[slug]),
            "Freeze a snapshot",
        )


def standing(dataset: Dataset, *, state: str | None = None) -> Standing:
    """Where the dataset stands; as many queries for a large one as for a small one. `state` is what
    `counting.state_of` says, where the caller knows it."""
    counted = counting.figures_of(dataset, state=state)
    written = Export.objects.filter(snapshot__dataset=dataset, status=work.Work.Status.DONE)
    return Standing(
        dataset=dataset,
        run=ScoringRun.objects.current(dataset),
        counted=counted,
        pairs=counted.figures["pairs"] if counted else counting.pairs_of(dataset),
        snapshot=dataset.snapshots.first(),
        exported=written.aggregate(most=Max("rows"))["most"] or 0,
        importing=dataset.imports.filter(status__in=work.OPEN).exists(),
    )


@dataclass(frozen=True)
class MeanAccuracy:
    """Mean accuracy of an ensemble's heads, on pairs outside and inside of their bags; None where
    it has none."""

    out_of_bag: float | None
    in_bag: float | None


def mean_accuracy(ensemble: Ensemble) -> MeanAccuracy:
    trained = [member for member in ensemble.members.all() if "in_bag_accuracy" in member.card]
    if not trained:
        return MeanAccuracy(None, None)
    return MeanAccuracy(
        fmean(member.out_of_bag_accuracy or 0.0 for member in trained),
        fmean(member.card["in_bag_accuracy"] for member in trained),
    )


def precision_of(figures: Mapping[str, Any], flag: Flag) -> FlagPrecision:
    """How often the flag was right, by what `counting` counted."""
    found = figures["flags"][flag]
    return FlagPrecision(found["reviewed"], found["wrong"], found["unclear"])


# --- Runs -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Holding:
    """A shard that a worker has in hand."""

    number: int
    pairs_done: int
    pairs: int
    is_lost: bool  # the worker is gone, or was not heard of for the length of its lease


@dataclass
class WorkerShare:
    """What one process has done of a run, and what it is at. A pair counts once for each shard that
    holds it."""

    process: str  # host/process/start
    shards: int = 0
    pairs: int = 0
    seconds: float = 0.0  # that its own shards took
    last_sign_of_life: datetime | None = None
    in_hand: list[Holding] = field(default_factory=list)

    @property
    def name(self) -> str:
        host, process, *_ = (*self.process.split("/"), "")
        return f"{host}, process {process}" if process else host

    @property
    def pairs_per_second(self) -> float | None:
        return self.pairs / self.seconds if self.pairs and self.seconds else None

    @property
    def is_at_it(self) -> bool:
        return any(not holding.is_lost for holding in self.in_hand)

    @property
    def remaining(self) -> timedelta | None:
        """Until the shards in its hands are done, at its rate so far."""
        rate = self.pairs_per_second
        if not rate or not self.is_at_it:
            return None
        return timedelta(seconds=sum(h.pairs - h.pairs_done for h in self.in_hand) / rate)


@dataclass(frozen=True)
class Trouble:
    """Why shards failed, and how many."""

    sentence: str
    shards: int


@dataclass(frozen=True)
class MemberGroup:
    """The shards of the members that are asked together, and how far they are."""

    members: list[RewardModel]
    wave: int
    shards: int
    done: int
    failed: int
    pairs: int
    pairs_done: int
    pairs_left: int  # to be done by shards that are not over
    calls: int
    troubles: list[Trouble]

    @property
    def first(self) -> RewardModel | None:
        return self.members[0] if self.members else None

    @property
    def last(self) -> RewardModel | None:
        return self.members[-1] if self.members else None


@dataclass(frozen=True)
class Progress:
    """How far a run is, and how long the rest takes."""

    workers: list[WorkerShare]
    groups: list[MemberGroup]
    share_done: float
    pairs_done: int  # as many as the work done so far amounts to
    pairs_per_second: float | None
    remaining: timedelta | None


def progress(run: ScoringRun) -> Progress:
    """How far the run is, by worker and by group of members; in a few queries, however many shards
    it has. The rate is of the workers that are at it now, so that a pause does not spoil it."""
    workers, groups = workers_of(run), groups_of(run)
    total = sum(group.pairs for group in groups)
    done = 1.0 if run.status == Work.Status.DONE else 0.0
    if total and not done:
        done = sum(group.pairs_done for group in groups) / total
    rate = sum(worker.pairs_per_second or 0.0 for worker in workers if worker.is_at_it)
    left = sum(group.pairs_left for group in groups)
    goes_on = rate > 0 and not run.is_over and not run.is_paused
    return Progress(
        workers=workers,
        groups=groups,
        share_done=done,
        pairs_done=round(done * run.pairs_total),
        pairs_per_second=rate * run.pairs_total / total if goes_on else None,
        remaining=timedelta(seconds=left / rate) if goes_on else None,
    )


def workers_of(run: ScoringRun) -> list[WorkerShare]:
    """Who has done shards of the run or has some in hand, the last heard of first."""
    ended = run.shards.filter(status=Work.Status.DONE).exclude(worked_by="").order_by()
    took = Sum(F("finished_at") - F("started_at"), output_field=DurationField())
    rows = ended.values("worked_by").annotate(
        shards=Count("pk"), pairs=Sum("pairs_count"), took=took, latest=Max("finished_at")
    )
    found = {
        row["worked_by"]: WorkerShare(
            process=row["worked_by"],
            shards=row["shards"],
            pairs=row["pairs"],
            seconds=row["took"].total_seconds() if row["took"] else 0.0,
            last_sign_of_life=row["latest"],
        )
        for row in rows.order_by("-latest")[:MOST_WORKERS]
    }
    held = run.shards.filter(status=Work.Status.RUNNING).exclude(holder="")
    texts = ("pair_ids", "margins", "refusals", "truncated_pairs")  # which may be long
    for shard in held.defer(*texts)[:MOST_WORKERS]:
        worker = found.setdefault(shard.holder, WorkerShare(process=shard.holder))
        worker.in_hand.append(_holding(shard))
        heard = filter(None, (worker.last_sign_of_life, shard.heartbeat_at))
        worker.last_sign_of_life = max(heard, default=None)
    never = timezone.now() - timedelta(days=36500)
    return sorted(found.values(), key=lambda each: each.last_sign_of_life or never, reverse=True)


def _holding(shard: ScoringShard) -> Holding:
    return Holding(shard.position + 1, shard.pairs_done, shard.pairs_count, work.is_free(shard))


def groups_of(run: ScoringRun) -> list[MemberGroup]:
    """The run's shards by the members that they ask, in the order in which they were planned. A
    shard that names none, as of old runs, asks all."""
    members = {each.position: each for each in run.ensemble.members.select_related("checkpoint")}
    shards = run.shards.order_by()
    failed = Q(status=Work.Status.FAILED)
    troubles: dict[tuple[int, ...], list[Trouble]] = {}
    sentences = shards.filter(failed).values("members", "wave", "problem")
    for told in sentences.annotate(count=Count("pk")).order_by("-count")[:MOST_TROUBLES]:
        of = (told["wave"], *told["members"])
        troubles.setdefault(of, []).append(Trouble(told["problem"], told["count"]))
    rows = shards.values("members", "wave").annotate(
        planned=Min("position"),
        shards=Count("pk"),
        done=Count("pk", filter=Q(status=Work.Status.DONE)),
        failed=Count("pk", filter=failed),
        pairs=Sum("pairs_count"),
        finished=Sum("pairs_done"),
        left=Sum(F("pairs_count") - F("pairs_done"), filter=Q(status__in=work.OPEN)),
        asked=Sum("calls"),
    )
    return [
        MemberGroup(
            members=[members[position] for position in row["members"] or members],
            wave=row["wave"],
            shards=row["shards"],
            done=row["done"],
            failed=row["failed"],
            pairs=row["pairs"],
            pairs_done=row["finished"],
            pairs_left=row["left"] or 0,
            calls=row["asked"],
            troubles=troubles.get((row["wave"], *row["members"]), []),
        )
        for row in rows.order_by("planned")
    ]


def savings(run: ScoringRun) -> Savings | None:
    """The run's model calls beside those that asking every member would have taken; None where they
    were not counted."""
    found = run.summary
    if not found.get("calls_of_all"):
        return None
    return Savings(found["calls"], found["calls_of_all"], found["pairs"])


@dataclass(frozen=True)
class ShownOption:
    """An option of the engine as a run had it."""

    name: str
    value: str
    default: str

    @property
    def is_default(self) -> bool:
        return self.value == self.default


def engine_options(run: ScoringRun) -> list[ShownOption]:
    """The options of the engine that the run had, those first that are not the default."""
    defaults = EngineOptions().as_dict()
    shown = [
        ShownOption(name, _switch(value), _switch(defaults.get(name)))
        for name, value in run.engine.items()
    ]
    return sorted(shown, key=lambda option: option.is_default)


def _switch(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


# --- Registered models ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownCheck:
    """One way of batching, and how far its scores are from those of each text alone."""

    name: str
    largest: float | None  # None where scoring in this way raised an error
    agrees: bool


@dataclass(frozen=True)
class ShownSelfTest:
    """What the self-test of a registered model found."""

    checks: Sequence[ShownCheck]
    found: dict[str, Any]

    @property
    def differing(self) -> int:
        return sum(not check.agrees for check in self.checks)

    @property
    def words(self) -> str:
        ways = len(self.checks)
        if self.differing:
            return f"differs in {self.differing} of {ways} ways"
        return f"agrees in all {ways} ways"


@dataclass(frozen=True)
class Registered:
    """A registered model and its self-test, None where it was not tested."""

    checkpoint: Checkpoint
    test: ShownSelfTest | None

    @property
    def verdict(self) -> str:
        """What the self-test means, in a sentence."""
        assert self.test is not None
        texts = f"the same {self.test.found['texts']} texts"
        if not self.checkpoint.is_usable:
            return f"The scores of {texts} depend on how they are batched: do not trust them."
        if self.test.differing:
            return f"It is only run in ways in which {texts} get the scores that each gets alone."
        return f"However they are batched, {texts} get the same scores."

    @property
    def score_is_read_at(self) -> str:
        return SCORE_POSITIONS.get(self.checkpoint.identity["score_at"], "")


def registered(checkpoint: Checkpoint) -> Registered:
    found = checkpoint.self_test
    if not found:
        return Registered(checkpoint, None)
    checks = [
        ShownCheck(check["name"], _finite(check["largest"]), bool(check["passed"]))
        for check in found["checks"]
    ]
    return Registered(checkpoint, ShownSelfTest(checks, found))


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
