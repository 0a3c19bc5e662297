"""Rows of a file of labels: what one annotator said of a pair that the dataset holds already.

{"id" and/or "digest" of the pair, "annotator", "kind", "label", "strength", "aspects", "rationale",
"spans", "shown_first", "seconds", "occasion", "created_at", …}
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

from annotations.formats.parsed import (
    LONGEST_NAME,
    OTHER_SIDE,
    RowError,
    kind_of,
    meta_of,
    source_id_of,
    text_of,
)

LABELS = "labels"  # what the layout is called
KINDS = ("human", "ai", "gold", "source")
JUDGEMENTS = ("a", "b", "tie", "both_bad", "skip")
WITHDRAWN = "withdrawn"
SIDES = ("a", "b")
ASPECT_ANSWERS = ("a", "b", "tie")
MARKS = ("good", "bad")
OCCASIONS = ("work", "repeat", "practice")
SKIP_REASONS = ("unsure", "knowledge", "language", "broken", "harmful")
STRENGTHS = (1, 2, 3)
LONGEST_RATIONALE = 20_000
LONGEST_ASPECT = 60
MOST_ASPECTS = 50  # of one label, in a file from anywhere
MOST_SPANS = 200
LONGEST_TIME = 30 * 86400.0  # seconds on one pair
DIGEST = 64

# the columns of an export, in their order; what else a row holds is kept with the label
COLUMNS = (
    "id",
    "digest",
    "in_order",
    "annotator",
    "kind",
    "label",
    "strength",
    "aspects",
    "rationale",
    "skip_reason",
    "spans",
    "shown_first",
    "seconds",
    "occasion",
    "created_at",
    "label_id",
    "supersedes",
    "superseded",
    "meta",
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Locator:
    """Which pair a row means, by its digest or its id at the source, and which way round it stood
    there (`is_in_order`; None: as here)."""

    source_id: str
    digest: str
    is_in_order: bool | None


@dataclass(frozen=True)
class GivenLabel(Locator):
    """A label as its row has it. `supersedes` says that its annotator had said something before."""

    annotator: str
    kind: str
    preference: str
    strength: int | None = None
    aspects: dict[str, str] = field(default_factory=dict)
    rationale: str = ""
    skip_reason: str = ""
    spans: list[dict[str, Any]] = field(default_factory=list)
    shown_first: str = ""
    seconds: float | None = None
    occasion: str = ""
    created_at: str = ""
    supersedes: bool = False
    meta: dict[str, Any] = field(default_factory=dict)

    def turned(self) -> "GivenLabel":
        """The same judgement of the pair with its responses exchanged."""
        return replace(
            self,
            preference=other_side(self.preference),
            aspects={name: other_side(value) for name, value in self.aspects.items()},
            spans=[{**span, "response": other_side(span["response"])} for span in self.spans],
            shown_first=other_side(self.shown_first),
        )


def matches(row: Row) -> bool:
    """Whether the row is a label and not a pair."""
    is_pair = "response_a" in row or "chosen" in row
    return "annotator" in row and "label" in row and not is_pair


def parse(row: Row) -> GivenLabel:
    """The row's label, or a RowError in words for the report."""
    pair, supersedes = locator_of(row), flag_of(row, "supersedes")
    return GivenLabel(
        source_id=pair.source_id,
        digest=pair.digest,
        is_in_order=pair.is_in_order,
        annotator=annotator_of(row),
        kind=kind_of_annotator(row),
        preference=_preference_of(row, may_be_withdrawn=supersedes),
        strength=_strength_of(row),
        aspects=_aspects_of(row),
        rationale=_rationale_of(row),
        skip_reason=_one_of(row, "skip_reason", SKIP_REASONS),
        spans=_spans_of(row),
        shown_first=_one_of(row, "shown_first", SIDES),
        seconds=_seconds_of(row),
        occasion=_one_of(row, "occasion", OCCASIONS).removeprefix("work"),
        created_at=_moment_of(row),
        supersedes=supersedes,
        meta=_meta_of(row),
    )


def locator_of(row: Row) -> Locator:
    digest, source_id = _digest_of(row), source_id_of(row)
    if not digest and not source_id:
        raise RowError("it names no pair: it needs the pair's `id` or `digest`")
    order = None if is_missing(row.get("in_order")) else flag_of(row, "in_order")
    return Locator(source_id, digest, order)


def other_side(value: str) -> str:
    """a -> b and b -> a; every other answer says nothing of sides."""
    return cast("Mapping[str, str]", OTHER_SIDE).get(value, value)


def annotator_of(row: Row) -> str:
    name = text_of(row.get("annotator"), name="annotator").strip()
    if not name or len(name) > LONGEST_NAME:
        raise RowError(f"a label's `annotator` must be a name of 1 to {LONGEST_NAME} characters")
    return name


