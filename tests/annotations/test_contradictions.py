"""Labels that follow any order contradict nothing; whatever goes round is found, with evidence."""

from itertools import pairwise, permutations

from hypothesis import given
from hypothesis import strategies as st

from annotations.contradictions import (
    Contradictions,
    Judged,
    among,
    digest,
    normalised,
    shortest_cycle,
)
from annotations.formats.parsed import Side

RESPONSES = "tuvwxy"
SIDES: list[Side] = ["a", "b", "tie", ""]
ENDS = st.tuples(st.sampled_from(RESPONSES), st.sampled_from(RESPONSES), st.sampled_from(SIDES))
GROUPS = st.lists(ENDS, max_size=10).map(
    lambda ends: [Judged(number, a, b, side) for number, (a, b, side) in enumerate(ends)]
)


def beats(pair: int, winner: str, loser: str) -> Judged:
    return Judged(pair, winner, loser, "a")


def is_cycle(by_number: dict[int, Judged], numbers: list[int]) -> bool:
    arrows = [by_number[number] for number in numbers]
    turns = pairwise([*arrows, arrows[0]])
    return all(one.winner == following.loser for one, following in turns)


def shortest_by_trying(pairs: list[Judged], number: int) -> int:
    """Length of a shortest cycle through a pair, or 0: every row of pairs is tried."""
    arrows = {
        pair.pair: pair for pair in pairs if pair.preferred in ("a", "b") and pair.a != pair.b
    }
    if number not in arrows:
        return 0
    others = [other for other in arrows if other != number]
    for length in range(1, min(len(others), len(RESPONSES) - 1) + 1):
        for row in permutations(others, length):
            if is_cycle(arrows, [number, *row]):
                return length + 1
    return 0


def test_the_same_responses_with_opposite_labels_are_contradicted() -> None:
    pairs = [beats(1, "x", "y"), Judged(2, "x", "y", "b"), beats(3, "x", "z")]
    assert among(pairs) == Contradictions(contradicted=frozenset({1, 2}))
    assert shortest_cycle(pairs, 1) == [1, 2]
    assert shortest_cycle(pairs, 3) == []


def test_which_response_stands_first_does_not_matter() -> None:
    same_label = [Judged(1, "x", "y", "a"), Judged(2, "y", "x", "b")]
    assert among(same_label) == Contradictions()


def test_a_circle_of_three_is_a_cycle_in_the_order_of_its_labels() -> None:
    pairs = [beats(1, "x", "y"), beats(2, "y", "z"), beats(3, "z", "x"), beats(4, "z", "w")]
    assert among(pairs) == Contradictions(cycle=frozenset({1, 2, 3}))
    assert shortest_cycle(pairs, 1) == [1, 3, 2]  # y < x, x < z, z < y


def test_a_direct_contradiction_within_a_circle_is_called_one() -> None:
    pairs = [beats(1, "x", "y"), beats(2, "y", "z"), beats(3, "z", "x"), beats(4, "y", "x")]
    assert among(pairs) == Contradictions(frozenset({1, 4}), frozenset({2, 3}))
    assert shortest_cycle(pairs, 1) == [1, 4]


def test_two_contradictions_that_share_a_response_are_no_circle() -> None:
    pairs = [beats(1, "x", "y"), beats(2, "y", "x"), beats(3, "y", "z"), beats(4, "z", "y")]
    assert among(pairs) == Contradictions(contradicted=frozenset({1, 2, 3, 4}))


def test_ties_missing_labels_and_copies_contradict_nothing() -> None:
    pairs = [
        beats(1, "x", "y"),
        Judged(2, "y", "x", "tie"),
        Judged(3, "y", "x", ""),
        Judged(4, "x", "x", "a"),
    ]
    assert among(pairs) == Contradictions()
    assert [shortest_cycle(pairs, number) for number in (2, 3, 4, 99)] == [[], [], [], []]


@given(st.permutations(RESPONSES), GROUPS)
def test_labels_that_follow_an_order_contradict_nothing(
    order: list[str], pairs: list[Judged]
) -> None:
    def following(pair: Judged) -> Judged:
        side: Side = "a" if order.index(pair.a) < order.index(pair.b) else "b"
        return Judged(pair.pair, pair.a, pair.b, side)

    assert among(map(following, pairs)) == Contradictions()


@given(st.permutations(RESPONSES), st.data())
def test_a_label_against_a_chain_lies_on_a_cycle(order: list[str], data: st.DataObject) -> None:
    chain = [beats(number, *ends) for number, ends in enumerate(pairwise(order))]
    best, worst = sorted(data.draw(st.sets(st.sampled_from(range(6)), min_size=2, max_size=2)))
    pairs = [*chain, beats(99, order[worst], order[best])]
    found = among(pairs)
    between = frozenset({99, *range(best, worst)})
    assert found.contradicted | found.cycle == between
    assert (99 in found.contradicted) == (worst == best + 1)
    assert set(shortest_cycle(pairs, 99)) == between


@given(GROUPS)
def test_every_answer_is_that_of_trying_all_cycles(pairs: list[Judged]) -> None:
    found, by_number = among(pairs), {pair.pair: pair for pair in pairs}
    for pair in pairs:
        length = shortest_by_trying(pairs, pair.pair)
        assert (pair.pair in found.contradicted) == (length == 2)
        assert (pair.pair in found.cycle) == (length > 2)
        cycle = shortest_cycle(pairs, pair.pair)
        assert len(cycle) == length
        assert not cycle or (cycle[0] == pair.pair and is_cycle(by_number, cycle))


@given(GROUPS)
def test_the_order_of_the_pairs_does_not_matter(pairs: list[Judged]) -> None:
    assert among(reversed(pairs)) == among(pairs)


def test_a_circle_longer_than_pythons_recursion_is_found() -> None:
    names = [str(number) for number in range(50_000)]
    chain = [beats(number, *ends) for number, ends in enumerate(pairwise(names))]
    assert among(chain) == Contradictions()
    around = [*chain, beats(50_000, names[-1], names[0])]
    assert len(among(around).cycle) == 50_000
    assert len(shortest_cycle(around, 17)) == 50_000


def test_copies_that_differ_in_case_and_white_space_are_one_response() -> None:
    first, second = ([{"role": "assistant", "content": text}] for text in ("Ja,  so!", "ja, SO!\n"))
    assert digest(first) == digest(second)
    assert digest([{"role": "assistant", "content": "Ja so"}]) != digest(first)


@given(st.text())
def test_what_is_normalised_stays(text: str) -> None:
    assert " ".join(normalised(text).split()) == normalised(text)
