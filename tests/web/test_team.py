"""The page of the team and of each annotator: figures with intervals, and nothing for whom it
would help to know."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotations.models import Annotator, Dataset, GoldPair, PreferencePair
from curator.models import User
from tests import factories


@pytest.fixture
def pairs(dataset: Dataset) -> list[PreferencePair]:
    """Pairs without a label."""
    return factories.pairs(dataset, 30, labels=[])


@pytest.fixture
def anna(dataset: Dataset) -> Annotator:
    return factories.annotator(dataset, "anna")


@pytest.fixture
def bo(dataset: Dataset) -> Annotator:
    return factories.annotator(dataset, "bo")


@pytest.fixture
def labelled(dataset: Dataset, pairs: list[PreferencePair], anna: Annotator, bo: Annotator) -> None:
    """anna always takes what stands first, in a second; bo takes A and takes time."""
    for number, pair in enumerate(pairs):
        first = "ab"[number % 2]
        factories.said(anna, pair, first, shown_first=first, seconds=1.0)
        factories.said(bo, pair, "a", shown_first=first, seconds=30.0, strength=2)
    dataset.standings.count_voices()


def text(response: Any) -> str:
    return " ".join(response.content.decode().replace("\u202f", " ").split())


def team(client: Client, **query: str) -> Any:
    return client.get(reverse("annotations:team", args=["pairs"]), query)


def of(client: Client, annotator: Annotator) -> Any:
    return client.get(reverse("annotations:annotator", args=["pairs", annotator.pk]))


@pytest.mark.usefixtures("labelled")
def test_the_page_says_how_far_people_agree_and_on_what(as_casey: Client) -> None:
    page = text(team(as_casey))
    assert "60 labels of 2 annotators on 30 pairs, 30 of them labelled by at least two" in page
    assert "15 pairs in dispute" in page
    assert "From 60 labels of 30 pairs." in page
    assert "Less than by chance" in page
    assert "30 answers say how much" in page


@pytest.mark.usefixtures("labelled")
def test_what_stands_out_is_said_in_words_with_its_interval(as_casey: Client) -> None:
    page = text(team(as_casey))
    assert "prefers the first response: 100 % (89–100)" in page
    assert "answers in under 3 s: 100 % (89–100)" in page


def test_without_labels_the_page_says_what_comes_next(
    as_casey: Client, pairs: list[PreferencePair]
) -> None:
    page = text(team(as_casey))
    assert "No labels yet" in page
    assert reverse("annotations:people", args=["pairs"]) in page


@pytest.mark.usefixtures("labelled")
def test_a_slice_without_labels_leads_back_to_all(as_casey: Client) -> None:
    page = text(team(as_casey, part="decided"))
    assert "No labels here" in page
    assert "Look at all of them" in page


@pytest.mark.usefixtures("labelled")
def test_a_slice_is_asked_for_by_its_address(as_casey: Client) -> None:
    assert "on 15 pairs" in text(team(as_casey, part="dispute"))
    assert "on 1 pair," in text(team(as_casey, text="Question 7?"))
    assert "on 30 pairs" in text(team(as_casey, part="nonsense", round="x", voters="cats"))


@pytest.mark.usefixtures("labelled")
def test_the_table_is_sorted_by_any_column_either_way(as_casey: Client) -> None:
    def names(sort: str) -> list[str]:
        return [row.voter.name for row in team(as_casey, sort=sort).context["annotators"]]

    assert names("name") == ["anna", "bo"]
    assert names("-name") == ["bo", "anna"]
    assert names("-quick") == ["anna", "bo"]
    assert names("seconds") == ["anna", "bo"]
    assert names("-seconds") == ["bo", "anna"]
    assert set(names("gold")) == {"anna", "bo"}  # nobody has a figure
    assert set(names("nonsense")) == {"anna", "bo"}
    head = text(team(as_casey, sort="-quick"))
    assert 'aria-sort="descending"' in head
    assert "?sort=quick" in head


@pytest.mark.usefixtures("labelled")
def test_names_of_annotators_are_shown_as_text(as_casey: Client, anna: Annotator) -> None:
    evil = "<script>alert(1)</script>"
    Annotator.objects.filter(pk=anna.pk).update(name=evil)
    for page in (team(as_casey), of(as_casey, anna)):
        assert evil not in page.content.decode()


@pytest.mark.usefixtures("labelled")
def test_everybody_is_called_what_the_list_of_people_calls_them(
    as_casey: Client, anna: Annotator
) -> None:
    User.objects.filter(username="anna").update(first_name="Anna", last_name="Arendt")
    for page in (team(as_casey, sort="name"), of(as_casey, anna)):
        assert ">Anna Arendt<" in text(page)
    assert '<span class="muted username">anna</span>' in text(of(as_casey, anna))
    consensus = as_casey.get(reverse("scoring:consensus", args=["pairs"]))
    assert ">Anna Arendt<" in text(consensus)
    disputes = as_casey.get(reverse("annotations:disputes", args=["pairs"]))
    assert ">Anna Arendt<" in text(disputes)


@pytest.mark.usefixtures("labelled")
def test_an_annotators_page_shows_figures_history_and_last_labels(
    as_casey: Client, anna: Annotator, pairs: list[PreferencePair]
) -> None:
    page = text(of(as_casey, anna))
    assert "prefers the first response: 100 % (89–100)" in page
    assert "Over time" in page
    assert reverse("scoring:pair", args=["pairs", pairs[-1].pk]) in page


@pytest.mark.usefixtures("labelled")
def test_annotators_see_their_own_figures_and_nothing_that_tells_what_is_right(
    dataset: Dataset, pairs: list[PreferencePair], anna: Annotator, bo: Annotator, client: Client
) -> None:
    for pair in pairs:
        GoldPair.objects.create(pair=pair, dataset=dataset, preference="b")
    for pair in factories.pairs(dataset, 32, labels=[])[30:]:
        GoldPair.objects.create(pair=pair, dataset=dataset, preference="b")
        factories.put(anna, pair, "b", is_gold=True)
    assert anna.user is not None
    client.force_login(anna.user)
    page = text(of(client, anna))
    assert "First shown" in page
    assert "100 %" in page
    for secret in ("Gold", "With others", "consensus", "bo", "Question", "alpha"):
        assert f">{secret}" not in page, secret
        assert f" {secret} " not in page, secret
    assert reverse("scoring:pair", args=["pairs", pairs[-1].pk]) not in page


@pytest.mark.usefixtures("labelled")
def test_annotators_see_nobody_elses_figures(
    client: Client, anna: Annotator, bo: Annotator
) -> None:
    assert anna.user is not None
    client.force_login(anna.user)
    assert of(client, bo).status_code == 404
    assert team(client).status_code == 403


def test_the_way_to_ones_own_figures_is_there_before_the_first_label(
    dataset: Dataset, client: Client
) -> None:
    newcomer = factories.user("newcomer")
    dataset.memberships.create(user=newcomer, role="annotator")
    client.force_login(newcomer)
    own = reverse("annotations:own-figures", args=["pairs"])
    assert "No labels yet" in text(client.get(own))
    annotator = factories.annotator(dataset, "newcomer")
    assert client.get(own)["Location"] == reverse(
        "annotations:annotator", args=["pairs", annotator.pk]
    )
    assert "No labels yet" in text(of(client, annotator))


def test_imported_annotators_and_ai_judges_have_a_page(dataset: Dataset, as_casey: Client) -> None:
    labels = [
        {"annotator": "worker", "kind": "human", "label": "a"},
        {"annotator": "judge", "kind": "ai", "label": "b"},
    ]
    factories.pairs(dataset, 12, labels=labels)
    for name in ("worker", "judge"):
        annotator = dataset.annotators.get(name=name)
        response = of(as_casey, annotator)
        assert response.status_code == 200
        assert "imported with the pairs" in text(response)
    assert "2 annotators" in text(team(as_casey, voters="ai"))
    assert "1 annotator " in text(team(as_casey))


def test_an_annotator_of_another_dataset_is_not_found(dataset: Dataset, as_casey: Client) -> None:
    other = factories.dataset("other")
    assert of(as_casey, factories.annotator(other, "anna")).status_code == 404


def test_the_page_asks_the_database_a_fixed_number_of_times(
    dataset: Dataset,
    pairs: list[PreferencePair],
    as_casey: Client,
    django_assert_max_num_queries: Any,
) -> None:
    for name in ("anna", "bo", "cleo", "dan", "eve"):
        by = factories.annotator(dataset, name)
        for pair in pairs:
            factories.said(by, pair, "a", shown_first="a", seconds=9.0)
    with django_assert_max_num_queries(22):
        team(as_casey)
