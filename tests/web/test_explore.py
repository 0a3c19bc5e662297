"""The list of pairs: who sees it, what its filter says, saved views, a pair beside it, its ids."""

import csv
import io
import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotations import exploring
from annotations.models import Dataset, PairStanding, SavedView
from curator.models import User
from tests import factories
from tests.annotations import standings

HTMX = {"HX-Request": "true"}


@pytest.fixture
def mixed(casey: User) -> Dataset:
    found = factories.dataset("mixed", curators=[casey], annotators=[factories.user("ann")])
    standings.scattered(found)
    return found


def at(name: str, dataset: Dataset, *arguments: Any) -> str:
    return reverse(f"scoring:{name}", args=[dataset.slug, *arguments])


def listed(response: Any) -> list[int]:
    return [row.pk for row in response.context["list"].page.rows]


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("pairs", []), ("facets", []), ("panel", [0]), ("pair-ids", ["csv"])],
)
def test_only_curators_see_the_list(
    mixed: Dataset, client: Client, name: str, arguments: list[Any]
) -> None:
    first = mixed.pairs.order_by("pk")[0]
    address = at(name, mixed, *[first.pk if each == 0 else each for each in arguments])
    for person, status in (("ann", 403), ("stranger", 404), ("casey", 200)):
        user = User.objects.filter(username=person).first() or factories.user(person)
        client.force_login(user)
        assert client.get(address).status_code == status


def test_a_page_leads_to_the_next_until_all_are_seen(
    mixed: Dataset, as_casey: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "PAGE_SIZE", 8)
    seen: list[int] = []
    cursor = ""
    while True:
        address = f"{at('pairs', mixed)}?order=-spread&status=undecided"
        answer = as_casey.get(address, {"order": "-spread", "status": "undecided", "after": cursor})
        seen += listed(answer)
        cursor = answer.context["list"].page.next_cursor
        if not cursor:
            break
        assert f"after={cursor}" in text_of(answer)
    undecided = mixed.standings.filter(verdict="")
    assert sorted(seen) == sorted(undecided.values_list("pk", flat=True))


def test_a_filter_is_said_and_each_part_can_be_taken_away(mixed: Dataset, as_casey: Client) -> None:
    page = text_of(as_casey.get(f"{at('pairs', mixed)}?flag=flipped&spread_from=0.25"))
    assert "flag likely flipped" in page
    assert "spread at least 0.25" in page
    assert f'href="{at("pairs", mixed)}?flag=flipped"' in page
    assert f'href="{at("pairs", mixed)}?spread_from=0.25"' in page


def test_the_filter_goes_along_to_what_is_done_with_it(mixed: Dataset, as_casey: Client) -> None:
    page = as_casey.get(f"{at('pairs', mixed)}?flag=flipped&order=-strength").content.decode()
    query = "flag=flipped&amp;order=-strength"
    for name in ("bulk", "round-new", "agreement", "facets"):
        assert f'"{at(name, mixed)}?{query}"' in page
    assert f'"{at("review", mixed)}?queue=list&amp;{query}"' in page
    first = mixed.standings.filter(flag="flipped").order_by("-strength", "-pk")[0]
    assert f'data-review="{at("pair", mixed, first.pk)}?queue=list&amp;{query}"' in page


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("flag=moon", "“flag” is never “moon”"),
        ("strength_from=x", "“strength” is compared with a number, not “x”."),
        ("strength_from=2&strength_to=1", "No pair can meet “strength at least 2"),
        ("order=sideways", "There is no order “sideways”"),
        ("text=%00", "characters that cannot be stored"),
    ],
)
def test_what_makes_no_sense_is_said_and_the_page_still_shows(
    mixed: Dataset, as_casey: Client, query: str, sentence: str
) -> None:
    answer = as_casey.get(f"{at('pairs', mixed)}?{query}")
    assert answer.status_code == 200
    assert sentence in text_of(answer)


@pytest.mark.parametrize("query", ["flagg=flipped", "flag=moon", "strength_from=abc"])
def test_what_cannot_be_read_is_not_acted_on(mixed: Dataset, as_casey: Client, query: str) -> None:
    """A word misspelt would else ask for every pair."""
    page = as_casey.get(f"{at('pairs', mixed)}?{query}").content.decode()
    assert at("bulk", mixed) not in page
    assert as_casey.get(f"{at('bulk', mixed)}?{query}").status_code == 422
    assert as_casey.get(f"{at('pair-ids', mixed, 'txt')}?{query}").status_code == 400


def test_a_parameter_that_is_none_is_named(mixed: Dataset, as_casey: Client) -> None:
    page = text_of(as_casey.get(f"{at('pairs', mixed)}?flagg=flipped"))
    assert "There is no filter “flagg”; did you mean “flag”?" in page


