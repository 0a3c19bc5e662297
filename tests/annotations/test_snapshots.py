"""Snapshots: where a dataset stands, frozen for good under a digest."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from annotations import decisions, snapshots
from annotations.models import Annotator, Dataset, Label, Snapshot, Verdict
from annotations.snapshots import NothingToFreeze
from curator.lib.refusals import Forbidden
from curator.models import User
from tests import factories


def decide(dataset: Dataset, number: int, verdict: Verdict, by: User) -> None:
    pair = dataset.pairs.get(source_id=f"pair-{number}")
    decisions.decide(pair=pair, verdict=verdict, by=by, based_on=pair.standing.decision_id)


def freeze(dataset: Dataset, by: User) -> Snapshot:
    return snapshots.freeze(dataset=dataset, by=by)


def test_a_snapshot_holds_the_label_that_holds_for_every_pair(
    dataset: Dataset, casey: User
) -> None:
    factories.pairs(dataset, 5)
    for number, verdict in enumerate((Verdict.KEEP, Verdict.FLIP, Verdict.TIE, Verdict.DROP)):
        decide(dataset, number, verdict, casey)
    snapshot = freeze(dataset, casey)
    frozen = dict(snapshot.rows.values_list("pair__source_id", "preference"))
    assert frozen == {"pair-0": "a", "pair-1": "b", "pair-2": "tie", "pair-3": "", "pair-4": "a"}
    assert snapshot.counts["verdicts"] == {"keep": 1, "flip": 1, "tie": 1, "drop": 1, "": 1}
    assert (snapshot.pairs_count, snapshot.decided_count) == (5, 4)


def test_later_decisions_do_not_reach_a_snapshot(dataset: Dataset, casey: User) -> None:
    factories.pairs(dataset, 2)
    snapshot = freeze(dataset, casey)
    decide(dataset, 0, Verdict.DROP, casey)
    assert set(snapshot.rows.values_list("verdict", flat=True)) == {""}


def test_freezing_twice_gives_the_same_snapshot(dataset: Dataset, casey: User) -> None:
    factories.pairs(dataset, 2)
    assert freeze(dataset, casey) == freeze(dataset, casey)
    decide(dataset, 0, Verdict.DROP, casey)
    assert freeze(dataset, casey).number == 2


def test_the_same_content_has_the_same_digest_in_another_dataset(casey: User) -> None:
    one, other = (factories.dataset(slug, curators=[casey]) for slug in ("one", "other"))
    rows = [factories.row(number) for number in range(4)]
    factories.imported(one, rows)
    factories.imported(other, rows[::-1])
    assert freeze(one, casey).digest == freeze(other, casey).digest
    decide(other, 2, Verdict.FLIP, casey)
    assert freeze(one, casey).digest != freeze(other, casey).digest


def test_an_undone_decision_leads_back_to_the_first_digest(dataset: Dataset, casey: User) -> None:
    pair = factories.pairs(dataset, 2)[0]
    first = freeze(dataset, casey)
    decision = decisions.decide(pair=pair, verdict=Verdict.DROP, by=casey, based_on=None)
    freeze(dataset, casey)
    decisions.undo(decision=decision, by=casey)
    assert freeze(dataset, casey).digest == first.digest


def test_an_empty_dataset_is_not_frozen(dataset: Dataset, casey: User) -> None:
    with pytest.raises(NothingToFreeze, match="import some first"):
        freeze(dataset, casey)
    assert not dataset.snapshots.exists()


def test_only_curators_and_owners_freeze(dataset: Dataset) -> None:
    factories.pairs(dataset, 1)
    with pytest.raises(Forbidden):
        freeze(dataset, factories.user("stranger"))


def test_the_digest_tells_a_label_from_its_opposite_whichever_way_round(casey: User) -> None:
    """The digest of a pair does not know which response stands first; that of a snapshot must."""
    row = factories.row(1, label="a")
    exchanged = {"response_a": row["response_b"], "response_b": row["response_a"]}
    rows = {
        "as-it-is": row,
        "exchanged-with-its-label": {**factories.row(1, label="b"), **exchanged},
        "exchanged-under-its-label": {**row, **exchanged},
    }
    found = {}
    for slug, one in rows.items():
        into = factories.dataset(slug, curators=[casey])
        factories.imported(into, [one])
        found[slug] = freeze(into, casey).digest
    assert found["as-it-is"] == found["exchanged-with-its-label"]
    assert found["as-it-is"] != found["exchanged-under-its-label"]


def test_another_reason_is_another_snapshot(dataset: Dataset, casey: User) -> None:
    """The sidecar carries it, though the labels are the same."""
    pair = factories.pairs(dataset, 1)[0]
    first = decisions.decide(pair=pair, verdict=Verdict.KEEP, by=casey, based_on=None)
    freeze(dataset, casey)
    decisions.decide(
        pair=pair, verdict=Verdict.KEEP, by=casey, based_on=first.pk, reason="looked it up"
    )
    assert freeze(dataset, casey).number == 2


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_people_label_while_a_snapshot_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they say then is no part of it."""
    into = factories.dataset("frozen")
    pairs = factories.pairs(into, 2)
    before = Label.objects.order_by("pk").last()
    assert before is not None
    real = snapshots._lines

    def label() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            anna = Annotator.objects.create(dataset=into, name="newcomer", kind="human")
            Label.objects.create(pair=pairs[0], annotator=anna, preference="b")
        finally:
            connection.close()

    def lines(*arguments: Any) -> Iterator[str]:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(label).result()
        return real(*arguments)

    monkeypatch.setattr(snapshots, "_lines", lines)
    snapshot = snapshots.freeze(dataset=into, by=None)
    assert Label.objects.filter(pk__gt=before.pk).count() == 1
    assert snapshot.last_label == before.pk
