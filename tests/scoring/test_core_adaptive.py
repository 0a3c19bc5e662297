"""Adaptive ensembles: pairs far from the cut are asked about less, and the rest is as it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.core import adaptive, strength
from scoring.core.flags import FLIPPED, FlagRule, PercentileRule
from scoring.core.judging import Judged, judge

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Rule = FlagRule | PercentileRule

runs_are_slow = settings(max_examples=30)

ALWAYS_TRUSTED = FlagRule(trusted_accuracy=0.0)

rules = st.sampled_from([FlagRule(), ALWAYS_TRUSTED, PercentileRule()])
finite_z = st.floats(0.0, 6.0)


@dataclass(frozen=True)
class Full:
    """What a full ensemble says."""

    margins: Floats
    splits: Sequence[int]

    @property
    def askable(self) -> Booleans:
        return np.isfinite(self.margins)

    @property
    def waves(self) -> list[list[int]]:
        return adaptive.waves(self.splits)

    def after(self, waves: int) -> Floats:
        """The margins when so many waves were asked about every pair."""
        known = np.zeros(self.margins.shape[1], dtype=np.bool_)
        known[[member for wave in self.waves[:waves] for member in wave]] = True
        return np.where(known[None, :], self.margins, np.nan)

    def asked_adaptively(self, rule: Rule, *, z: float = adaptive.Z) -> Floats:
        """The margins of an adaptive run."""
        margins = np.full_like(self.margins, np.nan)
        for number in range(len(self.waves)):
            asked = adaptive.to_ask(
                margins, self.askable, rule, waves=self.waves, number=number, z=z
            )
            margins[asked] = self.margins[asked]
        return margins

    def scales_of(self, margins: Floats) -> Floats:
        return adaptive.scales_of_adaptive(margins, self.askable, self.waves)

    def expected_of(self, margins: Floats) -> Floats:
        return adaptive.expected_strengths(margins, self.askable, self.waves)

    def judged(self, margins: Floats, rule: Rule) -> Judged:
        """The verdict on an adaptive run."""
        return judge(
            margins, rule, scales=self.scales_of(margins), expected=self.expected_of(margins)
        )

    def settled(self, margins: Floats, rule: Rule, *, z: float = adaptive.Z) -> Booleans:
        return adaptive.settled(margins, self.askable, rule, waves=self.waves, z=z)


def some_ensemble(
    seed: int,
    *,
    pairs: int = 60,
    couples: int = 4,
    shares_out: bool = True,
    agreement: float = 0.8,
    loudness: float = 0.5,
) -> Full:
    """Members that see each pair's value through noise of their own, each as loud as it likes."""
    generator = np.random.default_rng(seed)
    members = 2 * couples
    values = generator.normal(0.4, 0.9, size=(pairs, 1))
    noise = generator.normal(size=(pairs, members))
    margins = np.sqrt(agreement) * values + np.sqrt(1.0 - agreement) * noise
    margins *= np.exp(generator.normal(0.0, loudness, size=members))
    if not shares_out:
        return Full(margins, range(members))
    first_half = generator.random((pairs, couples)) < 0.5
    asked = np.stack([first_half, ~first_half], axis=2).reshape(pairs, members)
    return Full(np.where(asked, margins, np.nan), [member // 2 for member in range(members)])


@st.composite
def ensembles(draw: Any, *, least_couples: int = 2) -> Full:
    return some_ensemble(
        draw(st.integers(0, 10_000)),
        pairs=draw(st.integers(20, 60)),
        couples=draw(st.integers(least_couples, 4)),
        shares_out=draw(st.booleans()),
        agreement=draw(st.floats(0.3, 0.99)),
    )


def flipped(judged: Judged) -> Booleans:
    return np.asarray(judged.flagging.flags == FLIPPED)


def test_couples_share_a_wave_and_the_first_wave_holds_two() -> None:
    assert adaptive.waves([0, 0, 1, 1, 2, 2, 3, 3]) == [[0, 1, 2, 3], [4, 5], [6, 7]]


def test_members_that_are_asked_of_all_pairs_come_one_by_one_after_the_first_two() -> None:
    assert adaptive.waves(range(5)) == [[0, 1], [2], [3], [4]]


@pytest.mark.parametrize("members", [1, 2])
def test_an_ensemble_too_small_to_save_anything_is_one_wave(members: int) -> None:
    assert adaptive.waves(range(members)) == [list(range(members))]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_every_member_is_in_one_wave(splits: list[int]) -> None:
    waves = adaptive.waves(splits)
    assert sorted(member for wave in waves for member in wave) == list(range(len(splits)))
    assert [len({splits[member] for member in wave}) for wave in waves[1:]] == [1] * len(waves[1:])


@given(ensembles())
def test_the_first_wave_gives_two_margins_and_each_further_one_gives_one(full: Full) -> None:
    asked = [np.isfinite(full.after(number)).sum(axis=1) for number in range(len(full.waves) + 1)]
    np.testing.assert_array_equal(asked[1], 2)
    for before, after in pairwise(asked[1:]):
        np.testing.assert_array_equal(after - before, 1)


@runs_are_slow
@given(ensembles(), rules)
def test_without_a_bound_nobody_settles_and_all_is_as_in_the_full_ensemble(
    full: Full, rule: Rule
) -> None:
    for number in range(1, len(full.waves)):
        assert not full.settled(full.after(number), rule, z=np.inf).any()
    margins = full.asked_adaptively(rule, z=np.inf)
    np.testing.assert_array_equal(margins, full.margins)
    ours, theirs = full.judged(margins, rule), judge(full.margins, rule)
    np.testing.assert_array_equal(ours.strengths, theirs.strengths)
    np.testing.assert_array_equal(ours.flagging.flags, theirs.flagging.flags)


@given(ensembles())
def test_the_scales_of_a_run_that_left_nobody_out_are_the_members_own(full: Full) -> None:
    expected = strength.member_scales(full.margins)
    np.testing.assert_array_equal(full.scales_of(full.margins), expected)


@runs_are_slow
@given(ensembles(), rules, finite_z)
def test_members_that_agree_settle_everything_in_the_first_wave(
    full: Full, rule: Rule, z: float
) -> None:
    first = np.where(full.askable, full.margins, 0.0).sum(axis=1, keepdims=True).round(3)
    same = Full(np.repeat(first, 6, axis=1), range(6))
    margins = same.asked_adaptively(rule, z=z)
    np.testing.assert_array_equal(np.isfinite(margins).sum(axis=1), 2)
    ours, theirs = same.judged(margins, rule), judge(same.margins, rule)
    np.testing.assert_allclose(ours.strengths, theirs.strengths, atol=1e-9)
    saved = adaptive.savings(margins, same.askable)
    assert saved.share_saved == pytest.approx(2 / 3)


@given(ensembles())
def test_what_is_expected_of_a_run_that_left_nobody_out_is_what_it_says(full: Full) -> None:
    standard = strength.standardise(full.margins, strength.member_scales(full.margins))
    expected = strength.preference_strength(standard)
    np.testing.assert_array_equal(full.expected_of(full.margins), expected)


@given(ensembles(), rules, finite_z)
def test_all_are_settled_when_nobody_is_left_to_ask(full: Full, rule: Rule, z: float) -> None:
    assert full.settled(full.margins, rule, z=z).all()


@given(ensembles(), rules, finite_z, finite_z)
def test_whoever_settles_at_a_wide_bound_settles_at_a_narrow_one(
    full: Full, rule: Rule, one: float, other: float
) -> None:
    narrow, wide = sorted([one, other])
    margins = full.after(1)
    assert not (full.settled(margins, rule, z=wide) & ~full.settled(margins, rule, z=narrow)).any()


@given(ensembles(least_couples=3), rules)
def test_the_more_members_are_to_come_the_fewer_pairs_are_settled(full: Full, rule: Rule) -> None:
    short = full.waves[:-1]
    kept = [member for wave in short for member in wave]
    smaller = Full(full.margins[:, kept], [full.splits[member] for member in kept])
    now = smaller.settled(smaller.after(1), rule)
    assert not (full.settled(full.after(1), rule) & ~now).any()


@runs_are_slow
@given(ensembles(), rules, finite_z)
def test_settled_pairs_are_those_far_from_the_cut(full: Full, rule: Rule, z: float) -> None:
    """After the first wave all pairs have equally many margins, so that a pair which is farther
    from the cut and less divided than a settled one is settled."""
    margins = full.after(1)
    scales = full.scales_of(margins)
    judged = judge(margins, rule, scales=scales)
    if len(full.waves) == 1 or not np.isfinite(judged.flagging.cut):
        return
    distance = np.abs(judged.strengths - judged.flagging.cut)
    spread = strength.spread(strength.standardise(margins, scales))
    is_settled = full.settled(margins, rule, z=z)
    for pair in np.flatnonzero(is_settled):
        assert is_settled[(distance >= distance[pair]) & (spread <= spread[pair])].all()


@runs_are_slow
@given(ensembles(), rules, st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter(full: Full, rule: Rule, random: Any) -> None:
    order = list(range(len(full.margins)))
    random.shuffle(order)
    shuffled = Full(full.margins[order], full.splits)
    found, expected = shuffled.asked_adaptively(rule), full.asked_adaptively(rule)[order]
    # a pair on the very edge may fall either way by a last digit
    assert (np.isfinite(found) != np.isfinite(expected)).any(axis=1).sum() <= 1


@runs_are_slow
@given(ensembles(), rules, st.integers(0, 7), st.floats(0.01, 100.0))
def test_how_loud_a_member_speaks_does_not_matter(
    full: Full, rule: Rule, member: int, factor: float
) -> None:
    louder = full.margins.copy()
    louder[:, member % louder.shape[1]] *= factor
    found = Full(louder, full.splits).asked_adaptively(rule)
    differing = np.isfinite(found) != np.isfinite(full.asked_adaptively(rule))
    assert differing.any(axis=1).sum() <= 1


@runs_are_slow
@given(ensembles(), rules)
def test_exchanging_the_responses_of_all_pairs_keeps_the_scales(full: Full, rule: Rule) -> None:
    margins = full.asked_adaptively(rule)
    exchanged = Full(-full.margins, full.splits)
    np.testing.assert_allclose(
        exchanged.scales_of(-margins), full.scales_of(margins), rtol=1e-9, atol=1e-12
    )


@runs_are_slow
@given(ensembles(), rules)
def test_who_has_a_margin_is_not_asked_again_and_nobody_else_than_the_full_ensembles(
    full: Full, rule: Rule
) -> None:
    margins = full.after(1)
    for number in range(len(full.waves)):
        asked = adaptive.to_ask(margins, full.askable, rule, waves=full.waves, number=number)
        assert not (asked & np.isfinite(margins)).any()
        assert not (asked & ~full.askable).any()
        others = np.delete(asked, full.waves[number], axis=1)
        assert not others.any()


@pytest.mark.parametrize("shares_out", [True, False])
def test_later_scales_are_right_although_only_open_pairs_were_asked_about(
    shares_out: bool,
) -> None:
    full = some_ensemble(1, pairs=8000, couples=5, shares_out=shares_out)
    margins = full.asked_adaptively(FlagRule())
    later = [member for wave in full.waves[1:] for member in wave]
    true = strength.member_scales(full.margins)[later]
    naive = strength.member_scales(margins)[later]
    assert (np.abs(naive / true - 1.0) > 0.1).all()
    np.testing.assert_allclose(full.scales_of(margins)[later], true, rtol=0.08)


@pytest.mark.parametrize("shares_out", [True, False])
def test_the_calibration_is_the_full_ensembles(shares_out: bool) -> None:
    full = some_ensemble(6, pairs=8000, couples=5, shares_out=shares_out, agreement=0.6)
    margins = full.asked_adaptively(ALWAYS_TRUSTED)
    ours, theirs = full.judged(margins, ALWAYS_TRUSTED), judge(full.margins, ALWAYS_TRUSTED)
    naive = judge(margins, ALWAYS_TRUSTED, scales=full.scales_of(margins))
    assert ours.calibrated
    assert theirs.calibrated
    assert naive.calibrated
    assert ours.calibrated.slope == pytest.approx(theirs.calibrated.slope, rel=0.03)
    cut = theirs.flagging.cut
    assert abs(ours.flagging.cut - cut) < 0.5 * abs(naive.flagging.cut - cut)


@pytest.mark.parametrize("shares_out", [True, False])
def test_half_of_the_calls_keep_nearly_all_flags(shares_out: bool) -> None:
    full = some_ensemble(2, pairs=4000, couples=5, shares_out=shares_out, agreement=0.9)
    margins = full.asked_adaptively(FlagRule())
    ours = flipped(full.judged(margins, FlagRule()))
    theirs = flipped(judge(full.margins, FlagRule()))
    assert adaptive.savings(margins, full.askable).share_saved > 0.45
    assert (ours & theirs).sum() >= 0.98 * theirs.sum()
    assert (ours & ~theirs).sum() <= 0.02 * theirs.sum()


def test_a_member_that_was_not_asked_at_all_has_a_scale_of_one() -> None:
    full = some_ensemble(3, shares_out=False)
    np.testing.assert_array_equal(full.scales_of(full.after(1))[2:], 1.0)


def test_a_member_that_says_nothing_has_a_scale_of_one() -> None:
    full = some_ensemble(4, shares_out=False)
    margins = full.margins.copy()
    margins[:, 3] = np.where(np.arange(len(margins)) % 2, 0.0, np.nan)
    assert full.scales_of(margins)[3] == 1.0


def test_members_that_contradict_each_other_settle_nothing_near_the_cut() -> None:
    generator = np.random.default_rng(5)
    full = Full(generator.normal(size=(200, 8)), range(8))
    assert full.settled(full.after(1), PercentileRule()).mean() < 0.2


def test_savings_count_calls() -> None:
    margins = np.array([[1.0, 2.0, np.nan], [1.0, np.nan, np.nan]])
    found = adaptive.savings(margins, np.ones((2, 3), dtype=np.bool_))
    assert (found.calls, found.full_calls, found.pairs) == (3, 6, 2)
    assert (found.calls_per_pair, found.full_calls_per_pair) == (1.5, 3.0)
    assert found.share_saved == 0.5


def test_no_pairs_have_nothing_to_save() -> None:
    found = adaptive.savings(np.zeros((0, 4)), np.zeros((0, 4), dtype=np.bool_))
    assert (found.calls_per_pair, found.full_calls_per_pair) == (0.0, 0.0)
