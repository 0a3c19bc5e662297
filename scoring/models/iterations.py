"""Pseudo-labels round by round: train, let the ensemble label what it is sure of, train again
(SSRM, arXiv 2409.06903)."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models import Dataset, DecisionBatch
from curator.lib.work import Work
from curator.models import User
from scoring.models.ensembles import Ensemble
from scoring.models.runs import ScoringRun


class Iteration(Work):
    """Rounds of training and pseudo-labelling; the work is to say what comes next."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="iterations")
    name = models.CharField(max_length=60, help_text="its ensembles are called after it")
    rounds_wanted = models.PositiveSmallIntegerField()
    threshold = models.FloatField(help_text="of max(p, 1 - p), beyond which a pair is labelled")
    backbone = models.CharField(max_length=300)
    members_count = models.PositiveSmallIntegerField()
    recipe = models.JSONField(help_text="scoring.core.recipes, with its name")
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "name"], name="one_iteration_per_name"),
            models.CheckConstraint(
                condition=Q(threshold__gte=0.5, threshold__lt=1), name="threshold_is_a_majority"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class IterationRound(models.Model):
    """One round: the ensemble that was trained, the run that read the unlabelled pairs, and the
    decisions that made labels of what it was sure of."""

    iteration = models.ForeignKey(Iteration, on_delete=models.CASCADE, related_name="rounds")
    position = models.PositiveSmallIntegerField()
    ensemble = models.OneToOneField(Ensemble, on_delete=models.PROTECT, related_name="+")
    run = models.OneToOneField(
        ScoringRun, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    batch = models.OneToOneField(
        DecisionBatch, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    figures = models.JSONField(
        default=dict, blank=True, help_text="labelled, pseudo-labelled, unsure, accuracy"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["iteration", "position"], name="one_round_per_position")
        ]

    def __str__(self) -> str:
        return f"round {self.position} of iteration {self.iteration_id}"
