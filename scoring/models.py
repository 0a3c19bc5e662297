"""The reward-model ensemble: its members, the runs that train and apply it, and the scores they
leave."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models import Dataset, PreferencePair
from curator.lib.work import Work
from curator.models import User
from scoring.core.flags import FlagRule, PercentileRule
from scoring.querysets import PairScoreQuerySet, ScoringRunQuerySet

ENSEMBLE_NAME = "[A-Za-z0-9][A-Za-z0-9._-]*"
VALID_NAME = RegexValidator(rf"^{ENSEMBLE_NAME}\Z", "Use letters, digits, dots, hyphens and _.")


class Mode(models.TextChoices):
    """Whether the members that score a pair were trained on it. Figures of the two are never
    mixed."""

    OUT_OF_BAG = "out-of-bag", "out-of-bag"
    IN_SAMPLE = "in-sample", "in-sample"


class Precision(models.TextChoices):
    FLOAT32 = "float32", "float32"
    BFLOAT16 = "bfloat16", "bfloat16"


class ScoreAt(models.TextChoices):
    """Which token's score counts where a model's pad token also ends its texts."""

    LAST = "last", "the last token (OpenRLHF)"
    BEFORE_PADDING = "before-padding", "the last that is not the pad token (TRL, transformers)"


class Flag(models.TextChoices):
    FLIPPED = "flipped", "likely flipped"
    AMBIGUOUS = "ambiguous", "ambiguous"
    CLEAR = "clear", "clear"
    STRONG = "strong", "strong"


class Checkpoint(Work):
    """A reward model that others have trained, registered to become a member of ensembles. The work
    is to load it and to test it, once."""

    name = models.CharField(max_length=60, unique=True, validators=[VALID_NAME])
    reference = models.CharField(max_length=300, help_text="a folder, or an id on the model hub")
    revision = models.CharField(max_length=80, blank=True, help_text="on the hub")
    dtype = models.CharField(max_length=16, choices=Precision)
    max_length = models.PositiveIntegerField(
        default=0, help_text="tokens it reads; 0 is what it allows"
    )
    score_at = models.CharField(max_length=16, choices=ScoreAt, blank=True)
    digest = models.CharField(
        max_length=64, blank=True, help_text="of everything that shapes a score"
    )
    identity = models.JSONField(
        default=dict, blank=True, help_text="digests, architecture and limits, as they were found"
    )
    self_test = models.JSONField(
        default=dict, blank=True, help_text="how far scores differ between ways of batching"
    )
    environment = models.JSONField(
        default=dict, blank=True, help_text="of the worker that tested it"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(condition=~Q(name=""), name="checkpoint_has_a_name"),
            models.CheckConstraint(
                condition=Q(dtype__in=Precision.values), name="checkpoint_dtype_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_usable(self) -> bool:
        """Whether it was loaded and gave the same scores however its texts were batched."""
        return self.status == Work.Status.DONE

    @property
    def bytes(self) -> int:
        """What its weights take in memory."""
        width = 2 if self.dtype == Precision.BFLOAT16 else 4
        return int(self.identity.get("parameters", 0)) * width


class Ensemble(models.Model):
    """Reward models that score pairs together: heads on one frozen backbone, each trained on its
    own bag, registered checkpoints, or both."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="ensembles")
    name = models.CharField(
        max_length=60,
        validators=[VALID_NAME],
    )
    backbone = models.CharField(
        max_length=300,
        blank=True,
        help_text="of the heads: `minilm`, a folder, or an id on the model hub",
    )
    precision = models.CharField(
        max_length=16, blank=True, help_text="in which the first worker to embed runs the backbone"
    )
    backbone_digest = models.CharField(
        max_length=64, blank=True, help_text="known once it was loaded"
    )
    members_count = models.PositiveSmallIntegerField()
    recipe = models.JSONField(
        default=dict, help_text="seed, bag unit, and the training options that were set"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "name"], name="one_ensemble_per_name")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_trained(self) -> bool:
        return self.members.count() == self.members_count

    @property
    def is_assembled(self) -> bool:
        """Whether it was put together from models that exist, rather than trained as one."""
        return "assembled_from" in self.recipe


class RewardModel(models.Model):
    """One member: a head stored as safetensors, with its bag and a card that says how it came
    about, or a registered checkpoint, which has no bag: it saw none of the pairs."""

    ensemble = models.ForeignKey(Ensemble, on_delete=models.PROTECT, related_name="members")
    position = models.PositiveSmallIntegerField(help_text="its place in the margins of every score")
    name = models.CharField(max_length=80)
    seed = models.PositiveBigIntegerField(default=0)
    bag = models.JSONField(
        default=dict,
        help_text="which half of the pairs it was trained on: unit, split and half; or none",
    )
    digest = models.CharField(max_length=64, help_text="of the file, or of the checkpoint")
    file = models.FileField(max_length=300, blank=True)
    checkpoint = models.ForeignKey(
        Checkpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="members"
    )
    card = models.JSONField(default=dict)
    out_of_bag_accuracy = models.FloatField(null=True)
    seconds = models.FloatField(default=0.0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["ensemble", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["ensemble", "position"], name="one_member_per_position"
            ),
            models.CheckConstraint(
                condition=(~Q(file="") & Q(checkpoint__isnull=True))
                | (Q(file="") & Q(checkpoint__isnull=False)),
                name="member_is_a_head_or_a_checkpoint",
            ),
        ]

    def __str__(self) -> str:
        return self.name


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
    summary = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"training of {self.ensemble_id}"


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


