"""Review: one pair at a time from the most suspect on; decide, skip, undo, be told of others."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotations import decisions
from annotations.models import PreferencePair, Verdict
from tests.scenarios import Scene

HTMX = {"HX-Request": "true"}


@pytest.fixture
def desk(scene: Scene, client: Client) -> Client:
    client.force_login(scene.curator)
    return client


def first(scene: Scene) -> PreferencePair:
    found = scene.dataset.standings.queued_for_review().select_related("pair").first()
    assert found is not None
    return found.pair


def post(desk: Client, name: str, *arguments: Any, **data: Any) -> Any:
    return desk.post(reverse(name, args=["scene", *arguments]), data)


def test_review_begins_with_the_weakest_label(scene: Scene, desk: Client) -> None:
    response = desk.get(reverse("scoring:review", args=["scene"]))
    assert response.context["pair"] == first(scene)
    assert response.context["evidence"].score.run == scene.run


def test_a_decision_leads_to_the_next_pair_and_keeps_its_evidence(
    scene: Scene, desk: Client
) -> None:
    pair = first(scene)
    response = post(desk, "scoring:decide", pair.pk, verdict="flip", reason="the other is right")
    following = first(scene)
    assert following != pair
    assert response["Location"] == reverse("scoring:pair", args=["scene", following.pk])
    decision = pair.decisions.get()
    assert (decision.verdict, decision.reason) == (Verdict.FLIP, "the other is right")
    assert decision.evidence["run"] == scene.run.pk
    assert decision.evidence["strength"] == pytest.approx(scene.run.scores.get(pair=pair).strength)


def test_with_scripts_the_next_pair_comes_in_place(scene: Scene, desk: Client) -> None:
    pair = first(scene)
    url = reverse("scoring:decide", args=["scene", pair.pk])
    response: Any = desk.post(url, {"verdict": "keep"}, headers=HTMX)
    assert response.status_code == 200
    assert response["HX-Push-Url"] == reverse("scoring:pair", args=["scene", first(scene).pk])
    assert "<html" not in response.content.decode()


def test_a_key_pressed_twice_decides_once(scene: Scene, desk: Client) -> None:
    pair = first(scene)
    for _ in range(2):
        post(desk, "scoring:decide", pair.pk, verdict="keep")
    assert pair.decisions.count() == 1


def test_undo_takes_back_the_last_steps_one_by_one_skips_too(scene: Scene, desk: Client) -> None:
    one = first(scene)
    post(desk, "scoring:decide", one.pk, verdict="drop")
    two = first(scene)
    post(desk, "scoring:skip", two.pk)
    assert not two.decisions.exists()
    back = post(desk, "scoring:undo")
    assert back["Location"] == reverse("scoring:pair", args=["scene", two.pk])
    back = post(desk, "scoring:undo")
    assert back["Location"] == reverse("scoring:pair", args=["scene", one.pk])
    one.refresh_from_db()
    assert one.standing.verdict == Verdict.UNDECIDED
    nothing = post(desk, "scoring:undo")
    assert nothing.status_code == 400
    assert "There is nothing to undo" in nothing.content.decode()


def test_a_skipped_pair_is_passed_over_until_the_queue_begins_anew(
    scene: Scene, desk: Client
) -> None:
    pair = first(scene)
    response = post(desk, "scoring:skip", pair.pk)
    assert not response["Location"].endswith(f"/{pair.pk}/")
    again = desk.get(reverse("scoring:review", args=["scene"]))
    assert again.context["pair"] == pair


def test_who_decides_what_another_has_decided_meanwhile_is_told(scene: Scene, desk: Client) -> None:
    pair = first(scene)
    decisions.decide(pair=pair, verdict=Verdict.DROP, by=scene.owner, based_on=None)
    response = post(desk, "scoring:decide", pair.pk, verdict="keep")
    assert response.status_code == 409
    assert "olivia decided" in response.content.decode()
    assert pair.decisions.count() == 1


def test_undo_after_another_has_decided_takes_nothing_of_theirs_back(
    scene: Scene, desk: Client
) -> None:
    pair = first(scene)
    post(desk, "scoring:decide", pair.pk, verdict="keep")
    mine = pair.decisions.get()
    decisions.decide(pair=pair, verdict=Verdict.DROP, by=scene.owner, based_on=mine.pk)
    response = post(desk, "scoring:undo")
    assert response.status_code == 409
    pair.refresh_from_db()
    assert pair.verdict == Verdict.DROP


@pytest.mark.parametrize("verdict", ["", "soften", "moon"])
def test_what_is_no_verdict_is_refused(scene: Scene, desk: Client, verdict: str) -> None:
    pair = first(scene)
    response = post(desk, "scoring:decide", pair.pk, verdict=verdict)
    assert response.status_code == 400
    assert not pair.decisions.exists()


def test_the_queue_ends_with_a_page_that_says_so(scene: Scene, desk: Client) -> None:
    while (pair := scene.dataset.pairs.queued_for_review().first()) is not None:
        response = post(desk, "scoring:decide", pair.pk, verdict="keep")
    assert response["Location"] == reverse("scoring:review-end", args=["scene"])
    assert desk.get(response["Location"]).status_code == 200


def test_texts_of_models_are_shown_as_text(scene: Scene, desk: Client) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    PreferencePair.objects.filter(pk=scene.pair.pk).update(
        response_a=[{"role": "assistant", "content": evil}],
        prompt=[{"role": "user", "content": evil}],
    )
    page = desk.get(reverse("scoring:pair", args=["scene", scene.pair.pk])).content.decode()
    assert "<img src=x" not in page
    assert "<script>alert" not in page


def test_a_page_of_review_asks_the_database_a_fixed_number_of_times(
    scene: Scene, desk: Client, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(19):
        desk.get(reverse("scoring:review", args=["scene"]))
