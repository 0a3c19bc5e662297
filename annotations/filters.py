"""A filter of the list of pairs: conditions and an order, as an address, as JSON and in words.

In an address a field's name asks for its values (`flag=flipped&flag=ambiguous`), `_not` for all
others, and `_from`, `_to`, `_above` and `_below` for a range (`spread_from=0.5`). What is not as
flat as that stands as JSON under `where`.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time
from typing import Any

from django.http import QueryDict

from annotations import conditions
from annotations.asking import where
from annotations.conditions import (
    LAST,
    LISTS,
    BadCondition,
    Clause,
    Condition,
    Operator,
    nearest,
    parse,
    parse_clauses,
    quoted,
)
from annotations.fields import FLAGS, NONE, Field, Kind, Use, fields_for

__all__ = ["ORDERS", "Chip", "Filter", "Order", "from_json", "from_query", "from_stored", "where"]

WHERE = "where"
ORDER = "order"
PARAMETERS = {"checks": "check"}  # where the address says it in another word
ENDINGS = {
    Operator.IS: "",
    Operator.HAS: "",
    Operator.CONTAINS: "",
    Operator.IS_NOT: "_not",
    Operator.HAS_NOT: "_not",
    Operator.AT_LEAST: "_from",
    Operator.AT_MOST: "_to",
    Operator.ABOVE: "_above",
    Operator.BELOW: "_below",
}
FIRST_OF_DAY, LAST_OF_DAY = time(tzinfo=UTC), (datetime.min.replace(tzinfo=UTC) + LAST).timetz()


@dataclass(frozen=True)
class Order:
    """An order of the list: a column of the standings, its direction, and what it is called."""

    name: str
    shown_name: str
    column: str
    descending: bool = False
    nullable: bool = True  # what is missing comes last

    @property
    def sign(self) -> str:
        return "-" if self.descending else ""


ORDERS = {
    order.name: order
    for order in (
        Order("strength", "weakest first", "strength"),
        Order("-strength", "strongest first", "strength", descending=True),
        Order("-spread", "most divided models first", "spread", descending=True),
        Order("spread", "most united models first", "spread"),
        Order("-decided", "latest decision first", "decided_at", descending=True),
        Order("decided", "earliest decision first", "decided_at"),
        Order("-characters", "longest first", "characters", descending=True, nullable=False),
        Order("characters", "shortest first", "characters", nullable=False),
        Order("imported", "in the order of import", "pair", nullable=False),
        Order("-imported", "latest import first", "pair", descending=True, nullable=False),
    )
}
DEFAULT_ORDER = "strength"


@dataclass(frozen=True)
class Chip:
    """One clause of a filter in words, and the address of the filter without it."""

    words: str
    without: str


@dataclass(frozen=True)
class Filter:
    """What is asked of pairs, in which order, and what of the question could not be read."""

    clauses: tuple[Clause, ...] = ()
    order: str = DEFAULT_ORDER
    problems: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_empty(self) -> bool:
        """Whether it asks for every pair."""
        return not self.clauses

    @property
    def contradiction(self) -> str:
        """The conditions that no pair can meet together, in words; usually nothing."""
        return conditions.why_empty(self.clauses)

    def asks(self, *names: str) -> bool:
        """Whether it asks for one of the fields."""
        return any(each.field in names for each in conditions.flat(self.clauses))

    def and_also(self, *clauses: Clause) -> "Filter":
        """The narrower filter."""
        return replace(self, clauses=(*self.clauses, *clauses))

    def without(self, *names: str) -> "Filter":
        """The filter without the conditions on these fields, but for those in groups."""
        kept = [c for c in self.clauses if not (isinstance(c, Condition) and c.field in names)]
        return replace(self, clauses=tuple(kept))

    def values_of(self, name: str) -> tuple[Any, ...]:
        """The values of the field that a condition of its own asks for."""
        for clause in self.clauses:
            if not isinstance(clause, Condition) or clause.field != name:
                continue
            if clause.operator in (Operator.IS, Operator.HAS):
                return clause.values
        return ()

    def as_query(self, **more: Any) -> str:
        """The filter as an address has it, without a question mark; parameters may be added."""
        query = QueryDict(mutable=True)
        nested: list[Clause] = []
        for clause in self.clauses:
            if not (isinstance(clause, Condition) and _add(query, clause)):
                nested.append(clause)
        if nested:
            query[WHERE] = json.dumps(_jsons(nested), ensure_ascii=False, separators=(",", ":"))
        if self.order != DEFAULT_ORDER:
            query[ORDER] = self.order
        for name, value in more.items():
            query[name] = str(value)
        return query.urlencode()

    def as_json(self) -> list[dict[str, Any]]:
        """The conditions, as `conditions.parse_clauses` takes them; without the order."""
        return _jsons(self.clauses)

    def in_words(self) -> str:
        """ "strength below 0 and flag likely flipped"; "every pair" where nothing is asked."""
        return conditions.in_words(self.clauses)

    def chips(self) -> list[Chip]:
        """Its clauses one by one, to be taken away."""
        return [
            Chip(
                conditions.in_words([clause]),
                replace(self, clauses=self.clauses[:place] + self.clauses[place + 1 :]).as_query(),
            )
            for place, clause in enumerate(self.clauses)
        ]


def from_query(query: QueryDict, *, besides: Collection[str] | None = None) -> Filter:
    """The filter that an address, or a form, asks for. What cannot be read is left out of it and
    named in its problems, a sentence each. Parameters that are no fields are somebody else's;
    where the page says which it has `besides`, all others are problems: a word misspelt asks for
    every pair, and every pair may be about to be decided."""
    clauses: list[Clause] = []
    problems: list[str] = []
    if besides is not None:
        known = _parameters()
        strange = sorted(set(query) - known - set(besides))
        problems += [f"There is no filter {quoted(name)}{nearest(name, known)}" for name in strange]
    for name, asked in fields_for(Use.EXPLORE).items():
        for operator, ending in ENDINGS.items():
            if operator in conditions.OPERATORS[asked.kind]:
                given = _given(query, name, ending)
                clauses += _read(asked, operator, given, problems)
    clauses += _nested(query.get(WHERE, ""), problems)
    if len(clauses) > conditions.MOST_CONDITIONS:
        problems.append(f"The filter has more than {conditions.MOST_CONDITIONS} conditions.")
        clauses = []
    return Filter(tuple(clauses), _order(query.get(ORDER, ""), problems), tuple(problems))


def from_json(given: object, *, order: str = DEFAULT_ORDER) -> Filter:
    """The filter of a stored list of conditions."""
    clauses, problems = parse_clauses(given, use=Use.EXPLORE)
    return Filter(tuple(clauses), order, tuple(map(_sentence, problems)))


def from_stored(stored: Mapping[str, Any]) -> Filter:
    """The filter that a round keeps: conditions, or, where it was made before there were any, one
    value or several of each thing that could be asked then."""
    if "conditions" in stored or not stored:
        return from_json(stored.get("conditions", []))
    given: list[dict[str, Any]] = []
    low, high = stored.get("strength_from"), stored.get("strength_to")
    flags = stored.get("flags") or []
    if not flags and (low, high) != (None, None):
        flags = [name for name in FLAGS if name not in (NONE, "unscored")]  # labels alone
    if flags:
        given.append({"field": "flag", "is": flags})
    given += [
        {"field": field, operator: value}
        for field, operator, value in (
            ("strength", "at_least", low),
            ("strength", "at_most", high),
            ("status", "is", stored.get("status")),
            ("text", "contains", stored.get("text")),
        )
        if value not in (None, "")
    ]
    return from_json(given)


# Reading addresses


def _parameters() -> set[str]:
    """The names that an address may ask by."""
    return {WHERE, ORDER} | {
        each + ending
        for name, asked in fields_for(Use.EXPLORE).items()
        for operator, ending in ENDINGS.items()
        if operator in conditions.OPERATORS[asked.kind]
        for each in {name, PARAMETERS.get(name, name)}
    }


def _given(query: QueryDict, name: str, ending: str) -> list[str]:
    names = [name, PARAMETERS[name]] if name in PARAMETERS else [name]
    found = [value.strip() for each in names for value in query.getlist(each + ending)]
    return [value for value in found if value]


def _read(
    asked: Field, operator: Operator, given: Sequence[str], problems: list[str]
) -> list[Clause]:
    """The conditions that the parameters of one name stand for: one that lists all values, where
    it can list any."""
    if not given:
        return []
    if operator in LISTS and asked.choices:
        given = [name for text in given for name in text.split(",") if name]
    values = [_value(asked, text) for text in given]
    found: list[Clause] = []
    for value in [values] if operator in LISTS else values:
        try:
            found.append(parse({"field": asked.name, str(operator): value}, use=Use.EXPLORE))
        except BadCondition as error:
            problems.append(_sentence(str(error)))
    return found


def _value(asked: Field, text: str) -> Any:
    """A number where one is wanted and written; else the text, for the parser to judge."""
    if text == NONE or not (asked.kind is Kind.NUMBER or (asked.is_open and asked.whole)):
        return text
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        return text


def _nested(text: str, problems: list[str]) -> list[Clause]:
    if not text:
        return []
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        problems.append(f"The conditions under “{WHERE}” are not JSON: {quoted(text)}.")
        return []
    clauses, found = parse_clauses(given, use=Use.EXPLORE)
    problems.extend(map(_sentence, found))
    return clauses


def _order(name: str, problems: list[str]) -> str:
    if name and name not in ORDERS:
        problems.append(f"There is no order {quoted(name)}{nearest(name, ORDERS)}")
    return name if name in ORDERS else DEFAULT_ORDER


def _sentence(problem: str) -> str:
    return problem[:1].upper() + problem[1:]


# Writing addresses


def _add(query: QueryDict, condition: Condition) -> bool:
    """Write the condition into the address, where it can stand there flat: a second list of one
    name would be read as more of the first."""
    name = PARAMETERS.get(condition.field, condition.field)
    if condition.operator is Operator.BETWEEN:
        ends = zip((Operator.AT_LEAST, Operator.AT_MOST), condition.values, strict=True)
        for end, value in ends:
            query.appendlist(name + ENDINGS[end], _written(end, value))
        return True
    parameter = name + ENDINGS[condition.operator]
    texts = [_written(condition.operator, value) for value in condition.values]
    is_flat = all(text == text.strip() for text in texts)
    if not is_flat or (condition.operator in LISTS and parameter in query):
        return False
    for text in texts:
        query.appendlist(parameter, text)
    return True


def _written(operator: Operator, value: Any) -> str:
    if not isinstance(value, datetime):
        return repr(value) if isinstance(value, float) else str(value)
    ends_day = operator in (Operator.AT_MOST, Operator.ABOVE)
    is_day = value.timetz() == (LAST_OF_DAY if ends_day else FIRST_OF_DAY)
    return value.date().isoformat() if is_day else value.isoformat()


def _jsons(clauses: Iterable[Clause]) -> list[dict[str, Any]]:
    return [conditions.as_json(clause) for clause in clauses]
