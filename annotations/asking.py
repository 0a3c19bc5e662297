"""Conditions asked of standings in SQL: the answers are those of `conditions.holds`, but for texts,
which are found by their words."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil, floor
from typing import Any

from django.db.models import Case, CharField, Exists, F, OuterRef, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.db.models.lookups import (
    GreaterThan,
    GreaterThanOrEqual,
    In,
    IsNull,
    LessThan,
    LessThanOrEqual,
)

from annotations import searching
from annotations.conditions import AnyOf, Clause, Condition, Operator
from annotations.fields import NONE, Field, Kind
from annotations.models import Import, Label, PreferencePair
from annotations.voices import (
    AI_AGAINST,
    AI_FOR,
    PEOPLE_AGAINST,
    PEOPLE_FOR,
    PEOPLE_TOTAL,
    of_label,
)
from curator.lib.bulk import asked_once

LARGEST = 2**62  # of the whole numbers that a database compares
COMPARED = {
    Operator.BELOW: LessThan,
    Operator.AT_MOST: LessThanOrEqual,
    Operator.ABOVE: GreaterThan,
    Operator.AT_LEAST: GreaterThanOrEqual,
}


def where(clauses: Iterable[Clause]) -> Q:
    """What a query over PairStanding is filtered by, so that all of the clauses hold."""
    met = Q()
    for clause in clauses:
        met &= _any_of(clause) if isinstance(clause, AnyOf) else _met(clause)
    return met


# What is derived from the columns of a standing


def _most(counted: Combinable) -> Q:
    return Q(GreaterThan(counted * 2, PEOPLE_TOTAL))


OPINION = Case(
    When(Q(source_preference="") | Q(LessThan(PEOPLE_TOTAL, 2)), then=Value(NONE)),
    When(_most(PEOPLE_FOR), then=Value("for")),
    When(_most(PEOPLE_AGAINST), then=Value("against")),
    When(_most(F("people_tie")), then=Value("tie")),
    When(_most(F("people_both_bad")), then=Value("both_bad")),
    default=Value("divided"),
    output_field=CharField(),
)
NUMBERS: Mapping[str, Any] = {
    "people_for": PEOPLE_FOR,
    "people_against": PEOPLE_AGAINST,
    "people_total": PEOPLE_TOTAL,
    "ai_for": AI_FOR,
    "ai_against": AI_AGAINST,
    "longer": of_label("longer_a", F("longer_a") * -1),  # type: ignore[arg-type]
    "decided": F("decided_at"),
}


def expression(field: str) -> Any:
    """What a number or time of a standing is in SQL."""
    return NUMBERS.get(field, F(field))


# Conditions


def _any_of(group: AnyOf) -> Q:
    met = _met(group.conditions[0])
    for condition in group.conditions[1:]:
        met |= _met(condition)
    return met


def _met(condition: Condition) -> Q:
    field = condition.asks
    if field.kind is Kind.TEXT:
        return Q(pk__in=searching.matching(condition.values[0]))
    if field.kind is Kind.FLAGS:
        bits = sum(field.bits[name] for name in condition.values)
        if condition.operator is Operator.HAS_NOT:
            return Q(In(F("checks").bitand(bits), [0]))
        return _has(field, bits)
    if field.kind is Kind.CHOICE:
        return _chosen(condition)
    if field.name == "imported":
        imports = Import.objects.alias(at=Coalesce("finished_at", "queued_at"))
        return Q(imported_in__in=imports.filter(_compared(condition, F("at"))).values("pk"))
    return _compared(condition, expression(field.name))


def _has(field: Field, bits: int) -> Q:
    """Where a mask has one of the bits: listed, as an index finds a mask and no bit."""
    masks = range(1, 2 * max(field.bits.values()))
    return Q(checks__gt=0, checks__in=[mask for mask in masks if mask & bits])


def _compared(condition: Condition, compared: Any) -> Q:
    """A number or time, which meets nothing where it is missing, but that it is none."""
    operator, values = condition.operator, condition.values
    if operator in (Operator.IS, Operator.IS_NOT):
        return _listed(condition, compared)
    if operator is Operator.BETWEEN:
        ends = zip((Operator.AT_LEAST, Operator.AT_MOST), values, strict=True)
    else:
        ends = zip((operator,), values, strict=True)
    met = Q()
    for end, value in ends:
        met &= Q(COMPARED[end](compared, _bound(condition.asks, end, value)))
    return met


def _listed(condition: Condition, compared: Any) -> Q:
    values = [each for each in condition.values if each != NONE]
    if condition.asks.whole:
        values = [each for each in values if each == int(each) and abs(each) < LARGEST]
    missing = NONE in condition.values
    if condition.operator is Operator.IS:
        met = Q(In(compared, values)) if values else Q(pk__in=[])
        return met | Q(IsNull(compared, True)) if missing else met
    known = Q(IsNull(compared, False))
    return known & ~Q(In(compared, values)) if values else known


def _bound(field: Field, end: Operator, value: Any) -> Any:
    """The end of a range; a whole one where the numbers are."""
    if not field.whole or field.kind is not Kind.NUMBER:
        return value
    is_upper = end in (Operator.BELOW, Operator.AT_LEAST)
    return max(-LARGEST, min(LARGEST, ceil(value) if is_upper else floor(value)))


# Choices


def _chosen(condition: Condition) -> Q:
    field = condition.asks
    wanted = field.names_within(frozenset(condition.values))
    if condition.operator is Operator.IS_NOT and field.choices:
        return _named(field, field.names_within(frozenset(field.choices)) - wanted)
    found = _named(field, wanted)
    return found if condition.operator is Operator.IS else ~found


def _named(field: Field, names: frozenset[Any]) -> Q:
    """Where the field has one of the names."""
    ask = ASKED.get(field.name)
    return _stored(field, names) if ask is None else ask(names)


def _stored(field: Field, names: frozenset[Any]) -> Q:
    """A name that is stored as it is; its name for blank is stored as nothing."""
    column = {"status": "verdict"}.get(field.name, field.name)
    stored = {str(name) for name in names if name != field.blank or field.is_open}
    return _one_of(column, sorted(stored | {""} if field.blank in names else stored))


def _one_of(column: str, values: Sequence[Any]) -> Q:
    """Equality where there is one value, which more indexes serve than a list."""
    return Q(**{column: values[0]}) if len(values) == 1 else Q(**{f"{column}__in": values})


def _flagged(names: frozenset[Any]) -> Q:
    flags = [name for name in sorted(names) if name not in (NONE, "unscored")]
    met = _one_of("flag", flags) if flags else Q(pk__in=[])
    if NONE in names:
        met |= Q(flag="", run_id__isnull=False)
    return met | Q(flag="", run_id__isnull=True) if "unscored" in names else met


def _people_say(names: frozenset[Any]) -> Q:
    return Q(In(OPINION, sorted(names))) if names else Q(pk__in=[])


def _on_topic(names: frozenset[Any]) -> Q:
    known = Q(topic__isnull=False, topic__in=_keys(names))
    return known | Q(topic__isnull=True) if NONE in names else known


def _brought_by(names: frozenset[Any]) -> Q:
    return Q(imported_in__in=_keys(names))


def _labelled_by(names: frozenset[Any]) -> Q:
    labels = Label.objects.order_by()
    # as `current`, but so that no planner takes labels that supersede others for many
    later = labels.filter(supersedes__isnull=False, supersedes=OuterRef("pk"))
    by_them = labels.filter(~Exists(later), occasion="", annotator__name__in=names - {NONE})
    met = Q(pk__in=asked_once(by_them.exclude(preference="withdrawn").values("pair")))
    current = labels.current()
    return met | ~Q(Exists(current.filter(pair=OuterRef("pk")))) if NONE in names else met


def _like(names: frozenset[Any]) -> Q:
    """The other pairs of the prompts of these."""
    met = Q(pk__in=[])
    for pair_id in _keys(names):
        this = PreferencePair.objects.filter(pk=pair_id)
        same = PreferencePair.objects.filter(
            dataset__in=this.values("dataset"), group__in=this.values("group")
        )
        met |= Q(pk__in=same.exclude(pk=pair_id).values("pk"))
    if NONE in names:
        pairs = PreferencePair.objects
        others = pairs.filter(dataset=OuterRef("dataset"), group=OuterRef("group"))
        met |= Q(pk__in=pairs.filter(~Exists(others.exclude(pk=OuterRef("pk")))).values("pk"))
    return met


def _keys(names: frozenset[Any]) -> list[int]:
    return sorted(name for name in names if isinstance(name, int) and abs(name) < LARGEST)


ASKED: Mapping[str, Callable[[frozenset[Any]], Q]] = {
    "flag": _flagged,
    "people": _people_say,
    "topic": _on_topic,
    "import": _brought_by,
    "annotator": _labelled_by,
    "similar_to": _like,
}
