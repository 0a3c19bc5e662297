"""Which labels are likely flipped, ambiguous, clear or strong: thresholds as data, one rule for
every run.

The default rule is docs/method.md's: confident learning decides how many labels are flipped where
the ensemble is right often enough for its count to mean something; elsewhere the lowest strengths
are flagged, as many as there is time to review. A label that the ensemble contradicts, however
weakly, is never called clear.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curator.lib.intervals import Estimate
from scoring.core.calibration import can_tell_noise

Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]

FLIPPED, AMBIGUOUS, CLEAR, STRONG = "flipped", "ambiguous", "clear", "strong"


@dataclass(frozen=True)
class FlagRule:
    """The thresholds of the default rule."""

    # out-of-bag accuracy on right labels below which a count of wrong ones means nothing
    trusted_accuracy: float = 0.75
    # half-width of the noise rate's interval beyond which the rate is not known
    widest_noise_interval: float = 0.06
    # the share flagged as flipped where the ensemble is not trusted
    review_budget: float = 0.10
    # label probabilities up to this are ambiguous; below 0.5 the label is contradicted
    doubtful_to: float = 0.60
    # votes between these are split
    split_from: float = 0.34
    split_to: float = 0.66
    # of the smallest absolute strengths, where split votes make a pair ambiguous
    weak_share: float = 0.20
    # of the highest strengths
    strong_share: float = 0.10

    def as_dict(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "FlagRule":
        return cls(**values)


@dataclass(frozen=True)
class Flagging:
    """The flags of a run's labelled pairs, and how the cut for `flipped` came about."""

    flags: Names
    cut: float  # strengths below it are flagged flipped
    cut_by: str  # "confident learning", "review budget" or "percentiles"


def confident_cut(
    probabilities: Floats, strengths: Floats, *, threshold: float | None = None
) -> float:
    """The strength below which confident learning calls a label wrong.

    With A and B exchangeable, the class threshold of confident learning (Northcutt et al. 2021;
    cleanlab's `confident_learning`) is the mean probability t of the given labels, and a label is
    wrong when the other response has a probability of at least t and is the likelier one: p <= 1 -
    t and p < 0.5. The two differ only where the calibration knows nothing and all p are 0.5. A
    `threshold` is t where these probabilities are not all that it should be taken from.
    """
    t = float(probabilities.mean()) if threshold is None else threshold
    wrong = (probabilities <= 1.0 - t) & (probabilities < 0.5)
    return float(np.nextafter(strengths[wrong].max(), np.inf)) if wrong.any() else -np.inf


def budget_cut(strengths: Floats, share: float) -> float:
    """The strength below which the lowest `share` of the pairs lie, but never above 0: agreement
    is no suspicion."""
    return min(float(np.quantile(strengths, share)), 0.0)


def flag(
    strengths: Floats,
    votes: Floats,
    probabilities: Floats,
    *,
    accuracy: float,
    noise: Estimate,
    rule: FlagRule | None = None,
    threshold: float | None = None,
) -> Flagging:
    """Flags for labelled pairs; arrays are (n,), `accuracy` is the ensemble's out-of-bag
    accuracy on these labels, `threshold` as `confident_cut` takes it."""
    rule = rule or FlagRule()
    weak = np.abs(strengths) <= np.quantile(np.abs(strengths), rule.weak_share)
    split = (votes >= rule.split_from) & (votes <= rule.split_to)
    doubtful = probabilities <= rule.doubtful_to
    contradicted = strengths < 0
    if accuracy >= rule.trusted_accuracy or can_tell_noise(
        accuracy, noise, trusted_accuracy=rule.trusted_accuracy, widest=rule.widest_noise_interval
    ):
        cut = confident_cut(probabilities, strengths, threshold=threshold)
        cut_by = "confident learning"
        ambiguous = contradicted | doubtful | (split & weak)
    else:
        cut, cut_by = budget_cut(strengths, rule.review_budget), "review budget"
        ambiguous = contradicted | ((doubtful | split) & weak)
    strong = strengths >= np.quantile(strengths, 1.0 - rule.strong_share)
    flags = np.full(len(strengths), CLEAR, dtype="<U9")
    flags[strong] = STRONG
    flags[ambiguous] = AMBIGUOUS
    flags[strengths < cut] = FLIPPED
    return Flagging(flags, cut, cut_by)


@dataclass(frozen=True)
class PercentileRule:
    """The paper's cuts by rank (arXiv 2401.06080, 3.1), for in-sample strengths, which have no
    calibration."""

    flipped_share: float = 0.20
    ambiguous_share: float = 0.40
    strong_share: float = 0.10

    def as_dict(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PercentileRule":
        return cls(**values)


def flag_by_percentile(strengths: Floats, rule: PercentileRule | None = None) -> Flagging:
    """Flags (n,) by the rank of each strength (n,) alone."""
    rule = rule or PercentileRule()
    cuts = np.quantile(
        strengths, [rule.flipped_share, rule.ambiguous_share, 1.0 - rule.strong_share]
    )
    flags = np.full(len(strengths), CLEAR, dtype="<U9")
    flags[strengths >= cuts[2]] = STRONG
    flags[strengths < cuts[1]] = AMBIGUOUS
    flags[strengths < cuts[0]] = FLIPPED
    return Flagging(flags, float(cuts[0]), "percentiles")
