"""What a dataset's prompts are about, as pages and filters read it, and asking for it to be found.

Finding takes the backbone and happens on the device (`placing`); nothing here loads torch.
"""

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet

from annotations.models import Dataset, PairStanding
from curator.lib import work
from curator.lib.refusals import Refusal
from scoring.models import Ensemble, PairPlace, TopicMap


class NoBackbone(Refusal):
    """Nothing of the dataset's reads prompts: registered models give rewards, no embeddings."""


def names_of(dataset: Dataset) -> dict[int, str]:
    """The name of each topic by its number, the largest first; empty before any are found."""
    made = TopicMap.objects.filter(dataset=dataset).values_list("topics", flat=True).first()
    rows = sorted(made or [], key=lambda topic: -int(topic["pairs"]))
    return {int(topic["number"]): str(topic["name"]) for topic in rows}


def state_of(dataset: Dataset) -> str:
    """Why there are no topics, or not of all pairs, in a sentence; empty where nothing is
    missing."""
    row = TopicMap.objects.filter(dataset=dataset).only("status", "problem", "made_at").first()
    if row is None:
        return (
            "Topics of prompts are found when an ensemble is trained; registered models alone give "
            "none."
        )
    if row.status == work.Work.Status.FAILED:
        return f"Topics of prompts could not be found: {row.problem}"
    return "" if row.is_over else "Topics of prompts are being found."


def want(dataset: Dataset, *, by: Ensemble | None = None) -> TopicMap | None:
    """Have topics found, and pairs placed that came since; None where somebody is at it already.

    `by` is the ensemble whose backbone is to read; without it the one that did. Raises NoBackbone.
    """
    row = TopicMap.objects.filter(dataset=dataset).first()
    reader = by if by is not None and by.backbone else row.ensemble if row else None
    if reader is None:
        raise NoBackbone(
            f"{dataset.name} has no ensemble with a backbone that reads prompts: train one to find "
            f"topics and similar pairs."
        )
    if row is None:
        return _new(dataset, reader)
    if not work.requeue(row, also_done=True):
        return None
    TopicMap.objects.filter(pk=row.pk).update(ensemble=reader)
    row.refresh_from_db()
    return row


def lacks_places(dataset: Dataset) -> bool:
    """Whether a pair came since pairs were placed last."""
    return without_place(dataset).exists()


def without_place(dataset: Dataset) -> "QuerySet[PairStanding]":
    """The pairs that came since pairs were placed last."""
    places = PairPlace.objects.filter(pair=OuterRef("pair"))
    return dataset.standings.filter(~Exists(places))


def _new(dataset: Dataset, reader: Ensemble) -> TopicMap | None:
    try:
        with transaction.atomic():
            return TopicMap.objects.create(dataset=dataset, ensemble=reader)
    except IntegrityError:  # somebody else asked just now
        return None
