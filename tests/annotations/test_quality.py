"""What labels are worth: who leans to a side or a length, who is right, who hurries, and how far a
team agrees."""

import io
import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from annotations import answers, decisions, golds, habits, histories, quality, teams
from annotations.answers import UNKNOWN
from annotations.judgements import Value
from annotations.models import (
    Annotator,
    Dataset,
    GoldPair,
    Label,
    Occasion,
    PreferencePair,
    Round,
    RoundPair,
    Verdict,
)
from annotations.quality import Figures
from annotations.teams import Slice, Team
from curator.lib.intervals import wilson
from curator.lib.kept import Kept
from curator.models import User
from tests import factories

OTHER = {"a": "b", "b": "a"}


@pytest.fixture
def pairs(dataset: Dataset) -> list[PreferencePair]:
    """Pairs that nobody has labelled."""
    return factories.pairs(dataset, 40, labels=[])


@pytest.fixture
def anna(dataset: Dataset) -> Annotator:
    return factories.annotator(dataset, "anna")


@pytest.fixture
def bo(dataset: Dataset) -> Annotator:
    return factories.annotator(dataset, "bo")


def team_of(dataset: Dataset, **part: Any) -> Team:
    return teams.figures_of(dataset, Slice(**part)).found


def figures_of(by: Annotator, **part: Any) -> Figures:
    found = team_of(by.dataset, **part).of(by.pk)
    assert found is not None
    return found


def side(number: int) -> str:
    """The sides that stand first, in turn."""
    return "ab"[number % 2]


# --- Which labels count ---------------------------------------------------------------------------


def test_only_judgements_that_hold_now_count(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator
) -> None:
    first = factories.said(anna, pairs[0], "a")
    factories.said(anna, pairs[0], "b", supersedes=first, strength=2)
    withdrawn = factories.said(anna, pairs[1], "a")
    factories.said(anna, pairs[1], "withdrawn", supersedes=withdrawn)
    factories.said(anna, pairs[2], "skip")
    factories.said(anna, pairs[3], "tie", occasion=Occasion.PRACTICE)
    factories.said(anna, pairs[4], "tie", occasion=Occasion.REPEAT)
    factories.said(anna, pairs[5], "both_bad")
    found = answers.load(dataset)
    assert found.pair_ids[found.judgements.units].tolist() == [pairs[0].pk, pairs[5].pk]
    assert found.judgements.values.tolist() == [Value.B, Value.BOTH_BAD]
    assert found.judgements.strengths.tolist() == [2, 0]


def test_ai_judges_and_the_source_count_only_when_asked_for(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator
) -> None:
    judge = Annotator.objects.create(dataset=dataset, name="judge", kind=Annotator.Kind.AI)
    gold = Annotator.objects.create(dataset=dataset, name="gold", kind=Annotator.Kind.GOLD)
    for by in (anna, judge, gold):
        factories.said(by, pairs[0], "a")
    assert len(answers.load(dataset)) == 1
    assert len(answers.load(dataset, kinds=answers.WITH_AI)) == 2
    assert len(answers.load(dataset, kinds=answers.EVERYBODY)) == 3


def test_a_dataset_without_labels_has_no_figures(
    dataset: Dataset, pairs: list[PreferencePair]
) -> None:
    found = team_of(dataset)
    assert (found.labels, found.annotators, found.matrix.voters) == (0, [], [])
    assert all(measure.agreement.figure is None and measure.reading for measure in found.measures)


def test_agreement_with_both_bad_apart_is_shown_where_somebody_says_so(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator, bo: Annotator
) -> None:
    for number in range(20):
        for by in (anna, bo):
            factories.said(by, pairs[number], "both_bad" if number % 4 == 0 else side(number))
    apart = team_of(dataset).measures[1]
    assert apart.title == "Alpha, both bad apart"
    assert "10 say both bad" in apart.explanation
    assert (apart.agreement.units, apart.agreement.judgements) == (20, 40)
    assert apart.agreement.figure is not None
    assert apart.agreement.figure.estimate == 1.0


def test_the_answers_of_some_pairs_are_those_of_a_load_of_them(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator
) -> None:
    for number, pair in enumerate(pairs):
        factories.said(anna, pair, side(number), shown_first="a", seconds=number)
    ids = [pair.pk for pair in pairs[::3]]
    some = answers.among(answers.load(dataset), ids)
    loaded = answers.load(dataset, pairs=dataset.pairs.filter(pk__in=ids))
    for name in ("pair_ids", "label_ids", "shown_first", "seconds"):
        assert np.array_equal(
            getattr(some, name), getattr(loaded, name), equal_nan=name == "seconds"
        )
    for name in ("units", "voters", "values"):
        assert np.array_equal(getattr(some.judgements, name), getattr(loaded.judgements, name))


