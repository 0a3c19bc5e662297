"""The words that rows are written in: what may be said of a pair, by whom, and why."""

import json
from typing import Any

from django.db import models


class UnicodeJSONEncoder(json.JSONEncoder):
    """Stores text as it is rather than as \\u escapes, which SQLite would keep at up to six
    times the size."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "ensure_ascii": False, "separators": (",", ":")})


class Role(models.TextChoices):
    ANNOTATOR = "annotator", "annotator"
    CURATOR = "curator", "curator"
    OWNER = "owner", "owner"


class Preference(models.TextChoices):
    """Which response is preferred; the columns `response_a` and `response_b` never swap."""

    A = "a", "A"
    B = "b", "B"
    TIE = "tie", "tie"


class Judgement(models.TextChoices):
    """What one annotator may say of a pair."""

    A = "a", "A"
    B = "b", "B"
    TIE = "tie", "tie"
    BOTH_BAD = "both_bad", "both bad"
    SKIP = "skip", "skip"
    WITHDRAWN = "withdrawn", "withdrawn"


class Occasion(models.TextChoices):
    """Why a pair was put to somebody. Only what was asked as work counts towards the pair."""

    WORK = "", "work"
    REPEAT = "repeat", "repeated with sides swapped"
    PRACTICE = "practice", "practice"


class SkipReason(models.TextChoices):
    """Why an annotator passes a pair over."""

    UNSURE = "unsure", "I cannot tell"
    KNOWLEDGE = "knowledge", "it takes knowledge that I lack"
    LANGUAGE = "language", "I do not read the language"
    BROKEN = "broken", "the texts are broken or cut off"
    HARMFUL = "harmful", "I would rather not read this"


class Verdict(models.TextChoices):
    """What a decision says of the pair's label."""

    UNDECIDED = "", "undecided"
    KEEP = "keep", "keep"
    FLIP = "flip", "flip"
    SOFTEN = "soften", "soften"
    TIE = "tie", "tie"
    DROP = "drop", "drop"
    PREFER_A = "a", "A"
    PREFER_B = "b", "B"


WRONG = (Verdict.FLIP,)  # what says that the label stood the wrong way round
UNCLEAR = (Verdict.TIE, Verdict.DROP)  # neither right nor wrong; in shares they count as not wrong
TRAINED_ON = ("a", "b")  # the labels that a file for training can hold
