"""Which pairs of a dataset a round puts to annotators: those that pass a filter, as the explore
page has it, or all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from annotations import rounds
from annotations.models import Dataset, Round, Verdict
from curator.lib.refusals import Refusal
from scoring import exploring
from scoring.exploring import UNDECIDED, UNFLAGGED, UNSCORED, Filters
from scoring.models import Flag, ScoringRun

FLAGS = (*Flag.values, UNFLAGGED, UNSCORED)
STATUSES = (UNDECIDED, *(str(one) for one in Verdict if one and one != Verdict.DROP))


def as_stored(filters: Filters | None, flags: Sequence[str] = ()) -> dict[str, Any]:
    """What a round keeps of a filter and, in place of its one flag, of several: only what it asks
    for. The order of the list is not a matter of the round."""
    asked = asdict(filters or Filters())
    asked.pop("order")
    several = list(dict.fromkeys(flag for flag in (*flags, asked.pop("flag")) if flag))
    return {name: value for name, value in {**asked, "flags": several}.items() if _is_asked(value)}


def check(dataset: Dataset, stored: Mapping[str, Any]) -> None:
    """Raises Refusal where the filter cannot be asked of the dataset."""
    flags, status = stored.get("flags", []), stored.get("status", UNDECIDED)
    for flag in flags:
        if flag not in FLAGS:
            raise Refusal(f"The flag {flag!r} is not known: choose {', '.join(FLAGS)}.")
    if status not in STATUSES:
        raise Refusal(f"The status {status!r} is not known: choose {', '.join(STATUSES)}.")
    if not dataset.pairs.exists():
        raise Refusal(f"{dataset.name} holds no pairs yet: import some first.")
    asks_strength = "strength_from" in stored or "strength_to" in stored
    asks_scores = asks_strength or any(flag != UNSCORED for flag in flags)
    if asks_scores and ScoringRun.objects.current(dataset) is None:
        raise Refusal(f"{dataset.name} is not scored yet, so no pair has a flag or a strength.")


def fill(round: Round) -> None:
    """Fill the claimed round with the pairs that its filter finds now. Raises Refusal when there
    are none."""
    found = pair_ids(round.dataset, round.filter)
    if not found and not round.rows.exists():
        raise Refusal("No pair passes this round's filter: ask for others in a new round.")
    rounds.fill(round, found)


def pair_ids(dataset: Dataset, stored: Mapping[str, Any]) -> set[int]:
    """The ids of the pairs that a stored filter finds now."""
    run = ScoringRun.objects.current(dataset)
    filters = Filters(**{name: value for name, value in stored.items() if name != "flags"})
    return {
        pair_id
        for flag in stored.get("flags") or [""]
        for pair_id in exploring.pair_ids(dataset, run, replace(filters, flag=flag))
    }


def _is_asked(value: Any) -> bool:
    return value not in ("", None, [])
