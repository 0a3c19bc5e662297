"""Figures of agreement: equal to the krippendorff package's and to slow loops, blind to order and
side."""

import itertools
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import krippendorff
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.agreement import (
    NO_TWO,
    ONE_VALUE,
    VALUES,
    Agreement,
    Scale,
    agreement_with_others,
    alpha_of,
    kappa_matrix,
    krippendorff_alpha,
    observed_agreement,
    patterns_of,
)
from annotations.judgements import Judgements, Value
from tests.annotations import crowds

Floats = npt.NDArray[np.float64]

REAL = ("vicuna80", "pandalm", "llmfao", "tulu1_human")


def alpha(judgements: Judgements, scale: Scale = Scale.TIES, resamples: int = 20) -> Agreement:
    return krippendorff_alpha(
        judgements, scale, generator=np.random.default_rng(0), resamples=resamples
    )


def observed(judgements: Judgements, scale: Scale = Scale.TIES, resamples: int = 20) -> Agreement:
    return observed_agreement(
        judgements, scale, generator=np.random.default_rng(0), resamples=resamples
    )


def figure_of(found: Agreement) -> float:
    return np.nan if found.figure is None else found.figure.estimate


@st.composite
def judgements(draw: Any, *, most_units: int = 8, most_voters: int = 5) -> Judgements:
    """Few units and voters, so that values, ties and lone judgements all meet."""
    units, voters = draw(st.integers(1, most_units)), draw(st.integers(1, most_voters))
    cells = list(itertools.product(range(units), range(voters)))
    chosen = draw(st.lists(st.sampled_from(cells), unique=True))
    count = len(chosen)
    values = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    strengths = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    return Judgements.of(
        np.array([unit for unit, _ in chosen], dtype=np.int32),
        np.array([voter for _, voter in chosen], dtype=np.int32),
        np.array(values, dtype=np.int8),
        np.array(strengths, dtype=np.int8),
        unit_count=units,
        voter_count=voters,
    )


def step_of(value: int, strength: int) -> int:
    """Where a judgement lies from A by 3 to B by 3."""
    return {Value.A: -1, Value.B: 1, Value.TIE: 0}[Value(value)] * max(strength, 1)


def by_unit(of: Judgements, scale: Scale) -> list[list[int]]:
    """What the scale knows of each unit with two judgements or more."""
    said = defaultdict(list)
    for unit, value, strength in zip(of.units, of.values, of.strengths, strict=True):
        if value in VALUES[scale]:
            ordinal = scale is Scale.STRENGTH
            said[int(unit)].append(step_of(value, strength) if ordinal else int(value))
    return [values for values in said.values() if len(values) > 1]


def slow_alpha(of: Judgements, scale: Scale) -> float:
    """Krippendorff's definition, pair by pair."""
    units = by_unit(of, scale)
    totals = Counter(value for values in units for value in values)
    everything = [value for values in units for value in values]

    def distance(one: int, other: int) -> float:
        if scale is not Scale.STRENGTH:
            return float(one != other)
        low, high = sorted((one, other))
        between = sum(count for value, count in totals.items() if low <= value <= high)
        return (between - (totals[low] + totals[high]) / 2) ** 2 if low != high else 0.0

    seen = sum(
        distance(one, other) / (len(values) - 1)
        for values in units
        for one, other in itertools.permutations(values, 2)
    )
    chance = sum(distance(one, other) for one, other in itertools.permutations(everything, 2))
    return 1.0 - (len(everything) - 1) * seen / chance if chance else np.nan


@given(judgements(), st.sampled_from(Scale))
def test_alpha_is_krippendorffs_definition(of: Judgements, scale: Scale) -> None:
    assert figure_of(alpha(of, scale)) == pytest.approx(slow_alpha(of, scale), nan_ok=True)


@given(judgements(), st.sampled_from(Scale))
def test_observed_agreement_is_the_share_of_equal_pairs(of: Judgements, scale: Scale) -> None:
    pairs = [
        one == other
        for values in by_unit(of, scale)
        for one, other in itertools.combinations(values, 2)
    ]
    expected = np.mean(pairs) if pairs else np.nan
    assert figure_of(observed(of, scale)) == pytest.approx(expected, nan_ok=True)


