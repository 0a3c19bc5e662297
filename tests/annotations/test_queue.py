"""The review queue is ordered step by step, while others go on writing."""

from threading import Thread

import pytest
from django.db import connection
from django.db.models import F

from annotations import queue
from annotations.models import Dataset
from tests import factories


@pytest.mark.django_db(transaction=True)
def test_others_may_write_between_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite a connection that still reads as of before cannot write once another has: it is
    told that the database is locked, however long it waits."""
    monkeypatch.setattr(queue, "BATCH", 500)
    into = factories.dataset("queued")
    factories.pairs(into, 2_500)

    def write() -> None:
        Dataset.objects.filter(pk=into.pk).update(description="changed meanwhile")
        connection.close()

    reached = 0
    for count in queue.set_priorities(into, F("pk") * 1.0):
        reached += count
        other = Thread(target=write)
        other.start()
        other.join()
    assert reached == into.pairs.filter(review_priority__gt=0).count() == 2_500