# --- Habits ---------------------------------------------------------------------------------------


def test_who_always_takes_the_first_response_is_said_to(
    pairs: list[PreferencePair], anna: Annotator, bo: Annotator
) -> None:
    for number, pair in enumerate(pairs):
        factories.said(anna, pair, side(number), shown_first=side(number))
        factories.said(bo, pair, "a", shown_first=side(number))
    share = figures_of(anna).first
    assert (share.estimate, share.count) == (wilson(40, 40), 40)
    assert "prefers the first response: 100\u202f% (91–100)" in figures_of(anna).remarks
    assert figures_of(bo).first.estimate == wilson(20, 40)
    assert not [remark for remark in figures_of(bo).remarks if "first response" in remark]


def test_who_always_takes_the_second_response_is_said_to(
    pairs: list[PreferencePair], anna: Annotator
) -> None:
    for number, pair in enumerate(pairs):
        factories.said(anna, pair, OTHER[side(number)], shown_first=side(number))
    assert "prefers the second response: 100\u202f% (91–100)" in figures_of(anna).remarks


def test_ties_and_labels_without_a_shown_side_say_nothing_of_sides(
    pairs: list[PreferencePair], anna: Annotator
) -> None:
    for pair in pairs[:20]:
        factories.said(anna, pair, "tie", shown_first="a")
    for pair in pairs[20:]:
        factories.said(anna, pair, "a")
    assert figures_of(anna).first.estimate is None


def test_a_leaning_to_length_is_one_beside_the_others(
    pairs: list[PreferencePair], anna: Annotator, bo: Annotator
) -> None:
    """A is longer in all of these pairs."""
    for number, pair in enumerate(pairs):
        factories.said(anna, pair, "b")
        factories.said(bo, pair, "b" if number % 8 == 0 else "a")
    share = figures_of(anna).longer
    assert share.estimate == wilson(0, 40)
    assert share.others == pytest.approx(35 / 40)
    assert any(
        "takes the shorter response more often than others: 100" in remark
        for remark in figures_of(anna).remarks
    )
    assert not [remark for remark in figures_of(bo).remarks if "shorter" in remark]
    share = figures_of(bo).longer
    assert (share.estimate, share.others) == (wilson(35, 40), 0.0)


def test_responses_of_about_one_length_say_nothing_of_length(
    dataset: Dataset, anna: Annotator
) -> None:
    texts = {"response_a": "five words are here now", "response_b": "and here are five words"}
    even = factories.pairs(dataset, 3, labels=[], **texts)
    for pair in even:
        factories.said(anna, pair, "a")
    assert figures_of(anna).longer.count == 0


def test_gold_pairs_in_use_say_who_is_right(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator, bo: Annotator
) -> None:
    for number, pair in enumerate(pairs):
        GoldPair.objects.create(
            pair=pair,
            dataset=dataset,
            preference="b",
            is_practice=number in (36, 37),
            retired_at=timezone.now() if number in (38, 39) else None,
        )
        factories.put(anna, pair, "b", is_gold=True)
        factories.put(bo, pair, "a" if number < 18 else "b", is_gold=True)
    assert figures_of(anna).gold.estimate == wilson(36, 36)
    assert figures_of(bo).gold.estimate == wilson(18, 36)
    assert any("right on gold pairs less often" in remark for remark in figures_of(bo).remarks)


def test_labels_that_a_gold_answer_may_be_made_from_say_nothing_of_who_is_right(
    dataset: Dataset, anna: Annotator, bo: Annotator
) -> None:
    label = {"annotator": "worker", "kind": "human", "label": "b"}
    found = factories.pairs(dataset, 20, labels=[label])
    for number, pair in enumerate(found):
        factories.put(bo, pair, "b")  # asked by a round, before anybody knew
        GoldPair.objects.create(pair=pair, dataset=dataset, preference="b")
        factories.put(anna, pair, "b" if number < 15 else "a", is_gold=True)
    worker = dataset.annotators.get(name="worker")
    for by in (bo, worker):
        assert figures_of(by).gold.count == 0
    share = figures_of(anna).gold
    assert (share.estimate, share.others) == (wilson(15, 20), None)


