"""What a curator has done today and last, and how the flags have held so far."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from annotations import decisions, sittings
from annotations.models import Dataset, Decision, DecisionBatch, PairStanding, Verdict
from curator.models import User
from tests import factories


def decide(by: User, dataset: Dataset, *verdicts: Verdict) -> list[Decision]:
    """One decision for each of the dataset's pairs, as far as there are verdicts."""
    pairs = dataset.pairs.order_by("pk")
    return [
        decisions.decide(pair=pair, verdict=verdict, by=by, based_on=None)
        for pair, verdict in zip(pairs, verdicts, strict=False)
    ]


@pytest.fixture(autouse=True)
def _pairs(dataset: Dataset) -> None:
    factories.pairs(dataset, 4)
    dataset.standings.update(flag="flipped")


def test_today_counts_what_one_decided_since_midnight_and_did_not_take_back(
    dataset: Dataset, casey: User
) -> None:
    noon = timezone.now().replace(hour=12)
    with time_machine.travel(noon - timedelta(days=1)):
        decide(casey, dataset, Verdict.KEEP)
    with time_machine.travel(noon):
        pairs = list(dataset.pairs.order_by("pk"))[1:]
        made = [
            decisions.decide(pair=pair, verdict=Verdict.DROP, by=casey, based_on=None)
            for pair in pairs
        ]
        assert sittings.count_today(dataset, casey) == 3
        decisions.undo(decision=made[0], by=casey)
        assert sittings.count_today(dataset, casey) == 2
        assert sittings.count_today(dataset, factories.user("robin")) == 0


def test_the_last_decisions_are_those_that_hold_the_latest_first(
    dataset: Dataset, casey: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = decide(casey, dataset, Verdict.KEEP, Verdict.FLIP, Verdict.DROP)
    again = decisions.decide(pair=one.pair, verdict=Verdict.TIE, by=casey, based_on=one.pk)
    decisions.undo(decision=two, by=casey)
    assert sittings.last_decisions(dataset, casey) == [again, three]
    monkeypatch.setattr(sittings, "SHOWN", 1)
    assert sittings.last_decisions(dataset, casey) == [again]


def test_what_is_decided_on_another_dataset_hides_nothing(
    dataset: Dataset, casey: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sittings, "MOST_REVIEWED", 2)
    monkeypatch.setattr(sittings, "MOST_HELD", 2)
    one, two, three = decide(casey, dataset, Verdict.KEEP, Verdict.FLIP, Verdict.DROP)
    other = factories.dataset("other", curators=[casey])
    factories.pairs(other, 5)
    decide(casey, other, *[Verdict.KEEP] * 5)
    assert sittings.precision_of(dataset, "flipped") == sittings.FlagPrecision(2, 1, 1)
    assert sittings.last_decisions(dataset, casey) == [three, two]
    monkeypatch.setattr(sittings, "MOST_LOOKED_AT", 5)
    assert sittings.last_decisions(dataset, casey) == [three]
    assert one.pair.dataset == dataset


def test_labels_changed_in_bulk_say_nothing_of_a_flag(
    dataset: Dataset, casey: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = decide(casey, dataset, Verdict.KEEP, Verdict.FLIP, Verdict.TIE)
    assert sittings.precision_of(dataset, "flipped") == sittings.FlagPrecision(3, 1, 1)
    assert sittings.precision_of(dataset, "ambiguous") == sittings.FlagPrecision(0, 0, 0)
    assert sittings.precision_of(dataset, "ambiguous").share is None
    pair = dataset.pairs.order_by("pk")[3]
    bulk = DecisionBatch.objects.create(dataset=dataset, kind=DecisionBatch.Kind.BULK)
    dropped = pair.decisions.create(verdict="drop", actor="casey", batch=bulk)
    PairStanding.objects.filter(pk=pair.pk).update(
        decision=dropped, verdict="drop", decided_by="person"
    )
    assert sittings.precision_of(dataset, "flipped") == sittings.FlagPrecision(3, 1, 1)
    decisions.undo(decision=made[1], by=casey)
    assert sittings.precision_of(dataset, "flipped") == sittings.FlagPrecision(2, 0, 1)
    monkeypatch.setattr(sittings, "MOST_REVIEWED", 2)  # the undo, and the tie
    assert sittings.precision_of(dataset, "flipped") == sittings.FlagPrecision(1, 0, 1)
