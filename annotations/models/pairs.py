"""Preference pairs, as they came and for good, and where each of them stands now."""

from django.db import models
from django.db.models import Q
from django.db.models.lookups import GreaterThan
from django.utils import timezone

from annotations.models.datasets import Dataset, Import
from annotations.models.words import Judgement, Preference, UnicodeJSONEncoder, Verdict
from annotations.querysets import PairStandingQuerySet, PreferencePairQuerySet
from annotations.voices import AI_AGAINST, PEOPLE_AGAINST
from curator.models import User


class PairContent(models.Model):
    """What a preference pair holds, whether staged or published."""

    source_id = models.CharField(
        max_length=200, blank=True, help_text="the pair's id at its source"
    )
    source_line = models.PositiveIntegerField(help_text="line or row number in the imported file")
    digest = models.CharField(
        max_length=64, help_text="of prompt and responses, whichever way round they stand"
    )
    group = models.CharField(max_length=64, help_text="digest of the prompt")
    prompt = models.JSONField(
        encoder=UnicodeJSONEncoder, help_text="chat messages: role and content"
    )
    response_a = models.JSONField(
        encoder=UnicodeJSONEncoder, help_text="the turns after the prompt, in one case"
    )
    response_b = models.JSONField(encoder=UnicodeJSONEncoder, help_text="and in the other")
    is_in_order = models.BooleanField(
        help_text="whether A is the first of the two responses by digest"
    )
    meta = models.JSONField(
        encoder=UnicodeJSONEncoder, default=dict, help_text="what else the source said"
    )

    class Meta:
        abstract = True


class PairTraits(models.Model):
    """What can be told of a pair from its content alone."""

    source_preference = models.CharField(max_length=3, choices=Preference, blank=True)
    origin = models.CharField(
        max_length=80, blank=True, help_text="where the source has it from; else the file's name"
    )
    turns = models.PositiveSmallIntegerField(default=1, help_text="messages of the prompt")
    characters = models.PositiveIntegerField(default=0, help_text="of prompt and both responses")
    longer_a = models.IntegerField(
        default=0, help_text="characters by which response A is longer than B"
    )
    checks = models.PositiveIntegerField(
        default=0, help_text="a bit for each finding of annotations.checks"
    )

    class Meta:
        abstract = True


CONTENT_FIELDS = [field.name for field in PairContent._meta.local_fields]
TRAITS = [field.name for field in PairTraits._meta.local_fields]


class StagedPair(PairTraits, PairContent):
    """A pair of an import that is not published yet; nobody but the import sees it."""

    search_text = models.TextField(help_text="the words of the pair, as the search reads them")
    imported_in = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="staged_pairs")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["imported_in", "digest"], name="staged_once_per_import"
            ),
            models.UniqueConstraint(
                fields=["imported_in", "source_id"],
                condition=~Q(source_id=""),
                name="staged_once_per_source_id",
            ),
        ]

    def __str__(self) -> str:
        return f"staged {self.digest[:12]}"


class Annotator(models.Model):
    """A person, an AI judge or the source itself; may or may not be a login user."""

    class Kind(models.TextChoices):
        HUMAN = "human", "person"
        AI = "ai", "AI judge"
        GOLD = "gold", "gold"
        SOURCE = "source", "source"

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="annotators")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=6, choices=Kind)
    user = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="annotators"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "name", "kind"], name="one_annotator_per_name_and_kind"
            ),
            models.UniqueConstraint(
                fields=["dataset", "user"],
                condition=Q(user__isnull=False),
                name="one_annotator_per_user",
            ),
            models.CheckConstraint(condition=~Q(name=""), name="annotator_has_a_name"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def shown_name(self) -> str:
        """What people call them: the name of their login, where they have one."""
        return self.name if self.user is None else self.user.get_full_name() or self.name


class StagedLabel(models.Model):
    """A label that came with a staged pair."""

    pair = models.ForeignKey(StagedPair, on_delete=models.CASCADE, related_name="labels")
    annotator_name = models.CharField(max_length=200)
    annotator_kind = models.CharField(max_length=6, choices=Annotator.Kind)
    preference = models.CharField(max_length=9, choices=Judgement)
    strength = models.PositiveSmallIntegerField(null=True)
    aspects = models.JSONField(default=dict)
    rationale = models.TextField(blank=True)
    meta = models.JSONField(encoder=UnicodeJSONEncoder, default=dict)

    def __str__(self) -> str:
        return f"{self.annotator_name}: {self.preference}"


class PreferencePair(PairContent):
    """A prompt and two responses, with what the source said of them. The row never changes: where
    the project stands on the pair is its `standing`."""

    source_preference = models.CharField(max_length=3, choices=Preference, blank=True)
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="pairs")
    imported_in = models.ForeignKey(Import, on_delete=models.PROTECT, related_name="pairs")
    created_at = models.DateTimeField(default=timezone.now)

    objects = PreferencePairQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "digest"], name="one_pair_per_content"),
            models.UniqueConstraint(
                fields=["dataset", "source_id"],
                condition=~Q(source_id=""),
                name="one_pair_per_source_id",
            ),
            models.CheckConstraint(
                condition=Q(source_preference__in=["", *Preference.values]),
                name="source_preference_is_known",
            ),
        ]
        indexes = [models.Index(fields=["dataset", "group", "id"], name="pairs_by_group")]

    def __str__(self) -> str:
        return f"pair {self.pk}"

    @property
    def has_preference(self) -> bool:
        """Whether the source prefers one response, so that there is a label to flip."""
        return self.source_preference in (Preference.A, Preference.B)


