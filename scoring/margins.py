"""Score a shard: embed what the cache lacks, ask the members, and write one row a pair. Runs on
the device."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from django.core.files.storage import default_storage
from django.db import transaction

from annotations.models import Preference, PreferencePair
from curator.lib import work
from curator.lib.refusals import Refusal
from scoring import embedding, fitting
from scoring.engine.heads import Head, rewards
from scoring.models import Ensemble, Mode, PairScore, ScoringRun, ScoringShard
from scoring.training.bags import Bag, in_bag

Floats = npt.NDArray[np.float32]


class NotFinite(Refusal):
    """A member gave a reward that is no number."""


def score_shard(shard: ScoringShard) -> None:
    """The margins of the shard's pairs by the members that the run's mode asks, written with the
    shard's end."""
    run = shard.run
    backbone = embedding.backbone_of(run.ensemble)
    if backbone.digest != run.ensemble.backbone_digest:
        raise Refusal(
            f"The backbone {run.ensemble.backbone} is not the one this ensemble was trained on: "
            f"train again."
        )
    found = PreferencePair.objects.with_text().in_bulk(shard.pair_ids)
    pairs = [found[pair_id] for pair_id in shard.pair_ids]
    texts = [embedding.texts_of(pair) for pair in pairs]
    embedding.embed(
        texts,
        backbone,
        on_share=lambda share: work.renew(shard, pairs_done=int(share * shard.pairs_count)),
    )
    features = embedding.read_features(texts, backbone)
    margins = _margins(run.ensemble, pairs, features)
    asked = _asked(run, pairs)
    with transaction.atomic():
        _write(run, pairs, margins, asked)
        work.finish(shard, pairs_done=shard.pairs_count, truncated=features.truncated)
    _note(run, fitting.environment(backbone))


def _margins(
    ensemble: Ensemble, pairs: list[PreferencePair], features: embedding.PairFeatures
) -> Floats:
    """Margins (n, members) for the label; towards A where the source prefers neither."""
    heads = _heads_of(ensemble)
    codes = heads[0].slices.codes_of(
        [fitting.slice_of(pair.meta, pair.imported_in_id) for pair in pairs]
    )
    towards_a = rewards(heads, features.a, codes, features.keys_a) - rewards(
        heads, features.b, codes, features.keys_b
    )
    if not np.isfinite(towards_a).all():
        bad = pairs[int(np.flatnonzero(~np.isfinite(towards_a).all(axis=1))[0])]
        raise NotFinite(f"A member gave no finite reward for pair {bad.pk}.")
    signs = np.array(
        [-1.0 if pair.source_preference == Preference.B else 1.0 for pair in pairs],
        dtype=np.float32,
    )
    return np.asarray(towards_a * signs[:, None])


def _asked(run: ScoringRun, pairs: list[PreferencePair]) -> npt.NDArray[np.bool_]:
    """Which members are asked of each pair, (n, members): out-of-bag only those whose bag does
    not hold it."""
    own_bags = [Bag(**member.bag) for member in run.ensemble.members.all()]
    if run.mode == Mode.IN_SAMPLE:
        return np.ones((len(pairs), len(own_bags)), dtype=np.bool_)
    by_prompt = own_bags[0].unit == "prompt"
    return ~in_bag([pair.group if by_prompt else pair.digest for pair in pairs], own_bags)


def _write(
    run: ScoringRun, pairs: list[PreferencePair], margins: Floats, asked: npt.NDArray[np.bool_]
) -> None:
    """One row a pair, whichever attempt writes it."""
    rows = [
        PairScore(
            run=run,
            pair=pair,
            margins=[
                float(margin) if ask else None
                for margin, ask in zip(margins[i], asked[i], strict=True)
            ],
        )
        for i, pair in enumerate(pairs)
    ]
    PairScore.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["run", "pair"], update_fields=["margins"]
    )


def _note(run: ScoringRun, environment: dict[str, object]) -> None:
    """Note on the run where it was scored."""
    if not run.environment:
        ScoringRun.objects.filter(pk=run.pk, environment={}).update(environment=environment)


def _heads_of(ensemble: Ensemble) -> list[Head]:
    return _loaded(tuple((member.file.name, member.digest) for member in ensemble.members.all()))


@lru_cache(maxsize=4)
def _loaded(files: tuple[tuple[str, str], ...]) -> list[Head]:
    """The heads behind the files, kept for the next shard. Raises BadHead."""
    heads = []
    for name, digest in files:
        with default_storage.open(name, "rb") as file:
            heads.append(Head.from_bytes(file.read(), digest=digest))
    return heads
