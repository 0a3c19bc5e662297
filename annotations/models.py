"""Preference pairs, and what people and policies have said of them.

Labels, decisions and snapshots are facts: appended, never edited. Each change of mind names the row
it supersedes, so that the rows of one pair form a chain without forks; the database refuses a
second successor, which is how two people who act at once are told of each other.
"""

import json
from typing import Any

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.querysets import DatasetQuerySet, LabelQuerySet, PreferencePairQuerySet
from curator.lib.append_only import AppendOnly
from curator.lib.work import Work
from curator.models import User


class UnicodeJSONEncoder(json.JSONEncoder):
    """Stores text as it is rather than as \\u escapes, which SQLite would keep at up to six
    times the size."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "ensure_ascii": False, "separators": (",", ":")})


class Role(models.TextChoices):
    ANNOTATOR = "annotator", "annotator"
    CURATOR = "curator", "curator"
    OWNER = "owner", "owner"


class Preference(models.TextChoices):
    """Which response is preferred; the columns `response_a` and `response_b` never swap."""

    A = "a", "A"
    B = "b", "B"
    TIE = "tie", "tie"


class Judgement(models.TextChoices):
    """What one annotator may say of a pair."""

    A = "a", "A"
    B = "b", "B"
    TIE = "tie", "tie"
    BOTH_BAD = "both_bad", "both bad"
    SKIP = "skip", "skip"
    WITHDRAWN = "withdrawn", "withdrawn"


class Occasion(models.TextChoices):
    """Why a pair was put to somebody. Only what was asked as work counts towards the pair."""

    WORK = "", "work"
    REPEAT = "repeat", "repeated with sides swapped"
    PRACTICE = "practice", "practice"


class SkipReason(models.TextChoices):
    """Why an annotator passes a pair over."""

    UNSURE = "unsure", "I cannot tell"
    KNOWLEDGE = "knowledge", "it takes knowledge that I lack"
    LANGUAGE = "language", "I do not read the language"
    BROKEN = "broken", "the texts are broken or cut off"
    HARMFUL = "harmful", "I would rather not read this"


class Verdict(models.TextChoices):
    """What a decision says of the pair's label."""

    UNDECIDED = "", "undecided"
    KEEP = "keep", "keep"
    FLIP = "flip", "flip"
    SOFTEN = "soften", "soften"
    TIE = "tie", "tie"
    DROP = "drop", "drop"
    PREFER_A = "a", "A"
    PREFER_B = "b", "B"


