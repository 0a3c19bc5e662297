"""Disputes: the most contested first, each settled once, on the evidence of what people said."""

from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from annotations import adjudicating, compare, decisions, rounds
from annotations.models import Annotator, Dataset, Label, PreferencePair, Verdict
from curator.lib.refusals import Conflict, Forbidden, Refusal
from curator.models import User
from tests import factories
from tests.factories import imported, row


def said(number: int, *preferences: str, **changes: Any) -> dict[str, Any]:
    """A pair of which people say this."""
    names = ("ann", "ben", "cleo", "dan", "eve", "fay")
    labels = [
        {"annotator": name, "label": preference}
        for name, preference in zip(names, preferences, strict=False)
    ]
    return row(number, labels=labels, **changes)


@pytest.fixture
def divided(dataset: Dataset) -> Dataset:
    """Seven pairs: 0 agreed, 1 one against one, 2 two against two, 3 three against one, 4 tie and
    b, 5 one against one, 6 two against one."""
    rows = [
        said(0, "a", "a"),
        said(1, "a", "b"),
        said(2, "a", "b", "a", "b"),
        said(3, "a", "a", "b", "a"),
        said(4, "tie", "b", "both_bad"),
        said(5, "b", "a", "skip"),
        said(6, "b", "a", "b"),
    ]
    imported(dataset, rows)
    return dataset


def names(pairs: Any) -> list[str]:
    return [pair.source_id.removeprefix("pair-") for pair in pairs]


def pair_of(dataset: Dataset, number: int) -> PreferencePair:
    return dataset.pairs.get(source_id=f"pair-{number}")


def settle(pair: PreferencePair, by: User, resolution: str = "a", **more: Any) -> Any:
    latest = decisions.latest_decision(pair)
    based_on = more.pop("based_on", latest.pk if latest else None)
    return adjudicating.resolve(pair=pair, resolution=resolution, by=by, based_on=based_on, **more)


# --- The queue


def test_the_most_contested_comes_first_then_the_oldest(divided: Dataset) -> None:
    assert names(adjudicating.queue_of(divided)) == ["2", "1", "5", "6", "3"]


def test_the_queue_is_walked_without_repeats(divided: Dataset) -> None:
    walked, found = [], adjudicating.next_dispute(divided)
    while found is not None:
        walked.append(found)
        found = adjudicating.next_dispute(divided, after=found)
    assert names(walked) == ["2", "1", "5", "6", "3"]


def test_after_a_pair_that_was_settled_meanwhile_the_queue_goes_on(
    divided: Dataset, casey: User
) -> None:
    two = pair_of(divided, 2)
    settle(two, casey)
    two.refresh_from_db()
    following = adjudicating.next_dispute(divided, after=two)
    assert following is not None
    assert names([following]) == ["1"]


def test_a_settled_dispute_does_not_come_back(divided: Dataset, casey: User) -> None:
    for _ in range(5):
        found = adjudicating.next_dispute(divided)
        assert found is not None
        settle(found, casey)
    assert adjudicating.next_dispute(divided) is None
    assert adjudicating.state(divided) == adjudicating.Queue(waiting=0, asked=0, settled=5)
    # nor when somebody else says something later
    late, two = factories.annotator(divided, "late"), pair_of(divided, 2)
    Label.objects.create(pair=two, annotator=late, preference="b")
    divided.standings.filter(pk=two.pk).count_voices()
    assert adjudicating.next_dispute(divided) is None


def test_an_undo_brings_it_back(divided: Dataset, casey: User) -> None:
    decision = settle(pair_of(divided, 2), casey)
    assert names(adjudicating.queue_of(divided))[0] == "1"
    decisions.undo(decision=decision, by=casey)
    assert names(adjudicating.queue_of(divided))[0] == "2"


def test_what_one_more_person_was_asked_about_waits_at_the_end(
    divided: Dataset, casey: User
) -> None:
    two = pair_of(divided, 2)
    found = rounds.second_opinion(pair=two, by=casey)
    assert names(adjudicating.queue_of(divided)) == ["1", "5", "6", "3", "2"]
    assert adjudicating.state(divided).asked == 1
    assert adjudicating.awaited_of(two) == 1
    assert adjudicating.next_dispute(divided, after=two) is None
    where_it_was_shown = adjudicating.place_of(two, is_asked=False)
    following = adjudicating.next_dispute(divided, after=two, place=where_it_was_shown)
    assert names([following]) == ["1"]
    # in somebody's hands it is still awaited; answered it is contested as before
    ann = factories.annotator(divided, "gil")
    lease = factories.leased(ann)
    assert (lease.pair, adjudicating.awaited_of(two)) == (two, 1)
    factories.voted(ann, lease, "tie")
    assert adjudicating.awaited_of(two) == 0
    assert names(adjudicating.queue_of(divided))[0] == "2"
    rounds.close(found, casey)
    assert names(adjudicating.queue_of(divided))[0] == "2"


