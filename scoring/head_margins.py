"""Margins by the heads of an ensemble: embed what the cache lacks, then all heads at once."""

from functools import lru_cache

import numpy as np
from django.core.files.storage import default_storage

from annotations.models import PreferencePair
from curator.lib.refusals import Refusal
from scoring import embedding
from scoring.embedding import OnShare
from scoring.engine.heads import AnyHead, read, rewards
from scoring.environment import environment
from scoring.labels import slice_of
from scoring.models import Ensemble, RewardModel
from scoring.towards import Towards


def towards_a(
    ensemble: Ensemble, members: list[RewardModel], pairs: list[PreferencePair], on_share: OnShare
) -> Towards:
    """Margins towards A by the members, which are heads of one training. Raises
    ModelUnavailable."""
    backbone = embedding.backbone_of(ensemble)
    if backbone.digest != ensemble.backbone_digest:
        raise Refusal(
            f"The backbone {ensemble.backbone} is not the one this ensemble was trained on: "
            f"train again."
        )
    texts = [embedding.texts_of(pair) for pair in pairs]
    embedded = embedding.embed(texts, backbone, on_share=on_share)
    features = embedding.read_features(texts, backbone)
    heads = _loaded(tuple((member.file.name, member.digest) for member in members))
    codes = heads[0].slices.codes_of([slice_of(pair.meta, pair.imported_in_id) for pair in pairs])
    margins = rewards(heads, features.a, codes, features.keys_a) - rewards(
        heads, features.b, codes, features.keys_b
    )
    finite = np.isfinite(margins)
    refused = [
        (int(i), members[column].position, "The head's reward is not a finite number.")
        for i, column in np.argwhere(~finite)
    ]
    return Towards(
        margins=np.where(finite, margins, np.nan).astype(np.float32),
        refused=refused,
        truncated=features.truncated,
        tokens=embedded,
        environment=environment(
            device=backbone.device, precision=str(backbone.dtype).removeprefix("torch.")
        ),
    )


@lru_cache(maxsize=4)
def _loaded(files: tuple[tuple[str, str], ...]) -> list[AnyHead]:
    """The heads behind the files, kept for the next shard. Raises BadHead."""
    heads = []
    for name, digest in files:
        with default_storage.open(name, "rb") as file:
            heads.append(read(file.read(), digest=digest))
    return heads
