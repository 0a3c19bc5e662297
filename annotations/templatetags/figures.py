"""How shares and their intervals are drawn and written in the tables of a team."""

from typing import Any

from django import template

from annotations.models import PreferencePair

register = template.Library()


@register.filter
def x(share: float) -> str:
    """Where a share stands on a line of 100 units; with a point whatever the language."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}"


@register.filter
def number(value: float) -> str:
    """A coordinate, with a point whatever the language."""
    return f"{value:.2f}"


@register.filter
def bounds(estimate: Any) -> str:
    """(55–67): the ends of an interval of shares, in percent."""
    return f"({100 * estimate.low:.0f}–{100 * estimate.high:.0f})"


@register.filter
def figure(agreement: Any) -> str:
    """.61 (.55–.67): an alpha with its interval; an en dash where it is not defined."""
    if agreement is None:
        return "–"
    return f"{two(agreement.estimate)} ({two(agreement.low)}–{two(agreement.high)})"


@register.filter
def two(value: float | None) -> str:
    """0.612 -> .61, −0.05 -> −.05: two decimals of a figure that never passes 1."""
    if value is None:
        return "–"
    text = f"{abs(value):.2f}"
    text = text.removeprefix("0") if abs(value) < 0.995 else text
    return f"\u2212{text}" if value < -0.005 else text


@register.filter
def last_message(pair: PreferencePair) -> str:
    """The last message of the prompt, on one line."""
    return " ".join(pair.prompt[-1]["content"].split())