def test_nobody_is_awaited_who_cannot_answer_any_more(divided: Dataset, casey: User) -> None:
    """Who was named and sent away, or has labelled the pair elsewhere, keeps no dispute waiting."""
    two, gil = pair_of(divided, 2), factories.annotator(divided, "gil")
    assert gil.user is not None
    rounds.second_opinion(pair=two, by=casey, annotators=[gil.user])
    assert adjudicating.awaited_of(two) == adjudicating.state(divided).asked == 1
    divided.memberships.filter(user=gil.user).update(ended_at=timezone.now())
    assert adjudicating.awaited_of(two) == adjudicating.state(divided).asked == 0
    divided.memberships.filter(user=gil.user).update(ended_at=None)
    assert adjudicating.awaited_of(two) == adjudicating.state(divided).asked == 1
    factories.said(gil, two, "tie")
    assert adjudicating.awaited_of(two) == adjudicating.state(divided).asked == 0


def test_whoever_comes_first_is_awaited_while_anybody_is_left(
    divided: Dataset, casey: User
) -> None:
    two = pair_of(divided, 2)
    rounds.second_opinion(pair=two, by=casey)
    for membership in divided.memberships.select_related("user"):
        assert adjudicating.awaited_of(two) == 1
        factories.said(factories.annotator(divided, membership.user.username), two, "tie")
    assert adjudicating.awaited_of(two) == 0


