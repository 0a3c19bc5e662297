"""Curator's own layout: a prompt, two responses that never swap, and the labels of any number of
annotators.

{"id", "prompt": [{role, content}], "response_a", "response_b", "labels": [{annotator, label, kind,
…}], "meta": {…}}
"""

from collections.abc import Mapping
from math import ceil
from typing import Any, Literal, cast

from annotations.formats.labels import (
    JUDGEMENTS,
    LONGEST_RATIONALE,
    STRENGTHS,
    WITHDRAWN,
    annotator_of,
    is_aspects,
    kind_of_annotator,
)
from annotations.formats.parsed import (
    Judgement,
    Message,
    ParsedLabel,
    ParsedPair,
    RowError,
    checked,
    kind_of,
    meta_of,
    source_id_of,
)
from annotations.formats.trl import column_of

COLUMNS = ("id", "prompt", "response_a", "response_b", "labels", "meta")
RATIONALES = ("rationale", "note")  # what sources call the sentence that says why


def matches(row: Mapping[str, Any]) -> bool:
    return "response_a" in row and "response_b" in row


def parse(row: Mapping[str, Any]) -> ParsedPair:
    prompt = column_of(row.get("prompt"), name="prompt")
    if prompt is None:
        raise RowError("`prompt` is missing")
    own_meta = row.get("meta") or {}
    if not isinstance(own_meta, dict):
        raise RowError(f"`meta` must be an object, not {kind_of(own_meta)}")
    meta = meta_of(
        {**own_meta, **{name: row[name] for name in row if name not in COLUMNS}}, without=()
    )
    return checked(
        ParsedPair(
            source_id=source_id_of(row),
            prompt=[{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt,
            response_a=_response(row, "response_a"),
            response_b=_response(row, "response_b"),
            labels=labels_of(row.get("labels")),
            meta=meta,
        )
    )


def labels_of(value: object) -> tuple[ParsedLabel, ...]:
    """The labels of all annotators; none where the pair came unlabelled."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RowError(f"`labels` must be a list, not {kind_of(value)}")
    labels = tuple(_label(item) for item in value if not _is_history(item))
    seen: set[tuple[str, str]] = set()
    for label in labels:
        if (label.kind, label.annotator) in seen:
            raise RowError(f"annotator {label.annotator!r} has two labels on the pair")
        seen.add((label.kind, label.annotator))
    return labels


def _is_history(item: object) -> bool:
    """Whether our own export says that this label no longer holds."""
    return isinstance(item, dict) and (
        item.get("superseded") is True or item.get("label") == WITHDRAWN
    )


def _label(item: object) -> ParsedLabel:
    if not isinstance(item, dict):
        raise RowError(f"each label must be an object, not {kind_of(item)}")
    annotator, kind, preference = annotator_of(item), kind_of_annotator(item), item.get("label")
    if preference not in JUDGEMENTS:
        raise RowError(f"a label says {preference!r}; known are {', '.join(JUDGEMENTS)}")
    taken = _taken(item)
    return ParsedLabel(
        annotator=annotator,
        kind=cast("Literal['human', 'ai', 'gold', 'source']", kind),
        preference=cast("Judgement", preference),
        meta=meta_of(item, without=("annotator", "kind", "label", "superseded", *taken)),
        strength=_strength_of(item.get("strength")) if preference in ("a", "b") else None,
        aspects=item["aspects"] if "aspects" in taken else {},
        rationale=next((item[name] for name in RATIONALES if name in taken), ""),
    )


def _taken(item: dict[str, Any]) -> set[str]:
    """The keys that say what a label of ours says; every other is kept beside it as it stands."""
    taken = {"aspects"} if is_aspects(item.get("aspects")) else set()
    if type(item.get("strength")) is int and item["strength"] in STRENGTHS:
        taken.add("strength")
    for name in RATIONALES:
        text = item.get(name)
        if isinstance(text, str) and len(text.strip()) > 0 and len(text) <= LONGEST_RATIONALE:
            return taken | {name}
    return taken


def _strength_of(value: object) -> int | None:
    """1, 2 or 3, where the source says it so or as a share of its own scale: of 0.5 and 1.0 the one
    is 2 and the other 3. Figures of other scales are not guessed at."""
    if type(value) is int and value in STRENGTHS:
        return value
    if isinstance(value, float) and 0 < value <= 1:
        return ceil(round(len(STRENGTHS) * value, 6))
    return None


def _response(row: Mapping[str, Any], name: str) -> list[Message]:
    value = column_of(row.get(name), name=name)
    if value is None:
        raise RowError(f"`{name}` is missing")
    return [{"role": "assistant", "content": value}] if isinstance(value, str) else value
