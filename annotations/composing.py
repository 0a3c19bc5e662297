"""A policy as the rows of a form: read from what a browser sends, changed by its buttons, turned
into the JSON of the language and back.

A draft holds texts as they were typed, so that what cannot be read stays to be corrected. A
parameter is named by its place: `r0-action` is of the first rule, `r0-c1-o0-field` of the first
alternative of its second condition; a condition with several alternatives is an `any` group.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from annotations.conditions import (
    EPOCH,
    LAST,
    LISTS,
    OPERATORS,
    UNSTORABLE,
    AnyOf,
    Clause,
    Condition,
    Operator,
)
from annotations.fields import FIELDS, NONE, Field, Kind, Use, fields_for
from annotations.policies import (
    CALIBRATED,
    MOST_CONDITIONS,
    MOST_RULES,
    BadPolicy,
    Does,
    Policy,
    Rule,
    as_json,
    parse,
)
from curator.lib import digests

Posted = Mapping[str, Sequence[str]]

ENDS_DAY = (Operator.AT_MOST, Operator.ABOVE)
RULE = re.compile(r"r(\d{1,3})-action")
PLACE = re.compile(r"r(\d{1,3})-c(\d{1,3})-o(\d{1,3})-field")
BUTTON = re.compile(r"(up|down|remove|and|or)-r(\d{1,3})(?:-c(\d{1,3}))?(?:-o(\d{1,3}))?", re.ASCII)
OF_RULE = re.compile(r"rule (\d+)[:, ]+")
ALPHA, PROBABILITY = "alpha", "probability"
DISCARD = "discard"  # the button that gives up a text of JSON


@dataclass(frozen=True)
class Alternative:
    """One condition as it was typed."""

    field: str = "flag"
    operator: str = "is"
    values: tuple[str, ...] = ("flipped",)

    @property
    def asks(self) -> Field:
        return FIELDS[self.field]


@dataclass(frozen=True)
class DraftRule:
    """A rule as it was typed: conditions that must all hold, each in one or several
    alternatives."""

    clauses: tuple[tuple[Alternative, ...], ...] = ((Alternative(),),)
    action: str = "queue"
    how: str = CALIBRATED  # how far to soften: that, ALPHA or PROBABILITY
    amount: str = ""
    because: str = ""

    @property
    def softens(self) -> bool:
        return self.action == Does.SOFTEN


@dataclass(frozen=True)
class Draft:
    """A policy as it was typed, complete or not."""

    name: str = ""
    note: str = ""
    rules: tuple[DraftRule, ...] = field(default=(DraftRule(),))

    @property
    def may_grow(self) -> bool:
        return len(self.rules) < MOST_RULES

    @property
    def may_ask_more(self) -> bool:
        return sum(len(each) for rule in self.rules for each in rule.clauses) < MOST_CONDITIONS


@dataclass(frozen=True)
class Reading:
    """What a draft or a text of JSON comes to: a policy, or what is wrong with it."""

    policy: Policy | None = None
    problems: tuple[str, ...] = ()

    def of_rule(self, number: int) -> list[str]:
        """What is wrong with the rule, without its place."""
        found = [(OF_RULE.match(problem), problem) for problem in self.problems]
        return [
            _sentence(problem[place.end() :])
            for place, problem in found
            if place and int(place[1]) == number
        ]

    @property
    def of_no_rule(self) -> list[str]:
        return [_sentence(each) for each in self.problems if not OF_RULE.match(each)]


# From and to the language


def of_policy(policy: Policy) -> Draft:
    """The form of a policy, filled in."""
    return Draft(policy.name, policy.note, tuple(map(_of_rule, policy.rules)))


def read(draft: Draft) -> Reading:
    """The policy that the draft describes."""
    return _read(given(draft))


def read_json(text: str) -> Reading:
    """The policy that a text of JSON describes."""
    try:
        value = json.loads(text)
    except RecursionError:
        return Reading(problems=("This is nested too deeply to be a policy.",))
    except ValueError as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        return Reading(problems=(f"This is not JSON{where}: quotes, commas and brackets count.",))
    return _read(value)


def as_text(policy: Policy) -> str:
    """The policy as people read and write its JSON."""
    return _indented(as_json(policy))


def given(draft: Draft) -> dict[str, Any]:
    """The draft as a JSON value, whether it makes sense or not."""
    rules = [_given_rule(rule) for rule in draft.rules]
    return {"name": draft.name, "note": draft.note, "rules": rules}


def _read(value: object) -> Reading:
    try:
        return Reading(parse(value))
    except BadPolicy as error:
        return Reading(problems=tuple(error.problems))


def _indented(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _of_rule(rule: Rule) -> DraftRule:
    probability = rule.then.probability
    how, amount = CALIBRATED, ""
    if isinstance(probability, float):
        how, amount = PROBABILITY, _as_typed(probability, Operator.IS)
    clauses = tuple(_alternatives(clause) for clause in rule.when)
    return DraftRule(clauses, str(rule.then.does), how, amount, rule.because)


def _alternatives(clause: Clause) -> tuple[Alternative, ...]:
    conditions = clause.conditions if isinstance(clause, AnyOf) else (clause,)
    return tuple(map(_alternative, conditions))


def _alternative(condition: Condition) -> Alternative:
    ends: list[Operator] = [condition.operator] * len(condition.values)
    if condition.operator is Operator.BETWEEN:
        ends = [Operator.AT_LEAST, Operator.AT_MOST]
    typed = tuple(_as_typed(each, end) for each, end in zip(condition.values, ends, strict=True))
    return Alternative(condition.field, str(condition.operator), typed)


def _as_typed(value: Any, operator: Operator) -> str:
    """A day where the time is the beginning or end that a day stands for."""
    if not isinstance(value, datetime):
        return repr(value) if isinstance(value, float) else str(value)
    midnight = value - LAST if operator in ENDS_DAY else value
    is_day = midnight.timetz() == EPOCH.timetz()
    return midnight.date().isoformat() if is_day else value.isoformat()


def _given_rule(rule: DraftRule) -> dict[str, Any]:
    then: dict[str, Any] = {"action": rule.action}
    if rule.softens and rule.how == CALIBRATED:
        then[PROBABILITY] = CALIBRATED
    elif rule.softens:
        then[rule.how] = _number(rule.amount)
    when = [
        _given(clause[0]) if len(clause) == 1 else {"any": [_given(each) for each in clause]}
        for clause in rule.clauses
    ]
    return {"when": when, "then": then, "because": rule.because}


def _given(alternative: Alternative) -> dict[str, Any]:
    asked = FIELDS.get(alternative.field)
    values: list[Any] = list(alternative.values)
    if asked and (asked.kind is Kind.NUMBER or (asked.is_open and asked.whole)):
        values = [each if each == NONE else _number(each) for each in values]
    is_list = alternative.operator in (*LISTS, Operator.BETWEEN)
    value = values if is_list else next(iter(values), "")
    return {"field": alternative.field, alternative.operator: value}


def _number(text: str) -> float | int | str:
    """The number that was typed; the text, for the language to say what it thinks of it."""
    plain = text.strip().replace("\u2212", "-")
    try:
        return int(plain) if plain.lstrip("+-").isdecimal() else float(plain)
    except ValueError:
        return text


def _sentence(problem: str) -> str:
    return problem[:1].upper() + problem[1:]


# From a browser


@dataclass(frozen=True)
class Submission:
    """What a browser sends of the form: its rows and a text of JSON. The text counts where it was
    changed since it was shown."""

    draft: Draft
    reading: Reading
    text: str
    shown: str = ""  # digest of the text as the form wrote it

    @property
    def is_text(self) -> bool:
        """Whether the text says something that the rows do not."""
        return self.shown != digests.of_text(self.text)


def submission(draft: Draft) -> Submission:
    """The form of the draft, as it is shown first."""
    reading = read(draft)
    text = as_text(reading.policy) if reading.policy else _indented(given(draft))
    return Submission(draft, reading, text, digests.of_text(text))


def submitted(posted: Posted) -> Submission:
    """What a browser sends, with its button pressed."""
    draft = from_post(posted)
    text = UNSTORABLE.sub("\ufffd", _one(posted, "json"))
    shown = _one(posted, "json-was")
    if _one(posted, "do") == DISCARD or not text or shown == digests.of_text(text):
        return submission(draft)
    reading = read_json(text)
    if reading.policy is None:
        return Submission(draft, reading, text, shown)
    return submission(of_policy(reading.policy))


def from_post(posted: Posted) -> Draft:
    """The draft that a browser sends. Rules and conditions are in the order of their places,
    whatever numbers are left out."""
    rules = sorted(int(found[1]) for name in posted if (found := RULE.fullmatch(name)))
    places = sorted(
        (int(found[1]), int(found[2]), int(found[3]))
        for name in posted
        if (found := PLACE.fullmatch(name))
    )
    return Draft(
        _one(posted, "name"),
        _one(posted, "note"),
        tuple(_posted_rule(posted, number, places) for number in rules),
    )


def _posted_rule(posted: Posted, number: int, places: Sequence[tuple[int, int, int]]) -> DraftRule:
    clauses: dict[int, list[Alternative]] = {}
    for rule, clause, alternative in places:
        if rule == number:
            place = f"r{rule}-c{clause}-o{alternative}"
            clauses.setdefault(clause, []).append(_posted(posted, place))
    how = _one(posted, f"r{number}-how")
    return DraftRule(
        tuple(map(tuple, clauses.values())),
        _one(posted, f"r{number}-action"),
        how if how in (ALPHA, PROBABILITY, CALIBRATED) else CALIBRATED,
        _one(posted, f"r{number}-amount"),
        _one(posted, f"r{number}-because"),
    )


def _posted(posted: Posted, place: str) -> Alternative:
    """The condition at the place; a field that was just chosen is asked in its usual way."""
    name = _one(posted, f"{place}-field")
    asked = fields_for(Use.POLICY).get(name)
    if asked is None:
        return Alternative()
    if name != _one(posted, f"{place}-was"):
        return fresh(asked)
    operator = _one(posted, f"{place}-operator")
    if operator not in OPERATORS[asked.kind]:
        return fresh(asked)
    values = [each.strip() for each in posted.get(f"{place}-value", [])]
    if asked.kind in (Kind.NUMBER, Kind.TIME):
        values = _typed_numbers(values, Operator(operator))
    else:  # boxes are sent in the order on the page, and a policy keeps its own
        before = [each for each in posted.get(f"{place}-order", []) if each in values]
        values = list(dict.fromkeys([*before, *values]))
    return Alternative(name, operator, tuple(values))


def _typed_numbers(values: Sequence[str], operator: Operator) -> list[str]:
    """As many as the operator takes: lists stand in one box, with commas between."""
    if operator in LISTS:
        return [part for text in values for part in re.split(r"[,;\s]+", text) if part]
    wanted = 2 if operator is Operator.BETWEEN else 1
    return [*values, "", ""][:wanted]


def fresh(asked: Field) -> Alternative:
    """The condition that a field begins with when it is chosen."""
    if asked.kind is Kind.FLAGS:
        return Alternative(asked.name, "has", ())
    if asked.kind is Kind.CHOICE:
        return Alternative(asked.name, "is", ())
    if asked.kind is Kind.TIME:
        return Alternative(asked.name, "at_least", ("",))
    if asked.name == "strength":
        return Alternative(asked.name, "below", ("0",))
    if asked.unit == "share":
        return Alternative(asked.name, "below", ("0.5",))
    return Alternative(asked.name, "at_least", ("1",))


def _one(posted: Posted, name: str) -> str:
    """The one value of a parameter; browsers end lines with two characters."""
    values = posted.get(name) or [""]
    return values[-1].replace("\r\n", "\n").strip()


# Buttons


def pressed(draft: Draft, button: str) -> tuple[Draft, str]:
    """The draft after one of its buttons, and the id of what the keyboard goes to. A button that
    there is not changes nothing."""
    if button == "add":
        if not draft.may_grow:
            return draft, "add-rule"
        return replace(draft, rules=(*draft.rules, DraftRule())), f"r{len(draft.rules)}-action"
    found = BUTTON.fullmatch(button)
    if found is None:
        return draft, ""
    verb = found[1]
    rule, clause, alternative = (None if each is None else int(each) for each in found.groups()[1:])
    if rule is None or rule >= len(draft.rules):
        return draft, ""
    if verb in ("up", "down"):
        return _moved(draft, rule, verb)
    if clause is None and verb == "remove":
        return replace(draft, rules=_without(draft.rules, rule)), "add-rule"
    changed, focus = _asked(draft, rule, verb, clause, alternative)
    return replace(draft, rules=_with(draft.rules, rule, changed)), focus


def _moved(draft: Draft, rule: int, verb: str) -> tuple[Draft, str]:
    to = rule - 1 if verb == "up" else rule + 1
    if not 0 <= to < len(draft.rules):
        return draft, f"r{rule}-{verb}"
    rules = list(draft.rules)
    rules[rule], rules[to] = rules[to], rules[rule]
    goes_on = verb if 0 < to < len(rules) - 1 else {0: "down"}.get(to, "up")
    return replace(draft, rules=tuple(rules)), f"r{to}-{goes_on}"


def _asked(
    draft: Draft, rule: int, verb: str, clause: int | None, alternative: int | None
) -> tuple[DraftRule, str]:
    """The rule with a condition more or less."""
    changed = draft.rules[rule]
    clauses = changed.clauses
    if verb == "and" and draft.may_ask_more:
        more = (*clauses, (Alternative(),))
        return replace(changed, clauses=more), f"r{rule}-c{len(clauses)}-o0-field"
    if clause is None or clause >= len(clauses):
        return changed, f"r{rule}-and"
    ones = clauses[clause]
    if verb == "or" and draft.may_ask_more:
        more = _with(clauses, clause, (*ones, Alternative()))
        return replace(changed, clauses=more), f"r{rule}-c{clause}-o{len(ones)}-field"
    if verb == "remove" and alternative is not None:
        left = _without(ones, alternative)
        kept = _with(clauses, clause, left) if left else _without(clauses, clause)
        return replace(changed, clauses=kept), f"r{rule}-and"
    return changed, f"r{rule}-and"


def _with(all_of: tuple[Any, ...], place: int, one: Any) -> tuple[Any, ...]:
    return (*all_of[:place], one, *all_of[place + 1 :])


def _without(all_of: tuple[Any, ...], place: int) -> tuple[Any, ...]:
    return all_of[:place] + all_of[place + 1 :]
