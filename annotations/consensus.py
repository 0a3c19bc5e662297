"""What is true of each pair, given what people said of it and, if wanted, what an ensemble says.

Three ways, all (U,) units by (K,) values: the majority; Dawid and Skene's model, which learns how
far each voter can be relied on from how voters agree; and the model with the ensemble's calibrated
margin on top. CROWDLAB stands beside them as a reference.

The ensemble never lowers an annotator's score: voters' accuracies come from people alone, and its
margin is added when they are settled. Otherwise a person who sees what it misses would look like a
bad one, and be outvoted by it twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from annotations.judgements import SIDES, Int8s, Int32s, Judgements, Value, count_table
from curator.lib.intervals import LEVEL, Estimate, wilson

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.integer]

NO_VALUE = -1
# probabilities nearer to each other than this are equal: sums in another order may differ so far
EQUAL = 1e-9
MOST_ITERATIONS = 500
TOLERANCE = 1e-5  # of probabilities, between two iterations
LEAST_EVIDENCE = 1.0  # judgements' worth, below which nothing is said of a voter
SURE = 1e-6  # accuracies are kept so far from 0 and 1 where they are divided by
STEEPEST = 8.0  # scale of the ensemble's log-odds
LEAST_WEIGHT = 1e-6  # of a voter or a model in CROWDLAB, as cleanlab has it


@dataclass(frozen=True)
class Outcomes:
    """What each unit comes to. Columns are in the order of `Value`."""

    probabilities: Floats  # (U, 4); 0 throughout where nothing is known of the unit
    votes: Int32s  # (U, 4)

    @cached_property
    def winners(self) -> Int8s:
        """The most probable value (U,); a tie where two are equally so, -1 where nothing is
        known."""
        ordered = np.sort(self.probabilities, axis=1)
        best = self.probabilities.argmax(axis=1)
        level = ordered[:, -1] - ordered[:, -2] <= EQUAL
        found = np.where(level, Value.TIE, best)
        return np.where(self.is_known, found, NO_VALUE).astype(np.int8)

    @cached_property
    def sureness(self) -> Floats:
        """The winner's probability (U,), NaN where nothing is known. It is low, even 0, where a tie
        wins for want of a winner."""
        chosen = np.maximum(self.winners, 0)[:, None].astype(np.intp)
        found = np.take_along_axis(self.probabilities, chosen, axis=1)[:, 0]
        return np.where(self.is_known, found, np.nan)

    @cached_property
    def entropies(self) -> Floats:
        """Doubt in bits (U,): 0 where one value is certain, 1 for a coin; NaN where nothing is
        known."""
        terms = self.probabilities * _log(self.probabilities, where_nought=0.0)
        return np.where(self.is_known, -terms.sum(axis=1) / np.log(2.0) + 0.0, np.nan)

    @cached_property
    def is_known(self) -> Booleans:
        """Whether anything is known of the unit, (U,)."""
        return np.asarray(self.probabilities.sum(axis=1) > 0.5)

    @cached_property
    def is_disputed(self) -> Booleans:
        """Whether two people said different things of the unit, (U,)."""
        return np.asarray((self.votes > 0).sum(axis=1) > 1)


def majority(judgements: Judgements) -> Outcomes:
    """Shares of the votes; both bad is a value like the others, and takes its share from them."""
    votes = judgements.votes()
    counts = np.maximum(votes.sum(axis=1, keepdims=True), 1)
    return Outcomes(votes / counts, votes)


class Errors(Enum):
    """What Dawid and Skene's model may believe of a voter's mistakes."""

    # any confusion of any two values; which response is called A matters
    FREE = "free"
    # mistakes about A are those about B with the names exchanged, and A is as frequent as B
    SYMMETRIC = "symmetric"
    # one accuracy a voter, and no mistake likelier than another; A is as frequent as B
    ONE_COIN = "one_coin"


@dataclass(frozen=True)
class Smoothing:
    """Judgements that each voter is given before the first, of units of each value, so that few
    judgements make nobody infallible or useless. Nought throughout is maximum likelihood."""

    right: float = 2.0
    wrong: float = 1.0  # spread evenly over the other values
    units: float = 1.0  # of each value


UNSMOOTHED = Smoothing(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Model:
    """A fitted model of J judgements by V voters of U units with K values."""

    posterior: Floats  # (U, K): of each unit's value; the prior where nobody judged it
    confusion: Floats  # (V, K, K): voter, true value, what the voter says
    prior: Floats  # (K,)
    iterations: int
    has_converged: bool
    log_likelihood: float
    # log-likelihood and log-density of the smoothing, up to a constant: what never falls, (I,)
    objectives: Floats


@dataclass(frozen=True)
class DawidSkene:
    """Dawid and Skene's consensus of people, and how far each of them can be relied on."""

    judgements: Judgements
    values: tuple[Value, ...]  # the K that occur: the axes of the model
    model: Model

    @cached_property
    def outcomes(self) -> Outcomes:
        """Of each unit; of one that nobody judged nothing is known."""
        votes = self.judgements.votes()
        judged = votes.any(axis=1, keepdims=True)
        return Outcomes(self.all_probabilities * judged, votes)

    @cached_property
    def all_probabilities(self) -> Floats:
        """(U, 4); the prior where nobody judged the unit."""
        return _widen(self.model.posterior, self.values)

    @cached_property
    def weights(self) -> Floats:
        """Log-odds that a voter's vote adds for the response it prefers, (V,): 0 from a guesser,
        below 0 from one who is wrong more often than right."""
        logs = _log(self.model.confusion)
        a, b = logs[:, Value.A], logs[:, Value.B]
        for_a, for_b = a[:, Value.A] - b[:, Value.A], b[:, Value.B] - a[:, Value.B]
        return np.asarray((for_a + for_b) / 2)


