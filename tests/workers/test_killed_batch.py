"""A worker killed in the middle of a batch leaves nothing of it; the next one does all of it."""

import pytest

from annotations import launch
from annotations.models import Dataset, Decision, DecisionBatch
from annotations.proposals import Bulk
from curator.lib.work import Work
from tests import factories
from tests.workers.conftest import Worker, wait_until

pytestmark = pytest.mark.worker

PAIRS = 6000


def is_over(row: DecisionBatch) -> bool:
    row.refresh_from_db()
    return row.is_over


def test_a_batch_whose_worker_is_killed_is_done_once(workers: dict[str, Worker]) -> None:
    into: Dataset = factories.dataset("deciding")
    factories.pairs(into, PAIRS)
    row = launch.start_bulk(dataset=into, bulk=Bulk((), "drop"), by=None)
    workers["default"].start()

    def is_begun() -> bool:
        row.refresh_from_db()
        return row.status != Work.Status.QUEUED

    wait_until(is_begun, "the batch to begin")
    workers["default"].kill()
    row.refresh_from_db()
    decided = Decision.objects.count()
    assert decided == (PAIRS if row.status == Work.Status.DONE else 0)
    assert into.standings.decided().count() == decided
    workers["default"].start()
    wait_until(lambda: is_over(row), "the batch to end")
    assert (row.status, row.problem, row.counts) == (Work.Status.DONE, "", {"drop": PAIRS})
    assert Decision.objects.count() == into.standings.decided().count() == PAIRS
