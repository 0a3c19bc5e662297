"""How numbers and times are shown: every number says what it is and how sure."""

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

THIN = "\u202f"
MINUS = "\u2212"


@register.filter
def percent(share: float | None, digits: int = 0) -> str:
    """0.1234 -> 12 %; an en dash where there is nothing."""
    return "–" if share is None else f"{100 * share:.{digits}f}{THIN}%"


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
def signed(value: float | None, digits: int = 2) -> str:
    """A number with its sign, and a true minus."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    return text if not float(text) else f"{'+' if value > 0 else MINUS}{text}"


@register.filter
def decimal(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


@register.filter
def duration(value: Any) -> str:
    """Seconds or a timedelta in the largest units that matter: 3 min 20 s."""
    if value is None:
        return "–"
    seconds = round(value.total_seconds() if isinstance(value, timedelta) else float(value))
    if seconds < 60:
        return f"{seconds}{THIN}s"
    if seconds < 3600:
        return f"{seconds // 60}{THIN}min {seconds % 60}{THIN}s"
    return f"{seconds // 3600}{THIN}h {seconds % 3600 // 60}{THIN}min"


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """How long ago, with the full time behind it."""
    if moment is None:
        return "–"
    words = duration(timezone.now() - moment)
    return format_html(
        '<time datetime="{}" title="{}">{} ago</time>', moment.isoformat(), moment, words
    )


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
