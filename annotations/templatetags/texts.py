"""How the texts of pairs are shown: formatted, or as they stand."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from annotations import illustrating, rendering
from annotations.models import PreferencePair

register = template.Library()


@register.filter
def formatted(text: str) -> SafeString:
    """A text of a model as formatted HTML; as it is where it is too long for that."""
    return formatted_if_short(text) or format_html('<div class="plain">{}</div>', as_written(text))


@register.filter
def formatted_if_short(text: str) -> SafeString:
    """A text of a model as formatted HTML; nothing where it is too long for that."""
    return mark_safe(rendering.to_html(text) or "")  # noqa: S308 - rendered by an allow-list


@register.filter
def as_written(text: str) -> SafeString:
    """A text of a model as it stands, with marks for the characters that turn its direction."""
    return mark_safe(rendering.as_written(text))  # noqa: S308 - escaped there


@register.filter
def plainly(text: str) -> str:
    """A text within the page's own words: what would turn their direction is shown instead."""
    return rendering.plainly(str(text))


@register.filter
def named(name: str) -> SafeString:
    """A name that somebody typed, within the page's own words: it changes nothing around it,
    whichever way its letters run."""
    words = rendering.plainly(str(name))
    return format_html("<bdi>{}</bdi>" if rendering.runs_left(words) else "{}", words)


@register.filter
def beginnings(pair: PreferencePair) -> list[illustrating.Beginning]:
    """How the responses of the pair begin, each on one line."""
    return illustrating.beginnings(pair)
