"""Review: one pair at a time from a queue; decide, skip, undo, be told of others."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotations import decisions, holds, queue
from annotations.models import (
    DecisionBatch,
    Label,
    PairStanding,
    PreferencePair,
    ReviewHold,
    SavedView,
    Verdict,
)
from scoring.models import PairScore, ReviewSample, SampledPair
from scoring.views import review
from tests import factories
from tests.scenarios import Scene

HTMX = {"HX-Request": "true"}
ALL = "?queue=all"


@pytest.fixture
def desk(scene: Scene, client: Client) -> Client:
    client.force_login(scene.curator)
    return client


def first(scene: Scene) -> PreferencePair:
    return waiting(scene)[0]


def waiting(scene: Scene) -> list[PreferencePair]:
    """The pairs of the queue of everything, in its order."""
    queued = scene.dataset.standings.queued_for_review().select_related("pair__standing")
    return [standing.pair for standing in queued]


def post(desk: Client, name: str, *arguments: Any, to: str = ALL, **data: Any) -> Any:
    return desk.post(reverse(name, args=["scene", *arguments]) + to, data)


def get(desk: Client, name: str, *arguments: Any, to: str = ALL) -> Any:
    return desk.get(reverse(name, args=["scene", *arguments]) + to)


def page_of(pair: PreferencePair, to: str = ALL) -> str:
    return reverse("scoring:pair", args=["scene", pair.pk]) + to


def drawn(scene: Scene, *pairs: PreferencePair) -> ReviewSample:
    """A sample of these pairs, in this order."""
    sample = ReviewSample.objects.create(run=scene.run, size=len(pairs))
    for position, pair in enumerate(pairs):
        SampledPair.objects.create(
            sample=sample, pair=pair, position=position, stratum=0, flag=pair.standing.flag
        )
    return sample


def test_review_begins_with_the_weakest_label(scene: Scene, desk: Client) -> None:
    response = get(desk, "scoring:review")
    assert response.context["pair"] == first(scene)
    assert response.context["evidence"].score.run == scene.run


def test_a_decision_leads_to_the_next_pair_and_keeps_its_evidence(
    scene: Scene, desk: Client
) -> None:
    pair = first(scene)
    response = post(desk, "scoring:decide", pair.pk, verdict="flip", reason="the other is right")
    following = first(scene)
    assert following != pair
    assert response["Location"] == page_of(following)
    decision = pair.decisions.get()
    assert (decision.verdict, decision.reason) == (Verdict.FLIP, "the other is right")
    assert decision.evidence["run"] == scene.run.pk
    assert decision.evidence["strength"] == pytest.approx(scene.run.scores.get(pair=pair).strength)
    assert (decision.evidence["queue"], decision.evidence["seen"]) == ("all", True)


def test_with_scripts_the_next_pair_comes_in_place(scene: Scene, desk: Client) -> None:
    pair = first(scene)
    url = reverse("scoring:decide", args=["scene", pair.pk]) + ALL
    response: Any = desk.post(url, {"verdict": "keep"}, headers=HTMX)
    assert response.status_code == 200
    assert response["HX-Push-Url"] == page_of(first(scene))
    assert "<html" not in response.content.decode()


def test_a_key_pressed_twice_decides_once(scene: Scene, desk: Client) -> None:
    pair = first(scene)
    for _ in range(2):
        post(desk, "scoring:decide", pair.pk, verdict="keep")
    assert pair.decisions.count() == 1


def test_undo_takes_back_the_last_steps_one_by_one_skips_too(scene: Scene, desk: Client) -> None:
    one, two, *_ = waiting(scene)
    post(desk, "scoring:decide", one.pk, verdict="drop")
    post(desk, "scoring:skip", two.pk)
    assert not two.decisions.exists()
    back = post(desk, "scoring:undo")
    assert back["Location"] == page_of(two)
    back = post(desk, "scoring:undo")
    assert back["Location"] == page_of(one)
    one.standing.refresh_from_db()
    assert one.standing.verdict == Verdict.UNDECIDED
    nothing = post(desk, "scoring:undo")
    assert nothing.status_code == 400
    assert "There is nothing to undo" in nothing.content.decode()


def test_any_of_the_last_decisions_is_taken_back_out_of_its_turn(
    scene: Scene, desk: Client
) -> None:
    one, two, *_ = waiting(scene)
    post(desk, "scoring:decide", one.pk, verdict="drop")
    post(desk, "scoring:decide", two.pk, verdict="keep")
    shown = get(desk, "scoring:review").context["last_decisions"]
    assert [decision.pair for decision in shown] == [two, one]
    back = post(desk, "scoring:undo", decision=shown[1].pk)
    assert back["Location"] == page_of(one)
    one.standing.refresh_from_db()
    assert one.standing.verdict == Verdict.UNDECIDED
    assert [d.pair for d in get(desk, "scoring:review").context["last_decisions"]] == [two]
    post(desk, "scoring:undo")  # the step before it: that of the other pair
    two.standing.refresh_from_db()
    assert two.standing.verdict == Verdict.UNDECIDED


def test_nobody_takes_back_a_decision_of_somebody_else(scene: Scene, desk: Client) -> None:
    pair = first(scene)
    theirs = decisions.decide(pair=pair, verdict=Verdict.DROP, by=scene.owner, based_on=None)
    assert post(desk, "scoring:undo", decision=theirs.pk).status_code == 404
    assert post(desk, "scoring:undo", decision="9" * 30).status_code == 404
    assert pair.decisions.count() == 1


def test_a_skipped_pair_is_passed_over_until_the_queue_begins_anew(
    scene: Scene, desk: Client
) -> None:
    pair, following, *_ = waiting(scene)
    response = post(desk, "scoring:skip", pair.pk)
    assert response["Location"] == page_of(following)
    assert get(desk, "scoring:review").context["pair"] == pair


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
    pair.standing.refresh_from_db()
    assert pair.standing.verdict == Verdict.DROP


@pytest.mark.parametrize(
    "given",
    [
        {"verdict": ""},
        {"verdict": "soften"},
        {"verdict": "moon"},
        {"preferred": "third"},
        {"verdict": "keep", "preferred": "first"},
        {},
    ],
)
def test_what_is_no_verdict_is_refused(scene: Scene, desk: Client, given: dict[str, str]) -> None:
    pair = first(scene)
    response = post(desk, "scoring:decide", pair.pk, **given)
    assert response.status_code == 400
    assert not pair.decisions.exists()


def test_the_queue_ends_with_a_page_that_leads_to_the_others(scene: Scene, desk: Client) -> None:
    PairStanding.objects.filter(pk=waiting(scene)[-1].pk).update(people_a=1, people_b=1)
    last = waiting(scene)[-1]
    response = post(desk, "scoring:skip", last.pk)
    assert response["Location"] == reverse("scoring:review-end", args=["scene"]) + ALL
    page = desk.get(response["Location"]).content.decode()
    assert "End of the queue" in page
    assert "?queue=disputed" in page


def test_every_page_of_review_has_one_title(scene: Scene, desk: Client) -> None:
    for name in ("review", "review-end"):
        page = get(desk, f"scoring:{name}").content.decode()
        assert page.count("<h1") == 1
        assert '<h1 class="visually-hidden">Review</h1>' in page


def test_the_help_names_every_key_once(scene: Scene, desk: Client) -> None:
    page = get(desk, "scoring:review").content.decode()
    help_of_keys = page[page.index('<dialog id="keys-help"') :]
    named = re.findall(r"<kbd>(.*?)</kbd>", help_of_keys[: help_of_keys.index("</dialog>")])
    assert len(named) == len(set(named))
    assert {"1", "2", "p", "r"} <= set(named)
    for reason in review.OFFERED_REASONS:
        assert f"<li>{reason}</li>" in page


def test_texts_of_models_are_shown_as_text(scene: Scene, desk: Client) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    PreferencePair.objects.filter(pk=scene.pair.pk).update(
        response_a=[{"role": "assistant", "content": evil}],
        prompt=[{"role": "user", "content": evil}],
    )
    for name in ("scoring:pair", "scoring:similar"):
        page = get(desk, name, scene.pair.pk).content.decode()
        assert "<img src=x" not in page
        assert "<script>alert" not in page


def test_a_page_of_review_asks_the_database_a_fixed_number_of_times(
    scene: Scene, desk: Client, django_assert_max_num_queries: Any
) -> None:
    for pair in waiting(scene)[:12]:
        post(desk, "scoring:decide", pair.pk, verdict="keep")
    with django_assert_max_num_queries(30):
        get(desk, "scoring:review")


# Queues


def test_without_a_name_the_likely_flipped_come_first_then_everything(
    scene: Scene, desk: Client
) -> None:
    scene.dataset.standings.update(flag="clear")
    assert get(desk, "scoring:review", to="").context["queue"].name == "all"
    strongest = waiting(scene)[-1]
    PairStanding.objects.filter(pk=strongest.pk).update(flag="flipped")
    shown = get(desk, "scoring:review", to="").context
    assert (shown["queue"].name, shown["pair"]) == ("flipped", strongest)


@pytest.mark.parametrize("step", ["decide", "skip"])
def test_the_queue_stays_in_the_address_of_every_step(
    scene: Scene, desk: Client, step: str
) -> None:
    one, two, three, *_ = waiting(scene)
    PairStanding.objects.filter(pk__in=[one.pk, three.pk]).update(people_a=1, people_b=1)
    PairStanding.objects.exclude(pk__in=[one.pk, three.pk]).update(people_a=0, people_b=0)
    to = "?queue=disputed"
    begin, then = sorted([one, three], key=lambda pair: pair.pk)
    page = get(desk, "scoring:review", to=to)
    assert page.context["pair"] == begin
    action = f'action="/datasets/scene/pairs/{begin.pk}/decide/{to}"'
    assert action in page.content.decode()
    response = post(desk, f"scoring:{step}", begin.pk, to=to, verdict="keep")
    assert response["Location"] == page_of(then, to)
    assert post(desk, "scoring:undo", to=to)["Location"] == page_of(begin, to)
    assert two not in (begin, then)


def test_a_pair_opened_from_a_list_leads_on_through_that_list(scene: Scene, desk: Client) -> None:
    strongest = sorted(waiting(scene), key=lambda pair: -(pair.standing.strength or 0))
    to = "?queue=list&source_preference=a&order=-strength"
    labelled_a = [pair for pair in strongest if pair.source_preference == "a"]
    response = post(desk, "scoring:decide", labelled_a[0].pk, to=to, verdict="keep")
    assert response["Location"] == page_of(labelled_a[1], to)
    shown = desk.get(response["Location"]).context["queue"]
    assert "source label A" in shown.explanation


def test_a_list_of_decided_pairs_can_be_gone_through_again(scene: Scene, desk: Client) -> None:
    one, two, three, *_ = waiting(scene)
    for pair in (one, three):
        post(desk, "scoring:decide", pair.pk, verdict="keep")
    to = "?queue=list&status=keep"
    shown = get(desk, "scoring:review", to=to).context
    assert shown["pair"] == one
    assert post(desk, "scoring:skip", one.pk, to=to)["Location"] == page_of(three, to)
    assert two not in (one, three)


def test_a_pair_of_a_list_does_not_wait_for_the_count_of_the_list(
    scene: Scene, desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, *_ = waiting(scene)
    for pair in (one, two):
        post(desk, "scoring:decide", pair.pk, verdict="keep")
    SavedView.objects.create(dataset=scene.dataset, name="labelled B", query="source_preference=b")
    counted: list[str] = []

    def count(asked: queue.Queue) -> int:
        counted.append(asked.name)
        return int(asked.waiting.count())

    monkeypatch.setattr(queue, "count_waiting", count)
    to = "?queue=list&status=keep"
    shown = get(desk, "scoring:review", to=to).content.decode()
    assert counted == []
    assert f'hx-get="/datasets/scene/review/waiting/{to.replace("&", "&amp;")}"' in shown
    told = get(desk, "scoring:review-waiting", to=to).content.decode()
    assert "<strong>2</strong> waiting" in told
    ended = get(desk, "scoring:review-end", to=to).content.decode()
    assert "2 pairs are still waiting" in ended
    assert "labelled B" in ended
    assert not [name for name in counted if name.startswith("view-")]


def test_a_saved_view_is_a_queue_until_it_is_retired(scene: Scene, desk: Client) -> None:
    view = SavedView.objects.create(
        dataset=scene.dataset, name="labelled B", query="source_preference=b&order=imported"
    )
    to = f"?queue=view-{view.pk}"
    page = get(desk, "scoring:review", to=to)
    labelled_b = scene.dataset.pairs.filter(source_preference="b").order_by("pk")
    assert page.context["pair"] == labelled_b[0]
    assert f'href="/datasets/scene/review/{to}"' in page.content.decode()
    SavedView.objects.update(retired_at=scene.run.finished_at)
    assert get(desk, "scoring:review", to=to).status_code == 404


def test_what_a_policy_puts_forward_waits_until_a_person_decides(
    scene: Scene, desk: Client
) -> None:
    batch = DecisionBatch.objects.create(dataset=scene.dataset, kind=DecisionBatch.Kind.POLICY)
    pair = waiting(scene)[3]
    PairStanding.objects.filter(pk=pair.pk).update(put_forward_by=batch)
    to = "?queue=put-forward"
    assert get(desk, "scoring:review", to=to).context["pair"] == pair
    ended = post(desk, "scoring:decide", pair.pk, to=to, verdict="keep")
    assert ended["Location"] == reverse("scoring:review-end", args=["scene"]) + to


def test_an_audit_goes_in_the_order_of_the_draw_and_takes_what_only_policies_decided(
    scene: Scene, desk: Client
) -> None:
    one, two, three, *_ = waiting(scene)
    drawn(scene, one)  # an earlier sample is of no matter
    drawn(scene, three, one, two)
    PairStanding.objects.filter(pk=one.pk).update(verdict="keep", decided_by="policy")
    PairStanding.objects.filter(pk=two.pk).update(verdict="keep", decided_by="person")
    to = "?queue=audit"
    assert get(desk, "scoring:review", to=to).context["pair"] == three
    assert post(desk, "scoring:skip", three.pk, to=to)["Location"] == page_of(one, to)
    end = post(desk, "scoring:skip", one.pk, to=to)["Location"]
    assert end == reverse("scoring:review-end", args=["scene"]) + to


@pytest.mark.parametrize(
    ("to", "status", "words"),
    [
        ("?queue=moon", 404, "There is no queue “moon”"),
        ("?queue=audit", 404, "No sample was drawn"),
        ("?queue=view-7", 404, "no such saved view"),
        ("?queue=view-x", 404, "no such saved view"),
        ("?view=7", 404, "no such saved view"),
        ("?queue=list&flag=moon", 400, "moon"),
    ],
)
def test_a_queue_that_is_not_there_is_said_so(
    scene: Scene, desk: Client, to: str, status: int, words: str
) -> None:
    response = get(desk, "scoring:review", to=to)
    assert response.status_code == status
    assert words in response.content.decode()


def test_a_view_of_another_dataset_is_no_queue_here(scene: Scene, desk: Client) -> None:
    other = SavedView.objects.create(dataset=factories.dataset("other"), name="theirs", query="")
    assert get(desk, "scoring:review", to=f"?queue=view-{other.pk}").status_code == 404


# Two curators


def test_two_curators_of_one_queue_are_shown_different_pairs(
    scene: Scene, desk: Client, client: Client
) -> None:
    one, two, three, *_ = waiting(scene)
    assert get(desk, "scoring:review").context["pair"] == one
    other = Client()
    other.force_login(scene.owner)
    assert get(other, "scoring:review").context["pair"] == two
    assert post(desk, "scoring:decide", one.pk, verdict="keep")["Location"] == page_of(three)
    assert set(ReviewHold.objects.values_list("pair", flat=True)) == {two.pk, three.pk}


def test_what_another_looks_at_can_be_opened_and_decided(scene: Scene, desk: Client) -> None:
    pair = first(scene)
    assert holds.take(pair, scene.owner)
    assert desk.get(page_of(pair)).context["pair"] == pair
    assert post(desk, "scoring:decide", pair.pk, verdict="keep").status_code == 302
    assert pair.decisions.get().decided_by == scene.curator


def test_the_pair_ahead_is_the_one_that_a_decision_leads_to(scene: Scene, desk: Client) -> None:
    one, *_ = waiting(scene)
    ahead = desk.get(reverse("scoring:pair-ahead", args=["scene", one.pk]) + ALL, headers=HTMX)
    assert "<html" not in ahead.content.decode()
    following = ahead.context["pair"]
    other = Client()
    other.force_login(scene.owner)
    assert get(other, "scoring:review").context["pair"] not in (following,)
    assert post(desk, "scoring:decide", one.pk, verdict="keep")["Location"] == page_of(following)
    last = waiting(scene)[-1]
    assert get(desk, "scoring:pair-ahead", last.pk).status_code == 204


# Evidence hidden until a verdict

TELLING = (
    "labelled better",
    "preferred by",
    "decided for this",
    "What the models say",
    "Likely flipped",
    "flipped",
    "prefers",
    "Strength",
    "history",
    "AI judge",
    "judge-7",
    "because it is better",
    "A remark",
    "hinting-meta",
    'data-key="k"',
    'data-key="f"',
    "What the checks found",
    "A better",
    "similar",
)


@pytest.fixture
def telling(scene: Scene, desk: Client) -> PreferencePair:
    """A pair of which everything is known, drawn for an audit."""
    pair = first(scene)
    judge = scene.dataset.annotators.create(name="judge-7", kind="ai")
    Label.objects.create(
        pair=pair, annotator=judge, preference="b", rationale="because it is better"
    )
    desk.post(reverse("annotations:comments", args=["scene", pair.pk]), {"text": "A remark"})
    PairScore.objects.filter(pair=pair).update(flag="flipped")
    PairStanding.objects.filter(pk=pair.pk).update(
        flag="flipped", checks=3, verdict="flip", decided_by="policy"
    )
    drawn(scene, pair, *waiting(scene)[1:4])
    return pair


def main_of(response: Any) -> str:
    """The page without its frame and its menus, which are the same for every pair."""
    page: str = response.content.decode()
    page = page[page.index('<div id="review"') : page.index("<dialog")]
    if '<details class="queue-menu"' in page:
        menu = page.index('<details class="queue-menu"')
        page = page[:menu] + page[page.index("</details>", menu) :]
    return page.replace("Decide before you see flag, margins and labels", "").replace(
        "Flag, margins, labels, history and comments are hidden", ""
    )


def test_an_audit_shows_nothing_but_the_texts_before_the_verdict(
    scene: Scene, desk: Client, telling: PreferencePair
) -> None:
    to = "?queue=audit"
    response = get(desk, "scoring:review", to=to)
    assert response.context["pair"] == telling
    page = main_of(response)
    assert [words for words in TELLING if words.lower() in page.lower()] == []
    assert 'value="first"' in page
    shown = main_of(get(desk, "scoring:pair", telling.pk))  # another queue hides nothing
    for words in ("judge-7", "because it is better", "A remark", "What the models say"):
        assert words in shown


def test_hidden_pages_of_a_label_and_of_its_opposite_are_the_same(
    scene: Scene, desk: Client, telling: PreferencePair
) -> None:
    def hidden_page() -> str:
        return main_of(get(desk, "scoring:review", to="?queue=audit"))

    def without_tokens(page: str) -> str:
        lines = page.splitlines()
        return "\n".join(line for line in lines if "csrfmiddlewaretoken" not in line)

    before = without_tokens(hidden_page())
    opposite = {"a": "b", "b": "a"}[telling.source_preference]
    PreferencePair.objects.filter(pk=telling.pk).update(source_preference=opposite)
    PairStanding.objects.filter(pk=telling.pk).update(
        source_preference=opposite, verdict="", strength=5.0, flag="strong", checks=0
    )
    assert without_tokens(hidden_page()) == before


def test_the_hidden_order_of_responses_is_not_that_of_the_source(scene: Scene) -> None:
    sides = {review.first_side(pair, scene.curator) for pair in scene.dataset.pairs.all()}
    assert sides == {"a", "b"}
    assert any(
        review.first_side(pair, scene.curator) != review.first_side(pair, scene.owner)
        for pair in scene.dataset.pairs.all()
    )


@pytest.mark.parametrize("preferred", ["first", "second", "tie"])
def test_what_is_preferred_blindly_becomes_a_verdict_on_the_label(
    scene: Scene, desk: Client, telling: PreferencePair, preferred: str
) -> None:
    post(desk, "scoring:decide", telling.pk, to="?queue=audit", preferred=preferred, blind="1")
    decision = telling.decisions.get()
    shown = get(desk, "scoring:pair", telling.pk, to="?queue=audit").context["sides"]
    text = {side.value: side.messages for side in shown}.get(preferred)
    labelled = getattr(telling, f"response_{telling.source_preference}")
    expected = "tie" if text is None else "keep" if text == labelled else "flip"
    assert decision.verdict == expected
    assert decision.evidence["seen"] is False
    assert decision.evidence["flag"] == "flipped"


def test_after_a_blind_verdict_the_evidence_is_shown_above_the_next_pair(
    scene: Scene, desk: Client, telling: PreferencePair
) -> None:
    to = "?queue=audit"
    response = post(desk, "scoring:decide", telling.pk, to=to, preferred="first", blind="1")
    page = desk.get(response["Location"])
    strip = page.content.decode().split('class="revealed"')[1].split('<div class="pair"')[0]
    assert "What the models say" in strip
    assert "Undo it" in strip
    below = page.content.decode().split('<div class="pair"')[1]
    assert "What the models say" not in below
    back = post(desk, "scoring:undo", to=to, decision=telling.decisions.get().pk)
    again = desk.get(back["Location"])
    assert 'value="first"' not in again.content.decode()  # it has been seen by now
    post(desk, "scoring:decide", telling.pk, to=to, verdict="keep", based_on=latest_of(telling))
    assert decisions.latest_decision(telling).evidence["seen"] is True  # type: ignore[union-attr]


def latest_of(pair: PreferencePair) -> int:
    latest = decisions.latest_decision(pair)
    assert latest is not None
    return latest.pk


def test_who_does_not_wish_to_be_shown_the_evidence_is_not(
    scene: Scene, desk: Client, telling: PreferencePair
) -> None:
    to = "?queue=audit"
    post(desk, "scoring:review-switch", telling.pk, to=to, reveals="0")
    response = post(desk, "scoring:decide", telling.pk, to=to, preferred="first", blind="1")
    page = main_of(desk.get(response["Location"]))
    assert "revealed" not in page
    assert "What the models say" not in page
    assert "keep</span>" not in page
    assert "flip</span>" not in page


def test_the_evidence_is_shown_and_hidden_as_the_curator_wishes_for_each_kind_of_queue(
    scene: Scene, desk: Client, telling: PreferencePair
) -> None:
    audit = "?queue=audit"
    shown = post(desk, "scoring:review-switch", telling.pk, to=audit, hides="0")
    page = desk.get(shown["Location"]).content.decode()
    assert "What the models say" in page
    post(desk, "scoring:decide", telling.pk, to=audit, verdict="keep")
    assert telling.decisions.get().evidence["seen"] is True
    one = waiting(scene)[1]
    post(desk, "scoring:review-switch", one.pk, hides="1")
    assert "What the models say" not in main_of(desk.get(page_of(one)))
    assert "What the models say" in get(desk, "scoring:review", to=audit).content.decode()


def test_evidence_that_was_seen_stays_seen_when_it_is_hidden_again(
    scene: Scene, desk: Client, telling: PreferencePair
) -> None:
    to = "?queue=audit"
    post(desk, "scoring:review-switch", telling.pk, to=to, hides="0")
    back = post(desk, "scoring:review-switch", telling.pk, to=to, hides="1", seen="1")
    assert 'value="first"' not in desk.get(back["Location"]).content.decode()
    following = post(desk, "scoring:skip", telling.pk, to=to)["Location"]
    assert 'value="first"' in desk.get(following).content.decode()


# At hand


def test_the_share_of_wrong_labels_follows_each_decision(scene: Scene, desk: Client) -> None:
    scene.dataset.standings.update(flag="flipped")
    one, two, three, *_ = waiting(scene)
    to = "?queue=flipped"
    post(desk, "scoring:decide", one.pk, to=to, verdict="flip")
    url = reverse("scoring:decide", args=["scene", two.pk]) + to
    page = desk.post(url, {"verdict": "keep"}, headers=HTMX).content.decode()
    assert "1 of 2 reviewed one by one was wrong" in page
    assert "<strong>2</strong> decided by you today" in page
    bulk = DecisionBatch.objects.create(dataset=scene.dataset, kind=DecisionBatch.Kind.BULK)
    made = three.decisions.create(verdict="drop", actor="casey", batch=bulk)
    PairStanding.objects.filter(pk=three.pk).update(
        decision=made, verdict="drop", decided_by="person"
    )
    assert get(desk, "scoring:review", to=to).context["precision"].reviewed == 2


def test_a_pair_without_a_preference_is_decided_for_a_or_b(scene: Scene, desk: Client) -> None:
    tie = scene.dataset.pairs.get(source_preference="tie")
    page = desk.get(page_of(tie)).content.decode()
    assert 'data-key="a"' in page
    assert 'data-key="f"' not in page
    post(desk, "scoring:decide", tie.pk, verdict="b")
    tie.standing.refresh_from_db()
    assert tie.standing.verdict == Verdict.PREFER_B


def test_the_history_tells_of_batches_and_of_what_was_taken_back(
    scene: Scene, desk: Client
) -> None:
    pair = first(scene)
    bulk = DecisionBatch.objects.create(dataset=scene.dataset, kind=DecisionBatch.Kind.BULK)
    made = pair.decisions.create(verdict="drop", actor="olivia", batch=bulk)
    pair.decisions.create(
        verdict="", actor="casey", supersedes=made, undoes=made, decided_by=scene.curator
    )
    page = " ".join(desk.get(page_of(pair)).content.decode().split())
    assert "by olivia, decided in bulk" in page
    assert "undone, back to" in page


def test_beside_a_pair_are_those_of_its_prompt_and_what_contradicts_it(
    scene: Scene, desk: Client
) -> None:
    texts = ["Tea, since it keeps longer.", "Coffee, since it wakes one up.", "Plain water."]
    around = [(0, 1), (1, 2), (2, 0)]  # each beats the next
    rows = [
        {
            **factories.row(90 + number, prompt="What shall I drink?"),
            "response_a": texts[better],
            "response_b": texts[worse],
        }
        for number, (better, worse) in enumerate(around)
    ]
    factories.imported(scene.dataset, rows)
    one, two, three = scene.dataset.pairs.filter(source_id__in=["pair-90", "pair-91", "pair-92"])
    page = " ".join(get(desk, "scoring:similar", one.pk, to="").content.decode().split())
    assert "Of the same prompt (2)" in page
    warned = page.split("a circle is made by")[1].split("</p>")[0]
    assert f"pair {two.pk}</a>" in warned
    assert f"pair {three.pk}</a>" in warned
    assert "a circle" not in get(desk, "scoring:similar", scene.pair.pk, to="").content.decode()


def test_reasons_are_offered_and_kept(scene: Scene, desk: Client) -> None:
    pair = first(scene)
    page = desk.get(page_of(pair)).content.decode()
    assert all(f'data-reason="{reason}"' in page for reason in review.OFFERED_REASONS)
    post(desk, "scoring:decide", pair.pk, verdict="drop", reason=review.OFFERED_REASONS[5])
    assert pair.decisions.get().reason == "prompt broken"
    assert queue.count_waiting(queue.all_of(scene.dataset)) == len(waiting(scene))
