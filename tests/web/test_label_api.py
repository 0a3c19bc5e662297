"""Labelling through the REST API: blind, once, and with a sentence for whatever goes wrong."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotations import leasing
from annotations.models import (
    Annotator,
    Dataset,
    GoldPair,
    Label,
    Lease,
    PairStanding,
    PreferencePair,
    Verdict,
)
from curator import tokens
from tests import factories
from tests.web.test_api import NOT_HERE, NOT_KNOWN, Answer, Program, program_of

pytestmark = pytest.mark.django_db

SECRETS = (
    "secretid",
    "secretmeta",
    "secretannotator",
    "secretrationale",
    "secretexplanation",
    "secretround",
    "flipped",
    "priority",
    "gold",
    "arm",
    "shown_first",
    "source",
    'strength":',
    "0.777",
)


@pytest.fixture
def pairs(dataset: Dataset) -> list[PreferencePair]:
    """Pairs all of whose secrets can be recognised, in rounds of which more than one is open."""
    dataset.guidelines = "Prefer what helps."
    dataset.save()
    says = {"annotator": "secretannotator", "kind": "human", "label": "a"}
    rows = [
        factories.row(number, id=f"secretid-{number}", labels=[says], meta={"m": "secretmeta"})
        for number in range(8)
    ]
    done = factories.imported(dataset, rows)
    assert done.created == 8, done.problem
    found = list(dataset.pairs.order_by("pk"))
    factories.judged(dataset, {pair.pk: (-0.777, "flipped") for pair in found})
    dataset.standings.update(review_priority=0.777)
    GoldPair.objects.create(
        pair=found[0], dataset=dataset, preference="a", explanation="secretexplanation"
    )
    factories.opened_round(dataset, name="secretround", labels=2, random_share=0.5)
    return found


@pytest.fixture
def anna(dataset: Dataset, pairs: list[PreferencePair]) -> Annotator:
    return factories.annotator(dataset, "anna")


@pytest.fixture
def program(anna: Annotator) -> Program:
    return program_of(user_of(anna))


def user_of(annotator: Annotator) -> Any:
    assert annotator.user is not None
    return annotator.user


def answer(program: Program, lease: int, choice: str = "first", **said: Any) -> Answer:
    return program.post(f"/datasets/pairs/leases/{lease}/label", choice=choice, **said)


def next_of(program: Program) -> dict[str, Any]:
    asked = program.get("/datasets/pairs/next")
    assert asked.status == 200, asked.found
    found: dict[str, Any] = asked.found
    return found


# --- Blind ----------------------------------------------------------------------------------------


def test_nothing_that_is_known_of_a_pair_is_told_before_the_answer(
    dataset: Dataset, program: Program
) -> None:
    """Neither by what is asked for, nor by what answers an answer, nor by an undo."""
    ben = factories.annotator(dataset, "ben")
    factories.labelled(ben, *["a"] * 8, rationale="secretrationale")
    dataset.gold_every = dataset.repeat_every = 3
    dataset.save()
    told = []
    for number in range(8):
        found = next_of(program)
        told.append(found)
        assert set(found["rules"]) >= {"guidelines", "aspects"}
        choice = "tie" if number % 2 else "first"
        done = answer(program, found["lease"], choice, based_on=found["based_on"])
        assert done.status == 200
        told.append(done.found)
        if number % 3 == 2:
            told.append(program.post("/datasets/pairs/undo").found)
    for one in told:
        text = json.dumps(one).replace('"asks_strength"', "").replace('"strength": null', "")
        assert not [secret for secret in SECRETS if secret in text], text


def test_the_keys_of_a_pair_are_these(program: Program) -> None:
    """What is added to an answer is added here, by somebody who has thought of who reads it."""
    found = next_of(program)
    assert set(found) == {
        "lease",
        "is_practice",
        "prompt",
        "first",
        "second",
        "based_on",
        "draft",
        "expires_at",
        "rules",
        "progress",
    }
    assert set(found["rules"]) == {"guidelines", "aspects", "asks_strength", "requires_rationale"}
    done = answer(program, found["lease"]).found
    assert set(done) == {"label", "note", "feedback", "next"}
    assert done["feedback"] is None


def test_gold_and_repeated_pairs_look_like_all_others(dataset: Dataset, program: Program) -> None:
    dataset.gold_every = 1
    dataset.save()
    gold = next_of(program)
    assert Lease.objects.get(pk=gold["lease"]).is_gold
    work = answer(program, gold["lease"]).found["next"]
    assert not Lease.objects.get(pk=work["lease"]).is_gold
    shape = {key: type(value) for key, value in work.items()}
    assert {key: type(value) for key, value in gold.items()} == shape


def test_a_practice_pair_teaches_after_its_answer(dataset: Dataset, program: Program) -> None:
    pair = factories.imported(dataset, [factories.row(40, labels=[])]).pairs.get()
    GoldPair.objects.create(
        pair=pair, dataset=dataset, preference="tie", explanation="Alike.", is_practice=True
    )
    found = next_of(program)
    assert found["is_practice"]
    assert "Alike." not in json.dumps(found)
    done = answer(program, found["lease"], "first").found
    assert done["feedback"] == {"is_right": False, "right": "tie", "explanation": "Alike."}
    assert not done["next"]["is_practice"]


# --- A round of labelling -------------------------------------------------------------------------


def test_a_program_labels_until_nothing_is_left(dataset: Dataset, program: Program) -> None:
    found = next_of(program)
    for number in range(8):
        assert found["progress"]["total"] == number
        assert found["progress"]["left"] == 8 - number
        assert next_of(program)["lease"] == found["lease"]
        found = answer(program, found["lease"], "second", strength=1).found["next"]
    assert found["lease"] is None
    assert found["detail"] == "You have answered all that is asked of you here. Thank you."
    assert set(found) == {"lease", "detail", "progress"}
    given = Label.objects.filter(annotator__name="anna")
    assert given.count() == 8
    assert set(given.values_list("strength", flat=True)) == {1}
    assert all(label.preference != label.shown_first for label in given)


def test_an_answer_says_everything_that_the_page_can_say(
    dataset: Dataset, program: Program
) -> None:
    dataset.aspects = ["helpful"]
    dataset.save()
    found = next_of(program)
    done = answer(
        program,
        found["lease"],
        "first",
        strength=3,
        aspects={"helpful": "tie"},
        rationale="Clearer.",
        spans=[{"side": "first", "start": 0, "end": 1, "mark": "good"}],
        seconds=7.25,
        based_on=None,
    )
    label = Label.objects.get(pk=done.found["label"])
    assert (label.strength, label.aspects) == (3, {"helpful": "tie"})
    assert (label.rationale, label.seconds, len(label.spans)) == ("Clearer.", 7.25, 1)


def test_an_answer_is_taken_back_and_given_anew(program: Program) -> None:
    found = next_of(program)
    first = answer(program, found["lease"], "tie", rationale="Alike.").found
    back = program.post("/datasets/pairs/undo").found
    assert (back["lease"], back["draft"]["rationale"]) == (found["lease"], "Alike.")
    stale = answer(program, found["lease"], "first")
    assert stale.status == 409
    assert "took an answer to this pair back" in stale.sentence
    again = answer(program, found["lease"], "first", based_on=back["based_on"])
    assert again.status == 200
    assert again.found["next"]["lease"] == first["next"]["lease"]
    nothing = program.post("/datasets/pairs/undo")
    assert nothing.status == 200


# --- What goes wrong ------------------------------------------------------------------------------


def test_an_answer_sent_twice_is_kept_once(program: Program) -> None:
    lease = next_of(program)["lease"]
    first, second = answer(program, lease), answer(program, lease)
    assert (first.status, second.status) == (200, 200)
    assert second.found["label"] == first.found["label"]
    assert "kept once" in second.found["note"]
    other = answer(program, lease, "tie")
    assert other.status == 409
    assert "You have answered this pair already" in other.sentence


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"choice": "a"}, "choice: Input should be 'first', 'second', 'tie', 'both_bad' or 'skip'"),
        ({"choice": "first", "strength": 9}, "1 slightly, 2 clearly or 3 much"),
        ({"choice": "first", "aspects": {"nice": "first"}}, "“nice” is no aspect"),
        ({"choice": "first", "rationale": "x" * 1_000_000}, "has 1,000,000 characters"),
        ({"choice": "skip", "skip_reason": "bored"}, "Choose one of the reasons"),
        ({"choice": "first", "preference": "a"}, "Extra inputs are not permitted"),
        (
            {"choice": "tie", "spans": [{"side": "first", "start": 5, "end": 2, "mark": "bad"}]},
            "outside its response",
        ),
        ({}, "choice: Field required"),
    ],
)
def test_an_answer_that_makes_no_sense_is_refused_and_can_be_mended(
    program: Program, said: dict[str, Any], sentence: str
) -> None:
    lease = next_of(program)["lease"]
    refused = program.post(f"/datasets/pairs/leases/{lease}/label", **said)
    assert refused.status == 422
    assert sentence in refused.sentence
    assert not Label.objects.filter(annotator__name="anna").exists()
    assert answer(program, lease).status == 200


def test_a_required_rationale_is_asked_for(dataset: Dataset, program: Program) -> None:
    dataset.requires_rationale = True
    dataset.save()
    found = next_of(program)
    assert found["rules"]["requires_rationale"]
    assert "Say in a sentence why" in answer(program, found["lease"]).sentence
    assert answer(program, found["lease"], rationale="So.").status == 200


def test_texts_that_no_database_holds_are_mended(program: Program) -> None:
    lease = next_of(program)["lease"]
    done = answer(program, lease, rationale="\ud800 and \x00 <script>")
    assert done.status == 200
    assert Label.objects.get(pk=done.found["label"]).rationale == "? and  <script>"


def test_nobody_answers_what_was_put_to_somebody_else(dataset: Dataset, program: Program) -> None:
    """Not the curator either; and it is not there for those who were not asked."""
    ben = factories.annotator(dataset, "ben")
    bens = factories.leased(ben)
    refused = answer(program, bens.pk)
    assert (refused.status, refused.sentence) == (404, NOT_HERE)
    assert answer(program, 2**62).status == 404
    assert not Label.objects.filter(pair=bens.pair, annotator__user__isnull=False).exists()


def test_a_late_answer_whose_place_is_gone_is_told_so(dataset: Dataset, program: Program) -> None:
    lease = Lease.objects.get(pk=next_of(program)["lease"])
    leasing.release(lease)
    for name in ("ben", "cleo"):
        other = factories.annotator(dataset, name)
        while factories.labelled(other, "a")[0].pair_id != lease.pair_id:
            pass
    refused = answer(program, lease.pk, "tie", rationale="late")
    assert refused.status == 409
    assert "was not counted" in refused.sentence
    lease.refresh_from_db()
    assert lease.draft["rationale"] == "late"


def test_a_pair_that_was_dropped_meanwhile_says_so(program: Program) -> None:
    lease = Lease.objects.get(pk=next_of(program)["lease"])
    PairStanding.objects.filter(pk=lease.pair_id).update(verdict=Verdict.DROP)
    done = answer(program, lease.pk)
    assert done.status == 200
    assert "was dropped" in done.found["note"]


def test_who_was_deactivated_is_told_what_became_of_the_answer(
    dataset: Dataset, anna: Annotator, program: Program
) -> None:
    lease = next_of(program)["lease"]
    dataset.memberships.filter(user=anna.user).update(ended_at=timezone.now())
    refused = answer(program, lease)
    assert refused.status == 403
    assert "so this was not kept" in refused.sentence
    assert program.get("/datasets/pairs/next").sentence == NOT_HERE
    assert program.post("/datasets/pairs/undo").status == 404
    user_of(anna).__class__.objects.filter(pk=user_of(anna).pk).update(is_active=False)
    assert answer(program, lease).sentence == NOT_KNOWN


def test_where_no_round_is_open_there_is_a_sentence(dataset: Dataset) -> None:
    anna = factories.annotator(dataset, "anna")
    found = next_of(program_of(user_of(anna)))
    assert found["lease"] is None
    assert "a curator opens a round" in found["detail"]
    assert (
        program_of(user_of(factories.annotator(dataset, "ben")))
        .post("/datasets/pairs/undo")
        .sentence.startswith("There is nothing to undo")
    )


def test_curators_label_blind_as_well(dataset: Dataset, casey: Any, anna: Annotator) -> None:
    """What they see of a pair elsewhere is theirs to know; here they are asked like everybody."""
    found = next_of(Program(tokens.issue(user=casey, name="curators")))
    assert set(found) == set(next_of(program_of(user_of(anna))))


def test_labelling_takes_few_queries(program: Program) -> None:
    answer(program, next_of(program)["lease"])
    with CaptureQueriesContext(connection) as next_pair:
        found = next_of(program)
    with CaptureQueriesContext(connection) as vote:
        answer(program, found["lease"])
    assert len(next_pair) <= 14, [query["sql"] for query in next_pair]
    assert len(vote) <= 30, [query["sql"] for query in vote]
