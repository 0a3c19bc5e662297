"""The user guide says of fields, operators, actions and presets what the code does."""

import json
import re
from pathlib import Path

import pytest

from annotations import policies
from annotations.conditions import OPERATORS
from annotations.fields import FIELDS, Field, Kind
from annotations.policies import PRESETS, Does

GUIDE = (Path(__file__).parents[2] / "docs" / "curating.md").read_text(encoding="utf-8")
KINDS = {
    Kind.NUMBER: "number",
    Kind.TIME: "time",
    Kind.CHOICE: "choice",
    Kind.FLAGS: "findings",
    Kind.TEXT: "text",
}


def part(heading: str) -> list[str]:
    """The lines between a heading of the guide and the next one."""
    _, found, rest = GUIDE.partition(f"\n{heading}\n")
    assert found, f"the guide has no heading {heading!r}"
    return re.split(r"\n#{2,4} ", rest, maxsplit=1)[0].splitlines()


def table(heading: str) -> list[str]:
    """The rows of the tables below the heading, those of code words alone."""
    return [line for line in part(heading) if line.startswith("| `")]


def values_of(field: Field) -> str:
    """What a condition on the field may say."""
    if field.choices:
        return ", ".join(f"`{name}`" for name in field.choices)
    if field.unit == "share":
        return "0 to 1"
    if field.kind is Kind.TIME:
        return "a day, or a time"
    if field.is_open:
        return "a whole number, or `none`" if field.whole else "a name, or `none`"
    return {True: "whole", False: "any"}[field.whole] if field.kind is Kind.NUMBER else "words"


def row_of(field: Field) -> str:
    return f"| `{field.name}` | {KINDS[field.kind]} | {values_of(field)} | {field.explanation} |"


def test_the_guide_lists_every_field_that_policies_can_ask_for() -> None:
    known = [row_of(field) for field in FIELDS.values() if field.for_policies]
    assert table("#### Fields") == known, "\n" + "\n".join(known)


def test_the_guide_lists_every_field_that_filters_alone_can_ask_for() -> None:
    known = [row_of(field) for field in FIELDS.values() if not field.for_policies]
    assert table("#### Fields of filters alone") == known, "\n" + "\n".join(known)


def test_the_guide_lists_every_operator_by_the_kind_of_field() -> None:
    known = {KINDS[kind]: [str(each) for each in found] for kind, found in OPERATORS.items()}
    rows = [line.split("|")[1:4] for line in part("#### Operators") if line.startswith("| ")]
    told = {kind.strip(): re.findall("`([a-z_]+)`", found) for kind, found, _ in rows[2:]}
    assert told == known


def test_the_guide_lists_every_action() -> None:
    told = [re.findall("`([a-z]+)`", line)[0] for line in table("#### Actions")]
    assert told == [str(each) for each in Does]


def test_the_guide_lists_every_preset() -> None:
    told = [re.findall("`([a-z0-9-]+)`", line)[0] for line in table("### Presets")]
    assert told == list(PRESETS)


def test_the_policy_that_the_guide_shows_says_what_the_guide_says_of_it() -> None:
    lines = "\n".join(part("### The language"))
    written = re.findall(r"```json\n(.*?)```", lines, flags=re.DOTALL)
    if len(written) != 1:
        pytest.fail("the guide shows one policy as JSON")
    policy = policies.parse(json.loads(written[0]))
    assert not policies.warnings(policy)
    for sentence in policies.in_words(policy):
        assert sentence in lines