def dawid_skene(
    judgements: Judgements, *, errors: Errors = Errors.SYMMETRIC, smoothing: Smoothing | None = None
) -> DawidSkene:
    """Dawid and Skene 1979 on A, B and what else occurs, symmetric in A and B unless errors are
    free.

    Symmetric means exactly so: exchange A and B in all judgements, and the same floats come out
    with their names exchanged. The model of two values is that of `judgements.sides_only()`.
    """
    found = {*SIDES, *np.unique(judgements.values).tolist()}
    values = tuple(value for value in Value if value in found)
    model = fit(
        judgements.units,
        judgements.voters,
        _columns(judgements, values),
        unit_count=judgements.unit_count,
        voter_count=judgements.voter_count,
        value_count=len(values),
        errors=errors,
        smoothing=smoothing or Smoothing(),
    )
    return DawidSkene(judgements, values, model)


def fit(
    units: Indices,
    voters: Indices,
    values: Indices,
    *,
    unit_count: int,
    voter_count: int,
    value_count: int,
    errors: Errors = Errors.FREE,
    smoothing: Smoothing = UNSMOOTHED,
    most_iterations: int = MOST_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Model:
    """Fit the model to judgements (J,) by EM, from vote shares on. A voter may judge a unit more
    than once here. Where errors are not free, values 0 and 1 are the two that may be exchanged.
    """
    votes = count_table(units, values, unit_count, value_count)
    judged = votes.any(axis=1)
    told = _Told(
        rows=np.cumsum(judged)[units] - 1,
        said=voters.astype(np.int64) * value_count + values,
        shape=(voter_count, value_count),
    )
    # values first: numpy is five times faster at three long rows than at many of three
    posterior = np.ascontiguousarray((votes[judged] / votes[judged].sum(axis=1)[:, None]).T)
    objectives: list[float] = []
    change = np.inf
    while change > tolerance and len(objectives) < most_iterations:
        prior = _prior(posterior, errors, smoothing)
        confusion = _confusion(told.expected_counts(posterior), errors, smoothing)
        before = posterior
        posterior, likelihood = told.posterior(confusion, prior)
        objectives.append(likelihood + _log_density(confusion, prior, errors, smoothing))
        change = float(np.abs(posterior - before).max(initial=0.0))
    everywhere = np.tile(prior, (unit_count, 1))
    everywhere[judged] = posterior.T
    return Model(
        posterior=everywhere,
        confusion=confusion,
        prior=prior,
        iterations=len(objectives),
        has_converged=change <= tolerance,
        log_likelihood=likelihood,
        objectives=np.array(objectives),
    )


@dataclass(frozen=True)
class Reliability:
    """How often each voter is right, as far as the others can tell."""

    accuracies: tuple[Estimate | None, ...]  # (V,): None where nobody else judged the same units
    evidence: Floats  # (V,): as many units of known truth would tell as much
    judgements: Int32s  # (V,)


def voter_accuracy(found: DawidSkene, *, level: float = LEVEL) -> Reliability:
    """Each voter's expected share of right judgements, with Wilson's interval on the evidence.

    A judgement tells of its voter only what the other judgements of its unit allow: nothing if
    there are none. Evidence is the observed information on the accuracy beside what it would be,
    were the truth known; the accuracies of the others are taken as they are.
    """
    judgements, model = found.judgements, found.model
    said = _columns(judgements, found.values)
    counts = np.bincount(judgements.voters, minlength=judgements.voter_count)
    right = model.posterior[judgements.units, said]
    hits = np.bincount(judgements.voters, right, minlength=judgements.voter_count)
    accuracy = np.clip(hits / np.maximum(counts, 1), SURE, 1.0 - SURE)
    # nobody is infallible: against such a voter the others' least doubt would tell nothing
    expected = (hits + 0.5) / (counts + 1.0)
    evidence = counts * _information_share(found, said, expected)
    estimates = (
        wilson(float(share * weight), float(weight), level) if weight >= LEAST_EVIDENCE else None
        for share, weight in zip(accuracy, evidence, strict=True)
    )
    return Reliability(tuple(estimates), evidence, counts.astype(np.int32))


@dataclass(frozen=True)
class WithEnsemble:
    """The consensus of people and ensemble, and how much the ensemble counts in it."""

    outcomes: Outcomes
    scale: float  # of the ensemble's log-odds; 1: as calibrated, 0: it does not count
    typical_weight: float  # median log-odds that it adds, to be set beside the weight of a vote


def with_ensemble(
    people: DawidSkene, margins_log_odds: Floats, *, scale: float | None = None
) -> WithEnsemble:
    """Add the ensemble's log-odds of A against B (U,), NaN where it was not asked, to the people's.

    It divides anew what the people leave to A and B together, and cannot make or unmake a tie or a
    "both bad": of those a margin says nothing. Units that nobody judged get the ensemble's opinion.
    Without a scale the one is taken at which it explains the people best, 0 where it contradicts
    them.
    """
    if margins_log_odds.shape != (people.judgements.unit_count,):
        raise ValueError("There must be one margin for each unit.")
    asked = np.isfinite(margins_log_odds)
    margins = np.where(asked, margins_log_odds, 0.0)
    before = people.all_probabilities
    if scale is None:
        judged = people.outcomes.is_known & asked
        scale = fit_scale(before[judged][:, list(SIDES)], margins[judged])
    known = (people.outcomes.is_known | asked)[:, None]
    outcomes = Outcomes(_shift(before, scale * margins) * known, people.outcomes.votes)
    typical = float(np.median(np.abs(scale * margins[asked]))) if asked.any() else 0.0
    return WithEnsemble(outcomes, scale, typical)


def fit_scale(sides: Floats, margins: Floats) -> float:
    """The scale b at which log-odds b * margins (n,) explain what people say of A and B, (n, 2).

    By maximum likelihood of the judgements with the truth left open, so that the people's own doubt
    does not pass for the ensemble's: the sum of log(P(A) sigmoid(bm) + P(B) sigmoid(-bm)).
    """
    difference = sides[:, 0] - sides[:, 1]
    total = sides[:, 0] + sides[:, 1]
    low, high = 0.0, STEEPEST
    for _ in range(30):
        middle = (low + high) / 2
        slope = np.tanh(middle * margins / 2)  # sigmoid(bm) is (1 + slope) / 2
        likelihood = np.maximum(total + slope * difference, np.finfo(np.float64).tiny)
        gains = margins * (1.0 - slope**2) * difference / likelihood
        low, high = (middle, high) if gains.sum() > 0 else (low, middle)
    return low  # exactly 0 where no scale helps


@dataclass(frozen=True)
class Crowdlab:
    """CROWDLAB's consensus: probabilities (U, K), and how much voters (V,) and model count."""

    probabilities: Floats
    winners: Int8s  # (U,)
    qualities: Floats  # (U,): probability of the winner
    voter_weights: Floats  # (V,)
    model_weight: float


def crowdlab(judgements: Judgements, probabilities: Floats) -> Crowdlab:
    """Goh et al. 2022 (arXiv 2210.06812) with a model's probabilities (U, K) of the first K values.

    The winner is the value of best quality. Raises ValueError where no two people judged one unit.
    """
    kinds = probabilities.shape[1]
    if len(judgements) and judgements.values.max() >= kinds:
        raise ValueError("The model must give a probability for each value that occurs.")
    votes = judgements.votes()[:, :kinds]
    if not (votes.sum(axis=1) > 1).any():
        raise ValueError("CROWDLAB needs a pair that two people judged.")
    most = votes == votes.max(axis=1, keepdims=True)
    chosen = np.where(most, probabilities, -1.0).argmax(axis=1)
    by_majority = _crowdlab_of(judgements, votes, probabilities, chosen)
    found = by_majority.probabilities
    best = found == found.max(axis=1, keepdims=True)
    chosen = np.where(best.sum(axis=1) == 1, found.argmax(axis=1), chosen)
    return _crowdlab_of(judgements, votes, probabilities, chosen)


def _columns(judgements: Judgements, values: Sequence[Value]) -> Indices:
    """The place of each judgement's value among the values, (N,)."""
    place = np.zeros(len(Value), dtype=np.int64)
    place[list(values)] = np.arange(len(values))
    return np.asarray(place[judgements.values])


def _widen(posterior: Floats, values: Sequence[Value]) -> Floats:
    """Columns for all four values, (U, K) -> (U, 4)."""
    wide = np.zeros((len(posterior), len(Value)))
    wide[:, list(values)] = posterior
    return wide


def _prior(posterior: Floats, errors: Errors, smoothing: Smoothing) -> Floats:
    """How frequent each value is, (K, U) -> (K,)."""
    counts = posterior.sum(axis=1) + smoothing.units
    if errors is not Errors.FREE:
        counts[:2] = counts[:2].sum() / 2
    total = counts.sum()
    return np.asarray(counts / total if total else np.full(len(counts), 1.0 / len(counts)))


@dataclass(frozen=True)
class _Told:
    """J judgements as EM reads them."""

    rows: Indices  # (J,): place of the unit among those judged
    said: Indices  # (J,): voter * K + value
    shape: tuple[int, int]  # (V, K)

    def expected_counts(self, posterior: Floats) -> Floats:
        """How often each voter says each value of units of each, (K, U) -> (V, K, K)."""
        size = self.shape[0] * self.shape[1]
        counts = [np.bincount(self.said, each[self.rows], minlength=size) for each in posterior]
        return np.stack([each.reshape(self.shape) for each in counts], axis=1)

    def posterior(self, confusion: Floats, prior: Floats) -> tuple[Floats, float]:
        """Of the judged units (K, U), and the log-likelihood of all judgements."""
        logs = _log(confusion).transpose(1, 0, 2).reshape(len(prior), -1)
        by_value = [np.bincount(self.rows, each[self.said]) for each in logs]
        sums = np.stack(by_value, dtype=np.float64) + _log(prior)[:, None]
        highest = sums.max(axis=0)
        shares = np.exp(sums - highest)
        totals = _over_values(shares.T)
        return shares / totals, float((highest + np.log(totals)).sum())


def _confusion(counts: Floats, errors: Errors, smoothing: Smoothing) -> Floats:
    """The likeliest confusions (V, K, K) given counts of the same shape."""
    kinds = counts.shape[1]
    if errors is Errors.ONE_COIN:
        return _one_coin(counts, smoothing)
    if errors is Errors.SYMMETRIC:
        counts = (counts + _exchange(counts)) / 2
    smoothed = counts + _pseudo(kinds, smoothing)
    totals = _over_values(smoothed)[:, :, None]
    return np.where(totals > 0, smoothed / np.where(totals > 0, totals, 1.0), 1.0 / kinds)


def _one_coin(counts: Floats, smoothing: Smoothing) -> Floats:
    """Every voter with one accuracy, whatever the true value, (V, K, K)."""
    kinds = counts.shape[1]
    own = np.arange(kinds)
    right = _over_values(counts[:, own, own]) + smoothing.right
    total = _over_values(_over_values(counts)) + smoothing.right + smoothing.wrong
    accuracy = np.where(total > 0, right / np.where(total > 0, total, 1.0), 1.0 / kinds)
    wrong = (1.0 - accuracy) / (kinds - 1)
    confusion = np.tile(wrong[:, None, None], (1, kinds, kinds))
    confusion[:, own, own] = accuracy[:, None]
    return confusion


def _pseudo(kinds: int, smoothing: Smoothing) -> Floats:
    """The judgements that each voter is given before the first, (K, K)."""
    pseudo = np.full((kinds, kinds), smoothing.wrong / (kinds - 1))
    np.fill_diagonal(pseudo, smoothing.right)
    return pseudo


def _exchange(confusion: Floats) -> Floats:
    """The first two values exchanged, as truth and as what is said, (V, K, K)."""
    order = [1, 0, *range(2, confusion.shape[1])]
    return confusion[:, order][:, :, order]


def _over_values(columns: Floats) -> Floats:
    """Sums over values (…, K), the first two first: a + b is b + a, but (a + c) + b need not be
    (b + c) + a, and exchanging A and B must not change a bit."""
    total = columns[..., 0] + columns[..., 1]
    for value in range(2, columns.shape[-1]):
        total = total + columns[..., value]
    return np.asarray(total)


def _log_density(confusion: Floats, prior: Floats, errors: Errors, smoothing: Smoothing) -> float:
    """How well the parameters fit what they are smoothed by."""
    pseudo, logs = _pseudo(len(prior), smoothing), _log(confusion, where_nought=0.0)
    if errors is Errors.ONE_COIN:  # one row says all
        pseudo, logs = pseudo[:1], logs[:, :1]
    units = smoothing.units * _log(prior, where_nought=0.0).sum()
    return float((pseudo * logs).sum() + units)


def _information_share(found: DawidSkene, said: Indices, accuracy: Floats) -> Floats:
    """What the voters' judgements tell of their accuracy (V,), beside what they would if the truth
    were known: between 0 and 1."""
    judgements, model = found.judgements, found.model
    voters = judgements.voters
    given = model.confusion[voters, :, said]  # (N, K): how likely this, if the truth were that
    others = model.posterior[judgements.units] / np.maximum(given, 1e-300)
    others /= others.sum(axis=1, keepdims=True)
    place = np.arange(len(said))
    own = np.arange(model.confusion.shape[1])
    mistakes = np.maximum(1.0 - model.confusion[:, own, own], SURE)
    wrongly = others * given / mistakes[voters]
    wrongly[place, said] = 0.0
    right, wrong = others[place, said], wrongly.sum(axis=1)
    hit, miss = accuracy[voters], 1.0 - accuracy[voters]
    likelihood = right * hit + wrong * miss
    seen = ((right - wrong) / likelihood) ** 2
    known = (right / hit + wrong / miss) / likelihood
    sums = [np.bincount(voters, each, minlength=len(accuracy)) for each in (seen, known)]
    return np.asarray(sums[0] / np.where(sums[1] > 0, sums[1], 1.0))


def _shift(probabilities: Floats, log_odds: Floats) -> Floats:
    """Add log-odds (U,) of A against B to probabilities (U, 4); the sum of the two stays."""
    shifted = probabilities.copy()
    both = probabilities[:, Value.A] + probabilities[:, Value.B]
    half = np.tanh(log_odds / 2)
    a, b = probabilities[:, Value.A] * (1.0 + half), probabilities[:, Value.B] * (1.0 - half)
    total = np.where(a + b > 0, a + b, 1.0)
    shifted[:, Value.A], shifted[:, Value.B] = both * a / total, both * b / total
    return shifted


def _crowdlab_of(judgements: Judgements, votes: Int32s, model: Floats, chosen: Indices) -> Crowdlab:
    """Weights and probabilities, given the consensus (U,) by which voters and model are judged."""
    units, voters, values = judgements.units, judgements.voters, judgements.values
    kinds, sizes = model.shape[1], votes.sum(axis=1)
    several = sizes > 1
    agreeing = votes[np.arange(len(votes)), chosen]
    likelihood = float((agreeing[several] / sizes[several]).mean())
    unlikelihood = (1.0 - likelihood) / (kinds - 1)
    frequent = np.bincount(chosen[several], minlength=kinds).argmax()
    guessing = max(float((chosen[several] != frequent).mean()), LEAST_WEIGHT)
    disagreement = 1.0 - _agreement(judgements, votes, sizes)
    voter_weights = np.maximum(1.0 - disagreement / guessing, LEAST_WEIGHT)
    mistakes = float((model[several].argmax(axis=1) != chosen[several]).mean())
    model_weight = max(1.0 - mistakes / guessing, LEAST_WEIGHT) * float(
        np.sqrt(sizes[sizes > 0].mean())
    )
    weight = voter_weights[voters]
    total = np.bincount(units, weight, minlength=len(votes))
    found = model * model_weight
    for value in range(kinds):
        says = np.where(values == value, likelihood, unlikelihood)
        found[:, value] += np.bincount(units, weight * says, minlength=len(votes))
    found /= (total + model_weight)[:, None]
    qualities = found[np.arange(len(found)), chosen]
    return Crowdlab(found, chosen.astype(np.int8), qualities, voter_weights, model_weight)


def _agreement(judgements: Judgements, votes: Int32s, sizes: Indices) -> Floats:
    """Share of the others of the same units that say what the voter says, (V,); the mean voter's
    for one without others."""
    count = judgements.voter_count
    equal = votes[judgements.units, judgements.values] - 1
    others = sizes[judgements.units] - 1
    hits, all_others = (
        np.bincount(judgements.voters, each, minlength=count) for each in (equal, others)
    )
    shares = hits / np.maximum(all_others, 1)
    return np.where(all_others > 0, shares, shares[all_others > 0].mean())


def _log(probabilities: Floats, *, where_nought: float = -np.inf) -> Floats:
    logs = np.full(probabilities.shape, where_nought)
    return np.asarray(np.log(probabilities, out=logs, where=probabilities > 0))
