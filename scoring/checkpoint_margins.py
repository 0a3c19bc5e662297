"""Margins by registered checkpoints: what was scored before is taken from the cache, the rest goes
through the engine."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from django.conf import settings

from annotations.models import PreferencePair
from curator.lib import digests
from scoring import checkpoints
from scoring.core.options import EngineOptions
from scoring.embedding import OnShare
from scoring.engine.cache import RewardCache
from scoring.engine.checkpoints import Checkpoint
from scoring.engine.conversations import Conversations, ReadPair, Text, Unreadable
from scoring.engine.decoders import shared_layers
from scoring.engine.scorer import Scored, Scorer
from scoring.environment import environment
from scoring.models import RewardModel
from scoring.towards import Towards

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Keys:
    """Names what is read of a pair: each side alone where all of it is, both where the one decides
    how much of the other is read."""

    a: bytes
    b: bytes

    @classmethod
    def of(cls, pair: PreferencePair) -> "_Keys":
        return cls(*(_digest([pair.prompt, own]) for own in (pair.response_a, pair.response_b)))

    @property
    def truncated(self) -> "_Keys":
        return _Keys(
            *(hashlib.sha256(side + self.a + self.b).digest() for side in (self.a, self.b))
        )


def towards_a(
    members: list[RewardModel],
    pairs: list[PreferencePair],
    options: EngineOptions,
    on_share: OnShare,
) -> Towards:
    """Margins towards A by the members, a family of checkpoints. Raises ModelUnavailable,
    DeviceLost."""
    rows = [member.checkpoint for member in members if member.checkpoint is not None]
    shared = shared_layers([row.identity["layer_digests"] for row in rows])
    family = checkpoints.family(rows, shared)
    packs = options.pack and all(row.self_test["packs"] for row in rows)
    scorer = Scorer(family, shared=shared, options=replace(options, pack=packs))
    caches = [RewardCache(settings.CURATOR_HOME / "rewards", row.digest) for row in rows]
    keys = [_Keys.of(pair) for pair in pairs]
    margins, was_truncated = _known(keys, caches)
    todo = np.flatnonzero(np.isnan(margins).any(axis=1)).tolist()
    read = _read(family[0], [pairs[i] for i in todo])
    readable = [(i, each) for i, each in zip(todo, read, strict=True) if isinstance(each, ReadPair)]
    refused = [
        (i, member.position, each.reason)
        for i, each in zip(todo, read, strict=True)
        if isinstance(each, Unreadable)
        for member in members
    ]
    tokens = 0
    if readable:
        scored = _scored(scorer, [pairs[i] for i, _ in readable], readable, on_share)
        margins[[i for i, _ in readable]] = scored.rewards[::2] - scored.rewards[1::2]
        tokens = scored.tokens
        refused += _refused(scored.refused, readable, members, scored.rewards)
        _keep(scored.rewards, readable, keys, caches)
    return Towards(
        margins=margins,
        refused=refused,
        truncated=was_truncated + [i for i, each in readable if each.truncated],
        tokens=tokens,
        environment={
            **environment(device=family[0].device, precision=rows[0].dtype),
            "path": scorer.path,
        },
    )


def _known(keys: Sequence[_Keys], caches: Sequence[RewardCache]) -> tuple[Floats, list[int]]:
    """Margins (n, members) of the pairs of which both rewards are known, NaN elsewhere; and which
    of them were truncated."""
    margins = np.full((len(keys), len(caches)), np.nan, dtype=np.float32)
    cut = [key.truncated for key in keys]
    truncated = np.zeros(len(keys), dtype=np.bool_)
    for column, cache in enumerate(caches):
        wanted = [side for key in [*keys, *cut] for side in (key.a, key.b)]
        found = cache.get(wanted)
        for i, (whole, part) in enumerate(zip(keys, cut, strict=True)):
            for key in (whole, part):
                if key.a in found and key.b in found:
                    margins[i, column] = np.float32(found[key.a]) - np.float32(found[key.b])
                    truncated[i] = key is part
                    break
    return margins, np.flatnonzero(truncated & np.isfinite(margins).all(axis=1)).tolist()


def _read(checkpoint: Checkpoint, pairs: list[PreferencePair]) -> list[ReadPair | Unreadable]:
    return checkpoint.reader.read(
        [Conversations(pair.prompt, pair.response_a, pair.response_b) for pair in pairs]
    )


def _scored(
    scorer: Scorer,
    pairs: list[PreferencePair],
    readable: list[tuple[int, ReadPair]],
    on_share: OnShare,
) -> Scored:
    """Rewards of A and B of each pair in turn; texts of one prompt share what they begin with."""
    order = sorted(range(len(pairs)), key=lambda i: pairs[i].group)
    groups: list[list[Text]] = []
    last = None
    for i in order:
        if pairs[i].group != last:
            groups.append([])
            last = pairs[i].group
        groups[-1] += [readable[i][1].a, readable[i][1].b]
    scored = scorer.rewards(groups, on_tokens=lambda done, total: on_share(done / max(total, 1)))
    back = np.empty(2 * len(pairs), dtype=np.intp)
    for place, i in enumerate(order):
        back[2 * i], back[2 * i + 1] = 2 * place, 2 * place + 1
    where = {int(place): text for text, place in enumerate(back)}
    return replace(
        scored,
        rewards=scored.rewards[back],
        refused={where[place]: reason for place, reason in scored.refused.items()},
    )


def _refused(
    reasons: dict[int, str],
    readable: list[tuple[int, ReadPair]],
    members: list[RewardModel],
    rewards: Floats,
) -> list[tuple[int, int, str]]:
    """Which pair, which member, and why, from the texts that were refused."""
    return [
        (readable[text // 2][0], member.position, reason)
        for text, reason in sorted(reasons.items())
        for column, member in enumerate(members)
        if np.isnan(rewards[text, column])
    ]


def _keep(
    rewards: Floats,
    readable: list[tuple[int, ReadPair]],
    keys: Sequence[_Keys],
    caches: Sequence[RewardCache],
) -> None:
    """Remember the rewards of all texts that have one."""
    for column, cache in enumerate(caches):
        fresh: dict[bytes, float] = {}
        for place, (i, read) in enumerate(readable):
            own = keys[i].truncated if read.truncated else keys[i]
            for side, text in ((own.a, 2 * place), (own.b, 2 * place + 1)):
                if np.isfinite(rewards[text, column]):
                    fresh[side] = float(rewards[text, column])
        cache.put(fresh)


def _digest(value: object) -> bytes:
    return hashlib.sha256(digests.canonical_json(value).encode()).digest()
