"""How the list says where a pair stands."""

from django import template

from annotations.models import PairStanding

register = template.Library()

LABELS = {"a": "A", "b": "B", "tie": "tie"}


@register.filter
def people(standing: PairStanding) -> str:
    """What people say of the label: “2 for, 1 against”; of the responses where there is none."""
    a, b = standing.people_a, standing.people_b
    tie, both_bad = standing.people_tie, standing.people_both_bad
    named = {
        "a": ((a, "for"), (b, "against"), (tie, "tie")),
        "b": ((b, "for"), (a, "against"), (tie, "tie")),
        "tie": ((tie, "for"), (a + b, "against")),
    }.get(standing.source_preference, ((a, "A"), (b, "B"), (tie, "tie")))
    return ", ".join(f"{count} {word}" for count, word in (*named, (both_bad, "both bad")) if count)


@register.filter
def labelled(preference: str) -> str:
    """A, B, tie, or none, where the source prefers nothing."""
    return LABELS.get(preference, "none")
