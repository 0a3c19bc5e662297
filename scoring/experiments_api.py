"""The part of the REST API that is about experiments, and what programs send to it and are sent by
it."""

from typing import Annotated, Any

from django.conf import settings
from ninja import Field, Router, Schema

from annotations import access as annotations_access
from annotations import tagging
from annotations.models import Dataset, Snapshot
from curator.lib.refusals import Refusal
from curator.lib.texts import Text
from curator.lib.work import Work
from curator.requests import TokenRequest
from scoring import access, launch, recipe_book, responses
from scoring.experiments import launching, planning, shown
from scoring.experiments.planning import ArmPlan, Design
from scoring.models import Arm, Experiment
from scoring.schemas import Wanted

router = Router(tags=["experiments"])
ONE = "/datasets/{slug:slug}/experiments/{int:experiment_id}"
MOST_TRUTHS = 1_000_000


class ArmIn(Wanted):
    name: Text = Field(max_length=planning.LONGEST_NAME)
    labels: Arm.Labels = Field(description="Where its labels come from.")
    snapshot: Text | None = Field(
        default=None, description="Number or tag, where they are a snapshot's."
    )
    recipe: Text | dict[str, Any] | None = Field(
        default=None, description="Name of a recipe of the dataset, or a recipe; plain without."
    )


class ExperimentIn(Wanted):
    name: Text = Field(max_length=planning.LONGEST_NAME, description="Not taken yet.")
    arms: list[ArmIn] = Field(description="The first is what the others are compared with.")
    seeds: int = Field(default=5, description="Trials of each arm.")
    folds: int = Field(default=5, description="To which prompts are dealt.")
    members: int = Field(default=launch.DEFAULT_MEMBERS, description="Of each trial.")
    backbone: Text = Field(
        default=launch.DEFAULT_BACKBONE, description="One of those that the server offers."
    )
    truth: Annotated[dict[str, bool], Field(max_length=MOST_TRUTHS)] | None = Field(
        default=None,
        description="Ids at the source, and whether their label is flipped; what people say "
        "without.",
    )
    evaluate_on: Text | None = Field(
        default=None, description="Slug of another dataset, in place of held-out folds."
    )
    responses: Text | None = Field(
        default=None, description="Scored responses, to choose the best of n from."
    )


class ExperimentOut(Schema):
    id: int
    name: str
    status: Work.Status
    share_done: float = Field(ge=0, le=1)
    problem: str = Field(description="Why it failed, in a sentence.")
    report: dict[str, Any] = Field(description="As `manage.py experiment --json` prints it.")

    @classmethod
    def of(cls, experiment: Experiment) -> "ExperimentOut":
        return cls(
            id=experiment.pk,
            name=experiment.name,
            status=Work.Status(experiment.status),
            share_done=min(shown.share_done(experiment), 1.0),
            problem=experiment.problem,
            report=shown.report(experiment),
        )


class ExperimentLine(Schema):
    id: int = Field(alias="pk")
    name: str
    status: Work.Status
    verdict: str = Field(description="In a sentence; empty until it is done.")

    @staticmethod
    def resolve_verdict(row: Experiment) -> str:
        return str(row.result.get("verdict", ""))


@router.get(
    "/datasets/{slug:slug}/experiments",
    response=list[ExperimentLine],
    summary="The dataset's experiments, newest first",
)
def experiments(request: TokenRequest, slug: str) -> list[Experiment]:
    dataset = annotations_access.dataset_to_curate(request.auth, slug)
    return list(dataset.experiments.defer("truths"))


@router.post(
    "/datasets/{slug:slug}/experiments",
    response={202: ExperimentOut},
    summary="Start an experiment",
)
def start(request: TokenRequest, slug: str, wanted: ExperimentIn) -> ExperimentOut:
    """Ask for it until its status is `done`, `failed` or `cancelled`."""
    dataset = annotations_access.dataset_to_curate(request.auth, slug)
    if wanted.backbone not in settings.BACKBONES:
        raise Refusal(
            f"The backbone {wanted.backbone!r} is not known: {', '.join(settings.BACKBONES)}."
        )
    design = Design(
        dataset=dataset,
        name=wanted.name,
        arms=[_arm(dataset, arm) for arm in wanted.arms],
        backbone=wanted.backbone,
        seeds=wanted.seeds,
        folds=wanted.folds,
        members=wanted.members,
        truth=wanted.truth,
        evaluated_on=(
            annotations_access.dataset_to_curate(request.auth, wanted.evaluate_on)
            if wanted.evaluate_on is not None
            else None
        ),
        responses=(
            responses.called(dataset, wanted.responses) if wanted.responses is not None else None
        ),
    )
    return ExperimentOut.of(launching.start(design, by=request.auth))


@router.get(ONE, response=ExperimentOut, summary="An experiment, and what it found")
def experiment(request: TokenRequest, slug: str, experiment_id: int) -> ExperimentOut:
    return ExperimentOut.of(access.experiment_to_watch(request.auth, slug, experiment_id))


@router.post(f"{ONE}/cancel", response=ExperimentOut, summary="Cancel an experiment")
def cancel(request: TokenRequest, slug: str, experiment_id: int) -> ExperimentOut:
    """Workers notice at their next step."""
    found = access.experiment_to_watch(request.auth, slug, experiment_id)
    launching.cancel(found, by=request.auth)
    return ExperimentOut.of(access.experiment_to_watch(request.auth, slug, experiment_id))


@router.post(f"{ONE}/retry", response=ExperimentOut, summary="Try lost trials again")
def retry(request: TokenRequest, slug: str, experiment_id: int) -> ExperimentOut:
    """Of an experiment that failed, was cancelled or lacks trials; what is done stays done."""
    found = access.experiment_to_watch(request.auth, slug, experiment_id)
    launching.start_again(found, by=request.auth)
    return ExperimentOut.of(access.experiment_to_watch(request.auth, slug, experiment_id))


def _arm(dataset: Dataset, wanted: ArmIn) -> ArmPlan:
    recipe = planning.PLAIN
    if isinstance(wanted.recipe, str):
        recipe = recipe_book.called(dataset, wanted.recipe)
    elif wanted.recipe is not None:
        recipe = recipe_book.given(wanted.recipe)
    snapshot = _snapshot(dataset, wanted.snapshot) if wanted.snapshot is not None else None
    return ArmPlan(wanted.name, wanted.labels, snapshot, recipe)


def _snapshot(dataset: Dataset, called: str) -> Snapshot:
    found = tagging.find(dataset, called)
    if found is None:
        raise Refusal(f"{dataset.slug} has no snapshot {called!r}.")
    return found
