"""The part of the REST API that is about reward models, ensembles and scoring runs, for programs
that act for a person."""

from datetime import UTC, datetime
from typing import Annotated, Any

from django.conf import settings
from django.db.models import Prefetch, QuerySet
from django.utils.timezone import is_naive
from ninja import Field, Router, Status

from annotations import access as annotations_access
from annotations.activity import Key, Wanted
from annotations.models import Dataset
from curator.lib.refusals import Refusal
from curator.lib.texts import Text
from curator.models import User
from curator.requests import TokenRequest
from scoring import (
    access,
    activity,
    assembling,
    comparing,
    launch,
    recipe_book,
    responses,
    sampled,
    sampling,
    shards,
)
from scoring.experiments_api import router as experiments_router
from scoring.models import Checkpoint, Ensemble, ResponseSet, RewardModel
from scoring.schemas import (
    ActivityOut,
    ComparisonOut,
    EnsembleIn,
    EnsembleOut,
    EvidenceOut,
    ModelIn,
    ModelOut,
    RecipeIn,
    RecipeOut,
    ResponseSetOut,
    RunIn,
    RunOut,
    SampleIn,
)

models_router = Router(tags=["models"])
ensembles_router = Router(tags=["ensembles"])
runs_router = Router(tags=["runs"])
activity_router = Router(tags=["activity"])
router = Router()
router.add_router("", models_router)
router.add_router("", ensembles_router)
router.add_router("", runs_router)
router.add_router("", activity_router)
router.add_router("", experiments_router)

RUN = "/datasets/{slug:slug}/runs/{int:run_id}"


# --- Registered models ----------------------------------------------------------------------------


@models_router.get("/models", response=list[ModelOut], summary="Registered models")
def models(request: TokenRequest) -> QuerySet[Checkpoint]:
    return access.checkpoints(request.auth)


@models_router.post("/models", response={202: ModelOut}, summary="Register a model")
def register(request: TokenRequest, wanted: ModelIn) -> Checkpoint:
    """A worker loads it and tests that its scores do not depend on batching: ask for the model
    until its status is `done` or `failed`."""
    return launch.start_registration(by=request.auth, **wanted.fields())


@models_router.get("/models/{name}", response=ModelOut, summary="A model and its self-test")
def model(request: TokenRequest, name: Text) -> Checkpoint:
    return access.checkpoint_to_watch(request.auth, name)


# --- Ensembles ------------------------------------------------------------------------------------


@ensembles_router.get(
    "/datasets/{slug:slug}/ensembles",
    response=list[EnsembleOut],
    summary="The dataset's ensembles",
)
def ensembles(request: TokenRequest, slug: str) -> QuerySet[Ensemble]:
    dataset = annotations_access.dataset_to_curate(request.auth, slug)
    names = RewardModel.objects.only("ensemble_id", "position", "name")
    found = dataset.ensembles.select_related("training")
    return found.prefetch_related(Prefetch("members", names))


@ensembles_router.post(
    "/datasets/{slug:slug}/ensembles",
    response={201: EnsembleOut, 202: EnsembleOut},
    summary="Train or assemble an ensemble",
)
def make(request: TokenRequest, slug: str, wanted: EnsembleIn) -> Status[Ensemble]:
    """With a `recipe` it is trained: ask for the dataset's ensembles until it `is_trained` or its
    `training` has failed. Without one it is put together from registered models and, where wanted,
    the heads of an ensemble that was trained, and can score at once."""
    dataset = annotations_access.dataset_to_curate(request.auth, slug)
    if wanted.recipe is None:
        return Status(201, _assemble(dataset, wanted, by=request.auth))
    return Status(202, _train(dataset, wanted, wanted.recipe, by=request.auth))


def _assemble(dataset: Dataset, wanted: EnsembleIn, *, by: User) -> Ensemble:
    known = access.checkpoints(by)
    heads_of = None
    if wanted.heads_of is not None:
        heads_of = assembling.ensemble_called(dataset, wanted.heads_of)
    return launch.assemble(
        dataset=dataset,
        name=wanted.name,
        by=by,
        checkpoints=[assembling.checkpoint_called(name, known) for name in wanted.models],
        heads_of=heads_of,
    )


