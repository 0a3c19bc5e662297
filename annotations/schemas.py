"""What programs that label send to the REST API and are sent by it. What is said of a pair comes
from `blind` alone. The descriptions are its reference."""

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema
from pydantic import ConfigDict

from annotations import blind, describing, labelling, leasing, tagging
from annotations.conditions import parse_clauses
from annotations.fields import Use
from annotations.models import Annotator, Dataset, DecisionBatch, Lease, Occasion, Snapshot
from annotations.proposals import Bulk
from curator.lib.refusals import Refusal
from curator.lib.texts import Text

Expected = dict[str, dict[str, int] | int]
Side = Literal["first", "second"]
Choice = Literal["first", "second", "tie", "both_bad", "skip"]


class ProgressOut(Schema):
    today: int = Field(description="Your answers since midnight, UTC; practice does not count.")
    total: int = Field(description="All your answers.")
    left: int = Field(description="Pairs that you may still be asked, counted up to 200.")
    is_more_left: bool = Field(description="Whether there may be more than were counted.")
    practice_left: int = Field(description="Practice pairs that come first.")


class RulesOut(Schema):
    guidelines: str = Field(description="What to prefer; Markdown.")
    aspects: list[str] = Field(description="What may be compared apart, by name.")
    asks_strength: bool = Field(description="Whether how much better is of interest.")
    requires_rationale: bool = Field(description="Whether an answer needs a reason.")


class LeaseOut(Schema):
    lease: int = Field(description="To answer it with.")
    is_practice: bool = Field(description="Whether the answer is followed by the right one.")
    prompt: list[dict[str, str]] = Field(description="Messages: role and content.")
    first: list[dict[str, str]] = Field(description="The response that stands first before you.")
    second: list[dict[str, str]] = Field(description="The other one.")
    based_on: int | None = Field(description="Send it with the answer.")
    draft: dict[str, Any] = Field(description="What was answered before an undo; else empty.")
    expires_at: datetime = Field(description="Until when it is yours.")
    rules: RulesOut = Field(description="What the dataset asks of an answer.")
    progress: ProgressOut = Field(description="How far you have come.")

    @classmethod
    def of(cls, lease: Lease, annotator: Annotator) -> "LeaseOut":
        shown = blind.shown(lease)
        return cls(
            lease=lease.pk,
            is_practice=lease.occasion == Occasion.PRACTICE,
            prompt=shown.prompt,
            first=shown.first,
            second=shown.second,
            based_on=lease.label_id,
            draft=lease.draft,
            expires_at=lease.expires_at,
            rules=_rules(annotator.dataset),
            progress=_progress(annotator),
        )


class NothingOut(Schema):
    lease: None = Field(default=None, description="There is none.")
    detail: str = Field(description="Why, in a sentence.")
    progress: ProgressOut = Field(description="How far you have come.")


NextOut = LeaseOut | NothingOut


class SpanIn(Schema):
    model_config = ConfigDict(extra="forbid")

    side: Side = Field(description="The response that is marked.")
    start: int = Field(description="In characters, the response's messages end to end.")
    end: int = Field(description="The first character that is not marked.")
    mark: Literal["good", "bad"] = Field(description="What the mark says.")


class AnswerIn(Schema):
    """What is misspelt is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    choice: Choice = Field(description="The better response, neither, or no answer at all.")
    strength: int | None = Field(default=None, description="1 slightly, 2 clearly, 3 much better.")
    aspects: dict[str, str] = Field(
        default={}, description="The better response, or `tie`, by aspect."
    )
    rationale: str = Field(default="", description="Why, in at most 20,000 characters.")
    skip_reason: str = Field(
        default="", description="Of `skip`: unsure, knowledge, language, broken or harmful."
    )
    spans: list[SpanIn] = Field(default=[], description="Marks on the responses.")
    seconds: float | None = Field(default=None, description="Time spent on the pair.")
    based_on: int | None = Field(default=None, description="As it came with the pair.")

    def answer(self) -> labelling.Answer:
        return labelling.Answer(**self.model_dump(exclude={"based_on"}))


class FeedbackOut(Schema):
    is_right: bool = Field(description="Whether your answer is the right one.")
    right: Choice = Field(description="The right answer.")
    explanation: str = Field(description="Why it is right; Markdown.")


class KeptOut(Schema):
    label: int = Field(description="The label that was kept.")
    note: str = Field(description="What you should know of it; mostly empty.")
    feedback: FeedbackOut | None = Field(description="After a practice pair; else null.")
    next: NextOut = Field(description="The next pair, as from `next`.")


class SnapshotOut(Schema):
    number: int = Field(description="Within the dataset; it stands in addresses.")
    id: int = Field(description="What commands call it.")
    digest: str = Field(description="Of its content, SHA-256.")
    pairs: int = Field(description="How many it holds.")
    verdicts: dict[str, int] = Field(description="Pairs by verdict; the empty key is undecided.")
    preferences: dict[str, int] = Field(description="Pairs by the label that holds.")
    scored_by: str = Field(description="The run that its strengths are of; empty for none.")
    tags: list[str] = Field(description="Names that it has now.")
    note: str
    created_at: datetime

    @staticmethod
    def resolve_pairs(row: Snapshot) -> int:
        return row.pairs_count

    @staticmethod
    def resolve_verdicts(row: Snapshot) -> Any:
        return row.counts["verdicts"]

    @staticmethod
    def resolve_preferences(row: Snapshot) -> Any:
        return row.counts["preferences"]

    @staticmethod
    def resolve_tags(row: Snapshot) -> list[str]:
        known = getattr(row, "current_tags", None)
        held = tagging.of_snapshot(row) if known is None else known
        return [tag.name for tag in held]


class SnapshotCardOut(SnapshotOut):
    card: str | None = Field(description="The dataset card, Markdown; null where none was written.")

    @staticmethod
    def resolve_card(row: Snapshot) -> str | None:
        card = describing.of_snapshot(row)
        return describing.with_files(card) if card else None


class TagIn(Schema):
    model_config = ConfigDict(extra="forbid")

    name: Text = Field(description="Up to 60 letters, digits, dots, hyphens and _.")


def next_of(annotator: Annotator) -> NextOut:
    """The pair in the annotator's hands, the next one, or why there is none."""
    lease = leasing.next_lease(annotator)
    if lease is not None:
        return LeaseOut.of(lease, annotator)
    progress = _progress(annotator, afresh=True)
    return NothingOut(detail=leasing.nothing_left(annotator), progress=progress)


