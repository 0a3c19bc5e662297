"""Train an ensemble's heads on the labels that hold now, and store them. Runs on the device,
after all texts are embedded."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from django.core.files.base import ContentFile
from django.db import transaction

from annotations.models import PreferencePair
from curator.lib import digests, work
from curator.lib.batches import batches
from scoring import embedding
from scoring.core import strength
from scoring.core.bags import Bag, bags, in_bag
from scoring.engine.backbones import Backbone
from scoring.engine.heads import Slices
from scoring.environment import environment
from scoring.labels import Labelled, labelled_pairs
from scoring.models import Ensemble, RewardModel, TrainingRun
from scoring.training.heads import Space, Trained, TrainingPairs, train

Floats = npt.NDArray[np.float32]

CHUNK = 1024
SAMPLED_PAIRS = 4096  # whose responses the feature space is fitted on
MOST_SLICES = 8
LEAST_SLICE_SHARE = 0.05
LEAST_SLICE_PAIRS = 50


def fit(run: TrainingRun) -> None:
    """Train all members and store them in one transaction. Raises NotEnoughPairs."""
    ensemble = run.ensemble
    started = time.monotonic()
    backbone = embedding.backbone_of(ensemble)
    labelled = labelled_pairs(ensemble.dataset)
    pairs, space, slices = prepare(labelled, backbone, run)
    own_bags = bags_of(ensemble)
    bag = in_bag(units_of(labelled, own_bags), own_bags)
    trained = train(
        pairs,
        bag,
        space=space,
        slices=slices,
        on_step=lambda done, total: work.renew(run, steps_done=done, steps_total=total),
    )
    seconds = (time.monotonic() - started) / len(own_bags)
    stored = _stored(ensemble, trained, bag, own_bags, labelled, backbone, seconds)
    with transaction.atomic():
        Ensemble.objects.filter(pk=ensemble.pk).update(backbone_digest=backbone.digest)
        ensemble.members.all().delete()
        RewardModel.objects.bulk_create(stored)
        work.finish(run, summary=_summary(trained, labelled), environment=_environment(backbone))


def slices_of(names: list[str]) -> Slices:
    """The slices that are large enough to have weights of their own; none where there are not
    two."""
    least = max(LEAST_SLICE_PAIRS, LEAST_SLICE_SHARE * len(names))
    kept = tuple(name for name, count in Counter(names).most_common(MOST_SLICES) if count >= least)
    if len(kept) < 2:
        return Slices.none()
    shares = np.array([names.count(name) / len(names) for name in kept], dtype=np.float32)
    return Slices(kept, np.eye(len(kept), dtype=np.float32) - shares)


def bags_of(ensemble: Ensemble) -> list[Bag]:
    recipe = ensemble.recipe
    return bags(ensemble.members_count, seed=recipe["seed"], unit=recipe["bag_unit"])


def units_of(labelled: Labelled, own_bags: list[Bag]) -> list[str]:
    """The digests that the bags are drawn by."""
    return labelled.groups if own_bags[0].unit == "prompt" else labelled.digests


def prepare(
    labelled: Labelled, backbone: Backbone, row: work.Work
) -> tuple[TrainingPairs, Space, Slices]:
    """Everything that training reads, in chunks; only the projected differences of all pairs are
    held at once."""
    sample = labelled.ids[:: max(1, len(labelled.ids) // SAMPLED_PAIRS)][:SAMPLED_PAIRS]
    space = Space.of(_responses(sample, backbone, row))
    differences, keys_a, keys_b, norms = [], [], [], []
    for found in read_pairs(labelled.ids, backbone, row):
        a, b = space.project(found.a), space.project(found.b)
        differences.append(a - b)
        norms.append(float((np.square(a).sum() + np.square(b).sum()) / (2 * len(a))))
        keys_a.append(found.keys_a)
        keys_b.append(found.keys_b)
    keys, a, b = compared(np.concatenate(keys_a), np.concatenate(keys_b))
    slices = slices_of(labelled.slices)
    pairs = TrainingPairs(
        differences=np.concatenate(differences),
        norm=float(np.mean(norms)),
        keys=keys,
        a=a,
        b=b,
        labels=labelled.labels,
        codes=slices.codes_of(labelled.slices),
    )
    return pairs, space, slices


def _responses(ids: list[int], backbone: Backbone, row: work.Work) -> Floats:
    """Features (2 n, width) of both responses of the pairs."""
    rows: Floats | None = None
    for number, found in enumerate(read_pairs(ids, backbone, row)):
        if rows is None:
            rows = np.empty((2 * len(ids), found.a.shape[1]), dtype=np.float32)
        both = slice(2 * CHUNK * number, 2 * (CHUNK * number + len(found.a)))
        np.concatenate([found.a, found.b], out=rows[both])
    assert rows is not None
    return rows


def read_pairs(
    ids: Sequence[int], backbone: Backbone, row: work.Work
) -> Iterator[embedding.PairFeatures]:
    """Features of the pairs, a chunk at a time; what another host embedded and this one lacks is
    embedded here."""
    for some in batches(ids, CHUNK):
        found = PreferencePair.objects.only("prompt", "response_a", "response_b").in_bulk(some)
        texts = [embedding.texts_of(found[pk]) for pk in some]
        embedding.embed(texts, backbone, on_share=lambda _: work.renew(row))
        yield embedding.read_features(texts, backbone)
        work.renew(row)


def compared(keys_a: Any, keys_b: Any) -> tuple[Any, Any, Any]:
    """The responses that stand in several pairs, and which of them each pair's A and B are."""
    keys, counts = np.unique(np.concatenate([keys_a, keys_b]), return_counts=True)
    several = keys[counts > 1]

    def place(of: Any) -> Any:
        found = np.minimum(np.searchsorted(several, of), max(len(several) - 1, 0))
        known = several[found] == of if len(several) else np.zeros(len(of), dtype=np.bool_)
        return np.where(known, found, len(several)).astype(np.int64)

    return several, place(keys_a), place(keys_b)


