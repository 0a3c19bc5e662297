"""What people say of a pair is counted right, whoever labels it at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import sleep

import pytest
from django.db import connection, transaction
from django.db.models import F

from annotations.models import Annotator, Label, PairStanding
from tests import factories


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
                of_pair = PairStanding.objects.filter(pk=pair.pk)
                of_pair.update(people_a=F("people_a") + 1)
                voted.set()
                sleep(0.5)  # by then the count has begun, and waits
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        voting = pool.submit(vote)
        voted.wait(10)
        into.standings.count_voices()
        voting.result()
    pair.refresh_from_db()
    assert pair.standing.people_a == 1
