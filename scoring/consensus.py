"""What the labels of a dataset come to, pair by pair: by majority, by how far each annotator can be
relied on, and with the ensemble as one more voice.

Annotators are weighed by what people say alone, and the ensemble is heard last: it may settle a
pair that people leave open, but never makes anybody's labels worth less.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations import agreement, answers, teams
from annotations import consensus as pure
from annotations.agreement import Agreement, Scale
from annotations.answers import VALUES, Answers
from annotations.consensus import Outcomes
from annotations.judgements import Value
from annotations.models import Dataset, Preference
from annotations.teams import Slice
from curator.lib.intervals import Estimate
from curator.lib.kept import Kept, kept
from scoring.models import Flag, Mode, PairScore, ScoringRun

Floats = npt.NDArray[np.float64]
Int8s = npt.NDArray[np.int8]
Booleans = npt.NDArray[np.bool_]

SETTLED = 0.9  # how sure a consensus must be
FEWEST_VOTES = 2  # that settle a pair; the ensemble's is one
MOST_SHOWN = 25
SUREST = 1e-9  # probabilities are kept so far from 0 and 1
NO_LABEL = -1
NAMES = {Value.A: "A", Value.B: "B", Value.TIE: "tie", Value.BOTH_BAD: "both bad"}


@dataclass(frozen=True)
class Differing:
    """A pair of which a settled consensus contradicts the source's label."""

    pair_id: int
    source: str
    consensus: str
    sureness: float


@dataclass(frozen=True)
class Way:
    """One way to a consensus, and how far it leads."""

    name: str
    explanation: str
    settled: int  # pairs
    open: int
    against_source: int  # of the settled
    differing: list[Differing]  # the surest of those

    @property
    def pairs(self) -> int:
        return self.settled + self.open


@dataclass(frozen=True)
class Voice:
    """Whoever has a say, and how much: `weight` is what a vote for A adds to the log-odds of A
    against B. A tie says nothing of those two, so what a vote adds on average is less."""

    name: str
    annotator_id: int | None  # None: the ensemble
    votes: int
    weight: float | None
    accuracy: Estimate | None
    side_share: float = 1.0  # of the votes, that prefer a response
    full_name: str = ""  # of an annotator's login, where it has one
    weight_share: float = 0.0  # per vote, of the heaviest voice's, between 0 and 1

    @property
    def per_vote(self) -> float | None:
        """What a vote adds on average, ties among them."""
        if not self.side_share:
            return 0.0
        return None if self.weight is None else self.weight * self.side_share


@dataclass(frozen=True)
class FlagAgreement:
    """How far people agree on pairs with a flag of the models."""

    flag: str
    agreement: Agreement


@dataclass(frozen=True)
class Consensus:
    """What the labels of some pairs come to."""

    pairs: int
    ways: list[Way]
    voices: list[Voice]  # those whose votes add most on average first
    by_flag: list[FlagAgreement]
    moved: int  # settled pairs of which the ensemble changes what holds
    without_ensemble: str  # why it is not heard; empty where it is
    run_id: int | None
    scale: float | None  # by which the ensemble's log-odds count
    has_converged: bool = True  # whether the annotators' reliabilities had settled


def of(
    dataset: Dataset,
    part: Slice,
    run: ScoringRun | None,
    *,
    pair_ids: Callable[[], Iterable[int]] | None = None,
    asked: str = "",
) -> Kept[Consensus]:
    """The consensus on a slice; among the pairs that `pair_ids` gives, as `asked` says."""

    def make() -> Consensus:
        given = answers.load(dataset, pairs=part.pairs(dataset), kinds=teams.VOTERS[part.voters])
        return find(dataset, given if pair_ids is None else answers.among(given, pair_ids()), run)

    run_id = run.pk if run else None
    name = f"consensus-{dataset.pk}-{dataset.created_at.timestamp()}-{part}-{asked}-{run_id}"
    return kept(name, teams.state_of(dataset), make)


