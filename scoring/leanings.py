"""What a run's strengths follow, in words: how far the models side with the labels, where they
differ among themselves, and what they go by instead of quality, length and side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scoring.models import Flag, ScoringRun
from scoring.overviews import FLAG, query_for

FAINT, STRONG = 0.1, 0.3  # rank correlations
CLEARLY_MORE = 1.1  # times as much spread


@dataclass(frozen=True)
class LengthRow:
    """Labels by how much longer the preferred response is, in words and figures."""

    words: str
    group: Mapping[str, Any]  # of scoring.core.distribution.LengthGroup
    pairs: str


def tenths_sentence(run: ScoringRun) -> str:
    """What the tenths of the labels say of these: where the models contradict them, and where there
    is little left to look for."""
    groups = run.summary["deciles"]
    against = sum(group["strength"] < 0 for group in groups)
    weakest, strongest = groups[0], groups[-1]
    flipped = weakest["flags"].get(Flag.FLIPPED, 0) / weakest["count"]
    sides = (
        "On average the models side with the labels of every group"
        if not against
        else f"On average the models contradict the labels of the {_ordinal(against)} and side "
        f"with the others"
    )
    return (
        f"{sides}. Of the weakest group {_whole(flipped)} are likely flipped and "
        f"{_whole(weakest['agreement'])} of the models agree; of the strongest "
        f"{_whole(strongest['agreement'])} do, so reviewing from the top of this table finds the "
        f"most wrong labels."
    )


def _ordinal(groups: int) -> str:
    return "weakest group" if groups == 1 else f"{groups} weakest groups"


def spread_sentence(run: ScoringRun) -> str:
    """Whether the models differ more where they are sure than where they are not, and what that
    means for their strengths."""
    groups = run.summary["profile"]
    fifth = max(len(groups) // 5, 1)
    unsure = sorted(groups, key=lambda group: abs(group["strength"]))[:fifth]
    weakest, strongest, middle = (
        sum(group["spread"] for group in some) / len(some)
        for some in (groups[:fifth], groups[-fifth:], unsure)
    )
    figures = (
        f"The models differ by {_two(weakest)} on the weakest labels, {_two(middle)} where their "
        f"mean is nearest to 0 and {_two(strongest)} on the strongest"
    )
    if min(weakest, strongest) > CLEARLY_MORE * middle:
        return (
            f"{figures}: more at both ends than in between. That is how models differ that have "
            f"learned something: of one mind about the side, and not about how strongly."
        )
    if max(weakest, strongest) > CLEARLY_MORE * middle:
        where = "strongest" if strongest > weakest else "weakest"
        return (
            f"{figures}: more on the {where} labels alone. They tell less about the other "
            f"end: look at some pairs there before you trust its flags."
        )
    return (
        f"{figures}: about as much everywhere. So strength alone tells how sure they are: where it "
        f"is smaller than that, one model more or less would turn the side."
    )


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


def _whole(share: float) -> str:
    return f"{100 * share:.0f}\u202f%"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
