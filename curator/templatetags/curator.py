"""How numbers and times are shown: every number says what it is and how sure."""

import re
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

THIN = "\u202f"
MINUS = "\u2212"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
CODE = re.compile(r"`([^`]+)`")


@register.filter
def percent(share: float | None, digits: int = 0) -> str:
    """0.1234 -> 12 %; an en dash where there is nothing."""
    return "–" if share is None else f"{100 * share:.{digits}f}{THIN}%"


@register.filter
def chance(share: float) -> str:
    """A probability, never as 0 or 100 %: under 1 %, over 99 %."""
    if share < 0.01:
        return f"under 1{THIN}%"
    return f"over 99{THIN}%" if share > 0.99 else percent(share)


@register.filter
def interval(estimate: dict[str, float] | None) -> str:
    """{estimate, low, high} -> 12.4 % (10.9–14.0)."""
    if not estimate:
        return "–"
    low, high = 100 * estimate["low"], 100 * estimate["high"]
    return f"{100 * estimate['estimate']:.1f}{THIN}% ({low:.1f}–{high:.1f})"


@register.filter
def estimate(value: Any) -> str:
    """An object with estimate, low and high -> 75 % (47–91)."""
    if value is None:
        return "–"
    return f"{100 * value.estimate:.0f}{THIN}% ({100 * value.low:.0f}–{100 * value.high:.0f})"


@register.filter
def share_of(part: int | None, whole: int | None) -> str:
    """5 of 50 -> 10.0 %."""
    return percent(part / whole, 1) if part is not None and whole else ""


@register.filter
def signed(value: float | str | None, digits: int = 2) -> str:
    """A number with its sign, and a true minus; an en dash where there is nothing."""
    if value is None or isinstance(value, str):  # a template names what is not there ""
        return "–"
    text = f"{abs(value):.{digits}f}"
    return text if not float(text) else f"{'+' if value > 0 else MINUS}{text}"


@register.filter
def decimal(value: float | str | None, digits: int = 2) -> str:
    return "–" if value is None or isinstance(value, str) else f"{value:.{digits}f}"


@register.filter
def magnitude(count: float | None) -> str:
    """123456789 -> 123 M; an en dash where there is nothing."""
    if not isinstance(count, int | float):  # a template names what is not there ""
        return "–"
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size * 0.9995:
            shown = count / size
            return f"{shown:.{1 if shown < 9.95 else 0}f}{THIN}{unit}"
    return f"{count:.0f}"


@register.filter
def exact(value: float) -> str:
    """A number that may be very small: 0.04, 2.4 × 10⁻⁷."""
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:.3g}"
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits}{THIN}×{THIN}10{str(int(exponent)).translate(SUPERSCRIPT)}"


@register.filter
def duration(value: Any) -> str:
    """Seconds or a timedelta in the largest units that matter: 3 min 20 s."""
    if value is None:
        return "–"
    exact = value.total_seconds() if isinstance(value, timedelta) else float(value)
    seconds = round(exact)
    if exact < 1:
        return f"under 1{THIN}s"
    if seconds < 60:
        return f"{seconds}{THIN}s"
    if seconds < 3600:
        return f"{seconds // 60}{THIN}min {seconds % 60}{THIN}s"
    return f"{seconds // 3600}{THIN}h {seconds % 3600 // 60}{THIN}min"


@register.filter
def codes(sentence: str) -> SafeString:
    """A sentence of ours with `names` in code type."""
    return mark_safe(CODE.sub(r"<code>\1</code>", conditional_escape(sentence)))  # noqa: S308 - escaped


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """How long ago, with the full time behind it."""
    if moment is None:
        return "–"
    words = _roughly(timezone.now() - moment)
    return format_html(
        '<time datetime="{}" title="{}">{} ago</time>', moment.isoformat(), moment, words
    )


def _roughly(span: timedelta) -> str:
    """The largest unit alone: 20 min, 3 h, 2 days."""
    seconds = int(span.total_seconds())
    for size, unit in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds >= size:
            count = seconds // size
            return f"{count} days" if unit == "day" and count > 1 else f"{count}{THIN}{unit}"
    return f"{max(seconds, 0)}{THIN}s"


@register.filter
def dictget(mapping: dict[str, Any], key: str) -> Any:
    return mapping.get(key)


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: Any) -> str:
    """The page's own query string with some parameters changed; None removes one."""
    parameters = context["request"].GET.copy()
    for name, value in changes.items():
        if value in (None, ""):
            parameters.pop(name, None)
        else:
            parameters[name] = value
    return f"?{parameters.urlencode()}" if parameters else "?"