class Dataset(models.Model):
    """A named collection of preference pairs with guidelines and members."""

    slug = models.CharField(
        max_length=60,
        unique=True,
        validators=[
            RegexValidator(r"^[a-z0-9][a-z0-9-]*\Z", "Use small letters, digits and hyphens."),
            RegexValidator(r"^new\Z", "“new” is an address of Curator's own.", inverse_match=True),
        ],
    )
    name = models.CharField(max_length=120)
    description = models.TextField(
        blank=True, help_text="where the pairs come from, and their licence"
    )
    guidelines = models.TextField(
        blank=True, help_text="what annotators and curators should prefer"
    )
    aspects = models.JSONField(
        default=list,
        blank=True,
        help_text="what annotators also compare, such as helpful, harmless",
    )
    asks_strength = models.BooleanField(
        default=True, help_text="annotators may say how much better the response is"
    )
    requires_rationale = models.BooleanField(
        default=False, help_text="a label needs a sentence that says why"
    )
    gold_every = models.PositiveSmallIntegerField(
        default=0, help_text="one pair in so many is a gold pair, unannounced; 0 for none"
    )
    repeat_every = models.PositiveSmallIntegerField(
        default=0, help_text="one pair in so many comes again with sides swapped; 0 for none"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = DatasetQuerySet.as_manager()

    class Meta:
        ordering = ["name", "pk"]
        constraints = [models.CheckConstraint(condition=~Q(slug=""), name="dataset_has_a_slug")]

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    """What a user may do with a dataset; who is in none of them sees nothing of it."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=9, choices=Role)
    joined_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(
        null=True, blank=True, help_text="deactivated: what they did stays, they see nothing more"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "user"], name="one_membership_per_dataset_and_user"
            ),
            models.CheckConstraint(
                condition=Q(role__in=Role.values), name="membership_role_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role} of {self.dataset_id}"


class Import(Work):
    """A file of pairs on its way into a dataset."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="imports")
    file = models.FileField(max_length=300)
    file_name = models.CharField(max_length=255, help_text="as the user called it")
    file_bytes = models.PositiveBigIntegerField(default=0)
    format = models.CharField(
        max_length=40, blank=True, help_text="as asked for; empty to detect it"
    )
    found_format = models.CharField(
        max_length=80, blank=True, help_text="container and layout as detected"
    )
    bytes_read = models.PositiveBigIntegerField(default=0)
    read = models.PositiveIntegerField(default=0)
    created = models.PositiveIntegerField(default=0)
    duplicates = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    labels_created = models.PositiveIntegerField(default=0)
    report = models.FileField(
        max_length=300, blank=True, help_text="the refused rows, with line number and reason"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.file_name} into {self.dataset_id}"

    @property
    def share_done(self) -> float:
        return min(self.bytes_read / self.file_bytes, 1.0) if self.file_bytes else 0.0


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
    source_preference = models.CharField(max_length=3, choices=Preference, blank=True)
    meta = models.JSONField(
        encoder=UnicodeJSONEncoder, default=dict, help_text="what else the source said"
    )
    search_text = models.TextField(help_text="all text of the pair, casefolded")

    class Meta:
        abstract = True


CONTENT_FIELDS = [field.name for field in PairContent._meta.local_fields]


class StagedPair(PairContent):
    """A pair of an import that is not published yet; nobody but the import sees it."""

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
    """A prompt and two responses, with what the source said of them and where the project stands on
    it.

    `decision` and `verdict` repeat the last decision of the pair's chain, in the same transaction
    that appends it, and `people_…` count what people now say of it, in the transaction that appends
    a label; `review_priority` is handed over by scoring: larger is reviewed earlier, null is not
    queued.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="pairs")
    imported_in = models.ForeignKey(Import, on_delete=models.PROTECT, related_name="pairs")
    review_priority = models.FloatField(null=True, blank=True)
    decision = models.OneToOneField(
        "Decision", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    verdict = models.CharField(max_length=6, choices=Verdict, default=Verdict.UNDECIDED, blank=True)
    people_a = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="how many people prefer A"
    )
    people_b = models.PositiveSmallIntegerField(default=0, db_default=0)
    people_tie = models.PositiveSmallIntegerField(default=0, db_default=0)
    people_both_bad = models.PositiveSmallIntegerField(default=0, db_default=0)
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
            models.CheckConstraint(
                condition=Q(verdict__in=Verdict.values), name="pair_verdict_is_known"
            ),
        ]
        indexes = [
            models.Index(fields=["dataset", "group", "id"], name="pairs_by_group"),
            models.Index(fields=["dataset", "source_preference"], name="pairs_by_preference"),
            models.Index(
                fields=["dataset", "verdict", "review_priority", "id"], name="review_queue"
            ),
            models.Index(
                fields=["dataset", "verdict", "id"],
                condition=Q(people_a__gt=0, people_b__gt=0),
                name="pairs_divided",
            ),
        ]

    def __str__(self) -> str:
        return f"pair {self.pk}"

    @property
    def has_preference(self) -> bool:
        """Whether the source prefers one response, so that there is a label to flip."""
        return self.source_preference in (Preference.A, Preference.B)


class Label(AppendOnly):
    """One annotator's judgement of a pair. A second one supersedes the first, and both are kept;
    one that is taken back is superseded by a label that says `withdrawn`.

    `shown_first` is the response that stood first before the annotator's eyes; everything else
    speaks of A and B.
    """

    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="labels")
    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="labels")
    occasion = models.CharField(
        max_length=8, choices=Occasion, blank=True, default=Occasion.WORK, db_default=""
    )
    preference = models.CharField(max_length=9, choices=Judgement)
    strength = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="1 slightly, 2 clearly, 3 much better"
    )
    aspects = models.JSONField(default=dict, blank=True, help_text="aspect to `a`, `b` or `tie`")
    rationale = models.TextField(blank=True, default="", db_default="")
    skip_reason = models.CharField(
        max_length=9, choices=SkipReason, blank=True, default="", db_default=""
    )
    spans = models.JSONField(
        default=list,
        blank=True,
        help_text="marks: response `a` or `b`, start and end in characters, `good` or `bad`",
    )
    shown_first = models.CharField(
        max_length=1, choices=[("a", "A"), ("b", "B")], blank=True, default="", db_default=""
    )
    seconds = models.FloatField(null=True, blank=True, help_text="time spent on the pair")
    imported_in = models.ForeignKey(
        Import, null=True, blank=True, on_delete=models.PROTECT, related_name="labels"
    )
    meta = models.JSONField(
        encoder=UnicodeJSONEncoder, default=dict, blank=True, help_text="what else the source said"
    )
    supersedes = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="successor"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = LabelQuerySet.as_manager()  # type: ignore[misc]  # narrower than a fact's

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["pair", "annotator", "occasion"],
                condition=Q(supersedes__isnull=True),
                name="one_first_label_per_occasion",
            ),
            models.CheckConstraint(
                condition=Q(preference__in=Judgement.values), name="judgement_is_known"
            ),
            models.CheckConstraint(
                condition=Q(strength__isnull=True) | Q(strength__gte=1, strength__lte=3),
                name="strength_is_1_to_3",
            ),
        ]
        indexes = [models.Index(fields=["annotator", "created_at"], name="labels_by_annotator")]

    def __str__(self) -> str:
        return f"{self.annotator_id} on {self.pair_id}: {self.preference}"


class GoldPair(models.Model):
    """A pair whose right answer is known, put to annotators unannounced or as practice."""

    pair = models.OneToOneField(PreferencePair, on_delete=models.PROTECT, related_name="gold")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="gold_pairs")
    preference = models.CharField(max_length=9, choices=Judgement)
    explanation = models.TextField(
        blank=True, help_text="shown after a practice answer: why this is right"
    )
    is_practice = models.BooleanField(default=False)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(
        default=timezone.now, help_text="when it was marked, corrected or retired last"
    )
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(preference__in=["a", "b", "tie", "both_bad"]),
                name="gold_is_an_answer",
            )
        ]

    def __str__(self) -> str:
        return f"gold {self.pair_id}: {self.preference}"


class Round(Work):
    """A slice of a dataset that is put to annotators, so many labels a pair."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="rounds")
    name = models.CharField(max_length=120)
    filter = models.JSONField(default=dict, help_text="which pairs, as the explore page says it")
    pair = models.ForeignKey(
        PreferencePair,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="the one pair of a second opinion",
    )
    labels_per_pair = models.PositiveSmallIntegerField(default=1)
    random_share = models.FloatField(
        default=0.1, help_text="of the pairs come at random places, whatever their priority"
    )
    annotators = models.ManyToManyField(
        User, related_name="rounds", blank=True, help_text="whom it is for; nobody named: everybody"
    )
    pairs_count = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(labels_per_pair__gte=1, labels_per_pair__lte=100),
                name="round_wants_labels",
            ),
            models.CheckConstraint(
                condition=Q(random_share__gte=0, random_share__lte=1),
                name="random_share_is_a_share",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.dataset_id}"


