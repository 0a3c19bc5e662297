"""Checks of pairs that are there: contradictions among the pairs of one prompt are found as pairs
come in, and everything can be checked anew."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from django.core.management import call_command

from annotations import checking, checks, contradictions, importing
from annotations.checks import Check
from annotations.models import Dataset, Import, PairStanding
from curator.lib import work
from tests import factories
from tests.factories import Row

PROMPT = "Which animal is the largest?"


def better(number: int, winner: str, loser: str, *, prompt: str = PROMPT) -> Row:
    """A pair in which the source prefers one text over the other."""
    return factories.row(number, prompt=prompt, response_a=winner, response_b=loser)


def circle(*texts: str, first: int = 0, prompt: str = PROMPT) -> list[Row]:
    """Each text beats the next, and the last beats the first."""
    closed = [*texts, texts[0]]
    return [
        better(first + number, winner, loser, prompt=prompt)
        for number, (winner, loser) in enumerate(pairwise(closed))
    ]


def imported(into: Dataset, rows: Sequence[Row]) -> None:
    done = factories.imported(into, rows)
    assert done.status == Import.Status.DONE, done.problem


def found(dataset: Dataset) -> dict[str, set[str]]:
    """What was found of the pairs' prompts, by the pairs' ids at their source."""
    rows = dataset.standings.select_related("pair")
    names = {row.pair.source_id: set(checks.names_of(row.checks & checks.OF_GROUP)) for row in rows}
    return {source_id: checks for source_id, checks in names.items() if checks}


def test_the_same_responses_judged_both_ways_contradict_each_other(dataset: Dataset) -> None:
    # no duplicates, since a space differs: those are refused
    imported(dataset, [better(0, "A whale.", "An ant."), better(1, "An  ant.", "A whale.")])
    assert found(dataset) == {"pair-0": {"contradicted"}, "pair-1": {"contradicted"}}


def test_labels_that_go_round_in_a_circle_are_found_and_others_are_left_alone(
    dataset: Dataset,
) -> None:
    imported(dataset, [*circle("A whale.", "A cat.", "An ant."), better(3, "A whale.", "A dog.")])
    assert found(dataset) == {f"pair-{number}": {"cycle"} for number in range(3)}


def test_the_same_texts_under_another_prompt_contradict_nothing(dataset: Dataset) -> None:
    rows = [better(0, "A whale.", "An ant."), better(1, "An ant.", "A whale.", prompt="Smallest?")]
    imported(dataset, rows)
    assert found(dataset) == {}


def test_ties_and_missing_labels_contradict_nothing(dataset: Dataset) -> None:
    one, two, three = circle("A whale.", "A cat.", "An ant.")
    imported(dataset, [one, two, {**three, "labels": []}])
    assert found(dataset) == {}


def test_an_import_marks_the_pairs_that_it_contradicts_among_those_there(dataset: Dataset) -> None:
    *two, third = circle("A whale.", "A cat.", "An ant.")
    imported(dataset, two)
    assert found(dataset) == {}
    imported(dataset, [third])
    assert set(found(dataset)) == {"pair-0", "pair-1", "pair-2"}
    imported(dataset, [better(3, "An  ant.", "A cat.")])  # stands directly against one of them
    assert found(dataset)["pair-1"] == found(dataset)["pair-3"] == {"contradicted"}
    assert found(dataset)["pair-0"] == {"cycle"}


def test_an_import_reads_only_the_prompts_that_it_brings_pairs_of(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(dataset, circle("A whale.", "A cat.", "An ant."))
    read: list[str] = []
    digest = contradictions.digest

    def noted(response: Any) -> str:
        read.append(response[0]["content"])
        return digest(response)

    monkeypatch.setattr(contradictions, "digest", noted)
    imported(dataset, [better(9, "Yes, it is.", "No.", prompt="Is it?")])
    assert read == []
    imported(dataset, [better(10, "Yes, surely.", "Perhaps.", prompt="Is it?")])
    assert set(read) == {"Yes, it is.", "No.", "Yes, surely.", "Perhaps."}


def test_what_the_texts_alone_tell_stays_as_it_is(dataset: Dataset) -> None:
    rows = [better(0, "A whale.", "A whale. Or not."), better(1, "A whale.  Or not.", "A whale.")]
    imported(dataset, rows)
    masks = set(dataset.standings.values_list("checks", flat=True))
    assert masks == {Check.PREFIX | Check.CONTRADICTED}


def test_an_import_whose_worker_died_before_its_end_still_finds_them(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = factories.start_import(
        dataset, factories.file_of(circle("A whale.", "A cat.", "An ant."))
    )

    def die(row: Import) -> None:
        raise RuntimeError("the machine went away")

    with monkeypatch.context() as patched:
        patched.setattr(importing, "_check_prompts", die)
        work.perform(Import, started.pk, importing.run)
    assert (dataset.pairs.count(), found(dataset)) == (3, {})
    work.perform(Import, started.pk, importing.run)
    started.refresh_from_db()
    assert (started.status, started.created) == (Import.Status.DONE, 3)
    assert set(found(dataset)) == {"pair-0", "pair-1", "pair-2"}


def test_finding_again_changes_nothing_and_clears_what_does_not_hold(dataset: Dataset) -> None:
    imported(dataset, circle("A whale.", "A cat.", "An ant."))
    assert sum(checking.prompts_of(dataset)) == 0
    dataset.standings.filter(pair__source_id="pair-1").update(checks=int(Check.CONTRADICTED))
    assert sum(checking.prompts_of(dataset)) == 1
    assert found(dataset)["pair-1"] == {"cycle"}


def test_many_prompts_are_read_in_few_queries(
    dataset: Dataset, django_assert_max_num_queries: Any
) -> None:
    rows = [
        row
        for number in range(40)
        for row in circle(
            "A whale.", "A cat.", "An ant.", first=3 * number, prompt=f"Question {number}?"
        )
    ]
    imported(dataset, rows)
    PairStanding.objects.update(checks=0)
    with django_assert_max_num_queries(12):
        assert list(checking.prompts_of(dataset)) == [120]


def test_pairs_of_before_there_were_checks_are_checked_by_the_command(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        *circle("A whale.", "A cat.", "An ant."),
        better(3, "Good.", "Good. Yes.", prompt="And?"),
    ]
    imported(dataset, rows)
    before = list(dataset.standings.order_by("pk").values_list("checks", flat=True))
    PairStanding.objects.update(checks=0)
    call_command("check_pairs", "pairs", json=True)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["dataset"], told["pairs"], told["changed"]) == ("pairs", 4, 4)
    assert {name: count for name, count in told["checks"].items() if count} == {
        "prefix": 1,
        "cycle": 3,
    }
    assert list(dataset.standings.order_by("pk").values_list("checks", flat=True)) == before
    call_command("check_pairs", "pairs", json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["changed"] == 0
