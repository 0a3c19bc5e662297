"""Whose scores the standings of a dataset are being given just now.

Many steps give them, each a transaction of its own, and between two of them the standings speak for
two runs at once. A mark on the dataset says so to whoever would read them as a whole. Whoever takes
the mark last writes on; who had it before learns at the next step and writes nothing more.
"""

from typing import Any

from annotations.models import Dataset
from curator.lib.refusals import Conflict

RUN = "run "  # and its number: the mark of a run that is handed over, or taken back


class Displaced(Conflict):
    """Somebody else gives the standings their scores by now."""


def held(dataset: Dataset) -> str:
    """The mark, locked together with the dataset until the end of the transaction."""
    rows = Dataset.objects.select_for_update(no_key=True).filter(pk=dataset.pk)
    return rows.values_list("scores_being_written_by", flat=True).get()


def take(dataset: Dataset, by: str) -> None:
    """Say that `by` gives the standings their scores from now."""
    Dataset.objects.filter(pk=dataset.pk).update(scores_being_written_by=by)


def check(dataset: Dataset, by: str) -> None:
    """Raises Displaced where the mark is not theirs; blank for whoever took none."""
    found = held(dataset)
    if found != by:
        raise Displaced(
            f"The pairs of {dataset.name} are being given the scores of {found or 'nobody'} by now."
        )


def check_no_run(dataset: Dataset) -> None:
    """Raises Conflict while a run is handed over or taken back; locks the dataset."""
    mark = held(dataset)
    if mark.startswith(RUN):
        raise Conflict(
            f"The pairs of {dataset.name} are being given other scores ({mark}): wait for the end "
            f"of that."
        )


def end(dataset: Dataset, by: str, **changes: Any) -> None:
    """Say that the standings have them all, in the transaction that says what they are. Raises
    Displaced."""
    check(dataset, by)
    Dataset.objects.filter(pk=dataset.pk).update(scores_being_written_by="", **changes)
