"""What an annotator sees of a pair: its texts, the sides fairly shuffled, and nothing else."""

from collections import Counter
from dataclasses import asdict, fields
from itertools import pairwise

import pytest

from annotations import blind, labelling, leasing
from annotations.models import (
    Annotator,
    Dataset,
    GoldPair,
    Label,
    Lease,
    Occasion,
    PreferencePair,
)
from tests import factories

pytestmark = pytest.mark.django_db

SIGMAS = 5.0


@pytest.fixture
def anna(dataset: Dataset) -> Annotator:
    return factories.annotator(dataset, "anna")


def texts(messages: list[blind.Message]) -> list[str]:
    return [message["content"] for message in messages]


def test_a_pair_shows_its_texts_and_nothing_else(dataset: Dataset, anna: Annotator) -> None:
    pair = factories.pairs(dataset, 1, labels=[])[0]
    PreferencePair.objects.filter(pk=pair.pk).update(
        response_a=[{"role": "assistant", "content": "yes", "model": "secret"}]
    )
    factories.opened_round(dataset)
    lease = factories.leased(anna)
    shown = blind.shown(lease)
    assert [field.name for field in fields(shown)] == ["prompt", "first", "second"]
    assert all(
        set(message) == {"role", "content"} for side in asdict(shown).values() for message in side
    )
    assert sorted(texts(shown.first) + texts(shown.second)) == ["no 0", "yes"]
    assert texts(shown.prompt) == ["Question 0?"]


def test_the_side_that_is_recorded_is_the_side_that_is_shown(
    dataset: Dataset, anna: Annotator
) -> None:
    factories.pairs(dataset, 8, labels=[])
    factories.opened_round(dataset)
    for _ in range(8):
        lease = factories.leased(anna)
        shown = blind.shown(lease)
        first = lease.pair.response_a if lease.shown_first == "a" else lease.pair.response_b
        assert shown.first == first == shown.response("first")
        assert shown.second == shown.response("second") != first
        label = factories.voted(anna, lease, "first")
        assert label.preference == label.shown_first == lease.shown_first


def test_each_annotators_sides_are_balanced(dataset: Dataset) -> None:
    """A coin for each annotator and pair: no side is favoured, neither over an annotator's pairs
    nor over a pair's annotators, and what stands first for one says nothing of another."""
    pairs = factories.pairs(dataset, 400, labels=[])
    people = [factories.annotator(dataset, f"person-{number}") for number in range(20)]
    sides = [[leasing.shown_first(person, pair) for pair in pairs] for person in people]
    bound = SIGMAS * (400 * 0.25) ** 0.5
    for own in sides:
        assert abs(Counter(own)["a"] - 200) <= bound
    for own, other in pairwise(sides):
        alike = sum(one == two for one, two in zip(own, other, strict=True))
        assert abs(alike - 200) <= bound
    in_order = [pair.is_in_order for pair in pairs]
    for own in sides:
        by_digest = sum((one == "a") == two for one, two in zip(own, in_order, strict=True))
        assert abs(by_digest - 200) <= bound
    of_pairs = [Counter(one)["a"] for one in zip(*sides, strict=True)]
    assert abs(sum(of_pairs) - 4000) <= SIGMAS * (8000 * 0.25) ** 0.5


def test_asked_again_the_sides_stand_as_before(dataset: Dataset, anna: Annotator) -> None:
    factories.pairs(dataset, 1, labels=[])
    factories.opened_round(dataset)
    lease = factories.leased(anna)
    leasing.release(lease)
    again = factories.leased(anna)
    assert (again.pk, again.shown_first) == (lease.pk, lease.shown_first)


def test_a_repeated_pair_has_its_sides_swapped(dataset: Dataset, anna: Annotator) -> None:
    factories.pairs(dataset, 40, labels=[])
    dataset.repeat_every = 5
    dataset.save()
    factories.opened_round(dataset)
    factories.labelled(anna, *["a"] * 40)
    again = Lease.objects.filter(annotator=anna, occasion=Occasion.REPEAT)
    assert again.count() >= 4
    for lease in again:
        before = Lease.objects.get(annotator=anna, pair=lease.pair, occasion=Occasion.WORK)
        assert {lease.shown_first, before.shown_first} == {"a", "b"}


def row_of(label: Label) -> dict[str, object]:
    names = ("preference", "strength", "aspects", "rationale", "skip_reason", "spans", "occasion")
    return {name: getattr(label, name) for name in names}