class PairStanding(PairTraits):
    """Where one pair stands now, in one narrow row: all that lists, counts, filters and policies
    read.

    `decision` and what follows from it repeat the end of the pair's chain of decisions, `people_…`
    and `ai_…` count what people and AI judges now say of it, both in the transaction that appends
    the fact. What scoring hands over is of the dataset's current run: margins and what follows from
    them speak for the source's label, so that negative contradicts it.
    """

    class DecidedBy(models.TextChoices):
        NOBODY = "", "nobody"
        PERSON = "person", "person"
        POLICY = "policy", "policy"

    pair = models.OneToOneField(
        PreferencePair, primary_key=True, on_delete=models.CASCADE, related_name="standing"
    )
    dataset = models.ForeignKey(
        Dataset, on_delete=models.PROTECT, related_name="standings", db_index=False
    )
    imported_in = models.ForeignKey(Import, on_delete=models.PROTECT, related_name="+")

    decision = models.OneToOneField(
        "annotations.Decision", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    verdict = models.CharField(max_length=6, choices=Verdict, default=Verdict.UNDECIDED, blank=True)
    decided_by = models.CharField(
        max_length=6, choices=DecidedBy, default=DecidedBy.NOBODY, blank=True, db_default=""
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    put_forward_by = models.ForeignKey(
        "annotations.DecisionBatch",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="the policy's application that wants people to look at it",
    )

    people_a = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="how many people prefer A"
    )
    people_b = models.PositiveSmallIntegerField(default=0, db_default=0)
    people_tie = models.PositiveSmallIntegerField(default=0, db_default=0)
    people_both_bad = models.PositiveSmallIntegerField(default=0, db_default=0)
    ai_a = models.PositiveSmallIntegerField(default=0, db_default=0)
    ai_b = models.PositiveSmallIntegerField(default=0, db_default=0)

    run_id = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="the scoring run that what follows is of"
    )
    flag = models.CharField(max_length=9, blank=True, default="", db_default="")
    strength = models.FloatField(null=True, blank=True)
    spread = models.FloatField(null=True, blank=True)
    votes = models.FloatField(null=True, blank=True)
    label_probability = models.FloatField(null=True, blank=True)
    percentile = models.FloatField(null=True, blank=True)
    review_priority = models.FloatField(
        null=True, blank=True, help_text="larger is reviewed earlier, null is not queued"
    )
    topic = models.PositiveSmallIntegerField(null=True, blank=True)

    objects = PairStandingQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(verdict__in=Verdict.values), name="pair_verdict_is_known"
            ),
        ]
        indexes = [
            models.Index(fields=["dataset", "pair"], name="standings_in_order"),
            models.Index(fields=["dataset", "strength", "pair"], name="standings_by_strength"),
            models.Index(fields=["dataset", "spread", "pair"], name="standings_by_spread"),
            models.Index(fields=["dataset", "flag", "strength", "pair"], name="standings_by_flag"),
            models.Index(fields=["dataset", "characters", "pair"], name="standings_by_length"),
            models.Index(
                fields=["dataset", "decided_at", "pair"],
                condition=Q(decided_at__isnull=False),
                name="standings_by_decision",
            ),
            models.Index(
                fields=["dataset", "verdict", "review_priority", "pair"], name="review_queue"
            ),
            models.Index(
                fields=["dataset", "verdict", "pair"],
                condition=Q(people_a__gt=0, people_b__gt=0),
                name="standings_divided",
            ),
            models.Index(
                fields=["dataset", "flag", "strength", "pair"],
                condition=Q(verdict=""),
                name="review_by_flag",
            ),
            models.Index(
                fields=["dataset", "pair"],
                condition=Q(put_forward_by__isnull=False, decided_by__in=["", "policy"]),
                name="review_put_forward",
            ),
            models.Index(
                fields=["dataset", "checks", "pair"],
                condition=Q(checks__gt=0),
                name="standings_by_checks",
            ),
            models.Index(
                "dataset",
                AI_AGAINST,
                condition=Q(GreaterThan(AI_AGAINST, 0)),
                name="standings_against_ai",
            ),
            models.Index(
                "dataset",
                PEOPLE_AGAINST,
                condition=Q(GreaterThan(PEOPLE_AGAINST, 0)),
                name="standings_against_people",
            ),
        ]

    def __str__(self) -> str:
        return f"standing of pair {self.pair_id}"
