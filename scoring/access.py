"""Fetchers that authorise, for runs, ensembles and registered models: they return the object or
raise."""

from django.db.models import Q, QuerySet
from django.shortcuts import get_object_or_404

from annotations import access, permissions
from annotations.models import Dataset
from curator.lib.refusals import Forbidden, Refusal
from curator.models import User
from scoring.models import (
    Checkpoint,
    Ensemble,
    Experiment,
    Iteration,
    ScoringRun,
    TrainingRecipe,
    TrainingRun,
)


def ensemble_to_use(user: User, slug: str, name: str) -> Ensemble:
    return get_object_or_404(Ensemble, dataset=access.dataset_to_curate(user, slug), name=name)


def training_to_watch(user: User, slug: str, name: str) -> TrainingRun:
    ensemble = ensemble_to_use(user, slug, name)
    return get_object_or_404(
        TrainingRun.objects.select_related("ensemble__dataset"), ensemble=ensemble
    )


def run_to_watch(user: User, slug: str, run_id: int) -> ScoringRun:
    dataset = access.dataset_to_curate(user, slug)
    return get_object_or_404(
        ScoringRun.objects.select_related("ensemble", "dataset"), dataset=dataset, pk=run_id
    )


def experiment_to_watch(user: User, slug: str, experiment_id: int) -> Experiment:
    dataset = access.dataset_to_curate(user, slug)
    found = Experiment.objects.select_related("dataset", "evaluated_on", "responses")
    found = found.defer("truths")  # one for every trusted pair, and no page shows them
    return get_object_or_404(found, dataset=dataset, pk=experiment_id)


def iteration_to_watch(user: User, slug: str, iteration_id: int) -> Iteration:
    dataset = access.dataset_to_curate(user, slug)
    return get_object_or_404(
        Iteration.objects.select_related("dataset"), dataset=dataset, pk=iteration_id
    )


def recipe_to_read(user: User, slug: str, recipe_id: int) -> TrainingRecipe:
    dataset = access.dataset_to_curate(user, slug)
    return get_object_or_404(
        TrainingRecipe.objects.select_related("dataset", "created_by"),
        dataset=dataset,
        pk=recipe_id,
    )


def run_called(dataset: Dataset, number: int | None) -> ScoringRun:
    """A run by its id, the current one without; for commands of the machine. Raises Refusal."""
    runs = ScoringRun.objects.filter(dataset=dataset).select_related("ensemble", "dataset")
    if number is None:
        run = ScoringRun.objects.current(dataset)
        if run is None:
            raise Refusal(f"{dataset.slug} has no run that is done: score it first.")
        return run
    found = runs.filter(pk=number).first()
    if found is None:
        known = ", ".join(str(pk) for pk in runs.values_list("pk", flat=True)[:10]) or "none"
        raise Refusal(f"{dataset.slug} has no run {number}; it has: {known}.")
    return found


def checkpoints(user: User) -> QuerySet[Checkpoint]:
    """The registered models: those of others for all but who only annotates, those fine-tuned here
    for the curators of their dataset."""
    if not permissions.can_create_datasets(user):
        raise Forbidden("Registered models are for those who curate: ask an owner for the role.")
    found = Checkpoint.objects.filter(Q(dataset=None) | Q(dataset__in=_curated(user)))
    return found.select_related("dataset")


def checkpoint_to_watch(user: User, name: str) -> Checkpoint:
    return get_object_or_404(checkpoints(user), name=name)


def ensembles_with(user: User, checkpoint: Checkpoint) -> QuerySet[Ensemble]:
    """The ensembles that the model is a member of, in datasets that the user curates."""
    found = Ensemble.objects.filter(members__checkpoint=checkpoint, dataset__in=_curated(user))
    return found.select_related("dataset").distinct()


def _curated(user: User) -> QuerySet[Dataset]:
    return Dataset.objects.filter(
        memberships__user=user,
        memberships__ended_at=None,
        memberships__role__in=permissions.CURATING,
    )
