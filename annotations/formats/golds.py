"""Rows of a file of gold pairs: which pair, what is right of it, why, and whether it is for
practice.

{"id" and/or "digest" of the pair, "label": "a", "explanation": "…", "practice": true}
"""

from dataclasses import dataclass

from annotations.formats.labels import Locator, Row, flag_of, is_missing, locator_of, other_side
from annotations.formats.parsed import RowError, text_of

ANSWERS = ("a", "b", "tie", "both_bad")
LONGEST_EXPLANATION = 5000


@dataclass(frozen=True)
class GivenGold:
    """The answer that a row holds for right; `is_practice` is None where it does not say."""

    pair: Locator
    preference: str
    explanation: str
    is_practice: bool | None

    def preference_where(self, is_in_order: bool) -> str:
        """The answer for the pair as it stands in a dataset."""
        stands_alike = self.pair.is_in_order in (None, is_in_order)
        return self.preference if stands_alike else other_side(self.preference)


def parse(row: Row) -> GivenGold:
    """The row's answer, or a RowError in words for the user."""
    pair, preference = locator_of(row), row.get("label")
    if preference not in ANSWERS:
        raise RowError(f"its `label` is {preference!r}; known are {', '.join(ANSWERS)}")
    explanation = row.get("explanation")
    text = "" if is_missing(explanation) else text_of(explanation, name="explanation").strip()
    if len(text) > LONGEST_EXPLANATION:
        raise RowError(f"its `explanation` is longer than {LONGEST_EXPLANATION:,} characters")
    practice = None if is_missing(row.get("practice")) else flag_of(row, "practice")
    return GivenGold(pair, str(preference), text, practice)