class RoundPair(models.Model):
    """A pair that a round wants labelled, and how many labels it still lacks.

    `open` is what nobody has given or holds a lease for; it is counted down and up by conditional
    updates in the transaction of the lease, so that no more labels come than were asked for.
    """

    class Arm(models.TextChoices):
        PRIORITY = "priority", "by priority"
        RANDOM = "random", "at random"

    round = models.ForeignKey(Round, on_delete=models.CASCADE, related_name="rows")
    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="+")
    position = models.PositiveIntegerField(help_text="smaller is labelled earlier")
    arm = models.CharField(max_length=8, choices=Arm, default=Arm.PRIORITY)
    wanted = models.PositiveSmallIntegerField()
    open = models.PositiveSmallIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["round", "pair"], name="once_per_round_and_pair"),
            models.CheckConstraint(
                condition=Q(open__gte=0, open__lte=models.F("wanted")),
                name="open_is_part_of_wanted",
            ),
        ]
        indexes = [
            models.Index(
                fields=["round", "position"], condition=Q(open__gt=0), name="round_pairs_open"
            )
        ]

    def __str__(self) -> str:
        return f"pair {self.pair_id} in round {self.round_id}"


class Lease(models.Model):
    """A pair in an annotator's hands: held until it is answered, given back, or its time is over.

    It is not a fact: it says who is asked what now, and keeps the answer's draft.
    """

    class State(models.TextChoices):
        OPEN = "open", "open"
        ANSWERED = "answered", "answered"
        RELEASED = "released", "released"

    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="leases")
    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="leases")
    round_pair = models.ForeignKey(
        RoundPair,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="leases",
        help_text="the place that it takes; none for gold, repeated and practice pairs",
    )
    occasion = models.CharField(max_length=8, choices=Occasion, blank=True, default=Occasion.WORK)
    is_gold = models.BooleanField(default=False)
    shown_first = models.CharField(max_length=1, choices=[("a", "A"), ("b", "B")])
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    opened_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True, blank=True)
    label = models.OneToOneField(
        Label,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="lease",
        help_text="the last label given under it",
    )
    draft = models.JSONField(encoder=UnicodeJSONEncoder, default=dict, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["annotator", "pair", "occasion"], name="one_lease_per_occasion"
            ),
            models.UniqueConstraint(
                fields=["annotator"],
                condition=Q(state="open"),
                name="one_open_lease_per_annotator",
            ),
            models.CheckConstraint(
                condition=~Q(state="answered") | Q(label__isnull=False, answered_at__isnull=False),
                name="an_answered_lease_has_its_label",
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(state="open"), name="leases_by_expiry"),
            models.Index(fields=["annotator", "answered_at"], name="leases_by_answer"),
        ]

    def __str__(self) -> str:
        return f"{self.annotator_id} on {self.pair_id}: {self.state}"


