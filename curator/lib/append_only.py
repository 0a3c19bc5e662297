"""Facts are appended, never edited: base classes for rows that no code may change or delete once
written."""

from typing import Any, TypeVar

from django.db import models

Row = TypeVar("Row", bound=models.Model, covariant=True)


class AppendOnlyError(TypeError):
    """Code tried to change or delete a fact. A fault of the code, never of the user."""


class AppendOnlyQuerySet(models.QuerySet[Row]):
    """A queryset that adds and reads; it refuses to change."""

    def update(self, **kwargs: Any) -> int:
        raise AppendOnlyError(
            f"{self.model.__name__} rows are facts: write a new one that supersedes, do not update"
        )

    def delete(self) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError(f"{self.model.__name__} rows are facts: they are not deleted")

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        raise AppendOnlyError(
            f"{self.model.__name__} rows are facts: write new ones that supersede, do not update"
        )


class AppendOnly(models.Model):
    """A row that is written once."""

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError(
                f"{type(self).__name__} rows are facts: write a new one that supersedes"
            )
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError(f"{type(self).__name__} rows are facts: they are not deleted")
