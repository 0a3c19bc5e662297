"""Who looks at which pair of a review just now, so that no two curators are handed the same one."""

from django.db import models

from annotations.models.datasets import Dataset
from annotations.models.pairs import PreferencePair
from curator.models import User


class ReviewHold(models.Model):
    """A curator looks at the pair, for a few minutes from when it was shown. It keeps the pair from
    being handed to others; it keeps nobody from opening or deciding it."""

    pair = models.OneToOneField(
        PreferencePair, primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["dataset", "expires_at"], name="holds_by_end")]

    def __str__(self) -> str:
        return f"{self.user_id} looks at {self.pair_id}"
