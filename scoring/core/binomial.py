"""Clopper and Pearson's exact interval of a share, with the beta distribution it needs."""

import math

from curator.lib.intervals import LEVEL, Estimate

TINY = 1e-300
PRECISE = 1e-14
MOST_STEPS = 200


def clopper_pearson(hits: float, count: float, level: float = LEVEL) -> Estimate | None:
    """The share hits / count with Clopper and Pearson's interval; None where nothing was counted.

    Never covers less often than its level says, however few were counted. Neither needs to be
    whole, as after Korn and Graubard 1998 (an effective number of cases).
    """
    if count <= 0:
        return None
    tail = (1.0 - level) / 2
    share, misses = hits / count, count - hits
    low = beta_quantile(tail, hits, misses + 1) if hits > 0 else 0.0
    high = beta_quantile(1.0 - tail, hits + 1, misses) if misses > 0 else 1.0
    return Estimate(share, min(share, low), max(share, high))


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x in 0 to 1 below which a Beta(a, b) lies with the probability; a and b above 0.

    By Newton's method, and by halving what is left wherever that would leave it.
    """
    low, high, at = 0.0, 1.0, a / (a + b)
    for _ in range(MOST_STEPS):
        below = beta_below(at, a, b)
        low, high = (at, high) if below < probability else (low, at)
        density = math.exp(_log_kernel(at, a, b)) / (at * (1.0 - at))
        following = at - (below - probability) / density if density > TINY else low
        if not low < following < high:
            following = 0.5 * (low + high)
        if following in (low, high) or abs(following - at) < PRECISE * following:
            return following
        at = following
    return at


def beta_below(x: float, a: float, b: float) -> float:
    """The chance that a Beta(a, b) lies below x: the regularised incomplete beta function.

    By Lentz's method on the continued fraction 8.17.22 of the NIST Digital Library of Mathematical
    Functions, on the side of the mean where it is quick.
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_below(1.0 - x, b, a)
    return math.exp(_log_kernel(x, a, b)) / (a * _continued_fraction(x, a, b))


def _log_kernel(x: float, a: float, b: float) -> float:
    """The logarithm of x (1 - x) times the density of Beta(a, b) at x."""
    constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return constant + a * math.log(x) + b * math.log1p(-x)


def _continued_fraction(x: float, a: float, b: float) -> float:
    value, up, down, step = 1.0, 1.0, 0.0, 0
    while True:
        step += 1
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        down = 1.0 / _away_from_nought(1.0 + term * down)
        up = _away_from_nought(1.0 + term / up)
        value *= up * down
        if abs(up * down - 1.0) < PRECISE:
            return value


def _away_from_nought(x: float) -> float:
    return x if abs(x) > TINY else TINY
