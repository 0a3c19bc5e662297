"""The words that rows of this app are spelled with."""

from django.core.validators import RegexValidator
from django.db import models

ENSEMBLE_NAME = "[A-Za-z0-9][A-Za-z0-9._-]*"
VALID_NAME = RegexValidator(rf"^{ENSEMBLE_NAME}\Z", "Use letters, digits, dots, hyphens and _.")


class Mode(models.TextChoices):
    """Whether the members that score a pair were trained on it. Figures of the two are never
    mixed."""

    OUT_OF_BAG = "out-of-bag", "out-of-bag"
    IN_SAMPLE = "in-sample", "in-sample"


class Precision(models.TextChoices):
    FLOAT32 = "float32", "float32"
    BFLOAT16 = "bfloat16", "bfloat16"


class ScoreAt(models.TextChoices):
    """Which token's score counts where a model's pad token also ends its texts."""

    LAST = "last", "the last token (OpenRLHF)"
    BEFORE_PADDING = "before-padding", "the last that is not the pad token (TRL, transformers)"


class Flag(models.TextChoices):
    FLIPPED = "flipped", "likely flipped"
    AMBIGUOUS = "ambiguous", "ambiguous"
    CLEAR = "clear", "clear"
    STRONG = "strong", "strong"
