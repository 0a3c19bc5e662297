"""Which pairs of a dataset a round puts to annotators: those that pass a filter, as the list of
pairs has it, or all of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from annotations import exploring, filters, rounds
from annotations.conditions import Condition, Operator
from annotations.fields import ENSEMBLE, FLAGS, VERDICTS
from annotations.filters import Filter
from annotations.models import Dataset, Round
from curator.lib.refusals import Refusal
from scoring.models import ScoringRun

UNSCORED = "unscored"
FLAG_NAMES = tuple(FLAGS)
# what was dropped is put to nobody, whatever a filter asks
STATUSES = tuple(name for name in VERDICTS if name not in ("drop", "decided"))


def as_stored(wanted: Filter | None, flags: Sequence[str] = ()) -> dict[str, Any]:
    """What a round keeps of a filter that also asks for one of the flags, if any are given. The
    order of the list is not a matter of the round."""
    asked = wanted or Filter()
    if flags:
        asked = asked.and_also(Condition("flag", Operator.IS, tuple(dict.fromkeys(flags))))
    return {"conditions": asked.as_json()} if asked.clauses else {}


def check(dataset: Dataset, stored: Mapping[str, Any]) -> None:
    """Raises Refusal where the filter cannot be asked of the dataset."""
    wanted = filters.from_stored(stored)
    if wanted.problems:
        raise Refusal(wanted.problems[0])
    if not dataset.pairs.exists():
        raise Refusal(f"{dataset.name} holds no pairs yet: import some first.")
    if wanted.contradiction:
        raise Refusal(f"No pair can meet “{wanted.contradiction}”.")
    if set(wanted.values_of("status")) == {"drop"}:
        raise Refusal("Pairs that were dropped are put to nobody: ask for others.")
    if asks_scores(wanted) and ScoringRun.objects.current(dataset) is None:
        raise Refusal(f"{dataset.name} is not scored yet, so no pair has a flag or a strength.")


def asks_scores(wanted: Filter) -> bool:
    """Whether it asks for what only a run can tell."""
    if set(wanted.values_of("flag")) == {UNSCORED}:
        wanted = wanted.without("flag")
    return wanted.asks(*(field.name for field in ENSEMBLE))


def fill(round: Round) -> None:
    """Fill the claimed round with the pairs that its filter finds now. Raises Refusal when there
    are none."""
    found = pair_ids(round.dataset, round.filter)
    if not found and not round.rows.exists():
        raise Refusal("No pair passes this round's filter: ask for others in a new round.")
    rounds.fill(round, found)


def pair_ids(dataset: Dataset, stored: Mapping[str, Any]) -> set[int]:
    """The ids of the pairs that a stored filter finds now."""
    return set(exploring.pair_ids(dataset, filters.from_stored(stored)))
