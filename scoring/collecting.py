"""What the shards of a run have found so far, as arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations.models import Preference
from curator.lib.batches import batches
from curator.lib.work import Work
from scoring.core.bags import Bag, in_bag
from scoring.models import Mode, ScoringRun

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

BATCH = 1000


@dataclass(frozen=True)
class Collected:
    """A run's margins by pair and member."""

    pair_ids: list[int]  # ascending
    margins: Floats  # (n_pairs, n_members), NaN where a member was not asked or could not say
    askable: Booleans  # (n_pairs, n_members): whom the run's mode allows to be asked
    labelled: Booleans  # (n_pairs,): the source prefers one response, and a member said something


def collect(run: ScoringRun) -> Collected:
    """The run's margins, in the order of the pairs' ids."""
    members = list(run.ensemble.members.all())
    found_by = run.shards.filter(status=Work.Status.DONE, margins__isnull=False)
    done = list(found_by.only("pair_ids", "members", "margins"))
    ids = np.unique([pk for shard in done for pk in shard.pair_ids]).astype(np.int64)
    margins = np.full((len(ids), len(members)), np.nan)
    for shard in done:
        rows = np.searchsorted(ids, shard.pair_ids)
        assert shard.margins is not None
        found = np.frombuffer(shard.margins, dtype="<f4").reshape(len(rows), -1)
        margins[np.ix_(rows, shard.members)] = found
    prefers, units = _facts(run, ids.tolist())
    askable = np.ones(margins.shape, dtype=np.bool_)
    bags = {i: Bag(**member.bag) for i, member in enumerate(members) if member.bag}
    if bags and run.mode == Mode.OUT_OF_BAG:
        by_prompt = next(iter(bags.values())).unit == "prompt"
        digests = [group if by_prompt else digest for digest, group in units]
        askable[:, list(bags)] = ~in_bag(digests, list(bags.values()))
    labelled = prefers & np.isfinite(margins).any(axis=1)
    return Collected(ids.tolist(), margins, askable, labelled)


def _facts(run: ScoringRun, ids: list[int]) -> tuple[Booleans, list[tuple[str, str]]]:
    """Whether the source prefers one response, and digest and group, of each pair."""
    rows: dict[int, tuple[Any, ...]] = {}
    columns = ("pk", "source_preference", "digest", "group")
    for some in batches(ids, BATCH):
        for pk, *rest in run.dataset.pairs.filter(pk__in=some).values_list(*columns):
            rows[pk] = tuple(rest)
    prefers = [rows[pk][0] in (Preference.A, Preference.B) for pk in ids]
    return np.array(prefers, dtype=np.bool_), [(rows[pk][1], rows[pk][2]) for pk in ids]
