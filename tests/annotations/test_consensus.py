"""Consensus: published estimates found again, blind to which response is called A, and better than
counting votes."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from cleanlab.multiannotator import get_label_quality_multiannotator
from hypothesis import given
from hypothesis import strategies as st

from annotations import consensus
from annotations.consensus import (
    EQUAL,
    NO_VALUE,
    UNSMOOTHED,
    DawidSkene,
    Errors,
    Outcomes,
    Smoothing,
    dawid_skene,
    majority,
    voter_accuracy,
    with_ensemble,
)
from annotations.judgements import SWAPPED, Judgements, Value
from tests.annotations import crowds
from tests.annotations.test_agreement import judgements, together

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SEEDS = range(4)
SWAPPED_COLUMNS = [1, 0, 2, 3]

# Dawid and Skene 1979, table 1: 45 patients, by row what the first anaesthetist said at three
# times, then what the other four said once, of fitness for anaesthesia from 1 to 4.
ANAESTHETISTS = """
111 1 1 1 1|333 4 3 3 4|112 2 1 2 2|222 3 1 2 1|222 3 2 2 2|222 3 3 2 2|122 2 1 1 1|333 3 4 3 3|
222 2 2 2 3|232 2 2 2 3|444 4 4 4 4|222 3 3 4 3|111 1 1 1 1|222 3 2 1 2|121 1 1 1 1|111 2 1 1 1|
111 1 1 1 1|111 1 1 1 1|222 2 2 2 1|222 1 3 2 2|222 2 2 2 2|222 2 2 2 1|222 3 2 2 2|221 2 2 2 2|
111 1 1 1 1|111 1 1 1 1|232 2 2 2 2|111 1 1 1 1|111 1 1 1 1|112 1 1 2 1|111 1 1 1 1|333 3 2 3 3|
111 1 1 1 1|222 2 2 2 2|222 3 2 3 2|433 4 3 4 3|221 2 2 3 2|232 3 2 3 3|333 3 4 3 2|111 1 1 1 1|
111 1 1 1 1|121 2 1 1 1|232 2 2 2 2|121 1 1 1 1|222 2 2 2 2
"""


def anaesthetists() -> tuple[Ints, Ints, Ints]:
    """Patients, anaesthetists and grades from 0, (315,) each."""
    rows = ANAESTHETISTS.replace("\n", "").split("|")
    said = [
        (patient, voter, int(grade) - 1)
        for patient, row in enumerate(rows)
        for voter, grades in enumerate(row.split())
        for grade in grades
    ]
    patients, voters, grades = np.array(said).T
    return patients, voters, grades


def fitted(*, errors: Errors = Errors.FREE, smoothing: Smoothing = UNSMOOTHED) -> consensus.Model:
    units, voters, values = anaesthetists()
    return consensus.fit(
        units,
        voters,
        values,
        unit_count=45,
        voter_count=5,
        value_count=4,
        errors=errors,
        smoothing=smoothing,
        tolerance=1e-9,
    )


def test_the_published_class_frequencies_of_the_anaesthetists_data_are_found() -> None:
    assert fitted().prior == pytest.approx([0.40, 0.42, 0.11, 0.07], abs=0.006)


def test_the_published_error_rates_of_the_first_anaesthetist_are_found() -> None:
    published = [
        [0.89, 0.11, 0.00, 0.00],
        [0.07, 0.88, 0.05, 0.00],
        [0.00, 0.34, 0.66, 0.00],
        [0.00, 0.00, 0.56, 0.44],
    ]
    assert fitted().confusion[0] == pytest.approx(np.array(published), abs=0.006)


def test_em_is_that_of_loops_over_patients() -> None:
    """The paper's equations 2.3 to 2.5, written out, for as many steps."""
    units, voters, values = anaesthetists()
    counts = np.zeros((45, 5, 4))
    np.add.at(counts, (units, voters, values), 1)
    posterior = counts.sum(axis=1) / counts.sum(axis=(1, 2))[:, None]
    model = fitted()
    for _ in range(model.iterations):
        prior = posterior.mean(axis=0)
        rates = np.einsum("uk,uvl->vkl", posterior, counts)
        rates /= rates.sum(axis=2, keepdims=True)
        for patient, kind in itertools.product(range(45), range(4)):
            likelihood = np.prod(rates[:, kind, :] ** counts[patient])
            posterior[patient, kind] = prior[kind] * likelihood
        posterior /= posterior.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.posterior, posterior, atol=1e-9)
    np.testing.assert_allclose(model.confusion, rates, atol=1e-9)


