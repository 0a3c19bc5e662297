"""Reusable questions about datasets and pairs; they read, and never write."""

from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.db.models import Case, Count, F, OuterRef, Subquery, Value, When
from django.db.models.functions import Coalesce

from curator.lib.append_only import AppendOnlyQuerySet

if TYPE_CHECKING:
    from annotations.models import Dataset, Label, PairStanding, PreferencePair  # noqa: F401 - named in strings
    from curator.models import User

PEOPLE = ("a", "b", "tie", "both_bad")  # what a pair counts of what people say


class DatasetQuerySet(models.QuerySet["Dataset", "Dataset"]):
    def visible_to(self, user: "User") -> "DatasetQuerySet":
        """The datasets the user is a member of."""
        return self.filter(memberships__user=user, memberships__ended_at=None).distinct()


class LabelQuerySet(AppendOnlyQuerySet["Label"]):
    def current(self) -> "LabelQuerySet":
        """What holds now of what was asked as work: not superseded, not taken back, neither
        practice nor repeated."""
        return self.filter(successor__isnull=True, occasion="").exclude(preference="withdrawn")

    def judgements(self) -> "LabelQuerySet":
        """The current labels that say something of the pair: all but those that skip it."""
        return self.current().exclude(preference="skip")


class PairStandingQuerySet(models.QuerySet["PairStanding", "PairStanding"]):
    def undecided(self) -> "PairStandingQuerySet":
        return self.filter(verdict="")

    def decided(self) -> "PairStandingQuerySet":
        return self.filter(verdict__gt="")  # not `exclude`, of which no index knows anything

    def queued_for_review(self) -> "PairStandingQuerySet":
        """Undecided pairs that scoring gave a priority, the most urgent first."""
        queued = self.undecided().filter(review_priority__isnull=False)
        return queued.order_by("-review_priority", "-pair")

    def in_dispute(self) -> "PairStandingQuerySet":
        """Undecided pairs of which one person prefers A and another B."""
        return self.undecided().filter(people_a__gt=0, people_b__gt=0)

    def verdict_counts(self) -> dict[str, int]:
        """How many pairs stand at each verdict."""
        rows: Any = self.order_by().values_list("verdict").annotate(Count("pk"))
        return dict(rows)

    def count_voices(self) -> int:
        """Set what people and AI judges now say of these pairs from their labels, and return how
        many pairs that are. Where one label is appended, counting up and down is cheaper.

        The rows are locked before they are counted: a single statement would wait for a vote that
        is being kept, and then write what it had counted before. They are held until the caller's
        transaction ends, so give it no more than a batch of them where others are at work.
        """
        # named late: the models are built from these querysets
        pairs: Any = self.model._meta.get_field("pair").related_model
        labels: Any = pairs._meta.get_field("labels").related_model._default_manager
        said = labels.judgements().filter(pair=OuterRef("pk"))
        counts = {f"people_{name}": _counted(said, "human", name) for name in PEOPLE}
        counts |= {f"ai_{side}": _counted(said, "ai", side) for side in ("a", "b")}
        with transaction.atomic(using=self.db):
            held = self.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True)
            return self.model._default_manager.filter(pk__in=list(held)).update(**counts)


def preference_that_holds(verdict: str, source_preference: str) -> Case:
    """The label that holds after the verdict, as `decisions.resulting_preference` says it, of the
    fields of these names."""
    flipped = Case(When(**{source_preference: "a"}, then=Value("b")), default=Value("a"))
    return Case(
        When(**{verdict: "drop"}, then=Value("")),
        When(**{verdict: "tie"}, then=Value("tie")),
        When(**{verdict: "flip"}, then=flipped),
        When(**{f"{verdict}__in": ["a", "b"]}, then=F(verdict)),
        default=F(source_preference),
        output_field=models.CharField(),
    )


def _counted(said: Any, kind: str, judgement: str) -> Coalesce:
    rows = said.filter(annotator__kind=kind, preference=judgement).order_by().values("pair")
    counted = Subquery(rows.annotate(count=Count("pk")).values("count"))
    return Coalesce(counted, 0, output_field=models.IntegerField())


class PreferencePairQuerySet(models.QuerySet["PreferencePair", "PreferencePair"]):
    def undecided(self) -> "PreferencePairQuerySet":
        return self.filter(standing__verdict="")

    def labelled(self) -> "PreferencePairQuerySet":
        """Pairs of which the source prefers one response."""
        return self.filter(source_preference__in=["a", "b"])

    def in_dispute(self, dataset: "Dataset") -> "PreferencePairQuerySet":
        """The dataset's undecided pairs of which one person prefers A and another B, by way of
        their standings, whose index knows them."""
        divided = {"standing__people_a__gt": 0, "standing__people_b__gt": 0}
        return self.filter(standing__dataset=dataset, standing__verdict="", **divided)

    def with_standing(self) -> "PreferencePairQuerySet":
        return self.select_related("standing")