class Comment(AppendOnly):
    """What somebody remarks about a pair, beside any label."""

    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="comments")
    author = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=150, help_text="the author's name at the time")
    text = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["pk"]
        constraints = [models.CheckConstraint(condition=~Q(text=""), name="comment_says_something")]

    def __str__(self) -> str:
        return f"{self.actor} on {self.pair_id}"


class Decision(AppendOnly):
    """What the project holds true of a pair's label, by whom and on what evidence.

    An undo is a decision too: it names the one it takes back (`undoes`) and restores the verdict
    before it.
    """

    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="decisions")
    verdict = models.CharField(max_length=6, choices=Verdict, blank=True)
    label_probability = models.FloatField(
        null=True, blank=True, help_text="of the source label, when softened"
    )
    decided_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    actor = models.CharField(max_length=150, help_text="the person's or policy's name at the time")
    reason = models.TextField(blank=True)
    evidence = models.JSONField(
        encoder=UnicodeJSONEncoder, default=dict, help_text="the figures it rests on"
    )
    supersedes = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="successor"
    )
    undoes = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="undone_by"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["pair"],
                condition=Q(supersedes__isnull=True),
                name="one_first_decision_per_pair",
            ),
            models.CheckConstraint(
                condition=Q(verdict__in=Verdict.values), name="verdict_is_known"
            ),
            models.CheckConstraint(
                condition=Q(
                    verdict=Verdict.SOFTEN, label_probability__gte=0, label_probability__lte=1
                )
                | (~Q(verdict=Verdict.SOFTEN) & Q(label_probability__isnull=True)),
                name="only_softening_has_a_probability",
            ),
            models.CheckConstraint(
                condition=~Q(verdict=Verdict.UNDECIDED) | Q(undoes__isnull=False),
                name="only_an_undo_is_undecided",
            ),
        ]
        indexes = [models.Index(fields=["decided_by", "id"], name="decisions_by_person")]

    def __str__(self) -> str:
        return f"{self.get_verdict_display()} pair {self.pair_id}"


