"""What labels come to with the ensemble as one more voice, which lowers nobody's labels."""

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from annotations import answers
from annotations import consensus as pure
from annotations.consensus import DawidSkene
from annotations.judgements import Judgements
from annotations.models import Annotator, Dataset, PreferencePair
from annotations.teams import Slice
from scoring import consensus
from scoring.consensus import Consensus
from scoring.models import Mode, PairScore, ScoringRun
from tests import factories

PEOPLE = ("anna", "bo", "cleo")
SLOPE = 2.0


@pytest.fixture
def pairs(dataset: Dataset) -> list[PreferencePair]:
    """Pairs of which the source prefers A; its label is no person's."""
    label = [{"annotator": "source", "kind": "source", "label": "a"}]
    return factories.pairs(dataset, 40, labels=label)


@pytest.fixture
def people(dataset: Dataset) -> list[Annotator]:
    return [factories.annotator(dataset, name) for name in PEOPLE]


@pytest.fixture
def labelled(pairs: list[PreferencePair], people: list[Annotator]) -> None:
    """All three prefer B of the first ten pairs and A of the rest, but cleo contradicts the others
    on the last ten."""
    for number, pair in enumerate(pairs):
        truth = "b" if number < 10 else "a"
        for person in people:
            wrong = person.name == "cleo" and number >= 30
            factories.said(person, pair, {"a": "b", "b": "a"}[truth] if wrong else truth)


def run_of(
    dataset: Dataset, strengths: dict[int, float], *, slope: float | None = SLOPE, **fields: Any
) -> ScoringRun:
    """A run that found these strengths of the labels, with calibrated probabilities."""
    found = {pk: (strength, "clear") for pk, strength in strengths.items()}
    run = factories.judged(dataset, found, **fields)
    run.summary = {**run.summary, "slope": slope}
    run.save(update_fields=["summary"])
    for score in PairScore.objects.of(run):
        score.label_probability = 1 / (1 + np.exp(-SLOPE * (score.strength or 0.0)))
        score.save(update_fields=["label_probability"])
    return run


def consensus_of(dataset: Dataset, run: ScoringRun | None) -> Consensus:
    return consensus.find(dataset, answers.load(dataset), run)


@pytest.mark.usefixtures("labelled")
def test_what_settled_labels_contradict_is_listed(
    dataset: Dataset, pairs: list[PreferencePair]
) -> None:
    found = consensus_of(dataset, None)
    majority, reliability = found.ways
    assert (majority.settled, majority.open, majority.against_source) == (40, 0, 10)
    assert reliability.against_source == 10
    assert {row.pair_id for row in reliability.differing} == {pair.pk for pair in pairs[:10]}
    assert {(row.source, row.consensus) for row in reliability.differing} == {("A", "B")}
    assert "No model has scored" in found.without_ensemble


@pytest.mark.usefixtures("labelled")
def test_the_ensemble_settles_what_people_leave_open(
    dataset: Dataset, pairs: list[PreferencePair], people: list[Annotator]
) -> None:
    more = factories.imported(
        dataset, [factories.row(number, labels=[]) for number in range(100, 110)]
    )
    split = list(dataset.pairs.filter(imported_in=more).order_by("pk"))
    for pair in split:
        factories.said(people[0], pair, "a")
        factories.said(people[1], pair, "b")
    against = {pair.pk for pair in (*pairs[:10], *split[5:])}
    strengths = {
        pair.pk: -3.0 if pair.pk in against else 3.0 for pair in dataset.pairs.order_by("pk")
    }
    found = consensus_of(dataset, run_of(dataset, strengths))
    _, alone, together = found.ways
    assert alone.open >= 10
    assert together.open < alone.open
    assert found.moved >= 5
    assert found.scale is not None
    assert found.scale > 0


@pytest.mark.usefixtures("labelled")
def test_the_ensemble_never_lowers_an_annotators_score(
    dataset: Dataset, pairs: list[PreferencePair]
) -> None:
    """Whatever it says, for or against everybody: weights and accuracies stay to the last digit."""
    alone = consensus_of(dataset, None)
    for strength in (5.0, 0.0, -5.0):
        run = run_of(dataset, {pair.pk: strength for pair in pairs})
        beside = consensus_of(dataset, run)
        people = [voice for voice in beside.voices if voice.annotator_id is not None]
        assert {v.name: (v.weight, v.accuracy, v.votes) for v in people} == {
            v.name: (v.weight, v.accuracy, v.votes) for v in alone.voices
        }
        assert beside.ways[:2] == alone.ways


