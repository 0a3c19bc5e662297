"""What the overview tells of a run and of counted figures: shares with their intervals, the worst
slices first, and the filter that leads to the pairs behind each number."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from annotations import checks, filters
from curator.lib.intervals import Estimate, wilson
from scoring.models import Flag, ScoringRun

TITLES = {
    "origin": ("Source", "where the pairs come from"),
    "annotator": ("Annotator", "who gave the label that came with the pair"),
    "topic": ("Topic", "clusters of prompts that are alike"),
    "length": ("Length", "characters of the prompt and both responses"),
    "turns": ("Turns", "messages of the prompt"),
}
SOURCES = {"people": "people", "ai": "AI judges"}
MOST_WORST = 4
FEWEST_WORST = 10  # labels of a slice that is named on top
FLAG = "flag"


@dataclass(frozen=True)
class Slice:
    """A part of the labels, and how many of them are likely flipped."""

    kind: str
    name: str
    labels: int
    flipped: int
    share: Estimate
    drawn: Estimate  # the share on a line that ends with the highest interval of its table
    pairs: str  # the query for its likely flipped pairs; empty where no filter says so


@dataclass(frozen=True)
class Slices:
    """The slices of one kind, the surest to be worse first."""

    kind: str
    title: str
    explanation: str
    rows: list[Slice]
    overall: Estimate
    drawn_overall: float


@dataclass(frozen=True)
class Agreed:
    """How often a second source agrees with the labels of one bin of percentile."""

    low: float
    high: float
    agreeing: int
    compared: int
    share: Estimate
    pairs: str


@dataclass(frozen=True)
class SecondSource:
    """Who else labelled, and how often they agree with the labels, the weakest first."""

    name: str
    bins: list[Agreed]
    compared: int


@dataclass(frozen=True)
class Broken:
    """What a check found."""

    title: str
    explanation: str
    matters: str
    found: int
    undecided: int
    pairs: str


@dataclass(frozen=True)
class Band:
    """Labels between two strengths, with the query for their pairs."""

    group: Mapping[str, Any]  # of scoring.core.distribution.Group
    number: int
    pairs: str

    @property
    def flipped(self) -> float:
        return float(self.group["flags"].get(Flag.FLIPPED, 0) / self.group["count"])

    @property
    def ambiguous(self) -> float:
        return float(self.group["flags"].get(Flag.AMBIGUOUS, 0) / self.group["count"])


@dataclass(frozen=True)
class Bar:
    """One bar of the histogram in figures."""

    words: str
    count: int
    flags: list[int]  # in the order of Flag
    pairs: str


@dataclass(frozen=True)
class Noise:
    """How many labels are wrong: a figure with its interval, or a bound, or neither; and how that
    is known."""

    figure: Estimate | None
    at_least: float | None
    basis: str
    reviewed: int = 0  # how many reviews it rests on

    @property
    def shown(self) -> dict[str, float] | None:
        """The figure as templates take it."""
        return asdict(self.figure) if self.figure else None


def noise_of(run: ScoringRun) -> Noise:
    """What is known of the share of wrong labels. Without reviews it is what the models say, under
    the assumption that any label is as likely to be wrong as any other."""
    summary = run.summary
    known = summary.get("noise_rate")
    if known is None:
        return Noise(None, None, "In-sample scores vouch for their own labels.")
    if summary.get("noise_rate_is_known"):
        return Noise(
            Estimate(**known),
            None,
            "By the models alone, as if every label were as likely to be wrong as any other.",
        )
    bound = known["low"] if known["low"] >= 0.01 else None
    return Noise(None, bound, "These models are too often unsure to tell noise from doubt.")


def cut_sentence(summary: Mapping[str, Any]) -> str:
    """Why the flags of a run with this summary are no verdict on the labels; empty where they
    are."""
    if summary.get("cut_by") == "review budget":
        return (
            "The models agree with too few of these labels for their count of wrong ones to be "
            "trusted, so the weakest tenth is flagged as a review queue, not as a verdict."
        )
    if summary.get("cut_by") == "percentiles":
        return (
            "In-sample scores: the models have seen these labels, so the flags follow the paper's "
            "fixed percentiles and no noise rate is estimated."
        )
    return ""


@dataclass(frozen=True)
class Labels:
    """The flagged labels as they came, or as they are decided."""

    count: int
    wrong: Estimate | None  # the share
    strength: float | None  # mean, towards the label that holds

    @property
    def shown(self) -> dict[str, float] | None:
        """The share as templates take it."""
        return asdict(self.wrong) if self.wrong else None


def before_and_after(figures: Mapping[str, Any], noise: Noise) -> tuple[Labels, Labels] | None:
    """The labels as imported and as decided now; None where no decision has changed one.

    What is mended is taken from the wrong labels that the estimate counts, so both shares are of
    the same estimate and differ by what the decisions did alone.
    """
    found = figures["labels"]
    (count, strengths), (left, strengths_left) = found["imported"], found["decided"]
    if not count or (left == count and strengths_left == strengths):
        return None
    now = None
    if noise.figure is not None and left:
        wrong = (noise.figure.estimate, noise.figure.low, noise.figure.high)
        shares = ((share * count - found["mended"]) / left for share in wrong)
        now = Estimate(*(min(max(share, 0.0), 1.0) for share in shares))
    return (
        Labels(count, noise.figure, strengths / count),
        Labels(left, now, strengths_left / left if left else None),
    )


# --- What was counted -----------------------------------------------------------------------------


def slices_of(figures: Mapping[str, Any]) -> list[Slices]:
    """A table for each kind of slice of which there are at least two."""
    return [
        _slices(kind, rows)
        for kind in TITLES
        if len(rows := [row for row in figures["slices"][kind] if row["labels"]]) > 1
    ]


def _slices(kind: str, rows: list[dict[str, Any]]) -> Slices:
    overall = _share(sum(r["flipped"] for r in rows), sum(r["labels"] for r in rows))
    shares = [_share(row["flipped"], row["labels"]) for row in rows]
    longest = max(share.high for share in shares)
    found = [
        Slice(
            kind,
            row["name"],
            row["labels"],
            row["flipped"],
            share,
            Estimate(share.estimate / longest, share.low / longest, share.high / longest),
            query_for(row["where"], {"field": FLAG, "is": Flag.FLIPPED.value})
            if row["where"]
            else "",
        )
        for row, share in zip(rows, shares, strict=True)
    ]
    found.sort(key=lambda each: (-each.share.low, -each.share.estimate))
    return Slices(kind, *TITLES[kind], found, overall, min(overall.estimate / longest, 1.0))


def worst_of(tables: Iterable[Slices]) -> list[tuple[str, Slice]]:
    """The slices that are surely worse than the whole, and what kind they are of, the surest
    first."""
    found = [
        (table.title, each)
        for table in tables
        for each in table.rows
        if each.share.low > table.overall.estimate and each.labels >= FEWEST_WORST and each.pairs
    ]
    return sorted(found, key=lambda pair: -pair[1].share.low)[:MOST_WORST]


def second_sources(figures: Mapping[str, Any]) -> list[SecondSource]:
    """People and AI judges, where they have labelled."""
    return [
        SecondSource(SOURCES[name], list(_agreed(bins)), sum(compared for _, compared in bins))
        for name, bins in figures["agreement"].items()
        if bins
    ]


def _agreed(bins: list[list[int]]) -> Iterator[Agreed]:
    for place, (agreeing, compared) in enumerate(bins):
        if compared:
            low, high = place / len(bins), (place + 1) / len(bins)
            between = [
                {"field": "percentile", "at_least": low},
                {"field": "percentile", "below": high},
            ]
            only_low = place == len(bins) - 1  # the last bin has both its ends
            pairs = query_for(between[:1] if only_low else between)
            yield Agreed(low, high, agreeing, compared, _share(agreeing, compared), pairs)


def broken_of(figures: Mapping[str, Any]) -> list[Broken]:
    """What each check found, the most first."""
    found = [
        Broken(
            checks.SHOWN[checks.NAMES[name]].title,
            checks.SHOWN[checks.NAMES[name]].explanation,
            checks.SHOWN[checks.NAMES[name]].matters,
            counts["pairs"],
            counts["undecided"],
            query_for([{"field": "checks", "has": name}]),
        )
        for name, counts in figures["checks"].items()
    ]
    return sorted(found, key=lambda each: -each.found)


# --- What the run found ---------------------------------------------------------------------------


def bands_of(run: ScoringRun, view: str = "deciles") -> list[Band]:
    """The deciles of strength, or the finer groups of the `profile`, the weakest first; empty for a
    run of before they were kept."""
    return [
        Band(group, number, strength_query(run, group["lowest"], group["highest"]))
        for number, group in enumerate(run.summary.get(view, []), 1)
    ]


def bars_of(run: ScoringRun) -> list[Bar]:
    """The histogram as a table; the bars at both ends hold what lies beyond, too."""
    histogram = run.summary["histogram"]
    edges: list[float] = histogram["edges"]
    bounds: list[tuple[float | None, float | None]] = list(pairwise(edges))
    bounds[0], bounds[-1] = (None, edges[1]), (edges[-2], None)
    by_bar = zip(*(histogram["by_flag"][flag] for flag in Flag), strict=True)
    return [
        Bar(range_words(low, high), sum(flags), list(flags), strength_query(run, low, high))
        for (low, high), flags in zip(bounds, by_bar, strict=True)
    ]


def range_words(low: float | None, high: float | None) -> str:
    """ "−0.20 to 0.10", "below 0.10": with a true minus."""
    low_words, high_words = (
        "" if value is None else f"{value:.2f}".replace("-", "\u2212") for value in (low, high)
    )
    if low is None:
        return f"below {high_words}"
    return f"above {low_words}" if high is None else f"{low_words} to {high_words}"


def strength_query(run: ScoringRun, low: float | None, high: float | None) -> str:
    """The query for the run's labels between two strengths, both included."""
    bounds = {"at_least": low, "at_most": high}
    where = [
        {"field": "strength", operator: bound}
        for operator, bound in bounds.items()
        if bound is not None
    ]
    return query_for([*where, *labels_only(run)])


def labels_only(run: ScoringRun) -> list[dict[str, Any]]:
    """The condition that leaves out pairs without a label, whose strength says another thing; none
    where all have one."""
    if run.summary["labelled"] == run.summary["pairs"]:
        return []
    return [{"field": FLAG, "is_not": "none"}]


def query_for(where: Iterable[Mapping[str, Any]], *more: Mapping[str, Any]) -> str:
    """The conditions as the address of the list of pairs has them."""
    return filters.from_json([dict(each) for each in (*where, *more)]).as_query()


def _share(part: int, whole: int) -> Estimate:
    found = wilson(part, whole)
    assert found is not None  # an empty slice is left out
    return found
