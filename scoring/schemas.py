"""What programs send to the REST API and are sent by it. The descriptions are its reference."""

from datetime import datetime
from typing import Annotated, Any

from ninja import Field, Schema
from pydantic import ConfigDict

from annotations.activity import Entry, Page
from curator.lib.texts import Text
from curator.lib.work import Work
from scoring import launch, recipe_book, reports, summaries
from scoring.core import recipes
from scoring.core.options import Attention, EngineOptions
from scoring.models import Checkpoint, Ensemble, Flag, Mode, Precision, ScoreAt, ScoringRun

Share = Annotated[float, Field(ge=0, le=1)]


class Wanted(Schema):
    """What is misspelt is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


# --- Registered models ----------------------------------------------------------------------------


class ModelIn(Wanted):
    name: Text = Field(description="Letters, digits, dots, hyphens and _; not taken yet.")
    reference: Text = Field(
        max_length=300,
        description="An id on the model hub, or a folder in CHECKPOINTS_FOLDER on the server.",
    )
    revision: Text = Field(default="", description="Of the model on the hub; empty is the latest.")
    dtype: Precision = Field(default=Precision.FLOAT32, description="In which the model is run.")
    max_length: int = Field(default=0, ge=0, description="Tokens it reads; 0 is what it allows.")
    score_at: ScoreAt | None = Field(
        default=None, description="Which token's score counts where the pad token also ends texts."
    )

    def fields(self) -> dict[str, Any]:
        """Of the row, which says nothing by an empty text."""
        return {**self.model_dump(), "score_at": self.score_at or ""}


class CheckOut(Schema):
    name: str = Field(description="The way of batching.")
    largest: float | None = Field(
        description="Largest difference of a score; null where it failed."
    )
    passed: bool = Field(description="Whether that is within the tolerance.")


class SelfTestOut(Schema):
    tolerance: float = Field(description="Differences up to this are rounding.")
    packs: bool = Field(description="Whether batches without padding may be used.")
    tokens_per_second: float = Field(description="On the worker that tested it.")
    checks: list[CheckOut]


class ModelOut(Schema):
    name: str
    reference: str | None = Field(
        description="A folder, or an id on the model hub; null where it was fine-tuned here."
    )
    dataset: str | None = Field(
        description="That it was fine-tuned on here, whose curators alone see it; else null."
    )
    revision: str = Field(description="On the hub.")
    dtype: Precision = Field(description="In which it is run.")
    max_length: int = Field(description="Tokens as asked for; 0 is what the model allows.")
    score_at: ScoreAt | None = Field(description="As asked for.")
    status: Work.Status = Field(description="Of its loading and testing; `done` can be used.")
    problem: str = Field(description="Why it failed, in a sentence.")
    queued_at: datetime
    finished_at: datetime | None
    digest: str = Field(description="Of everything that shapes a score; empty until loaded.")
    architecture: str | None = Field(description="Null until loaded, as what follows.")
    parameters: int | None
    tokens_read: int | None = Field(description="The most of a text that it reads.")
    self_test: SelfTestOut | None = Field(
        description="How far scores differ between ways of batching."
    )

    @staticmethod
    def resolve_reference(row: Checkpoint) -> str | None:
        return row.shown_reference or None

    @staticmethod
    def resolve_dataset(row: Checkpoint) -> str | None:
        return row.dataset.slug if row.dataset else None

    @staticmethod
    def resolve_score_at(row: Checkpoint) -> str | None:
        return row.score_at or None

    @staticmethod
    def resolve_architecture(row: Checkpoint) -> Any:
        return row.identity.get("architecture")

    @staticmethod
    def resolve_parameters(row: Checkpoint) -> Any:
        return row.identity.get("parameters")

    @staticmethod
    def resolve_tokens_read(row: Checkpoint) -> Any:
        return row.identity.get("max_length")

    @staticmethod
    def resolve_self_test(row: Checkpoint) -> dict[str, Any] | None:
        return row.self_test or None


# --- Ensembles ------------------------------------------------------------------------------------


class EnsembleIn(Wanted):
    """Either what an ensemble is put together from, or the recipe that it is trained by."""

    name: Text = Field(description="Letters, digits, dots, hyphens and _; new in the dataset.")
    models: list[Text] = Field(
        default=[], max_length=launch.MOST_MEMBERS, description="Names of registered models."
    )
    heads_of: Text | None = Field(
        default=None,
        description="An ensemble of the dataset whose trained heads become members too.",
    )
    recipe: Text | dict[str, Any] | None = Field(
        default=None, description="Train by it: the name of a recipe, or one in full."
    )
    run: int | None = Field(
        default=None,
        description="Whose strengths and flags the recipe goes by; null is the current run.",
    )
    responses: Text | None = Field(
        default=None, description="Sampled responses, for a recipe that meta-trains."
    )
    members: int = Field(default=launch.DEFAULT_MEMBERS, description="An even number, to train.")
    backbone: Text = Field(
        default=launch.DEFAULT_BACKBONE, description="Of heads: one that the server names."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Of the bags and the training.")
    bag_unit: Text = Field(default="pair", description="Bags are halves of `pair`s or `prompt`s.")


class EnsembleOut(Schema):
    name: str
    members: list[str] = Field(description="Their names; fewer than wanted while it is trained.")
    members_count: int = Field(description="How many there will be.")
    is_trained: bool = Field(description="Whether all are there, so that it can score.")
    is_assembled: bool = Field(description="Put together from models, rather than trained as one.")
    recipe: str = Field(description="The name of the recipe that it is trained by.")
    training: str | None = Field(
        description="queued, running, done, failed or cancelled; null where nothing is trained."
    )
    problem: str = Field(description="Why its training failed; empty otherwise.")
    backbone: str = Field(description="Of its heads; empty where it has none.")
    created_at: datetime

    @staticmethod
    def resolve_members(row: Ensemble) -> list[str]:
        return [member.name for member in row.members.all()]

    @staticmethod
    def resolve_recipe(row: Ensemble) -> str:
        return "" if row.is_assembled else recipe_book.recipe_of(row).name

    @staticmethod
    def resolve_training(row: Ensemble) -> str | None:
        return row.training.status if hasattr(row, "training") else None

    @staticmethod
    def resolve_problem(row: Ensemble) -> str:
        return row.training.problem if hasattr(row, "training") else ""


# --- Recipes --------------------------------------------------------------------------------------


class RecipeIn(Wanted):
    recipe: dict[str, Any] = Field(description="In full, with its name; see the docs for the keys.")


class RecipeOut(Schema):
    name: str
    note: str = Field(description="What it is for.")
    recipe: dict[str, Any] = Field(description="In full, with every choice said.")
    digest: str = Field(description="Of what it does, SHA-256.")
    is_preset: bool = Field(description="Whether it comes with Curator, unchanged.")
    version: int | None = Field(description="1, 2, 3 … under the name; null for a preset.")

    @classmethod
    def of(cls, entry: recipe_book.Entry) -> "RecipeOut":
        return cls(
            name=entry.name,
            note=entry.recipe.note,
            recipe=recipes.as_json(entry.recipe),
            digest=entry.digest,
            is_preset=entry.is_preset,
            version=entry.row.version if entry.row else None,
        )


class ResponseSetOut(Schema):
    name: str
    digest: str = Field(description="Of the rows, SHA-256.")
    prompts: int
    responses: int = Field(description="Of all prompts together.")
    scored: int = Field(description="Prompts whose responses all have a score.")
    created_at: datetime


# --- Runs -----------------------------------------------------------------------------------------

PLAIN = EngineOptions()


class EngineIn(Wanted):
    """Every trick of the engine can be turned off; none changes a score beyond float rounding."""

    share_prefixes: bool = Field(
        default=PLAIN.share_prefixes, description="Read once what texts of one prompt begin with."
    )
    prune_last_layer: bool = Field(
        default=PLAIN.prune_last_layer, description="Finish only scored tokens in the last layer."
    )
    share_trunks: bool = Field(
        default=PLAIN.share_trunks, description="Run layers once that members have in common."
    )
    pack: bool = Field(default=PLAIN.pack, description="Run decoders without padding.")
    sort_by_length: bool = Field(
        default=PLAIN.sort_by_length, description="Batch texts of like length."
    )
    token_budget: int = Field(
        default=PLAIN.token_budget, ge=0, description="Tokens a batch; 0 is what suits the device."
    )
    attention: Attention = Field(default=PLAIN.attention, description="The kernel that attends.")
    compile: bool = Field(
        default=PLAIN.compile, description="Compile norms and feed-forward parts."
    )

    def options(self) -> EngineOptions:
        return EngineOptions(**self.model_dump())


class RunIn(Wanted):
    ensemble: Text = Field(description="An ensemble of the dataset.")
    mode: Mode = Field(
        default=Mode.OUT_OF_BAG,
        description="Out-of-bag asks of a pair only members not trained on it.",
    )
    adaptive: bool = Field(default=False, description="Ask each member only while a flag is open.")
    engine: EngineIn = Field(default=EngineIn(), description="Options of the engine.")


class NoiseRate(Schema):
    estimate: Share
    low: Share = Field(description="Of the 95 % interval.")
    high: Share = Field(description="Of the 95 % interval.")


class SummaryOut(Schema):
    """What `manage.py score --json` prints."""

    run: int
    dataset: str
    ensemble: str
    mode: Mode
    pairs: int
    labelled: int = Field(description="Pairs of which the source prefers one response.")
    seconds: float
    pairs_per_second: float
    accuracy: float | None = Field(description="Share of the labels that the ensemble agrees with.")
    flags: dict[Flag, int] = Field(description="How many labels carry each flag.")
    cut: float | None = Field(description="Strengths below it are flagged as flipped.")
    cut_by: str | None = Field(description="How the cut was found.")
    truncated: int | None = Field(description="Pairs of which a text is longer than is read.")
    refused: int | None = Field(description="Times that a member could not score a pair.")
    adaptive: bool
    calls: int | None = Field(description="How often a member was asked of a pair.")
    calls_of_all: int | None = Field(description="How often it would be, asking every member.")
    tokens: int | None = Field(description="That went through models.")
    problem: str = Field(description="What the run could not do, in a sentence.")
    noise_rate: NoiseRate | None = Field(description="Share of wrong labels; null in-sample.")
    noise_rate_is_known: bool | None = Field(description="Where false, only `low` means something.")


class RunOut(Schema):
    id: int
    dataset: str
    ensemble: str
    mode: Mode
    adaptive: bool = Field(description="Whether members are asked only while a flag is open.")
    engine: dict[str, bool | int | str] = Field(description="Options of the engine.")
    status: Work.Status
    is_paused: bool = Field(description="Whether no further shard is taken up.")
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    last_sign_of_life: datetime | None = Field(description="Of whoever works on it.")
    pairs: int = Field(description="To be scored; 0 until the run is planned.")
    share_done: Share
    pairs_per_second: float | None = Field(description="Of the workers at it now; null without.")
    remaining_seconds: float | None = Field(description="At that rate.")
    problem: str = Field(description="Why it failed, or what it could not do, in a sentence.")
    summary: SummaryOut | None = Field(description="What it found; null until it is done.")

    @classmethod
    def of(cls, run: ScoringRun) -> "RunOut":
        """The run as its page shows it."""
        progress, is_done = reports.progress(run), run.status == Work.Status.DONE
        remaining = progress.remaining
        return cls(
            id=run.pk,
            dataset=run.dataset.slug,
            ensemble=run.ensemble.name,
            mode=Mode(run.mode),
            adaptive=run.is_adaptive,
            engine=run.engine,
            status=Work.Status(run.status),
            is_paused=run.is_paused,
            queued_at=run.queued_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            last_sign_of_life=run.last_sign_of_life,
            pairs=run.pairs_total,
            share_done=progress.share_done,
            pairs_per_second=progress.pairs_per_second,
            remaining_seconds=remaining.total_seconds() if remaining is not None else None,
            problem=run.problem,
            summary=SummaryOut(**summaries.of_run(run)) if is_done else None,
        )


class SampleIn(Schema):
    model_config = ConfigDict(extra="forbid")

    size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        description="That the sample shall have; one that was drawn grows to it."
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        0, description="Of the chance, at the first draw."
    )


class FoundOut(Schema):
    """A share with its 95 % interval."""

    estimate: Share
    low: Share
    high: Share


class StratumOut(Schema):
    low: float = Field(description="Lowest strength.")
    high: float
    pairs: int
    reviewed: int
    wrong: int
    share: FoundOut | None = Field(description="Of its labels that are wrong; null unreviewed.")


class FlagEvidenceOut(Schema):
    pairs: int
    reviewed: int
    wrong: int
    precision: FoundOut | None = Field(description="Of its labels, how many are wrong.")
    recall: FoundOut | None = Field(description="Of the wrong labels, how many carry it.")


class EvidenceOut(Schema):
    """What `manage.py evidence --json` prints."""

    run: int
    sample: int
    size: int
    seed: int
    waiting: int = Field(description="Drawn pairs that no person has decided one by one.")
    reviewed: int = Field(description="Verdicts that count.")
    right: int
    wrong: int
    unclear: int = Field(description="Ties and dropped pairs, which count as not wrong.")
    passed_over: int = Field(description="Undecided pairs before the last that counts.")
    further_on: int = Field(description="Decided pairs that the review has not come to.")
    noise_rate: FoundOut | None = Field(description="Share of all labels that is wrong.")
    strata: list[StratumOut] = Field(description="Labels of like strength, the weakest first.")
    flags: dict[Flag, FlagEvidenceOut]
    reviews_needed: dict[str, int] = Field(description="More reviews, by half-width.")


class OverlapOut(Schema):
    a: int = Field(description="Labels that run A flags as flipped.")
    b: int = Field(description="Labels that run B does.")
    both: int
    jaccard: Share | None = Field(description="Both, of either.")
    kept: Share | None = Field(description="Both, of A's.")
    known: Share | None = Field(description="Both, of B's.")


class ComparisonOut(Schema):
    """What `manage.py compare_runs --json` prints."""

    run_a: int
    run_b: int
    pairs: int = Field(description="With a flag in both runs; other figures are of these.")
    only_a: int = Field(description="Pairs with a flag in A alone.")
    only_b: int = Field(description="Pairs with a flag in B alone.")
    spearman: float | None = Field(description="Rank correlation of strength.")
    percentile_change: float = Field(description="Median of the absolute change of percentile.")
    flag_agreement: Share = Field(description="Share of the pairs whose flag is the same.")
    flipped: OverlapOut
    transitions: dict[Flag, dict[Flag, int]] = Field(description="By flag in A, then in B.")
    warning: str = Field(description="What must be known before the figures are read.")


# --- Activity -------------------------------------------------------------------------------------


class EntryOut(Schema):
    at: datetime = Field(description="When it was done.")
    kind: str = Field(description="What kind of doing it is.")
    id: int = Field(description="Of the row that it left; with `kind` it names the entry.")
    who: str = Field(description="The person; empty where the row does not say.")
    words: str = Field(description="What they did, with `name` after it.")
    name: str = Field(description="Of what they did it to, as people typed it.")
    said: str = Field(description="The reason, note or comment that goes with it, shortened.")
    url: str = Field(description="The page that it leads to.")


class ActivityOut(Schema):
    entries: list[EntryOut] = Field(description="Newest first.")
    next: str | None = Field(description="Where the next page begins; null on the last.")

    @classmethod
    def of(cls, page: Page) -> "ActivityOut":
        entries = [EntryOut(id=each.pk, **_but_pk(each)) for each in page.entries]
        return cls(entries=entries, next=str(page.next_cursor) if page.next_cursor else None)


def _but_pk(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in vars(entry).items() if name != "pk"}
