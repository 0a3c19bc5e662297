"""The page where people label: blind, one pair at a time, and without scripts too."""

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotations import blind, commenting, decisions, labelling, leasing, rounds
from annotations.models import (
    Annotator,
    Dataset,
    GoldPair,
    Label,
    Lease,
    Membership,
    PairStanding,
    PreferencePair,
    Verdict,
)
from curator.models import User
from tests import factories
from tests.scenarios import Scene

HTMX = {"HX-Request": "true"}
ASPECT_FIELD = re.compile(r'name="(aspect:[^"]+)"\s+value="(\w+)"')


@pytest.fixture
def anna(db: Any) -> User:
    return factories.user("anna")


@pytest.fixture
def labelled(casey: User, anna: User) -> Dataset:
    """A dataset of four pairs that anna is asked to label."""
    into = factories.dataset("asked", curators=[casey], annotators=[anna])
    factories.pairs(into, 4)
    factories.opened_round(into)
    return into


@pytest.fixture
def desk(labelled: Dataset, client: Client, anna: User) -> Client:
    client.force_login(anna)
    return client


def page_of(desk: Client, **query: Any) -> Any:
    return desk.get(reverse("annotations:label", args=["asked"]), query)


def text_of(response: Any) -> str:
    return str(response.content.decode())


def lease_of(user: User) -> Lease:
    return Lease.objects.select_related("pair").get(annotator__user=user, state=Lease.State.OPEN)


def vote(desk: Client, lease: Lease, *, headers: Any = None, **answer: Any) -> Any:
    url = reverse("annotations:vote", args=["asked", lease.pk])
    return desk.post(url, answer, headers=headers or {})


def ask(desk: Client, user: User) -> Lease:
    """The page opened, and what it put to the user."""
    page_of(desk)
    return lease_of(user)


# --- A round --------------------------------------------------------------------------------------


def test_an_answer_is_kept_and_leads_to_the_next_pair(desk: Client, anna: User) -> None:
    lease = ask(desk, anna)
    answer = vote(desk, lease, choice="second", strength="2", rationale="kinder", seconds="12.5")
    assert answer.status_code == 302
    label = Label.objects.get(annotator__user=anna)
    assert label.preference == blind.preference_of(lease, "second")
    assert (label.strength, label.rationale, label.seconds) == (2, "kinder", 12.5)
    assert ask(desk, anna).pair != lease.pair


def test_with_scripts_the_next_pair_comes_in_place(desk: Client, anna: User) -> None:
    lease = ask(desk, anna)
    answer = vote(desk, lease, choice="tie", headers=HTMX)
    assert answer.status_code == 200
    assert "<html" not in text_of(answer)
    assert f'data-lease="{lease_of(anna).pk}"' in text_of(answer)
    assert "Kept. Next:" in text_of(answer)


def test_the_same_pair_stays_until_it_is_answered(desk: Client, anna: User) -> None:
    assert ask(desk, anna) == ask(desk, anna)


def test_a_key_pressed_twice_is_one_answer(desk: Client, anna: User) -> None:
    lease = ask(desk, anna)
    for _ in range(2):
        answer = vote(desk, lease, choice="first", headers=HTMX)
        assert answer.status_code == 200
    assert Label.objects.filter(annotator__user=anna).count() == 1


def test_another_answer_from_a_second_tab_is_told_and_not_kept(desk: Client, anna: User) -> None:
    lease = ask(desk, anna)
    vote(desk, lease, choice="first")
    answer = vote(desk, lease, choice="second", headers=HTMX)
    assert answer.status_code == 409
    assert "You have answered this pair already" in text_of(answer)
    assert f'data-lease="{lease_of(anna).pk}"' in text_of(answer)
    assert Label.objects.get(annotator__user=anna).preference == blind.preference_of(lease, "first")


def test_a_skip_has_its_reason(desk: Client, anna: User) -> None:
    lease = ask(desk, anna)
    vote(desk, lease, skip_reason="language")
    label = Label.objects.get(annotator__user=anna)
    assert (label.preference, label.skip_reason) == ("skip", "language")


