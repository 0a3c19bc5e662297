"""From the margins of labelled pairs to their flags: what a run and an audit of it do alike."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curator.lib.intervals import Estimate
from scoring.core import calibration, strength
from scoring.core.flags import Flagging, FlagRule, PercentileRule, flag, flag_by_percentile

Floats = npt.NDArray[np.float64]

FEWEST_TO_CALIBRATE = 10  # labelled pairs, below which nothing is flagged


@dataclass(frozen=True)
class Calibrated:
    """What out-of-bag strengths tell beyond their order."""

    slope: float
    probabilities: Floats  # (n,): of each label to be right
    noise: Estimate
    noise_is_known: bool


@dataclass(frozen=True)
class Judged:
    """What follows from the margins of n labelled pairs by m members."""

    scales: Floats  # (m,)
    strengths: Floats  # (n,)
    votes: Floats  # (n,)
    accuracy: float
    member_accuracy: Floats  # (m,)
    flagging: Flagging
    calibrated: Calibrated | None  # None in-sample, where strengths have no calibration


def judge(
    margins: Floats,
    rule: FlagRule | PercentileRule,
    *,
    scales: Floats | None = None,
    expected: Floats | None = None,
) -> Judged:
    """Judge margins (n, m) for the label, NaN where a member was not asked.

    A FlagRule reads out-of-bag margins and calibrates them; a PercentileRule goes by rank alone.
    An adaptive run leaves out margins by what others said, and what is there misleads: it brings
    the members' `scales` (m,) from `adaptive.scales_of_adaptive`, and the strengths (n,) to
    calibrate on as `expected` from `adaptive.expected_strengths`.
    """
    if scales is None:
        scales = strength.member_scales(margins)
    standard = strength.standardise(margins, scales)
    strengths, votes = strength.preference_strength(standard), strength.votes(standard)
    accuracy = float(strength.accuracy(strengths[:, None])[0])
    calibrated = None
    if isinstance(rule, PercentileRule):
        flagging = flag_by_percentile(strengths, rule)
    else:
        expected = strengths if expected is None else expected
        calibrated = _calibrate(strengths, expected, accuracy, rule)
        flagging = flag(
            strengths,
            votes,
            calibrated.probabilities,
            accuracy=accuracy,
            noise=calibrated.noise,
            rule=rule,
            threshold=float(calibration.label_probability(expected, calibrated.slope).mean()),
        )
    members = strength.accuracy(standard)
    return Judged(scales, strengths, votes, accuracy, members, flagging, calibrated)


def _calibrate(strengths: Floats, expected: Floats, accuracy: float, rule: FlagRule) -> Calibrated:
    slope, noise = calibration.fit_slope(expected), calibration.noise_rate(expected)
    known = calibration.can_tell_noise(
        accuracy,
        noise,
        trusted_accuracy=rule.trusted_accuracy,
        widest=rule.widest_noise_interval,
    )
    probabilities = calibration.label_probability(strengths, slope)
    return Calibrated(slope, probabilities, noise, known)
