"""Pairs that stand in every way a pair can, and what a condition sees of them."""

from typing import Any

import numpy as np

from annotations.fields import said_of
from annotations.models import (
    Annotator,
    Dataset,
    Import,
    Label,
    PairStanding,
    PreferencePair,
    Verdict,
)
from tests import factories
from tests.annotations import asked

FLAGS = ("flipped", "ambiguous", "clear", "strong", "")
FIGURES = ("strength", "spread", "votes", "label_probability", "percentile")
COUNTS = ("people_a", "people_b", "people_tie", "people_both_bad", "ai_a", "ai_b")


def scattered(into: Dataset, count: int = 60, *, seed: int = 0) -> list[PairStanding]:
    """Pairs of the dataset, three or so of each prompt, with made-up standings: few different
    values, so that there are ties, and anything that may be missing sometimes is."""
    generator = np.random.default_rng(seed)
    rows = [
        factories.row(number, prompt=f"Asked on {asked.WORDS[number % 3]}, {number // 3}?")
        for number in range(count)
    ]
    imported = [factories.imported(into, half) for half in (rows[: count // 2], rows[count // 2 :])]
    _date(imported)
    anna = Annotator.objects.get(dataset=into, name="anna")
    standings = list(into.standings.order_by("pk"))
    for standing in standings:
        _scatter(standing, generator)
    PairStanding.objects.bulk_update(standings, _written())
    others = Annotator.objects.create(dataset=into, name="reddit", kind="ai")
    for standing in standings[::4]:
        factories.said(others, standing.pair, "a")
    assert Label.objects.filter(annotator=anna).exists()
    return list(into.standings.order_by("pk"))


def columns(standings: list[PairStanding]) -> dict[str, Any]:
    """What `conditions.holds` takes, read from the rows in Python."""
    pairs = {pair.pk: pair for pair in PreferencePair.objects.all()}
    people = [[getattr(each, name) for each in standings] for name in COUNTS]
    source = [each.source_preference for each in standings]
    nobody = [0] * len(standings)
    said = said_of(source, people[0], people[1], people[2], people[3])
    ai = said_of(source, people[4], people[5], nobody, nobody)
    sides = {"a": 1, "b": -1}
    numbers: dict[str, Any] = {
        name: np.array([_or_nan(getattr(each, name)) for each in standings]) for name in FIGURES
    }
    return numbers | {
        "flag": [None if each.run_id is None else each.flag for each in standings],
        "status": [each.verdict for each in standings],
        "decided_by": [each.decided_by for each in standings],
        "decided": np.array([each.decided_at for each in standings], dtype=object),
        "source_preference": source,
        "people": list(said.opinions),
        "people_for": said.agreeing,
        "people_against": said.against,
        "people_tie": people[2],
        "people_both_bad": people[3],
        "people_total": said.total,
        "ai_for": ai.agreeing,
        "ai_against": ai.against,
        "checks": [each.checks for each in standings],
        "origin": [each.origin for each in standings],
        "topic": [each.topic for each in standings],
        "turns": [each.turns for each in standings],
        "characters": [each.characters for each in standings],
        "longer": [
            each.longer_a * sides[each.source_preference]
            if each.source_preference in sides
            else None
            for each in standings
        ],
        "imported": np.array([each.imported_in.finished_at for each in standings], dtype=object),
        "text": [_text(pairs[each.pk]) for each in standings],
        "annotator": [_annotators(pairs[each.pk]) for each in standings],
        "similar_to": [_like(pairs[each.pk], pairs) for each in standings],
        "import": [each.imported_in_id for each in standings],
    }


def _scatter(standing: PairStanding, generator: np.random.Generator) -> None:
    def one_of(*values: Any) -> Any:
        return values[generator.integers(0, len(values))]

    standing.source_preference = one_of("a", "b", "tie", "")
    standing.origin = one_of("reddit", "bing", "")
    standing.turns, standing.characters = one_of(1, 2, 3), one_of(*asked.WHOLE)
    standing.longer_a = one_of(-2, -1, 0, 1, 2)
    standing.checks = one_of(0, 0, 1, 2, 65, 384)
    standing.verdict = one_of("", "", *(str(each) for each in Verdict if each))
    standing.decided_by = one_of("person", "policy") if standing.verdict else ""
    standing.decided_at = one_of(*asked.MOMENTS) if standing.verdict else None
    for name in COUNTS:
        setattr(standing, name, one_of(0, 0, 0, 1, 2))
    standing.topic = one_of(None, *asked.WHOLE)
    is_scored = generator.random() < 0.8
    standing.run_id = 1 if is_scored else None
    standing.flag = one_of(*FLAGS) if is_scored else ""
    for name in FIGURES:
        known = asked.STRENGTHS if name in ("strength", "spread") else asked.SHARES
        setattr(standing, name, one_of(None, *known) if is_scored else None)


def _written() -> list[str]:
    traits = ("source_preference", "origin", "turns", "characters", "longer_a", "checks", "topic")
    return [*traits, *COUNTS, *FIGURES, "verdict", "decided_by", "decided_at", "run_id", "flag"]


def _date(imported: list[Import]) -> None:
    for number, each in enumerate(imported):
        Import.objects.filter(pk=each.pk).update(finished_at=asked.MOMENTS[1 + 2 * number])


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _text(pair: PreferencePair) -> str:
    messages = [*pair.prompt, *pair.response_a, *pair.response_b]
    return " ".join(message["content"] for message in messages)


def _annotators(pair: PreferencePair) -> list[str]:
    labels = Label.objects.current().filter(pair=pair)
    return list(labels.values_list("annotator__name", flat=True))


def _like(pair: PreferencePair, pairs: dict[int, PreferencePair]) -> list[int]:
    return [other.pk for other in pairs.values() if other.group == pair.group and other != pair]
