"""Fetchers that authorise, for runs and ensembles: they return the object or raise."""

from django.shortcuts import get_object_or_404

from annotations import access
from curator.models import User
from scoring.models import Ensemble, ScoringRun, TrainingRun


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
