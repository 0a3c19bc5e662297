"""What people say of a pair is counted right, whoever labels it at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Event
from time import sleep

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.db.models import F

from annotations.models import Annotator, Dataset, Label, PreferencePair
from annotations.querysets import PEOPLE
from tests import factories

COLUMNS = [f"people_{said}" for said in PEOPLE]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_a_vote_that_is_being_kept_is_counted_once() -> None:
    """The count waits for the vote, and sees what it has said."""
    into = factories.dataset("counted")
    [pair] = factories.pairs(into, 1, labels=[])
    anna = Annotator.objects.create(dataset=into, name="anna", kind=Annotator.Kind.HUMAN)
    voted = Event()

    def vote() -> None:
        try:
            with transaction.atomic():
                Label.objects.create(pair=pair, annotator=anna, preference="a")
                of_pair = PreferencePair.objects.filter(pk=pair.pk)
                of_pair.update(people_a=F("people_a") + 1)
                voted.set()
                sleep(0.5)  # by then the count has begun, and waits
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        voting = pool.submit(vote)
        voted.wait(10)
        into.pairs.all().count_people()
        voting.result()
    pair.refresh_from_db()
    assert pair.people_a == 1


def test_the_migration_counts_what_people_have_said_and_may_run_again(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration = import_module("annotations.migrations.0004_count_people")
    monkeypatch.setattr(migration, "STEP", 2)
    pairs = factories.pairs(dataset, 5)  # which anna has labelled
    silent = factories.imported(dataset, [factories.row(9, labels=[])])
    right = list(dataset.pairs.order_by("pk").values_list(*COLUMNS))
    dataset.pairs.update(people_a=0, people_b=0)
    dataset.pairs.filter(imported_in=silent).update(people_tie=7)  # nothing of people: untouched
    for _ in range(2):
        migration.count_people(apps, None)
        assert list(dataset.pairs.order_by("pk").values_list(*COLUMNS))[: len(pairs)] == right[:5]
    assert dataset.pairs.get(imported_in=silent).people_tie == 7
    assert any(map(any, right))
