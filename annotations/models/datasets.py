"""A named collection of preference pairs, its members, and the files that were brought into it."""

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models.words import Role
from annotations.querysets import DatasetQuerySet
from curator.lib.append_only import AppendOnly
from curator.lib.work import Work
from curator.models import User


class Dataset(models.Model):
    """A named collection of preference pairs with guidelines and members."""

    slug = models.CharField(
        max_length=60,
        unique=True,
        validators=[
            RegexValidator(r"^[a-z0-9][a-z0-9-]*\Z", "Use small letters, digits and hyphens."),
            RegexValidator(r"^new\Z", "“new” is an address of Curator's own.", inverse_match=True),
        ],
    )
    name = models.CharField(max_length=120)
    description = models.TextField(
        blank=True, help_text="where the pairs come from, and their licence"
    )
    guidelines = models.TextField(
        blank=True, help_text="what annotators and curators should prefer"
    )
    aspects = models.JSONField(
        default=list,
        blank=True,
        help_text="what annotators also compare, such as helpful, harmless",
    )
    asks_strength = models.BooleanField(
        default=True, help_text="annotators may say how much better the response is"
    )
    requires_rationale = models.BooleanField(
        default=False, help_text="a label needs a sentence that says why"
    )
    gold_every = models.PositiveSmallIntegerField(
        default=0, help_text="one pair in so many is a gold pair, unannounced; 0 for none"
    )
    repeat_every = models.PositiveSmallIntegerField(
        default=0, help_text="one pair in so many comes again with sides swapped; 0 for none"
    )
    calibration = models.CharField(
        max_length=40,
        blank=True,
        default="",
        db_default="",
        help_text="what its standings' label probabilities were fitted to; blank: the run's own",
    )
    scores_being_written_by = models.CharField(
        max_length=40,
        blank=True,
        default="",
        db_default="",
        help_text="whose scores its standings are being given just now, such as run 7; else blank",
    )
    checked_at = models.DateTimeField(
        null=True, blank=True, help_text="when checks last changed what its standings say of them"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = DatasetQuerySet.as_manager()

    class Meta:
        ordering = ["name", "pk"]
        constraints = [models.CheckConstraint(condition=~Q(slug=""), name="dataset_has_a_slug")]

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    """What a user may do with a dataset; who is in none of them sees nothing of it."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=9, choices=Role)
    joined_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(
        null=True, blank=True, help_text="deactivated: what they did stays, they see nothing more"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "user"], name="one_membership_per_dataset_and_user"
            ),
            models.CheckConstraint(
                condition=Q(role__in=Role.values), name="membership_role_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role} of {self.dataset_id}"


class RoleChange(AppendOnly):
    """A member was given another role, or theirs again after their membership had ended."""

    membership = models.ForeignKey(
        Membership, on_delete=models.CASCADE, related_name="role_changes"
    )
    was = models.CharField(max_length=9, choices=Role, blank=True, help_text="blank: no member")
    role = models.CharField(max_length=9, choices=Role)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.membership_id}: {self.was} to {self.role}"


class Import(Work):
    """A file of pairs on its way into a dataset."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="imports")
    file = models.FileField(max_length=300)
    file_name = models.CharField(max_length=255, help_text="as the user called it")
    file_bytes = models.PositiveBigIntegerField(default=0)
    format = models.CharField(
        max_length=40, blank=True, help_text="as asked for; empty to detect it"
    )
    found_format = models.CharField(
        max_length=80, blank=True, help_text="container and layout as detected"
    )
    bytes_read = models.PositiveBigIntegerField(default=0)
    read = models.PositiveIntegerField(default=0)
    created = models.PositiveIntegerField(default=0)
    duplicates = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    labels_created = models.PositiveIntegerField(default=0)
    report = models.FileField(
        max_length=300, blank=True, help_text="the refused rows, with line number and reason"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.file_name} into {self.dataset_id}"

    @property
    def share_done(self) -> float:
        return min(self.bytes_read / self.file_bytes, 1.0) if self.file_bytes else 0.0


class SavedView(models.Model):
    """A filter and an order of the list of pairs, under a name and an address to share."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="views")
    name = models.CharField(max_length=120)
    query = models.CharField(max_length=2000, help_text="as the address of the list has it")
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "name"],
                condition=Q(retired_at__isnull=True),
                name="one_view_per_name",
            )
        ]

    def __str__(self) -> str:
        return self.name
