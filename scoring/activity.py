"""What people did with models in a dataset, as sources of its activity."""

from collections.abc import Sequence

from django.db.models import QuerySet
from django.urls import reverse

from annotations.activity import GROUPS as ANNOTATIONS_GROUPS
from annotations.activity import Page, Rows, Source, Told, Wanted, name_of
from annotations.activity import feed as merged
from annotations.models import Dataset
from scoring.models import (
    Audit,
    Checkpoint,
    Ensemble,
    Recalibration,
    ReviewSample,
    ScoringRun,
    TrainingRun,
)

GROUPS = {**ANNOTATIONS_GROUPS, "models": "Models and runs", "evidence": "Audits and samples"}


def feed(dataset: Dataset, wanted: Wanted) -> Page:
    """A page of all that was done in the dataset."""
    return merged(dataset, wanted, more=SOURCES)


def _trained(row: TrainingRun, dataset: Dataset) -> Told:
    url = reverse("scoring:ensemble", args=[dataset.slug, row.ensemble.name])
    words = f"trained an ensemble ({row.get_status_display()}):"
    return Told(words, name_of(row.created_by), name=row.ensemble.name, url=url)


def _assembled(row: Ensemble, dataset: Dataset) -> Told:
    url = reverse("scoring:ensemble", args=[dataset.slug, row.name])
    return Told("assembled an ensemble:", name_of(row.created_by), name=row.name, url=url)


def _registered(row: Checkpoint, dataset: Dataset) -> Told:
    url = reverse("scoring:model", args=[row.name])
    words = "registered a model that became a member here:"
    return Told(words, name_of(row.created_by), name=row.name, url=url)


def _scored(row: ScoringRun, dataset: Dataset) -> Told:
    url = reverse("scoring:run", args=[dataset.slug, row.pk])
    words = f"scored all pairs, run {row.pk}, {row.mode} ({row.get_status_display()}):"
    return Told(words, name_of(row.created_by), name=row.ensemble.name, url=url)


def _evidence_url(dataset: Dataset, run_id: int, part: str) -> str:
    """The page of evidence on the run, whether or not that is still the current one."""
    return f"{reverse('scoring:evidence', args=[dataset.slug])}?run={run_id}#{part}"


def _audited(row: Audit, dataset: Dataset) -> Told:
    url = _evidence_url(dataset, row.run_id, "planted")
    words = f"audited run {row.run_id} with {row.share:.0%} planted flips"
    return Told(f"{words} ({row.get_status_display()})", name_of(row.created_by), url=url)


def _sampled(row: ReviewSample, dataset: Dataset) -> Told:
    url = _evidence_url(dataset, row.run_id, "sample")
    words = f"drew a sample of {row.size:,} pairs of run {row.run_id} to review"
    return Told(words, name_of(row.created_by), url=url)


def _recalibrated(row: Recalibration, dataset: Dataset) -> Told:
    run = row.sample.run_id
    url = _evidence_url(dataset, run, "recalibration")
    words = f"recalibrated the probabilities of run {run} by what people decided"
    return Told(words, name_of(row.created_by), url=url)


def _trainings(dataset: Dataset) -> Rows:
    found = TrainingRun.objects.filter(ensemble__dataset=dataset)
    return found.select_related("ensemble", "created_by")


def _ensembles(dataset: Dataset) -> Rows:
    found = Ensemble.objects.filter(dataset=dataset, training__isnull=True)
    return found.select_related("created_by")


def _checkpoints(dataset: Dataset) -> QuerySet[Checkpoint]:
    found = Checkpoint.objects.filter(members__ensemble__dataset=dataset)
    return found.distinct().select_related("created_by")


def _runs(dataset: Dataset) -> Rows:
    found = ScoringRun.objects.filter(dataset=dataset).select_related("ensemble", "created_by")
    return found.defer("summary", "members_record", "environment")


def _audits(dataset: Dataset) -> Rows:
    found = Audit.objects.filter(run__dataset=dataset).select_related("created_by")
    return found.defer("result")


def _samples(dataset: Dataset) -> Rows:
    return ReviewSample.objects.filter(run__dataset=dataset).select_related("created_by")


def _recalibrations(dataset: Dataset) -> Rows:
    found = Recalibration.objects.filter(sample__run__dataset=dataset)
    return found.select_related("sample", "created_by")


SOURCES: Sequence[Source] = (
    Source("training", "models", _trainings, "queued_at", _trained),
    Source("ensemble", "models", _ensembles, "created_at", _assembled),
    Source("model", "models", _checkpoints, "created_at", _registered),
    Source("run", "models", _runs, "queued_at", _scored),
    Source("audit", "evidence", _audits, "queued_at", _audited),
    Source("sample", "evidence", _samples, "created_at", _sampled),
    Source("recalibration", "evidence", _recalibrations, "created_at", _recalibrated),
)
