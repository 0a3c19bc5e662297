"""The queues of review that a dataset has, and the one that an address asks for."""

from django.http import QueryDict

from annotations import filters, queue
from annotations.models import Dataset, SavedView
from annotations.queue import LIST, VIEW, Queue
from curator.lib.refusals import Refusal
from scoring import sampling
from scoring.models import ReviewSample, SampledPair

AUDIT = sampling.AUDIT
MOST_VIEWS = 20
MADE = {
    "flipped": queue.flipped,
    "ambiguous": queue.ambiguous,
    "disputed": queue.disputed,
    "put-forward": queue.put_forward,
    "all": queue.all_of,
}


class NoSuchQueue(Refusal):
    """The address names a queue that the dataset does not have."""

    status = 404


def asked(dataset: Dataset, query: QueryDict) -> Queue:
    """The queue that the address names; without a name, the one to begin with. Raises NoSuchQueue,
    and Refusal where the filter of a list cannot be read."""
    name = query.get("queue", "")
    if not name and query.get("view"):  # as the list of pairs calls a saved view
        name = f"{VIEW}{query['view']}"
    if not name:
        return first(dataset)
    if name == LIST:
        return queue.listed(dataset, _read(query))
    if name.startswith(VIEW):
        return _viewed(dataset, name.removeprefix(VIEW))
    found = audit(dataset) if name == AUDIT else MADE[name](dataset) if name in MADE else None
    if found is None:
        raise NoSuchQueue(_no_such(name))
    return found


def first(dataset: Dataset) -> Queue:
    """The likely flipped while there are any, then everything."""
    flipped = queue.flipped(dataset)
    return flipped if queue.next_id(flipped) is not None else queue.all_of(dataset)


def offered(dataset: Dataset) -> list[Queue]:
    """The queues to choose from: ours, then saved views."""
    ours = [make(dataset) for make in MADE.values()]
    drawn = audit(dataset)
    views = dataset.views.filter(retired_at=None).select_related("dataset")[:MOST_VIEWS]
    readable = [(view, filters.from_query(QueryDict(view.query))) for view in views]
    saved = [queue.viewed(view, wanted) for view, wanted in readable if not wanted.problems]
    return [*ours, *([drawn] if drawn else []), *saved]


def audit(dataset: Dataset) -> Queue | None:
    """The sample that was drawn last, in its random order; None where none was drawn."""
    sample = ReviewSample.objects.filter(run__dataset=dataset).order_by("-pk").first()
    if sample is None:
        return None
    return Queue(
        dataset,
        AUDIT,
        "Random audit",
        "Drawn at random: what people decide on it says how many labels are wrong.",
        SampledPair.objects.filter(sample=sample),
        sampling.WAITS,
        by="position",
    )


def _viewed(dataset: Dataset, number: str) -> Queue:
    known = SavedView.objects.filter(dataset=dataset, retired_at=None).select_related("dataset")
    view = known.filter(pk=int(number)).first() if number.isdecimal() and len(number) < 19 else None
    if view is None:
        raise NoSuchQueue("There is no such saved view in this dataset; it may have been retired.")
    return queue.viewed(view, _read(QueryDict(view.query)))


def _read(query: QueryDict) -> filters.Filter:
    wanted = filters.from_query(query)
    if wanted.problems:
        raise Refusal(wanted.problems[0])
    return wanted


def _no_such(name: str) -> str:
    if name == AUDIT:
        return "No sample was drawn to be audited yet: draw one on the page of the evidence."
    return f"There is no queue “{name[:40]}”: choose {', '.join([*MADE, AUDIT])}."
