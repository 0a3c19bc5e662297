"""Batches by length: every text once, never more padded tokens than the budget allows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.engine.batching import by_length

lengths_of_texts = st.lists(st.integers(0, 600), max_size=80)
budgets = st.integers(1, 5000)


def batches(lengths: list[int], budget: int) -> list[list[int]]:
    found = by_length(np.array(lengths, dtype=np.int64), token_budget=budget)
    return [batch.tolist() for batch in found]


@given(lengths_of_texts, budgets)
def test_every_text_comes_exactly_once(lengths: list[int], budget: int) -> None:
    indices = [index for batch in batches(lengths, budget) for index in batch]
    assert sorted(indices) == list(range(len(lengths)))


@given(lengths_of_texts, budgets)
def test_a_padded_batch_keeps_the_budget_or_is_one_text(lengths: list[int], budget: int) -> None:
    for batch in batches(lengths, budget):
        assert batch
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@given(lengths_of_texts, budgets)
def test_the_longest_texts_come_first(lengths: list[int], budget: int) -> None:
    ordered = [lengths[index] for batch in batches(lengths, budget) for index in batch]
    assert ordered == sorted(lengths, reverse=True)


@given(lengths_of_texts, budgets)
def test_the_same_lengths_give_the_same_batches(lengths: list[int], budget: int) -> None:
    assert batches(lengths, budget) == batches(list(lengths), budget)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([100], [[0]]),
        ([2, 5, 2, 5], [[1, 3], [0, 2]]),
        ([3, 3, 3, 3], [[0, 1, 2], [3]]),
        ([0, 0, 0], [[0, 1, 2]]),
    ],
)
def test_texts_of_like_length_go_together(lengths: list[int], expected: list[list[int]]) -> None:
    assert batches(lengths, 10) == expected
