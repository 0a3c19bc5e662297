"""Figures equal what counting by hand finds, and no request counts a large dataset."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotations import checking, decisions, launch, proposals
from annotations import tasks as annotations_tasks
from annotations.checks import Check
from annotations.models import Annotator, Dataset, PairStanding, Verdict
from curator.lib import kept
from curator.lib.intervals import wilson
from curator.models import User
from scoring import counting, overviews, reports, tasks
from scoring.models import DatasetFigures, Flag, TopicMap
from tests import factories

FLAGS = ["", *Flag.values]
SOURCES = ["web", "forum", ""]


@pytest.fixture(autouse=True)
def _counted_whenever_something_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "CHEAP", float("inf"))


@pytest.fixture
def scattered(dataset: Dataset) -> list[PairStanding]:
    """Standings of every kind, as if runs, people and policies had left them so."""
    chance = random.Random(3)
    rows = [
        factories.row(
            number,
            label=chance.choice(["a", "b", "tie"]),
            source=chance.choice(SOURCES),
            labels=[{"annotator": chance.choice("xyz"), "kind": "human", "label": "a"}],
        )
        for number in range(80)
    ]
    factories.imported(dataset, rows)
    found = list(dataset.standings.order_by("pk"))
    for row in found:
        row.flag = chance.choice(FLAGS) if row.source_preference in ("a", "b") else ""
        row.run_id = chance.choice([None, 7]) if not row.flag else 7
        row.strength = chance.gauss(0, 1)
        row.percentile = chance.random() if row.flag else None
        row.verdict = chance.choice(["", "", *Verdict.values])
        row.decided_by = chance.choice(["person", "policy"]) if row.verdict else ""
        row.decided_at = timezone.now() if row.verdict else None
        row.topic = chance.choice([None, 0, 1, 2])
        row.turns = chance.choice([1, 1, 2, 3, 6, 40])
        row.characters = chance.choice([10, 249, 250, 600, 5000, 9000])
        row.checks = chance.choice([0, 0, 2, 9, 128 + 4])
    names = "flag run_id strength percentile verdict decided_by decided_at topic turns characters"
    PairStanding.objects.bulk_update(found, [*names.split(), "checks"])
    return found


def number(rows: Iterable[PairStanding], holds: Callable[[PairStanding], bool]) -> int:
    return sum(map(holds, rows))


def test_figures_are_what_counting_by_hand_finds(
    dataset: Dataset, scattered: list[PairStanding]
) -> None:
    found = counting.count(dataset)
    assert found["pairs"] == 80
    assert found["labelled"] == number(scattered, lambda r: r.source_preference in ("a", "b"))
    assert found["scored"] == number(scattered, lambda r: r.run_id is not None)
    assert found["undecided"] == number(scattered, lambda r: not r.verdict)
    assert found["verdicts"] == Counter(r.verdict for r in scattered if r.verdict)
    for decider in ("person", "policy"):
        deciders = [row.decided_by for row in scattered]
        assert found["decided"][decider] == deciders.count(decider)
    for flag in Flag.values:
        flagged = [r for r in scattered if r.flag == flag]
        people = [r for r in flagged if r.decided_by == "person"]  # none of them in a batch
        assert found["flags"][flag]["verdicts"] == Counter(r.verdict for r in flagged)
        assert found["flags"][flag]["reviewed"] == len(people)
        assert found["flags"][flag]["wrong"] == number(people, lambda r: r.verdict == "flip")
        unclear = number(people, lambda r: r.verdict in ("tie", "drop"))
        assert found["flags"][flag]["unclear"] == unclear


def test_labels_are_counted_as_they_came_and_as_they_are_decided(
    dataset: Dataset, scattered: list[PairStanding]
) -> None:
    flagged = [row for row in scattered if row.flag]
    for row in flagged:
        row.label_probability = 0.3
    PairStanding.objects.bulk_update(flagged, ["label_probability"])
    found = counting.count(dataset)["labels"]
    assert found["imported"] == [
        len(flagged),
        pytest.approx(sum(row.strength or 0.0 for row in flagged)),
    ]
    left = [row for row in flagged if row.verdict not in ("tie", "drop")]
    turned = sum((row.strength or 0.0) * (-1 if row.verdict == "flip" else 1) for row in left)
    assert found["decided"] == [len(left), pytest.approx(turned)]
    by_policy = [row for row in flagged if row.decided_by == "policy"]
    mended = number(flagged, lambda r: r.verdict == "flip" and r.decided_by == "person")
    flips = number(by_policy, lambda r: r.verdict == "flip")
    out = number(by_policy, lambda r: r.verdict in ("tie", "drop"))
    assert found["mended"] == pytest.approx(mended + 0.4 * flips + 0.7 * out)


def test_what_a_person_decides_in_bulk_is_not_counted_as_looked_at(
    dataset: Dataset, casey: User
) -> None:
    factories.pairs(dataset, 4)
    pairs = list(dataset.pairs.order_by("pk"))
    dataset.standings.update(flag="flipped", strength=-1.0)
    decisions.decide(pair=pairs[0], by=casey, verdict=Verdict.FLIP, based_on=None)
    decisions.decide(pair=pairs[1], by=casey, verdict=Verdict.TIE, based_on=None)
    bulk = proposals.Bulk((), Verdict.FLIP)
    batch = launch.start_bulk(dataset=dataset, bulk=bulk, by=casey)
    annotations_tasks.decide_batch(batch_id=batch.pk)
    found = counting.count(dataset)
    assert found["decided"] == {"person": 2, "bulk": 2, "policy": 0}
    precision = reports.precision_of(found, Flag.FLIPPED)
    assert (precision.reviewed, precision.wrong, precision.unclear) == (2, 1, 1)
    assert precision.share == wilson(1, 2)


def test_checks_are_counted_bit_by_bit(dataset: Dataset, scattered: list[PairStanding]) -> None:
    found = counting.count(dataset)
    empty = [r for r in scattered if r.checks & Check.EMPTY]
    assert found["checks"]["empty"]["pairs"] == len(empty)
    assert found["checks"]["empty"]["undecided"] == number(empty, lambda r: not r.verdict)
    assert found["checks"].keys() == {"identical", "empty", "prefix", "cut_off", "contradicted"}
    broken = number(scattered, lambda r: bool(not r.verdict and r.checks & counting.BROKEN))
    assert found["broken"] == broken


def test_slices_count_every_flagged_label_once(
    dataset: Dataset, scattered: list[PairStanding]
) -> None:
    factories.judged(dataset, {})
    ensemble = dataset.ensembles.get()
    topics = [{"number": number, "name": f"topic of {number}"} for number in range(2)]
    TopicMap.objects.create(dataset=dataset, ensemble=ensemble, topics=topics)
    slices = counting.count(dataset)["slices"]
    flagged = [r for r in scattered if r.flag]
    for kind, column in {"origin": "origin", "topic": "topic"}.items():
        by_name = {row["where"][0]["is"]: row for row in slices[kind]}
        for value in {getattr(r, column) for r in flagged} - {None}:
            part = [r for r in flagged if getattr(r, column) == value]
            row = by_name[value if value != "" else "none"]
            assert row["labels"] == len(part)
            assert row["flipped"] == number(part, lambda r: r.flag == "flipped")
    assert [row["name"] for row in slices["topic"]].count("topic of 1") == 1
    for kind in ("origin", "length", "turns"):
        assert sum(row["labels"] for row in slices[kind]) == len(flagged)
        flipped = number(flagged, lambda r: r.flag == "flipped")
        assert sum(row["flipped"] for row in slices[kind]) == flipped


@pytest.mark.usefixtures("scattered")
def test_the_filter_of_a_slice_finds_as_many_pairs_as_it_counts(dataset: Dataset) -> None:
    from annotations import filters  # noqa: PLC0415 - beside what it proves

    figures = counting.count(dataset)
    for kind, rows in figures["slices"].items():
        for row in rows:
            where = [*row["where"], {"field": "flag", "is": "flipped"}]
            asked = filters.from_json(where)
            assert asked.problems == (), (kind, row)
            assert dataset.standings.filter(filters.where(asked.clauses)).count() == row["flipped"]


def test_small_slices_are_joined_and_nothing_is_lost(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST_ROWS", 3)
    names = [*"aaaabbbbcccc", *"defgh"]
    rows = [factories.row(number, source=name) for number, name in enumerate(names)]
    factories.imported(dataset, rows)
    dataset.standings.update(flag="clear", run_id=1)
    dataset.standings.filter(origin="e").update(flag="flipped")
    found = counting.count(dataset)["slices"]["origin"]
    assert [(row["name"], row["labels"], row["flipped"]) for row in found] == [
        ("a", 4, 0),
        ("b", 4, 0),
        ("c", 4, 0),
        ("all others", 5, 1),
    ]


def test_the_surely_worst_slice_stands_first_and_is_named_on_top(dataset: Dataset) -> None:
    names = ["bad"] * 30 + ["good"] * 60 + ["rare"]
    rows = [factories.row(number, source=name) for number, name in enumerate(names)]
    factories.imported(dataset, rows)
    dataset.standings.update(flag="clear", run_id=1)
    bad = list(dataset.standings.filter(origin="bad").values_list("pk", flat=True)[:20])
    dataset.standings.filter(pk__in=bad).update(flag="flipped")
    dataset.standings.filter(origin="rare").update(flag="flipped")
    figures = counting.count(dataset)
    tables = overviews.slices_of(figures)
    [table] = [table for table in tables if table.kind == "origin"]
    assert [row.name for row in table.rows] == ["bad", "rare", "good"]
    assert table.rows[0].share == wilson(20, 30)
    [(title, worst)] = overviews.worst_of([table])
    assert (title, worst.name) == ("Source", "bad")
    assert worst.pairs == "origin=bad&flag=flipped"


# --- A second source ------------------------------------------------------------------------------


def test_a_label_that_made_the_sources_own_is_no_second_source(dataset: Dataset) -> None:
    one, other, third = factories.pairs(dataset)
    dataset.standings.update(flag="clear", percentile=0.52, run_id=1)
    assert counting.count(dataset)["agreement"] == {"people": [], "ai": []}
    anna, bert = (factories.annotator(dataset, name) for name in ("anna-here", "bert"))
    factories.said(anna, one, "a")
    factories.said(bert, one, "b")  # they are divided
    factories.said(anna, other, "b")
    factories.said(anna, third, "tie")  # says neither
    found = counting.count(dataset)["agreement"]
    assert found["people"] == [[0, 1] if place == 10 else [0, 0] for place in range(20)]


def test_ai_judges_are_a_second_source_where_people_made_the_label(dataset: Dataset) -> None:
    labels = [
        {"annotator": "anna", "kind": "human", "label": "a"},
        {"annotator": "judge", "kind": "ai", "label": "b"},
    ]
    only_ai = [{"annotator": "judge", "kind": "ai", "label": "b"}]
    rows = [factories.row(1, labels=labels), factories.row(2, labels=only_ai)]
    factories.imported(dataset, rows)
    dataset.standings.update(flag="clear", percentile=1.0, run_id=1)
    found = counting.count(dataset)["agreement"]
    assert found["people"] == []
    assert found["ai"][19] == [0, 1]
    assert sum(compared for _, compared in found["ai"]) == 1
    assert Annotator.objects.filter(kind="ai").count() == 1


# --- When it is counted ---------------------------------------------------------------------------


def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "AT_ONCE", 0)


def current(dataset: Dataset) -> counting.Counted:
    found = counting.figures_of(dataset)
    assert found is not None
    return found


def test_figures_of_a_small_dataset_are_always_of_now(dataset: Dataset, casey: User) -> None:
    one, *_ = factories.pairs(dataset)
    assert current(dataset).figures["verdicts"] == {}
    decision = decisions.decide(pair=one, verdict=Verdict.FLIP, by=casey, based_on=None)
    assert current(dataset).figures["verdicts"] == {"flip": 1}
    decisions.undo(decision=decision, by=casey)
    assert current(dataset).figures["verdicts"] == {}
    assert not DatasetFigures.objects.exists()


def test_a_large_dataset_is_counted_in_the_background(
    dataset: Dataset, casey: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(monkeypatch)
    one, other, _ = factories.pairs(dataset)
    assert counting.figures_of(dataset) is None
    row = DatasetFigures.objects.get()
    assert row.status == DatasetFigures.Status.QUEUED
    tasks.count_figures(figures_id=row.pk)
    assert current(dataset).is_current
    decisions.decide(pair=one, verdict=Verdict.FLIP, by=casey, based_on=None)
    last = current(dataset)
    assert (last.is_current, last.figures["verdicts"]) == (False, {})
    assert current(dataset).is_current is False  # asked for once, however often it is looked at
    tasks.count_figures(figures_id=row.pk)
    assert current(dataset).figures["verdicts"] == {"flip": 1}
    assert current(dataset).is_current
    decisions.decide(pair=other, verdict=Verdict.KEEP, by=casey, based_on=None)
    assert not current(dataset).is_current


def test_figures_of_an_older_version_are_not_shown(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may lack what a page asks for."""
    large(monkeypatch)
    factories.pairs(dataset)
    assert counting.figures_of(dataset) is None
    tasks.count_figures(figures_id=DatasetFigures.objects.get().pk)
    assert current(dataset).is_current
    monkeypatch.setattr(counting, "FORM", counting.FORM + 1)
    assert counting.figures_of(dataset) is None
    tasks.count_figures(figures_id=DatasetFigures.objects.get().pk)
    assert current(dataset).is_current


