"""Bring the texts of pairs into the embedding cache, and read features from there. Runs on the
device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from django.conf import settings

from annotations.models import PreferencePair
from curator.lib import work
from curator.lib.processes import this_process
from scoring.engine import backbones
from scoring.engine.backbones import MOST_TOKENS, Backbone
from scoring.engine.cache import EmbeddingCache, key_of
from scoring.engine.devices import best_precision
from scoring.engine.features import features
from scoring.engine.heads import Keys, response_key
from scoring.engine.surface import surface
from scoring.engine.texts import Messages, prompt_text, response_text
from scoring.models import Ensemble, TrainingShard

Floats = npt.NDArray[np.float32]
OnShare = Callable[[float], None]

RENEW_EVERY = 16  # batches of the backbone between two signs of life


@dataclass(frozen=True)
class PairTexts:
    """What the backbone reads of one pair."""

    prompt: str
    response_a: str
    response_b: str

    @property
    def keyed(self) -> list[tuple[bytes, str, bool]]:
        """Key, text and which end is kept: of a long prompt the end, of a long response the
        beginning."""
        both = [(self.response_a, False), (self.response_b, False)]
        return [
            (key_of(text, keep_end=end), text, end) for text, end in [(self.prompt, True), *both]
        ]


@dataclass(frozen=True)
class PairFeatures:
    """What the heads read of n pairs: features (n, width) and keys (n,) of both responses, and
    what was cut off."""

    a: Floats
    b: Floats
    keys_a: Keys
    keys_b: Keys
    truncated: list[int]  # the pairs of which a text was longer than the backbone reads


def embed_shard(shard: TrainingShard) -> None:
    """Embed what the cache lacks of the shard's texts, all in one transaction of the cache, and
    finish the shard."""
    backbone = backbone_of(shard.run.ensemble)
    pairs = PreferencePair.objects.filter(pk__in=shard.pair_ids).only(
        "prompt", "response_a", "response_b"
    )
    embed(
        [texts_of(pair) for pair in pairs.order_by("group", "pk")],
        backbone,
        on_share=lambda share: work.renew(shard, pairs_done=int(share * shard.pairs_count)),
    )
    work.finish(shard, pairs_done=shard.pairs_count, worked_by=this_process())


def backbone_of(ensemble: Ensemble) -> Backbone:
    """The ensemble's backbone, in the precision that its first worker chose: the hosts of one
    ensemble may differ, their vectors may not. Raises ModelUnavailable."""
    if not ensemble.precision:
        best = best_precision()
        Ensemble.objects.filter(pk=ensemble.pk, precision="").update(precision=best)
        ensemble.refresh_from_db(fields=["precision"])
    return backbones.load(ensemble.backbone, ensemble.precision)


def texts_of(pair: PreferencePair) -> PairTexts:
    return PairTexts(
        prompt_text(pair.prompt), response_text(pair.response_a), response_text(pair.response_b)
    )


def embed(
    pairs: Sequence[PairTexts], backbone: Backbone, *, on_share: OnShare | None = None
) -> int:
    """Make sure that every text of the pairs is in the cache; each distinct text goes through
    the backbone once. How many tokens that took."""
    texts = {key: (text, end) for pair in pairs for key, text, end in pair.keyed}
    return _embed(texts, backbone, on_share)


def prompt_vectors(
    prompts: Sequence[str], backbone: Backbone, *, on_share: OnShare | None = None
) -> Floats:
    """The embeddings (n, d) of prompts after the last layer that is read, which tells best what
    they are about. What the cache lacks is embedded."""
    keys = [key_of(prompt, keep_end=True) for prompt in prompts]
    _embed({key: (text, True) for key, text in zip(keys, prompts, strict=True)}, backbone, on_share)
    found = _cache_for(backbone).get(list(dict.fromkeys(keys)))
    return np.stack([found[key][1][-1] for key in keys])


def _embed(
    texts: dict[bytes, tuple[str, bool]], backbone: Backbone, on_share: OnShare | None
) -> int:
    """Put the embedding of each text into the cache, where it is not; texts by their keys, with
    whether their end is kept."""
    cache = _cache_for(backbone)
    missing = cache.missing(texts)
    if not missing:
        return 0
    batches = 0

    def heard(done: int) -> None:
        nonlocal batches
        batches += 1
        if on_share is not None and batches % RENEW_EVERY == 0:
            on_share(done / len(missing))

    wanted = [texts[key] for key in missing]
    ends = [end for _, end in wanted]
    tokens, vectors = backbone.embed([text for text, _ in wanted], keep_end=ends, on_batch=heard)
    cache.put(missing, tokens.tolist(), vectors)
    return int(np.minimum(tokens, MOST_TOKENS).sum())


def read_features(pairs: Sequence[PairTexts], backbone: Backbone) -> PairFeatures:
    """The features of pairs whose texts `embed` has put into the cache."""
    keys = [[key for key, _, _ in pair.keyed] for pair in pairs]
    found = _cache_for(backbone).get(list({key for row in keys for key in row}))
    prompts, a, b = (np.stack([found[row[column]][1] for row in keys]) for column in range(3))
    asked = [pair.prompt for pair in pairs]
    answers = [[pair.response_a for pair in pairs], [pair.response_b for pair in pairs]]
    return PairFeatures(
        a=features(prompts, a, surface(asked, answers[0])),
        b=features(prompts, b, surface(asked, answers[1])),
        keys_a=np.array(
            [response_key(*texts) for texts in zip(asked, answers[0], strict=True)], dtype=np.int64
        ),
        keys_b=np.array(
            [response_key(*texts) for texts in zip(asked, answers[1], strict=True)], dtype=np.int64
        ),
        truncated=[
            i for i, row in enumerate(keys) if any(found[key][0] > MOST_TOKENS for key in row)
        ],
    )


def response_features(asked: Sequence[tuple[Messages, Messages]], backbone: Backbone) -> Floats:
    """Features (n, width) of responses by their prompts, which need not be of a pair. What the
    cache lacks is embedded."""
    alone = [
        PairTexts(prompt_text(prompt), response_text(response), response_text(response))
        for prompt, response in asked
    ]
    embed(alone, backbone)
    return read_features(alone, backbone).a


def _cache_for(backbone: Backbone) -> EmbeddingCache:
    shape = (len(backbone.layers), backbone.dimension)
    return EmbeddingCache(settings.CURATOR_HOME / "embeddings", backbone.digest, shape)
