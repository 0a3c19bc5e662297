"""Two runs of a dataset compared: what is counted, which pairs moved, what is refused, and the
command."""

import io
import json
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotations.models import Dataset
from scoring import comparing, figures
from scoring.comparing import Difference, MovedPair, NotComparable
from scoring.models import Flag, Mode, ScoringRun
from tests import factories

FLIPPED, AMBIGUOUS, CLEAR, STRONG = Flag.values


@pytest.fixture
def ids(dataset: Dataset) -> list[int]:
    """The ids of ten pairs."""
    return [pair.pk for pair in factories.pairs(dataset, 10)]


@pytest.fixture
def first(dataset: Dataset, ids: list[int]) -> ScoringRun:
    """Judged nine pairs: the two weakest are flipped, and of the last it found no label."""
    found = {pk: (n - 2.0, FLIPPED if n < 2 else CLEAR) for n, pk in enumerate(ids[:9])}
    return factories.judged(dataset, found | {ids[9]: (0.5, "")})


@pytest.fixture
def second(dataset: Dataset, ids: list[int]) -> ScoringRun:
    """Judged all but the second pair as the first run did, but for the strongest, now the
    weakest."""
    found = {pk: (n - 2.0, FLIPPED if n < 2 else CLEAR) for n, pk in enumerate(ids[:9])}
    found[ids[8]] = (-9.0, FLIPPED)
    del found[ids[1]]
    return factories.judged(dataset, found, name="others")


def command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("compare_runs", *arguments, stdout=out)
    return out.getvalue()


def test_pairs_are_matched_by_their_ids(first: ScoringRun, second: ScoringRun) -> None:
    found = comparing.compare(first, second).figures
    assert (found.pairs, found.only_a, found.only_b) == (8, 1, 0)
    assert found.transitions[FLIPPED] == {FLIPPED: 1, AMBIGUOUS: 0, CLEAR: 0, STRONG: 0}
    assert found.transitions[CLEAR] == {FLIPPED: 1, AMBIGUOUS: 0, CLEAR: 6, STRONG: 0}
    assert found.flag_agreement == 7 / 8


def test_the_pairs_that_moved_are_named_with_what_both_runs_say(
    first: ScoringRun, second: ScoringRun, ids: list[int]
) -> None:
    [moved] = comparing.most_moved(comparing.compare(first, second))
    assert moved == MovedPair(
        pair=moved.pair,
        flag_a=CLEAR,
        flag_b=FLIPPED,
        strength_a=6.0,
        strength_b=-9.0,
        percentile_a=7 / 8,
        percentile_b=0.0,
    )
    assert moved.pair.pk == ids[8]


def test_the_largest_moves_come_first_and_no_more_than_are_read(
    dataset: Dataset, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "MOST_MOVED", 3)
    a = factories.judged(dataset, {pk: (float(n), CLEAR) for n, pk in enumerate(ids)})
    b = factories.judged(dataset, {pk: (-float(n), AMBIGUOUS) for n, pk in enumerate(ids)})
    moved = comparing.most_moved(comparing.compare(a, b))
    assert [row.pair.pk for row in moved] == [ids[0], ids[9], ids[1]]


def test_a_run_compared_with_itself_moves_nothing(first: ScoringRun) -> None:
    compared = comparing.compare(first, first)
    assert (compared.figures.spearman, compared.figures.flag_agreement) == (1.0, 1.0)
    assert comparing.most_moved(compared) == []
    assert comparing.differences(first, first) == []


