"""What the demo's annotators are asked: the doubtful pairs, a little practice first, and gold pairs
in between. What all people of the source agree on is held for right."""

from typing import Any

from django.db.models import Q

from annotations import golds
from annotations.models import Dataset, GoldPair, PreferencePair, Round
from scoring import launch
from scoring.models import Flag

NAME = "Doubtful labels"
LABELS_PER_PAIR = 2
PRACTICE, GOLD = 3, 12
GOLD_EVERY, REPEAT_EVERY = 10, 15
FEWEST_AGREEING = 3  # people, before their answer is held for right


def ask(dataset: Dataset) -> Round | None:
    """Put the pairs with a doubtful label to everybody; None where an earlier demo did."""
    if dataset.rounds.exists():
        return dataset.rounds.exclude(status=Round.Status.DONE).first()
    for number, pair in enumerate(_agreed(dataset)[: PRACTICE + GOLD]):
        people = pair.standing.people_a + pair.standing.people_b
        golds.mark(
            pair=pair,
            preference="a" if pair.standing.people_a else "b",
            by=None,
            explanation=f"All {people} people who labelled this pair prefer the same response.",
            is_practice=number < PRACTICE,
        )
    Dataset.objects.filter(pk=dataset.pk).update(gold_every=GOLD_EVERY, repeat_every=REPEAT_EVERY)
    return launch.start_round(
        dataset=dataset,
        name=NAME,
        by=None,
        labels_per_pair=LABELS_PER_PAIR,
        flags=(Flag.FLIPPED, Flag.AMBIGUOUS),
    )


def describe(row: Round) -> tuple[float, str]:
    return 0.0, f"asking annotators: {row.pairs_count:,} pairs"


def asked(dataset: Dataset) -> str:
    row = dataset.rounds.get(name=NAME)
    in_use = GoldPair.objects.filter(dataset=dataset, retired_at=None)
    practice = in_use.filter(is_practice=True).count()
    return (
        f"{row.pairs_count:,} doubtful pairs put to annotators, {LABELS_PER_PAIR} labels each; "
        f"{practice} to practise on, {in_use.count() - practice} gold pairs in between"
    )


def _agreed(dataset: Dataset) -> Any:
    """Pairs of which enough people prefer one response and nobody says otherwise, the clearest
    first."""
    others = Q(standing__people_tie=0, standing__people_both_bad=0)
    of_a = Q(standing__people_a__gte=FEWEST_AGREEING, standing__people_b=0)
    of_b = Q(standing__people_b__gte=FEWEST_AGREEING, standing__people_a=0)
    clear = Q(scores__flag=Flag.STRONG)
    pairs = PreferencePair.objects.filter(others & (of_a | of_b) & clear, dataset=dataset)
    return pairs.with_standing().distinct().order_by("digest")
