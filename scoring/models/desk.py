"""What the curator's pages show of a dataset as a whole, made in the background."""

from django.db import models
from django.utils import timezone

from annotations.models import Dataset, PreferencePair
from curator.lib.work import Work
from scoring.models.ensembles import Ensemble


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
