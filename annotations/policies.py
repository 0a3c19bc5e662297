"""Policies: rules that turn flags, strengths, labels and checks into proposed decisions, and the
presets.

The first rule that a pair meets decides; a pair that meets none is left as it is. A policy asks
only for what is known before anybody decides, so that to apply it again proposes the same. Whether
a proposal becomes a decision is said elsewhere: a person's is never overridden.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations import conditions
from annotations.conditions import (
    UNSTORABLE,
    AnyOf,
    Clause,
    Columns,
    Condition,
    Operator,
    holds,
    implies,
    nearest,
    parse_clauses,
    quoted,
    why_empty,
)
from curator.lib import digests

Floats = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]
Booleans = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]

MOST_RULES = 50
MOST_CONDITIONS = 200  # of all rules: each is compared with each
LONGEST_NAME = 100
LONGEST_TEXT = 2000
NO_RULE = -1
CALIBRATED = "calibrated"
POLICY_KEYS = ("name", "note", "rules")
RULE_KEYS = ("when", "then", "because")
ACTION_KEYS = ("action", "alpha", "probability")


class BadPolicy(ValueError):
    """A policy cannot be read or makes no sense. `problems` has a sentence for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = list(problems)


class Does(StrEnum):
    """What a rule does with a pair."""

    KEEP = "keep"
    FLIP = "flip"
    SOFTEN = "soften"
    TIE = "tie"
    DROP = "drop"
    QUEUE = "queue"  # undecided still, and put forward for review
    LEAVE = "leave"  # nothing, whatever later rules would do


SHOWN = {
    Does.KEEP: "keep the label",
    Does.FLIP: "flip the label",
    Does.SOFTEN: "soften the label",
    Does.TIE: "call it a tie",
    Does.DROP: "drop the pair",
    Does.QUEUE: "put forward for review",
    Does.LEAVE: "leave as it is",
}


@dataclass(frozen=True)
class Action:
    """What happens, and for softening how probable it is that the source's label is right: a
    number, or CALIBRATED, the pair's own probability by the run."""

    does: Does
    probability: float | str | None = None

    @property
    def is_calibrated(self) -> bool:
        return self.probability == CALIBRATED


@dataclass(frozen=True)
class Rule:
    """An action for the pairs that meet all clauses; without clauses, for every pair."""

    when: tuple[Clause, ...]
    then: Action
    because: str = ""


