"""Score a shard: ask its members of its pairs, and note their margins on it. Runs on the device."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from django.db import transaction

from annotations.models import Preference, PreferencePair
from curator.lib import work
from curator.lib.processes import this_process
from scoring import checkpoint_margins, head_margins
from scoring.core.bags import Bag, in_bag
from scoring.core.options import EngineOptions
from scoring.models import Mode, RewardModel, ScoringRun, ScoringShard
from scoring.towards import Towards

MOST_REFUSALS = 200  # kept with their reason, a shard


def score_shard(shard: ScoringShard) -> None:
    """The margins of the shard's pairs by its members, written with the shard's end: whichever
    attempt comes to its end, and only that one."""
    run = shard.run
    members = list(
        run.ensemble.members.filter(position__in=shard.members).select_related("checkpoint")
    )
    found = PreferencePair.objects.in_bulk(shard.pair_ids)
    pairs = [found[pair_id] for pair_id in shard.pair_ids]
    asked = _asked(run, members, pairs)
    towards = _towards_a_where(np.flatnonzero(asked.any(axis=1)), shard, members, pairs)
    margins = np.where(asked, towards.margins * _signs(pairs)[:, None], np.nan)
    refusals = _refusals(towards, pairs, members, asked)
    with transaction.atomic():
        work.finish(
            shard,
            pairs_done=shard.pairs_count,
            margins=margins.astype("<f4").tobytes(),
            refusals=refusals[:MOST_REFUSALS],
            refused=len(refusals),
            calls=int(asked.sum()),
            tokens=towards.tokens,
            truncated_pairs=[pairs[i].pk for i in towards.truncated],
            worked_by=this_process(),
        )
    _note(run, towards.environment)


def _towards_a_where(
    places: npt.NDArray[np.intp],
    shard: ScoringShard,
    members: list[RewardModel],
    pairs: list[PreferencePair],
) -> Towards:
    """The margins of the pairs at these places, NaN elsewhere: a model that was fine-tuned on half
    of the pairs need not be run over that half."""
    if len(places) == len(pairs):
        return _towards_a(shard, members, pairs)
    margins = np.full((len(pairs), len(members)), np.nan, dtype=np.float32)
    if not len(places):
        return Towards(margins=margins, refused=[], truncated=[], tokens=0, environment={})
    found = _towards_a(shard, members, [pairs[i] for i in places])
    margins[places] = found.margins
    return replace(
        found,
        margins=margins,
        refused=[(int(places[i]), position, reason) for i, position, reason in found.refused],
        truncated=[int(places[i]) for i in found.truncated],
    )


def _towards_a(
    shard: ScoringShard, members: list[RewardModel], pairs: list[PreferencePair]
) -> Towards:
    def heard(share: float) -> None:
        work.renew(shard, pairs_done=int(share * shard.pairs_count))

    if members[0].checkpoint_id is None:
        return head_margins.towards_a(shard.run.ensemble, members, pairs, heard)
    options = EngineOptions.from_dict(shard.run.engine)
    return checkpoint_margins.towards_a(members, pairs, options, heard)


def _signs(pairs: list[PreferencePair]) -> npt.NDArray[np.float32]:
    """(n,): what turns a margin towards A into one for the label; towards A where the source
    prefers neither."""
    signs = [-1.0 if pair.source_preference == Preference.B else 1.0 for pair in pairs]
    return np.array(signs, dtype=np.float32)


def _asked(
    run: ScoringRun, members: list[RewardModel], pairs: list[PreferencePair]
) -> npt.NDArray[np.bool_]:
    """Which members are asked of each pair, (n, members): out-of-bag only those whose bag does
    not hold it. What has no bag has seen none of the pairs."""
    asked = np.ones((len(pairs), len(members)), dtype=np.bool_)
    bags = {i: Bag(**member.bag) for i, member in enumerate(members) if member.bag}
    if run.mode == Mode.IN_SAMPLE or not bags:
        return asked
    by_prompt = next(iter(bags.values())).unit == "prompt"
    units = [pair.group if by_prompt else pair.digest for pair in pairs]
    asked[:, list(bags)] = ~in_bag(units, list(bags.values()))
    return asked


def _refusals(
    towards: Towards,
    pairs: list[PreferencePair],
    members: list[RewardModel],
    asked: npt.NDArray[np.bool_],
) -> list[tuple[int, int, str]]:
    """One of each pair and member that was asked and could not say."""
    column = {member.position: i for i, member in enumerate(members)}
    found = {
        (pairs[i].pk, position): reason
        for i, position, reason in towards.refused
        if asked[i, column[position]]
    }
    return [(pk, position, reason) for (pk, position), reason in found.items()]


def _note(run: ScoringRun, environment: dict[str, object]) -> None:
    """Note on the run where it was scored."""
    if environment and not run.environment:
        ScoringRun.objects.filter(pk=run.pk, environment={}).update(environment=environment)
