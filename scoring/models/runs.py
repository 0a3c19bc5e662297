"""Long work on an ensemble, cut into shards: runs that train it, runs that score with it, and the
scores they leave."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q

from annotations.models import Dataset, PreferencePair
from curator.lib.work import Work
from curator.models import User
from scoring.core.flags import FlagRule, PercentileRule
from scoring.models.ensembles import Checkpoint, Ensemble
from scoring.models.words import Flag, Mode
from scoring.querysets import PairScoreQuerySet, ScoringRunQuerySet


class Run(Work):
    """Work that is cut into shards: planned, worked on shard by shard, then brought together."""

    pairs_total = models.PositiveIntegerField(default=0)
    planned_at = models.DateTimeField(null=True, blank=True)
    plan_is_complete = models.BooleanField(
        default=False, help_text="whether no further shards follow on those that there are"
    )
    paused_at = models.DateTimeField(
        null=True, blank=True, help_text="since when no further shard is taken up"
    )
    environment = models.JSONField(
        default=dict, help_text="versions, device and threads of the worker that ended it"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    if TYPE_CHECKING:
        shards: Any  # the manager of whichever kind of shard points here

    class Meta:
        abstract = True

    @property
    def pairs_done(self) -> int:
        """As many pairs as the work done so far amounts to; several shards may hold a pair, each
        for members of its own."""
        return round(self.share_done * self.pairs_total)

    @property
    def last_sign_of_life(self) -> datetime | None:
        """Of whoever works on the run or on one of its shards."""
        latest = self.shards.aggregate(latest=models.Max("heartbeat_at"))["latest"]
        return max(filter(None, (self.heartbeat_at, latest)), default=None)

    @property
    def share_done(self) -> float:
        if self.status == Work.Status.DONE:
            return 1.0
        counts = self.shards.aggregate(
            done=models.Sum("pairs_done"), total=models.Sum("pairs_count")
        )
        return (counts["done"] or 0) / counts["total"] if counts["total"] else 0.0

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None and not self.is_over

    @property
    def pairs_per_second(self) -> float | None:
        seconds, done = self.seconds, self.pairs_done
        return done / seconds if seconds and done else None

    @property
    def remaining(self) -> timedelta | None:
        """How long the rest takes at the rate so far."""
        rate = self.pairs_per_second
        if not rate or self.is_over or self.is_paused:
            return None
        return timedelta(seconds=max(self.pairs_total - self.pairs_done, 0) / rate)


class Shard(Work):
    """The slice of a run that one task handles."""

    position = models.PositiveIntegerField()
    pair_ids = models.JSONField(
        help_text="in the order of their prompt groups, so that prompts are shared within"
    )
    pairs_count = models.PositiveIntegerField()
    pairs_done = models.PositiveIntegerField(default=0)
    worked_by = models.CharField(
        max_length=300, blank=True, help_text="the process that brought it to its end"
    )

    class Meta:
        abstract = True


class TrainingRun(Run):
    """Trains the members of an ensemble: embeds the texts shard by shard, then fits the heads."""

    ensemble = models.OneToOneField(Ensemble, on_delete=models.PROTECT, related_name="training")
    steps_done = models.PositiveIntegerField(default=0)
    steps_total = models.PositiveIntegerField(default=0)
    curve = models.JSONField(
        default=list, blank=True, help_text="scoring.core.curves.Point: how it went, step by step"
    )
    summary = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"training of {self.ensemble_id}"

    @property
    def share_done(self) -> float:
        """Of the shards or, where whole models are fine-tuned, of the members."""
        members = [member.share_done for member in self.member_trainings.all()]
        return sum(members) / len(members) if members else super().share_done

    @property
    def last_sign_of_life(self) -> datetime | None:
        latest = self.member_trainings.aggregate(latest=models.Max("heartbeat_at"))["latest"]
        return max(filter(None, (super().last_sign_of_life, latest)), default=None)


class TrainingShard(Shard):
    """Pairs whose texts one task embeds."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="shards")

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "position"], name="one_training_shard_per_position"
            )
        ]

    def __str__(self) -> str:
        return f"shard {self.position} of training {self.run_id}"