@pytest.mark.parametrize("said", ["a", "b", "tie", "both_bad", "skip"])
def test_the_shown_side_changes_nothing_downstream(dataset: Dataset, said: str) -> None:
    """The same judgement makes the same label and the same counts, whichever side stood first."""
    dataset.aspects = ["helpful", "harmless"]
    dataset.save()
    found = []
    for number, first in enumerate("ab"):
        pair = factories.imported(dataset, [factories.row(number, labels=[])]).pairs.get()
        person = factories.annotator(dataset, f"person-{number}")
        row = factories.opened_round(dataset, annotators=[person.user])
        lease = factories.leased(person)
        Lease.objects.filter(pk=lease.pk).update(shown_first=first)
        lease.refresh_from_db()
        while lease.pair != pair:
            factories.voted(person, lease, "skip")
            lease = factories.leased(person)
        Lease.objects.filter(pk=lease.pk).update(shown_first=first)
        lease.shown_first = first
        spans = [{"side": blind.choice_of(lease, "b"), "start": 0, "end": 2, "mark": "bad"}]
        aspects = {"helpful": blind.choice_of(lease, "a"), "harmless": "tie"}
        label = factories.voted(
            person,
            lease,
            blind.choice_of(lease, said),
            strength=2,
            aspects=aspects,
            rationale="Because.",
            spans=spans,
        )
        pair.refresh_from_db()
        counts = [
            pair.standing.people_a,
            pair.standing.people_b,
            pair.standing.people_tie,
            pair.standing.people_both_bad,
        ]
        found.append((row_of(label), counts))
        assert label.shown_first == first
        row.delete()
    assert found[0] == found[1]


def test_an_answer_reads_as_it_was_given(dataset: Dataset, anna: Annotator) -> None:
    dataset.aspects = ["helpful"]
    dataset.save()
    factories.pairs(dataset, 4, labels=[])
    factories.opened_round(dataset)
    for choice in ("first", "second", "tie", "skip"):
        lease = factories.leased(anna)
        given = labelling.Answer(
            choice,
            strength=2 if choice in blind.SIDES else None,
            aspects={} if choice == "skip" else {"helpful": "second"},
            rationale="So it is.",
            skip_reason="unsure" if choice == "skip" else "",
            spans=[{"side": "second", "start": 1, "end": 3, "mark": "good"}],
            seconds=4.5,
        )
        assert anna.user is not None
        done = labelling.vote(lease=lease, by=anna.user, answer=given, based_on=None)
        assert labelling.answer_of(done.label, lease) == given


# --- Practice -------------------------------------------------------------------------------------


def practice_pair(dataset: Dataset, pair: PreferencePair, right: str) -> GoldPair:
    return GoldPair.objects.create(
        pair=pair, dataset=dataset, preference=right, explanation="See?", is_practice=True
    )


def test_practice_is_explained_only_after_the_answer(dataset: Dataset, anna: Annotator) -> None:
    practice_pair(dataset, factories.pairs(dataset, 1, labels=[])[0], "b")
    lease = factories.leased(anna)
    assert lease.occasion == Occasion.PRACTICE
    assert blind.feedback(lease) is None
    assert anna.user is not None
    said = blind.choice_of(lease, "a")
    labelling.vote(lease=lease, by=anna.user, answer=labelling.Answer(said), based_on=None)
    taught = blind.feedback(lease)
    assert taught is not None
    assert (taught.is_right, taught.explanation) == (False, "See?")
    assert taught.right == blind.choice_of(lease, "b") != said
    reread = Lease.objects.get(pk=lease.pk)
    assert blind.feedback(reread) == taught


def test_work_is_never_explained(dataset: Dataset, anna: Annotator) -> None:
    """A silent gold pair is answered like any other."""
    pair = factories.pairs(dataset, 1, labels=[])[0]
    GoldPair.objects.create(pair=pair, dataset=dataset, preference="a", explanation="See?")
    factories.opened_round(dataset)
    lease = factories.leased(anna)
    factories.voted(anna, lease)
    assert blind.feedback(lease) is None


@pytest.mark.parametrize(("right", "said", "is_right"), [("tie", "tie", True), ("a", "tie", False)])
def test_practice_knows_what_is_right(
    dataset: Dataset, anna: Annotator, right: str, said: str, is_right: bool
) -> None:
    practice_pair(dataset, factories.pairs(dataset, 1, labels=[])[0], right)
    lease = factories.leased(anna)
    factories.voted(anna, lease, said)
    taught = blind.feedback(lease)
    assert taught is not None
    assert taught.is_right is is_right
    assert taught.right == blind.choice_of(lease, right)