def test_an_empty_answer_is_asked_for_again_and_nothing_is_lost(desk: Client, anna: User) -> None:
    lease = ask(desk, anna)
    spans = json.dumps([{"side": "first", "start": 0, "end": 2, "mark": "good"}])
    answer = vote(desk, lease, rationale="half written", strength="3", spans=spans, seconds="7")
    page = text_of(answer)
    assert answer.status_code == 422
    assert "Choose one of the responses" in page
    assert "half written" in page
    assert answer.context["question"].draft["strength"] == 3
    assert json.loads(answer.context["question"].spans)[0]["mark"] == "good"
    assert not Label.objects.filter(annotator__user=anna).exists()


@pytest.mark.parametrize(
    "answer",
    [
        {"choice": "a"},
        {"choice": "moon"},
        {"choice": "first", "strength": "4"},
        {"choice": "first", "spans": '[{"side": "a", "start": 0, "end": 1, "mark": "good"}]'},
        {"choice": "first", "spans": '[{"side": "first", "start": 0, "end": 1000000}]'},
        {"choice": "first", "rationale": "x" * 1_000_000},
    ],
)
def test_what_is_no_answer_is_refused_with_a_sentence(
    desk: Client, anna: User, answer: dict[str, str]
) -> None:
    lease = ask(desk, anna)
    response = vote(desk, lease, headers=HTMX, **answer)
    assert response.status_code == 422
    assert 'role="alert"' in text_of(response)
    assert not Label.objects.filter(annotator__user=anna).exists()
    assert lease_of(anna) == lease


@pytest.mark.parametrize(
    "spans", ["not json", '{"a": 1}', "[1]", '[{"side": "first", "start": 0, "end": 1}']
)
def test_marks_that_cannot_be_read_are_refused(desk: Client, anna: User, spans: str) -> None:
    lease = ask(desk, anna)
    refused = vote(desk, lease, choice="first", rationale="so", spans=spans, headers=HTMX)
    assert refused.status_code == 422
    assert "The marks cannot be read" in text_of(refused)
    assert refused.context["question"].draft["rationale"] == "so"
    assert not Label.objects.filter(annotator__user=anna).exists()


@pytest.mark.parametrize("answer", [{"seconds": "nan"}, {"seconds": "x"}])
def test_what_a_browser_measured_wrongly_does_not_cost_the_answer(
    desk: Client, anna: User, answer: dict[str, str]
) -> None:
    lease = ask(desk, anna)
    assert vote(desk, lease, choice="first", **answer).status_code == 302
    assert Label.objects.get(annotator__user=anna).spans == []


def test_aspects_and_a_rationale_are_asked_where_the_dataset_has_them(
    desk: Client, anna: User, labelled: Dataset
) -> None:
    Dataset.objects.filter(pk=labelled.pk).update(
        aspects=["helpful", "<b>harmless</b>"], requires_rationale=True, asks_strength=False
    )
    lease = ask(desk, anna)
    page = text_of(page_of(desk))
    assert "&lt;b&gt;harmless" in page
    assert 'name="strength"' not in page
    asked = {"choice": "tie", "aspect:helpful": "first", "aspect:<b>harmless</b>": "tie"}
    refused = vote(desk, lease, **asked)
    assert refused.status_code == 422
    assert "Say in a sentence why" in text_of(refused)
    assert refused.context["aspects"] == [("helpful", "first"), ("<b>harmless</b>", "tie")]
    vote(desk, lease, **asked, rationale="as good")
    label = Label.objects.get(annotator__user=anna)
    first = blind.preference_of(lease, "first")
    assert label.aspects == {"helpful": first, "<b>harmless</b>": "tie"}


def test_an_answer_on_an_aspect_stays_with_it_when_the_rules_change_meanwhile(
    desk: Client, anna: User, labelled: Dataset
) -> None:
    rows = Dataset.objects.filter(pk=labelled.pk)
    rows.update(aspects=["helpful", "honest"])
    lease = ask(desk, anna)
    asked = dict(ASPECT_FIELD.findall(text_of(page_of(desk))))
    assert list(asked) == ["aspect:helpful", "aspect:honest"]
    rows.update(aspects=["honest", "kind"])
    given = {"choice": "tie", "aspect:honest": "first"}
    draft = reverse("annotations:draft", args=["asked", lease.pk])
    assert desk.post(draft, {**given, "aspect:helpful": "second"}).status_code == 204
    assert page_of(desk).context["aspects"] == [("honest", "first"), ("kind", "")]
    refused = vote(desk, lease, **given, **{"aspect:helpful": "second"}, headers=HTMX)
    assert refused.status_code == 422
    assert "“helpful” is no aspect of this dataset" in text_of(refused)
    assert vote(desk, lease, **given).status_code == 302
    label = Label.objects.get(annotator__user=anna)
    assert label.aspects == {"honest": blind.preference_of(lease, "first")}


