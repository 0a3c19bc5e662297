"""Curator's own layout: a prompt, two responses that never swap, and the labels of any number of
annotators.

{"id", "prompt": [{role, content}], "response_a", "response_b", "labels": [{annotator, label, kind,
…}], "meta": {…}}
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

from annotations.formats.parsed import (
    LONGEST_NAME,
    Judgement,
    Message,
    ParsedLabel,
    ParsedPair,
    RowError,
    checked,
    kind_of,
    meta_of,
    source_id_of,
    text_of,
)
from annotations.formats.trl import column_of

COLUMNS = ("id", "prompt", "response_a", "response_b", "labels", "meta")
KINDS = ("human", "ai", "gold", "source")
JUDGEMENTS = ("a", "b", "tie", "both_bad", "skip")


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
    labels = tuple(_label(item) for item in value)
    seen: set[tuple[str, str]] = set()
    for label in labels:
        if (label.kind, label.annotator) in seen:
            raise RowError(f"annotator {label.annotator!r} has two labels on the pair")
        seen.add((label.kind, label.annotator))
    return labels


def _label(item: object) -> ParsedLabel:
    if not isinstance(item, dict):
        raise RowError(f"each label must be an object, not {kind_of(item)}")
    annotator = text_of(item.get("annotator"), name="annotator").strip()
    if not annotator or len(annotator) > LONGEST_NAME:
        raise RowError(f"a label's `annotator` must be a name of 1 to {LONGEST_NAME} characters")
    kind, preference = item.get("kind", "human"), item.get("label")
    if kind not in KINDS:
        raise RowError(f"a label's `kind` is {kind!r}; known are {', '.join(KINDS)}")
    if preference not in JUDGEMENTS:
        raise RowError(f"a label says {preference!r}; known are {', '.join(JUDGEMENTS)}")
    return ParsedLabel(
        annotator=annotator,
        kind=cast("Literal['human', 'ai', 'gold', 'source']", kind),
        preference=cast("Judgement", preference),
        meta=meta_of(item, without=("annotator", "kind", "label")),
    )


def _response(row: Mapping[str, Any], name: str) -> list[Message]:
    value = column_of(row.get(name), name=name)
    if value is None:
        raise RowError(f"`{name}` is missing")
    return [{"role": "assistant", "content": value}] if isinstance(value, str) else value
