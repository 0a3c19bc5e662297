"""The list's pages hold every pair of the filter once, in its order; its counts are true."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import exploring
from annotations.conditions import Condition, Operator
from annotations.exploring import BadCursor
from annotations.filters import ORDERS, Filter, where
from annotations.models import Dataset, PairStanding
from tests import factories
from tests.annotations import asked, standings
from tests.annotations.test_filters import FIELDS

SIZE = 7


@pytest.fixture
def mixed(db: None, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(exploring, "PAGE_SIZE", SIZE)
    monkeypatch.setattr(exploring, "STRETCH", 3 * SIZE)
    monkeypatch.setattr(exploring, "MOST_READ", 4 * SIZE)
    found = factories.dataset("mixed")
    standings.scattered(found, 90, seed=1)
    other = factories.dataset("other")
    factories.pairs(other, 3)
    return found


def paged(dataset: Dataset, wanted: Filter) -> list[PairStanding]:
    rows: list[PairStanding] = []
    cursor = ""
    for _ in range(100):
        page = exploring.page(dataset, wanted, cursor)
        assert len(page.rows) <= SIZE
        rows += page.rows
        if not page.next_cursor:
            return rows
        assert len(page.rows) == SIZE
        cursor = page.next_cursor
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("order", list(ORDERS))
def test_pages_hold_every_pair_once_in_order(mixed: Dataset, order: str) -> None:
    @settings(max_examples=12, deadline=None)
    @given(asked.clauses(FIELDS, most=2))
    def check(clauses: list[Any]) -> None:
        rows = paged(mixed, Filter(tuple(clauses), order))
        found = mixed.standings.filter(where(clauses))
        assert [row.pk for row in rows] == [row.pk for row in sorted(found, key=_place(order))]

    check()


def _place(order: str) -> Any:
    """What sorts as the order says, with what is missing at the end."""
    asked_order = ORDERS[order]
    sign = -1 if asked_order.descending else 1

    def place(row: PairStanding) -> tuple[bool, float, int]:
        value = row.pk if asked_order.column == "pair" else getattr(row, asked_order.column)
        if value is None:
            return (True, 0.0, sign * row.pk)
        number = value.timestamp() if hasattr(value, "timestamp") else value
        return (False, sign * number, sign * row.pk)

    return place


def test_pages_go_on_while_pairs_come_and_are_decided(mixed: Dataset) -> None:
    wanted = Filter((Condition("status", Operator.IS, ("undecided",)),), "strength")
    first = exploring.page(mixed, wanted)
    last = first.rows[-1]
    mixed.standings.filter(pk=last.pk).update(verdict="keep")
    then = exploring.page(mixed, wanted, first.next_cursor)
    everything = list(mixed.standings.filter(where(wanted.clauses)))
    expected = [row.pk for row in sorted(everything, key=_place("strength"))]
    assert [row.pk for row in then.rows] == expected[SIZE - 1 : 2 * SIZE - 1]


@pytest.mark.parametrize(
    "cursor",
    ["x", "_", "1.0_x", "nan_3", "inf_3", "0.1_-1", "0.1_99999999999999999999", "1e999_1", "a_1"],
)
@pytest.mark.parametrize("order", ["strength", "-decided", "characters", "imported"])
def test_a_made_up_place_is_no_page(mixed: Dataset, cursor: str, order: str) -> None:
    with pytest.raises(BadCursor):
        exploring.page(mixed, Filter(order=order), cursor)


@pytest.mark.parametrize(
    ("order", "cursor"),
    [
        ("characters", "999999999999999999999999999999_1"),
        ("-characters", "-999999999999999999999999999999_1"),
        ("imported", "999999999999999999999999999999_1"),
        ("decided", "0001-01-01T00:00:00+23:00_1"),
        ("-decided", "9999-12-31T23:59:59-23:00_1"),
    ],
)
def test_a_place_beyond_all_numbers_and_days_is_no_page(
    mixed: Dataset, order: str, cursor: str
) -> None:
    with pytest.raises(BadCursor):
        exploring.page(mixed, Filter(order=order), cursor)


def test_counts_are_true(mixed: Dataset) -> None:
    @settings(max_examples=40, deadline=None)
    @given(asked.clauses(FIELDS), st.sampled_from([5, 30, None]))
    def check(clauses: list[Any], most: int | None) -> None:
        wanted = Filter(tuple(clauses))
        found = list(exploring.pair_ids(mixed, wanted))
        assert found == sorted(mixed.standings.filter(where(clauses)).values_list("pk", flat=True))
        expected = len(found) if most is None else min(len(found), most + 1)
        assert exploring.count(mixed, wanted, most=most) == expected

    check()


@pytest.mark.parametrize("order", ["strength", "-decided", "imported"])
def test_a_page_that_knows_the_count_tells_it_truly(mixed: Dataset, order: str) -> None:
    counted = set()

    @settings(max_examples=40, deadline=None)
    @given(asked.clauses(FIELDS, most=2))
    def check(clauses: list[Any]) -> None:
        wanted = Filter(tuple(clauses), order)
        page = exploring.page(mixed, wanted)
        counted.add(page.count is not None)
        assert page.count in (None, exploring.count(mixed, wanted))
        if page.next_cursor:
            then = exploring.page(mixed, wanted, page.next_cursor)
            assert then.count in (None, exploring.count(mixed, wanted))

    check()
    assert True in counted


def test_facets_are_what_narrowing_by_them_finds(mixed: Dataset) -> None:
    @settings(max_examples=12, deadline=None)
    @given(asked.clauses(FIELDS, most=1))
    def check(clauses: list[Any]) -> None:
        wanted = Filter(tuple(clauses))
        found = exploring.facets(mixed, wanted)
        assert found.pairs == exploring.count(mixed, wanted)
        for facet in found.by_field.values():
            for value, number in facet.counts.items():
                narrower = exploring.narrowed(wanted, facet.field, value)
                assert exploring.count(mixed, narrower) == number > 0
            single = facet.field not in ("checks",)
            if single:
                assert sum(facet.counts.values()) == found.pairs

    check()


def test_rare_names_are_counted_as_others(mixed: Dataset) -> None:
    for number, row in enumerate(mixed.standings.order_by("pk")[:20]):
        PairStanding.objects.filter(pk=row.pk).update(origin=f"corner {number}")
    facet = exploring.facets(mixed, Filter()).by_field["origin"]
    assert len(facet.counts) == exploring.SHOWN_VALUES
    assert facet.others == 23 - exploring.SHOWN_VALUES
    assert list(facet.counts.values()) == sorted(facet.counts.values(), reverse=True)


def test_ids_come_with_what_the_source_calls_them(mixed: Dataset) -> None:
    wanted = Filter((Condition("flag", Operator.IS, ("flipped",)),))
    rows = list(exploring.named_ids(mixed, wanted))
    pairs = mixed.pairs.in_bulk([pk for pk, _, _ in rows])
    assert len(rows) == exploring.count(mixed, wanted) > 0
    assert all((pairs[pk].source_id, pairs[pk].digest) == (name, d) for pk, name, d in rows)
