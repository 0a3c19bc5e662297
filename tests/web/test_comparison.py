"""The page of two runs side by side, and the form that leads there."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotations.models import Dataset, Membership, Role
from curator.models import User
from scoring.models import Mode, ScoringRun
from tests import factories


@pytest.fixture
def runs(dataset: Dataset) -> tuple[ScoringRun, ScoringRun]:
    """Two runs over twelve pairs that agree but for the first pair."""
    ids = [pair.pk for pair in factories.pairs(dataset, 12)]
    found = {pk: (float(n), "clear") for n, pk in enumerate(ids)}
    changed = found | {ids[0]: (99.0, "strong")}
    return factories.judged(dataset, found), factories.judged(dataset, changed, name="others")


def page_of(a: ScoringRun, b: ScoringRun) -> str:
    return reverse("scoring:run-compare", args=["pairs", a.pk, b.pk])


def test_the_page_says_how_far_the_runs_agree_and_which_pairs_moved(
    runs: tuple[ScoringRun, ScoringRun], as_casey: Client
) -> None:
    response: Any = as_casey.get(page_of(*runs))
    page = response.content.decode()
    assert response.status_code == 200
    assert "91.7" in page  # of the labels carry the same flag
    [moved] = response.context["moved"]
    assert reverse("scoring:pair", args=["pairs", moved.pair.pk]) in page
    assert "Question 0?" in page
    assert "others" in page  # the ensemble of one, not of the other
    assert "in-sample" not in page


def test_runs_that_agree_in_everything_say_so(
    runs: tuple[ScoringRun, ScoringRun], as_casey: Client
) -> None:
    page = as_casey.get(page_of(runs[0], runs[0])).content.decode()
    assert "No label changed its flag." in page
    assert "Nothing that the runs record" in page


def test_runs_of_different_modes_are_shown_with_a_warning(
    dataset: Dataset, runs: tuple[ScoringRun, ScoringRun], as_casey: Client
) -> None:
    ScoringRun.objects.filter(pk=runs[1].pk).update(mode=Mode.IN_SAMPLE)
    page = as_casey.get(page_of(*runs)).content.decode()
    assert "part of what differs here is the mode" in page


def test_a_run_that_is_not_done_is_a_sentence(
    dataset: Dataset, runs: tuple[ScoringRun, ScoringRun], as_casey: Client
) -> None:
    waiting = factories.judged(dataset, {}, status="queued")
    response = as_casey.get(page_of(runs[0], waiting))
    assert response.status_code == 400
    assert f"Run {waiting.pk} is queued" in response.content.decode()


def test_the_prompt_of_a_pair_is_text(dataset: Dataset, as_casey: Client) -> None:
    prompt = "<script>alert(1)</script>"
    [pair] = factories.pairs(dataset, 1, prompt=prompt)
    a = factories.judged(dataset, {pair.pk: (1.0, "clear")})
    b = factories.judged(dataset, {pair.pk: (-1.0, "flipped")})
    page = as_casey.get(page_of(a, b)).content.decode()
    assert prompt not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_stranger_does_not_learn_of_the_runs_and_an_annotator_is_refused(
    dataset: Dataset, runs: tuple[ScoringRun, ScoringRun], client: Client
) -> None:
    client.force_login(factories.user("stranger"))
    choose = reverse("scoring:run-compare-with", args=["pairs", runs[0].pk])
    for address in (page_of(*runs), choose):
        assert client.get(address, {"with": runs[1].pk}).status_code == 404
    anna: User = factories.user("anna")
    Membership.objects.create(dataset=dataset, user=anna, role=Role.ANNOTATOR)
    client.force_login(anna)
    for address in (page_of(*runs), choose):
        assert client.get(address, {"with": runs[1].pk}).status_code == 403


def test_a_run_of_another_dataset_is_not_found(
    casey: User, runs: tuple[ScoringRun, ScoringRun], as_casey: Client
) -> None:
    other = factories.judged(factories.dataset("elsewhere", curators=[casey]), {})
    assert as_casey.get(page_of(runs[0], other)).status_code == 404
    assert as_casey.get(page_of(other, runs[0])).status_code == 404


def test_nothing_is_posted_to_a_comparison(
    runs: tuple[ScoringRun, ScoringRun], as_casey: Client
) -> None:
    assert as_casey.post(page_of(*runs)).status_code == 405
    choose = reverse("scoring:run-compare-with", args=["pairs", runs[0].pk])
    assert as_casey.post(choose).status_code == 405


def test_many_pairs_take_as_many_queries_as_few(
    dataset: Dataset, as_casey: Client, django_assert_num_queries: Any
) -> None:
    ids = [pair.pk for pair in factories.pairs(dataset, 40)]
    few, many = (
        (
            factories.judged(dataset, dict.fromkeys(ids[:count], (1.0, "clear"))),
            factories.judged(dataset, dict.fromkeys(ids[:count], (1.0, "ambiguous"))),
        )
        for count in (3, 40)
    )
    with django_assert_num_queries(count_of_queries(as_casey, page_of(*few))):
        response: Any = as_casey.get(page_of(*many))
    assert len(response.context["moved"]) == 40


def count_of_queries(desk: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        desk.get(address)
    return len(queries)


# --- The way there --------------------------------------------------------------------------------


def test_the_form_of_a_run_leads_to_the_page_of_both(
    runs: tuple[ScoringRun, ScoringRun], as_casey: Client
) -> None:
    a, b = runs
    page = as_casey.get(reverse("scoring:run", args=["pairs", a.pk])).content.decode()
    choose = reverse("scoring:run-compare-with", args=["pairs", a.pk])
    assert f'action="{choose}"' in page
    assert f'<option value="{b.pk}">run {b.pk}: others, out-of-bag</option>' in page
    response: Any = as_casey.get(choose, {"with": b.pk})
    assert response["Location"] == page_of(a, b)


def test_where_there_is_no_other_run_there_is_no_form(dataset: Dataset, as_casey: Client) -> None:
    run = factories.judged(dataset, {})
    factories.judged(dataset, {}, status="failed")
    page = as_casey.get(reverse("scoring:run", args=["pairs", run.pk])).content.decode()
    assert "Compare with another run" not in page


@pytest.mark.parametrize("chosen", ["", "x", "999", "9" * 5000, "١"])
def test_a_choice_that_was_made_up_is_refused(
    runs: tuple[ScoringRun, ScoringRun], as_casey: Client, chosen: str
) -> None:
    choose = reverse("scoring:run-compare-with", args=["pairs", runs[0].pk])
    response = as_casey.get(choose, {"with": chosen})
    assert response.status_code == 400
    assert "Choose another run of this dataset that is done." in response.content.decode()
