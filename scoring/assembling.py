"""Put an ensemble together from reward models that exist: registered checkpoints, and the heads of
an ensemble that was trained."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from annotations.models import Dataset
from curator.lib.refusals import Refusal
from curator.models import User
from scoring.models import Checkpoint, Ensemble, RewardModel

HEAD_FIELDS = ("name", "seed", "bag", "digest", "file", "card", "out_of_bag_accuracy", "seconds")


def assemble(
    *,
    dataset: Dataset,
    name: str,
    by: User | None,
    checkpoints: Sequence[Checkpoint],
    heads_of: Ensemble | None,
) -> Ensemble:
    """The ensemble with its members. Raises Refusal for checkpoints that cannot be used."""
    check_members(checkpoints, heads_of)
    heads = list(heads_of.members.all()) if heads_of else []
    ensemble = Ensemble.objects.create(
        dataset=dataset,
        name=name,
        backbone=heads_of.backbone if heads_of else "",
        precision=heads_of.precision if heads_of else "",
        backbone_digest=heads_of.backbone_digest if heads_of else "",
        members_count=len(heads) + len(checkpoints),
        recipe={
            "assembled_from": {
                "checkpoints": [checkpoint.name for checkpoint in checkpoints],
                "heads_of": heads_of.name if heads_of else None,
            }
        },
        created_by=by,
    )
    members = [
        RewardModel(**{field: getattr(head, field) for field in HEAD_FIELDS}) for head in heads
    ]
    members += [
        RewardModel(
            name=checkpoint.name,
            digest=checkpoint.digest,
            checkpoint=checkpoint,
            bag=_bag_of(checkpoint, dataset),
        )
        for checkpoint in checkpoints
    ]
    for position, member in enumerate(members):
        member.ensemble, member.position = ensemble, position
    RewardModel.objects.bulk_create(members)
    return ensemble


def _bag_of(checkpoint: Checkpoint, dataset: Dataset) -> dict[str, Any]:
    """The half of the dataset that the checkpoint was fine-tuned on here; none where it was made
    elsewhere, or on other pairs."""
    trained = checkpoint.members.filter(
        ensemble__dataset=dataset, ensemble__training__isnull=False
    ).first()
    return trained.bag if trained else {}


def check_members(checkpoints: Sequence[Checkpoint], heads_of: Ensemble | None) -> None:
    """Raises a Refusal where `assemble` would."""
    if not checkpoints:
        raise Refusal("Choose at least one registered model.")
    if len({checkpoint.digest for checkpoint in checkpoints}) < len(checkpoints):
        raise Refusal("A model is a member once: it would only repeat what it said.")
    unusable = [checkpoint.name for checkpoint in checkpoints if not checkpoint.is_usable]
    if unusable:
        raise Refusal(f"{', '.join(unusable)}: not registered to the end, see the model's page.")
    if heads_of is not None and (
        not heads_of.is_trained or heads_of.is_assembled or heads_of.is_fine_tuned
    ):
        raise Refusal(f"{heads_of.name} is not an ensemble of trained heads.")
    if len(checkpoints) < 2 and heads_of is None:
        raise Refusal("An ensemble needs two members: choose two models, or a model and heads.")


def checkpoint_called(name: str, among: QuerySet[Checkpoint]) -> Checkpoint:
    """The registered model, among those that whoever asks may use. Raises Refusal naming them."""
    found = among.filter(name=name).first()
    if found is None:
        known = ", ".join(among.values_list("name", flat=True)[:10]) or "none"
        raise Refusal(f"No model is registered as {name!r}; there are: {known}.")
    return found


def ensemble_called(dataset: Dataset, name: str) -> Ensemble:
    """The dataset's ensemble. Raises Refusal naming those there are."""
    found = dataset.ensembles.filter(name=name).first()
    if found is None:
        known = ", ".join(dataset.ensembles.values_list("name", flat=True)[:10]) or "none"
        raise Refusal(f"{dataset.slug} has no ensemble {name!r}; it has: {known}.")
    return found