class MemberTraining(Work):
    """A whole model or its adapter is fine-tuned to become one member: the work of one task. What
    it has reached is kept in a folder, so that another worker goes on from there."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="member_trainings")
    position = models.PositiveSmallIntegerField(help_text="of the member in its ensemble")
    steps_done = models.PositiveIntegerField(default=0)
    steps_total = models.PositiveIntegerField(default=0)
    curve = models.JSONField(
        default=list, blank=True, help_text="scoring.core.curves.Point, one for every look"
    )
    warnings = models.JSONField(
        default=list, blank=True, help_text="sentences, such as that rewards inflate"
    )
    restarts = models.PositiveSmallIntegerField(
        default=0, help_text="how often it diverged and begins anew, with another order"
    )
    found = models.JSONField(
        default=dict, blank=True, help_text="pairs, accuracy, seconds and environment, at its end"
    )
    checkpoint = models.ForeignKey(
        Checkpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    worked_by = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "position"], name="one_member_training_per_position"
            )
        ]

    def __str__(self) -> str:
        return f"member {self.position} of training {self.run_id}"

    @property
    def share_done(self) -> float:
        if self.status == Work.Status.DONE:
            return 1.0
        return self.steps_done / self.steps_total if self.steps_total else 0.0


class ScoringRun(Run):
    """An ensemble applied to a dataset: margins by every member, and what follows from them."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="scoring_runs")
    ensemble = models.ForeignKey(Ensemble, on_delete=models.PROTECT, related_name="scoring_runs")
    mode = models.CharField(max_length=10, choices=Mode, default=Mode.OUT_OF_BAG)
    rule = models.JSONField(default=dict, help_text="the thresholds of the flags")
    is_adaptive = models.BooleanField(
        default=False, help_text="whether members are asked in waves, and only while a flag is open"
    )
    wave = models.PositiveSmallIntegerField(default=0, help_text="the last that was planned")
    engine = models.JSONField(default=dict, help_text="the engine's options")
    members_record = models.JSONField(
        default=list, help_text="what scored: name, digests, precision and limits of each member"
    )
    member_scales = models.JSONField(
        default=list, help_text="root mean square margin of each member"
    )
    summary = models.JSONField(
        default=dict, help_text="figures of the run as a whole, computed once at its end"
    )

    objects = ScoringRunQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(condition=Q(mode__in=Mode.values), name="mode_is_known")
        ]

    def __str__(self) -> str:
        return f"run {self.pk}"


def rule_of(run: ScoringRun) -> FlagRule | PercentileRule:
    """The rule that the run's flags follow: by calibration out-of-bag, by rank in-sample."""
    kind = FlagRule if run.mode == Mode.OUT_OF_BAG else PercentileRule
    return kind.from_dict(run.rule)


class ScoringShard(Shard):
    """Pairs that one task scores with some members, and the margins that it found."""

    run = models.ForeignKey(ScoringRun, on_delete=models.CASCADE, related_name="shards")
    members = models.JSONField(
        default=list, help_text="the positions of the members that are asked"
    )
    wave = models.PositiveSmallIntegerField(default=0)
    margins = models.BinaryField(
        null=True, help_text="float32 (pairs, members), NaN where a member was not asked or failed"
    )
    refusals = models.JSONField(
        default=list, help_text="[pair, member's position, reason] of what could not be scored"
    )
    refused = models.PositiveIntegerField(
        default=0, help_text="pairs, for each member; `refusals` has the first of them"
    )
    calls = models.PositiveIntegerField(default=0, help_text="pairs that members were asked of")
    tokens = models.PositiveBigIntegerField(default=0, help_text="that went through models")
    truncated_pairs = models.JSONField(
        default=list, help_text="ids of pairs of which a text is longer than the members read"
    )

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "position"], name="one_scoring_shard_per_position"
            )
        ]

    def __str__(self) -> str:
        return f"shard {self.position} of run {self.run_id}"


class PairScore(models.Model):
    """What a run found for one pair, written when the run is brought together.

    Margins are rewards of the labelled response minus the other, so that negative contradicts the
    label; towards A where the source prefers neither. `margins` has one entry a member, null where
    the member was not asked.
    """

    run = models.ForeignKey(ScoringRun, on_delete=models.CASCADE, related_name="scores")
    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="scores")
    margins = models.JSONField()
    strength = models.FloatField(null=True)
    spread = models.FloatField(null=True)
    votes = models.FloatField(null=True)
    label_probability = models.FloatField(null=True)
    percentile = models.FloatField(
        null=True, help_text="share of the run's labelled pairs with a lower strength"
    )
    flag = models.CharField(max_length=9, choices=Flag, blank=True, default="")

    objects = PairScoreQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "pair"], name="one_score_per_run_and_pair"),
            models.CheckConstraint(condition=Q(flag__in=["", *Flag.values]), name="flag_is_known"),
            models.CheckConstraint(
                condition=Q(votes__isnull=True) | Q(votes__gte=0, votes__lte=1),
                name="votes_are_a_share",
            ),
            models.CheckConstraint(
                condition=Q(label_probability__isnull=True)
                | Q(label_probability__gte=0, label_probability__lte=1),
                name="probability_is_a_share",
            ),
        ]
        indexes = [
            models.Index(fields=["run", "strength", "pair"], name="scores_by_strength"),
            models.Index(fields=["run", "flag", "strength", "pair"], name="scores_by_flag"),
            models.Index(fields=["run", "spread", "pair"], name="scores_by_spread"),
        ]

    def __str__(self) -> str:
        return f"pair {self.pair_id} in run {self.run_id}"