def test_after_an_import_nobody_has_to_look_first(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(monkeypatch)
    factories.pairs(dataset)
    counting.ask_where_lately_changed()
    row = DatasetFigures.objects.get()
    tasks.count_figures(figures_id=row.pk)
    counting.ask_where_lately_changed()  # of now: not again
    row.refresh_from_db()
    assert row.status == DatasetFigures.Status.DONE
    assert current(dataset).figures["pairs"] == 3


def test_what_changes_while_it_is_counted_is_counted_next(
    dataset: Dataset, casey: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(monkeypatch)
    one, *_ = factories.pairs(dataset)
    counting.ask(dataset)
    count = counting.count

    def slowly(of: Dataset) -> dict[str, Any]:
        found = count(of)
        decisions.decide(pair=one, verdict=Verdict.FLIP, by=casey, based_on=None)
        return found

    monkeypatch.setattr(counting, "count", slowly)
    tasks.count_figures(figures_id=DatasetFigures.objects.get().pk)
    assert current(dataset).is_current is False
    assert DatasetFigures.objects.get().status == DatasetFigures.Status.QUEUED


def test_no_request_reads_the_standings_of_a_large_dataset(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(monkeypatch)
    factories.pairs(dataset)
    counting.ask(dataset)
    tasks.count_figures(figures_id=DatasetFigures.objects.get().pk)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        reports.standing(dataset)
    statements = [query["sql"] for query in asked.captured_queries]
    of_standings = [sql for sql in statements if '"annotations_pairstanding"' in sql]
    assert len(of_standings) == 1
    assert 'MAX("annotations_pairstanding"."pair_id")' in of_standings[0]  # the end of an index
    assert not any("annotations_preferencepair" in sql for sql in statements)


def checks_of(dataset: Dataset) -> Any:
    found = counting.figures_of(dataset)
    assert found is not None
    return found.figures["checks"]


def test_figures_follow_checks_that_come_after_the_pairs(dataset: Dataset) -> None:
    rows = [
        factories.row(0, prompt="Which?", response_a="A whale.", response_b="An ant."),
        factories.row(1, prompt="Which?", response_a="An  ant.", response_b="A whale."),
    ]
    factories.imported(dataset, rows)
    dataset.standings.update(checks=0)  # as if they had come before there were checks
    assert checks_of(dataset) == {}
    call_command("check_pairs", dataset.slug)
    assert checks_of(dataset)["contradicted"]["pairs"] == 2


def test_an_import_that_is_looked_at_before_its_prompts_are_checked_is_counted_again(
    dataset: Dataset,
) -> None:
    before = counting.state_of(dataset)
    done = factories.imported(dataset, [factories.row(0, prompt="Why?")])
    published = counting.state_of(dataset)
    list(checking.prompts_of_import(done))
    assert len({before, published, counting.state_of(dataset)}) == 3


def test_the_state_changes_with_labels_decisions_and_pairs(dataset: Dataset, casey: User) -> None:
    one, *_ = factories.pairs(dataset)
    seen = {counting.state_of(dataset)}
    factories.said(factories.annotator(dataset, "anna"), one, "b")
    seen.add(counting.state_of(dataset))
    decisions.decide(pair=one, verdict=Verdict.KEEP, by=casey, based_on=None)
    seen.add(counting.state_of(dataset))
    factories.imported(dataset, [factories.row(99)])
    seen.add(counting.state_of(dataset))
    factories.judged(dataset, {one.pk: (0.5, "clear")})
    seen.add(counting.state_of(dataset))
    assert len(seen) == 5
    assert counting.state_of(dataset) in seen
    assert all(len(state) <= 200 for state in seen)
