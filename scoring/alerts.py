"""What a curator does next with a dataset, the most urgent first, and where."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from annotations import commenting
from annotations.models import Dataset, Import
from curator import presence
from curator.lib import work
from curator.lib.work import Work
from curator.templatetags.curator import percent
from scoring import counting, sampling
from scoring.models import Arm, DatasetFigures, ScoringRun, TrainingRun
from scoring.reports import Standing

STRONG_CONFOUND = 0.3  # of Spearman's rank correlation
NEARLY = 0.8  # of a sample that is reviewed


class Severity(IntEnum):
    """How urgent it is: what has stopped goes before what misleads, then what waits."""

    STOPPED = 0
    MISLEADS = 1
    WAITS = 2
    LATER = 3

    @property
    def css(self) -> str:
        """The style of a notice that says it."""
        return {Severity.STOPPED: "error", Severity.MISLEADS: "warning"}.get(self, "")


@dataclass(frozen=True)
class Alert:
    """Something to know, and the button that leads to what can be done."""

    severity: Severity
    sentence: str
    url: str
    button: str


@dataclass(frozen=True)
class Looked:
    """A dataset, as the alerts see it."""

    standing: Standing

    @property
    def dataset(self) -> Dataset:
        return self.standing.dataset

    @property
    def run(self) -> ScoringRun | None:
        return self.standing.run

    @property
    def figures(self) -> dict[str, Any]:
        """Empty while a large dataset is counted for the first time."""
        return self.standing.counted.figures if self.standing.counted else {}

    @cached_property
    def runs(self) -> list[ScoringRun]:
        """What is under way, and what failed after the current run, the latest first."""
        rows = self.dataset.scoring_runs.filter(
            status__in=[*work.OPEN, Work.Status.FAILED], pk__gt=self.run.pk if self.run else 0
        )
        return list(rows.only("pk", "status", "paused_at", "problem", "dataset", "started_at"))

    def to(self, name: str, *arguments: Any, **query: Any) -> str:
        """An address within the dataset."""
        address = reverse(name, args=[self.dataset.slug, *arguments])
        return f"{address}?{urlencode(query, doseq=True)}" if query else address


def alerts_of(standing: Standing) -> list[Alert]:
    """Everything that wants to be done, the most urgent first; those alike stay in this order."""
    seen = Looked(standing)
    found = [alert for look in LOOKS for alert in look(seen)]
    return sorted(found, key=lambda alert: alert.severity)


# --- What has stopped -----------------------------------------------------------------------------


def _imports(seen: Looked) -> Iterator[Alert]:
    """The latest import, where it is under way or failed."""
    latest: Import | None = seen.dataset.imports.first()
    if latest is None or latest.status in (Work.Status.DONE, Work.Status.CANCELLED):
        return
    address = seen.to("annotations:import", latest.pk)
    if latest.status == Work.Status.FAILED:
        yield Alert(
            Severity.STOPPED, f"The last import failed. {latest.problem}", address, "See the import"
        )
    elif not presence.alive("default"):
        yield Alert(
            Severity.STOPPED,
            "An import waits, and no worker is alive that would take it up.",
            reverse("machinery"),
            "See the workers",
        )
    else:
        yield Alert(Severity.LATER, "An import is running.", address, "Watch it")


def _runs(seen: Looked) -> Iterator[Alert]:
    """Runs under way, paused, waiting for a worker, or failed."""
    is_under_way = any(not row.is_over for row in seen.runs)
    scorer_alive = not is_under_way or bool(presence.alive("scoring"))
    for row in seen.runs:
        address = seen.to("scoring:run", row.pk)
        if row.status == Work.Status.FAILED:
            yield Alert(
                Severity.STOPPED, f"Run {row.pk} failed. {row.problem}", address, "See the run"
            )
            return  # what failed before it is of no interest any more
        if row.is_paused:
            yield Alert(Severity.STOPPED, f"Run {row.pk} is paused.", address, "See the run")
        elif not scorer_alive:
            yield Alert(
                Severity.STOPPED,
                f"Run {row.pk} is {row.get_status_display()}, and no scoring worker is alive, so "
                f"it waits.",
                reverse("machinery"),
                "See the workers",
            )
        else:
            yield Alert(
                Severity.LATER,
                f"Run {row.pk} is {row.get_status_display()}: {percent(row.share_done)} is scored.",
                address,
                "Watch it",
            )


def _training(seen: Looked) -> Iterator[Alert]:
    """An ensemble in training, or whose training failed, where no run says more."""
    if seen.run is not None or seen.runs:
        return
    row = TrainingRun.objects.filter(ensemble__dataset=seen.dataset).order_by("-pk").first()
    if row is None or row.status in (Work.Status.DONE, Work.Status.CANCELLED):
        return
    address = seen.to("scoring:ensemble", row.ensemble.name)
    if row.status == Work.Status.FAILED:
        yield Alert(
            Severity.STOPPED, f"The training failed. {row.problem}", address, "See the ensemble"
        )
    elif not presence.alive("scoring"):
        yield Alert(
            Severity.STOPPED,
            "A training waits, and no scoring worker is alive.",
            reverse("machinery"),
            "See the workers",
        )
    else:
        yield Alert(Severity.LATER, "An ensemble is being trained.", address, "Watch it")


def _figures(seen: Looked) -> Iterator[Alert]:
    """Figures that are not of now, where nobody counts them."""
    counted = seen.standing.counted
    if counted is not None and counted.is_current:
        return
    row = DatasetFigures.objects.filter(dataset=seen.dataset).first()
    if row is None or (row.is_over and row.status != Work.Status.FAILED):
        return
    if row.status == Work.Status.FAILED:
        words = f"The figures could not be counted. {row.problem}"
    elif not presence.alive("default"):
        words = "The figures are to be counted anew, and no worker is alive that would do it."
    else:
        return
    yield Alert(Severity.STOPPED, words, reverse("machinery"), "See the workers")


# --- What there is not yet ------------------------------------------------------------------------


def _beginnings(seen: Looked) -> Iterator[Alert]:
    """The first steps, and pairs that came after the run."""
    standing = seen.standing
    if standing.pairs == 0:
        if not standing.importing:
            address = seen.to("annotations:import-new")
            yield Alert(Severity.WAITS, "There are no pairs yet.", address, "Import pairs")
    elif seen.run is None:
        yield Alert(
            Severity.WAITS,
            "No model has looked at the pairs yet.",
            seen.to("scoring:ensembles"),
            "Train and score",
        )
    elif standing.unscored:
        yield Alert(
            Severity.MISLEADS,
            f"{_counted(standing.unscored, 'pair')} came after the last run: without scores they "
            f"are in no queue and carry no flag.",
            seen.to("scoring:ensemble", seen.run.ensemble.name),
            "Score again",
        )


# --- What misleads --------------------------------------------------------------------------------


def _doubtful_models(seen: Looked) -> Iterator[Alert]:
    """Models that know too little for their counts, or go by length."""
    if seen.run is None:
        return
    summary, address = seen.run.summary, seen.to("scoring:overview")
    if summary.get("cut_by") == "review budget":
        yield Alert(
            Severity.MISLEADS,
            f"The models agree with only {percent(summary['accuracy'])} of the labels, so their "
            f"flags are a queue for review and no count of wrong labels.",
            seen.to("scoring:ensembles"),
            "Train or register others",
        )
    confound = summary.get("length_confound")
    if confound is not None and abs(confound) >= STRONG_CONFOUND:
        which = "shorter" if confound > 0 else "longer"
        yield Alert(
            Severity.MISLEADS,
            f"The models go by length: labels that prefer the {which} response are flagged more "
            f"readily, right or wrong.",
            f"{address}#length",
            "See how strongly",
        )


# --- What waits -----------------------------------------------------------------------------------


def _reviews(seen: Looked) -> Iterator[Alert]:
    """Pairs that people are to look at."""
    figures = seen.figures
    if not figures:
        return
    if seen.standing.waiting:
        yield Alert(
            Severity.WAITS,
            f"{_counted(seen.standing.waiting, 'likely flipped label')} "
            f"{'waits' if seen.standing.waiting == 1 else 'wait'} for a decision.",
            seen.to("scoring:review"),
            "Review",
        )
    if figures["put_forward"]:
        yield Alert(
            Severity.WAITS,
            f"A policy put {_counted(figures['put_forward'], 'pair')} forward for people to look "
            f"at.",
            seen.to("scoring:review", queue="put-forward"),
            "Review them",
        )
    if figures["disputed"]:
        yield Alert(
            Severity.WAITS,
            f"People disagree on {_counted(figures['disputed'], 'pair')} that nobody has decided.",
            seen.to("annotations:disputes"),
            "Settle them",
        )


def _samples(seen: Looked) -> Iterator[Alert]:
    """A review sample of which little is left."""
    if seen.run is None:
        return
    sample = sampling.sample_of(seen.run)
    if sample is None or not sample.size:
        return
    left = sampling.left(sample)
    if 0 < left <= (1 - NEARLY) * sample.size:
        yield Alert(
            Severity.WAITS,
            f"Only {_counted(left, 'pair')} of the review sample {'is' if left == 1 else 'are'} "
            f"left: then the noise rate rests on all {sample.size:,}.",
            seen.to("scoring:review", queue="audit"),
            "Review them",
        )


def _broken(seen: Looked) -> Iterator[Alert]:
    """Pairs that are broken, or contradict one another."""
    broken = seen.figures.get("broken", 0)
    if broken:
        yield Alert(
            Severity.WAITS,
            f"{_counted(broken, 'undecided pair')} cannot be right as "
            f"{'it stands' if broken == 1 else 'they stand'}: the texts are broken, or labels "
            f"contradict one another.",
            seen.to("scoring:pairs", check=counting.BROKEN_NAMES, status="undecided"),
            "See them",
        )


# --- What can be done later -----------------------------------------------------------------------


def _comments(seen: Looked) -> Iterator[Alert]:
    """What people remarked lately."""
    count = commenting.lately(seen.dataset)
    if count:
        yield Alert(
            Severity.LATER,
            f"{_counted(count, 'comment')} in the last {commenting.LATELY.days} days.",
            seen.to("annotations:all-comments"),
            "Read them",
        )


def _snapshots(seen: Looked) -> Iterator[Alert]:
    """Decisions that no snapshot holds yet."""
    figures, snapshot = seen.figures, seen.standing.snapshot
    if not figures or not any(figures["verdicts"].values()):
        return
    held = dict(snapshot.counts["verdicts"]) if snapshot else {}
    held.pop("", None)
    if _without_zeros(held) == _without_zeros(figures["verdicts"]):
        return
    words = (
        f"Decisions have been made or taken back since snapshot {snapshot.number}."
        if snapshot
        else "No snapshot holds the decisions yet."
    )
    yield Alert(Severity.LATER, words, seen.to("scoring:snapshots"), "Freeze a snapshot")


def _experiments(seen: Looked) -> Iterator[Alert]:
    """A snapshot of decisions of which nobody has asked whether training on it helps."""
    snapshot = seen.standing.snapshot
    if snapshot is None or not snapshot.decided_count:
        return
    arms = Arm.objects.filter(experiment__dataset=seen.dataset, snapshot=snapshot)
    if not arms.exists():
        yield Alert(
            Severity.LATER,
            f"Nobody has tried yet whether training on snapshot {snapshot.number} makes better "
            f"models.",
            seen.to("scoring:experiment-new", after=snapshot.number),
            "Prove it by an experiment",
        )


def _without_zeros(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


LOOKS = (
    _imports,
    _runs,
    _training,
    _figures,
    _beginnings,
    _doubtful_models,
    _reviews,
    _samples,
    _broken,
    _comments,
    _snapshots,
    _experiments,
)
