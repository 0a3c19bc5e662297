"""Freeze a dataset together with what the current run says of its pairs, and write its card."""

from collections.abc import Iterator
from typing import Any

from django.db import transaction
from django.db.models import Case, F, FilteredRelation, FloatField, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce

from annotations import cards, describing, snapshots
from annotations.models import Dataset, PreferencePair, Snapshot, SnapshotRequest
from curator.lib import work
from curator.models import User
from scoring import overviews, sampling
from scoring.models import Flag, Mode, ScoringRun

FREEZES_AT_ONCE = 20_000  # pairs up to which nobody minds waiting for the page
CONFOUNDED = 0.3  # rank correlation of strength with length


@transaction.atomic
def freeze(*, dataset: Dataset, by: User | None, note: str = "") -> Snapshot:
    """A snapshot with the strengths and flags of the dataset's current run, if it has one, and its
    card."""
    run = ScoringRun.objects.current(dataset)
    if run is None:
        frozen = snapshots.freeze(dataset=dataset, by=by, note=note)
    else:
        scored, words = _scored(dataset, run), _words(run)
        frozen = snapshots.freeze(dataset=dataset, by=by, note=note, scored=scored, scored_by=words)
    describing.keep(frozen, _on_card(frozen, run))
    return frozen


def run(row: SnapshotRequest) -> None:
    """Freeze the dataset that somebody asked a snapshot of."""
    with transaction.atomic():
        frozen = freeze(dataset=row.dataset, by=row.created_by, note=row.note)
        work.finish(row, snapshot=frozen)


def write_card(snapshot: Snapshot) -> None:
    """The card of a snapshot of old, that has none."""
    run = ScoringRun.objects.current(snapshot.dataset)
    describing.keep(snapshot, _on_card(snapshot, run))


def _scored(dataset: Dataset, run: ScoringRun) -> "QuerySet[PreferencePair]":
    score = FilteredRelation("scores", condition=Q(scores__run=run))
    towards_a = Case(
        When(source_preference="b", then=-F("score__strength")),
        default=F("score__strength"),
        output_field=FloatField(),
    )
    return PreferencePair.objects.filter(dataset=dataset).annotate(
        score=score,
        strength=towards_a,
        spread=F("score__spread"),
        votes=F("score__votes"),
        flag=Coalesce(F("score__flag"), Value("")),
    )


# --- What the card says of the run ----------------------------------------------------------------


def _words(run: ScoringRun) -> str:
    return f"run {run.pk} ({run.mode}, ensemble {run.ensemble.name})"


def _on_card(snapshot: Snapshot, run: ScoringRun | None) -> cards.Scored | None:
    """None where the snapshot's figures are of no run, or of another than the current one."""
    if run is None or snapshot.scored_by != _words(run):
        return None
    return cards.Scored(
        words=f"run {run.pk}",
        mode=run.mode,
        ensemble=run.ensemble.name,
        members=run.ensemble.members_count,
        made_of=_made_of(run),
        accuracy=run.summary.get("accuracy"),
        flag_names=dict(Flag.choices),
        noise=list(_noise(run)),
        limits=list(_limits(run)),
    )


def _made_of(run: ScoringRun) -> str:
    members = list(run.ensemble.members.select_related("checkpoint"))
    models = sorted({each.checkpoint.name for each in members if each.checkpoint is not None})
    backbone = run.ensemble.backbone.rstrip("/")
    shown = (
        backbone.rpartition("/")[2] if backbone.startswith("/") else backbone
    )  # no folders of ours
    parts = [f"heads on {shown}"] if len(models) < len(members) else []
    return "; ".join([*parts, *(["registered models: " + ", ".join(models)] if models else [])])


def _noise(run: ScoringRun) -> Iterator[str]:
    """What is estimated of the share of wrong labels, and how: by the reviews of a random sample
    where there are enough, and by the scores, as far as these can tell."""
    sample = sampling.sample_of(run)
    evidence = sampling.found(sample) if sample is not None and sample.strata else None
    share = evidence.noise.figure if evidence is not None and evidence.is_enough else None
    if evidence is not None and share is not None:
        yield (
            f"By {evidence.reviewed:,} reviews of labels drawn at random, {share.estimate:.1%} of "
            f"the source's labels are wrong, 95 % interval {share.low:.1%} to {share.high:.1%}, "
            f"before any decision."
        )
    found: dict[str, Any] | None = run.summary.get("noise_rate")
    if found is None:
        yield (
            "Not estimated from the scores: in-sample scores say nothing of it."
            if run.mode == Mode.IN_SAMPLE
            else "Not estimated: too few labels were scored."
        )
        return
    if run.summary.get("noise_rate_is_known") is False and not found["low"]:
        advice = "" if share else ": review a random sample of the labels to find out"
        yield f"The scores alone do not tell{advice}."
        return
    if run.summary.get("noise_rate_is_known") is False:
        yield (
            f"The scores alone say only that at least {found['low']:.1%} of the labels are wrong "
            f"(95 % interval, before any decision)."
        )
        return
    yield (
        f"From the scores, {found['estimate']:.1%} of the source's labels are wrong, 95 % interval "
        f"{found['low']:.1%} to {found['high']:.1%}, before any decision."
    )


def _limits(run: ScoringRun) -> Iterator[str]:
    found = run.summary
    if run.mode != Mode.IN_SAMPLE and (sentence := overviews.cut_sentence(found)):
        yield sentence
    confound = found.get("length_confound")
    if confound is not None and abs(confound) > CONFOUNDED:
        longer = "longer" if confound > 0 else "shorter"
        yield (
            f"The ensemble's strengths go with length (rank correlation {confound:.2f}): it tends "
            f"to side with the {longer} response."
        )
    if found.get("truncated"):
        yield f"Of {found['truncated']:,} pairs the ensemble read only a part, as they are long."
    if found.get("refused"):
        yield f"Members could not score a pair {found['refused']:,} times."
    if run.problem:
        yield "The run could not ask all members of all pairs."
