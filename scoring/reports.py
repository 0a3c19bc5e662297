"""Where a dataset stands, from import to export, and what its curator does next."""

from dataclasses import dataclass
from statistics import fmean

from django.db.models import Count, Max, Q
from django.urls import reverse

from annotations.models import Dataset, Import, Verdict
from curator.lib import work
from scoring.core.calibration import Estimate
from scoring.core.intervals import wilson
from scoring.models import Ensemble, Flag, PairScore, ScoringRun

CHANGING = [Verdict.FLIP, Verdict.TIE, Verdict.DROP]


@dataclass(frozen=True)
class NextStep:
    """The one thing to do next, and where."""

    words: str
    url: str
    button: str


@dataclass(frozen=True)
class Standing:
    """A dataset's figures: how much of it is imported, scored, flagged, reviewed and exported."""

    dataset: Dataset
    run: ScoringRun | None
    pairs: int
    labelled: int
    decided: int
    verdicts: dict[str, int]
    exported: int
    last_snapshot: int | None
    importing: bool
    flagged_reviewed: int  # of the likely flipped

    @property
    def unscored(self) -> int:
        """Pairs that came after the run."""
        return self.pairs - self.scored if self.run else 0

    @property
    def flags(self) -> dict[str, int]:
        return dict(self.run.summary["flags"]) if self.run else {}

    @property
    def scored(self) -> int:
        return self.run.summary["pairs"] if self.run else 0

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
                f"{self.unscored:,} pairs came after the last run and are not scored.",
                reverse("scoring:ensemble", args=[slug, self.run.ensemble.name]),
                "Score again",
            )
        if self.flagged_reviewed < self.flags.get(Flag.FLIPPED, 0):
            return NextStep(
                "Likely flipped labels are waiting.",
                reverse("scoring:review", args=[slug]),
                "Review",
            )
        return NextStep(
            "The flagged pairs are reviewed.",
            reverse("scoring:snapshots", args=[slug]),
            "Freeze a snapshot",
        )


def standing(dataset: Dataset) -> Standing:
    counts = dataset.pairs.aggregate(
        all=Count("pk"),
        labelled=Count("pk", filter=Q(source_preference__in=["a", "b"])),
    )
    verdicts = dataset.pairs.verdict_counts()
    verdicts.pop(Verdict.UNDECIDED, None)
    snapshots = dataset.snapshots.aggregate(
        last=Max("number"),
        exported=Max("exports__rows", filter=Q(exports__status=work.Work.Status.DONE)),
    )
    run = ScoringRun.objects.current(dataset)
    return Standing(
        dataset=dataset,
        run=run,
        flagged_reviewed=flag_precision(run, Flag.FLIPPED).reviewed if run else 0,
        pairs=counts["all"],
        labelled=counts["labelled"],
        decided=sum(verdicts.values()),
        verdicts=verdicts,
        exported=snapshots["exported"] or 0,
        last_snapshot=snapshots["last"],
        importing=Import.objects.filter(dataset=dataset, status__in=work.OPEN).exists(),
    )


@dataclass(frozen=True)
class MeanAccuracy:
    """Mean accuracy of an ensemble's members, on pairs outside and inside of their bags."""

    out_of_bag: float | None
    in_bag: float | None


def mean_accuracy(ensemble: Ensemble) -> MeanAccuracy:
    members = list(ensemble.members.all())
    if not members:
        return MeanAccuracy(None, None)
    return MeanAccuracy(
        fmean(member.out_of_bag_accuracy or 0.0 for member in members),
        fmean(member.card["in_bag_accuracy"] for member in members),
    )


@dataclass(frozen=True)
class FlagPrecision:
    """Of the pairs that carry the flag and were reviewed, how many labels the curators changed."""

    reviewed: int
    changed: int
    share: Estimate | None


def flag_precision(run: ScoringRun, flag: Flag) -> FlagPrecision:
    counts = (
        PairScore.objects.of(run)
        .filter(flag=flag)
        .exclude(pair__verdict="")
        .aggregate(reviewed=Count("pk"), changed=Count("pk", filter=Q(pair__verdict__in=CHANGING)))
    )
    return FlagPrecision(
        counts["reviewed"], counts["changed"], wilson(counts["changed"], counts["reviewed"])
    )
