"""Find what a dataset's prompts are about, and place every pair among them. Runs on the device.

The map is fitted once, on a sample, and kept; then pairs that have no place get one, some at a
time. So an attempt that is lost is gone on with, and pairs that come later are placed alike, until
the dataset has outgrown its map.
"""

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from annotations.models import Dataset, PreferencePair
from curator.lib import work
from curator.lib.batches import batches
from scoring import embedding, topics
from scoring.core import places
from scoring.core.places import PromptMap
from scoring.core.topics import asked, name_topics
from scoring.engine.backbones import Backbone
from scoring.engine.texts import prompt_text
from scoring.models import PairPlace, TopicMap

logger = logging.getLogger(__name__)

CHUNK = 1000
SEED = 0
GROWTH = 2  # a map is made anew once there are so many times the pairs that it was fitted to
TEXTS_OF_NAME = 400  # of each topic, that its name is made from


def place(row: TopicMap) -> None:
    """Find topics unless those that there are suit the dataset still, and place the pairs that
    have no place."""
    dataset, backbone = row.dataset, embedding.backbone_of(row.ensemble)
    ids = list(dataset.standings.order_by("pair").values_list("pair", flat=True))
    if not _suits(row, backbone, len(ids)):
        _make_anew(row, backbone, ids)
    if row.fitted is not None:
        _place_new(row, backbone)
    with transaction.atomic():
        work.finish(row, topics=_counted(row), made_at=timezone.now())
    logger.info("placed prompts dataset=%s topics=%d", dataset.pk, len(row.topics))


def _suits(row: TopicMap, backbone: Backbone, pairs: int) -> bool:
    return (
        row.fitted is not None
        and row.backbone_digest == backbone.digest
        and pairs < GROWTH * row.fitted_pairs
    )


# The map


def _make_anew(row: TopicMap, backbone: Backbone, ids: list[int]) -> None:
    """Fit a map to a sample of the pairs and forget all places. Topics get numbers that none had
    before, so that a number never changes its meaning; the old ones stay named until the last pair
    has left them."""
    if not ids:
        return
    clusters = places.clusters_for(len(ids))
    sample = _evenly(ids, places.sample_for(clusters))
    vectors = _vectors_of(row, backbone, sample)
    found = places.fit(vectors, np.random.default_rng(SEED), clusters=clusters)
    topic_of = found.topics[found.places(vectors)[0]]
    before = max((topic["number"] for topic in row.topics), default=-1) + 1
    names = _names(row, sample, topic_of)
    numbered = PromptMap(found.compression, found.centroids, found.topics + np.int32(before))
    new = [{"number": before + i, "name": name, "pairs": 0} for i, name in enumerate(names)]
    old = PairPlace.objects.filter(dataset=row.dataset_id)
    with transaction.atomic():
        old._raw_delete(old.db)
        work.renew(
            row,
            topics=[*row.topics, *new],
            fitted=numbered.to_bytes(),
            fitted_pairs=len(ids),
            backbone_digest=backbone.digest,
        )


def _evenly(ids: list[int], most: int) -> list[int]:
    """At most so many of the ids, evenly spread."""
    if len(ids) <= most:
        return ids
    return [ids[i] for i in np.linspace(0, len(ids) - 1, most).astype(np.intp)]


def _vectors_of(row: TopicMap, backbone: Backbone, ids: list[int]) -> npt.NDArray[np.float16]:
    """Embeddings (n, d) of the pairs' prompts, as exact as the cache keeps them."""
    vectors = np.empty((len(ids), backbone.dimension), dtype=np.float16)
    for start, some in enumerate(batches(ids, CHUNK)):
        found = _read(row, backbone, some)
        vectors[start * CHUNK : start * CHUNK + len(some)] = found
        work.renew(row)
    return vectors


def _read(row: TopicMap, backbone: Backbone, ids: list[int]) -> npt.NDArray[np.float32]:
    prompts = _prompts(ids)
    texts = [prompt_text(prompts[pk]) for pk in ids]
    return embedding.prompt_vectors(texts, backbone, on_share=lambda _: work.renew(row))


def _prompts(ids: list[int]) -> dict[int, Any]:
    rows: Any = PreferencePair.objects.filter(pk__in=ids).values_list("pk", "prompt")
    return dict(rows)


def _names(row: TopicMap, sample: list[int], topic_of: npt.NDArray[np.int32]) -> list[str]:
    """The names of topics 0, 1, …, from what the sample's prompts ask."""
    texts: list[list[str]] = []
    for number in range(int(topic_of.max()) + 1):
        members = [sample[i] for i in np.flatnonzero(topic_of == number)]
        some = _prompts(_evenly(members, TEXTS_OF_NAME))
        texts.append(list({asked(some[pk]): None for pk in sorted(some)}))  # each prompt once
        work.renew(row)
    return name_topics(texts)


# Places


def _place_new(row: TopicMap, backbone: Backbone) -> None:
    """Place the pairs without a place, also those that came while others were placed."""
    assert row.fitted is not None
    found = PromptMap.from_bytes(bytes(row.fitted))
    missing = topics.without_place(row.dataset).order_by("pair").values_list("pair", flat=True)
    while ids := list(missing.all()):
        for some in batches(ids, CHUNK):
            _place_some(row, found, some, _read(row, backbone, some))


def _place_some(
    row: TopicMap, found: PromptMap, ids: list[int], vectors: npt.NDArray[np.float32]
) -> None:
    clusters, codes = found.places(vectors)
    rows = [
        PairPlace(pair_id=pk, dataset=row.dataset, cluster=int(cluster), code=code.tobytes())
        for pk, cluster, code in zip(ids, clusters, codes, strict=True)
    ]
    with transaction.atomic():
        work.renew(row)  # who has lost the lease places nothing
        PairPlace.objects.bulk_create(rows)
        _set_topics(row.dataset, np.array(ids), found.topics[clusters])


def _set_topics(
    dataset: Dataset, ids: npt.NDArray[np.int64], topic_of: npt.NDArray[np.int32]
) -> None:
    """Let standings say their topic. They are locked in the order in which all lock them."""
    standings = dataset.standings.filter(pk__in=ids.tolist())
    list(standings.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))
    for number in np.unique(topic_of):
        theirs = ids[topic_of == number].tolist()
        dataset.standings.filter(pk__in=theirs).update(topic=int(number))


def _counted(row: TopicMap) -> list[dict[str, Any]]:
    """The topics that pairs are of, the largest first."""
    rows: Any = row.dataset.standings.filter(topic__isnull=False).order_by().values_list("topic")
    counts = dict(rows.annotate(Count("pk")))
    all_topics = [{**topic, "pairs": counts.get(topic["number"], 0)} for topic in row.topics]
    kept = [topic for topic in all_topics if topic["pairs"]]
    return sorted(kept, key=lambda topic: -topic["pairs"])
