"""The order in which pairs are reviewed, and who is handed which of them."""

from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotations import decisions, filters, holds, queue
from annotations.models import Dataset, PairStanding, PreferencePair, ReviewHold, Verdict
from annotations.places import Place
from annotations.queue import Queue
from curator.models import User
from tests import factories

ORDERS = list(filters.ORDERS)


def set_standing(pair: PreferencePair, **values: Any) -> None:
    PairStanding.objects.filter(pk=pair.pk).update(**values)


def scored(pair: PreferencePair, strength: float | None, flag: str = "flipped") -> None:
    priority = None if strength is None or not flag else -strength
    values = {"strength": strength, "spread": strength, "flag": flag, "review_priority": priority}
    set_standing(pair, **values)


def walk(queue_: Queue, after: Place | None = None) -> list[int]:
    """All that comes when each pair is skipped."""
    found: list[int] = []
    while (pair_id := queue.next_id(queue_, after=after)) is not None:
        found.append(pair_id)
        assert len(found) < 100, "the queue goes round in circles"
        after = queue.place_of(queue_, PreferencePair.objects.get(pk=pair_id))
    return found


def ids(*pairs: PreferencePair) -> list[int]:
    return [pair.pk for pair in pairs]


def test_of_flagged_labels_the_weakest_comes_first_and_of_equals_the_older(
    dataset: Dataset,
) -> None:
    strong, weak, twin, other = factories.pairs(dataset, 4)
    scored(strong, -0.5)
    scored(weak, -2.0)
    scored(twin, -2.0)
    scored(other, 0.1, "ambiguous")
    assert walk(queue.flipped(dataset)) == ids(weak, twin, strong)
    assert walk(queue.ambiguous(dataset)) == ids(other)


def test_everything_scored_comes_by_priority_and_without_what_has_no_label(
    dataset: Dataset,
) -> None:
    weak, strong, none, unscored = factories.pairs(dataset, 4)
    scored(strong, 3.0, "strong")
    scored(weak, -1.0)
    scored(none, 0.0, "")
    assert walk(queue.all_of(dataset)) == ids(weak, strong)
    assert queue.next_id(queue.all_of(dataset), leaving_out=[weak.pk]) == strong.pk
    assert unscored.pk not in walk(queue.all_of(dataset))


def test_what_divides_people_and_what_policies_put_forward_come_as_imported(
    dataset: Dataset, casey: User
) -> None:
    one, two, three = factories.pairs(dataset, 3)
    for pair in (one, three):
        set_standing(pair, people_a=1, people_b=2)
    set_standing(two, people_a=3)
    assert walk(queue.disputed(dataset)) == ids(one, three)
    decisions.decide(pair=one, verdict=Verdict.KEEP, by=casey, based_on=None)
    assert walk(queue.disputed(dataset)) == ids(three)
    assert walk(queue.put_forward(dataset)) == []


def test_a_list_keeps_the_order_of_its_page_and_ends_with_what_has_no_strength(
    dataset: Dataset,
) -> None:
    one, two, three, four = factories.pairs(dataset, 4)
    scored(one, 1.0)
    scored(three, 2.0)
    strongest = filters.Filter(order="-strength")
    assert walk(queue.listed(dataset, strongest)) == ids(three, one, four, two)


def test_a_list_that_asks_for_decisions_walks_the_decided(dataset: Dataset, casey: User) -> None:
    one, two, three = factories.pairs(dataset, 3)
    for pair in (one, three):
        decisions.decide(pair=pair, verdict=Verdict.KEEP, by=casey, based_on=None)
    asked = filters.from_json([{"field": "status", "is": ["keep"]}], order="imported")
    assert walk(queue.listed(dataset, asked)) == ids(one, three)
    assert walk(queue.listed(dataset, filters.Filter(order="imported"))) == ids(two)


