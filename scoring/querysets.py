"""Reusable questions about runs and scores; they read, and never write."""

from typing import TYPE_CHECKING

from django.db import models

from curator.lib.work import Work

if TYPE_CHECKING:
    from annotations.models import Dataset
    from scoring.models import PairScore, ScoringRun  # noqa: F401 - named in strings


class ScoringRunQuerySet(models.QuerySet["ScoringRun", "ScoringRun"]):
    def finished(self) -> "ScoringRunQuerySet":
        return self.filter(status=Work.Status.DONE)

    def current(self, dataset: "Dataset") -> "ScoringRun | None":
        """The run whose figures the dataset shows: the latest that finished, out-of-bag if any is.

        In-sample scores never take the place of out-of-bag ones: they vouch for their own labels.
        """
        finished = self.finished().filter(dataset=dataset).select_related("ensemble")
        in_sample = models.Case(
            models.When(mode="out-of-bag", then=0), default=1, output_field=models.IntegerField()
        )
        return finished.order_by(in_sample, "-pk").first()


class PairScoreQuerySet(models.QuerySet["PairScore", "PairScore"]):
    def of(self, run: "ScoringRun") -> "PairScoreQuerySet":
        return self.filter(run=run)
