"""How cleanlab would rank and count wrong labels on the same margins: what an audit compares ours
with, without cleanlab at run time.

Of two classes, cleanlab's self-confidence and normalised margin are both the probability of the
given label. On our calibrated probabilities its ranking is therefore ours, as these rise with
strength. What it is compared on is what one would hand it without our calibration: the mean of the
members' own Bradley–Terry probabilities, in which no member's scale is taken off.
"""

import numpy as np
import numpy.typing as npt

from scoring.core import strength
from scoring.core.calibration import sigmoid

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

NEAR = 1e-6  # cleanlab's tolerance of its thresholds
LEAST_THRESHOLD = 2e-6  # cleanlab's bound
NO_SUCH_CLASS = 2.0  # a threshold that no probability reaches


def members_probability(margins: Floats) -> Floats:
    """The mean probability that members give each label, (n, m) -> (n,), NaN where one was not
    asked: sigmoid(margin), as each was trained to mean it (Bradley and Terry 1952)."""
    return strength.preference_strength(sigmoid(margins))


def self_confidence(probabilities: Floats) -> Floats:
    """cleanlab's `get_label_quality_scores(method="self_confidence")` of labels (n,), low where a
    label is suspect."""
    return probabilities


def confident_issues(probabilities: Floats, says_a: Booleans) -> Booleans:
    """Which labels cleanlab's `find_label_issues(filter_by="confident_learning")` calls wrong,
    (n,), by the probability of each label (n,) and whether it prefers A (n,).

    Northcutt et al. 2021: the threshold of A is the mean probability of A where the label is A, and
    that of B likewise; a label is wrong where the other response is the likelier one and reaches
    its threshold. Give A and B at random, as labels that all prefer A make one class only.
    """
    other = 1.0 - probabilities
    thresholds = np.array([_threshold(probabilities[says_a]), _threshold(probabilities[~says_a])])
    its = thresholds[np.where(says_a, 1, 0)]
    return np.asarray((other >= its - NEAR) & (other > probabilities))


def _threshold(probabilities: Floats) -> float:
    if not len(probabilities):
        return NO_SUCH_CLASS
    return max(float(probabilities.mean()), LEAST_THRESHOLD)
