"""Prefix trees: every text can be read back, nothing is there twice, and packs keep to their
budget."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scoring.engine.attention import CHUNK, Layout
from scoring.engine.prefix import (
    Indices,
    Pack,
    Tokens,
    Tree,
    common_prefix,
    packs,
    tokens_needed,
    tree_of,
)

# few kinds of token, so that texts often begin alike; some as large as vocabularies are
TEXTS = st.lists(st.sampled_from([0, 1, 2, 200_000]), min_size=1, max_size=8)
GROUPS = st.lists(TEXTS, min_size=1, max_size=6)
Group = list[list[int]]


def tree(texts: Group) -> Tree:
    return tree_of([np.array(text, dtype=np.int64) for text in texts])


def pack(groups: list[Group]) -> Pack:
    return Pack(tuple(tree(texts) for texts in groups))


def ancestors(ends: Indices, i: int) -> Indices:
    """The tokens that token i may see: `j <= i < ends[j]`."""
    before = np.arange(i + 1)
    return before[ends[before] > i]


def prefixes(texts: Group) -> set[tuple[int, ...]]:
    return {tuple(text[:length]) for text in texts for length in range(1, len(text) + 1)}


@given(GROUPS)
def test_every_text_can_be_read_back(texts: Group) -> None:
    found = tree(texts)
    for text, leaf in zip(texts, found.leaves, strict=True):
        seen = ancestors(found.ends, int(leaf))
        assert found.tokens[seen].tolist() == text
        assert found.positions[seen].tolist() == list(range(len(text)))


@given(GROUPS)
def test_a_tree_holds_each_prefix_once(texts: Group) -> None:
    found = tree(texts)
    assert len(found) == len(prefixes(texts))
    read = {tuple(found.tokens[ancestors(found.ends, i)].tolist()) for i in range(len(found))}
    assert read == prefixes(texts)


@given(GROUPS)
def test_descendants_follow_their_ancestor(texts: Group) -> None:
    """Without a gap: what makes an `end` enough."""
    found = tree(texts)
    for i in range(len(found)):
        depths = found.positions[i + 1 : found.ends[i]]
        assert (depths > found.positions[i]).all()
        if found.ends[i] < len(found):
            assert found.positions[found.ends[i]] <= found.positions[i]


@given(GROUPS, st.randoms(use_true_random=False))
def test_the_order_of_texts_changes_their_leaves_only(texts: Group, rng: Any) -> None:
    order = list(range(len(texts)))
    rng.shuffle(order)
    one, other = tree(texts), tree([texts[i] for i in order])
    for name in ("tokens", "positions", "ends"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.leaves[order], other.leaves)


@given(TEXTS, TEXTS)
def test_a_common_prefix_is_common_and_no_longer_one_is(one: list[int], other: list[int]) -> None:
    shared = common_prefix(np.array(one), np.array(other))
    assert one[:shared] == other[:shared]
    assert shared in (len(one), len(other)) or one[shared] != other[shared]


@given(st.lists(GROUPS, min_size=0, max_size=4))
def test_a_perfect_scorer_reads_each_prefix_of_a_group_once(groups: list[Group]) -> None:
    given_: list[list[Tokens]] = [[np.array(text) for text in texts] for texts in groups]
    assert tokens_needed([*given_, []]) == sum(len(prefixes(texts)) for texts in groups)


@given(st.lists(GROUPS, min_size=1, max_size=4))
def test_trees_of_a_pack_do_not_see_each_other(groups: list[Group]) -> None:
    found = pack(groups)
    texts = [text for group in groups for text in group]
    assert len(found.tokens) == sum(len(each) for each in found.trees)
    for text, leaf in zip(texts, found.leaves, strict=True):
        seen = ancestors(found.ends, int(leaf))
        assert found.tokens[seen].tolist() == text
        assert found.positions[seen].tolist() == list(range(len(text)))


@given(st.lists(GROUPS, min_size=1, max_size=3), st.sampled_from([None, 1, 3]), st.booleans())
def test_masks_say_what_the_tree_says(
    groups: list[Group], window: int | None, only_scored: bool
) -> None:
    """For all tokens and for scored ones; a window counts positions in a text."""
    found = pack(groups)
    layout = Layout.of(found, torch.device("cpu"), torch.float32)
    layout = layout.of_scored() if only_scored else layout
    expected = np.zeros((len(layout.queries), len(found.tokens)), dtype=bool)
    for row, query in enumerate(layout.queries.tolist()):
        seen = ancestors(found.ends, query)
        near = found.positions[query] - found.positions[seen] < (window or len(found.tokens))
        expected[row, seen[near]] = True
    by_parts = np.zeros_like(expected)
    for (asking, keys), bias in zip(layout.parts, layout.biases(window), strict=True):
        by_parts[asking, keys] |= (bias == 0).numpy()
    np.testing.assert_array_equal(by_parts, expected)


def test_long_trees_are_asked_in_parts() -> None:
    lengths = [3, 2 * CHUNK + 5, CHUNK]
    found = Pack(tuple(tree([list(range(length))]) for length in lengths))
    layout = Layout.of(found, torch.device("cpu"), torch.float32)
    asked = [(part.stop - part.start) for part, _ in layout.parts]
    assert asked == [3, CHUNK, CHUNK, 5, CHUNK]
    assert sum((keys.stop - keys.start) for _, keys in layout.parts) == 3 + 128 + 256 + 261 + 128


SIZES = st.lists(st.integers(1, 30), max_size=20)


@given(SIZES, st.integers(1, 40), st.booleans(), st.booleans())
def test_packs_hold_everything_once_and_keep_to_their_budget(
    sizes: list[int], budget: int, padded: bool, in_order: bool
) -> None:
    found = list(packs(sizes, token_budget=budget, padded=padded, in_order=in_order))
    assert sorted(i for some in found for i in some) == list(range(len(sizes)))
    for some in found:
        own = [sizes[i] for i in some]
        held = len(own) * max(own) if padded else sum(own)
        assert held <= budget or len(some) == 1


@given(SIZES, st.integers(1, 40), st.booleans())
def test_the_largest_goes_first_unless_order_is_to_be_kept(
    sizes: list[int], budget: int, padded: bool
) -> None:
    by_size = [i for some in packs(sizes, token_budget=budget, padded=padded) for i in some]
    assert [sizes[i] for i in by_size] == sorted(sizes, reverse=True)
    kept = packs(sizes, token_budget=budget, padded=padded, in_order=True)
    assert [i for some in kept for i in some] == list(range(len(sizes)))


@pytest.mark.parametrize("in_order", [False, True])
def test_packs_are_filled(in_order: bool) -> None:
    """No pack could take the next one's first."""
    sizes = np.random.default_rng(0).integers(1, 50, size=200).tolist()
    found = list(packs(sizes, token_budget=100, in_order=in_order))
    for some, following in pairwise(found):
        assert sum(sizes[i] for i in some) + sizes[following[0]] > 100


def test_sorting_saves_padding() -> None:
    sizes: list[int] = np.random.default_rng(0).integers(1, 50, size=200).tolist()

    def padding(in_order: bool) -> int:
        found = packs(sizes, token_budget=200, padded=True, in_order=in_order)
        return sum(len(some) * max(sizes[i] for i in some) for some in found) - sum(sizes)

    assert padding(in_order=False) < padding(in_order=True) / 4
