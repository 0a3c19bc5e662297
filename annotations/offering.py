"""What the form of a policy offers at each place: fields, ways to compare, values to choose."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from annotations.composing import ALPHA, PROBABILITY, Alternative, Draft, DraftRule, Reading
from annotations.conditions import IN_WORDS, OPERATORS, TIMES_IN_WORDS, Operator
from annotations.fields import CONTENT, ENSEMBLE, LABELS, Field, Kind
from annotations.policies import CALIBRATED, SHOWN, Does

Offers = Mapping[str, Mapping[str, str]]  # of open choices: field to name to shown name

GROUPS = {"The ensemble": ENSEMBLE, "Labels": LABELS, "The pair": CONTENT}
COMPARED = {
    Operator.IS: "is",
    Operator.IS_NOT: "is not",
    Operator.BETWEEN: "between",
    Operator.HAS: "found any of",
    Operator.HAS_NOT: "found none of",
}
HOW = {
    CALIBRATED: "its calibrated probability",
    PROBABILITY: "a probability of the label",
    ALPHA: "1 − α (label smoothing)",
}
LONGEST_LIST = 400  # characters that a box of numbers takes


@dataclass(frozen=True)
class Choice:
    """One of the values on offer."""

    value: str
    shown_name: str
    is_chosen: bool


@dataclass(frozen=True)
class ShownCondition:
    """A condition in the form. `place` begins the names of its parameters."""

    place: str
    asked: Field
    typed: Alternative
    is_first: bool  # of its alternatives
    choices: tuple[Choice, ...]

    @property
    def operators(self) -> list[Choice]:
        words = TIMES_IN_WORDS if self.asked.kind is Kind.TIME else IN_WORDS
        said = {**COMPARED, **words}
        return [
            Choice(str(each), said[each], each == self.typed.operator)
            for each in OPERATORS[self.asked.kind]
        ]

    @property
    def fields(self) -> dict[str, list[Choice]]:
        """The fields to choose from, under headings."""
        return {
            heading: [
                Choice(each.name, each.shown_name, each.name == self.asked.name)
                for each in fields
                if each.for_policies
            ]
            for heading, fields in GROUPS.items()
        }

    @property
    def has_boxes(self) -> bool:
        """Whether values are ticked rather than typed."""
        return self.asked.kind in (Kind.CHOICE, Kind.FLAGS)

    @property
    def text(self) -> str:
        """What stands in the one box of a list or an end."""
        return ", ".join(self.typed.values)[:LONGEST_LIST]

    @property
    def is_between(self) -> bool:
        return self.typed.operator == Operator.BETWEEN

    @property
    def ends(self) -> tuple[str, str]:
        low, high, *_ = (*self.typed.values, "", "")
        return low, high

    @property
    def hint(self) -> str:
        if self.asked.kind is Kind.TIME:
            return "2026-11-21"
        return "0 to 1" if self.asked.unit == "share" else self.asked.unit


@dataclass(frozen=True)
class ShownClause:
    """A condition that must hold, in one or several alternatives."""

    place: str
    conditions: tuple[ShownCondition, ...]


@dataclass(frozen=True)
class ShownRule:
    """A rule in the form, and what is wrong with it."""

    place: str
    number: int
    typed: DraftRule
    clauses: tuple[ShownClause, ...]
    problems: tuple[str, ...]
    is_last: bool

    @property
    def actions(self) -> list[Choice]:
        return [Choice(str(each), SHOWN[each], each == self.typed.action) for each in Does]

    @property
    def ways(self) -> list[Choice]:
        """How far to soften."""
        return [Choice(name, words, name == self.typed.how) for name, words in HOW.items()]

    @property
    def takes_amount(self) -> bool:
        return self.typed.softens and self.typed.how in (ALPHA, PROBABILITY)


def rules_of(draft: Draft, reading: Reading, offers: Offers) -> list[ShownRule]:
    """The rules of the draft as the form shows them."""
    return [
        ShownRule(
            place=f"r{place}",
            number=place + 1,
            typed=rule,
            clauses=tuple(_clauses(rule, f"r{place}", offers)),
            problems=tuple(reading.of_rule(place + 1)),
            is_last=place == len(draft.rules) - 1,
        )
        for place, rule in enumerate(draft.rules)
    ]


def open_fields(draft: Draft) -> frozenset[str]:
    """The fields that the draft asks for whose choices the dataset knows, not the language."""
    asked = {each.field for rule in draft.rules for ones in rule.clauses for each in ones}
    return frozenset(field.name for field in (*LABELS, *CONTENT) if field.is_open) & asked


def _clauses(rule: DraftRule, before: str, offers: Offers) -> Iterable[ShownClause]:
    for number, alternatives in enumerate(rule.clauses):
        place = f"{before}-c{number}"
        shown = (
            ShownCondition(f"{place}-o{each}", one.asks, one, each == 0, _choices(one, offers))
            for each, one in enumerate(alternatives)
        )
        yield ShownClause(place, tuple(shown))


def _choices(typed: Alternative, offers: Offers) -> tuple[Choice, ...]:
    """What is on offer, and what was chosen although it is not."""
    if typed.asks.kind not in (Kind.CHOICE, Kind.FLAGS):
        return ()
    known = dict(typed.asks.choices or offers.get(typed.field, {}))
    known |= {value: value for value in typed.values if value not in known}
    return tuple(Choice(name, shown, name in typed.values) for name, shown in known.items())
