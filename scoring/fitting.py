"""Train an ensemble's heads by its recipe on the labels that hold now, and store them. Runs on the
device, after all texts are embedded."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from django.core.files.base import ContentFile
from django.db import transaction

from annotations.models import PreferencePair
from curator.lib import digests, work
from curator.lib.batches import batches
from curator.lib.refusals import Refusal
from scoring import embedding, recipe_book, responses
from scoring.core import recipes, strength
from scoring.core.bags import Bag, bags, in_bag
from scoring.core.curves import Point, thinned
from scoring.core.recipes import HIDDEN, LINEAR, BadRecipe, Model, Recipe
from scoring.core.targets import Measured, Targets, targets
from scoring.engine.backbones import Backbone
from scoring.engine.heads import Slices
from scoring.environment import environment
from scoring.labels import Labelled, Labels, grades, labelled_pairs, measured, trusted
from scoring.models import Ensemble, ResponseSet, RewardModel, ScoringRun, TrainingRun
from scoring.shards import NotEnoughPairs
from scoring.training.heads import Space, Trained, TrainingPairs
from scoring.training.teaching import teach

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

CHUNK = 1024
SAMPLED_PAIRS = 4096  # whose responses the feature space is fitted on
MOST_SLICES = 8
LEAST_SLICE_SHARE = 0.05
LEAST_SLICE_PAIRS = 50
FEWEST_IN_BAG = 5  # of the pairs that count, in each half
KINDS_OF_HEADS = {
    LINEAR: "linear head on a frozen backbone",
    HIDDEN: "head with a hidden layer on a frozen backbone",
}


class CannotFollow(Refusal):
    """A recipe asks for what these labels, or the run that it goes by, do not have."""


def fit(run: TrainingRun) -> None:
    """Train all members by the ensemble's recipe and store them in one transaction. Raises
    NotEnoughPairs and CannotFollow."""
    ensemble = run.ensemble
    started = time.monotonic()
    recipe = recipe_book.recipe_of(ensemble)
    backbone = embedding.backbone_of(ensemble)
    labelled = labelled_pairs(ensemble.dataset, keeps_ties=recipe.keeps_ties)
    taught = taught_to(ensemble, labelled, recipe)
    pairs, space, slices = prepare(labelled, backbone, run, model=recipe.model, targets=taught)
    own_bags = bags_of(ensemble)
    bag = in_bag(units_of(labelled, own_bags), own_bags)
    check_bags(bag, taught)
    run.curve = []  # of an attempt that was lost, maybe
    trained = teach(
        pairs,
        bag,
        recipe,
        space=space,
        slices=slices,
        seed=ensemble.recipe["seed"],
        responses=_sampled(ensemble, recipe, space, backbone, run),
        trusted=trusted(labelled, ensemble.dataset) if recipe.model.kind == HIDDEN else None,
        on_step=lambda done, total: work.renew(run, steps_done=done, steps_total=total),
        on_look=lambda point: _look(run, point),
    )
    seconds = (time.monotonic() - started) / len(own_bags)
    stored = _stored(ensemble, trained, bag, own_bags, labelled, backbone, seconds)
    with transaction.atomic():
        Ensemble.objects.filter(pk=ensemble.pk).update(backbone_digest=backbone.digest)
        ensemble.members.all().delete()
        RewardModel.objects.bulk_create(stored)
        work.finish(
            run,
            summary=_summary(trained, labelled, taught),
            curve=[point.as_dict() for point in thinned(trained.curve)],
            environment=_environment(backbone),
        )


def taught_to(
    ensemble: Ensemble, labelled: Labelled, recipe: Recipe, *, until: datetime | None = None
) -> Targets:
    """What the labels teach by the recipe and the run that the ensemble goes by, weighed as people
    had said by then. Raises CannotFollow."""
    number = ensemble.recipe.get("run")
    found = None
    if recipe.needs_run and number is not None:
        found = measured(ScoringRun.objects.get(pk=number), labelled)
    by_people = None
    if recipe.needs_grades:
        by_people = grades(labelled, ensemble.dataset, labels=Labels.NOW, until=until)
    return targets_of(labelled, recipe, measured=found, grades=by_people)


def targets_of(
    labelled: Labelled,
    recipe: Recipe,
    *,
    measured: Measured | None = None,
    grades: Doubles | None = None,
) -> Targets:
    """`scoring.core.targets.targets` of labelled pairs. Raises CannotFollow."""
    try:
        return targets(
            labelled.labels.astype(np.float64),
            recipe,
            measured=measured,
            probabilities=labelled.probabilities,
            grades=grades,
        )
    except BadRecipe as error:
        raise CannotFollow(f"The recipe “{recipe.name}” cannot be followed: {error}") from error


def check_bags(bag: Booleans, taught: Targets) -> None:
    """Raises NotEnoughPairs where a member, or who judges it, would have next to nothing to go
    by; bag is (n, members)."""
    used = taught.used
    seen = bag[used].sum(axis=0)
    fewest = int(min(seen.min(), (used.sum() - seen).min(), used.sum()))
    if fewest < FEWEST_IN_BAG:
        raise NotEnoughPairs(
            f"Too few pairs for the bags: of {int(used.sum())} pairs that the recipe leaves, one "
            f"half has {fewest}, and {FEWEST_IN_BAG} are needed. Treat fewer pairs, or draw bags "
            f"by pair."
        )


def _sampled(
    ensemble: Ensemble, recipe: Recipe, space: Space, backbone: Backbone, row: TrainingRun
) -> Floats | None:
    """Projected features (prompts, responses a prompt, components) of sampled responses, where the
    recipe learns from them: the first so many of each prompt that has as many."""
    if recipe.meta is None:
        return None
    found = ResponseSet.objects.get(pk=ensemble.recipe["responses"])
    wanted = recipe.meta.responses
    kept = [each for each in responses.read(found) if len(each.responses) >= wanted]
    if not kept:
        raise NotEnoughPairs(
            f"No prompt of {found.name} has the {wanted} responses that the recipe asks for."
        )
    rows = []
    for some in batches(kept, CHUNK // wanted + 1):
        asked = [(each.prompt, text) for each in some for text in each.responses[:wanted]]
        rows.append(space.project(embedding.response_features(asked, backbone)))
        work.renew(row)
    return np.concatenate(rows).reshape(len(kept), wanted, -1)


def _look(run: TrainingRun, point: Point) -> None:
    """Let the page show how it goes."""
    run.curve = [*run.curve, point.as_dict()]
    work.renew(run, curve=run.curve)


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
    labelled: Labelled,
    backbone: Backbone,
    row: work.Work,
    *,
    model: Model | None = None,
    targets: Targets | None = None,
) -> tuple[TrainingPairs, Space, Slices]:
    """Everything that training reads, in chunks. Of all pairs at once only projections are held:
    differences for linear heads, both responses for heads with a hidden layer."""
    sample = labelled.ids[:: max(1, len(labelled.ids) // SAMPLED_PAIRS)][:SAMPLED_PAIRS]
    space = Space.of(_responses(sample, backbone, row))
    has_layer = model is not None and model.kind == HIDDEN
    kept: list[list[Floats]] = [[], []]
    keys_a, keys_b, norms = [], [], []
    for found in read_pairs(labelled.ids, backbone, row):
        a, b = space.project(found.a), space.project(found.b)
        for rows, own in zip(kept, (a, b) if has_layer else (a - b,), strict=False):
            rows.append(own)
        norms.append(float((np.square(a).sum() + np.square(b).sum()) / (2 * len(a))))
        keys_a.append(found.keys_a)
        keys_b.append(found.keys_b)
    keys, a, b = compared(np.concatenate(keys_a), np.concatenate(keys_b))
    slices = slices_of(labelled.slices)
    first, second = (np.concatenate(rows) if rows else None for rows in kept)
    assert first is not None
    pairs = TrainingPairs(
        differences=first[:0] if has_layer else first,
        norm=float(np.mean(norms)),
        keys=keys,
        a=a,
        b=b,
        labels=labelled.labels,
        codes=slices.codes_of(labelled.slices),
        targets=targets,
        projected_a=first if has_layer else None,
        projected_b=second if has_layer else None,
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
    of_label = labelled.labels[:, None] != 0  # a tie has none to agree with
    margins = np.where(of_label, trained.margins.astype(np.float64), np.nan)
    unseen = strength.accuracy(np.where(bag, np.nan, margins))
    seen = strength.accuracy(np.where(bag, margins, np.nan))
    recipe = recipe_book.recipe_of(ensemble)
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
                "kind": KINDS_OF_HEADS[recipe.model.kind],
                "recipe": {
                    "name": recipe.name,
                    "version": ensemble.recipe.get("training_version"),
                    "digest": recipes.digest(recipe),
                },
                "run": ensemble.recipe.get("run"),
                "responses": ensemble.recipe.get("responses"),
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


def _summary(trained: Trained, labelled: Labelled, taught: Targets) -> dict[str, Any]:
    return {
        "labelled": len(labelled.ids),
        "data_digest": labelled.data_digest,
        "penalty": trained.penalty,
        "slices": list(trained.slices.names),
        "out_of_bag_loss": trained.loss,
        "treated": treated(taught),
        "warnings": [*taught.warnings, *trained.warnings],
    }


def treated(taught: Targets) -> dict[str, int]:
    """How many pairs the recipe leaves, and how many of them it teaches otherwise than as
    labelled."""
    used = taught.used
    return {
        "learnt_from": int(used.sum()),
        "left_out": int((~used).sum()),
        "flipped": int((used & taught.flipped).sum()),
        "softened": int((used & (taught.probability < 1.0)).sum()),
        "with_margin": int((used & (taught.margin != 0.0)).sum()),
        "weighted": int((used & (taught.weight != 1.0)).sum()),
    }


def _environment(backbone: Backbone) -> dict[str, Any]:
    precision = str(backbone.dtype).removeprefix("torch.")
    return environment(device=backbone.device, precision=precision)
