"""How many people, and AI judges, agree with the source's label of a standing and contradict it, in
SQL."""

from typing import Any

from django.db.models import BigIntegerField, Case, F, Value, When


def of_label(for_a: str, for_b: str, for_tie: Any = None) -> Case:
    """An expression by what the source prefers; missing where it prefers nothing."""
    sides = [("a", for_a), ("b", for_b), ("tie", for_tie)]
    whens = [When(source_preference=side, then=then) for side, then in sides if then is not None]
    return Case(*whens, default=None, output_field=BigIntegerField())


PEOPLE_TOTAL = F("people_a") + F("people_b") + F("people_tie") + F("people_both_bad")
PEOPLE_FOR = of_label("people_a", "people_b", "people_tie")
PEOPLE_AGAINST = of_label("people_b", "people_a", F("people_a") + F("people_b"))
AI_FOR = of_label("ai_a", "ai_b", Value(0))
AI_AGAINST = of_label("ai_b", "ai_a", F("ai_a") + F("ai_b"))
