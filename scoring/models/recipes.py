"""How members are trained, written down: recipes, and the files of sampled responses that some of
them need."""

from django.db import models
from django.utils import timezone

from annotations.models import Dataset
from curator.lib.append_only import AppendOnly
from curator.models import User


class TrainingRecipe(AppendOnly):
    """A version of a recipe under its name; changed, it is a new row."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="recipes")
    name = models.CharField(max_length=120)
    version = models.PositiveIntegerField(help_text="1, 2, 3 … under the name")
    content = models.JSONField(help_text="scoring.core.recipes, without the name")
    digest = models.CharField(max_length=64, help_text="of the content")
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "name", "version"], name="one_recipe_per_version"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class ResponseSet(AppendOnly):
    """Prompts with several responses each, sampled from a policy: unlabelled to meta-train on, or
    with scores to choose the best of. The rows lie in the file, one JSON object a line."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="response_sets")
    name = models.CharField(max_length=120)
    file = models.FileField(max_length=300)
    digest = models.CharField(max_length=64, help_text="of the file")
    prompts = models.PositiveIntegerField()
    responses = models.PositiveIntegerField()
    scored = models.PositiveIntegerField(help_text="prompts whose responses all have a score")
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "name"], name="one_response_set_per_name")
        ]

    def __str__(self) -> str:
        return self.name
