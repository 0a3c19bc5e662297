"""What annotators say of pairs."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models.datasets import Dataset, Import
from annotations.models.pairs import Annotator, PreferencePair
from annotations.models.words import Judgement, Occasion, SkipReason, UnicodeJSONEncoder
from annotations.querysets import LabelQuerySet
from curator.lib.append_only import AppendOnly
from curator.models import User


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