def test_the_count_of_the_waiting_stops_at_its_bound(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pair in factories.pairs(dataset, 4):
        scored(pair, -1.0)
    assert queue.count_waiting(queue.flipped(dataset)) == 4
    monkeypatch.setattr(queue, "MOST_COUNTED", 2)
    assert queue.count_waiting(queue.flipped(dataset)) == 3


@pytest.mark.parametrize("order", ORDERS)
def test_no_index_is_followed_to_its_end_for_a_list_of_which_nothing_is_left(
    dataset: Dataset,
    order: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond a stretch, what is left is sought among all pairs, in no order of theirs."""
    monkeypatch.setattr(queue, "STRETCH", 2)
    *_, last = factories.pairs(dataset, 5)
    dataset.standings.update(verdict="keep", strength=1.0, spread=1.0, decided_at=timezone.now())
    left = queue.listed(dataset, filters.Filter(order=order))
    with CaptureQueriesContext(connection) as asked:
        assert queue.next_id(left) is None
    sought = [each["sql"] for each in asked if each["sql"].endswith("LIMIT 1")]
    of_all = [sql for sql in sought if "json_each" not in sql and "unnest" not in sql]
    assert of_all
    assert all("COALESCE" in sql.split("ORDER BY")[1] for sql in of_all)
    set_standing(last, verdict="")
    assert queue.next_id(left) == last.pk


# Each waiting pair exactly once


@pytest.mark.parametrize("stretch", [2, 100])
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_walking_a_queue_visits_each_waiting_pair_once_whatever_is_decided_on_the_way(
    data: st.DataObject, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, stretch: int
) -> None:
    monkeypatch.setattr(queue, "STRETCH", stretch)
    pairs = list(dataset.pairs.order_by("pk")) or factories.pairs(dataset, 7)
    strengths = st.one_of(st.none(), st.sampled_from([-1.0, -0.5, 0.0, 0.5]))
    for pair in pairs:
        flag = data.draw(st.sampled_from(["flipped", "ambiguous", "clear"]))
        set_standing(pair, verdict="", people_a=data.draw(st.integers(0, 1)), people_b=1)
        scored(pair, data.draw(strengths), flag)
    name = data.draw(st.sampled_from(["flipped", "ambiguous", "all", "disputed", *ORDERS]))
    made = {
        "flipped": queue.flipped,
        "ambiguous": queue.ambiguous,
        "all": queue.all_of,
        "disputed": queue.disputed,
    }
    chosen = (
        made[name](dataset) if name in made else queue.listed(dataset, filters.Filter(order=name))
    )
    waiting = set(chosen.waiting.values_list("pair", flat=True))
    seen: list[int] = []
    after = None
    while (pair_id := queue.next_id(chosen, after=after)) is not None:
        seen.append(pair_id)
        assert len(seen) <= len(pairs)
        pair = next(pair for pair in pairs if pair.pk == pair_id)
        after = queue.place_of(chosen, pair)
        if data.draw(st.booleans()):
            set_standing(pair, verdict="keep")
    assert sorted(seen) == sorted(waiting)


# Two curators


@pytest.fixture
def both(dataset: Dataset, casey: User) -> tuple[User, User]:
    for place, pair in enumerate(factories.pairs(dataset, 3)):
        scored(pair, place - 5.0)
    return casey, factories.user("robin")


def test_two_curators_are_handed_different_pairs(dataset: Dataset, both: tuple[User, User]) -> None:
    casey, robin = both
    one, two, three = dataset.pairs.order_by("pk")
    flipped = queue.flipped(dataset)
    assert queue.hand_out(flipped, to=casey) == one
    assert queue.hand_out(flipped, to=robin) == two
    assert queue.hand_out(flipped, to=casey) == one  # their own is theirs again
    after = queue.place_of(flipped, one)
    assert queue.hand_out(flipped, to=casey, after=after) == three
    holds.release(one, casey)
    assert queue.hand_out(flipped, to=robin) == one


def test_a_pair_left_open_is_handed_out_again_after_a_while(
    dataset: Dataset, both: tuple[User, User]
) -> None:
    casey, robin = both
    flipped = queue.flipped(dataset)
    with time_machine.travel(timezone.now(), tick=False) as clock:
        first = queue.hand_out(flipped, to=casey)
        clock.shift(holds.LENGTH - timedelta(seconds=1))
        assert queue.hand_out(flipped, to=robin) != first
        clock.shift(timedelta(seconds=1))
        assert queue.hand_out(flipped, to=robin) == first
    assert ReviewHold.objects.get(pair=first).user == robin


def test_holds_that_have_ended_go_when_somebody_leaves_a_pair(
    dataset: Dataset, both: tuple[User, User]
) -> None:
    casey, robin = both
    one, two, three = dataset.pairs.order_by("pk")
    ReviewHold.objects.create(
        pair=three, dataset=dataset, user=robin, expires_at=timezone.now() - timedelta(seconds=1)
    )
    assert holds.take(one, casey)
    assert holds.take(two, robin)
    holds.release(one, casey)
    assert [hold.pair for hold in ReviewHold.objects.all()] == [two]


def test_what_others_look_at_can_still_be_decided(
    dataset: Dataset, both: tuple[User, User]
) -> None:
    casey, robin = both
    pair = queue.hand_out(queue.flipped(dataset), to=robin)
    assert pair is not None
    assert not holds.take(pair, casey)
    assert decisions.decide(pair=pair, verdict=Verdict.KEEP, by=casey, based_on=None).pk


def test_the_last_pair_of_a_queue_is_shown_to_one_of_two(
    dataset: Dataset, both: tuple[User, User]
) -> None:
    casey, robin = both
    flipped = queue.flipped(dataset)
    last = filters.from_json([{"field": "strength", "at_least": -3.5}])
    assert queue.hand_out(queue.listed(dataset, last), to=casey) is not None
    assert queue.hand_out(queue.listed(dataset, last), to=robin) is None
    assert queue.hand_out(flipped, to=robin) is not None


# Scores are set step by step


@pytest.mark.django_db(transaction=True)
def test_others_may_write_between_two_steps() -> None:
    """On SQLite a connection that still reads as of before cannot write once another has: it is
    told that the database is locked, however long it waits."""
    into = factories.dataset("queued")
    factories.pairs(into, 2_500)

    def write() -> None:
        Dataset.objects.filter(pk=into.pk).update(description="changed meanwhile")
        connection.close()

    reached = 0
    for count in queue.set_scores(into, review_priority=F("pk") * 1.0):
        reached += count
        other = Thread(target=write)
        other.start()
        other.join()
    assert reached == into.standings.filter(review_priority__gt=0).count() == 2_500