class Audit(Work):
    """How well an ensemble of this kind finds wrong labels: known flips are planted in a copy of
    the labels."""

    run = models.ForeignKey(ScoringRun, on_delete=models.PROTECT, related_name="audits")
    share = models.FloatField(help_text="of the labels that are flipped")
    seed = models.PositiveIntegerField(default=0)
    result = models.JSONField(default=dict)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(share__gt=0, share__lt=0.5), name="planted_share_is_below_half"
            )
        ]

    def __str__(self) -> str:
        return f"audit of run {self.run_id}"


class ReviewSample(models.Model):
    """A stratified random sample of a run's labelled pairs, drawn to be reviewed: what people
    decide on them says how many labels are wrong, and how good the flags are."""

    run = models.ForeignKey(ScoringRun, on_delete=models.PROTECT, related_name="samples")
    seed = models.PositiveIntegerField(default=0)
    strata = models.JSONField(
        default=list, help_text="bounds of strength and how many pairs of the run, weakest first"
    )
    size = models.PositiveIntegerField(default=0, help_text="pairs drawn so far")
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"sample {self.pk} of run {self.run_id}"


class SampledPair(models.Model):
    """A pair that was drawn, and its place in the order of review. Its verdict is the decision of
    a person on it, whenever they made it."""

    sample = models.ForeignKey(ReviewSample, on_delete=models.CASCADE, related_name="rows")
    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="+")
    position = models.PositiveIntegerField()
    stratum = models.PositiveSmallIntegerField()
    flag = models.CharField(max_length=9, choices=Flag, help_text="in the run, when it was drawn")

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["sample", "pair"], name="drawn_once_per_sample"),
            models.UniqueConstraint(
                fields=["sample", "position"], name="one_drawn_pair_per_position"
            ),
        ]

    def __str__(self) -> str:
        return f"pair {self.pair_id} in sample {self.sample_id}"


class Recalibration(models.Model):
    """Probabilities that a label is right, fitted to people's verdicts on a sample."""

    sample = models.ForeignKey(
        ReviewSample, on_delete=models.PROTECT, related_name="recalibrations"
    )
    description = models.JSONField(default=dict, help_text="method and knots")
    quality = models.JSONField(
        default=dict, help_text="cross-validated: error of each method, reliability, ECE"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"recalibration {self.pk} by sample {self.sample_id}"


class CalibrationUse(Work):
    """The label probabilities of the dataset's pairs are replaced by a recalibration's, or by the
    run's own again. The work is to write them; what the run found does not change."""

    run = models.ForeignKey(ScoringRun, on_delete=models.PROTECT, related_name="calibrations")
    recalibration = models.ForeignKey(
        Recalibration,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="uses",
        help_text="none: back to the run's own calibration",
    )
    pairs_done = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"calibration {self.recalibration_id or 'of the models'} for run {self.run_id}"


class DatasetFigures(Work):
    """The figures of a dataset's overview, counted in the background whenever what they rest on has
    changed; the page shows the last ones and how old they are."""

    dataset = models.OneToOneField(Dataset, on_delete=models.CASCADE, related_name="figures")
    wanted = models.CharField(
        max_length=200, blank=True, help_text="the state that was asked to be counted"
    )
    state = models.CharField(
        max_length=200, blank=True, help_text="the state that the figures are of"
    )
    figures = models.JSONField(default=dict, blank=True)
    counted_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"figures of {self.dataset_id}"


class TopicMap(Work):
    """What a dataset's prompts are about: clusters of their embeddings, joined in topics. The work
    is to find them and to place every pair, in the background."""

    dataset = models.OneToOneField(Dataset, on_delete=models.CASCADE, related_name="topic_map")
    ensemble = models.ForeignKey(
        Ensemble, on_delete=models.PROTECT, related_name="+", help_text="whose backbone reads"
    )
    topics = models.JSONField(default=list, help_text="number, name and pairs of each topic")
    made_at = models.DateTimeField(default=timezone.now)
    backbone_digest = models.CharField(
        max_length=64, blank=True, help_text="of what it is fitted on"
    )
    fitted = models.BinaryField(
        null=True, help_text="scoring.core.places.PromptMap: codes, clusters, their topics"
    )
    fitted_pairs = models.PositiveIntegerField(
        default=0, help_text="how many pairs there were when it was fitted"
    )

    def __str__(self) -> str:
        return f"topics of {self.dataset_id}"


class PairPlace(models.Model):
    """Where a pair's prompt stands among the others, in a few numbers, to find similar pairs."""

    pair = models.OneToOneField(
        PreferencePair, primary_key=True, on_delete=models.CASCADE, related_name="prompt_place"
    )
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="+")
    cluster = models.PositiveSmallIntegerField()
    code = models.BinaryField(help_text="int8, the prompt's embedding along the main axes")

    class Meta:
        indexes = [
            models.Index(fields=["dataset", "cluster", "pair"], name="places_by_cluster"),
        ]

    def __str__(self) -> str:
        return f"place of pair {self.pair_id}"