def package_alpha(of: Judgements, scale: Scale) -> float:
    known = of.of_values(*VALUES[scale])
    if scale is not Scale.STRENGTH:
        domain = [int(value) for value in VALUES[scale]]
        found = krippendorff.alpha(
            crowds.matrix_of(known), value_domain=domain, level_of_measurement="nominal"
        )
        return float(found)
    steps = [step_of(*pair) for pair in zip(known.values, known.strengths, strict=True)]
    matrix = crowds.matrix_of(known, steps)
    domain = list(range(-3, 4))
    return float(krippendorff.alpha(matrix, value_domain=domain, level_of_measurement="ordinal"))


@pytest.mark.parametrize("scale", Scale)
@pytest.mark.parametrize("name", REAL)
def test_alpha_of_real_labels_is_the_krippendorff_packages(name: str, scale: Scale) -> None:
    if not crowds.is_there(name):
        pytest.skip(f"{name} is not in {crowds.PAIRS} (set CURATOR_BENCH_DATA)")
    kinds = ("human", "ai") if name in ("vicuna80", "pandalm") else ("human",)
    of = crowds.read(name, kinds)
    found = alpha(of, scale)
    assert figure_of(found) == pytest.approx(package_alpha(of, scale), abs=1e-12)
    assert found.figure is not None
    assert found.figure.low <= found.figure.estimate <= found.figure.high


@pytest.mark.parametrize("scale", Scale)
def test_alpha_of_a_made_up_crowd_is_the_krippendorff_packages(scale: Scale) -> None:
    generator = np.random.default_rng(1)
    accuracies = crowds.accuracies_of(12, spammers=2, generator=generator)
    of = crowds.made_up(generator, units=300, votes=4, accuracies=accuracies, ties=0.2).judgements
    assert figure_of(alpha(of, scale)) == pytest.approx(package_alpha(of, scale), abs=1e-12)


@given(judgements(), st.randoms(use_true_random=False), st.sampled_from(Scale))
def test_the_order_of_units_voters_and_judgements_does_not_matter(
    of: Judgements, random: Any, scale: Scale
) -> None:
    orders = [list(range(count)) for count in (of.unit_count, of.voter_count, len(of))]
    for order in orders:
        random.shuffle(order)
    units, voters, rows = (np.array(order, dtype=np.int64) for order in orders)
    other = Judgements.of(
        units[of.units][rows],
        voters[of.voters][rows],
        of.values[rows],
        of.strengths[rows],
        unit_count=of.unit_count,
        voter_count=of.voter_count,
    )
    for figure in (alpha, observed):
        expected = figure_of(figure(of, scale))
        assert figure_of(figure(other, scale)) == pytest.approx(expected, nan_ok=True)


@given(judgements(), st.sampled_from(Scale))
def test_exchanging_a_and_b_changes_no_agreement(of: Judgements, scale: Scale) -> None:
    for figure in (alpha, observed):
        expected = figure_of(figure(of, scale))
        assert figure_of(figure(of.swapped(), scale)) == pytest.approx(expected, nan_ok=True)
    np.testing.assert_allclose(kappa_matrix(of.swapped()).kappas, kappa_matrix(of).kappas)
    assert agreement_with_others(of.swapped()).shares == agreement_with_others(of).shares


@given(judgements(), st.sampled_from(Scale))
def test_each_unit_twice_leaves_the_coincidences_in_proportion(
    of: Judgements, scale: Scale
) -> None:
    """Alpha itself moves a little: its chance agreement is drawn without replacement."""
    once, twice = patterns_of(of, scale), patterns_of(doubled(of), scale)
    assert figure_of(observed(doubled(of), scale)) == pytest.approx(
        figure_of(observed(of, scale)), nan_ok=True
    )
    np.testing.assert_allclose(
        twice.units @ twice.coincidences(), 2 * (once.units @ once.coincidences())
    )


def doubled(of: Judgements) -> Judgements:
    return Judgements.of(
        np.concatenate([of.units, of.units + of.unit_count]),
        np.tile(of.voters, 2),
        np.tile(of.values, 2),
        np.tile(of.strengths, 2),
        unit_count=2 * of.unit_count,
        voter_count=of.voter_count,
    )