def test_as_many_queries_for_many_pairs_as_for_few(
    dataset: Dataset, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = factories.pairs(dataset, 60)
    monkeypatch.setattr(comparing, "BATCH", 7)
    for count in (5, 60):
        found = {pair.pk: (float(n), CLEAR) for n, pair in enumerate(pairs[:count])}
        changed = {pk: (-strength, FLIPPED) for pk, (strength, _) in found.items()}
        a, b = factories.judged(dataset, found), factories.judged(dataset, changed)
        with django_assert_num_queries(3):
            moved = comparing.most_moved(comparing.compare(a, b))
        assert len(moved) == min(count, comparing.MOST_MOVED)


def test_what_differs_in_the_making_is_named(dataset: Dataset, ids: list[int]) -> None:
    found = {pk: (float(n), CLEAR) for n, pk in enumerate(ids)}
    rule, environment = {"review_budget": 0.1, "strong_share": 0.1}, {"torch": "2.13.0"}
    a = factories.judged(dataset, found, rule=rule, environment=environment)
    b = factories.judged(
        dataset,
        found,
        name="others",
        rule=rule | {"review_budget": 0.2},
        environment=environment | {"device": "cuda:0"},
    )
    assert comparing.differences(a, b) == [
        Difference("ensemble", "heads", "others"),
        Difference("threshold: review_budget", 0.1, 0.2),
        Difference("environment: device", None, "cuda:0"),
    ]


def test_of_many_pairs_the_map_shows_an_even_sample(
    first: ScoringRun, second: ScoringRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = comparing.compare(first, second)
    traces = figures.percentile_map(compared)["data"]
    assert {trace["meta"]["flag"]: len(trace["x"]) for trace in traces} == {
        FLIPPED: 2,
        AMBIGUOUS: 0,
        CLEAR: 6,
        STRONG: 0,
    }
    monkeypatch.setattr(figures, "MOST_POINTS", 3)
    sample = figures.percentile_map(compared)["data"]
    assert sum(len(trace["customdata"]) for trace in sample) == 3


def test_runs_of_different_modes_are_compared_with_a_warning(
    dataset: Dataset, ids: list[int], first: ScoringRun
) -> None:
    in_sample = factories.judged(dataset, {ids[0]: (1.0, CLEAR)}, mode=Mode.IN_SAMPLE)
    warning = comparing.compare(first, in_sample).warning
    assert f"run {in_sample.pk} in-sample" in warning
    assert warning == json.loads(
        command("pairs", "--runs", str(first.pk), str(in_sample.pk), "--json")
    ).get("warning")
    assert "warning: " in command("pairs", "--runs", str(first.pk), str(in_sample.pk))


def test_runs_of_two_datasets_are_refused(dataset: Dataset, first: ScoringRun) -> None:
    other = factories.judged(factories.dataset("elsewhere"), {})
    with pytest.raises(NotComparable, match=r"is of pairs and run \d+ of elsewhere: only"):
        comparing.compare(first, other)


@pytest.mark.parametrize("status", ["queued", "running", "failed", "cancelled"])
def test_a_run_that_is_not_done_is_refused(
    dataset: Dataset, first: ScoringRun, status: str
) -> None:
    open_run = factories.judged(dataset, {}, status=status)
    for pair in ((first, open_run), (open_run, first)):
        with pytest.raises(NotComparable, match=f"Run {open_run.pk} is {status}: only runs that"):
            comparing.compare(*pair)


def test_runs_without_a_label_in_common_are_refused(dataset: Dataset, ids: list[int]) -> None:
    a = factories.judged(dataset, {ids[0]: (1.0, CLEAR), ids[2]: (1.0, CLEAR)})
    b = factories.judged(dataset, {ids[1]: (1.0, CLEAR), ids[2]: (1.0, "")})
    with pytest.raises(NotComparable, match="have no flagged pair in common"):
        comparing.compare(a, b)


def test_the_runs_to_compare_with_are_the_others_that_are_done(
    dataset: Dataset, first: ScoringRun, second: ScoringRun
) -> None:
    factories.judged(dataset, {}, status="failed")
    factories.judged(factories.dataset("elsewhere"), {})
    assert list(comparing.others(first)) == [second]


# --- The command ----------------------------------------------------------------------------------


def test_the_command_prints_the_keys_that_scripts_rely_on(
    first: ScoringRun, second: ScoringRun
) -> None:
    found = json.loads(command("pairs", "--runs", str(first.pk), str(second.pk), "--json"))
    assert (found["run_a"], found["run_b"]) == (first.pk, second.pk)
    assert (found["pairs"], found["only_a"], found["only_b"]) == (8, 1, 0)
    assert -1.0 <= found["spearman"] <= 1.0
    assert found["flag_agreement"] == 7 / 8
    assert found["flipped"] == {
        "a": 1,
        "b": 2,
        "both": 1,
        "jaccard": 0.5,
        "kept": 1.0,
        "known": 0.5,
    }
    assert found["transitions"]["clear"]["flipped"] == 1
    assert found["warning"] == ""


def test_the_command_tells_a_person_the_same(first: ScoringRun, second: ScoringRun) -> None:
    lines = command("pairs", "--runs", str(first.pk), str(second.pk)).splitlines()
    assert "pairs: 8" in lines
    assert "flipped, kept: 1.0" in lines
    assert "clear in A, in B: 1 flipped, 0 ambiguous, 6 clear, 0 strong" in lines
    assert not any(line.startswith("warning") for line in lines)


def test_the_command_refuses_with_a_sentence(dataset: Dataset, first: ScoringRun) -> None:
    elsewhere = factories.judged(factories.dataset("elsewhere"), {})
    waiting = factories.judged(dataset, {}, status="queued")
    for other, sentence in (
        (elsewhere, f"pairs has no run {elsewhere.pk}; it has: {waiting.pk}, {first.pk}."),
        (waiting, f"Run {waiting.pk} is queued: only runs that are done can be compared."),
    ):
        with pytest.raises(CommandError) as refused:
            command("pairs", "--runs", str(first.pk), str(other.pk))
        assert str(refused.value) == sentence
