"""Preference pairs, and what people and policies have said of them.

Labels, decisions and snapshots are facts: appended, never edited. Each change of mind names the row
it supersedes, so that the rows of one pair form a chain without forks; the database refuses a
second successor, which is how two people who act at once are told of each other.
"""

from annotations.models.datasets import Dataset, Import, Membership, RoleChange, SavedView
from annotations.models.decisions import Decision, DecisionBatch, Policy, PutForward
from annotations.models.holds import ReviewHold
from annotations.models.labels import Comment, GoldPair, Label
from annotations.models.pairs import (
    CONTENT_FIELDS,
    TRAITS,
    Annotator,
    PairContent,
    PairStanding,
    PairTraits,
    PreferencePair,
    StagedLabel,
    StagedPair,
)
from annotations.models.rounds import Lease, Round, RoundPair
from annotations.models.snapshots import (
    Export,
    Snapshot,
    SnapshotCard,
    SnapshotPair,
    SnapshotRequest,
    SnapshotTag,
)
from annotations.models.words import (
    Judgement,
    Occasion,
    Preference,
    Role,
    SkipReason,
    UnicodeJSONEncoder,
    Verdict,
)

__all__ = [
    "CONTENT_FIELDS",
    "TRAITS",
    "Annotator",
    "Comment",
    "Dataset",
    "Decision",
    "DecisionBatch",
    "Export",
    "GoldPair",
    "Import",
    "Judgement",
    "Label",
    "Lease",
    "Membership",
    "Occasion",
    "PairContent",
    "PairStanding",
    "PairTraits",
    "Policy",
    "Preference",
    "PreferencePair",
    "PutForward",
    "ReviewHold",
    "Role",
    "RoleChange",
    "Round",
    "RoundPair",
    "SavedView",
    "SkipReason",
    "Snapshot",
    "SnapshotCard",
    "SnapshotPair",
    "SnapshotRequest",
    "SnapshotTag",
    "StagedLabel",
    "StagedPair",
    "UnicodeJSONEncoder",
    "Verdict",
]