@pytest.mark.parametrize("errors", Errors)
@pytest.mark.parametrize("smoothing", [UNSMOOTHED, Smoothing(), Smoothing(0.5, 3.0, 0.0)])
def test_each_iteration_explains_the_judgements_better(
    errors: Errors, smoothing: Smoothing
) -> None:
    model = fitted(errors=errors, smoothing=smoothing)
    assert model.has_converged
    assert (np.diff(model.objectives) >= -1e-9).all()
    if smoothing == UNSMOOTHED:
        assert model.objectives[-1] == pytest.approx(model.log_likelihood)


@given(judgements(), st.sampled_from(Errors))
def test_probabilities_are_probabilities_whatever_is_said(of: Judgements, errors: Errors) -> None:
    found = dawid_skene(of, errors=errors)
    np.testing.assert_allclose(found.model.confusion.sum(axis=2), 1.0)
    np.testing.assert_allclose(found.model.posterior.sum(axis=1), 1.0)
    assert found.model.prior.sum() == pytest.approx(1.0)
    assert (np.diff(found.model.objectives) >= -1e-9).all()
    judged = of.per_unit() > 0
    np.testing.assert_array_equal(found.outcomes.is_known, judged)
    assert (found.outcomes.winners[~judged] == NO_VALUE).all()
    assert np.isnan(found.outcomes.sureness[~judged]).all()
    entropies = found.outcomes.entropies[judged]
    assert ((entropies >= 0.0) & (entropies <= 2.0)).all()


margins = st.one_of(st.just(np.nan), st.floats(-30.0, 30.0))


@given(judgements(), st.sampled_from([Errors.SYMMETRIC, Errors.ONE_COIN]), st.data())
def test_exchanging_a_and_b_exchanges_their_names_and_not_a_bit_more(
    of: Judgements, errors: Errors, data: Any
) -> None:
    log_odds = np.array(data.draw(st.lists(margins, min_size=8, max_size=8)))[: of.unit_count]
    one, other = dawid_skene(of, errors=errors), dawid_skene(of.swapped(), errors=errors)
    assert one.model.iterations == other.model.iterations
    assert one.model.log_likelihood == other.model.log_likelihood
    np.testing.assert_array_equal(one.weights, other.weights)
    assert voter_accuracy(one).accuracies == voter_accuracy(other).accuracies
    for of_people, exchanged in (
        (majority(of), majority(of.swapped())),
        (one.outcomes, other.outcomes),
        (with_ensemble(one, log_odds).outcomes, with_ensemble(other, -log_odds).outcomes),
    ):
        check_exchanged(of_people, exchanged)


def check_exchanged(one: Outcomes, other: Outcomes) -> None:
    np.testing.assert_array_equal(one.probabilities, other.probabilities[:, SWAPPED_COLUMNS])
    np.testing.assert_array_equal(one.votes, other.votes[:, SWAPPED_COLUMNS])
    known = one.is_known
    np.testing.assert_array_equal(one.winners[known], SWAPPED[other.winners[known]])
    np.testing.assert_array_equal(one.sureness, other.sureness)