def find(dataset: Dataset, given: Answers, run: ScoringRun | None) -> Consensus:
    """The consensus on the pairs of these answers, with the run's scores where they may be used."""
    people = pure.dawid_skene(given.judgements)
    source = _source(dataset, given)
    majority, said = pure.majority(given.judgements), given.judgements.per_unit()
    ways = [
        _way(
            "Majority",
            "more than half of at least two votes, all votes alike",
            given,
            majority,
            (majority.sureness > 0.5) & (said >= FEWEST_VOTES),
            source,
        ),
        _sure_way(
            "Reliability",
            "votes weighed by how far each annotator can be relied on (Dawid and Skene)",
            given,
            people.outcomes,
            said,
            source,
        ),
    ]
    reason = _why_not_heard(run)
    heard, ensemble = None, None
    if run is not None and not reason:
        margins = log_odds_towards_a(run, given)
        heard = pure.with_ensemble(people, margins)
        explanation = "the same, with the ensemble’s calibrated margin as one more voice"
        both = said + np.isfinite(margins)
        ways.append(_sure_way("With the models", explanation, given, heard.outcomes, both, source))
        asked = int(np.isfinite(margins).sum())
        name = f"ensemble {run.ensemble.name}"
        ensemble = Voice(name, None, asked, heard.typical_weight, None)
    return Consensus(
        pairs=len(given.pair_ids),
        ways=ways,
        voices=_voices(given, people, ensemble),
        by_flag=_by_flag(given, run) if run else [],
        moved=_moved(people.outcomes, heard.outcomes) if heard else 0,
        without_ensemble=reason,
        run_id=run.pk if run else None,
        scale=heard.scale if heard else None,
        has_converged=people.model.has_converged,
    )


def log_odds_towards_a(run: ScoringRun, given: Answers) -> Floats:
    """What the run's calibrated scores say of A against B for each pair of the answers, (U,): NaN
    where it has none.

    Probabilities are of the label; a pair whose source prefers neither has a strength towards A,
    which the same slope makes log-odds of.
    """
    odds = np.full(len(given.pair_ids), np.nan)
    slope = run.summary["slope"]
    scores = PairScore.objects.of(run).filter(strength__isnull=False).order_by()
    columns = ("pair_id", "strength", "label_probability", "pair__source_preference")
    rows = list(scores.values_list(*columns))
    places = _places(given, [row[0] for row in rows])
    for (_, strength, probability, preference), place in zip(rows, places, strict=True):
        if place < 0:
            continue
        towards = slope * strength if probability is None else _logit(probability)
        odds[place] = -towards if preference == Preference.B else towards
    return odds


def as_json(found: Consensus) -> dict[str, Any]:
    """The figures, with the keys that scripts rely on."""
    return {
        "pairs": found.pairs,
        "run": found.run_id,
        "ways": [
            {
                "name": way.name,
                "settled": way.settled,
                "open": way.open,
                "against_source": way.against_source,
            }
            for way in found.ways
        ],
        "voices": [
            {
                "name": voice.name,
                "is_ensemble": voice.annotator_id is None,
                "votes": voice.votes,
                "weight": voice.weight,
                "side_share": voice.side_share,
                "accuracy": _as_dict(voice.accuracy),
            }
            for voice in found.voices
        ],
        "moved_by_the_ensemble": found.moved,
        "without_ensemble": found.without_ensemble,
        "has_converged": found.has_converged,
    }


def _why_not_heard(run: ScoringRun | None) -> str:
    """Why the ensemble has no say, as a sentence; empty where it has one."""
    if run is None:
        return "No model has scored these pairs yet."
    if run.mode != Mode.OUT_OF_BAG:
        return (
            f"Run {run.pk} is in-sample: its models have learnt the labels, and would only repeat "
            f"them."
        )
    if run.summary.get("slope") is None:
        return f"Run {run.pk} found too few labels to calibrate its margins by."
    return ""


def _source(dataset: Dataset, given: Answers) -> Int8s:
    """What the source says of each pair, (U,); NO_LABEL where it says nothing."""
    said = np.full(len(given.pair_ids), NO_LABEL, dtype=np.int8)
    rows = list(
        dataset.pairs.exclude(source_preference="")
        .order_by()
        .values_list("pk", "source_preference")
    )
    places = _places(given, [pk for pk, _ in rows])
    codes = np.array([VALUES[preference] for _, preference in rows], dtype=np.int8)
    said[places[places >= 0]] = codes[places >= 0]
    return said