def test_who_changes_the_answer_when_sides_are_swapped_is_seen(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator, bo: Annotator
) -> None:
    for number, pair in enumerate(pairs[:20]):
        for by, again in ((anna, "a"), (bo, side(number))):
            factories.said(by, pair, "a", shown_first="a")
            factories.said(by, pair, again, shown_first="b", occasion=Occasion.REPEAT)
    skipped = factories.said(anna, pairs[20], "a")
    factories.said(anna, skipped.pair, "skip", occasion=Occasion.REPEAT)
    factories.said(bo, pairs[21], "b", occasion=Occasion.REPEAT)  # whose first label is gone
    assert figures_of(anna).consistency.estimate == wilson(20, 20)
    assert figures_of(bo).consistency.estimate == wilson(10, 20)
    assert any("same answer again less often" in remark for remark in figures_of(bo).remarks)


def test_haste_is_seen_and_the_median_time_shown(
    pairs: list[PreferencePair], anna: Annotator, bo: Annotator
) -> None:
    for number, pair in enumerate(pairs):
        factories.said(anna, pair, "a", seconds=1.0 + number % 3)
        factories.said(bo, pair, "a", seconds=30.0 if number else None)
    assert figures_of(anna).seconds == 2.0
    assert figures_of(anna).quick.estimate == wilson(27, 40)
    assert any("answers in under 3 s: 68" in remark for remark in figures_of(anna).remarks)
    assert (figures_of(bo).seconds, figures_of(bo).quick.count) == (30.0, 39)


def test_few_answers_are_shown_but_not_talked_about(
    pairs: list[PreferencePair], anna: Annotator
) -> None:
    for pair in pairs[: quality.FEWEST - 1]:
        factories.said(anna, pair, "a", shown_first="a", seconds=1.0)
    assert figures_of(anna).first.estimate is not None
    assert figures_of(anna).remarks == []


def test_who_contradicts_everybody_is_seen(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator
) -> None:
    others = [factories.annotator(dataset, name) for name in ("bo", "cleo", "dan")]
    for number, pair in enumerate(pairs):
        for place, by in enumerate(others):  # each is wrong once in ten
            factories.said(by, pair, "b" if number % 10 == place else "a")
        factories.said(anna, pair, "a" if number % 10 == 5 else "b")
    mine = figures_of(anna)
    assert mine.agreement.estimate is not None
    assert mine.agreement.estimate.high < 0.4
    assert mine.accuracy.estimate is not None
    assert mine.accuracy.estimate.high < 0.5
    assert any("agrees with others less" in remark for remark in mine.remarks)
    assert any("right by the consensus less often" in remark for remark in mine.remarks)


def test_exchanging_the_responses_of_all_pairs_changes_no_figure(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator, bo: Annotator
) -> None:
    generator = np.random.default_rng(0)
    mirror = factories.dataset("mirror")
    rows = [
        factories.row(n, response_a=pair.response_b, response_b=pair.response_a, labels=[])
        for n, pair in enumerate(pairs)
    ]
    factories.imported(mirror, rows)
    twins = {anna: factories.annotator(mirror, "anna"), bo: factories.annotator(mirror, "bo")}
    mirrored = mirror.pairs.order_by("pk")
    for pair, twin in zip(pairs, mirrored, strict=True):
        for by in (anna, bo):
            answer = str(generator.choice(["a", "b", "tie"]))
            first, seconds = str(generator.choice(["a", "b"])), float(generator.uniform(1, 60))
            factories.said(by, pair, answer, shown_first=first, seconds=seconds)
            factories.said(
                twins[by],
                twin,
                OTHER.get(answer, answer),
                shown_first=OTHER[first],
                seconds=seconds,
            )
    for by, twin_by in twins.items():
        here, there = figures_of(by), figures_of(twin_by)
        for habit in quality.HABITS:
            assert getattr(here, habit.name) == getattr(there, habit.name), habit.name
    here_measures, there_measures = team_of(dataset).measures, team_of(mirror).measures
    for one, other in zip(here_measures, there_measures, strict=True):
        assert one.agreement.figure is not None
        assert other.agreement.figure is not None
        assert one.agreement.figure.estimate == pytest.approx(other.agreement.figure.estimate)