def test_undo_shows_the_pair_again_with_the_old_answer(desk: Client, anna: User) -> None:
    lease = ask(desk, anna)
    vote(desk, lease, choice="second", strength="1", rationale="shorter")
    page_of(desk)
    undo = reverse("annotations:label-undo", args=["asked"])
    back = desk.post(undo, headers=HTMX)
    assert f'data-lease="{lease.pk}"' in text_of(back)
    assert back.context["question"].draft["choice"] == "second"
    assert "shorter" in text_of(back)
    based_on = back.context["question"].based_on
    assert vote(desk, lease, choice="first", based_on=based_on).status_code == 302
    current = Label.objects.current().get(annotator__user=anna)
    assert current.preference == blind.preference_of(lease, "first")


def test_undo_without_an_answer_says_so_in_place(desk: Client, anna: User) -> None:
    lease = ask(desk, anna)
    answer = desk.post(reverse("annotations:label-undo", args=["asked"]), headers=HTMX)
    assert answer.status_code == 400
    assert "There is nothing to undo" in text_of(answer)
    assert f'data-lease="{lease.pk}"' in text_of(answer)


def test_a_draft_comes_back_with_the_pair(desk: Client, anna: User) -> None:
    lease = ask(desk, anna)
    url = reverse("annotations:draft", args=["asked", lease.pk])
    kept = {"choice": "first", "rationale": "half a sen", "strength": "2", "seconds": "31"}
    assert desk.post(url, kept).status_code == 204
    page = page_of(desk)
    assert "half a sen" in text_of(page)
    assert page.context["question"].draft["choice"] == "first"
    assert page.context["question"].draft["seconds"] == 31


def test_an_exhausted_queue_says_so_and_what_was_done(desk: Client, anna: User) -> None:
    for _ in range(4):
        vote(desk, ask(desk, anna), choice="first")
    page = text_of(page_of(desk))
    assert "Nothing is left for you" in page
    assert "<strong>4</strong> pairs today" in page
    assert "Undo the last answer" in page


def test_a_pair_dropped_meanwhile_is_said_and_the_answer_is_kept(
    desk: Client, anna: User, casey: User
) -> None:
    lease = ask(desk, anna)
    decisions.decide(pair=lease.pair, verdict=Verdict.DROP, by=casey, based_on=None)
    answer = vote(desk, lease, choice="first", headers=HTMX)
    assert answer.status_code == 200
    assert "The pair was dropped" in text_of(answer)
    assert Label.objects.filter(annotator__user=anna).count() == 1


def test_an_answer_after_its_time_that_others_have_taken_keeps_its_draft(
    desk: Client, anna: User, labelled: Dataset
) -> None:
    lease = ask(desk, anna)
    Lease.objects.update(expires_at=timezone.now() - leasing.LEASE)
    leasing.release_expired()
    assert lease.round_pair_id is not None
    assert leasing.take_place(lease.round_pair_id)
    answer = vote(desk, lease, choice="first", rationale="late", headers=HTMX)
    assert answer.status_code == 409
    assert "your answer was not counted" in text_of(answer)
    assert "late</textarea>" in answer.content.decode()  # to be taken along
    lease.refresh_from_db()
    assert lease.draft["rationale"] == "late"


def test_a_closed_round_lets_the_pair_in_hand_be_answered(
    desk: Client, anna: User, labelled: Dataset
) -> None:
    lease = ask(desk, anna)
    rounds.close(labelled.rounds.get(), by=None)
    assert vote(desk, lease, choice="first").status_code == 302
    assert "a curator opens a round of labelling" in text_of(page_of(desk))


# --- Practice -------------------------------------------------------------------------------------


