"""Beside a pair: comments, one more opinion, gold. Each on the page of the pair, with and without
scripts."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotations import commenting, golds
from annotations.models import Comment, Dataset, GoldPair, PreferencePair, Round
from annotations.views import labelling_setup
from curator.models import User
from tests import factories

HTMX = {"HX-Request": "true"}


@pytest.fixture
def pair(dataset: Dataset) -> PreferencePair:
    return factories.pairs(dataset, 3)[0]


@pytest.fixture
def ann(dataset: Dataset, pair: PreferencePair) -> User:
    person = factories.annotator(dataset, "ann").user
    assert person is not None
    return person


def at(name: str, pair: PreferencePair, *arguments: Any) -> str:
    return reverse(name, args=["pairs", *(arguments or [pair.pk])])


def page_of(client: Any, pair: PreferencePair) -> str:
    return str(client.get(at("scoring:pair", pair)).content.decode())


# --- Comments


def test_a_comment_is_on_the_page_of_its_pair(pair: PreferencePair, as_casey: Any) -> None:
    response = as_casey.post(at("annotations:comments", pair), {"text": "A <b>invents</b>."})
    assert response["Location"] == at("scoring:pair", pair)
    page = page_of(as_casey, pair)
    assert "Comments (1)" in page
    assert "A &lt;b&gt;invents&lt;/b&gt;." in page


def test_with_scripts_the_comments_come_in_place(pair: PreferencePair, as_casey: Any) -> None:
    response = as_casey.post(at("annotations:comments", pair), {"text": "Look."}, headers=HTMX)
    part = response.content.decode()
    assert part.lstrip().startswith('<details id="comments"')
    assert "Look." in part
    assert "<html" not in part


def test_a_comment_leads_back_to_the_page_that_it_was_made_on(
    pair: PreferencePair, as_casey: Any
) -> None:
    here = at("annotations:dispute", pair)
    address = at("annotations:comments", pair)
    assert as_casey.post(address, {"text": "Look.", "next": here})["Location"] == here
    for elsewhere in ("https://evil.example/", "//evil.example", "foo", "a:b", "/\\evil.example"):
        response = as_casey.post(address, {"text": "x", "next": elsewhere})
        assert response["Location"] == at("scoring:pair", pair)


def test_an_empty_comment_is_refused_in_place_and_a_long_one_is_not_lost(
    pair: PreferencePair, as_casey: Any
) -> None:
    address = at("annotations:comments", pair)
    assert as_casey.post(address, {"text": " "}).status_code == 422
    response = as_casey.post(address, {"text": "x" * 5001}, headers=HTMX)
    assert response.status_code == 422
    part = response.content.decode()
    assert "at most 5,000 are kept" in part
    assert "x" * 5001 in part
    assert not Comment.objects.exists()


def test_an_annotator_comments_on_the_pair_in_their_hands_and_sees_their_own_alone(
    dataset: Dataset, pair: PreferencePair, ann: User, casey: User, client: Client
) -> None:
    factories.opened_round(dataset)
    lease = factories.leased(factories.annotator(dataset, "ann"))
    commenting.comment(pair=lease.pair, by=casey, text="A curator's secret.")
    client.force_login(ann)
    address = reverse("annotations:label-comment", args=["pairs", lease.pk])
    response: Any = client.post(address, {"comment": "I cannot tell."}, headers=HTMX)
    part = response.content.decode()
    assert "I cannot tell." in part
    assert "secret" not in part
    assert f"/pairs/{lease.pair_id}/" not in part
    plain = client.post(address, {"comment": "Really not."})
    assert plain["Location"] == reverse("annotations:label", args=["pairs"])
    assert Comment.objects.filter(pair=lease.pair, author=ann).count() == 2


def test_a_curator_who_labels_sees_their_own_comments_alone(
    dataset: Dataset, pair: PreferencePair, ann: User, as_casey: Any
) -> None:
    factories.opened_round(dataset)
    lease = factories.leased(factories.annotator(dataset, "casey"))
    commenting.comment(pair=lease.pair, by=ann, text="Ann's own.")
    address = reverse("annotations:label-comment", args=["pairs", lease.pk])
    part = as_casey.post(address, {"comment": "Mine."}, headers=HTMX).content.decode()
    assert "Mine." in part
    assert "Ann&#x27;s own." not in part


def test_a_comment_that_was_not_sent_goes_with_the_answer(
    dataset: Dataset, pair: PreferencePair, ann: User, client: Client
) -> None:
    factories.opened_round(dataset)
    lease = factories.leased(factories.annotator(dataset, "ann"))
    client.force_login(ann)
    vote = reverse("annotations:vote", args=["pairs", lease.pk])
    answer = {"choice": "first", "comment": "Cut off?"}
    client.post(vote, answer, headers=HTMX)
    client.post(vote, answer, headers=HTMX)  # pressed twice
    assert Comment.objects.get().text == "Cut off?"
    assert Comment.objects.get().pair == lease.pair


def test_a_comment_that_is_too_long_keeps_its_answer_back(
    dataset: Dataset, pair: PreferencePair, ann: User, client: Client
) -> None:
    factories.opened_round(dataset)
    lease = factories.leased(factories.annotator(dataset, "ann"))
    client.force_login(ann)
    vote = reverse("annotations:vote", args=["pairs", lease.pk])
    response: Any = client.post(
        vote, {"choice": "first", "comment": "long " * 1001 + "end"}, headers=HTMX
    )
    assert response.status_code == 422
    assert "long end</textarea>" in response.content.decode()
    assert not ann.annotators.get().labels.exists()


def test_a_comment_is_kept_as_a_draft_until_it_is_sent(
    dataset: Dataset, pair: PreferencePair, ann: User, client: Client
) -> None:
    factories.opened_round(dataset)
    lease = factories.leased(factories.annotator(dataset, "ann"))
    client.force_login(ann)
    client.post(
        reverse("annotations:draft", args=["pairs", lease.pk]),
        {"choice": "first", "comment": "Cut off?"},
    )
    label = reverse("annotations:label", args=["pairs"])
    assert "Cut off?</textarea>" in client.get(label).content.decode()
    comment = reverse("annotations:label-comment", args=["pairs", lease.pk])
    client.post(comment, {"comment": "Cut off?"})
    page = client.get(label).content.decode()
    assert "Cut off?</textarea>" not in page
    lease.refresh_from_db()
    assert lease.draft["choice"] == "first"


def test_curators_find_all_comments_of_a_dataset_in_one_place(
    dataset: Dataset,
    pair: PreferencePair,
    ann: User,
    as_casey: Any,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(4):
        commenting.comment(pair=pair, by=ann, text=f"Remark {number}")
    other = factories.pairs(factories.dataset("other"), 1)[0]
    Comment.objects.create(pair=other, author=ann, actor="ann", text="Elsewhere")
    labelling = as_casey.get(reverse("annotations:labelling", args=["pairs"])).content.decode()
    address = reverse("annotations:all-comments", args=["pairs"])
    assert f'href="{address}"' in labelling
    assert 'title="in the last seven days">4</span>' in labelling
    monkeypatch.setattr(labelling_setup, "SHOWN_COMMENTS", 3)
    with django_assert_max_num_queries(8):
        page = as_casey.get(address)
    assert [one.text for one in page.context["comments"]] == ["Remark 3", "Remark 2", "Remark 1"]
    assert reverse("scoring:pair", args=["pairs", pair.pk]) in page.content.decode()
    older = as_casey.get(address, {"before": page.context["older"]})
    assert [one.text for one in older.context["comments"]] == ["Remark 0"]
    assert "Elsewhere" not in older.content.decode()


# --- One more opinion


def test_one_more_person_is_asked(
    dataset: Dataset, pair: PreferencePair, ann: User, as_casey: Any
) -> None:
    address = at("annotations:second-opinion", pair)
    response = as_casey.post(address, headers=HTMX)
    assert "1 asked for" in response.content.decode()
    as_casey.post(address)  # pressed twice
    row = Round.objects.get()
    assert (row.pair, row.labels_per_pair, row.annotators.count()) == (pair, 1, 0)
    assert factories.leased(factories.annotator(dataset, "ann")).pair == pair
    assert "1 asked for" in page_of(as_casey, pair)


def test_named_people_are_asked_one_label_each(
    dataset: Dataset, pair: PreferencePair, ann: User, as_casey: Any
) -> None:
    ben = factories.annotator(dataset, "ben").user
    assert ben is not None
    address = at("annotations:second-opinion", pair)
    response = as_casey.post(address, {"annotators": [ann.pk, ben.pk]}, follow=True)
    assert "One more opinion is asked for" in response.content.decode()
    row = Round.objects.get()
    assert row.labels_per_pair == 2
    assert set(row.annotators.all()) == {ann, ben}


def test_only_who_has_not_labelled_the_pair_is_offered(
    dataset: Dataset, pair: PreferencePair, ann: User, as_casey: Any
) -> None:
    person = f'<input type="checkbox" name="annotators" value="{ann.pk}"'
    assert person in page_of(as_casey, pair)
    factories.said(factories.annotator(dataset, "ann"), pair, "a")
    assert person not in page_of(as_casey, pair)
    address = at("annotations:second-opinion", pair)
    refused = as_casey.post(address, {"annotators": [ann.pk]})
    assert refused.status_code == 400
    assert "who have said nothing of this pair" in refused.content.decode()
    factories.said(factories.annotator(dataset, "casey"), pair, "a")
    page = page_of(as_casey, pair)
    assert "Everybody here has said something of this pair" in page
    assert "Ask one more person" not in page


def test_nobody_from_elsewhere_is_asked(pair: PreferencePair, as_casey: Any) -> None:
    stranger = factories.user("stranger")
    response = as_casey.post(at("annotations:second-opinion", pair), {"annotators": [stranger.pk]})
    assert response.status_code == 400
    assert not Round.objects.exists()


@pytest.mark.parametrize("nobody", ["9" * 40, "-" + "9" * 40, "x", ""])
def test_what_names_nobody_is_refused(pair: PreferencePair, as_casey: Any, nobody: str) -> None:
    response = as_casey.post(at("annotations:second-opinion", pair), {"annotators": [nobody]})
    assert response.status_code == 400
    assert not Round.objects.exists()


# --- Gold


@pytest.mark.parametrize("name", ["second-opinion", "gold"])
def test_what_is_no_address_leads_to_the_page_of_the_pair(
    pair: PreferencePair, as_casey: Any, name: str
) -> None:
    given = {"preference": "b", "next": "foo"}
    response = as_casey.post(at(f"annotations:{name}", pair), given)
    assert response["Location"] == at("scoring:pair", pair)


def test_a_pair_is_marked_as_gold_on_its_page_and_retired(
    pair: PreferencePair, as_casey: Any
) -> None:
    address = at("annotations:gold", pair)
    assert "Use as a gold or practice pair" in page_of(as_casey, pair)
    as_casey.post(address, {"preference": "b", "explanation": "since"})
    gold = GoldPair.objects.get()
    assert (gold.pair, gold.preference, gold.explanation) == (pair, "b", "since")
    assert "Gold pair:" in page_of(as_casey, pair)
    part = as_casey.post(address, {"retire": "1"}, headers=HTMX).content.decode()
    assert "Use as a gold or practice pair" in part
    gold.refresh_from_db()
    assert gold.retired_at is not None


def test_practice_without_a_reason_is_refused_in_place(pair: PreferencePair, as_casey: Any) -> None:
    address, given = at("annotations:gold", pair), {"preference": "b", "is_practice": "on"}
    response = as_casey.post(address, given, headers=HTMX)
    assert response.status_code == 422
    assert "say why its answer is right" in response.content.decode()
    plain = as_casey.post(address, given)
    assert plain.status_code == 422
    assert "say why its answer is right" in plain.content.decode()
    assert not GoldPair.objects.exists()


def test_the_form_does_not_whisper_what_the_source_says(
    pair: PreferencePair, as_casey: Any, casey: User
) -> None:
    assert pair.source_preference == "a"
    assert 'value="a" selected' not in page_of(as_casey, pair)
    golds.mark(pair=pair, preference="a", by=casey)
    assert 'value="a" selected' in page_of(as_casey, pair)


def test_what_people_write_turns_nothing_around_it(
    pair: PreferencePair, as_casey: Any, casey: User
) -> None:
    casey.first_name = "Casey\u202e"
    casey.save()
    turning = "right\u202etfel"
    factories.said(factories.annotator(pair.dataset, "ann"), pair, "a", rationale=turning)
    as_casey.post(at("annotations:comments", pair), {"text": turning})
    for address in (at("scoring:pair", pair), at("annotations:dispute", pair)):
        page = as_casey.get(address).content.decode()
        assert "\u202e" not in page
        assert "U+202E" in page
