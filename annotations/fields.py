"""What is known of a preference pair and can be asked for: the fields of filters, saved views and
policies.

This names fields and says what their values mean. Whoever evaluates a condition computes the values
themselves, in SQL or as arrays; what people said is derived here as the reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from annotations import checks

NONE = "none"
NO_NAMES: Mapping[str, str] = MappingProxyType({})
NO_BITS: Mapping[str, int] = MappingProxyType({})
NO_GROUPS: Mapping[str, frozenset[str]] = MappingProxyType({})
NO_PHRASES: Mapping[str, tuple[str, str]] = MappingProxyType({})


class Kind(StrEnum):
    """What a field's values are, and so which operators ask for them."""

    NUMBER = "number"
    CHOICE = "choice"
    FLAGS = "flags"  # a bit mask: any number of named bits
    TIME = "time"
    TEXT = "text"


class Use(StrEnum):
    """Who asks."""

    POLICY = "policy"
    EXPLORE = "explore"


@dataclass(frozen=True)
class Field:
    """Something known of each pair.

    A choice always has a name: `missing` where nothing is stored (None, NaN) and `blank` where an
    empty text is. A number, time or mask may be missing, and then meets no condition but, for
    numbers and times, that it is none. Where a name after the field's own reads badly (“flag not
    no label to doubt”), `phrases` say by that name that it is so, and that it is not.
    """

    name: str
    shown_name: str
    kind: Kind
    explanation: str
    choices: Mapping[str, str] = field(default_factory=lambda: NO_NAMES)  # name to shown name
    groups: Mapping[str, frozenset[str]] = field(default_factory=lambda: NO_GROUPS)
    bits: Mapping[str, int] = field(default_factory=lambda: NO_BITS)
    phrases: Mapping[str, tuple[str, str]] = field(default_factory=lambda: NO_PHRASES)
    unit: str = ""
    least: float = -inf
    most: float = inf
    whole: bool = False  # numbers, and the names of an open choice, are whole
    several: bool = False  # a pair may have more than one of the values
    blank: str = NONE
    missing: str = NONE
    sortable: bool = False
    for_policies: bool = True
    for_explore: bool = True

    @property
    def is_open(self) -> bool:
        """Whether any text, or any whole number, can be a choice."""
        return self.kind is Kind.CHOICE and not self.choices

    def serves(self, use: Use) -> bool:
        return self.for_policies if use is Use.POLICY else self.for_explore

    def names_within(self, chosen: frozenset[str | int]) -> frozenset[str | int]:
        """The choices with each group replaced by its members."""
        groups = [self.groups.get(str(name), frozenset({name})) for name in chosen]
        return frozenset[str | int]().union(*groups)


FLAGS = {
    "flipped": "likely flipped",
    "ambiguous": "ambiguous",
    "clear": "clear",
    "strong": "strong",
    NONE: "no label to doubt",
    "unscored": "not scored",
}
VERDICTS = {
    "undecided": "undecided",
    "keep": "keep",
    "flip": "flip",
    "soften": "soften",
    "tie": "tie",
    "drop": "drop",
    "a": "prefer A",
    "b": "prefer B",
    "decided": "decided",
}
DECIDED = frozenset(VERDICTS) - {"undecided", "decided"}
DECIDERS = {"nobody": "nobody", "person": "a person", "policy": "a policy"}
PREFERENCES = {"a": "A", "b": "B", "tie": "tie", NONE: NONE}
OPINIONS = {
    "for": "for the label",
    "against": "against the label",
    "tie": "tie",
    "both_bad": "both bad",
    "divided": "divided",
    NONE: "too few to say",
}
CHECKS = {shown.name: shown.title for shown in checks.SHOWN.values()}
CHECK_BITS = {name: int(check) for name, check in checks.NAMES.items()}

ENSEMBLE = (
    Field(
        "flag",
        "flag",
        Kind.CHOICE,
        "What the run's flag rule says of the label. “Not scored” came after the run.",
        choices=FLAGS,
        phrases={
            NONE: ("no label to doubt", "(a label to doubt or not scored)"),
            "unscored": ("not scored", "scored"),
        },
        missing="unscored",
    ),
    Field(
        "strength",
        "strength",
        Kind.NUMBER,
        "Mean margin over the members; negative: the ensemble contradicts the label.",
        sortable=True,
    ),
    Field(
        "spread",
        "spread",
        Kind.NUMBER,
        "Standard deviation of the margins over the members.",
        least=0,
        sortable=True,
    ),
    Field(
        "votes",
        "votes",
        Kind.NUMBER,
        "Share of the members that agree with the label.",
        unit="share",
        least=0,
        most=1,
    ),
    Field(
        "label_probability",
        "probability of the label",
        Kind.NUMBER,
        "How probable it is that the label is right, by the run's calibration.",
        unit="share",
        least=0,
        most=1,
    ),
    Field(
        "percentile",
        "percentile",
        Kind.NUMBER,
        "Share of the run's labelled pairs with a lower strength.",
        unit="share",
        least=0,
        most=1,
    ),
)
# a policy that asked for decisions would ask for its own, and do something else the second time
DECISIONS = (
    Field(
        "status",
        "decision",
        Kind.CHOICE,
        "What the project holds true of the label; “decided” is any verdict.",
        choices=VERDICTS,
        groups={"decided": DECIDED},
        phrases={
            "undecided": ("undecided", "decided"),
            "decided": ("decided", "undecided"),
        },
        blank="undecided",
        missing="undecided",
        for_policies=False,
    ),
    Field(
        "decided_by",
        "decided by",
        Kind.CHOICE,
        "Whether a person or a policy decided.",
        choices=DECIDERS,
        phrases={"nobody": ("decided by nobody", "decided by somebody")},
        blank="nobody",
        missing="nobody",
        for_policies=False,
    ),
    Field(
        "decided",
        "decided",
        Kind.TIME,
        "When the decision that holds was made.",
        sortable=True,
        for_policies=False,
    ),
)