def together(rows: list[str]) -> Judgements:
    """A row for each unit, a letter for what each voter says; `-` for nothing."""
    cells = [
        (unit, voter, "ABTX".index(letter))
        for unit, row in enumerate(rows)
        for voter, letter in enumerate(row)
        if letter != "-"
    ]
    units, voters, values = zip(*cells, strict=True) if cells else ((), (), ())
    return Judgements.of(
        np.array(units, dtype=np.int32),
        np.array(voters, dtype=np.int32),
        np.array(values, dtype=np.int8),
        unit_count=len(rows),
        voter_count=max(map(len, rows)),
    )


def test_where_all_agree_agreement_is_one_and_certain() -> None:
    of = together(["AAA", "BB-", "-TT", "A--"])
    for found in (alpha(of), observed(of)):
        assert found.figure is not None
        assert (found.figure.low, found.figure.estimate, found.figure.high) == (1.0, 1.0, 1.0)
        assert (found.units, found.judgements, found.reason) == (3, 7, "")


@pytest.mark.parametrize("rows", [["A--", "-B-"], ["---"], ["X-A", "XBX"]])
def test_without_two_judgements_to_compare_there_is_no_agreement(rows: list[str]) -> None:
    for found in (alpha(together(rows)), observed(together(rows))):
        assert found == Agreement(None, 0, 0, NO_TWO)


def test_one_value_alone_says_nothing_beyond_chance() -> None:
    of = together(["AA-", "AAA", "B--"])
    assert alpha(of) == Agreement(None, 2, 5, ONE_VALUE)
    assert figure_of(observed(of)) == 1.0


def test_a_scale_leaves_out_the_values_that_it_does_not_know() -> None:
    of = together(["AAT", "BBX", "TTT", "XX-"])
    assert [alpha(of, scale).units for scale in Scale] == [3, 2, 4, 3]


def test_near_misses_count_less_on_the_scale_of_strengths() -> None:
    near, far = (
        Judgements.of(
            [0, 0, 1, 1, 2, 2, 3, 3],
            [0, 1] * 4,
            [0, other, 1, 1, 0, 0, 2, 2],
            [2, strength, 2, 2, 1, 1, 0, 0],
            unit_count=4,
            voter_count=2,
        )
        for other, strength in ((0, 3), (1, 3))
    )
    assert figure_of(alpha(near, Scale.STRENGTH)) > figure_of(alpha(far, Scale.STRENGTH))


def test_the_interval_holds_the_alpha_of_many_more_units_about_as_often_as_it_says() -> None:
    accuracies = np.full(10, 0.75)

    def crowd(seed: int, units: int) -> Judgements:
        generator = np.random.default_rng(seed)
        return crowds.made_up(generator, units=units, votes=3, accuracies=accuracies).judgements

    truth = figure_of(alpha(crowd(99, 200_000), resamples=1))
    held = 0
    for seed in range(60):
        found = alpha(crowd(seed, 150), resamples=400).figure
        assert found is not None
        held += found.low <= truth <= found.high
    assert held >= 52


def test_the_interval_is_that_of_resampling_units_one_by_one() -> None:
    generator = np.random.default_rng(5)
    of = crowds.made_up(
        generator, units=80, votes=3, accuracies=np.full(9, 0.7), ties=0.2
    ).judgements
    counts = of.votes()[:, :3].astype(np.float64)
    drawn = []
    for _ in range(2000):
        again = counts[generator.integers(0, len(counts), len(counts))]
        pairs = again[:, :, None] * again[:, None, :] - again[:, :, None] * np.eye(3)
        drawn.append(alpha_of((pairs / 2).sum(axis=0)[None], ordinal=False)[0])
    found = alpha(of, resamples=4000).figure
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)


def test_units_with_very_many_judgements_are_told_apart() -> None:
    """Their counts do not fit into one number, by which the others are grouped."""
    generator = np.random.default_rng(0)
    of = Judgements.of(
        np.repeat(np.arange(4), 700),
        np.tile(np.arange(700), 4),
        generator.integers(0, 3, 2800),
        generator.integers(0, 4, 2800),
        unit_count=4,
        voter_count=700,
    )
    expected = package_alpha(of, Scale.STRENGTH)
    assert figure_of(alpha(of, Scale.STRENGTH)) == pytest.approx(expected, abs=1e-12)