def _sure_way(
    name: str,
    explanation: str,
    given: Answers,
    outcomes: Outcomes,
    votes: npt.NDArray[np.integer[Any]],
    source: Int8s,
) -> Way:
    """One that settles what it is sure of; one vote alone (U,) settles nothing."""
    with np.errstate(invalid="ignore"):
        is_settled = (outcomes.sureness >= SETTLED) & (votes >= FEWEST_VOTES)
    return _way(name, explanation, given, outcomes, is_settled, source)


def _way(
    name: str,
    explanation: str,
    given: Answers,
    outcomes: Outcomes,
    is_settled: Booleans,
    source: Int8s,
) -> Way:
    known = outcomes.is_known
    settled = known & is_settled
    against = settled & (source != NO_LABEL) & (outcomes.winners != source)
    index = np.flatnonzero(against)
    surest = index[np.argsort(-outcomes.sureness[index], kind="stable")[:MOST_SHOWN]]
    return Way(
        name=name,
        explanation=explanation,
        settled=int(settled.sum()),
        open=int((known & ~settled).sum()),
        against_source=len(index),
        differing=[
            Differing(
                int(given.pair_ids[i]),
                NAMES[Value(int(source[i]))],
                NAMES[Value(int(outcomes.winners[i]))],
                float(outcomes.sureness[i]),
            )
            for i in surest
        ],
    )


def _moved(people: Outcomes, heard: Outcomes) -> int:
    """Pairs on which people and people with the ensemble hold different things."""
    both = people.is_known & heard.is_known
    return int((both & (people.winners != heard.winners)).sum())


def _voices(given: Answers, people: pure.DawidSkene, ensemble: Voice | None) -> list[Voice]:
    """Everybody with a say, the heaviest first."""
    votes, sides = (
        np.bincount(judgements.voters, minlength=len(given.voters))
        for judgements in (given.judgements, given.judgements.sides_only())
    )
    accuracies = pure.voter_accuracy(people).accuracies
    weights = people.weights
    found = [
        Voice(
            voter.name,
            voter.pk,
            int(votes[i]),
            float(weights[i]) if np.isfinite(weights[i]) else None,
            accuracies[i],
            side_share=float(sides[i] / votes[i]),
            full_name=voter.full_name,
        )
        for i, voter in enumerate(given.voters)
        if votes[i]
    ]
    found += [ensemble] if ensemble else []
    heaviest = max((voice.per_vote or 0.0 for voice in found), default=0.0)
    if heaviest > 0.0:
        found = [replace(v, weight_share=max(v.per_vote or 0.0, 0.0) / heaviest) for v in found]
    return sorted(found, key=lambda voice: -(voice.per_vote or 0.0))


def _by_flag(given: Answers, run: ScoringRun) -> list[FlagAgreement]:
    """How far annotators agree where the models are sure, and where they are not."""
    flags = np.full(len(given.pair_ids), "", dtype="<U9")
    rows = list(
        PairScore.objects.of(run).exclude(flag="").order_by().values_list("pair_id", "flag")
    )
    places = _places(given, [pair_id for pair_id, _ in rows])
    flags[places[places >= 0]] = np.array([flag for _, flag in rows], dtype="<U9")[places >= 0]
    judged = flags[given.judgements.units]
    return [
        FlagAgreement(
            flag,
            agreement.observed_agreement(
                given.judgements.where(judged == flag),
                Scale.TIES,
                generator=np.random.default_rng(teams.SEED),
            ),
        )
        for flag in Flag.values
    ]


def _places(given: Answers, pair_ids: list[int]) -> npt.NDArray[np.int64]:
    """Where each of these pairs stands among those of the answers; -1 where it does not."""
    ids = np.array(pair_ids, dtype=np.int64)
    if not len(given.pair_ids):
        return np.full(len(ids), -1)
    places = np.minimum(np.searchsorted(given.pair_ids, ids), len(given.pair_ids) - 1)
    return np.where(given.pair_ids[places] == ids, places, -1)


def _logit(probability: float) -> float:
    inside = min(max(probability, SUREST), 1.0 - SUREST)
    return float(np.log(inside / (1.0 - inside)))


def _as_dict(estimate: Estimate | None) -> Mapping[str, float] | None:
    if estimate is None:
        return None
    return {"estimate": estimate.estimate, "low": estimate.low, "high": estimate.high}
