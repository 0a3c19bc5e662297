"""Adjudication: the pairs that people contradict each other on, one at a time."""

from typing import Any

import pytest
from django.urls import reverse

from annotations import adjudicating, decisions
from annotations.models import Annotator, Dataset, Label, PreferencePair, Verdict
from curator.models import User
from tests import factories
from tests.factories import imported, row

HTMX = {"HX-Request": "true"}


def said(number: int, *preferences: str) -> dict[str, Any]:
    names = ("ann", "ben", "cleo", "dan")
    labels = [
        {"annotator": name, "label": label, "rationale": f"{name} thinks so", "strength": 2}
        for name, label in zip(names, preferences, strict=False)
    ]
    return row(number, labels=labels)


@pytest.fixture
def divided(dataset: Dataset) -> Dataset:
    imported(dataset, [said(0, "a", "b"), said(1, "a", "b", "a", "b"), said(2, "a", "a")])
    return dataset


def pair_of(dataset: Dataset, number: int) -> PreferencePair:
    return dataset.pairs.get(source_id=f"pair-{number}")


def at(name: str, dataset: Dataset, *arguments: Any) -> str:
    return reverse(f"annotations:{name}", args=[dataset.slug, *arguments])


def settle(client: Any, pair: PreferencePair, resolution: str, **more: Any) -> Any:
    address = reverse("annotations:dispute-resolve", args=[pair.dataset.slug, pair.pk])
    return client.post(address, {"resolution": resolution, **more})


def test_what_was_labelled_meanwhile_is_shown_before_it_counts_as_evidence(
    divided: Dataset, as_casey: Any
) -> None:
    one = pair_of(divided, 1)
    page = as_casey.get(at("dispute", divided, one.pk))
    seen = page.context["seen"]
    assert f'name="seen" value="{seen}"' in page.content.decode()
    eve = factories.annotator(divided, "eve")
    factories.said(eve, one, "b")
    answer = settle(as_casey, one, "a", seen=seen)
    assert answer.status_code == 409
    assert "look again" in answer.content.decode()
    assert not one.decisions.exists()
    assert settle(as_casey, one, "b", seen=answer.context["seen"]).status_code == 302
    voters = [vote["annotator"] for vote in one.decisions.get().evidence["votes"]["labels"]]
    assert "eve" in voters


def test_the_most_contested_pair_comes_with_all_that_people_said(
    divided: Dataset, as_casey: Any
) -> None:
    response = as_casey.get(at("disputes", divided))
    assert response.context["pair"] == pair_of(divided, 1)
    sides = {
        side.value: [voice.label.annotator.name for voice in side.voices]
        for side in response.context["sides"]
    }
    assert sides == {"a": ["ann", "cleo"], "b": ["ben", "dan"]}
    page = response.content.decode()
    assert "2 people prefer this" in page
    assert "clearly better" in page
    assert "dan thinks so" in page


def test_everything_that_can_be_said_is_shown(divided: Dataset, as_casey: Any) -> None:
    pair = pair_of(divided, 0)
    eve = Annotator.objects.create(dataset=divided, name="eve", kind="human")
    Label.objects.create(
        pair=pair,
        annotator=eve,
        preference="b",
        strength=3,
        aspects={"honest": "a", "helpful": "tie"},
        rationale="<script>alert(1)</script>",
        spans=[{"response": "a", "start": 2, "end": 6, "mark": "good"}],
        seconds=75.0,
        shown_first="b",
    )
    Label.objects.create(pair=pair, annotator=eve, preference="a", occasion="repeat")
    fay = Annotator.objects.create(dataset=divided, name="fay", kind="human")
    Label.objects.create(pair=pair, annotator=fay, preference="skip", skip_reason="language")
    page = as_casey.get(at("dispute", divided, pair.pk)).content.decode()
    for words in (
        "much better",
        "honest <strong>A</strong>",
        "helpful <strong>tie</strong>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "1\u202fmin 15\u202fs",
        "said A when asked again",
        "skip: I do not read the language",
        '<span class="span-mark good">good</span>',
    ):
        assert words in page, words
    assert "<script>alert" not in page