def test_practice_comes_first_and_teaches_after_each_answer(
    desk: Client, anna: User, labelled: Dataset
) -> None:
    for pair in labelled.pairs.order_by("pk")[:2]:
        GoldPair.objects.create(
            dataset=labelled,
            pair=pair,
            preference="a",
            explanation="It **helps**.",
            is_practice=True,
        )
    page = text_of(page_of(desk))
    assert "Practice 1 of 2" in page
    assert "It <strong>helps" not in page
    lease = lease_of(anna)
    taught = vote(desk, lease, choice=blind.choice_of(lease, "a"), headers=HTMX)
    assert "Right:" in text_of(taught)
    assert "It <strong>helps</strong>." in text_of(taught)
    reloaded = desk.get(taught["HX-Replace-Url"])
    assert "It <strong>helps</strong>." in text_of(reloaded)
    gone_on = desk.get(reverse("annotations:label", args=["asked"]), headers=HTMX)
    assert "answered" not in gone_on["HX-Replace-Url"]
    page = text_of(page_of(desk))
    assert "Practice 2 of 2" in page
    lease = lease_of(anna)
    without_scripts = vote(desk, lease, choice=blind.choice_of(lease, "b"))
    page = text_of(desk.get(without_scripts["Location"]))
    assert "Not quite:" in page
    assert "You answered:" in page
    refused = desk.post(reverse("annotations:label-undo", args=["asked"]), headers=HTMX)
    assert "A practice answer cannot be undone" in text_of(refused)


def test_only_an_answered_practice_pair_of_ones_own_teaches(
    desk: Client, anna: User, labelled: Dataset
) -> None:
    lease = ask(desk, anna)
    for answered in (str(lease.pk), "999999", "x", "1" * 40):
        page = page_of(desk, answered=answered)
        assert page.status_code == 200
        assert "What was right" not in text_of(page)


# --- Who may --------------------------------------------------------------------------------------


def test_a_stranger_knows_nothing_of_it(labelled: Dataset, client: Client) -> None:
    client.force_login(factories.user("stranger"))
    assert client.get(reverse("annotations:label", args=["asked"])).status_code == 404


def test_anothers_pair_is_not_ones_to_answer(
    desk: Client, anna: User, casey: User, labelled: Dataset
) -> None:
    lease = ask(desk, anna)
    other = Client()
    other.force_login(casey)
    for name in ("vote", "draft", "label-differences"):
        url = reverse(f"annotations:{name}", args=["asked", lease.pk])
        method = other.get if name == "label-differences" else other.post
        assert method(url, {"choice": "first"}).status_code == 404
    assert not Label.objects.filter(pair=lease.pair, annotator__user__isnull=False).exists()


def test_who_was_deactivated_meanwhile_is_told_and_sees_no_more(desk: Client, anna: User) -> None:
    lease = ask(desk, anna)
    Membership.objects.filter(user=anna).update(ended_at=timezone.now())
    answer = vote(desk, lease, choice="first", rationale="All that work", headers=HTMX)
    assert answer.status_code == 403
    lease.refresh_from_db()
    assert lease.draft["rationale"] == "All that work"  # they may be let in again
    assert "no longer, a member" in text_of(answer)
    assert answer["HX-Retarget"] == "#notices"
    draft = reverse("annotations:draft", args=["asked", lease.pk])
    assert desk.post(draft, {"choice": "first"}, headers=HTMX).status_code == 403
    differences = reverse("annotations:label-differences", args=["asked", lease.pk])
    assert desk.get(differences).status_code == 403
    assert not Label.objects.filter(annotator__user=anna).exists()
    page = page_of(desk)
    assert page.status_code == 403
    assert "You are no longer a member of this dataset" in text_of(page)


@pytest.mark.parametrize("name", ["vote", "draft", "label-undo"])
def test_reading_changes_nothing(desk: Client, anna: User, name: str) -> None:
    arguments = ["asked"] if name == "label-undo" else ["asked", ask(desk, anna).pk]
    assert desk.get(reverse(f"annotations:{name}", args=arguments)).status_code == 405


# --- Blind ----------------------------------------------------------------------------------------


SECRET = "SECRET"


