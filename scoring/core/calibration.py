"""From margins to probabilities: how likely a label is right, and how many labels are wrong.

Strengths are (n,) mean standardised margins of labelled pairs, out-of-bag. In-sample strengths must
not come here: an ensemble that has seen the labels vouches for them.
"""

import numpy as np
import numpy.typing as npt

from curator.lib.intervals import Estimate

Floats = npt.NDArray[np.float64]

STEEPEST = 50.0
SLOPES = np.geomspace(0.05, 20.0, 90)  # tried for strengths in units of a member's own scale
RATES = np.linspace(0.0, 0.495, 100)
BINS = 400
# of one degree of freedom: twice the fall in log-likelihood that bounds a 95 % interval
CHI_SQUARE_95 = 3.841


def sigmoid(x: Floats) -> Floats:
    decay = np.exp(-np.abs(x))  # of the distance from 0, so that neither tail is rounded away
    return np.asarray(np.where(x >= 0, 1.0, decay) / (1.0 + decay))


def log_sigmoid(x: Floats) -> Floats:
    return np.asarray(-np.logaddexp(0.0, -x))


def fit_slope(strengths: Floats, weights: Floats | None = None) -> float:
    """The slope b >= 0 at which sigmoid(b * strength) fits the labels best, by maximum likelihood;
    each counts as much as its weight says, or all alike.

    Symmetric logistic calibration: no intercept, since which response is called A says nothing.
    """
    if weights is None:
        weights = np.ones(len(strengths))
    low, high = 0.0, STEEPEST
    for _ in range(60):  # the slope of the log-likelihood falls with b, so halving finds its zero
        middle = 0.5 * (low + high)
        gradient = float(np.mean(weights * strengths * sigmoid(-middle * strengths)))
        low, high = (middle, high) if gradient > 0 else (low, middle)
    return low  # exactly 0 where no slope helps


def label_probability(strengths: Floats, slope: float) -> Floats:
    """The ensemble's probability that the label is right, (n,) -> (n,)."""
    return sigmoid(slope * strengths)


def noise_rate(strengths: Floats) -> Estimate:
    """The share of wrong labels by maximum likelihood, with a profile-likelihood 95 % interval.

    Model: a label is flipped with probability e whatever the pair, and a right label agrees with
    the ensemble with probability sigmoid(b * |strength|), so P(agree) = (1 - e) * sigmoid(b s) + e
    * sigmoid(-b s). It sees confident contradictions: where the ensemble is never sure, e cannot be
    told from doubt, and only `low` means something (`can_tell_noise` says when). Measured bias and
    coverage: docs/method.md.
    """
    counts, edges = np.histogram(strengths, np.quantile(strengths, np.linspace(0.0, 1.0, BINS + 1)))
    middles = (edges[:-1] + edges[1:]) / 2
    agree = sigmoid(SLOPES[:, None] * middles[None, :])  # (slopes, bins)
    profile = np.array(
        [
            float((np.log(rate + (1.0 - 2.0 * rate) * agree + 1e-300) @ counts).max())
            for rate in RATES
        ]
    )
    inside = RATES[2.0 * (profile.max() - profile) <= CHI_SQUARE_95]
    return Estimate(float(RATES[profile.argmax()]), float(inside.min()), float(inside.max()))


def accuracy_on_right_labels(accuracy: float, noise: Estimate) -> float:
    """What the ensemble's accuracy would be if no label were wrong: (accuracy - e) / (1 - 2 e)."""
    return (accuracy - noise.estimate) / (1.0 - 2.0 * noise.estimate)


def can_tell_noise(
    accuracy: float, noise: Estimate, *, trusted_accuracy: float, widest: float
) -> bool:
    """Whether the noise rate may be shown as such: the ensemble is good, and the interval narrow
    enough.

    Accuracy falls with the noise itself, so it is corrected for it before it is judged.
    """
    return (
        noise.half_width <= widest and accuracy_on_right_labels(accuracy, noise) >= trusted_accuracy
    )
