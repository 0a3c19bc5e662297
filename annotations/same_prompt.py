"""The other pairs of a pair's prompt, and whether their labels and this one cannot all be right."""

from collections.abc import Sequence
from dataclasses import dataclass

from annotations import contradictions
from annotations.contradictions import Judged
from annotations.models import PreferencePair

SHOWN = 10
MOST_COMPARED = 100  # pairs of one prompt; where there are more, the older ones


@dataclass(frozen=True)
class SamePrompt:
    """`others` are the first of the prompt's other pairs and `total` counts them; `round` are those
    that contradict this one: none, one with the opposite label, or several that make a circle with
    it."""

    others: Sequence[PreferencePair]
    total: int
    round: Sequence[int]


def of(pair: PreferencePair) -> SamePrompt:
    """What stands beside the pair under its prompt, by the labels as they came."""
    prompt = pair.dataset.pairs.filter(group=pair.group).exclude(pk=pair.pk)
    others = list(prompt.select_related("standing").defer("meta").order_by("pk")[:MOST_COMPARED])
    judged = [_judged(each) for each in (pair, *others)]
    found = contradictions.shortest_cycle(judged, pair.pk)
    return SamePrompt(others[:SHOWN], len(others), found[1:])


def _judged(pair: PreferencePair) -> Judged:
    return Judged(
        pair=pair.pk,
        a=contradictions.digest(pair.response_a),
        b=contradictions.digest(pair.response_b),
        preferred=pair.source_preference,  # type: ignore[arg-type]  # one of Side, by a constraint
    )