@pytest.mark.usefixtures("labelled")
def test_the_ensembles_own_weight_is_shown(dataset: Dataset, pairs: list[PreferencePair]) -> None:
    agreeing = {pair.pk: -2.0 if number < 10 else 2.0 for number, pair in enumerate(pairs)}
    found = consensus_of(dataset, run_of(dataset, agreeing))
    [ensemble] = [voice for voice in found.voices if voice.annotator_id is None]
    assert ensemble.name == "ensemble heads"
    assert ensemble.votes == 40
    assert ensemble.weight is not None
    assert ensemble.weight > 0
    assert max(voice.weight_share for voice in found.voices) == pytest.approx(1.0)
    against = {pk: -strength for pk, strength in agreeing.items()}
    assert consensus_of(dataset, run_of(dataset, against)).scale == 0.0  # who contradicts is silent


def test_who_mostly_sees_a_tie_counts_less_than_who_takes_sides(
    dataset: Dataset, pairs: list[PreferencePair], people: list[Annotator]
) -> None:
    """anna is right whenever she takes a side, which is seldom."""
    for number, pair in enumerate(pairs):
        for person, wrong_in in zip(people, (0, 8, 8), strict=True):
            wrong = wrong_in and number % wrong_in == people.index(person)
            tie = person.name == "anna" and number % 4
            factories.said(person, pair, "tie" if tie else "b" if wrong else "a")
    found = consensus_of(dataset, None)
    anna = next(voice for voice in found.voices if voice.name == "anna")
    assert (anna.votes, anna.side_share) == (40, 0.25)
    assert anna.weight is not None
    assert anna.per_vote == pytest.approx(anna.weight / 4)
    assert found.voices[-1] == anna
    assert anna.weight_share < 1.0 == found.voices[0].weight_share
    assert consensus.as_json(found)["voices"][-1]["side_share"] == 0.25


def test_margins_speak_of_the_response_whatever_the_source_prefers(dataset: Dataset) -> None:
    rows = [
        factories.row(0, labels=[{"annotator": "s", "kind": "source", "label": "a"}]),
        factories.row(1, labels=[{"annotator": "s", "kind": "source", "label": "b"}]),
        factories.row(2, labels=[{"annotator": "s", "kind": "source", "label": "tie"}]),
        factories.row(3, labels=[]),
    ]
    factories.imported(dataset, rows)
    anna = factories.annotator(dataset, "anna")
    pairs = list(dataset.pairs.order_by("pk"))
    for pair in pairs:
        factories.said(anna, pair, "a")
    run = run_of(dataset, {pair.pk: 1.0 for pair in pairs[:3]})
    run.scores.filter(pair=pairs[2]).update(label_probability=None)
    odds = consensus.log_odds_towards_a(run, answers.load(dataset))
    assert odds[:3] == pytest.approx([SLOPE, -SLOPE, SLOPE])
    assert np.isnan(odds[3])


@pytest.mark.usefixtures("labelled")
def test_scores_that_cannot_be_trusted_are_not_heard(
    dataset: Dataset, pairs: list[PreferencePair]
) -> None:
    strengths = {pair.pk: 1.0 for pair in pairs}
    in_sample = consensus_of(dataset, run_of(dataset, strengths, mode=Mode.IN_SAMPLE))
    assert "in-sample" in in_sample.without_ensemble
    uncalibrated = consensus_of(dataset, run_of(dataset, strengths, slope=None))
    assert "too few labels" in uncalibrated.without_ensemble
    assert [len(found.ways) for found in (in_sample, uncalibrated)] == [2, 2]


