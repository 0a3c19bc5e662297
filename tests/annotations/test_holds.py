"""Who looks at which pair of a review: nobody waits to look."""

from threading import Event, Thread

import pytest
from django.db import connection, transaction

from annotations import holds
from annotations.models import Dataset, ReviewHold
from curator.models import User
from tests import factories


@pytest.mark.django_db(transaction=True)
def test_a_pair_is_looked_at_while_a_batch_keeps_everybody_from_writing(
    dataset: Dataset, casey: User
) -> None:
    pair = factories.pairs(dataset, 1)[0]
    writing, over = Event(), Event()

    def write() -> None:
        with transaction.atomic():
            Dataset.objects.filter(pk=dataset.pk).update(description="many rows")
            writing.set()
            over.wait()
        connection.close()

    other = Thread(target=write)
    other.start()
    try:
        writing.wait()
        assert holds.take(pair, casey)
    finally:
        over.set()
        other.join()
    assert ReviewHold.objects.exists() == (connection.vendor != "sqlite")
    assert holds.take(pair, casey)
    assert ReviewHold.objects.get().user == casey
