"""Conditions on what is known of a pair: how they are written, what they mean, and what follows
from them.

A condition asks for one field, as JSON `{"field": "strength", "below": 0}`; a group
`{"any": [...]}` holds where one of its conditions does. Lists of both hold where all of them do.
`holds` is the reference of what they mean; whoever asks in SQL must answer as it does: an unknown
choice has a name, which `is_not` takes for one like any other, but a number, time or mask that is
missing meets no condition, other than that a number or time `is` none.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from enum import StrEnum
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations.fields import FIELDS, NONE, Field, Kind, Use, fields_for
from annotations.ranges import Bits, Names, Numbers

Booleans = npt.NDArray[np.bool_]
Column = npt.NDArray[Any] | Sequence[Any]
Columns = Mapping[str, Column]
Number = int | float
Name = str | int

MOST_CONDITIONS = 100
MOST_VALUES = 200  # that one condition may list
LONGEST = 500  # characters of a value
EXACT = 2**53  # up to here floats tell whole numbers apart
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = timedelta(days=1) - timedelta(microseconds=1)
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class BadCondition(ValueError):
    """A condition cannot be read. The message is one sentence, with its place first."""


class Operator(StrEnum):
    """How a condition compares."""

    IS = "is"  # one of the values
    IS_NOT = "is_not"
    BELOW = "below"
    AT_MOST = "at_most"
    ABOVE = "above"
    AT_LEAST = "at_least"
    BETWEEN = "between"  # both ends included
    HAS = "has"  # at least one of the bits
    HAS_NOT = "has_not"  # none of the bits
    CONTAINS = "contains"


LISTS = (Operator.IS, Operator.IS_NOT, Operator.HAS, Operator.HAS_NOT)
ENDS = (Operator.BELOW, Operator.AT_MOST, Operator.ABOVE, Operator.AT_LEAST)
OPERATORS: dict[Kind, tuple[Operator, ...]] = {
    Kind.NUMBER: (*ENDS, Operator.BETWEEN, Operator.IS, Operator.IS_NOT),
    Kind.TIME: (*ENDS, Operator.BETWEEN, Operator.IS, Operator.IS_NOT),
    Kind.CHOICE: (Operator.IS, Operator.IS_NOT),
    Kind.FLAGS: (Operator.HAS, Operator.HAS_NOT),
    Kind.TEXT: (Operator.CONTAINS,),
}
IN_WORDS = {
    Operator.BELOW: "below",
    Operator.AT_MOST: "at most",
    Operator.ABOVE: "above",
    Operator.AT_LEAST: "at least",
}
LISTS_IN_WORDS = {
    Operator.IS: "",
    Operator.IS_NOT: "not ",
    Operator.HAS: "found ",
    Operator.HAS_NOT: "found no ",
}
TIMES_IN_WORDS = {
    Operator.BELOW: "before",
    Operator.AT_MOST: "up to",
    Operator.ABOVE: "after",
    Operator.AT_LEAST: "from",
}


@dataclass(frozen=True)
class Condition:
    """One field compared. The values are those of its operator: one for an end or a text, two for
    between, any number for a list; names, numbers, times with a zone or, for unknown, `none`."""

    field: str
    operator: Operator
    values: tuple[Any, ...]

    @property
    def asks(self) -> Field:
        return FIELDS[self.field]


@dataclass(frozen=True)
class AnyOf:
    """Holds where one of the conditions does."""

    conditions: tuple[Condition, ...]


Clause = Condition | AnyOf


# Reading and writing


def parse(given: object, *, use: Use = Use.POLICY, place: str = "") -> Condition:
    """The condition that the JSON value stands for. Raises BadCondition, which begins with the
    place."""
    try:
        return _parsed(given, use)
    except BadCondition as error:
        raise BadCondition(f"{place}: {error}" if place else f"{error}") from None


def parse_clauses(
    given: object, *, use: Use = Use.POLICY, place: str = ""
) -> tuple[list[Clause], list[str]]:
    """What a list of conditions and groups stands for, and what is wrong with the others, a
    sentence each."""
    before = f"{place}, " if place else ""
    if not isinstance(given, list):
        return [], [f"{before}the conditions must be a list."]
    if _count(given) > MOST_CONDITIONS:
        return [], [f"{before}there are more than {MOST_CONDITIONS} conditions."]
    found: list[Clause] = []
    problems = []
    for number, each in enumerate(given, 1):
        try:
            found.append(_clause(each, use, f"{before}condition {number}"))
        except BadCondition as error:
            problems.append(str(error))
    return found, problems


def as_json(clause: Clause) -> dict[str, Any]:
    """The clause as JSON, such that parsing gives it back."""
    if isinstance(clause, AnyOf):
        return {"any": [as_json(each) for each in clause.conditions]}
    values = [each.isoformat() if isinstance(each, datetime) else each for each in clause.values]
    is_single = clause.operator in (*ENDS, Operator.CONTAINS)
    return {"field": clause.field, str(clause.operator): values[0] if is_single else values}


def in_words(clauses: Iterable[Clause]) -> str:
    """The conditions as people say them: "strength below 0 and flag likely flipped"."""
    return " and ".join(_clause_in_words(each) for each in clauses) or "every pair"


def flat(clauses: Iterable[Clause]) -> list[Condition]:
    """All conditions, those in groups included."""
    found: list[Condition] = []
    for clause in clauses:
        found.extend(clause.conditions if isinstance(clause, AnyOf) else [clause])
    return found


def nearest(name: str, names: Iterable[str]) -> str:
    """What else may have been meant, as the end of a sentence."""
    close = get_close_matches(name[:LONGEST], list(names), n=1)
    return f"; did you mean “{close[0]}”?" if close else "."


def quoted(given: object) -> str:
    """What was given, short enough for a sentence."""
    text = f"{given}" if isinstance(given, str | int | float) else type(given).__name__
    text = UNSTORABLE.sub("\ufffd", text)
    return f"“{text}”" if len(text) <= 60 else f"“{text[:59]}…”"


def _count(given: list[Any]) -> int:
    """Conditions, those of groups included."""
    groups = [
        each["any"]
        for each in given
        if isinstance(each, dict) and isinstance(each.get("any"), list)
    ]
    return len(given) + sum(len(group) for group in groups)


def _clause(given: object, use: Use, place: str) -> Clause:
    if not (isinstance(given, dict) and "any" in given):
        return parse(given, use=use, place=place)
    inner = given["any"]
    if len(given) > 1 or not isinstance(inner, list) or not inner:
        raise BadCondition(
            f'{place}: a group is written {{"any": [one condition or more]}}, with nothing beside.'
        )
    if any(isinstance(each, dict) and "any" in each for each in inner):
        raise BadCondition(f"{place}: a group cannot hold another group.")
    return AnyOf(
        tuple(
            parse(each, use=use, place=f"{place}, any {number}")
            for number, each in enumerate(inner, 1)
        )
    )


def _parsed(given: object, use: Use) -> Condition:
    if not isinstance(given, dict):
        raise BadCondition(
            'a condition is written {"field": "strength", "below": 0}, '
            f"and this is {quoted(given)}."
        )
    field = _field(given.get("field"), use)
    operator = _operator(field, [key for key in given if key != "field"])
    return Condition(field.name, operator, _values(field, operator, given[operator]))


def _field(name: object, use: Use) -> Field:
    known = fields_for(use)
    if not isinstance(name, str):
        raise BadCondition('it does not say which "field" it is about.')
    if name in known:
        return known[name]
    if name in FIELDS:
        asked = "policies" if use is Use.POLICY else "filters"
        raise BadCondition(f"{asked} cannot ask for {quoted(name)}.")
    raise BadCondition(f"there is no field {quoted(name)}{nearest(name, known)}")


def _operator(field: Field, keys: list[Any]) -> Operator:
    offered = OPERATORS[field.kind]
    listed = _either([str(each) for each in offered])
    if not keys:
        raise BadCondition(f"it says nothing of “{field.name}”: give {listed}.")
    if len(keys) > 1:
        raise BadCondition(
            f"it compares “{field.name}” more than once ({', '.join(map(quoted, keys))}): write a "
            "condition for each."
        )
    if keys[0] in [str(each) for each in offered]:
        return Operator(keys[0])
    raise BadCondition(f"“{field.name}” cannot be compared by {quoted(keys[0])}: give {listed}.")


def _values(field: Field, operator: Operator, given: object) -> tuple[Any, ...]:
    if operator in LISTS:
        return _list(field, given)
    if operator is Operator.BETWEEN:
        return _range(field, given)
    if operator is Operator.CONTAINS:
        return (_text(field, given),)
    if field.kind is Kind.TIME:
        return (_time(field, given, ends_day=operator in (Operator.AT_MOST, Operator.ABOVE)),)
    return (_number(field, given),)


def _list(field: Field, given: object) -> tuple[Any, ...]:
    values = given if isinstance(given, list) else [given]
    if not values:
        raise BadCondition(f"the list of values of “{field.name}” is empty.")
    if len(values) > MOST_VALUES:
        raise BadCondition(f"it lists more than {MOST_VALUES} values of “{field.name}”.")
    return tuple(dict.fromkeys(_one(field, value) for value in values))


def _one(field: Field, value: object) -> Any:
    """One of a list's values."""
    if field.kind is Kind.FLAGS or (field.kind is Kind.CHOICE and not field.is_open):
        return _choice(field, value)
    if value == NONE:
        return NONE
    if field.kind is Kind.TIME:
        return _time(field, value, ends_day=False)
    if field.kind is Kind.NUMBER:
        return _number(field, value)
    if not field.whole:
        return _text(field, value)
    number = _number(field, value)
    if not isinstance(number, int):
        raise BadCondition(f"“{field.name}” is a whole number, and this is {quoted(value)}.")
    return number