@pytest.mark.parametrize("errors", [Errors.SYMMETRIC, Errors.ONE_COIN])
@pytest.mark.parametrize("seed", SEEDS)
def test_exchanging_a_and_b_of_a_whole_crowd_changes_not_a_bit(errors: Errors, seed: int) -> None:
    generator = np.random.default_rng(seed)
    accuracies = crowds.accuracies_of(20, spammers=5, generator=generator)
    crowd = crowds.made_up(generator, units=500, votes=4, accuracies=accuracies, ties=0.1)
    one, other = (
        dawid_skene(of, errors=errors) for of in (crowd.judgements, crowd.judgements.swapped())
    )
    check_exchanged(one.outcomes, other.outcomes)
    check_exchanged(
        with_ensemble(one, crowd.margins).outcomes, with_ensemble(other, -crowd.margins).outcomes
    )


def test_free_errors_may_follow_the_name() -> None:
    """Somebody who always says A is no better than chance, but only free errors can say so of what
    A means when they say it."""
    of = together(["AAA", "ABB", "AAA", "ABB", "AAA", "ABB", "ABB"])
    found = dawid_skene(of, errors=Errors.FREE)
    always = found.model.confusion[0]
    assert always[Value.A, Value.A] > 0.8
    assert always[Value.B, Value.A] > 0.7


@given(judgements(), st.randoms(use_true_random=False), st.sampled_from(Errors))
def test_the_order_of_units_voters_and_judgements_does_not_matter(
    of: Judgements, random: Any, errors: Errors
) -> None:
    orders = [list(range(count)) for count in (of.unit_count, of.voter_count, len(of))]
    for order in orders:
        random.shuffle(order)
    units, voters, rows = (np.array(order, dtype=np.int64) for order in orders)
    other = Judgements.of(
        units[of.units][rows],
        voters[of.voters][rows],
        of.values[rows],
        unit_count=of.unit_count,
        voter_count=of.voter_count,
    )
    found, again = dawid_skene(of, errors=errors), dawid_skene(other, errors=errors)
    if found.model.iterations == again.model.iterations:  # else one stopped on a hair
        np.testing.assert_allclose(again.model.posterior[units], found.model.posterior, atol=1e-8)
        np.testing.assert_allclose(again.weights[voters], found.weights, atol=1e-6)


def test_unanimous_people_are_believed() -> None:
    of = together(["AAA", "BBB", "TTT", "XXX", "AA-", "-BB", "A-A", "BB-"])
    found = dawid_skene(of).outcomes
    assert found.winners.tolist() == [0, 1, 2, 3, 0, 1, 0, 1]
    assert (found.sureness > 0.75).all()
    assert not found.is_disputed.any()


def test_the_majority_wins_and_nobody_where_votes_are_even() -> None:
    found = majority(together(["AAB", "AB-", "ABT", "XX-", "AXX", "---", "T--"]))
    assert found.winners.tolist() == [
        Value.A, Value.TIE, Value.TIE, Value.BOTH_BAD, Value.BOTH_BAD, NO_VALUE, Value.TIE,
    ]  # fmt: skip
    assert found.probabilities[4].tolist() == pytest.approx([1 / 3, 0, 0, 2 / 3])
    assert found.sureness[1] == 0.0
    assert found.is_disputed.tolist() == [True, True, True, False, True, False, False]
    assert found.entropies[[1, 3]].tolist() == [1.0, 0.0]
    assert found.votes.sum(axis=1).tolist() == [3, 2, 3, 2, 3, 0, 1]