def secretive(scene: Scene) -> PreferencePair:
    """A pair of the scene of which everything but its texts is a word that can be found again."""
    pair = scene.pair
    pair.source_id = f"{SECRET}-source-id"
    pair.meta = {f"{SECRET}-meta": f"{SECRET}-model"}
    pair.save()
    PairStanding.objects.filter(pk=pair.pk).update(
        origin=f"{SECRET}-origin", review_priority=12345.678
    )
    scene.dataset.imports.update(file_name=f"{SECRET}-file.jsonl")
    scene.dataset.annotators.update(name=f"{SECRET}-annotator")
    GoldPair.objects.create(
        dataset=scene.dataset, pair=pair, preference="a", explanation=f"{SECRET}-explanation"
    )
    return pair


def test_the_page_holds_nothing_but_the_texts_of_the_pair(scene: Scene, client: Client) -> None:
    pair = secretive(scene)
    factories.opened_round(scene.dataset, name=f"{SECRET}-round")
    client.force_login(scene.annotator)
    rows = Lease.objects.filter(annotator__user=scene.annotator)
    annotator = leasing.annotator_for(scene.annotator, scene.dataset)
    leasing.next_lease(annotator)
    rows.update(pair=pair, is_gold=True, round_pair=None)
    address = reverse("annotations:label", args=["scene"])
    whole = client.get(address).content.decode()
    part = client.get(address, headers=HTMX).content.decode()
    lease = rows.get()
    differences = reverse("annotations:label-differences", args=["scene", lease.pk])
    compared = client.get(differences).content.decode()
    shown = blind.shown(lease)
    assert shown.first[0]["content"] in whole
    score = scene.run.scores.get(pair=pair)
    secrets = [SECRET, pair.digest, pair.group, "12345", "source_preference", "is_gold"]
    secrets += [f"{score.strength:.2f}", f"{score.spread:.3f}", score.get_flag_display()]
    for text in (whole, part, compared):
        for secret in secrets:
            assert secret not in text, secret
        for word in (
            "flipped",
            "ambiguous",
            "gold",
            "repeat",
            "random",
            "priority",
            "labelled better",
        ):
            assert word not in text.lower().replace('id="guidelines"', ""), word


def test_the_page_looks_the_same_for_work_for_gold_and_for_a_repeated_pair(
    desk: Client, anna: User
) -> None:
    ask(desk, anna)
    rows = Lease.objects.filter(annotator__user=anna)
    plain = text_of(page_of(desk))

    def as_shown(**changes: Any) -> str:
        rows.update(**changes)
        return text_of(page_of(desk))

    def without_marks(page: str) -> list[str]:
        return [line for line in page.splitlines() if "csrf" not in line.lower()]

    assert without_marks(as_shown(is_gold=True)) == without_marks(plain)
    assert without_marks(as_shown(is_gold=False, occasion="repeat")) == without_marks(plain)


def test_a_curator_who_labels_is_as_blind(scene: Scene, client: Client) -> None:
    factories.opened_round(scene.dataset)
    client.force_login(scene.curator)
    page = client.get(reverse("annotations:label", args=["scene"]), headers=HTMX).content.decode()
    assert "labelled better" not in page
    assert "models" not in page


# --- Hostile texts --------------------------------------------------------------------------------


def shown_with(desk: Client, anna: User, text: str) -> str:
    PreferencePair.objects.update(
        prompt=[{"role": "user", "content": text}],
        response_a=[{"role": "assistant", "content": text}],
        response_b=[{"role": "assistant", "content": text[::-1]}],
    )
    return text_of(page_of(desk))


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "</textarea><script>alert(1)</script>",
        "<img src=https://elsewhere.example/x.png onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "![x](https://elsewhere.example/x.png)",
        '"><svg onload=alert(1)>',
        "$\\text{<script>alert(1)</script>}$",
        "{{ 7|add:7 }}{% csrf_token %}",
    ],
)
def test_a_hostile_text_is_text(desk: Client, anna: User, text: str) -> None:
    page = shown_with(desk, anna, text)
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<svg onload" not in page
    assert 'href="javascript' not in page
    assert 'src="https' not in page


