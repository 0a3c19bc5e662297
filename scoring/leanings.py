"""What a run's strength follows instead of quality, in words: the length of responses, and the side
on which they stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scoring.models import ScoringRun
from scoring.overviews import FLAG, query_for

FAINT, STRONG = 0.1, 0.3  # rank correlations


@dataclass(frozen=True)
class LengthRow:
    """Labels by how much longer the preferred response is, in words and figures."""

    words: str
    group: Mapping[str, Any]  # of scoring.core.distribution.LengthGroup
    pairs: str


def lengths_of(run: ScoringRun) -> list[LengthRow]:
    """The groups by length, the shorter first."""
    return [
        LengthRow(longer_words(group["shortest"], group["longest"]), group, length_query(group))
        for group in run.summary["length"]["groups"]
    ]


def length_sentence(run: ScoringRun) -> str:
    """What the correlation of strength and length says, with its interval."""
    correlation = run.summary["length"]["correlation"]
    if correlation is None:
        return "All preferred responses are longer by the same, so length tells nothing."
    rho, low, high = (_two(correlation[name]) for name in ("estimate", "low", "high"))
    figures = f"ρ = {rho} ({low} to {high})"
    if correlation["low"] <= 0 <= correlation["high"]:
        return f"The models favour neither longer nor shorter responses: {figures}."
    which = "longer" if correlation["estimate"] > 0 else "shorter"
    how = abs(correlation["estimate"])
    adverb = "strongly" if how >= STRONG else "somewhat" if how >= FAINT else "faintly"
    return f"The models {adverb} favour {which} responses: {figures}."


def position_sentence(run: ScoringRun) -> str:
    """Which side the labels prefer, and whether that is more than chance."""
    share = run.summary["position"]["prefers_a"]
    shown, low, high = (_percent(share[name]) for name in ("estimate", "low", "high"))
    figures = f"{shown} ({low} to {high})"
    if share["low"] <= 0.5 <= share["high"]:
        return f"Labels favour neither side: {figures} prefer response A."
    which = "A" if share["estimate"] > 0.5 else "B"
    return (
        f"Labels favour response {which}: {figures} prefer A, where chance would be 50 %. Either "
        f"the source puts the better response on one side, or whoever labelled favours it."
    )


def length_query(group: Mapping[str, Any]) -> str:
    """The query for labels whose preferred response is longer by so many characters."""
    between = [group["shortest"], group["longest"]]
    return query_for([{"field": "longer", "between": between}, {"field": FLAG, "is_not": "none"}])


def longer_words(low: int, high: int) -> str:
    """ "12 to 40 characters longer", "9 shorter to 3 longer"."""
    if low == high:
        return "equally long" if low == 0 else f"{abs(low):,} characters {_longer(low)}"
    if low >= 0:
        return f"{low:,} to {high:,} characters longer"
    if high <= 0:
        return f"{-high:,} to {-low:,} characters shorter"
    return f"{-low:,} shorter to {high:,} longer"


def _longer(difference: int) -> str:
    return "longer" if difference > 0 else "shorter"


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "\u2212")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
