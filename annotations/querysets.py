"""Reusable questions about datasets and pairs; they read, and never write."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Count

if TYPE_CHECKING:
    from annotations.models import Dataset, PreferencePair  # noqa: F401 - named in strings
    from curator.models import User


class DatasetQuerySet(models.QuerySet["Dataset", "Dataset"]):
    def visible_to(self, user: "User") -> "DatasetQuerySet":
        """The datasets the user is a member of."""
        return self.filter(memberships__user=user).distinct()


class PreferencePairQuerySet(models.QuerySet["PreferencePair", "PreferencePair"]):
    def undecided(self) -> "PreferencePairQuerySet":
        return self.filter(verdict="")

    def decided(self) -> "PreferencePairQuerySet":
        return self.exclude(verdict="")

    def labelled(self) -> "PreferencePairQuerySet":
        """Pairs of which the source prefers one response."""
        return self.filter(source_preference__in=["a", "b"])

    def queued_for_review(self) -> "PreferencePairQuerySet":
        """Undecided pairs that scoring gave a priority, the most urgent first."""
        return (
            self.undecided()
            .filter(review_priority__isnull=False)
            .order_by("-review_priority", "-id")
        )

    def containing(self, text: str) -> "PreferencePairQuerySet":
        """Pairs with the text anywhere in prompt or responses, whatever the case."""
        return self.filter(search_text__contains=text.casefold())

    def verdict_counts(self) -> dict[str, int]:
        """How many pairs stand at each verdict."""
        rows: Any = self.order_by().values_list("verdict").annotate(Count("pk"))
        return dict(rows)

    def with_text(self) -> "PreferencePairQuerySet":
        """Everything but the column that only the search needs."""
        return self.defer("search_text")