def test_two_equals_who_differ_leave_it_even() -> None:
    """Sums that differ by a rounding must not pass for a winner."""
    of = together(["AABB", "BABA", "ABAB", "BBAA"])
    found = dawid_skene(of).outcomes
    assert np.abs(found.probabilities[:, 0] - found.probabilities[:, 1]).max() <= EQUAL
    assert (found.winners == Value.TIE).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_knowing_whom_to_believe_beats_counting_and_the_ensemble_helps_more(seed: int) -> None:
    crowd = crowds.crowd_of_the_method(seed)
    people = dawid_skene(crowd.judgements)
    one_coin = dawid_skene(crowd.judgements, errors=Errors.ONE_COIN)
    counted = crowd.share_right(majority(crowd.judgements).winners)
    learnt = crowd.share_right(people.outcomes.winners)
    with_margins = crowd.share_right(with_ensemble(people, crowd.margins).outcomes.winners)
    assert 0.62 < counted < 0.74
    assert counted + 0.05 < learnt < 0.84
    assert crowd.share_right(one_coin.outcomes.winners) == pytest.approx(learnt, abs=0.02)
    assert learnt + 0.02 < with_margins < 0.92
    assert with_margins > crowd.share_right(np.where(crowd.margins > 0, Value.A, Value.B)) + 0.02


@pytest.mark.parametrize("errors", Errors)
def test_accuracies_are_those_of_the_voters_about_as_often_as_the_interval_says(
    errors: Errors,
) -> None:
    held, count = 0, 0
    for seed in SEEDS:
        crowd = crowds.crowd_of_the_method(seed)
        found = voter_accuracy(dawid_skene(crowd.judgements, errors=errors))
        for estimate, truth in zip(found.accuracies, crowd.accuracies, strict=True):
            assert estimate is not None
            held += estimate.low <= truth <= estimate.high
            count += 1
        assert (found.evidence < found.judgements).all()
    assert held / count > 0.85


def test_a_voter_whom_nobody_can_check_has_no_accuracy() -> None:
    found = voter_accuracy(dawid_skene(together([*["AA-"] * 20, *["BB-"] * 20, *["--A"] * 20])))
    assert found.accuracies[2] is None
    assert found.evidence[2] < 1.0
    assert found.accuracies[0] is not None
    assert found.judgements.tolist() == [40, 40, 20]


def test_those_who_guess_have_no_weight_and_those_who_are_wrong_a_negative_one() -> None:
    crowd = crowds.crowd_of_the_method(1)
    weights = dawid_skene(crowd.judgements).weights
    assert (weights[crowd.accuracies > 0.6] > 0.2).all()
    assert np.abs(weights[crowd.accuracies == 0.5]).max() < 0.6
    assert (weights[crowd.accuracies == 0.2] < -0.8).all()


def test_the_ensemble_changes_nobodys_accuracy() -> None:
    crowd = crowds.crowd_of_the_method(2)
    people = dawid_skene(crowd.judgements)
    before = voter_accuracy(people).accuracies
    with_ensemble(people, -10.0 * crowd.margins)
    assert voter_accuracy(people).accuracies == before


def test_an_ensemble_that_is_calibrated_keeps_its_scale() -> None:
    scales = [
        with_ensemble(dawid_skene(crowd.judgements), crowd.margins).scale
        for crowd in map(crowds.crowd_of_the_method, range(8))
    ]
    assert np.mean(scales) == pytest.approx(1.0, abs=0.2)


def test_the_ensembles_scale_is_found_whatever_its_unit() -> None:
    crowd = crowds.crowd_of_the_method(3)
    people = dawid_skene(crowd.judgements)
    as_calibrated = with_ensemble(people, crowd.margins)
    doubled = with_ensemble(people, 2.0 * crowd.margins)
    assert doubled.scale == pytest.approx(as_calibrated.scale / 2, rel=1e-3)
    assert doubled.typical_weight == pytest.approx(as_calibrated.typical_weight, rel=1e-3)
    assert with_ensemble(people, crowd.margins, scale=0.3).scale == 0.3


def test_an_ensemble_that_contradicts_people_does_not_count() -> None:
    crowd = crowds.crowd_of_the_method(0)
    people = dawid_skene(crowd.judgements)
    found = with_ensemble(people, -crowd.margins)
    assert (found.scale, found.typical_weight) == (0.0, 0.0)
    np.testing.assert_allclose(found.outcomes.probabilities, people.outcomes.probabilities)


