"""How good a run is: planted flips, samples that people review, and what their verdicts tell of
its probabilities."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models import PreferencePair
from curator.lib.work import Work
from curator.models import User
from scoring.models.runs import ScoringRun
from scoring.models.words import Flag


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