def _rules(dataset: Dataset) -> RulesOut:
    return RulesOut(
        guidelines=dataset.guidelines,
        aspects=dataset.aspects,
        asks_strength=dataset.asks_strength,
        requires_rationale=dataset.requires_rationale,
    )


def _progress(annotator: Annotator, *, afresh: bool = False) -> ProgressOut:
    found = labelling.progress(annotator, afresh=afresh)
    return ProgressOut(
        today=found.today,
        total=found.total,
        left=found.left,
        is_more_left=found.is_more_left,
        practice_left=found.practice_left,
    )


class PolicyOut(Schema):
    name: str
    note: str = Field(description="What it is for.")
    rules: list[dict[str, Any]] = Field(description="The policy language, in the order tried.")
    digest: str = Field(description="Of the rules, SHA-256.")
    is_preset: bool = Field(description="Whether it comes with Curator, unchanged.")
    version: int | None = Field(description="The version that was kept; null for none.")


class PolicyIn(Schema):
    """A policy by its name, or its rules. What is misspelt is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    policy: Text | dict[str, Any] = Field(description="The name of a policy, or one in full.")


class ApplyIn(PolicyIn):
    expected: Expected = Field(
        default={}, description="As the preview gave it: refused where it is no longer so."
    )
    reason: Text = Field(default="", max_length=2000, description="Why, for the batch.")


class VerdictIn(Schema):
    """One verdict on all pairs of a filter."""

    model_config = ConfigDict(extra="forbid")

    where: list[dict[str, Any]] = Field(description="Conditions that all hold; none: every pair.")
    verdict: str = Field(description="keep, flip, soften, tie, drop, a or b.")
    probability: float | None = Field(
        default=None, description="Of the source's label, to soften to."
    )
    overrules_people: bool = Field(
        default=False, description="Also pairs that a person has decided."
    )

    def bulk(self) -> Bulk:
        """Raises Refusal for conditions that cannot be read."""
        clauses, problems = parse_clauses(self.where, use=Use.EXPLORE)
        if problems:
            raise Refusal(f"The filter cannot be read: {' '.join(problems)}")
        return Bulk(tuple(clauses), self.verdict, self.probability, self.overrules_people)


class DecideIn(VerdictIn):
    expected: Expected = Field(
        default={}, description="As the preview gave it: refused where it is no longer so."
    )
    reason: Text = Field(default="", max_length=2000, description="Why, for the decisions.")


class RestoreIn(Schema):
    model_config = ConfigDict(extra="forbid")

    expected: Expected = Field(
        default={},
        description="As the changes since the snapshot gave it: refused where it is no longer so.",
    )
    reason: Text = Field(default="", max_length=2000, description="Why, for the batch.")


class PreviewOut(Schema):
    pairs: int = Field(description="Pairs that were gone through.")
    counts: dict[str, int] = Field(description="Pairs that would change, by verdict, and queue.")
    passed_over: dict[str, int] = Field(description="Pairs that would not, by reason.")
    left: int = Field(description="Pairs that meet no rule, or one that leaves them.")
    rules: list[dict[str, dict[str, int]]] = Field(description="The same of each rule.")
    trained_on: dict[str, int] = Field(description="Pairs in a file for training: before, after.")
    mean_strength: dict[str, float | None] = Field(
        description="Of those, towards the label that holds: before, after."
    )
    warnings: list[str] = Field(description="What deserves a second thought, a sentence each.")
    expected: dict[str, Any] = Field(description="Send it with the order to do it.")


class BatchOut(Schema):
    id: int
    kind: str = Field(description="bulk, policy, restore or undo.")
    status: str = Field(description="queued, running, done, failed or cancelled.")
    problem: str = Field(description="Why it failed; else empty. Then nothing was changed.")
    total: int = Field(description="Pairs to go through.")
    done: int = Field(description="Pairs gone through; they show all at once at the end.")
    counts: dict[str, int] = Field(description="Decisions by verdict, and pairs put forward.")
    passed_over: dict[str, int] = Field(description="Pairs left as they were, by reason.")
    actor: str = Field(description="Who had it done.")
    reason: str = Field(description="Why, as they said.")
    policy: str | None = Field(description="The digest of the policy's rules; else null.")
    undoes: int | None = Field(description="The batch that it takes back; else null.")
    undone_by: int | None = Field(description="The batch that has taken it back; else null.")
    queued_at: datetime
    finished_at: datetime | None = Field(description="Null until it is over.")

    @staticmethod
    def resolve_policy(row: DecisionBatch) -> str | None:
        return row.policy.digest if row.policy else None

    @staticmethod
    def resolve_undoes(row: DecisionBatch) -> int | None:
        return row.undoes_id

    @staticmethod
    def resolve_undone_by(row: DecisionBatch) -> int | None:
        later = getattr(row, "undone_by", None)
        return later.pk if later and later.status == DecisionBatch.Status.DONE else None