@dataclass(frozen=True)
class Policy:
    """Rules in the order in which they are tried."""

    name: str
    rules: tuple[Rule, ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a policy would do with each of n pairs."""

    rules: Int32s  # (n,): which rule the pair meets first, NO_RULE where none
    verdicts: Strings  # (n,): of Does without leave; empty where the pair is left as it is
    probabilities: Floats  # (n,): of the source's label where it is softened, NaN elsewhere
    senseless: Booleans  # (n,): left although a rule is met, because there is no label to do it to


# Reading and writing


def parse(given: object) -> Policy:
    """The policy that the JSON value stands for. Raises BadPolicy with all that is wrong."""
    if not isinstance(given, dict):
        raise BadPolicy(['A policy is written {"name": "…", "rules": [one rule or more]}.'])
    problems = _unknown_keys(given, POLICY_KEYS, "the policy")
    name = _text(given, "name", LONGEST_NAME, "the policy", problems)
    if not name.strip() and isinstance(given.get("name", ""), str):
        problems.append("the policy has no name.")
    note = _text(given, "note", LONGEST_TEXT, "the policy", problems)
    rules = _rules(given.get("rules"), problems)
    if problems:
        raise BadPolicy(problems)
    return Policy(name.strip(), rules, note)


def as_json(policy: Policy) -> dict[str, Any]:
    """The policy as JSON, such that parsing gives it back."""
    return {"name": policy.name, "note": policy.note, "rules": _rules_as_json(policy)}


def digest(policy: Policy) -> str:
    """SHA-256 of the rules: the same for the same rules, whatever they are called and however
    they were spelt."""
    return digests.of_value(digests.portable(_rules_as_json(policy)))


def rule_in_words(rule: Rule) -> str:
    """The rule as a sentence, without its reason."""
    probability = rule.then.probability
    how = ""
    if rule.then.is_calibrated:
        how = " to its calibrated probability"
    elif probability is not None:
        how = f" to a probability of {probability:g}"
    does = SHOWN[rule.then.does] + how
    return f"{does[0].upper()}{does[1:]}: {conditions.in_words(rule.when)}."


def in_words(policy: Policy) -> list[str]:
    """A sentence for each rule in their order, and one for the pairs that meet none."""
    sentences = [rule_in_words(rule) for rule in policy.rules]
    if all(rule.when for rule in policy.rules):
        sentences.append("All other pairs are left as they are.")
    return sentences


def fields_asked(policy: Policy) -> frozenset[str]:
    """Names of the fields that are needed to propose."""
    asked = [each.field for rule in policy.rules for each in conditions.flat(rule.when)]
    needed = {"source_preference", *asked}
    if any(rule.then.is_calibrated for rule in policy.rules):
        needed.add("label_probability")
    return frozenset(needed)


def _rules_as_json(policy: Policy) -> list[dict[str, Any]]:
    return [
        {
            "when": [conditions.as_json(each) for each in rule.when],
            "then": _action_as_json(rule.then),
            "because": rule.because,
        }
        for rule in policy.rules
    ]


def _action_as_json(action: Action) -> dict[str, Any]:
    written: dict[str, Any] = {"action": str(action.does)}
    return written if action.probability is None else written | {"probability": action.probability}


def _rules(given: object, problems: list[str]) -> tuple[Rule, ...]:
    """The rules that can be read; what is wrong with them is added to the problems."""
    if not isinstance(given, list) or not given:
        problems.append("the policy has no rules: give a list of one or more.")
        return ()
    if len(given) > MOST_RULES:
        problems.append(f"the policy has more than {MOST_RULES} rules.")
        return ()
    read = [_rule(each, f"rule {number}", problems) for number, each in enumerate(given, 1)]
    numbered = {number: rule for number, rule in enumerate(read, 1) if rule}
    if sum(len(conditions.flat(rule.when)) for rule in numbered.values()) > MOST_CONDITIONS:
        problems.append(f"the policy has more than {MOST_CONDITIONS} conditions.")
        return ()
    problems.extend(_pointless(numbered))
    return tuple(numbered.values())


def _rule(given: object, place: str, problems: list[str]) -> Rule | None:
    if not isinstance(given, dict):
        problems.append(f'{place}: a rule is written {{"when": [conditions], "then": action}}.')
        return None
    found = _unknown_keys(given, RULE_KEYS, place)
    if "when" not in given:
        found.append(f"{place}: it has no “when”; an empty list means every pair.")
    when, more = parse_clauses(given.get("when", []), place=place)
    found.extend(more)
    action = _action(given.get("then"), place, found)
    because = _text(given, "because", LONGEST_TEXT, place, found)
    problems.extend(found)
    return None if found or action is None else Rule(tuple(when), action, because)


def _action(given: object, place: str, problems: list[str]) -> Action | None:
    if not isinstance(given, dict):
        problems.append(f'{place}: it needs a “then”, such as {{"action": "queue"}}.')
        return None
    problems.extend(_unknown_keys(given, ACTION_KEYS, place))
    name = given.get("action")
    names = [str(each) for each in Does]
    if not isinstance(name, str) or name not in names:
        close = nearest(name, names) if isinstance(name, str) else "."
        more = close if "“" in close else f": choose {', '.join(names[:-1])} or {names[-1]}."
        problems.append(f"{place}: there is no action {quoted(name)}{more}")
        return None
    probability = _probability(given, Does(name), place, problems)
    return Action(Does(name), probability)


def _probability(
    given: Mapping[str, Any], does: Does, place: str, problems: list[str]
) -> float | str | None:
    """The chance that the label is right, from alpha or the probability itself."""
    keys = [key for key in ("alpha", "probability") if key in given]
    if does is not Does.SOFTEN:
        problems.extend(f"{place}: “{key}” is only for soften." for key in keys)
        return None
    if len(keys) != 1:
        said = "both alpha and probability say" if keys else "nothing says"
        problems.append(
            f"{place}: {said} how far to soften: give alpha, or a probability, which may be "
            "“calibrated”."
        )
        return None
    value: object = given[keys[0]]
    if keys == ["probability"] and value == CALIBRATED:
        return CALIBRATED
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1
    if keys == ["alpha"]:
        if 0 <= number < 0.5:
            return round(1.0 - number, 12)  # 1 − 0.1 and 0.9 are one policy
        problems.append(f"{place}: alpha lies from 0 to below 0.5, not at {quoted(value)}.")
        return None
    if 0 <= number <= 1:
        return float(number)
    problems.append(
        f"{place}: a probability lies from 0 to 1, or is “calibrated”; not {quoted(value)}."
    )
    return None


def _pointless(rules: Mapping[int, Rule]) -> list[str]:
    """A sentence for each rule that no pair can reach."""
    found = []
    for number, rule in rules.items():
        if contradiction := why_empty(rule.when):
            found.append(f"rule {number}: no pair can meet it: {contradiction}.")
            continue
        earlier = [other for other in rules if other < number]
        taken = [other for other in earlier if implies(rule.when, rules[other].when)]
        if taken:
            found.append(
                f"rule {number}: it never applies, since rule {taken[0]} takes every pair that "
                "meets it."
            )
    return found


def _unknown_keys(given: Mapping[Any, Any], known: Sequence[str], place: str) -> list[str]:
    return [
        f"{place}: there is no key {quoted(key)}{nearest(str(key), known)}"
        for key in given
        if key not in known
    ]


def _text(given: Mapping[str, Any], key: str, longest: int, place: str, problems: list[str]) -> str:
    value = given.get(key, "")
    if not isinstance(value, str):
        problems.append(f"{place}: “{key}” is a text, not {quoted(value)}.")
        return ""
    if len(value) > longest:
        problems.append(f"{place}: “{key}” is longer than {longest} characters.")
    if UNSTORABLE.search(value):
        problems.append(f"{place}: “{key}” has characters that cannot be stored.")
    return value


# What deserves a second thought

THE_ENSEMBLE = AnyOf(
    (
        Condition("flag", Operator.IS, ("flipped",)),
        Condition("strength", Operator.AT_MOST, (0,)),
        Condition("votes", Operator.AT_MOST, (0.5,)),
        Condition("label_probability", Operator.AT_MOST, (0.5,)),
        Condition("percentile", Operator.AT_MOST, (0.5,)),
    )
)
TWO_PEOPLE = AnyOf(
    (
        Condition("people_against", Operator.AT_LEAST, (2,)),
        Condition("people", Operator.IS, ("against",)),  # which takes two
    )
)
A_PERSON = AnyOf((Condition("people_against", Operator.AT_LEAST, (1,)), *TWO_PEOPLE.conditions))
AN_AI_JUDGE = AnyOf((Condition("ai_against", Operator.AT_LEAST, (1,)),))
SOMEBODY = AnyOf((*A_PERSON.conditions, *AN_AI_JUDGE.conditions))


def warnings(policy: Policy) -> list[str]:
    """What the policy may do, and yet deserves a second thought: a sentence each.

    A flip wants two independent judges against the label: two of the ensemble, people and AI
    judges, or two people. Skywork-Reward-V2 (arXiv 2507.01352) flips only where judges agree, and
    PrefCleanBench (arXiv 2509.23564) finds several judges better than one. AI judges count as one:
    they may be of one family.
    """
    found: list[str] = []
    for number, rule in enumerate(policy.rules, 1):
        found.extend(f"rule {number} {words}" for words in _second_thoughts(rule))
    return found


def _second_thoughts(rule: Rule) -> list[str]:
    found = []
    if _turns_labels(rule.then) and not _has_two_judges(rule):
        judge = _only_judge(rule)
        verb = "flips" if rule.then.does is Does.FLIP else "softens beyond one half"
        found.append(
            f"{verb} on the word of one judge ({judge})."
            if judge
            else f"{verb} where no judge need contradict the label."
        )
    if not rule.when and rule.then.does not in (Does.QUEUE, Does.LEAVE):
        found.append("has no condition: it decides every pair that no rule before it takes.")
    return found


def _turns_labels(action: Action) -> bool:
    """Whether it makes the other response the likelier one on its own word."""
    return action.does is Does.FLIP or (
        isinstance(action.probability, float) and action.probability < 0.5
    )


def _has_two_judges(rule: Rule) -> bool:
    pairs = [
        (THE_ENSEMBLE, SOMEBODY),
        (A_PERSON, AN_AI_JUDGE),
        (TWO_PEOPLE,),
    ]
    return any(implies(rule.when, judges) for judges in pairs)


def _only_judge(rule: Rule) -> str:
    names = {
        "the ensemble": THE_ENSEMBLE,
        "a person": A_PERSON,
        "an AI judge": AN_AI_JUDGE,
        "a person or an AI judge": SOMEBODY,
    }
    said = [name for name, judge in names.items() if implies(rule.when, [judge])]
    return said[0] if said else ""


# Meaning


def propose(policy: Policy, columns: Columns) -> Proposal:
    """What the policy would do with n pairs, of columns (n,) as `conditions.holds` takes them.

    `fields_asked` names the columns. An action is left out where there is nothing to do it to: flip
    and soften take a label that prefers a response, keep takes any label, and softening by the
    calibration takes a pair that has a probability. This is the reference; whoever asks in SQL
    must answer as it does.
    """
    size = len(columns["source_preference"])
    met = np.full(size, NO_RULE, dtype=np.int32)
    verdicts = np.full(size, "", dtype="<U6")
    probabilities = np.full(size, np.nan)
    senseless = np.zeros(size, dtype=np.bool_)
    for number, rule in enumerate(policy.rules):
        own = (met == NO_RULE) & holds(rule.when, columns)
        met[own] = number
        if rule.then.does is Does.LEAVE:
            continue
        sensible = _makes_sense(rule.then, columns)
        senseless |= own & ~sensible
        verdicts[own & sensible] = str(rule.then.does)
        if rule.then.does is Does.SOFTEN:
            softened = _probabilities(rule.then, columns)
            probabilities = np.where(own & sensible, softened, probabilities)
    return Proposal(met, verdicts, probabilities, senseless)


def _makes_sense(action: Action, columns: Columns) -> Booleans:
    """Where there is something to do it to, (n,)."""
    labels = {
        Does.FLIP: ("a", "b"),
        Does.SOFTEN: ("a", "b"),
        Does.KEEP: ("a", "b", "tie"),
    }.get(action.does, ("a", "b", "tie", "none"))
    sensible = holds([Condition("source_preference", Operator.IS, labels)], columns)
    if action.is_calibrated:
        sensible &= holds([Condition("label_probability", Operator.IS_NOT, ("none",))], columns)
    return sensible


def _probabilities(action: Action, columns: Columns) -> Floats:
    """Of each pair's label, were it softened, (n,)."""
    if action.is_calibrated:
        return np.asarray(columns["label_probability"], dtype=np.float64)
    assert isinstance(action.probability, float)
    return np.full(len(columns["source_preference"]), action.probability)


# Presets

BROKEN = {"field": "checks", "has": ["identical", "empty", "api_error"]}
SUSPECT = {"field": "flag", "is": ["flipped"]}
WRITTEN: list[dict[str, Any]] = [
    {
        "name": "review-first",
        "note": (
            "Decides nothing: what the ensemble doubts and what other pairs contradict is put "
            "forward for people. The safe way to begin, and the default (docs/method.md, flags)."
        ),
        "rules": [
            {
                "when": [{"field": "flag", "is": ["flipped", "ambiguous"]}],
                "then": {"action": "queue"},
                "because": "The ensemble contradicts the label or is in doubt of it.",
            },
            {
                "when": [{"field": "checks", "has": ["contradicted", "cycle"]}],
                "then": {"action": "queue"},
                "because": "Other pairs of the same prompt contradict the label.",
            },
        ],
    },
    {
        "name": "conservative",
        "note": (
            "Flips only where independent judges agree against the label and nobody speaks for it: "
            "the ensemble with two people, or with a person and an AI judge (arXiv 2507.01352). "
            "Other suspects are softened to their calibrated probability, unless most people "
            "confirm the label, and broken pairs are dropped; all else is left. Runs without "
            "a calibration (in-sample) soften nothing."
        ),
        "rules": [
            {
                "when": [BROKEN],
                "then": {"action": "drop"},
                "because": "The pair is broken: no label of it can be right.",
            },
            {
                "when": [
                    SUSPECT,
                    {"field": "people_against", "at_least": 2},
                    {"field": "people_for", "at_most": 0},
                ],
                "then": {"action": "flip"},
                "because": "The ensemble and at least two people contradict the label, and nobody "
                "is for it.",
            },
            {
                "when": [
                    SUSPECT,
                    {"field": "people_against", "at_least": 1},
                    {"field": "people_for", "at_most": 0},
                    {"field": "ai_against", "at_least": 1},
                    {"field": "ai_for", "at_most": 0},
                ],
                "then": {"action": "flip"},
                "because": "The ensemble, a person and an AI judge contradict the label, and "
                "nobody is for it.",
            },
            {
                "when": [SUSPECT, {"field": "people", "is": ["for"]}],
                "then": {"action": "leave"},
                "because": "The ensemble contradicts the label, but most people confirm it.",
            },
            {
                "when": [SUSPECT],
                "then": {"action": "soften", "probability": CALIBRATED},
                "because": "The ensemble alone contradicts the label: it counts for as much as "
                "it is probable.",
            },
        ],
    },
    {
        "name": "paper-flip-bottom-10",
        "note": (
            "What arXiv 2401.06080 does to its noisiest tenth: the labels of the lowest strengths "
            "are flipped, on the word of the ensemble alone. To reproduce the paper, and to "
            "compare; with labels that are mostly right it flips many of those too."
        ),
        "rules": [
            {
                "when": [{"field": "percentile", "below": 0.1}],
                "then": {"action": "flip"},
                "because": "The strength is among the lowest tenth of the run.",
            }
        ],
    },
    {
        "name": "paper-soft-labels",
        "note": (
            "Soft labels of arXiv 2401.06080: pairs with a strength below 0 are trained on with "
            "label smoothing. The paper keeps its α to itself; 0.1 is ours. Its margins are no "
            "decision: exports carry each pair's strength as the margin."
        ),
        "rules": [
            {
                "when": [{"field": "strength", "below": 0}],
                "then": {"action": "soften", "alpha": 0.1},
                "because": "The ensemble contradicts the label.",
            }
        ],
    },
    {
        "name": "remove-suspects",
        "note": (
            "Drops what is likely flipped or broken. The simplest cleaning that works with one "
            "judge: removing beats flipping where nobody else is asked (arXiv 2509.23564). Costs "
            "data: look at the preview before more than a third goes."
        ),
        "rules": [
            {
                "when": [BROKEN],
                "then": {"action": "drop"},
                "because": "The pair is broken: no label of it can be right.",
            },
            {
                "when": [SUSPECT],
                "then": {"action": "drop"},
                "because": "The ensemble contradicts the label.",
            },
        ],
    },
]
PRESETS: Mapping[str, Policy] = MappingProxyType(
    {written["name"]: parse(written) for written in WRITTEN}
)
DEFAULT = "review-first"