def _stored(
    ensemble: Ensemble,
    trained: Trained,
    bag: npt.NDArray[np.bool_],
    own_bags: list[Bag],
    labelled: Labelled,
    backbone: Backbone,
    seconds: float,
) -> list[RewardModel]:
    """The members' rows, their files written. A file left over by a lost attempt is only a file
    nobody names."""
    margins = trained.margins.astype(np.float64)
    unseen = strength.accuracy(np.where(bag, np.nan, margins))
    seen = strength.accuracy(np.where(bag, margins, np.nan))
    rows = []
    for position, (head, own) in enumerate(zip(trained.heads, own_bags, strict=True)):
        data = head.to_bytes()
        member = RewardModel(
            ensemble=ensemble,
            position=position,
            name=f"{ensemble.name}-{position + 1:02d}",
            seed=own.seed,
            bag=own.as_dict(),
            digest=digests.of_bytes(data),
            out_of_bag_accuracy=float(unseen[position]),
            seconds=seconds,
            card={
                "kind": "linear head on a frozen backbone",
                "backbone": ensemble.backbone,
                "backbone_digest": backbone.digest,
                "data_digest": labelled.data_digest,
                "pairs_in_bag": int(bag[:, position].sum()),
                "in_bag_accuracy": float(seen[position]),
                "out_of_bag_accuracy": float(unseen[position]),
                "bag": own.as_dict(),
                "penalty": trained.penalty,
                "slices": list(trained.slices.names),
                "environment": _environment(backbone),
            },
        )
        _write(member, data)
        rows.append(member)
    return rows


def _write(member: RewardModel, data: bytes) -> None:
    storage = member.file.storage
    base = f"models/{member.ensemble_id}/{member.name}-{member.digest[:16]}"
    member.file.name = storage.save(f"{base}.safetensors", ContentFile(data))
    storage.save(f"{base}.json", ContentFile(digests.canonical_json(member.card).encode()))


def _summary(trained: Trained, labelled: Labelled) -> dict[str, Any]:
    return {
        "labelled": len(labelled.ids),
        "data_digest": labelled.data_digest,
        "penalty": trained.penalty,
        "slices": list(trained.slices.names),
        "out_of_bag_loss": trained.loss,
    }


def _environment(backbone: Backbone) -> dict[str, Any]:
    precision = str(backbone.dtype).removeprefix("torch.")
    return environment(device=backbone.device, precision=precision)