def _train(
    dataset: Dataset, wanted: EnsembleIn, recipe: str | dict[str, Any], *, by: User
) -> Ensemble:
    if wanted.models or wanted.heads_of is not None:
        raise Refusal("An ensemble is trained by a recipe or put together from models, not both.")
    if wanted.backbone not in settings.BACKBONES:
        raise Refusal(
            f"The backbone {wanted.backbone!r} is not known: {', '.join(settings.BACKBONES)}."
        )
    run = responses_named = None
    if wanted.run is not None:
        run = access.run_called(dataset, wanted.run)
    if wanted.responses is not None:
        responses_named = responses.called(dataset, wanted.responses)
    if isinstance(recipe, str):
        followed = recipe_book.called(dataset, recipe)
    else:
        followed = recipe_book.given(recipe)
    training = launch.start_training(
        dataset=dataset,
        name=wanted.name,
        by=by,
        members=wanted.members,
        backbone=wanted.backbone,
        seed=wanted.seed,
        bag_unit=wanted.bag_unit,
        recipe=followed,
        run=run,
        responses=responses_named,
    )
    return training.ensemble


# --- Recipes --------------------------------------------------------------------------------------


@ensembles_router.get(
    "/datasets/{slug:slug}/recipes", response=list[RecipeOut], summary="Recipes and presets"
)
def list_recipes(request: TokenRequest, slug: str) -> list[RecipeOut]:
    """The latest version of each recipe that was kept, then the presets."""
    dataset = annotations_access.dataset_to_curate(request.auth, slug)
    return [RecipeOut.of(entry) for entry in recipe_book.entries(dataset)]


@ensembles_router.post(
    "/datasets/{slug:slug}/recipes", response={201: RecipeOut}, summary="Keep a recipe"
)
def keep_recipe(request: TokenRequest, slug: str, wanted: RecipeIn) -> RecipeOut:
    """A version of it under its name; the same recipe again is the version that there is."""
    dataset = annotations_access.dataset_to_curate(request.auth, slug)
    recipe = recipe_book.given(wanted.recipe)
    row = recipe_book.keep(dataset=dataset, recipe=recipe, by=request.auth)
    return RecipeOut.of(recipe_book.Entry(recipe, row))


@ensembles_router.get(
    "/datasets/{slug:slug}/recipes/{path:recipe}", response=RecipeOut, summary="A recipe"
)
def one_recipe(request: TokenRequest, slug: str, recipe: str) -> RecipeOut:
    dataset = annotations_access.dataset_to_curate(request.auth, slug)
    return RecipeOut.of(recipe_book.entry_called(dataset, recipe))


@ensembles_router.get(
    "/datasets/{slug:slug}/responses",
    response=list[ResponseSetOut],
    summary="Sets of sampled responses",
)
def response_sets(request: TokenRequest, slug: str) -> QuerySet[ResponseSet]:
    """Prompts with several responses each, to meta-train on or to choose the best of."""
    return annotations_access.dataset_to_curate(request.auth, slug).response_sets.all()


# --- Runs -----------------------------------------------------------------------------------------


@runs_router.post("/datasets/{slug:slug}/runs", response={202: RunOut}, summary="Start a run")
def score(request: TokenRequest, slug: str, wanted: RunIn) -> RunOut:
    """Score every pair of the dataset and flag the labels: ask for the run until its status is
    `done`, `failed` or `cancelled`."""
    dataset = annotations_access.dataset_to_curate(request.auth, slug)
    run = launch.start_scoring(
        ensemble=assembling.ensemble_called(dataset, wanted.ensemble),
        by=request.auth,
        mode=wanted.mode,
        adaptive=wanted.adaptive,
        options=wanted.engine.options(),
    )
    return RunOut.of(run)


@runs_router.get(RUN, response=RunOut, summary="A run, and what it found")
def run(request: TokenRequest, slug: str, run_id: int) -> RunOut:
    return RunOut.of(access.run_to_watch(request.auth, slug, run_id))


