"""Rows of before there were standings, migrated to now on the database at hand."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from annotations.models import Dataset, PairStanding
from scoring.models import ScoringRun

BEFORE = [
    ("annotations", "0004_count_people"),
    ("scoring", "0003_unfinished_runs_are_planned_anew"),
]
TURN = [{"role": "user", "content": "Which?"}]
FIGURES = ("strength", "spread", "votes", "label_probability", "percentile", "review_priority")

pytestmark = pytest.mark.django_db(transaction=True)


def migrate(to: list[tuple[str, str]]) -> Any:
    """The models as they are then."""
    executor = MigrationExecutor(connection)
    return executor.migrate(to).apps


def migrate_to_now() -> None:
    migrate(MigrationExecutor(connection).loader.graph.leaf_nodes())


@pytest.fixture
def before() -> Iterator[Any]:
    """The database as it was, and as it is again at the end."""
    try:
        yield migrate(BEFORE)
    finally:
        migrate_to_now()


def made(apps: Any, slug: str, pairs: int) -> tuple[Any, list[Any]]:
    """A dataset of that many pairs."""
    found = apps.get_model("annotations", "Dataset").objects.create(slug=slug, name=slug)
    came = apps.get_model("annotations", "Import").objects.create(dataset=found, file_name="x")
    create = apps.get_model("annotations", "PreferencePair").objects.create
    return found, [
        create(
            dataset=found,
            imported_in=came,
            source_line=number,
            digest=f"{slug}-{number}",
            group=f"{slug}-{number}",
            prompt=TURN,
            response_a=TURN,
            response_b=TURN,
            is_in_order=True,
            source_preference="" if number == pairs - 1 else "a",
            search_text="which",
        )
        for number in range(pairs)
    ]


def scored(apps: Any, dataset: Any, pairs: list[Any], *, shift: float, **fields: Any) -> Any:
    """A run that is done; the last pair has no label, so margins towards A and no flag."""
    ensemble, _ = apps.get_model("scoring", "Ensemble").objects.get_or_create(
        dataset=dataset, name="heads", defaults={"backbone": "none", "members_count": 2}
    )
    run = apps.get_model("scoring", "ScoringRun").objects.create(
        **{"dataset": dataset, "ensemble": ensemble, "status": "done", **fields}
    )
    create = apps.get_model("scoring", "PairScore").objects.create
    for number, pair in enumerate(pairs):
        create(
            run=run,
            pair=pair,
            margins=[shift + number],
            strength=shift + number,
            spread=0.5,
            votes=0.25,
            label_probability=0.75,
            percentile=None if pair is pairs[-1] else number / len(pairs),
            flag="" if pair is pairs[-1] else "clear",
        )
    return run


def test_standings_say_what_the_run_found_that_was_current_before(before: Any) -> None:
    scored_before, pairs = made(before, "scored", 4)
    scored(before, scored_before, pairs[:2], shift=-9.0)
    current = scored(before, scored_before, pairs, shift=-1.0)
    scored(before, scored_before, pairs, shift=5.0, mode="in-sample")
    scored(before, scored_before, pairs, shift=7.0, status="cancelled")
    unscored, _ = made(before, "unscored", 2)
    migrate_to_now()

    dataset = Dataset.objects.get(pk=scored_before.pk)
    run = ScoringRun.objects.current(dataset)
    assert run is not None
    assert run.pk == current.pk
    found = list(dataset.standings.order_by("pair").values("run_id", "flag", *FIGURES))
    assert [row["run_id"] for row in found] == [run.pk] * 4
    assert [row["flag"] for row in found] == ["clear", "clear", "clear", ""]
    assert [row["strength"] for row in found] == [-1.0, 0.0, 1.0, None]
    assert [row["review_priority"] for row in found] == [1.0, 0.0, -1.0, None]
    assert [row["percentile"] for row in found] == [0.0, 0.25, 0.5, None]
    assert {name: found[3][name] for name in FIGURES} == dict.fromkeys(FIGURES)
    of_unscored = PairStanding.objects.filter(dataset=unscored.pk)
    assert list(of_unscored.values_list("run_id", "flag")) == [(None, "")] * 2

    first = pairs[0].pk
    PairStanding.objects.filter(pk=first).update(label_probability=0.125)
    migrate([("scoring", "0006_calibrationuse")])
    migrate_to_now()
    again = dataset.standings.order_by("pair").values_list("label_probability", flat=True)
    assert list(again) == [0.125, 0.75, 0.75, None]  # what they carry by now is not written over