def slow_kappa(first: dict[int, int], second: dict[int, int]) -> float:
    common = sorted(first.keys() & second.keys())
    if not common:
        return np.nan
    agreed = np.mean([first[unit] == second[unit] for unit in common])
    shares = [Counter(says[unit] for unit in common) for says in (first, second)]
    chance = sum(shares[0][value] * shares[1][value] for value in Value) / len(common) ** 2
    return float((agreed - chance) / (1 - chance)) if chance < 1 else np.nan


@given(judgements())
def test_kappa_is_cohens_of_the_units_that_both_judged(of: Judgements) -> None:
    says: list[dict[int, int]] = [{} for _ in range(of.voter_count)]
    for unit, voter, value in zip(of.units, of.voters, of.values, strict=True):
        says[voter][int(unit)] = int(value)
    found = kappa_matrix(of)
    for i, j in itertools.product(range(of.voter_count), repeat=2):
        first, second = found.voters[i], found.voters[j]
        assert found.common[i, j] == len(says[first].keys() & says[second].keys())
        expected = slow_kappa(says[first], says[second]) if i != j else np.nan
        assert found.kappas[i, j] == pytest.approx(expected, nan_ok=True)


def test_kappas_of_the_busiest_are_those_of_all() -> None:
    of = crowds.crowd_of_the_method(0).judgements
    everyone, few = kappa_matrix(of), kappa_matrix(of, most=5)
    place = [everyone.voters.tolist().index(voter) for voter in few.voters]
    np.testing.assert_array_equal(few.voters, everyone.voters[:5])
    np.testing.assert_array_equal(few.kappas, everyone.kappas[np.ix_(place, place)])
    np.testing.assert_array_equal(few.common, everyone.common[np.ix_(place, place)])


@given(judgements())
def test_agreement_with_others_is_the_mean_share_of_others_who_say_the_same(
    of: Judgements,
) -> None:
    shares = defaultdict(list)
    for row in range(len(of)):
        others = (of.units == of.units[row]) & (np.arange(len(of)) != row)
        if others.any():
            same = of.values[others] == of.values[row]
            shares[int(of.voters[row])].append(float(same.mean()))
    found = agreement_with_others(of)
    for voter, share in enumerate(found.shares):
        assert found.counts[voter] == len(shares[voter])
        if share is None:
            assert not shares[voter]
        else:
            assert share.estimate == pytest.approx(np.mean(shares[voter]))
            assert 0.0 <= share.low <= share.estimate <= share.high <= 1.0


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Judgements.of([0, 1], [0], [0], unit_count=2, voter_count=1), "one length"),
        (lambda: Judgements.of([2], [0], [0], unit_count=2, voter_count=1), "units must lie"),
        (lambda: Judgements.of([0], [-1], [0], unit_count=2, voter_count=1), "voters must lie"),
        (lambda: Judgements.of([0], [0], [4], unit_count=2, voter_count=1), "values must lie"),
        (lambda: Judgements.of([0], [0], [256], unit_count=1, voter_count=1), "int8"),
        (lambda: Judgements.of([0], [0], [0], [4], unit_count=1, voter_count=1), "strengths must"),
        (
            lambda: Judgements.of([1, 0, 1], [2, 2, 2], [0, 0, 1], unit_count=2, voter_count=3),
            "Voter 2 judges unit 1 more than once",
        ),
    ],
)
def test_judgements_that_make_no_sense_are_refused(
    build: Callable[[], Judgements], sentence: str
) -> None:
    with warnings.catch_warnings(), pytest.raises(ValueError, match=sentence):
        build()


@given(judgements())
def test_what_is_chosen_of_judgements_keeps_its_indices(of: Judgements) -> None:
    sides = of.sides_only()
    kept = of.values <= Value.B
    np.testing.assert_array_equal(sides.units, of.units[kept])
    np.testing.assert_array_equal(sides.values, of.values[kept])
    assert (sides.unit_count, sides.voter_count) == (of.unit_count, of.voter_count)
    np.testing.assert_array_equal(of.swapped().swapped().values, of.values)
    np.testing.assert_array_equal(of.swapped().votes()[:, [1, 0, 2, 3]], of.votes())
    np.testing.assert_array_equal(of.votes().sum(axis=1), of.per_unit())