def test_what_models_and_the_source_say_is_not_on_the_page_until_it_is_asked_for(
    divided: Dataset, as_casey: Any
) -> None:
    pair = pair_of(divided, 1)
    factories.judged(divided, {pair.pk: (-1.5, "flipped")})
    page = as_casey.get(at("dispute", divided, pair.pk)).content.decode()
    assert "likely flipped" not in page
    assert "labelled better" not in page
    evidence = reverse("scoring:pair-evidence", args=[divided.slug, pair.pk])
    assert f'hx-get="{evidence}"' in page
    part = as_casey.get(evidence, headers=HTMX).content.decode()
    assert "likely flipped" in part
    assert "<html" not in part
    other = reverse("scoring:pair-evidence", args=[divided.slug, pair_of(divided, 0).pk])
    assert "No run has scored this pair yet" in as_casey.get(other).content.decode()


def test_a_resolution_leads_to_the_next_dispute_and_the_pair_does_not_come_back(
    divided: Dataset, as_casey: Any
) -> None:
    one, zero = pair_of(divided, 1), pair_of(divided, 0)
    response = settle(as_casey, one, "b", reason="A is wrong")
    assert response["Location"] == at("dispute", divided, zero.pk)
    one.refresh_from_db()
    assert decisions.resulting_preference(one.source_preference, one.standing.verdict) == "b"
    decision = one.decisions.get()
    assert decision.reason == "A is wrong"
    assert decision.evidence["votes"]["people"]["a"] == 2
    response = settle(as_casey, zero, "drop")
    assert response["Location"] == at("disputes-end", divided)
    assert "Nobody contradicts anybody" in as_casey.get(response["Location"]).content.decode()
    assert as_casey.get(at("disputes", divided)).context.get("pair") is None


def test_with_scripts_the_next_dispute_comes_in_place(divided: Dataset, as_casey: Any) -> None:
    one, zero = pair_of(divided, 1), pair_of(divided, 0)
    address = at("dispute-resolve", divided, one.pk)
    response = as_casey.post(address, {"resolution": "tie"}, headers=HTMX)
    assert response["HX-Push-Url"] == at("dispute", divided, zero.pk)
    assert "<html" not in response.content.decode()


def test_undo_takes_back_the_last_steps_one_by_one(divided: Dataset, as_casey: Any) -> None:
    one, zero = pair_of(divided, 1), pair_of(divided, 0)
    settle(as_casey, one, "a")
    response = as_casey.post(at("dispute-skip", divided, zero.pk))
    assert response["Location"] == at("disputes-end", divided)
    page = as_casey.get(response["Location"]).content.decode()
    assert "1 pair is still in dispute" in page
    undo = at("dispute-undo", divided)
    assert as_casey.post(undo)["Location"] == at("dispute", divided, zero.pk)
    assert as_casey.post(undo)["Location"] == at("dispute", divided, one.pk)
    one.refresh_from_db()
    assert one.standing.verdict == Verdict.UNDECIDED
    assert adjudicating.next_dispute(divided) == one
    nothing = as_casey.post(undo)
    assert nothing.status_code == 400
    assert "There is nothing to undo" in nothing.content.decode()


def test_who_settles_what_another_has_settled_meanwhile_is_told(
    divided: Dataset, as_casey: Any
) -> None:
    one, other = pair_of(divided, 1), factories.user("olivia")
    divided.memberships.create(user=other, role="owner")
    adjudicating.resolve(pair=one, resolution="a", by=other, based_on=None)
    response = settle(as_casey, one, "b")
    assert response.status_code == 409
    assert "olivia decided" in response.content.decode()
    assert one.decisions.count() == 1


def test_a_key_pressed_twice_settles_once(divided: Dataset, as_casey: Any) -> None:
    one = pair_of(divided, 1)
    for _ in range(2):
        settle(as_casey, one, "a")
    assert one.decisions.count() == 1


@pytest.mark.parametrize("resolution", ["", "keep", "both_bad"])
def test_what_settles_nothing_is_refused(divided: Dataset, as_casey: Any, resolution: str) -> None:
    assert settle(as_casey, pair_of(divided, 1), resolution).status_code == 400


def test_the_number_of_disputes_is_on_the_labelling_page(divided: Dataset, as_casey: Any) -> None:
    page = as_casey.get(at("labelling", divided))
    assert page.context["disputes"] == 2


def test_a_dispute_costs_a_fixed_number_of_questions(
    divided: Dataset, as_casey: Any, casey: User, django_assert_max_num_queries: Any
) -> None:
    pair = pair_of(divided, 1)
    for number in range(12):
        name = f"one more {number}"
        annotator = Annotator.objects.create(dataset=divided, name=name, kind="human")
        Label.objects.create(pair=pair, annotator=annotator, preference="a")
    with django_assert_max_num_queries(24):
        as_casey.get(at("disputes", divided))