def test_characters_that_turn_the_direction_are_seen_and_turn_nothing(
    desk: Client, anna: User, labelled: Dataset
) -> None:
    Dataset.objects.update(guidelines="guide \u202eenil", aspects=["kind\u2067 turned"])
    page = shown_with(desk, anna, "abc \u202edef\u2066 ghi")
    assert "\u202e" not in page
    assert "\u2066" not in page
    assert '<span class="mark-of">⟦U+202E⟧</span>' in page
    assert "guide ⟦U+202E⟧" in page
    assert "<bdi>kind" in page


@pytest.mark.parametrize("text", ["x" * 200_000, "word " * 40_000, "**" * 49_000, "$a$ " * 24_000])
def test_two_hundred_kilobytes_of_one_line_are_shown_as_they_stand(
    desk: Client, anna: User, text: str
) -> None:
    page = shown_with(desk, anna, text)
    assert text in page


def test_a_comment_is_shown_to_its_author_and_those_of_others_are_not(
    desk: Client, anna: User, casey: User, labelled: Dataset
) -> None:
    lease = ask(desk, anna)
    commenting.comment(pair=lease.pair, by=casey, text="mind the second paragraph")
    desk.post(
        reverse("annotations:label-comment", args=["asked", lease.pk]), {"comment": "cut off?"}
    )
    page = text_of(page_of(desk))
    assert "cut off?" in page
    assert "mind the second" not in page
    casey_too = Client()
    casey_too.force_login(casey)
    Lease.objects.filter(pk=lease.pk).update(annotator=leasing.annotator_for(casey, labelled))
    assert "cut off?" not in text_of(page_of(casey_too))


def test_an_empty_response_says_that_it_is(desk: Client, anna: User) -> None:
    PreferencePair.objects.update(response_a=[{"role": "assistant", "content": ""}])
    assert "This response is empty." in text_of(page_of(desk))


def test_differences_are_named_by_their_places(desk: Client, anna: User) -> None:
    PreferencePair.objects.update(
        response_a=[{"role": "assistant", "content": "😀 the red house"}],
        response_b=[{"role": "assistant", "content": "😀 the blue house"}],
    )
    lease = ask(desk, anna)
    url = reverse("annotations:label-differences", args=["asked", lease.pk])
    found = desk.get(url).json()
    ends = {side: end for side in ("first", "second") for _, end in found[side]}
    assert sorted(ends.values()) == [9, 10]
    PreferencePair.objects.update(response_b=[{"role": "assistant", "content": "else entirely"}])
    assert desk.get(url).json() == {"first": None, "second": None}


# --- The annotator's own page ---------------------------------------------------------------------


def test_who_only_looks_is_no_annotator_yet(desk: Client, anna: User, labelled: Dataset) -> None:
    labelled.rounds.get().annotators.add(anna)
    home = desk.get(reverse("scoring:overview", args=["asked"]))
    assert home.context["progress"].left == 4
    assert "Start labelling" in text_of(home)
    assert not Annotator.objects.filter(user=anna).exists()
    vote(desk, ask(desk, anna), choice="first")
    assert desk.get(reverse("scoring:overview", args=["asked"])).context["progress"].left == 3


def test_home_shows_guidelines_progress_and_the_way_in(
    desk: Client, anna: User, labelled: Dataset
) -> None:
    Dataset.objects.update(guidelines="Prefer the **helpful** one.")
    page = text_of(desk.get(reverse("scoring:overview", args=["asked"])))
    assert "Prefer the <strong>helpful</strong> one." in page
    assert "Start labelling" in page
    vote(desk, ask(desk, anna), choice="first")
    answer = desk.get(reverse("scoring:overview", args=["asked"]))
    assert "Go on labelling" in text_of(answer)
    assert answer.context["progress"].today == 1


def test_a_vote_asks_the_database_as_often_whatever_was_answered_before(
    desk: Client, anna: User, labelled: Dataset, django_assert_max_num_queries: Any
) -> None:
    lease = ask(desk, anna)
    with django_assert_max_num_queries(45):
        vote(desk, lease, choice="first", headers=HTMX)


def test_progress_is_that_of_the_dataset_alone(desk: Client, anna: User, labelled: Dataset) -> None:
    other = factories.dataset("other", annotators=[anna])
    annotator = leasing.annotator_for(anna, other)
    vote(desk, ask(desk, anna), choice="first")
    assert labelling.progress(annotator).total == 0
