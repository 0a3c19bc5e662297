"""What a reviewed sample says, in the words and rows that the page, the command and the REST API
show."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from curator.lib.intervals import Estimate
from scoring import overviews
from scoring.core.sampling import FlagShares, Share
from scoring.models import Flag
from scoring.sampling import Evidence


@dataclass(frozen=True)
class Row:
    """A stratum: labels of like strength."""

    number: int
    words: str
    share: Share
    query: str  # for its pairs


@dataclass(frozen=True)
class FlagRow:
    flag: str
    shares: FlagShares


@dataclass(frozen=True)
class Shown:
    """A sample's evidence as the page has it."""

    meaning: str
    rows: list[Row]
    flags: list[FlagRow]
    needed: list[tuple[float, int]]
    share_done: float


def shown(found: Evidence) -> Shown:
    run = found.sample.run
    rows = [
        Row(
            number,
            overviews.range_words(stratum.low, stratum.high),
            share,
            overviews.strength_query(run, stratum.low, stratum.high),
        )
        for number, (stratum, share) in enumerate(zip(found.strata, found.bins, strict=True), 1)
    ]
    flags = [FlagRow(flag.value, found.flags[flag.value]) for flag in Flag]
    done = (found.sample.size - found.waiting) / found.sample.size
    return Shown(_meaning(found), rows, flags, list(found.needed.items()), done)


def _meaning(found: Evidence) -> str:
    """What the noise rate means for this dataset; empty before the first review."""
    figure, pairs = found.noise.figure, found.noise.pairs
    if figure is None:
        return ""
    return (
        f"Of the run's {pairs:,} labels, about {figure.estimate * pairs:,.0f} contradict what a "
        f"person says; with 95 % certainty no fewer than {figure.low * pairs:,.0f} and no more "
        f"than {figure.high * pairs:,.0f}."
    )


def as_dict(found: Evidence) -> dict[str, Any]:
    """The figures with the keys that scripts rely on."""
    return {
        "run": found.sample.run_id,
        "sample": found.sample.pk,
        "size": found.sample.size,
        "seed": found.sample.seed,
        "waiting": found.waiting,
        "reviewed": found.reviewed,
        "right": found.right,
        "wrong": found.wrong,
        "unclear": found.unclear,
        "passed_over": found.verdicts.passed_over,
        "further_on": found.verdicts.further_on,
        "noise_rate": _figure(found.noise.figure),
        "strata": [
            {"low": stratum.low, "high": stratum.high, **_share(share)}
            for stratum, share in zip(found.strata, found.bins, strict=True)
        ],
        "flags": {flag: _of_flag(shares) for flag, shares in found.flags.items()},
        "reviews_needed": {f"{half:g}": count for half, count in found.needed.items()},
    }


def _of_flag(shares: FlagShares) -> dict[str, Any]:
    return {
        "pairs": shares.precision.pairs,
        "reviewed": shares.precision.reviews,
        "wrong": shares.precision.wrong,
        "precision": _figure(shares.precision.figure),
        "recall": _figure(shares.recall),
    }


def _share(share: Share) -> Mapping[str, Any]:
    return {
        "pairs": share.pairs,
        "reviewed": share.reviews,
        "wrong": share.wrong,
        "share": _figure(share.figure),
    }


def _figure(figure: Estimate | None) -> dict[str, float] | None:
    return asdict(figure) if figure else None
