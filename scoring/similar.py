"""Which pairs have a prompt like this one's.

The dataset's prompts lie in clusters (`placing`), and each pair keeps a short code. Only pairs of
the nearest clusters are looked at, and never more than some thousands, however large the dataset.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import QuerySet

from annotations.models import Dataset, PairStanding, PreferencePair
from annotations.places import ordering_of_few
from scoring.core.places import PromptMap
from scoring.core.topics import nearest
from scoring.models import PairPlace, TopicMap

Near = list[tuple[int, float]]  # pairs and the cosines of their codes, the most alike first

CLUSTERS = 4
MOST_READ = 5000
MOST_OF_PROMPT = 1000
SPARE = 4  # times as many as are wanted are looked at: one prompt may stand in several pairs


@dataclass(frozen=True)
class Similar:
    """A pair with a like prompt: the cosine of the two prompts' codes, 1 where they are one, and
    whether it is the very same prompt."""

    pair: PreferencePair
    cosine: float
    is_same_prompt: bool


def similar_pairs(
    pair: PreferencePair,
    *,
    count: int = 8,
    decided_only: bool = False,
    of_same_prompt: bool = True,
) -> list[Similar]:
    """At most `count` pairs whose prompts are most like the pair's, with their standings.

    Other pairs of the same prompt, unless they are not wanted, come first and take half of the
    places, more where too little else is alike. Of each other prompt there is one pair, as far as
    there are enough prompts. Before topics are found (`TopicMap`), or for a prompt that came since,
    there are only the first.
    """
    own = _of_prompt(pair)
    beside = _decided(own, count) if decided_only else own[:count]
    near = _near(pair, own, count, decided_only=decided_only)
    beside = beside[: max(count // 2, count - len(near))] if of_same_prompt else []
    near = near[: count - len(beside)]
    found = _fetched([*beside, *(pk for pk, _ in near)])
    return [Similar(found[pk], 1.0, is_same_prompt=True) for pk in beside] + [
        Similar(found[pk], cosine, is_same_prompt=False) for pk, cosine in near
    ]


def _of_prompt(pair: PreferencePair) -> list[int]:
    """The other pairs of the very same prompt."""
    rows = PreferencePair.objects.filter(dataset=pair.dataset_id, group=pair.group)
    ids = rows.exclude(pk=pair.pk).order_by("pk").values_list("pk", flat=True)
    return list(ids[:MOST_OF_PROMPT])


def _decided(ids: Sequence[int], count: int) -> list[int]:
    decided = PairStanding.objects.decided().filter(pk__in=ids).order_by("pk")
    return list(decided.values_list("pk", flat=True)[:count])


def _fetched(ids: Sequence[int]) -> dict[int, PreferencePair]:
    return PreferencePair.objects.with_standing().defer("meta").in_bulk(ids)


def _near(pair: PreferencePair, own: Sequence[int], count: int, *, decided_only: bool) -> Near:
    """The nearest pairs of other prompts."""
    maps = TopicMap.objects.filter(dataset=pair.dataset_id, fitted__isnull=False)
    fitted = maps.values_list("fitted", flat=True).first()
    known = [pair.pk, *own]
    place = PairPlace.objects.filter(pair__in=known).first()
    if fitted is None or place is None:
        return []
    code = np.frombuffer(place.code, dtype=np.int8)
    clusters = PromptMap.from_bytes(bytes(fitted)).clusters_near(code, CLUSTERS)
    rows = _read(pair.dataset, clusters, decided_only=decided_only)
    if decided_only and len(rows) < SPARE * count:
        rows |= _latest_decided(pair.dataset)
    ids = [pk for pk in rows if pk not in known]
    codes = np.frombuffer(b"".join(rows[pk] for pk in ids), dtype=np.int8).reshape(-1, len(code))
    positions, cosines = nearest(codes, code, SPARE * count)
    near = [ids[position] for position in positions]
    return _of_many_prompts(list(zip(near, cosines.tolist(), strict=True)), count)


def _read(dataset: Dataset, clusters: Sequence[int], *, decided_only: bool) -> dict[int, bytes]:
    """Codes of the clusters' pairs, of the first cluster before the others' where there are too
    many."""
    places = PairPlace.objects.filter(dataset=dataset)
    if decided_only:
        places = places.filter(pair__standing__verdict__gt="")
    found = _codes(places.filter(cluster=clusters[0]).order_by("pair")[:MOST_READ])
    rest = places.filter(cluster__in=clusters[1:])
    # by an expression: PostgreSQL would follow the index of all clusters, which is in their order
    rest = rest.order_by(*ordering_of_few("cluster", descending=False))
    return found | _codes(rest[: MOST_READ - len(found)])


def _latest_decided(dataset: Dataset) -> dict[int, bytes]:
    """Codes of the pairs that were decided last, whatever their cluster."""
    decided = dataset.standings.filter(decided_at__isnull=False).order_by("-decided_at", "-pair")
    return _codes(PairPlace.objects.filter(pair__in=decided.values("pair")[:MOST_READ]))


def _codes(places: "QuerySet[PairPlace]") -> dict[int, bytes]:
    rows: Any = places.values_list("pair_id", "code")
    return {pair_id: bytes(code) for pair_id, code in rows}


def _of_many_prompts(near: Near, count: int) -> Near:
    """The first of each prompt, then the others, so far as there is room; in their order."""
    rows: Any = PreferencePair.objects.filter(pk__in=[pk for pk, _ in near])
    prompt: dict[int, str] = dict(rows.values_list("pk", "group"))
    first = {prompt[pk]: pk for pk, _ in reversed(near)}.values()
    ranked = sorted(near, key=lambda found: found[0] not in first)[:count]
    return sorted(ranked, key=lambda found: -found[1])
