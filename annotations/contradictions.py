"""Labels of one prompt that cannot all be right: the same two responses judged both ways, and
circles, where A loses to B, B to C and C to A.

The responses of a prompt are the points of a graph, and each label draws an arrow from the response
that lost to the one that won. Labels follow some order of the responses if and only if no arrow
lies on a cycle, and an arrow lies on a cycle if and only if both its ends are in one strongly
connected component (Tarjan, SIAM J. Comput. 1, 1972): all of it in time linear in the pairs.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from annotations.formats.parsed import Side
from curator.lib import digests

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Judged:
    """A pair of the prompt: its number, what names each of its responses (`digest`), and which of
    them its label prefers."""

    pair: int
    a: str
    b: str
    preferred: Side

    @property
    def is_arrow(self) -> bool:
        """Ties and missing labels contradict nothing; a response cannot beat its own copy."""
        return self.preferred in ("a", "b") and self.a != self.b

    @property
    def winner(self) -> str:
        return self.a if self.preferred == "a" else self.b

    @property
    def loser(self) -> str:
        return self.b if self.preferred == "a" else self.a


@dataclass(frozen=True)
class Contradictions:
    """Numbers of the pairs that others contradict: directly, or only round a longer circle. No pair
    is in both."""

    contradicted: frozenset[int] = field(default_factory=frozenset)
    cycle: frozenset[int] = field(default_factory=frozenset)


def normalised(text: str) -> str:
    """Near-identical copies made equal: white space is collapsed, and case folded."""
    return " ".join(text.split()).casefold()


def digest(response: Messages) -> str:
    """Names a response; near-identical copies have one name."""
    return digests.of_value([[turn["role"], normalised(turn["content"])] for turn in response])


def among(pairs: Iterable[Judged]) -> Contradictions:
    """Which of one prompt's pairs contradict one another.

    A pair is contradicted where the opposite label of the same two responses is there, whatever
    else runs through them; a pair of a cycle is contradicted only by several others together.
    """
    arrows = [pair for pair in pairs if pair.is_arrow]
    if len(arrows) < 2:
        return Contradictions()
    component = _components(arrows)
    round_a_cycle = [one for one in arrows if component[one.loser] == component[one.winner]]
    drawn = {(one.loser, one.winner) for one in round_a_cycle}
    contradicted = {one.pair for one in round_a_cycle if (one.winner, one.loser) in drawn}
    return Contradictions(
        frozenset(contradicted),
        frozenset(one.pair for one in round_a_cycle) - contradicted,
    )


def shortest_cycle(pairs: Iterable[Judged], pair: int) -> list[int]:
    """A shortest cycle through a pair of the prompt: the pairs' numbers in the order in which the
    winner of one is the loser of the next, `pair` first. Empty where nothing contradicts it.

    Of equally short cycles, the one whose pairs come first.
    """
    arrows = [one for one in pairs if one.is_arrow]
    start = next((one for one in arrows if one.pair == pair), None)
    if start is None:
        return []
    return _way(_outgoing(arrows), start.winner, start.loser, begun_by=pair)


def _way(
    outgoing: Mapping[str, Sequence[Judged]], source: str, target: str, *, begun_by: int
) -> list[int]:
    """The arrows of a shortest way, after the one that led to its source."""
    came_by: dict[str, Judged | None] = {source: None}
    waiting = deque([source])
    while waiting and target not in came_by:
        for arrow in outgoing.get(waiting.popleft(), ()):
            if arrow.winner not in came_by:
                came_by[arrow.winner] = arrow
                waiting.append(arrow.winner)
    if target not in came_by:
        return []
    way: list[int] = []
    arrow_back = came_by[target]
    while arrow_back is not None:
        way.append(arrow_back.pair)
        arrow_back = came_by[arrow_back.loser]
    return [begun_by, *reversed(way)]


def _outgoing(arrows: Iterable[Judged]) -> dict[str, list[Judged]]:
    outgoing: dict[str, list[Judged]] = {}
    for arrow in arrows:
        outgoing.setdefault(arrow.loser, []).append(arrow)
    return outgoing


def _components(arrows: Sequence[Judged]) -> dict[str, int]:
    """The strongly connected component of each response: Tarjan's algorithm, with a stack of its
    own, since a prompt may have more responses than Python has recursion."""
    outgoing = _outgoing(arrows)
    order: dict[str, int] = {}  # in which points are come upon
    lowest: dict[str, int] = {}  # the earliest open point that a point leads back to
    component: dict[str, int] = {}
    open_points: list[str] = []
    for root in outgoing:
        if root in order:
            continue
        path = [(root, iter(outgoing[root]))]
        order[root] = lowest[root] = len(order)
        open_points.append(root)
        while path:
            point, ways = path[-1]
            arrow = next(ways, None)
            if arrow is None:
                path.pop()
                if path:
                    before = path[-1][0]
                    lowest[before] = min(lowest[before], lowest[point])
                if lowest[point] == order[point]:
                    _close(open_points, component, until=point)
            elif arrow.winner not in order:
                point = arrow.winner
                order[point] = lowest[point] = len(order)
                open_points.append(point)
                path.append((point, iter(outgoing.get(point, ()))))
            elif arrow.winner not in component:
                lowest[point] = min(lowest[point], order[arrow.winner])
    return component


def _close(open_points: list[str], component: dict[str, int], *, until: str) -> None:
    """Everything opened since `until`, and itself, is one component."""
    number = len(component)  # of no earlier one, since each has closed a point
    while True:
        point = open_points.pop()
        component[point] = number
        if point == until:
            return