def kind_of_annotator(row: Row) -> str:
    kind = row.get("kind") or "human"
    if kind not in KINDS:
        raise RowError(f"a label's `kind` is {kind!r}; known are {', '.join(KINDS)}")
    return str(kind)


def is_aspects(value: object) -> bool:
    """Whether it says of each aspect which response is better, as Curator's own labels do."""
    return (
        isinstance(value, dict)
        and len(value) <= MOST_ASPECTS
        and all(
            0 < len(name) <= LONGEST_ASPECT and answer in ASPECT_ANSWERS
            for name, answer in value.items()
        )
    )


def _preference_of(row: Row, *, may_be_withdrawn: bool) -> str:
    preference = row.get("label")
    known = (*JUDGEMENTS, WITHDRAWN) if may_be_withdrawn else JUDGEMENTS
    if preference not in known:
        raise RowError(f"a label says {preference!r}; known are {', '.join(known)}")
    return str(preference)


def _digest_of(row: Row) -> str:
    value = row.get("digest")
    if is_missing(value):
        return ""
    if not isinstance(value, str) or len(value) != DIGEST:
        raise RowError(f"`digest` must be {DIGEST} hexadecimal characters")
    return value.lower()


def _strength_of(row: Row) -> int | None:
    number = _number_of(row, "strength")
    if number is None:
        return None
    if number not in STRENGTHS:
        raise RowError(f"its `strength` is {number:g}; known are 1, 2 and 3")
    return int(number)


def _seconds_of(row: Row) -> float | None:
    number = _number_of(row, "seconds")
    if number is not None and not 0 <= number <= LONGEST_TIME:
        raise RowError(f"its `seconds` are {number:g}, which is no time spent on a pair")
    return number


def _number_of(row: Row, name: str) -> float | None:
    """A number, spelled out where the row is a table's."""
    value = row.get(name)
    if is_missing(value):
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise RowError(f"`{name}` must be a number")
    return number


def flag_of(row: Row, name: str) -> bool:
    """True or false, as JSON or a table spells it; the id of another label is true."""
    value = row.get(name)
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "0", "null", "none")
    return bool(value)


def _one_of(row: Row, name: str, known: tuple[str, ...]) -> str:
    value = row.get(name)
    if is_missing(value):
        return ""
    if value not in known:
        raise RowError(f"its `{name}` is {str(value)[:40]!r}; known are {', '.join(known)}")
    return str(value)


def _rationale_of(row: Row) -> str:
    value = row.get("rationale")
    if is_missing(value):
        return ""
    text = text_of(value, name="rationale")
    if len(text) > LONGEST_RATIONALE:
        raise RowError(f"its `rationale` is longer than {LONGEST_RATIONALE:,} characters")
    return text


def _aspects_of(row: Row) -> dict[str, str]:
    value = _structure_of(row, "aspects")
    if value is None:
        return {}
    if not is_aspects(value):
        raise RowError("its `aspects` must say `a`, `b` or `tie` of each aspect")
    return dict(value)


def _spans_of(row: Row) -> list[dict[str, Any]]:
    value = _structure_of(row, "spans")
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MOST_SPANS or not all(map(_is_span, value)):
        raise RowError(
            "its `spans` must be a list of `response` (a, b), `start`, `end` and `mark` (good, bad)"
        )
    return value


def _is_span(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {"response", "start", "end", "mark"}:
        return False
    start, end = value["start"], value["end"]
    is_range = type(start) is int and type(end) is int and 0 <= start < end
    return is_range and value["response"] in SIDES and value["mark"] in MARKS


def _moment_of(row: Row) -> str:
    """When it was given, as ISO 8601 in UTC."""
    value = row.get("created_at")
    if is_missing(value):
        return ""
    try:
        moment = datetime.fromisoformat(str(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError) as error:
        raise RowError(f"its `created_at` is {str(value)[:40]!r}, which is no time") from error


def _meta_of(row: Row) -> dict[str, Any]:
    """The label's own `meta`, and whatever columns are none of ours."""
    own = _structure_of(row, "meta")
    if own is not None and not isinstance(own, dict):
        raise RowError(f"`meta` must be an object, not {kind_of(own)}")
    others = {name: value for name, value in row.items() if not is_missing(value)}
    return {**(own or {}), **meta_of(others, without=COLUMNS)}


def _structure_of(row: Row, name: str) -> Any:
    """A column's list or object, which a table keeps as JSON text; None where there is none."""
    value = row.get(name)
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowError(f"`{name}` is not valid JSON") from error
    return None if is_missing(value) or value in ({}, []) else value


def is_missing(value: object) -> bool:
    """Tables spell what is missing as an empty cell."""
    return value is None or (isinstance(value, str) and not value.strip())
