"""What curators set up for annotators: rounds, rules, gold and practice pairs."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from annotations import golds, rounds
from annotations.models import Dataset, GoldPair, Round
from annotations.views import labelling_setup
from annotations.views.labelling_setup import filter_words
from curator.models import User
from scoring import launch, tasks
from tests import factories

HTMX = {"HX-Request": "true"}
RULES = {
    "guidelines": "Prefer what is **true**.",
    "aspects": "helpful\n  honest \n\n",
    "asks_strength": "on",
    "gold_every": "10",
    "repeat_every": "0",
}


@pytest.fixture
def ready(dataset: Dataset) -> Dataset:
    """Six pairs and two people who may label them."""
    factories.pairs(dataset, 6)
    for name in ("ann", "ben"):
        factories.annotator(dataset, name)
    return dataset


def at(name: str, dataset: Dataset, *arguments: Any) -> str:
    return reverse(name, args=[dataset.slug, *arguments])


def filled(dataset: Dataset) -> Round:
    row = dataset.rounds.get()
    tasks.fill_round(round_id=row.pk)
    row.refresh_from_db()
    return row


def new_round(client: Client, dataset: Dataset, **changes: Any) -> Any:
    given = {"name": "First", "labels_per_pair": "1", "random_percent": "10"}
    return client.post(at("scoring:round-new", dataset), {**given, **changes})


# --- Rounds


def test_a_round_of_the_whole_dataset_is_opened_and_filled(ready: Dataset, as_casey: Any) -> None:
    response = new_round(as_casey, ready, labels_per_pair="2")
    assert response["Location"] == at("annotations:labelling", ready)
    row = filled(ready)
    assert (row.name, row.labels_per_pair, row.random_share) == ("First", 2, 0.1)
    assert (row.pairs_count, row.created_by) == (6, User.objects.get(username="casey"))
    page = as_casey.get(response["Location"]).content.decode()
    assert "“First” is open." in page
    assert "0</strong> of 12 labels" in page


def test_the_list_of_pairs_leads_to_a_round_of_what_it_shows(ready: Dataset, as_casey: Any) -> None:
    page = as_casey.get(f"{at('scoring:pairs', ready)}?text=Question+3&order=strength")
    address = f"{at('scoring:round-new', ready)}?text=Question+3"
    assert f'href="{address}"' in page.content.decode()
    form = as_casey.get(address)
    assert form.context["count"] == 1
    assert 'value="Question 3"' in form.content.decode()
    new_round(as_casey, ready, text="Question 3", status="undecided")
    row = filled(ready)
    assert row.filter == {
        "conditions": [
            {"field": "status", "is": ["undecided"]},
            {"field": "text", "contains": "Question 3"},
        ]
    }
    assert [one.pair.source_id for one in row.rows.all()] == ["pair-3"]


def test_scored_pairs_are_chosen_by_flag_and_strength(ready: Dataset, as_casey: Any) -> None:
    pairs = list(ready.pairs.order_by("pk"))
    found = {pair.pk: (number - 2.0, "clear") for number, pair in enumerate(pairs[:5])}
    factories.judged(ready, {**found, pairs[0].pk: (-2.0, "flipped")})
    address = at("scoring:round-new", ready)
    counts = {
        query: as_casey.get(f"{address}?{query}").context["count"]
        for query in ("", "flag=flipped", "flag=unscored", "strength_to=0", "status=keep")
    }
    assert counts == {
        "": 6,
        "flag=flipped": 1,
        "flag=unscored": 1,
        "strength_to=0": 3,
        "status=keep": 0,
    }
    new_round(as_casey, ready, strength_to="0")
    assert filled(ready).pairs_count == 3


def test_the_count_follows_the_filter_in_place(ready: Dataset, as_casey: Any) -> None:
    address = f"{at('scoring:round-new', ready)}?text=Question+3"
    part = as_casey.get(address, headers=HTMX).content.decode()
    assert "<strong>1</strong> pair now" in part
    assert "<html" not in part


def test_a_round_may_be_for_some_people_alone(ready: Dataset, as_casey: Any) -> None:
    ann = User.objects.get(username="ann")
    new_round(as_casey, ready, annotators=[ann.pk])
    assert list(filled(ready).annotators.all()) == [ann]
    stranger = factories.user("stranger")
    refused = new_round(as_casey, ready, annotators=[stranger.pk])
    assert refused.status_code == 422
    assert ready.rounds.count() == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": " "}, "This field is required"),
        ({"labels_per_pair": "0"}, "greater than or equal to 1"),
        ({"random_percent": "101"}, "less than or equal to 100"),
        ({"flag": "flipped"}, "is not scored yet"),
        ({"strength_from": "2", "strength_to": "1"}, "strength at least 2 and strength at most 1"),
        ({"flag": "moon"}, "“flag” is never “moon”"),
    ],
)
def test_a_round_that_makes_no_sense_is_refused_where_it_was_asked_for(
    ready: Dataset, as_casey: Any, changes: Any, sentence: str
) -> None:
    response = new_round(as_casey, ready, **changes)
    assert response.status_code == 422
    assert sentence in response.content.decode()
    assert not ready.rounds.exists()


def test_more_labels_than_people_named_are_refused(ready: Dataset, as_casey: Any) -> None:
    ann = User.objects.get(username="ann")
    response = new_round(as_casey, ready, labels_per_pair="2", annotators=[ann.pk])
    assert response.status_code == 422
    assert "name more, or ask for fewer labels" in response.content.decode()


def test_a_round_shows_how_far_it_is_and_closes(ready: Dataset, as_casey: Any) -> None:
    row = factories.opened_round(ready, name="Pilot", labels=2)
    ann, ben = (factories.annotator(ready, name) for name in ("ann", "ben"))
    factories.labelled(ann, "a", "b", "tie")
    factories.leased(ben)
    page = as_casey.get(at("annotations:labelling", ready)).content.decode()
    assert "<strong>3</strong> of 12 labels" in page
    assert "1 in hand" in page
    response = as_casey.post(at("annotations:round-close", ready, row.pk), follow=True)
    assert "“Pilot” is closed" in response.content.decode()
    row.refresh_from_db()
    assert row.closed_at is not None
    assert [one.row for one in response.context["closed_rounds"]] == [row]


def test_a_closed_round_is_opened_again(ready: Dataset, as_casey: Any, casey: User) -> None:
    row = factories.opened_round(ready, name="Pilot")
    rounds.close(row, by=casey)
    ann = factories.annotator(ready, "ann")
    page = as_casey.get(at("annotations:labelling", ready)).content.decode()
    assert "Open “Pilot” again" in page
    address = at("annotations:round-reopen", ready, row.pk)
    response = as_casey.post(address, follow=True)
    assert "“Pilot” is open again" in response.content.decode()
    assert [one.row for one in response.context["open_rounds"]] == [row]
    assert as_casey.post(address).status_code == 302
    assert factories.leased(ann).round_pair.round == row  # type: ignore[union-attr]


def test_a_round_that_could_not_be_filled_says_why(ready: Dataset, as_casey: Any) -> None:
    new_round(as_casey, ready, status="keep")
    filled(ready)
    page = as_casey.get(at("annotations:labelling", ready)).content.decode()
    assert "No pair passes this round&#x27;s filter" in page
    assert "not filled" in page


def test_new_pairs_are_added_to_a_round_on_request(ready: Dataset, as_casey: Any) -> None:
    row = factories.opened_round(ready)
    factories.imported(ready, [factories.row(number) for number in range(20, 24)])
    as_casey.post(at("scoring:round-again", ready, row.pk))
    tasks.fill_round(round_id=row.pk)
    row.refresh_from_db()
    assert row.pairs_count == 10


def test_while_a_round_is_being_filled_the_page_asks_again(ready: Dataset, as_casey: Any) -> None:
    launch.start_round(dataset=ready, name="Big", by=None)
    address = at("annotations:labelling", ready)
    assert 'hx-trigger="every 2s"' in as_casey.get(address).content.decode()
    part = as_casey.get(address, headers=HTMX).content.decode()
    assert "being filled" in part
    assert "<html" not in part
    filled(ready)
    row = ready.rounds.get()
    part = as_casey.get(address, headers=HTMX).content.decode()
    assert 'hx-trigger="every 5s"' in part  # for labels as they come
    as_casey.post(at("annotations:round-close", ready, row.pk))
    assert "hx-trigger" not in as_casey.get(address, headers=HTMX).content.decode()


def test_second_opinions_are_listed_apart(ready: Dataset, as_casey: Any, casey: User) -> None:
    pair = ready.pairs.order_by("pk")[0]
    rounds.second_opinion(pair=pair, by=casey)
    page = as_casey.get(at("annotations:labelling", ready)).content.decode()
    assert "Second opinions asked for" in page
    assert "0 of 1 given" in page
    assert "from whoever comes first" in page


def test_a_round_stays_on_the_page_however_many_second_opinions_follow(
    ready: Dataset, as_casey: Any, casey: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling_setup, "SHOWN_ROUNDS", 2)
    row = factories.opened_round(ready, name="Pilot")
    for pair in ready.pairs.all()[:4]:
        rounds.second_opinion(pair=pair, by=casey)
    factories.labelled(factories.annotator(ready, "ann"), "a")
    response = as_casey.get(at("annotations:labelling", ready))
    assert [one.row for one in response.context["open_rounds"]] == [row]
    assert len(response.context["second_opinions"]) == 2
    assert "1 more" in response.content.decode()
    assert len(response.context["closed_rounds"]) == 1


def test_what_the_page_asks_for_every_other_second_counts_no_labels(
    ready: Dataset, as_casey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch.start_round(dataset=ready, name="Big", by=None)
    for counts in ("_label_counts", "_frame"):
        monkeypatch.setattr(labelling_setup, counts, None)  # would raise
    address = at("annotations:labelling", ready)
    assert "being filled" in as_casey.get(address, headers=HTMX).content.decode()


def test_labels_are_counted_again_when_there_are_more(ready: Dataset, as_casey: Any) -> None:
    row, ann = factories.opened_round(ready, name="Pilot"), factories.annotator(ready, "ann")
    held, address = factories.leased(ann), at("annotations:labelling", ready)
    rounds.close(row, by=None)
    pages = [as_casey.get(address)]
    factories.voted(ann, held)
    pages.append(as_casey.get(address))
    assert [page.context["labels"]["given"] for page in pages] == [6, 7]
    closed = [page.context["closed_rounds"][0].progress for page in pages]
    assert [(one.given, one.held) for one in closed] == [(0, 1), (1, 0)]


def test_the_page_of_rounds_asks_a_fixed_number_of_times(
    ready: Dataset, as_casey: Any, django_assert_max_num_queries: Any
) -> None:
    address = at("annotations:labelling", ready)
    people = [User.objects.get(username=name) for name in ("ann", "ben")]
    for number in range(4):
        factories.opened_round(ready, name=f"Round {number}", annotators=people)
    with django_assert_max_num_queries(19):
        as_casey.get(address)


def test_a_name_is_shown_as_text(ready: Dataset, as_casey: Any) -> None:
    factories.opened_round(ready, name="<script>alert(1)</script>")
    page = as_casey.get(at("annotations:labelling", ready)).content.decode()
    assert "<script>alert" not in page


def test_a_name_that_turns_the_direction_is_refused(ready: Dataset, as_casey: Any) -> None:
    response = new_round(as_casey, ready, name="First\u202e dnuor")
    assert response.status_code == 422
    assert "turn the direction of writing" in response.content.decode()
    assert not ready.rounds.exists()


def test_a_name_given_before_that_was_refused_is_shown_with_its_signs(
    ready: Dataset, as_casey: Any
) -> None:
    row = factories.opened_round(ready)
    Round.objects.filter(pk=row.pk).update(name="First\u202e dnuor")
    page = as_casey.get(at("annotations:labelling", ready)).content.decode()
    assert "\u202e" not in page
    assert "First⟦U+202E⟧ dnuor" in page
    address = at("annotations:round-close", ready, row.pk)
    closed = as_casey.post(address, follow=True).content.decode()
    assert "\u202e" not in closed


def test_a_name_that_runs_from_right_to_left_moves_nothing_around_it(
    ready: Dataset, as_casey: Any
) -> None:
    factories.opened_round(ready, name="سؤال")
    page = as_casey.get(at("annotations:labelling", ready)).content.decode()
    assert "<bdi>سؤال</bdi>" in page


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({}, ""),
        ({"flags": ["flipped"]}, "likely flipped"),
        (
            {"flags": ["ambiguous", "unscored"], "status": "flip"},
            "ambiguous or not scored yet, flipped",
        ),
        (
            {"strength_from": -1.5, "strength_to": 0.0, "text": "why"},
            "strength from -1.5, strength to 0, with “why”",
        ),
        ({"conditions": [{"field": "flag", "is": ["flipped"]}]}, "flag likely flipped"),
    ],
)
def test_a_filter_is_said_in_words(stored: Any, words: str) -> None:
    assert filter_words(stored) == words


# --- Rules


def test_the_rules_are_kept(ready: Dataset, as_casey: Any) -> None:
    address = at("annotations:labelling-rules", ready)
    response = as_casey.post(address, {**RULES, "guidelines": "One.\r\nTwo."})
    assert response["Location"] == address
    ready.refresh_from_db()
    assert (ready.guidelines, ready.aspects) == ("One.\nTwo.", ["helpful", "honest"])
    assert (ready.asks_strength, ready.requires_rationale) == (True, False)
    assert (ready.gold_every, ready.repeat_every) == (10, 0)
    page = as_casey.get(address).content.decode()
    assert "helpful\nhonest</textarea>" in page


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gold_every": "1"}, "Choose 0 for none, or 2 to 1,000."),
        ({"repeat_every": "-1"}, "greater than or equal to 0"),
        ({"gold_every": ""}, "This field is required."),
        ({"aspects": "x" * 61}, "has 1 to 60 characters"),
        ({"aspects": "Honest\nhonest"}, "Two aspects have the same name."),
        ({"aspects": "\n".join("abcdefghi")}, "At most 8 aspects"),
        ({"aspects": "a\u202eb"}, "a plain word or two"),
        ({"guidelines": "x" * 50_001}, "longer than 50,000 characters"),
    ],
)
def test_rules_that_make_no_sense_are_refused_and_what_was_typed_stays(
    ready: Dataset, as_casey: Any, changes: Any, sentence: str
) -> None:
    address = at("annotations:labelling-rules", ready)
    response = as_casey.post(address, {**RULES, **changes})
    assert response.status_code == 422
    page = response.content.decode()
    assert sentence in page
    assert "Prefer what is **true**." in page or "guidelines" in changes
    ready.refresh_from_db()
    assert (ready.guidelines, ready.aspects, ready.gold_every) == ("", [], 0)


def test_guidelines_are_previewed_as_annotators_see_them(ready: Dataset, as_casey: Any) -> None:
    address = at("annotations:rules-preview", ready)
    text = "**bold** <script>alert(1)</script>"
    page = as_casey.post(address, {"guidelines": text}).content.decode()
    assert "<strong>bold</strong>" in page
    assert "<script>" not in page
    ready.refresh_from_db()
    assert ready.guidelines == ""
    assert "Nothing yet" in as_casey.post(address, {"guidelines": " "}).content.decode()


# --- Gold and practice


def upload(client: Client, dataset: Dataset, content: bytes, **changes: Any) -> Any:
    file = SimpleUploadedFile("gold.jsonl", content)
    return client.post(at("annotations:gold-pairs", dataset), {"file": file, **changes})


def test_a_file_of_gold_pairs_is_brought_in_and_listed(ready: Dataset, as_casey: Any) -> None:
    content = (
        b'{"id": "pair-0", "label": "a"}\n'
        b'{"id": "pair-1", "label": "b", "practice": true, "explanation": "B is short."}\n'
        b'{"id": "nowhere", "label": "b"}\n'
    )
    response = upload(as_casey, ready, content)
    assert response.status_code == 200
    page = response.content.decode()
    assert "2 of 3 rows marked, 1 refused:" in page
    assert "Line 3: there is no pair with the id &#x27;nowhere&#x27; in the dataset." in page
    assert [gold.pair.source_id for gold in response.context["practice"]] == ["pair-1"]
    assert [gold.pair.source_id for gold in response.context["silent"]] == ["pair-0"]
    assert "B is short." in page


@pytest.mark.parametrize("content", [b"", b"[]", b"PK\x03\x04"])
def test_a_file_that_cannot_be_read_is_refused_beside_its_field(
    ready: Dataset, as_casey: Any, content: bytes
) -> None:
    response = upload(as_casey, ready, content)
    assert response.status_code == 422
    assert "field-error" in response.content.decode()
    assert not GoldPair.objects.exists()


def test_a_gold_pair_is_retired(ready: Dataset, as_casey: Any, casey: User) -> None:
    gold = golds.mark(pair=ready.pairs.order_by("pk")[0], preference="a", by=casey)
    response = as_casey.post(at("annotations:gold-retire", ready, gold.pk), follow=True)
    assert [one.pk for one in response.context["retired"]] == [gold.pk]
    assert response.context["silent"] == []
    assert "Use again" in response.content.decode()
    response = as_casey.post(at("annotations:gold-use-again", ready, gold.pk), follow=True)
    assert [one.pk for one in response.context["silent"]] == [gold.pk]
    assert response.context["retired"] == []


def test_the_list_of_gold_pairs_asks_a_fixed_number_of_times(
    ready: Dataset, as_casey: Any, casey: User, django_assert_max_num_queries: Any
) -> None:
    for pair in ready.pairs.all():
        golds.mark(pair=pair, preference="a", by=casey)
    with django_assert_max_num_queries(8):
        as_casey.get(at("annotations:gold-pairs", ready))