@given(
    holds=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=60),
)
def test_shares_are_counts_by_voter(holds: list[tuple[int, bool, bool]]) -> None:
    voters = np.array([voter for voter, _, _ in holds], dtype=np.int32)
    hits = np.array([hit for _, hit, _ in holds], dtype=np.bool_)
    counts = np.array([counted for _, _, counted in holds], dtype=np.bool_)
    for voter, share in enumerate(habits.shares(hits, counts, voters, 4)):
        mine = [hit for who, hit, counted in holds if counted and who == voter]
        others = [hit for who, hit, counted in holds if counted and who != voter]
        assert share.estimate == wilson(sum(mine), len(mine))
        assert share.others == (pytest.approx(np.mean(others)) if others else None)


@given(count=st.integers(0, 500))
def test_stretches_cover_all_labels_once(count: int) -> None:
    cuts = habits.blocks(count, fewest=20, most=12)
    assert [place for start, end in cuts for place in range(start, end)] == list(range(count))
    assert len(cuts) <= 12
    assert all(end - start >= 20 for start, end in cuts) or len(cuts) == 1 or not count


# --- Slices and teams -----------------------------------------------------------------------------


def test_a_slice_is_of_its_pairs_alone(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator, bo: Annotator, casey: User
) -> None:
    for number, pair in enumerate(pairs):
        factories.said(anna, pair, "a")
        factories.said(bo, pair, "b" if number < 5 else "a")
    dataset.standings.count_voices()
    decisions.decide(pair=pairs[0], verdict=Verdict.PREFER_A, by=casey, based_on=None)
    row = Round.objects.create(dataset=dataset, name="some")
    for place, pair in enumerate(pairs[3:10]):
        RoundPair.objects.create(round=row, pair=pair, position=place, wanted=1, open=1)
    assert team_of(dataset).pairs == 40
    assert team_of(dataset, part="dispute").pairs == 4
    assert team_of(dataset, part="decided").pairs == 1
    assert team_of(dataset, part="undecided").pairs == 39
    assert team_of(dataset, round_id=row.pk).pairs == 7
    assert team_of(dataset, round_id=row.pk, part="dispute").pairs == 2
    assert team_of(dataset, text="QUESTION 7?").pairs == 1