@pytest.mark.parametrize("cursor", ["nonsense", "1.0_x", "0.1_999999999999999999999999"])
def test_a_made_up_place_is_no_page(mixed: Dataset, as_casey: Client, cursor: str) -> None:
    assert as_casey.get(at("pairs", mixed), {"after": cursor}).status_code == 404


def test_the_form_keeps_what_it_cannot_show(mixed: Dataset, as_casey: Client) -> None:
    query = "flag=flipped&flag=clear&turns=2&origin_not=bing&check=identical"
    answer = as_casey.get(f"{at('pairs', mixed)}?{query}")
    form = answer.context["form"]
    assert form.kept == [("origin_not", "bing"), ("turns", "2")]
    assert form["flag"].value() == "flipped,clear"
    assert form["check"].value() == "identical"
    again = as_casey.get(
        at("pairs", mixed),
        {"flag": "flipped,clear", "check": "identical", "strength_from": "", **dict(form.kept)},
    )
    assert listed(again) == listed(answer)


def test_every_field_that_can_be_asked_for_stands_in_one_group(
    mixed: Dataset, as_casey: Client
) -> None:
    form = as_casey.get(at("pairs", mixed)).context["form"]
    grouped = [
        field.name for asked in form.groups.values() for each in asked for field in each.fields
    ]
    assert sorted(grouped) == sorted(field.name for field in form.more)
    assert list(form.groups) == [
        "Flag and strength",
        "People and judges",
        "Text and source",
        "Decision",
        "Dates",
    ]


def test_a_filter_is_said_as_a_curator_would(mixed: Dataset, as_casey: Client) -> None:
    page = text_of(as_casey.get(f"{at('pairs', mixed)}?flag=unscored&status=undecided"))
    assert "<span>not scored</span>" in page
    assert "<span>undecided</span>" in page
    without = text_of(as_casey.get(f"{at('pairs', mixed)}?flag=none"))
    assert "<span>no label to doubt</span>" in without


def test_facets_narrow_the_list(mixed: Dataset, as_casey: Client) -> None:
    answer = as_casey.get(f"{at('facets', mixed)}?flag=flipped", headers=HTMX)
    part = answer.content.decode()
    assert "<html" not in part
    assert answer.context["count"] == mixed.standings.filter(flag="flipped").count()
    for facet in answer.context["facets"]:
        for value in facet.values:
            found = as_casey.get(f"{at('pairs', mixed)}?{value.query}")
            assert found.context["list"].count == value.count
    whole = as_casey.get(f"{at('facets', mixed)}?flag=flipped")
    assert "<html" in whole.content.decode()


def test_pairs_that_came_after_the_run_are_found(mixed: Dataset, as_casey: Client) -> None:
    found = as_casey.get(f"{at('pairs', mixed)}?flag=unscored")
    assert sorted(listed(found)) == sorted(
        mixed.standings.filter(run_id=None).values_list("pk", flat=True)
    )
    assert "not scored" in text_of(found)


def test_the_list_asks_as_often_for_many_pairs_as_for_few(
    mixed: Dataset, as_casey: Client, django_assert_max_num_queries: Any
) -> None:
    for query in ("", "flag=flipped", "origin=bing&people=against"):
        with django_assert_max_num_queries(14):
            as_casey.get(f"{at('pairs', mixed)}?{query}")


def test_a_pair_is_shown_beside_the_list_or_on_its_own(mixed: Dataset, as_casey: Client) -> None:
    pair = mixed.pairs.order_by("pk")[0]
    PairStanding.objects.filter(pk=pair.pk).update(checks=1)
    address = f"{at('panel', mixed, pair.pk)}?flag=flipped"
    part = as_casey.get(address, headers=HTMX).content.decode()
    assert "<html" not in part
    assert "preferred by the source" in part
    assert "<strong>Identical</strong>" in part
    assert f'href="{at("pair", mixed, pair.pk)}?queue=list&amp;flag=flipped"' in part
    whole = as_casey.get(address).content.decode()
    assert "<html" in whole
    assert f'href="{at("pairs", mixed)}?flag=flipped"' in whole


def test_a_pair_of_another_dataset_is_not_shown(mixed: Dataset, as_casey: Client) -> None:
    other = factories.dataset("other")
    pair = factories.pairs(other, 1)[0]
    assert as_casey.get(at("panel", mixed, pair.pk)).status_code == 404


# --- Ids