def people_and_margins() -> tuple[DawidSkene, Floats]:
    of = together(["AAT", "BBT", "TTA", "XXB", "---", "---", "AB-"])
    return dawid_skene(of), np.array([2.0, 2.0, 9.0, -9.0, 3.0, np.nan, np.nan])


def test_a_margin_moves_the_sides_and_no_tie() -> None:
    people, log_odds = people_and_margins()
    found = with_ensemble(people, log_odds, scale=1.0).outcomes
    before = people.outcomes.probabilities
    judged = found.votes.any(axis=1)
    for value in (Value.TIE, Value.BOTH_BAD):
        np.testing.assert_array_equal(found.probabilities[judged, value], before[judged, value])
    odds = [np.log(each[:3, 0] / each[:3, 1]) for each in (found.probabilities, before)]
    np.testing.assert_allclose(odds[0] - odds[1], log_odds[:3])
    assert found.winners[[2, 3]].tolist() == [Value.TIE, Value.BOTH_BAD]


def test_the_ensemble_speaks_where_nobody_did_and_is_silent_where_it_was_not_asked() -> None:
    people, log_odds = people_and_margins()
    found = with_ensemble(people, log_odds, scale=1.0).outcomes
    assert found.winners[4:6].tolist() == [Value.A, NO_VALUE]
    assert found.is_known.tolist() == [True] * 5 + [False, True]
    np.testing.assert_array_equal(found.probabilities[6], people.outcomes.probabilities[6])


def test_there_is_one_margin_for_each_unit() -> None:
    with pytest.raises(ValueError, match="one margin for each unit"):
        with_ensemble(dawid_skene(together(["AB"])), np.zeros(2))


@pytest.mark.parametrize("seed", SEEDS)
def test_crowdlab_is_cleanlabs(seed: int) -> None:
    generator = np.random.default_rng(seed)
    accuracies = crowds.accuracies_of(14, spammers=4, adversaries=2, generator=generator)
    crowd = crowds.made_up(generator, units=400, votes=3, accuracies=accuracies)
    some = generator.random(len(crowd.judgements)) < 0.7  # so that units have 1 to 3 votes
    judged = crowd.judgements.where(some | (np.arange(len(crowd.judgements)) % 3 == 0))
    likely = 1.0 / (1.0 + np.exp(-crowd.margins))
    probabilities = np.column_stack([likely, 1.0 - likely])
    other = get_label_quality_multiannotator(
        crowds.matrix_of(judged).T,
        probabilities,
        return_weights=True,
        return_detailed_quality=False,
        return_annotator_stats=False,
        verbose=False,
    )
    found = consensus.crowdlab(judged, probabilities)
    quality = other["label_quality"]
    np.testing.assert_array_equal(found.winners, quality["consensus_label"])
    np.testing.assert_allclose(found.qualities, quality["consensus_quality_score"])
    np.testing.assert_allclose(found.voter_weights, other["annotator_weight"])
    assert found.model_weight == pytest.approx(other["model_weight"])


def test_crowdlab_beats_counting() -> None:
    crowd = crowds.crowd_of_the_method(0)
    likely = 1.0 / (1.0 + np.exp(-crowd.margins))
    found = consensus.crowdlab(crowd.judgements, np.column_stack([likely, 1.0 - likely]))
    assert crowd.share_right(found.winners) > crowd.share_right(majority(crowd.judgements).winners)


def test_crowdlab_refuses_what_it_cannot_judge() -> None:
    sure = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="two people judged"):
        consensus.crowdlab(together(["A-", "-B"]), sure)
    with pytest.raises(ValueError, match="each value that occurs"):
        consensus.crowdlab(together(["AT", "BB"]), sure)


def test_of_nothing_there_is_no_consensus() -> None:
    nothing = together(["--", "--"])
    found = dawid_skene(nothing)
    assert (found.outcomes.winners == NO_VALUE).all()
    assert voter_accuracy(found).accuracies == (None, None)
    assert (majority(nothing).winners == NO_VALUE).all()