@pytest.mark.parametrize(("turns", "reading"), [(1, "Reliable"), (2, "Cannot be told from chance")])
def test_the_reading_of_an_alpha_says_what_it_means(
    dataset: Dataset,
    pairs: list[PreferencePair],
    anna: Annotator,
    bo: Annotator,
    turns: int,
    reading: str,
) -> None:
    """Two who always agree, and two who agree as coins do."""
    for number, pair in enumerate(pairs):
        factories.said(anna, pair, side(number))
        factories.said(bo, pair, side(number // turns))
    assert reading in team_of(dataset).measures[0].reading


def test_the_matrix_holds_the_busiest(dataset: Dataset, pairs: list[PreferencePair]) -> None:
    for number in range(teams.MOST_IN_MATRIX + 3):
        by = factories.annotator(dataset, f"person-{number}")
        for pair in pairs[: 20 - number]:
            factories.said(by, pair, side(number))
    found = team_of(dataset).matrix
    assert len(found.voters) == teams.MOST_IN_MATRIX
    assert [len(row) for row in found.rows] == [teams.MOST_IN_MATRIX] * teams.MOST_IN_MATRIX
    assert found.voters[0].name == "person-0"
    assert found.rows[0][0].is_own
    assert found.rows[0][1].common == 19


def test_figures_change_with_what_is_held_for_right(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    states = [teams.state_of(dataset)]
    for preference in ("a", "b"):
        gold = golds.mark(pair=pairs[0], preference=preference, by=casey)
        states.append(teams.state_of(dataset))
    golds.retire(gold=gold, by=casey)
    states.append(teams.state_of(dataset))
    file = json.dumps({"id": pairs[0].source_id, "label": "tie"}).encode()
    golds.bring_in(dataset=dataset, file=io.BytesIO(file), by=casey)
    states.append(teams.state_of(dataset))
    assert len(set(states)) == len(states)


def test_figures_change_with_a_label_that_comes_to_be_seen_late(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator, bo: Annotator
) -> None:
    """Of two transactions at once the one that ends first may hold the later label."""
    early = factories.said(anna, pairs[0], "a", pk=1_000)
    factories.said(bo, pairs[0], "a", pk=1_001)
    both = teams.state_of(dataset)
    Label.objects.filter(pk=early.pk)._raw_delete("default")
    assert teams.state_of(dataset) != both


def test_figures_change_with_an_import_of_old_labels(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator
) -> None:
    line = {"id": pairs[0].source_id, "annotator": "cleo", "label": "a"}
    before = teams.state_of(dataset)
    factories.imported(dataset, [{**line, "created_at": "2020-01-01T00:00:00+00:00"}])
    middle = teams.state_of(dataset)
    later = {**line, "id": pairs[1].source_id, "created_at": "2019-01-01T00:00:00+00:00"}
    factories.imported(dataset, [later])
    assert len({before, middle, teams.state_of(dataset)}) == 3


def test_figures_are_kept_until_something_has_changed(
    dataset: Dataset,
    pairs: list[PreferencePair],
    anna: Annotator,
    casey: User,
    monkeypatch: Any,
) -> None:
    computed = []
    real = teams.compute

    def counted(*arguments: Any) -> Team:
        computed.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(teams, "compute", counted)
    team_of(dataset)
    team_of(dataset)
    assert len(computed) == 1
    factories.said(anna, pairs[0], "b")
    assert team_of(dataset).labels == 1
    GoldPair.objects.create(pair=pairs[0], dataset=dataset, preference="b")
    team_of(dataset)
    decisions.decide(pair=pairs[0], verdict=Verdict.PREFER_A, by=casey, based_on=None)
    team_of(dataset)
    assert len(computed) == 4


def test_what_took_long_is_shown_a_while_after_something_has_changed() -> None:
    def made(*, ago: float, seconds: float) -> Kept[str]:
        return Kept("figures", "then", timezone.now() - timedelta(seconds=ago), seconds)

    assert made(ago=3000, seconds=2.0).serves("then")
    assert made(ago=30, seconds=2.0).serves("now")
    assert not made(ago=41, seconds=2.0).serves("now")
    assert not made(ago=0, seconds=0.1).serves("now")


def test_labels_a_day_are_those_given_here(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator
) -> None:
    long_ago = timezone.now() - timedelta(days=40)
    yesterday = timezone.now() - timedelta(days=1)
    factories.said(anna, pairs[0], "a")
    factories.said(anna, pairs[1], "a", created_at=yesterday)
    factories.said(anna, pairs[2], "a", created_at=long_ago)
    days = teams.by_day(dataset)
    assert [day.labels for day in days] == [0] * 28 + [1, 1]
    assert days[-1].day == timezone.now().date()


def test_labels_a_day_and_a_week_are_of_those_that_are_counted_as_labels(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator
) -> None:
    first = factories.said(anna, pairs[0], "a")
    factories.said(anna, pairs[0], "b", supersedes=first)
    taken = factories.said(anna, pairs[1], "a")
    factories.said(anna, pairs[1], "withdrawn", supersedes=taken)
    factories.said(anna, pairs[2], "skip")
    factories.said(anna, pairs[0], "b", occasion=Occasion.REPEAT)
    factories.said(anna, pairs[3], "b", occasion=Occasion.PRACTICE)
    factories.said(anna, pairs[4], "tie")
    found = figures_of(anna)
    assert (found.labels, found.tally.total, found.tally.last_week) == (2, 2, 2)
    assert found.tally.skipped == 1
    for by in (anna, None):
        assert sum(day.labels for day in teams.by_day(dataset, annotator=by)) == 2


# --- One annotator over time ----------------------------------------------------------------------


def test_a_history_is_cut_into_stretches_in_the_order_of_labels(
    pairs: list[PreferencePair], anna: Annotator
) -> None:
    for number, pair in enumerate(pairs):
        first = side(number)
        answer = first if number < 20 else OTHER[first]
        factories.said(anna, pair, answer, shown_first=first)
    history = histories.of(anna, with_others=False)
    assert [stretch.labels for stretch in history.stretches] == [20, 20]
    [chart] = [chart for chart in history.charts if chart.title == "First shown"]
    assert [mark.words.partition(": ")[2] for mark in chart.series.marks] == [
        "100\u202f% (84–100)",
        "0\u202f% (0–16)",
    ]


def test_ones_own_history_tells_nothing_of_others_or_of_what_is_right(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator, bo: Annotator
) -> None:
    for pair in pairs:
        GoldPair.objects.create(pair=pair, dataset=dataset, preference="a")
        factories.put(anna, pair, "a", is_gold=True, seconds=5)
        factories.said(bo, pair, "b", shown_first="a", seconds=5)
    own = {chart.title for chart in histories.of(anna, with_others=False).charts}
    curators = {chart.title for chart in histories.of(anna, with_others=True).charts}
    assert curators - own == {"Gold", "With others"}
    assert all(chart.whole.others is None for chart in histories.of(anna, with_others=False).charts)


def test_unknown_is_no_value() -> None:
    assert UNKNOWN not in set(Value)