def test_ids_are_written_in_three_ways(mixed: Dataset, as_casey: Client) -> None:
    found = mixed.pairs.filter(standing__flag="flipped").order_by("pk")
    expected = list(found.values_list("pk", "source_id", "digest"))

    def file(layout: str) -> str:
        answer: Any = as_casey.get(f"{at('pair-ids', mixed, layout)}?flag=flipped")
        assert f"mixed-pairs.{layout}" in answer["Content-Disposition"]
        return b"".join(answer.streaming_content).decode()

    assert file("txt").split() == [str(pk) for pk, _, _ in expected]
    rows = list(csv.reader(io.StringIO(file("csv"))))
    assert rows[1:] == [[str(pk), source_id, digest] for pk, source_id, digest in expected]
    lines = [json.loads(line) for line in file("jsonl").splitlines()]
    assert [(one["pair"], one["source_id"], one["digest"]) for one in lines] == expected


def test_an_id_that_is_a_formula_is_text(dataset: Dataset, as_casey: Client) -> None:
    factories.imported(dataset, [factories.row(1, id="=cmd|' /C calc'!A0")])
    answer: Any = as_casey.get(at("pair-ids", dataset, "csv"))
    assert "'=cmd" in b"".join(answer.streaming_content).decode()


def test_no_file_is_written_of_a_filter_that_was_not_understood(
    mixed: Dataset, as_casey: Client
) -> None:
    assert as_casey.get(f"{at('pair-ids', mixed, 'csv')}?flag=moon").status_code == 400
    assert as_casey.get(at("pair-ids", mixed, "exe")).status_code == 404


# --- Saved views


def save(client: Client, dataset: Dataset, name: str, query: str) -> Any:
    url = reverse("annotations:view-save", args=[dataset.slug])
    return client.post(url, {"name": name, "query": query})


def test_a_view_is_saved_and_its_address_leads_back(mixed: Dataset, as_casey: Client) -> None:
    answer = save(as_casey, mixed, " Suspects  of Bing", "origin=bing&flag=flipped&after=3_4")
    view = SavedView.objects.get()
    assert (view.name, view.query) == ("Suspects of Bing", "flag=flipped&origin=bing")
    assert answer["Location"] == f"{at('pairs', mixed)}?view={view.pk}"
    expanded: Any = as_casey.get(answer["Location"])
    assert expanded["Location"] == f"{at('pairs', mixed)}?flag=flipped&origin=bing&view={view.pk}"
    page = as_casey.get(expanded["Location"])
    assert "<h1>Suspects of Bing</h1>" in page.content.decode()
    assert listed(page) == listed(as_casey.get(f"{at('pairs', mixed)}?{view.query}"))


def test_a_name_stands_for_one_filter_at_a_time(mixed: Dataset, as_casey: Client) -> None:
    save(as_casey, mixed, "mine", "flag=flipped")
    assert save(as_casey, mixed, "mine", "flag=flipped").status_code == 302
    assert save(as_casey, mixed, "mine", "flag=clear").status_code == 409
    assert mixed.views.count() == 1
    view = mixed.views.get()
    as_casey.post(reverse("annotations:view-retire", args=["mixed", view.pk]))
    assert save(as_casey, mixed, "mine", "flag=clear").status_code == 302
    old: Any = as_casey.get(f"{at('pairs', mixed)}?view={view.pk}")
    assert "flag=flipped" in old["Location"]


def test_a_view_is_renamed(mixed: Dataset, as_casey: Client) -> None:
    for name in ("one", "two"):
        save(as_casey, mixed, name, f"text={name}")
    view = mixed.views.get(name="one")
    url = reverse("annotations:view-rename", args=["mixed", view.pk])
    assert as_casey.post(url, {"name": "three"}).status_code == 302
    assert as_casey.post(url, {"name": "two"}).status_code == 409
    assert as_casey.post(url, {"name": " "}).status_code == 400
    view.refresh_from_db()
    assert (view.name, view.query) == ("three", "text=one")


@pytest.mark.parametrize("name", ["", " ", "x" * 121])
def test_a_view_needs_a_name(mixed: Dataset, as_casey: Client, name: str) -> None:
    assert save(as_casey, mixed, name, "flag=flipped").status_code == 400
    assert save(as_casey, mixed, "fine", "flag=moon").status_code == 400
    assert not SavedView.objects.exists()


def test_views_belong_to_their_dataset_and_its_curators(
    mixed: Dataset, as_casey: Client, client: Client
) -> None:
    save(as_casey, mixed, "mine", "flag=flipped")
    view = SavedView.objects.get()
    other = factories.dataset("other", curators=[User.objects.get(username="casey")])
    assert as_casey.get(f"{at('pairs', other)}?view={view.pk}").status_code == 404
    assert as_casey.get(f"{at('pairs', mixed)}?view=999999").status_code == 404
    assert as_casey.get(f"{at('pairs', mixed)}?view=x").status_code == 404
    client.force_login(User.objects.get(username="ann"))
    assert save(client, mixed, "theirs", "flag=flipped").status_code == 403
    url = reverse("annotations:view-retire", args=["mixed", view.pk])
    assert client.post(url).status_code == 403