class Snapshot(AppendOnly):
    """A dataset's decisions at one moment, frozen with a digest."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="snapshots")
    number = models.PositiveIntegerField(help_text="1, 2, 3 … within the dataset")
    digest = models.CharField(
        max_length=64, help_text="of the content: the same content has the same digest"
    )
    pairs_count = models.PositiveIntegerField()
    counts = models.JSONField(default=dict, help_text="pairs by verdict and by preference")
    scored_by = models.CharField(
        max_length=200, blank=True, help_text="which scoring run the margins come from"
    )
    margin_scale = models.FloatField(
        null=True, blank=True, help_text="median absolute strength of the snapshot"
    )
    last_label = models.PositiveBigIntegerField(
        default=0, help_text="labels after this one are not part of it"
    )
    last_decision = models.PositiveBigIntegerField(
        default=0, help_text="decisions after this one are not part of it"
    )
    note = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="one_snapshot_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.dataset_id} #{self.number}"

    @property
    def short_digest(self) -> str:
        return self.digest[:12]

    @property
    def decided_count(self) -> int:
        return self.pairs_count - int(self.counts["verdicts"].get("", 0))


class SnapshotPair(AppendOnly):
    """Where one pair stood in a snapshot; `preference` is the label that holds, empty when there
    is none."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="rows")
    position = models.PositiveIntegerField(help_text="1, 2, 3 … in the order of pairs' digests")
    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="+")
    decision = models.ForeignKey(Decision, null=True, on_delete=models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=6, choices=Verdict, blank=True)
    preference = models.CharField(max_length=3, choices=Preference, blank=True)
    strength = models.FloatField(
        null=True, help_text="towards A: positive when the ensemble prefers A"
    )
    spread = models.FloatField(null=True)
    votes = models.FloatField(null=True)
    flag = models.CharField(max_length=9, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["snapshot", "pair"], name="one_row_per_snapshot_and_pair"
            ),
            models.UniqueConstraint(
                fields=["snapshot", "position"], name="one_row_per_snapshot_and_position"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pair_id} in {self.snapshot_id}"


class Export(Work):
    """A file written from a snapshot for one kind of trainer."""

    class Format(models.TextChoices):
        TRL_REWARD = "trl-reward", "TRL RewardTrainer"
        TRL_DPO = "trl-dpo", "TRL DPOTrainer"
        JSONL = "jsonl", "JSONL with everything"

    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="exports")
    format = models.CharField(max_length=20, choices=Format)
    file = models.FileField(max_length=300, blank=True)
    rows = models.PositiveIntegerField(default=0)
    left_out = models.JSONField(
        default=dict, help_text="how many pairs the format cannot hold, by reason"
    )
    sha256 = models.CharField(max_length=64, blank=True)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["snapshot", "format"], name="one_export_per_snapshot_and_format"
            )
        ]

    def __str__(self) -> str:
        return f"{self.format} of snapshot {self.snapshot_id}"

    @property
    def share_done(self) -> float:
        seen = self.rows + sum(self.left_out.values())
        return min(seen / self.snapshot.pairs_count, 1.0) if self.snapshot.pairs_count else 1.0
