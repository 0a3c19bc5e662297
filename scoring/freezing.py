"""Freeze a dataset together with what the current run says of its pairs."""

from django.db.models import Case, F, FloatField, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from annotations import snapshots
from annotations.models import Dataset, PreferencePair, Snapshot
from curator.models import User
from scoring.models import PairScore, ScoringRun


def freeze(*, dataset: Dataset, by: User | None, note: str = "") -> Snapshot:
    """A snapshot with the strengths and flags of the dataset's current run, if it has one."""
    run = ScoringRun.objects.current(dataset)
    if run is None:
        return snapshots.freeze(dataset=dataset, by=by, note=note)
    words = f"run {run.pk} ({run.mode}, ensemble {run.ensemble.name})"
    return snapshots.freeze(
        dataset=dataset, by=by, note=note, scored=_scored(dataset, run), scored_by=words
    )


def _scored(dataset: Dataset, run: ScoringRun) -> "QuerySet[PreferencePair]":
    scores = PairScore.objects.filter(run=run, pair=OuterRef("pk"))
    towards_label = Subquery(scores.values("strength")[:1])
    towards_a = Case(
        When(source_preference="b", then=-F("towards_label")),
        default=F("towards_label"),
        output_field=FloatField(),
    )
    return PreferencePair.objects.filter(dataset=dataset).annotate(
        towards_label=towards_label,
        strength=towards_a,
        spread=Subquery(scores.values("spread")[:1]),
        votes=Subquery(scores.values("votes")[:1]),
        flag=_or_empty(Subquery(scores.values("flag")[:1])),
    )


def _or_empty(flag: Subquery) -> Coalesce:
    return Coalesce(flag, Value(""))
