"""Which decisions can be taken back although others came after them: those that hold again, as all
that came after was taken back itself."""

from collections.abc import Mapping
from typing import Any

from annotations.models import Decision
from curator.lib.bulk import among


def reached(ends: Mapping[int, int | None]) -> dict[int, int]:
    """What to take back for each decision that still holds its place, by the decision's id.

    `ends` maps the ids of decisions to the ends of their pairs' chains. A decision that others have
    superseded holds its place where each of them was undone. What is taken back is the decision
    itself or, where it was undone and brought back, the row that brought it back. Two queries for
    each that came and was undone on the pair that has the most.
    """
    found = {first: first for first in ends}
    places = dict(found)
    while open_ones := {places[first]: first for first in places if places[first] != ends[first]}:
        following = _undone_after(open_ones)
        for place, first in open_ones.items():
            if place not in following:
                del places[first], found[first]
                continue
            undone, places[first] = following[place]
            if undone == found[first]:
                found[first] = places[first]
    return found


def _undone_after(places: Mapping[int, int]) -> dict[int, tuple[int | None, int]]:
    """What the successor of each of these takes back, and the row by which that was undone; without
    those whose successor was not undone."""
    rows: Any = Decision.objects.filter(supersedes__in=among(places), undone_by__isnull=False)
    columns = rows.order_by().values_list("supersedes", "undoes", "undone_by")
    return {place: (taken_back, undo) for place, taken_back, undo in columns}