def _choice(field: Field, value: object) -> str:
    if isinstance(value, str) and value in field.choices:
        return value
    if not isinstance(value, str):
        raise BadCondition(f"“{field.name}” is {_either(field.choices)}, not {quoted(value)}.")
    close = nearest(value, field.choices)
    more = close if "“" in close else f": it is {_either(field.choices)}."
    raise BadCondition(f"“{field.name}” is never {quoted(value)}{more}")


def _number(field: Field, value: object) -> Number:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number:
        raise BadCondition(f"“{field.name}” is compared with a number, not {quoted(value)}.")
    assert isinstance(value, int | float)
    try:
        number = float(value)
    except OverflowError:
        raise BadCondition(f"the number for “{field.name}” is too large.") from None
    if not isfinite(number):
        raise BadCondition(f"“{field.name}” is compared with a finite number, not {value}.")
    return int(value) if number.is_integer() and abs(number) <= EXACT else number


def _text(field: Field, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadCondition(f"“{field.name}” is compared with a text, not {quoted(value)}.")
    if len(value) > LONGEST:
        raise BadCondition(f"the text for “{field.name}” is longer than {LONGEST} characters.")
    if UNSTORABLE.search(value):
        raise BadCondition(f"the text for “{field.name}” has characters that cannot be stored.")
    return value


def _time(field: Field, value: object, *, ends_day: bool) -> datetime:
    """A day stands for its beginning, or its end where the whole day is to be on this side."""
    try:
        if not isinstance(value, str):
            raise TypeError
        if len(value) == len("2026-11-21"):
            return datetime.combine(date.fromisoformat(value), time(tzinfo=UTC)) + LAST * ends_day
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        raise BadCondition(
            f"“{field.name}” is compared with a day or time such as 2026-11-21 or "
            f"2026-11-21T09:30Z, not {quoted(value)}."
        ) from None


def _range(field: Field, given: object) -> tuple[Any, Any]:
    if not isinstance(given, list) or len(given) != 2:
        raise BadCondition(f"“between” takes two values of “{field.name}”, the smaller one first.")
    low: Any
    high: Any
    if field.kind is Kind.TIME:
        low = _time(field, given[0], ends_day=False)
        high = _time(field, given[1], ends_day=True)
    else:
        low, high = (_number(field, each) for each in given)
    if low > high:
        raise BadCondition(
            f"“between” takes the smaller value of “{field.name}” first, and {quoted(given[0])} is "
            f"after {quoted(given[1])}."
        )
    return low, high


def _clause_in_words(clause: Clause) -> str:
    if isinstance(clause, AnyOf):
        words = " or ".join(_clause_in_words(each) for each in clause.conditions)
        return f"({words})" if len(clause.conditions) > 1 else words
    shown = clause.asks.shown_name
    if clause.operator in LISTS:
        return _list_in_words(clause, shown)
    values = [_value_in_words(clause.asks, each) for each in clause.values]
    if clause.operator is Operator.CONTAINS:
        return f"{shown} contains “{values[0]}”"
    if clause.operator is Operator.BETWEEN:
        return f"{shown} from {values[0]} to {values[1]}"
    compared = TIMES_IN_WORDS if clause.asks.kind is Kind.TIME else IN_WORDS
    return f"{shown} {compared[clause.operator]} {values[0]}"


def _list_in_words(clause: Condition, shown: str) -> str:
    """The values in one list after the field's name, and then those that have a phrase."""
    denies = clause.operator in (Operator.IS_NOT, Operator.HAS_NOT)
    phrases = [clause.asks.phrases[each] for each in clause.values if each in clause.asks.phrases]
    listed = [each for each in clause.values if each not in clause.asks.phrases]
    said = [denied if denies else affirmed for affirmed, denied in phrases]
    if listed:
        either = _either(_value_in_words(clause.asks, each) for each in listed)
        said.insert(0, f"{shown} {LISTS_IN_WORDS[clause.operator]}{either}")
    return (" and " if denies else " or ").join(said)


def _value_in_words(field: Field, value: Any) -> str:
    if isinstance(value, datetime):
        is_day = value.timetz() in (time(tzinfo=UTC), (EPOCH + LAST).timetz())
        return value.date().isoformat() if is_day else value.strftime("%Y-%m-%d %H:%M UTC")
    if isinstance(value, str):
        unknown = "unknown" if value == NONE else value
        return field.choices.get(value, unknown)
    digits = 10 if field.whole else 4  # as many as a person tells apart
    return f"{value:.{digits}g}".replace("-", "−")


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


# Meaning


def holds(clauses: Iterable[Clause], columns: Columns) -> Booleans:
    """Where all of them hold, (n,), of columns (n,) by the names of their fields.

    Choices are names (or whole numbers), numbers floats or ints, masks ints, times datetime64 in
    UTC or datetimes with a zone; None, NaN, NaT and masks below 0 are missing. A pair's values of a
    field of `several` are a collection. Raises ValueError where a column is wanted that is not
    there.
    """
    size = len(next(iter(columns.values()), ()))
    met = np.ones(size, dtype=np.bool_)
    for clause in clauses:
        met &= _holds(clause, columns)
    return met


def _holds(clause: Clause, columns: Columns) -> Booleans:
    if isinstance(clause, AnyOf):
        return np.asarray(
            np.logical_or.reduce([_holds(each, columns) for each in clause.conditions])
        )
    if clause.field not in columns:
        raise ValueError(f"There is no column of “{clause.field}” to look at.")
    column = columns[clause.field]
    kind = clause.asks.kind
    if kind is Kind.CHOICE:
        return _holds_of_choices(clause, column)
    if kind is Kind.FLAGS:
        return _holds_of_masks(clause, column)
    if kind is Kind.TEXT:
        wanted = clause.values[0].casefold()
        return _each(wanted in (text or "").casefold() for text in column)
    return _holds_of_numbers(clause, _as_floats(column))


def _holds_of_choices(condition: Condition, column: Column) -> Booleans:
    field = condition.asks
    wanted = field.names_within(frozenset(condition.values))
    if field.several:
        met = _each(not wanted.isdisjoint(values or (NONE,)) for values in column)
    else:
        met = _each(_name(field, value) in wanted for value in column)
    return met if condition.operator is Operator.IS else ~met


def _name(field: Field, value: Any) -> Name:
    """The choice that a stored value stands for."""
    if value is None or value != value:
        return field.missing
    if isinstance(value, str):
        return str(value) or field.blank
    return int(value)


def _holds_of_masks(condition: Condition, column: Column) -> Booleans:
    bits = sum(condition.asks.bits[name] for name in condition.values)
    masks = np.nan_to_num(np.asarray(column, dtype=np.float64), nan=-1.0).astype(np.int64)
    has = (masks & bits) != 0
    return np.asarray((masks >= 0) & (has if condition.operator is Operator.HAS else ~has))


def _holds_of_numbers(condition: Condition, numbers: npt.NDArray[np.float64]) -> Booleans:
    known = ~np.isnan(numbers)
    if condition.operator in LISTS:
        listed = [_as_number(each) for each in condition.values if each != NONE]
        met = np.isin(numbers, listed) | (~known & (NONE in condition.values))
        return met if condition.operator is Operator.IS else known & ~met
    first, last = _as_number(condition.values[0]), _as_number(condition.values[-1])
    compared = {
        Operator.BELOW: numbers < first,
        Operator.AT_MOST: numbers <= first,
        Operator.ABOVE: numbers > first,
        Operator.AT_LEAST: numbers >= first,
        Operator.BETWEEN: (numbers >= first) & (numbers <= last),
    }
    return np.asarray(compared[condition.operator])


def _as_number(value: Any) -> Number:
    """A time as microseconds, which floats tell apart until the year 2255."""
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(microseconds=1)
    assert isinstance(value, int | float)
    return value


def _as_floats(column: Column) -> npt.NDArray[np.float64]:
    """Numbers, or times in microseconds, with NaN where they are missing."""
    array = np.asarray(column)
    if array.dtype.kind == "M":
        micros = array.astype("datetime64[us]").astype(np.int64).astype(np.float64)
        return np.where(np.isnat(array), np.nan, micros)
    if array.dtype == object:
        return np.array([np.nan if each is None else _as_number(each) for each in array], float)
    return array.astype(np.float64)


def _each(answers: Iterable[bool]) -> Booleans:
    return np.fromiter(answers, dtype=np.bool_)


# What follows

Reach = Numbers | Names | Bits


def is_empty(clauses: Iterable[Clause]) -> bool:
    """Whether no pair can meet all of them. True is certain; False may only mean that it is not
    seen."""
    return bool(why_empty(clauses))


def why_empty(clauses: Iterable[Clause]) -> str:
    """The conditions that no pair can meet together, in words; nothing where there may be one."""
    plain, groups = _apart(clauses)
    for name, asked in _by_field(plain).items():
        if _is_empty(FIELDS[name], asked):
            return in_words(asked)
    for group in groups:
        if not _compatible(plain, group):
            return in_words([*plain, group])
    return ""


def implies(clauses: Sequence[Clause], others: Iterable[Clause]) -> bool:
    """Whether every pair that meets the clauses meets the others too. True is certain; False may
    only mean that it is not seen."""
    return is_empty(clauses) or all(_implies(clauses, other) for other in others)


def _implies(clauses: Sequence[Clause], other: Clause) -> bool:
    if other in clauses:
        return True
    plain, groups = _apart(clauses)
    if _follows(plain, other):
        return True
    return any(
        all(_follows([*plain, each], other) for each in _compatible(plain, group))
        for group in groups
    )


def _follows(plain: Sequence[Condition], other: Clause) -> bool:
    """Whether the clause holds wherever all of the plain conditions do."""
    if isinstance(other, AnyOf):
        return any(_follows(plain, each) for each in other.conditions)
    if other in plain:
        return True
    field = other.asks
    asked = [each for each in plain if each.field == field.name]
    reach, wanted = _reach(field, asked), _reach(field, [other])
    return _is_within(reach, wanted)


def _apart(clauses: Iterable[Clause]) -> tuple[list[Condition], list[AnyOf]]:
    """Conditions that must hold, and groups of which one must."""
    plain: list[Condition] = []
    groups = []
    for clause in clauses:
        if isinstance(clause, Condition):
            plain.append(clause)
        elif len(clause.conditions) == 1:
            plain.extend(clause.conditions)
        else:
            groups.append(clause)
    return plain, groups


def _compatible(plain: Sequence[Condition], group: AnyOf) -> list[Condition]:
    """Those of the group that some pair may meet beside the plain ones."""
    return [
        each
        for each in group.conditions
        if not _is_empty(
            each.asks, [each, *(other for other in plain if other.field == each.field)]
        )
    ]


def _by_field(conditions: Iterable[Condition]) -> dict[str, list[Condition]]:
    found: dict[str, list[Condition]] = {}
    for condition in conditions:
        found.setdefault(condition.field, []).append(condition)
    return found


def _is_empty(field: Field, asked: Iterable[Condition]) -> bool:
    reach = _reach(field, asked)
    return reach is not None and reach.is_empty


def _is_within(reach: Reach | None, wanted: Reach | None) -> bool:
    if isinstance(reach, Numbers) and isinstance(wanted, Numbers):
        return reach.is_within(wanted)
    if isinstance(reach, Names) and isinstance(wanted, Names):
        return reach.is_within(wanted)
    if isinstance(reach, Bits) and isinstance(wanted, Bits):
        return reach.is_within(wanted)
    return False


def _reach(field: Field, asked: Iterable[Condition]) -> Reach | None:
    """What the conditions on the field leave of it, or None where that cannot be said."""
    if field.several or field.kind is Kind.TEXT:
        return None
    if field.kind is Kind.CHOICE:
        return _names_left(field, asked)
    if field.kind is Kind.FLAGS:
        return _bits_left(asked)
    return _numbers_left(field, asked)


def _names_left(field: Field, asked: Iterable[Condition]) -> Names:
    named = field.names_within(frozenset(field.choices))
    left = Names(only=None if field.is_open else named)
    for condition in asked:
        names = field.names_within(frozenset(condition.values))
        is_asked = condition.operator is Operator.IS
        left = left.within_only(names) if is_asked else left.without(names)
    return left


def _bits_left(asked: Iterable[Condition]) -> Bits:
    left = Bits()
    for condition in asked:
        names = frozenset(condition.values)
        is_asked = condition.operator is Operator.HAS
        left = left.with_any(names) if is_asked else left.without(names)
    return left


def _numbers_left(field: Field, asked: Iterable[Condition]) -> Numbers:
    whole = field.whole or field.kind is Kind.TIME
    left = Numbers(low=field.least, high=field.most, whole=whole)
    for condition in asked:
        left = _narrowed(left, condition)
    return left


def _narrowed(left: Numbers, condition: Condition) -> Numbers:
    numbers = [_as_number(each) for each in condition.values if each != NONE]
    operator, missing = condition.operator, NONE in condition.values
    if operator is Operator.IS:
        return left.within_only(frozenset(numbers), missing=missing)
    if operator is Operator.IS_NOT:
        return left.without(frozenset(numbers))
    if operator is Operator.BETWEEN:
        low, high = numbers
        return left.from_low(low, closed=True).to_high(high, closed=True)
    if operator in (Operator.ABOVE, Operator.AT_LEAST):
        return left.from_low(numbers[0], closed=operator is Operator.AT_LEAST)
    return left.to_high(numbers[0], closed=operator is Operator.AT_MOST)