def test_asking_the_queue_costs_no_more_with_more_pairs(
    divided: Dataset, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        adjudicating.next_dispute(divided)


def test_what_people_are_divided_over_is_found_by_its_index(divided: Dataset) -> None:
    """Few pairs are, of however many there are."""
    if connection.vendor != "sqlite":
        pytest.skip("of so few rows PostgreSQL reads all")
    settled = divided.standings.decided().filter(people_a__gt=0, people_b__gt=0)
    for found in (divided.standings.in_dispute(), adjudicating.queue_of(divided), settled):
        assert "standings_divided" in found.explain()


# --- Settling


@pytest.mark.parametrize(
    ("source", "resolution", "verdict", "holds"),
    [
        ("a", "a", Verdict.KEEP, "a"),
        ("a", "b", Verdict.FLIP, "b"),
        ("a", "tie", Verdict.TIE, "tie"),
        ("a", "drop", Verdict.DROP, ""),
        ("b", "b", Verdict.KEEP, "b"),
        ("tie", "a", Verdict.PREFER_A, "a"),
        ("tie", "tie", Verdict.KEEP, "tie"),
        ("", "b", Verdict.PREFER_B, "b"),
        ("", "drop", Verdict.DROP, ""),
    ],
)
def test_a_resolution_becomes_the_verdict_that_fits_the_source(
    divided: Dataset, casey: User, source: str, resolution: str, verdict: Verdict, holds: str
) -> None:
    pair = pair_of(divided, 2)
    PreferencePair.objects.filter(pk=pair.pk).update(source_preference=source)
    pair.refresh_from_db()
    decision = settle(pair, casey, resolution, reason="since")
    pair.refresh_from_db()
    assert (decision.verdict, pair.standing.verdict, decision.reason) == (verdict, verdict, "since")
    assert decisions.resulting_preference(source, decision.verdict) == holds


def test_a_decision_keeps_the_votes_that_it_rests_on(divided: Dataset, casey: User) -> None:
    pair = pair_of(divided, 2)
    judge = Annotator.objects.create(dataset=divided, name="judge", kind="ai")
    Label.objects.create(pair=pair, annotator=judge, preference="b")
    votes = settle(pair, casey).evidence["votes"]
    assert votes["people"] == {"a": 2, "b": 2, "tie": 0, "both_bad": 0}
    assert [(vote["annotator"], vote["preference"]) for vote in votes["labels"]] == [
        *(("ann", "a"), ("ben", "b"), ("cleo", "a"), ("dan", "b"), ("judge", "b")),
    ]
    assert {vote["label"] for vote in votes["labels"]} == set(
        pair.labels.values_list("pk", flat=True)
    )


def test_who_settles_what_another_has_settled_meanwhile_is_told(
    divided: Dataset, casey: User
) -> None:
    pair, other = pair_of(divided, 2), factories.user("olivia")
    divided.memberships.create(user=other, role="owner")
    settle(pair, other, "b")
    with pytest.raises(Conflict, match="olivia decided"):
        settle(pair, casey, "a", based_on=None)
    assert pair.decisions.count() == 1


def test_settled_twice_the_same_way_it_is_settled_once(divided: Dataset, casey: User) -> None:
    pair = pair_of(divided, 2)
    first = settle(pair, casey)
    assert settle(pair, casey, based_on=None) == first


@pytest.mark.parametrize("resolution", ["", "keep", "both_bad", "skip"])
def test_what_settles_nothing_is_refused(divided: Dataset, casey: User, resolution: str) -> None:
    with pytest.raises(Refusal):
        settle(pair_of(divided, 2), casey, resolution)


def test_who_only_annotates_settles_nothing(divided: Dataset) -> None:
    person = factories.annotator(divided, "gil").user
    assert person is not None
    with pytest.raises(Forbidden):
        settle(pair_of(divided, 2), person)


# --- What is shown


def test_people_come_first_with_what_holds_of_what_they_said(divided: Dataset) -> None:
    pair = pair_of(divided, 1)
    judge = Annotator.objects.create(dataset=divided, name="a judge", kind="ai")
    Label.objects.create(pair=pair, annotator=judge, preference="b")
    ann = divided.annotators.get(name="ann")
    first = pair.labels.get(annotator=ann)
    changed = Label.objects.create(pair=pair, annotator=ann, preference="tie", supersedes=first)
    Label.objects.create(pair=pair, annotator=ann, preference="b", occasion="repeat")
    Label.objects.create(pair=pair, annotator=ann, preference="b", occasion="practice")
    ben = divided.annotators.get(name="ben")
    taken = pair.labels.get(annotator=ben)
    Label.objects.create(pair=pair, annotator=ben, preference="withdrawn", supersedes=taken)
    labels = adjudicating.labels_of(pair)
    assert [(label.annotator.name, label.preference, label.occasion) for label in labels] == [
        ("ann", "tie", ""),
        ("ann", "b", "repeat"),
        ("a judge", "b", ""),
    ]
    assert labels[0] == changed


def marking(name: str, *spans: tuple[str, int, int, str]) -> Label:
    keys = ("response", "start", "end", "mark")
    return Label(
        annotator=Annotator(name=name),
        preference="a",
        spans=[dict(zip(keys, span, strict=True)) for span in spans],
    )


def shown(texts: list[str], *labels: Label, side: str = "a", **more: Any) -> list[Any]:
    messages = [{"role": "assistant", "content": text} for text in texts]
    found = adjudicating.marked(messages, labels, side, **more)
    return [[(part.text, part.mark) for part in parts] for parts in found]


def test_marks_are_cut_out_of_the_text() -> None:
    ann = marking("ann", ("a", 4, 7, "good"), ("b", 0, 2, "bad"))
    assert shown(["the cat sat"], ann) == [[("the ", ""), ("cat", "good"), (" sat", "")]]
    assert shown(["the cat sat"], ann, side="b") == [[("th", "bad"), ("e cat sat", "")]]


def test_overlapping_marks_of_two_people_are_told_apart() -> None:
    ann, ben = marking("ann", ("a", 0, 7, "good")), marking("ben", ("a", 4, 11, "bad"))
    assert shown(["the cat sat"], ann, ben) == [
        [("the ", "good"), ("cat", "mixed"), (" sat", "bad")]
    ]
    parts = adjudicating.marked([{"content": "the cat sat"}], [ann, ben], "a")[0]
    assert parts[1].marks == (("good", "ann"), ("bad", "ben"))


def test_marks_count_across_the_messages_of_a_response() -> None:
    ann = marking("ann", ("a", 2, 5, "bad"))
    assert shown(["one", "two"], ann) == [[("on", ""), ("e", "bad")], [("tw", "bad"), ("o", "")]]


def test_marks_outside_the_text_are_passed_over() -> None:
    ann = marking("ann", ("a", 90, 99, "bad"), ("a", 2, 99, "good"))
    assert shown(["one"], ann) == [[("on", ""), ("e", "good")]]


def test_marks_and_differences_stand_together() -> None:
    differing = [compare.Segment("the ", False), compare.Segment("cat", True)]
    ann = marking("ann", ("a", 2, 5, "good"))
    [parts] = adjudicating.marked([{"content": "the cat"}], [ann], "a", differing)
    assert [(part.text, part.mark, part.differs) for part in parts] == [
        ("th", "", False),
        ("e ", "good", False),
        ("c", "good", True),
        ("at", "", True),
    ]


spans = st.tuples(
    st.just("a"), st.integers(0, 12), st.integers(0, 14), st.sampled_from(["good", "bad"])
)


@given(st.lists(st.text(max_size=6), max_size=3), st.lists(spans, max_size=5))
def test_cut_up_the_text_is_the_text(texts: list[str], found: list[Any]) -> None:
    parts = shown(texts, marking("ann", *found))
    assert ["".join(text for text, _ in each) for each in parts] == texts
