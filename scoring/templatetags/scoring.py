"""How pairs and scores are shown."""

from typing import Any

from django import template

from annotations.models import PreferencePair
from curator.lib.work import Work
from scoring import overviews

register = template.Library()

DOT_BASE = 8.6
DOT_STEP = 3.0
FAINT, STRONG = 0.1, 0.3  # rank correlations


@register.filter
def last_prompt(pair: PreferencePair) -> str:
    """The last message of the prompt, on one line."""
    return " ".join(pair.prompt[-1]["content"].split())


@register.filter
def preferred_text(pair: PreferencePair) -> str:
    """The beginning of the response that the source prefers, on one line."""
    response = pair.response_b if pair.source_preference == "b" else pair.response_a
    return " ".join(response[0]["content"].split())


@register.filter
def svg(value: float) -> str:
    """A coordinate, with a point whatever the language."""
    return f"{value:.2f}"


@register.filter
def dot_height(row: int) -> str:
    return svg(DOT_BASE - DOT_STEP * row)


@register.filter
def words(name: str) -> str:
    """trusted_accuracy -> trusted accuracy."""
    return name.replace("_", " ")


@register.filter
def rate(value: float | None) -> str:
    """So many a second: 1,204, or 0.35 where there are few."""
    if not isinstance(value, int | float):
        return "–"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


@register.filter
def length_words(spearman: float) -> str:
    """What the rank correlation of strength with the difference in length means for the flags."""
    if abs(spearman) < FAINT:
        return "The flags hardly follow length."
    which = "shorter" if spearman > 0 else "longer"
    how = "strongly" if abs(spearman) >= STRONG else "somewhat"
    return (
        f"The models go by length {how}: a label that prefers the {which} response is flagged more "
        f"readily, right or wrong."
    )


@register.filter
def cut_words(summary: dict[str, Any]) -> str:
    """Why the flags of a run are no verdict, where they are none."""
    return overviews.cut_sentence(summary)


@register.filter
def any_open(rows: Any) -> bool:
    """Whether one of the rows is work that is not over."""
    return any(isinstance(row, Work) and not row.is_over for row in rows)


@register.filter
def point_at(curve: list[dict[str, float]], share: float) -> dict[str, float]:
    """The point of a review curve at a share reviewed, or the nearest."""
    return min(curve, key=lambda point: abs(point["reviewed"] - share))


@register.filter
def plain_interval(of: dict[str, float] | None) -> str:
    """{estimate, low, high} -> 0.812 (0.790–0.833); an en dash where there is nothing."""
    if not of:
        return "–"
    low, high = f"{of['low']:.3f}", f"{of['high']:.3f}"
    return f"{of['estimate']:.3f} ({_span(low, high)})".replace("-", "\u2212")


@register.filter
def points(of: dict[str, float] | None) -> str:
    """A difference of shares in percentage points: +2.1 (+0.4 to +3.8)."""
    if not of:
        return "–"
    low, high = f"{100 * of['low']:+.1f}", f"{100 * of['high']:+.1f}"
    return f"{100 * of['estimate']:+.1f} ({low} to {high})".replace("-", "\u2212")


@register.filter
def treated_words(treated: dict[str, int]) -> str:
    """What a recipe did with the pairs it was given: 12 flipped, 40 softened."""
    shown = {
        "flipped": "flipped",
        "softened": "softened",
        "with_margin": "with a margin",
        "weighted": "weighted",
        "left_out": "left out",
    }
    said = [f"{treated[name]:,} {words}" for name, words in shown.items() if treated.get(name)]
    return ", ".join(said) or "as labelled"


def _span(low: str, high: str) -> str:
    return f"{low} to {high}" if low.startswith("-") else f"{low}–{high}"