def _count(
    name: str, shown_name: str, explanation: str, unit: str, *, sortable: bool = False
) -> Field:
    return Field(
        name,
        shown_name,
        Kind.NUMBER,
        explanation,
        unit=unit,
        least=0,
        whole=True,
        sortable=sortable,
    )


LABELS = (
    Field(
        "source_preference",
        "source label",
        Kind.CHOICE,
        "The response that the source prefers.",
        choices=PREFERENCES,
        phrases={NONE: ("no source label", "a source label")},
    ),
    Field(
        "people",
        "people",
        Kind.CHOICE,
        "What more than half of at least two people say; divided where no answer has that many.",
        choices=OPINIONS,
        phrases={NONE: ("too few people to say", "enough people to say")},
    ),
    _count("people_for", "people for", "People who agree with the source's label.", "people"),
    _count(
        "people_against",
        "people against",
        "People who prefer a response where the source does not: the other one, or either of a "
        "tie.",
        "people",
    ),
    _count("people_tie", "people for a tie", "People who call the responses equal.", "people"),
    _count(
        "people_both_bad", "people for both bad", "People who call both responses bad.", "people"
    ),
    _count(
        "people_total",
        "people",
        "People who have judged the pair; to skip it is no judgement.",
        "people",
        sortable=True,
    ),
    _count("ai_for", "AI judges for", "AI judges that agree with the source's label.", "AI judges"),
    _count(
        "ai_against",
        "AI judges against",
        "AI judges that prefer a response where the source does not.",
        "AI judges",
    ),
)
CONTENT = (
    Field(
        "checks",
        "checks",
        Kind.FLAGS,
        "What the checks found in the texts and beside the other pairs of the prompt.",
        choices=CHECKS,
        bits=CHECK_BITS,
    ),
    Field(
        "origin",
        "origin",
        Kind.CHOICE,
        "Where the pair came from, as its source says.",
    ),
    Field(
        "topic",
        "topic",
        Kind.CHOICE,
        "The cluster of prompts like this one.",
        whole=True,
    ),
    _count("turns", "turns", "Messages in the prompt.", "messages"),
    _count(
        "characters",
        "length",
        "Characters of the prompt and both responses.",
        "characters",
        sortable=True,
    ),
    Field(
        "longer",
        "longer by",
        Kind.NUMBER,
        "Characters by which the preferred response is longer than the other; negative: shorter.",
        unit="characters",
        whole=True,
        sortable=True,
    ),
    Field("imported", "imported", Kind.TIME, "When the pair was imported.", sortable=True),
)
FINDING = (
    Field(
        "text",
        "text",
        Kind.TEXT,
        "Words anywhere in the prompt or a response, whatever the case.",
        for_policies=False,
    ),
    Field(
        "annotator",
        "annotator",
        Kind.CHOICE,
        "Who has labelled the pair.",
        several=True,
        for_policies=False,
    ),
    Field(
        "similar_to",
        "similar to pair",
        Kind.CHOICE,
        "The pair whose prompt is the very same.",
        whole=True,
        several=True,
        for_policies=False,
    ),
    Field(
        "import",
        "import",
        Kind.CHOICE,
        "The import that brought the pair.",
        whole=True,
        for_policies=False,
    ),
)
FIELDS: Mapping[str, Field] = MappingProxyType(
    {each.name: each for each in (*ENSEMBLE, *DECISIONS, *LABELS, *CONTENT, *FINDING)}
)


def fields_for(use: Use) -> dict[str, Field]:
    """The fields that may be asked for there, by name, in the order in which they are shown."""
    return {name: each for name, each in FIELDS.items() if each.serves(use)}


@dataclass(frozen=True)
class Said:
    """What people, or AI judges, said of the source's labels."""

    agreeing: npt.NDArray[np.float64]  # (n,); NaN where there is no label to agree with
    against: npt.NDArray[np.float64]  # (n,)
    total: npt.NDArray[np.int64]  # (n,)
    opinions: npt.NDArray[np.str_]  # (n,), of OPINIONS


def said_of(
    source_preferences: npt.ArrayLike,
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    tie: npt.ArrayLike,
    both_bad: npt.ArrayLike,
) -> Said:
    """How many agree with each label and contradict it, and what most of them say, from what the
    source prefers (n,): `a`, `b`, `tie` or empty, and counts (n,) of who prefers what.

    An opinion takes at least two people and more than half of them. Where nobody has more than half
    they are divided, also between a response and a tie. Agreeing goes before the tie: a label that
    says tie, and people who say so too, are for the label. Without a label there is no opinion
    of it.
    """
    source = np.asarray(source_preferences, dtype=np.str_)
    for_a, for_b, ties, bad = (np.asarray(each, dtype=np.int64) for each in (a, b, tie, both_bad))
    total = for_a + for_b + ties + bad
    sides = [source == "a", source == "b", source == "tie"]
    agreeing = np.select(sides, [for_a, for_b, ties], default=0)
    against = np.select(sides, [for_b, for_a, for_a + for_b], default=0)
    is_labelled = np.any(sides, axis=0)
    opinions = np.select(
        [
            (total < 2) | ~is_labelled,
            2 * agreeing > total,
            2 * against > total,
            2 * ties > total,
            2 * bad > total,
        ],
        [NONE, "for", "against", "tie", "both_bad"],
        default="divided",
    )
    return Said(
        np.where(is_labelled, agreeing, np.nan),
        np.where(is_labelled, against, np.nan),
        total,
        opinions,
    )
