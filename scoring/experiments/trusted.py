"""Whose word an experiment takes for true: frozen when it begins, pair by pair."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotations import answers, consensus
from annotations.decisions import resulting_preference
from annotations.judgements import Value
from annotations.models import Dataset, PairStanding, Preference
from curator.lib.refusals import Refusal
from scoring.models import Flag
from scoring.truths import BadTruth

PAGE = 2000
FEWEST_TRUSTED = 30  # pairs, with which nothing can be told
FEWEST_AGREEING = 2  # people, who make a consensus
OFTEN = 2.0  # times as often flagged as other labels: chosen for it
MANY = 0.2  # of the trusted pairs, that are flagged
OTHER_SIDE = {1: -1, -1: 1, 0: 0}
DIRECTIONS = {Preference.A: 1, Preference.B: -1, Preference.TIE: 0}
OF_VALUES = {Value.A: 1, Value.B: -1, Value.TIE: 0, Value.BOTH_BAD: 0}

Truths = dict[int, int]  # pair: 1 where A is truly better, -1 where B is, 0 where neither is


class TooFewTrusted(Refusal):
    """There is too little to judge by."""


@dataclass(frozen=True)
class Trusted:
    """What is held for true of pairs, where it comes from, and what to know of that."""

    truths: Truths
    sources: dict[str, int]  # how many pairs each of them speaks of
    warnings: list[str]

    def among(self, pair_ids: set[int]) -> "Trusted":
        kept = {pk: truth for pk, truth in self.truths.items() if pk in pair_ids}
        return Trusted(kept, self.sources, self.warnings)


def of_people(dataset: Dataset) -> Trusted:
    """What people decided; where nobody did, gold answers; else what most of the people who
    labelled a pair say, two of them at least."""
    by: dict[str, Truths] = {
        "decided by people": _decided(dataset),
        "gold answers": _gold(dataset),
        "consensus of people": _consensus(dataset),
    }
    truths: Truths = {}
    sources: Counter[str] = Counter()
    for name, found in by.items():
        new = {pk: truth for pk, truth in found.items() if pk not in truths}
        sources[name] = len(new)
        truths |= new
    return Trusted(truths, dict(sources), chosen_for_their_flag(dataset, truths))


def of_file(dataset: Dataset, flipped: Mapping[str, bool]) -> Trusted:
    """What a file says of the labels as they were imported, by the pairs' ids at their source.
    Raises BadTruth."""
    rows: Any = dataset.pairs.labelled().exclude(source_id="")
    truths = {}
    for pk, source_id, preference in rows.values_list(
        "pk", "source_id", "source_preference"
    ).iterator(PAGE):
        if source_id in flipped:
            label = DIRECTIONS[preference]
            truths[pk] = OTHER_SIDE[label] if flipped[source_id] else label
    if not truths:
        raise BadTruth(f"None of the ids in the file belongs to a labelled pair of {dataset.slug}.")
    return Trusted(truths, {"the file": len(truths)}, chosen_for_their_flag(dataset, truths))


def check_enough(trusted: Trusted, dataset: Dataset, *, where: str) -> None:
    """Raises TooFewTrusted."""
    count = sum(truth != 0 for truth in trusted.truths.values())
    if count < FEWEST_TRUSTED:
        raise TooFewTrusted(
            f"{dataset.name} has {count} trusted pairs {where}, and an experiment needs at least "
            f"{FEWEST_TRUSTED}: decide some by hand, mark gold pairs, have {FEWEST_AGREEING} "
            f"people label the same pairs, or give a file that says which labels are flipped."
        )


def chosen_for_their_flag(dataset: Dataset, truths: Truths) -> list[str]:
    """A warning where the trusted pairs were, by the look of it, picked because the models
    contradict their labels."""
    flagged: set[int] = set(
        dataset.standings.filter(flag=Flag.FLIPPED).values_list("pk", flat=True).iterator(PAGE)
    )
    scored = dataset.standings.filter(flag__gt="").count()
    among = sum(pk in flagged for pk in truths)
    if not flagged or not truths or among / len(truths) < MANY:
        return []
    share, usual = among / len(truths), len(flagged) / scored
    if share < OFTEN * usual:
        return []
    return [
        f"{share:.0%} of the trusted pairs are flagged as likely flipped, and {usual:.0%} of all "
        f"labels: they were looked at because models contradict their labels, so they tell of "
        f"such labels, not of the dataset. A random sample of reviews tells of it."
    ]


def _decided(dataset: Dataset) -> Truths:
    rows: Any = dataset.standings.filter(decided_by=PairStanding.DecidedBy.PERSON).values_list(
        "pk", "verdict", "source_preference"
    )
    found = {}
    for pk, verdict, source in rows.iterator(PAGE):
        preference = resulting_preference(source, verdict)
        if preference:
            found[pk] = DIRECTIONS[Preference(preference)]
    return found


def _gold(dataset: Dataset) -> Truths:
    rows: Any = dataset.gold_pairs.filter(retired_at=None).values_list("pair_id", "preference")
    return {pk: OF_VALUES[answers.VALUES[preference]] for pk, preference in rows.iterator(PAGE)}


def _consensus(dataset: Dataset) -> Truths:
    given = answers.load(dataset, kinds=answers.PEOPLE)
    if not len(given):
        return {}
    outcomes = consensus.majority(given.judgements)
    votes = outcomes.votes.max(axis=1, initial=0)
    agreed = (votes >= FEWEST_AGREEING) & (outcomes.sureness > 0.5)
    return {
        int(given.pair_ids[unit]): OF_VALUES[Value(int(outcomes.winners[unit]))]
        for unit in np.flatnonzero(agreed)
    }
