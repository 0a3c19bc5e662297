"""Work that a row describes: claimed by one, renewed while it lasts, taken over from the dead."""

import errno
import os
import socket
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from annotations.models import Dataset, Import
from curator.lib import processes, work
from curator.lib.refusals import Refusal
from curator.lib.work import LeaseLost, Work
from tests import factories

ELSEWHERE = "another-host/4711"


@pytest.fixture
def row(dataset: Dataset) -> Import:
    return factories.start_import(dataset, b"{}")


def claimed(row: Import) -> Import:
    found = work.claim(Import, row.pk)
    assert found is not None
    return found


def expire(row: Import) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Import.objects.filter(pk=row.pk).update(lease_expires_at=past)


def held_by(row: Import, holder: str) -> None:
    soon = timezone.now() + timedelta(seconds=60)
    Import.objects.filter(pk=row.pk).update(
        status=Work.Status.RUNNING, holder=holder, lease_expires_at=soon, fence=1, attempts=1
    )


def gone_process() -> int:
    """The number of a process that has been and gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


def test_one_claims_and_the_next_finds_nothing(row: Import) -> None:
    first = work.claim(Import, row.pk)
    assert first is not None
    assert (first.status, first.fence, first.attempts) == (Work.Status.RUNNING, 1, 1)
    assert work.claim(Import, row.pk) is None


def test_of_two_who_read_the_row_at_once_only_one_changes_it(row: Import) -> None:
    one, other = Import.objects.get(pk=row.pk), Import.objects.get(pk=row.pk)
    assert work._change(one, {"fence": one.fence + 1})
    assert not work._change(other, {"fence": other.fence + 1})


def test_a_lease_that_ran_out_is_taken_over_and_its_holder_may_write_no_more(row: Import) -> None:
    late = claimed(row)
    expire(row)
    heir = claimed(row)
    assert heir.fence == late.fence + 1
    with pytest.raises(LeaseLost):
        work.renew(late, read=5)
    with pytest.raises(LeaseLost):
        work.finish(late)
    work.finish(heir)
    row.refresh_from_db()
    assert (row.status, row.read) == (Work.Status.DONE, 0)


def test_renewing_keeps_the_lease_and_notes_progress(row: Import) -> None:
    mine = claimed(row)
    expire(row)
    work.renew(mine, read=7)
    row.refresh_from_db()
    assert row.read == 7
    assert work.claim(Import, row.pk) is None


def test_a_dead_process_of_this_host_is_followed_before_its_lease_runs_out(row: Import) -> None:
    held_by(row, f"{socket.gethostname()}/{gone_process()}")
    assert work.claim(Import, row.pk) is not None


@pytest.mark.parametrize(
    "holder", [ELSEWHERE, processes.this_process()], ids=["elsewhere", "this process"]
)
def test_a_holder_that_may_be_alive_keeps_its_lease(row: Import, holder: str) -> None:
    held_by(row, holder)
    assert work.claim(Import, row.pk) is None


def test_a_process_that_has_the_number_of_a_dead_one_is_not_it(row: Import) -> None:
    """Numbers come again, after a restart of a container at once."""
    held_by(row, f"{socket.gethostname()}/{os.getpid()}/another-start")
    assert work.claim(Import, row.pk) is not None


@pytest.mark.django_db(transaction=True)
def test_a_step_that_takes_longer_than_the_lease_keeps_it(
    row: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "LEASE", timedelta(seconds=1))
    leases = set()

    def one_long_step(mine: Import) -> None:
        for _ in range(200):
            leases.add(Import.objects.values_list("lease_expires_at", flat=True).get(pk=mine.pk))
            if len(leases) == 3:
                return
            time.sleep(0.05)

    assert work.perform(Import, row.pk, one_long_step)
    assert len(leases) == 3


def test_a_step_without_end_is_not_kept_alive_for_ever(
    row: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "LONGEST_STEP", timedelta(0))
    monkeypatch.setattr(work, "LEASE", timedelta(seconds=0.04))
    kept: list[object] = []
    monkeypatch.setattr(work, "_keep", lambda row, now: kept.append(row))
    work.perform(Import, row.pk, lambda _: time.sleep(0.1))
    assert kept == []


def test_work_that_kills_its_worker_is_given_up_after_three_attempts(row: Import) -> None:
    for _ in range(work.MOST_ATTEMPTS):
        claimed(row)
        expire(row)
    assert work.claim(Import, row.pk) is None
    row.refresh_from_db()
    assert row.status == Work.Status.FAILED
    assert row.problem.startswith("Given up after 3 attempts")


def test_cancelled_work_is_not_claimed_and_its_holder_learns_of_it(row: Import) -> None:
    mine = claimed(row)
    assert work.cancel(row)
    with pytest.raises(LeaseLost):
        work.renew(mine)
    assert work.claim(Import, row.pk) is None


def test_cancelling_what_is_over_changes_nothing(row: Import) -> None:
    work.finish(claimed(row))
    assert not work.cancel(row)
    row.refresh_from_db()
    assert row.status == Work.Status.DONE


def test_only_failed_or_cancelled_work_is_queued_again(row: Import) -> None:
    assert not work.requeue(row)
    work.cancel(row)
    assert work.requeue(row)
    row.refresh_from_db()
    assert (row.status, row.attempts, row.problem) == (Work.Status.QUEUED, 0, "")


def test_a_refusal_ends_the_work_with_its_sentence(row: Import) -> None:
    def refuse(_: Import) -> None:
        raise Refusal("The file is empty.")

    work.perform(Import, row.pk, refuse)
    row.refresh_from_db()
    assert (row.status, row.problem) == (Work.Status.FAILED, "The file is empty.")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space is left on the disk"),
        (OperationalError("database or disk is full"), "The database's disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "The file /x cannot be written"),
    ],
)
def test_a_fault_of_the_machine_ends_the_work_with_a_sentence(
    row: Import, fault: Exception, sentence: str
) -> None:
    def fail(_: Import) -> None:
        raise RuntimeError("while writing") from fault

    work.perform(Import, row.pk, fail)
    row.refresh_from_db()
    assert row.status == Work.Status.FAILED
    assert row.problem.startswith(sentence)


def test_any_other_error_is_noted_and_tried_again_until_there_have_been_enough(
    row: Import,
) -> None:
    def fail(_: Import) -> None:
        raise ZeroDivisionError("by nothing")

    seen = []
    for _ in range(work.MOST_ATTEMPTS):
        assert work.perform(Import, row.pk, fail)
        row.refresh_from_db()
        seen.append(row.status)
        assert row.problem == "ZeroDivisionError: by nothing"
    assert seen == [Work.Status.QUEUED, Work.Status.QUEUED, Work.Status.FAILED]
    assert not work.perform(Import, row.pk, fail)


def test_what_is_due_is_what_lost_its_holder_or_was_never_heard(row: Import) -> None:
    unheard = timedelta(seconds=10)
    assert work.due(Import, unheard=unheard, quiet=True) == []
    Import.objects.filter(pk=row.pk).update(queued_at=timezone.now() - timedelta(minutes=1))
    assert work.due(Import, unheard=unheard, quiet=True) == [row.pk]
    assert work.due(Import, unheard=unheard, quiet=False) == []  # its message still waits
    claimed(row)
    assert work.due(Import, unheard=unheard, quiet=True) == []
    expire(row)
    assert work.due(Import, unheard=unheard, quiet=False) == [row.pk]
