"""Bags: each pair is out-of-bag for exactly half of the members, whatever else is trained on."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.core.bags import Bag, bags, half_of, in_bag

digests = st.lists(st.text(alphabet="0123456789abcdef", min_size=1, max_size=8), max_size=30)
even = st.integers(1, 8).map(lambda couples: 2 * couples)


def content_digests(count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]


@given(digests, even, st.integers(0, 1000))
def test_every_pair_is_out_of_bag_for_exactly_half_of_the_members(
    names: list[str], members: int, seed: int
) -> None:
    held = in_bag(names, bags(members, seed=seed))
    assert held.shape == (len(names), members)
    assert (held.sum(axis=1) == members // 2).all()


@given(digests, st.integers(0, 1000), st.randoms(use_true_random=False))
def test_a_pairs_bags_do_not_depend_on_the_other_pairs_or_their_order(
    names: list[str], seed: int, random: object
) -> None:
    own = bags(6, seed=seed)
    held = {name: row.tolist() for name, row in zip(names, in_bag(names, own), strict=True)}
    some = sorted(set(names), key=lambda name: half_of(name, seed=99, split=0))[::2]
    for name, row in zip(some, in_bag(some, own), strict=True):
        assert row.tolist() == held[name]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_a_prompt_group_stays_together(groups: list[int]) -> None:
    units = content_digests(5)
    held = in_bag([units[group] for group in groups], bags(4, seed=3, unit="prompt"))
    for group in set(groups):
        rows = held[np.array(groups) == group]
        assert (rows == rows[0]).all()


def test_the_two_members_of_a_couple_share_out_all_pairs() -> None:
    held = in_bag(content_digests(200), bags(6, seed=0))
    for first in (0, 2, 4):
        assert (held[:, first] != held[:, first + 1]).all()


def test_halves_are_about_halves_and_splits_are_unlike_each_other() -> None:
    held = in_bag(content_digests(4000), bags(6, seed=0))
    np.testing.assert_allclose(held.mean(axis=0), 0.5, atol=0.04)
    for one, other in [(0, 2), (0, 4), (2, 4)]:
        assert (held[:, one] == held[:, other]).mean() == pytest.approx(0.5, abs=0.04)


def test_another_seed_makes_other_halves() -> None:
    names = content_digests(200)
    differing = in_bag(names, bags(2, seed=0)) != in_bag(names, bags(2, seed=1))
    assert 0.3 < differing.mean() < 0.7


def test_halves_are_the_same_on_every_machine() -> None:
    assert [half_of(name, seed=0, split=1) for name in "abcdefgh"] == [0, 1, 1, 0, 0, 1, 1, 1]


def test_a_bag_survives_being_stored() -> None:
    bag = bags(4, seed=7, unit="prompt")[3]
    assert bag == Bag(seed=7, split=1, half=1, unit="prompt")
    assert Bag(**bag.as_dict()) == bag


@pytest.mark.parametrize("members", [-2, 0, 1, 3, 9])
def test_an_ensemble_that_cannot_be_coupled_is_refused(members: int) -> None:
    with pytest.raises(ValueError, match="even number of members"):
        bags(members, seed=0)
