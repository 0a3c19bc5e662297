"""How strongly an ensemble agrees with each label: preference strength and its relatives.

Arrays of margins are (n_pairs, n_members): reward of the labelled response minus reward of the
other, so that negative means "this member contradicts the label". NaN stands where a member was not
asked (it had seen the pair in training). Source: arXiv 2401.06080, section 2; see docs/method.md.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def member_scales(margins: Floats) -> Floats:
    """Root mean square margin of each member, (n_pairs, n_members) -> (n_members,). 1 where there
    is nothing to scale.

    Members trained on different bags differ in scale; without it the loudest would speak for all.
    """
    asked = np.isfinite(margins)
    count = asked.sum(axis=0)
    squares = np.where(asked, np.square(margins, where=asked, out=np.zeros_like(margins)), 0.0).sum(
        axis=0
    )
    scales = np.sqrt(squares / np.maximum(count, 1))
    return np.where(scales > 0, scales, 1.0)


def standardise(margins: Floats, scales: Floats) -> Floats:
    """Margins in units of each member's own scale, so that every member speaks equally loud."""
    return np.asarray(margins / scales[None, :])


def preference_strength(margins: Floats) -> Floats:
    """Mean margin over the members that were asked, (n_pairs, n_members) -> (n_pairs,). NaN where
    none was.

    Negative: the ensemble contradicts the label.
    """
    asked = np.isfinite(margins)
    count = asked.sum(axis=1)
    total = np.where(asked, margins, 0.0).sum(axis=1)
    return _ratio(total, count)


def spread(margins: Floats) -> Floats:
    """Standard deviation of the margins over the members asked (ddof 0), (n_pairs, n_members) ->
    (n_pairs,)."""
    asked = np.isfinite(margins)
    count = asked.sum(axis=1)
    deviation = np.where(asked, margins - preference_strength(margins)[:, None], 0.0)
    return np.asarray(np.sqrt(_ratio((deviation**2).sum(axis=1), count)))


def votes(margins: Floats) -> Floats:
    """Share of the members asked that agree with the label, (n_pairs, n_members) -> (n_pairs,).
    A zero margin is half."""
    asked = np.isfinite(margins)
    count = asked.sum(axis=1)
    agreeing = 0.5 * (1.0 + np.sign(np.where(asked, margins, -1.0)))
    return _ratio(agreeing.sum(axis=1), count)


def accuracy(margins: Floats) -> Floats:
    """Each member's accuracy against the labels, (n_pairs, n_members) -> (n_members,). Ties
    count half."""
    return votes(margins.T)


def percentile(strength: Floats) -> Floats:
    """Share of the pairs with a lower strength, (n,) -> (n,) between 0 and 1. Equal strengths
    share their place."""
    ordered = np.sort(strength)
    return np.asarray(np.searchsorted(ordered, strength, side="left") / max(len(strength), 1))


def _ratio(total: Floats, count: npt.NDArray[np.intp]) -> Floats:
    """total / count, NaN where nothing was counted."""
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