@pytest.mark.usefixtures("labelled")
def test_reliabilities_that_have_not_settled_are_told(
    dataset: Dataset, as_casey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert consensus_of(dataset, None).has_converged

    def hasty(judgements: Judgements, estimate: Any = pure.dawid_skene) -> DawidSkene:
        found: DawidSkene = estimate(judgements)
        return replace(found, model=replace(found.model, has_converged=False))

    monkeypatch.setattr(pure, "dawid_skene", hasty)
    page = as_casey.get(reverse("scoring:agreement", args=[dataset.slug]))
    assert "had not settled" in page.content.decode()
    out = StringIO()
    call_command("agreement", "pairs", stdout=out)
    assert "had not settled" in out.getvalue()


def test_pairs_without_labels_come_to_nothing(dataset: Dataset) -> None:
    factories.pairs(dataset, 3, labels=[])
    found = consensus_of(dataset, None)
    assert (found.pairs, found.voices) == (0, [])
    assert [way.settled for way in found.ways] == [0, 0]


@pytest.mark.usefixtures("labelled")
def test_a_slice_has_a_consensus_of_its_own(dataset: Dataset, pairs: list[PreferencePair]) -> None:
    some = consensus.of(
        dataset, Slice(), None, pair_ids=lambda: [pair.pk for pair in pairs[:10]], asked="ten"
    )
    assert some.found.pairs == 10
    assert consensus.of(dataset, Slice(), None).found.pairs == 40


# --- Pages and command ----------------------------------------------------------------------------


@pytest.mark.usefixtures("labelled")
def test_the_pages_show_consensus_weights_and_where_it_differs(
    dataset: Dataset, pairs: list[PreferencePair], as_casey: Client
) -> None:
    run_of(dataset, {pair.pk: 1.0 for pair in pairs})
    for name in ("consensus", "agreement"):
        response = as_casey.get(reverse(f"scoring:{name}", args=["pairs"]))
        page = " ".join(response.content.decode().replace("\u202f", " ").split())
        assert "With the models" in page
        assert "ensemble heads" in page
        assert reverse("scoring:pair", args=["pairs", pairs[0].pk]) in page
        assert reverse("scoring:pair", args=["pairs", pairs[20].pk]) not in page


@pytest.mark.usefixtures("labelled")
def test_agreement_is_asked_for_with_the_filters_of_the_list_of_pairs(
    dataset: Dataset, pairs: list[PreferencePair], as_casey: Client
) -> None:
    found = {pair.pk: (1.0, "strong" if n < 7 else "clear") for n, pair in enumerate(pairs)}
    factories.judged(dataset, found)
    url = reverse("scoring:agreement", args=["pairs"])

    def pairs_of(**query: str) -> int:
        context = as_casey.get(url, query).context
        assert context["consensus"].pairs == context["team"].pairs
        return int(context["team"].pairs)

    assert pairs_of() == 40
    assert pairs_of(flag="strong") == 7
    assert pairs_of(flag="strong", text="question 3?") == 1
    assert pairs_of(flag="flipped") == 0
    assert pairs_of(status="undecided") == 40
    assert pairs_of(status="keep") == 0
    by_flag = as_casey.get(url).context["consensus"].by_flag
    assert {row.flag: row.agreement.units for row in by_flag}["strong"] == 7


def test_annotators_are_told_nothing_of_the_consensus(dataset: Dataset, client: Client) -> None:
    anna = factories.annotator(dataset, "anna").user
    assert anna is not None
    for person, status in ((anna, 403), (factories.user("stranger"), 404)):
        client.force_login(person)
        for name in ("consensus", "agreement"):
            url = reverse(f"scoring:{name}", args=["pairs"])
            assert client.get(url).status_code == status


@pytest.mark.usefixtures("labelled")
def test_the_command_prints_the_same_figures(dataset: Dataset) -> None:
    out = StringIO()
    call_command("agreement", "pairs", "--json", stdout=out)
    found = json.loads(out.getvalue().splitlines()[-1])
    assert (found["pairs"], found["shared"], found["labels"]) == (40, 40, 120)
    assert {one["name"] for one in found["annotators"]} == set(PEOPLE)
    assert found["consensus"]["ways"][0]["against_source"] == 10
    out = StringIO()
    call_command("agreement", "pairs", "--pairs", "decided", stdout=out)
    assert "0 labels on 0 pairs" in out.getvalue()


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--flag=purple", "--flag 'purple' is not known"),
        ("--flag=clear", "is not scored yet"),
        ("--status=soften2", "--status 'soften2' is not known"),
        ("--pairs=many", "--pairs 'many' is not known"),
        ("--voters=cats", "--voters 'cats' is not known"),
        ("--round=77", "has no round 77"),
    ],
)
def test_the_command_refuses_what_it_does_not_know(
    dataset: Dataset, option: str, sentence: str
) -> None:
    with pytest.raises(Exception, match=sentence):
        call_command("agreement", "pairs", option)