@runs_router.post(f"{RUN}/pause", response=RunOut, summary="Pause a run")
def pause(request: TokenRequest, slug: str, run_id: int) -> RunOut:
    """Shards that are worked on come to their end, and no further one is taken up."""
    found = access.run_to_watch(request.auth, slug, run_id)
    if not shards.pause(found):
        raise Refusal("Only a run that is queued or running, and not paused yet, can be paused.")
    return RunOut.of(access.run_to_watch(request.auth, slug, run_id))


@runs_router.post(f"{RUN}/resume", response=RunOut, summary="Go on with a paused run")
def resume(request: TokenRequest, slug: str, run_id: int) -> RunOut:
    found = access.run_to_watch(request.auth, slug, run_id)
    if not shards.resume(found):
        raise Refusal("Only a run that is paused can be resumed.")
    return RunOut.of(access.run_to_watch(request.auth, slug, run_id))


@runs_router.post(f"{RUN}/cancel", response=RunOut, summary="Cancel a run")
def cancel(request: TokenRequest, slug: str, run_id: int) -> RunOut:
    """Workers notice at their next batch. What is scored stays, for a retry."""
    found = access.run_to_watch(request.auth, slug, run_id)
    if not shards.cancel(found):
        raise Refusal("Only a run that is queued or running can be cancelled.")
    return RunOut.of(access.run_to_watch(request.auth, slug, run_id))


@runs_router.post(f"{RUN}/retry", response=RunOut, summary="Start a run again")
def retry(request: TokenRequest, slug: str, run_id: int) -> RunOut:
    """A run that failed, was cancelled or lacks shards goes on from where it stands."""
    launch.start_again(access.run_to_watch(request.auth, slug, run_id), by=request.auth)
    return RunOut.of(access.run_to_watch(request.auth, slug, run_id))


@runs_router.get(
    f"{RUN}/compare/{{int:other_id}}",
    response=ComparisonOut,
    summary="How far two runs agree",
)
def compare(request: TokenRequest, slug: str, run_id: int, other_id: int) -> dict[str, Any]:
    a = access.run_to_watch(request.auth, slug, run_id)
    b = access.run_to_watch(request.auth, slug, other_id)
    return comparing.as_json(comparing.compare(a, b))


@runs_router.post(f"{RUN}/sample", response=EvidenceOut, summary="Draw labels to review")
def draw(request: TokenRequest, slug: str, run_id: int, wanted: SampleIn) -> dict[str, Any]:
    """At random, from every range of strength: they wait in the queue `audit` of the review."""
    found = access.run_to_watch(request.auth, slug, run_id)
    sample = sampling.draw(found, wanted.size, by=request.auth, seed=wanted.seed)
    return sampled.as_dict(sampling.found(sample))


@runs_router.get(f"{RUN}/evidence", response=EvidenceOut, summary="What the reviewed sample says")
def evidence(request: TokenRequest, slug: str, run_id: int) -> dict[str, Any]:
    found = access.run_to_watch(request.auth, slug, run_id)
    sample = sampling.sample_of(found)
    if sample is None:
        raise Refusal(f"No sample of run {found.pk} was drawn yet: draw one first.")
    return sampled.as_dict(sampling.found(sample))


# --- Activity -------------------------------------------------------------------------------------


@activity_router.get(
    "/datasets/{slug:slug}/activity", response=ActivityOut, summary="Who did what, newest first"
)
def feed(
    request: TokenRequest,
    slug: str,
    kind: str = "",
    person: Annotated[int, Field(ge=1, le=2**62)] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: str = "",
) -> ActivityOut:
    """Fifty entries a page; send `next` back as `after` for the page that follows."""
    dataset = annotations_access.dataset_to_curate(request.auth, slug)
    if kind and kind not in activity.GROUPS:
        raise Refusal(f"The kind {kind!r} is not known: choose {', '.join(activity.GROUPS)}.")
    place = Key.read(after) if after else None
    if after and place is None:
        raise Refusal("`after` is not the `next` of a page.")
    wanted = Wanted(kind, person, _in_utc(since), _in_utc(until), place)
    return ActivityOut.of(activity.feed(dataset, wanted))


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and is_naive(moment) else moment
