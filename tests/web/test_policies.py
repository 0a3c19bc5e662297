"""Policies in the browser: who may see them, what the form answers, and one application a click."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from annotations import composing, decisions, launch, policies, policy_book, tasks
from annotations.models import Dataset, DecisionBatch, PairStanding, Verdict
from annotations.policies import PRESETS
from curator.models import User
from tests import factories
from tests.annotations import standings
from tests.annotations.test_composing import as_posted

SUSPECTS = policies.parse(
    {
        "name": "suspects",
        "rules": [
            {
                "when": [{"field": "flag", "is": ["flipped"]}],
                "then": {"action": "drop"},
                "because": "The ensemble contradicts the label.",
            },
            {
                "when": [{"field": "flag", "is": ["ambiguous"]}],
                "then": {"action": "queue"},
            },
        ],
    }
)


@pytest.fixture
def curator(db: object) -> User:
    return factories.user("casey")


@pytest.fixture
def dataset(curator: User) -> Dataset:
    """Pairs that are flagged in every way, and undecided."""
    annotators = [factories.user("andy")]
    made = factories.dataset("desk", curators=[curator], annotators=annotators)
    standings.scattered(made)
    made.standings.update(verdict="", decided_by="", decided_at=None)
    return made


@pytest.fixture
def at(client: Client, curator: User, dataset: Dataset) -> Client:
    client.force_login(curator)
    return client


def posted(policy: policies.Policy, **more: Any) -> dict[str, Any]:
    """What a browser sends of the form that shows the policy."""
    form = composing.submission(composing.of_policy(policy))
    return as_posted(form.draft) | {"json": form.text, "json-was": form.shown} | more


def count(dataset: Dataset, **standing: Any) -> int:
    return dataset.standings.filter(**standing).count()


def kept(dataset: Dataset, by: User) -> int:
    return policy_book.keep(dataset=dataset, policy=SUSPECTS, by=by).pk


def page_of(response: Any) -> str:
    return str(response.content.decode())


PATHS = (
    "policies/",
    "policies/new/",
    "policies/{policy}/",
    "policies/{policy}/apply/",
    "pairs/decide/",
)


@pytest.mark.parametrize("path", PATHS)
def test_only_curators_see_policies(
    client: Client, dataset: Dataset, curator: User, path: str
) -> None:
    path = f"/datasets/desk/{path.format(policy=kept(dataset, curator))}"
    client.force_login(curator)
    assert client.get(path).status_code == 200
    client.force_login(User.objects.get(username="andy"))
    assert client.get(path).status_code == 403
    client.force_login(factories.user("stranger"))
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["policies/preview/", "policies/examples/"])
def test_only_curators_preview(client: Client, dataset: Dataset, path: str) -> None:
    client.force_login(User.objects.get(username="andy"))
    assert client.post(f"/datasets/desk/{path}", posted(SUSPECTS)).status_code == 403
    assert client.get(f"/datasets/desk/{path}").status_code == 405


def test_presets_are_told_in_words_with_their_warnings(at: Client) -> None:
    page = page_of(at.get("/datasets/desk/policies/"))
    for name in PRESETS:
        assert f"?preset={name}" in page
    assert "on the word of one judge" in page
    assert "Flip the label: percentile below 0.1." in page


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_opens_in_the_form(at: Client, name: str) -> None:
    page = page_of(at.get(f"/datasets/desk/policies/new/?preset={name}"))
    assert f'value="{name}"' in page
    assert "Condition" not in page  # that would be a problem


def test_a_preset_that_there_is_not_is_said_so(at: Client) -> None:
    answer = at.get("/datasets/desk/policies/new/?preset=moon")
    assert answer.status_code == 404
    assert "There is no preset “moon”" in page_of(answer)


def test_the_preview_counts_what_would_happen(at: Client, dataset: Dataset) -> None:
    response = at.post("/datasets/desk/policies/preview/", posted(SUSPECTS))
    doomed = count(dataset, flag="flipped")
    waiting = count(dataset, flag="ambiguous")
    page = page_of(response)
    assert doomed > 0
    assert waiting > 0
    assert f"Drop the pair: <strong>{doomed}</strong>" in page
    assert f"Put forward for review: <strong>{waiting}</strong>" in page
    assert not dataset.batches.exists()


def test_examples_say_what_would_become_of_each_label(at: Client, dataset: Dataset) -> None:
    page = page_of(at.post("/datasets/desk/policies/examples/", posted(SUSPECTS)))
    doomed = count(dataset, flag="flipped")
    assert f"{min(doomed, 20)} example" in page
    assert page.count("<strong>dropped</strong>") == min(doomed, 20)
    assert "undecided, put forward" in page
    shown = page.count('class="illustrations"'), page.count('class="beginnings"')
    assert shown == (2, page.count(", strength ") + page.count(", not scored"))


def test_queries_of_a_preview_do_not_grow_with_the_rules(at: Client) -> None:
    def asked(policy: policies.Policy) -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            at.post("/datasets/desk/policies/preview/", posted(policy))
        return len(queries)

    assert asked(SUSPECTS) == asked(PRESETS["conservative"])


def test_what_is_wrong_is_said_at_its_rule_and_nothing_is_kept(
    at: Client, dataset: Dataset
) -> None:
    wrong = posted(SUSPECTS) | {"r1-c0-o0-value": [], "do": "save"}
    response = at.post("/datasets/desk/policies/new/", wrong)
    assert response.status_code == 422
    assert "the list of values of “flag” is empty" in page_of(response)
    assert not dataset.policies.exists()
    live = page_of(at.post("/datasets/desk/policies/preview/", wrong))
    assert "the list of values of “flag” is empty" in live
    assert 'id="r1-problems"' in live


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "This is not JSON"),
        (
            '{"name": "x", "rules": [{"when": [{"field": "flagg"}], "then": {}}]}',
            "did you mean “flag”?",
        ),
        (
            '{"name": "x", "rules": [{"when": [{"field": "votes", "below": 0.1}, '
            '{"field": "votes", "above": 0.9}], "then": {"action": "drop"}}]}',
            "No pair can meet it",
        ),
    ],
)
def test_bad_json_is_answered_in_sentences(
    at: Client, dataset: Dataset, text: str, said: str
) -> None:
    response = at.post(
        "/datasets/desk/policies/new/", posted(SUSPECTS) | {"json": text, "do": "save"}
    )
    assert response.status_code == 422
    assert said in page_of(response)
    assert not dataset.policies.exists()


def test_json_is_read_into_the_form(at: Client) -> None:
    text = composing.as_text(PRESETS["remove-suspects"])
    page = page_of(
        at.post("/datasets/desk/policies/new/", posted(SUSPECTS) | {"json": text, "do": "read"})
    )
    assert 'value="remove-suspects"' in page


def test_a_button_of_the_form_answers_with_the_form_alone(at: Client) -> None:
    response = at.post(
        "/datasets/desk/policies/new/",
        posted(SUSPECTS) | {"do": "add"},
        headers={"HX-Request": "true"},
    )
    page = page_of(response)
    assert "<html" not in page
    assert 'name="r2-action"' in page
    assert "policy-changed" in response.headers["HX-Trigger-After-Settle"]


def test_saving_keeps_a_version_and_the_same_rules_are_one(at: Client, dataset: Dataset) -> None:
    first = at.post("/datasets/desk/policies/new/", posted(SUSPECTS) | {"do": "save"})
    second = at.post("/datasets/desk/policies/new/", posted(SUSPECTS) | {"do": "save"})
    row = dataset.policies.get()
    assert first.headers["Location"] == second.headers["Location"]
    assert row.digest == policies.digest(SUSPECTS)
    changed = posted(SUSPECTS) | {"r0-action": "queue", "do": "save"}
    at.post(f"/datasets/desk/policies/{row.pk}/", changed)
    assert [each.rules[0]["then"]["action"] for each in dataset.policies.order_by("pk")] == [
        "drop",
        "queue",
    ]
    assert "There is a newer version" in page_of(at.get(f"/datasets/desk/policies/{row.pk}/"))


def shown_on(at: Client, path: str) -> dict[str, Any]:
    """What the confirmation sends back."""
    response = at.get(path)
    assert response.context is not None
    return {"shown": response.context["shown"], "reason": "as agreed"}


def work_off(batch: DecisionBatch) -> DecisionBatch:
    tasks.decide_batch(batch_id=batch.pk)
    batch.refresh_from_db()
    return batch


def test_a_policy_is_applied_as_it_was_shown(at: Client, dataset: Dataset, curator: User) -> None:
    path = f"/datasets/desk/policies/{kept(dataset, curator)}/apply/"
    doomed = count(dataset, flag="flipped")
    response = at.post(path, shown_on(at, path))
    batch = dataset.batches.get()
    assert response.headers["Location"] == f"/datasets/desk/batches/{batch.pk}/"
    assert "since" in page_of(at.get(response.headers["Location"]))
    work_off(batch)
    assert batch.status == DecisionBatch.Status.DONE, batch.problem
    assert batch.reason == "as agreed"
    assert count(dataset, verdict="drop") == doomed
    page = page_of(at.get(response.headers["Location"]))
    assert "Undo…" in page
    assert "Put forward for review" in page


def test_a_second_click_makes_no_second_batch(at: Client, dataset: Dataset, curator: User) -> None:
    path = f"/datasets/desk/policies/{kept(dataset, curator)}/apply/"
    shown = shown_on(at, path)
    one, two = at.post(path, shown), at.post(path, shown)
    work_off(dataset.batches.get())
    three = at.post(path, shown)
    assert one.headers["Location"] == two.headers["Location"] == three.headers["Location"]
    assert dataset.batches.count() == 1


def test_what_changed_meanwhile_is_refused_with_a_way_to_look_again(
    at: Client, dataset: Dataset, curator: User
) -> None:
    path = f"/datasets/desk/policies/{kept(dataset, curator)}/apply/"
    response = at.post(path, shown_on(at, path))
    PairStanding.objects.filter(flag="clear").update(flag="flipped")
    batch = work_off(dataset.batches.get())
    assert batch.status == DecisionBatch.Status.FAILED
    page = page_of(at.get(response.headers["Location"]))
    assert "look again" in page
    assert f'href="{path}"' in page
    assert "Nothing was changed" in page
    assert count(dataset, verdict="drop") == 0


def test_one_batch_at_a_time(at: Client, dataset: Dataset, curator: User) -> None:
    path = f"/datasets/desk/policies/{kept(dataset, curator)}/apply/"
    shown = shown_on(at, path)
    launch.start_policy(dataset=dataset, policy=PRESETS["review-first"], by=None)
    response = at.post(path, shown)
    assert response.status_code == 409
    assert "wait until it is over" in page_of(response)
    assert dataset.batches.count() == 1


def test_a_policy_that_matches_nothing_says_so_and_cannot_be_applied(
    at: Client, dataset: Dataset, curator: User
) -> None:
    nothing = policies.parse(
        {
            "name": "nothing",
            "rules": [{"when": [{"field": "turns", "above": 99}], "then": {"action": "drop"}}],
        }
    )
    row = policy_book.keep(dataset=dataset, policy=nothing, by=curator)
    page = page_of(at.get(f"/datasets/desk/policies/{row.pk}/apply/"))
    assert "nothing would be done" in page
    assert 'name="shown"' not in page


@pytest.mark.parametrize("shown", ["", "{", '{"expected": {"counts": {"drop": -1}}}', "[]"])
def test_a_made_up_confirmation_starts_nothing(
    at: Client, dataset: Dataset, curator: User, shown: str
) -> None:
    path = f"/datasets/desk/policies/{kept(dataset, curator)}/apply/"
    response = at.post(path, {"shown": shown})
    assert response.status_code in (400, 422)
    assert not dataset.batches.exists()


@pytest.fixture
def applied(at: Client, dataset: Dataset, curator: User) -> DecisionBatch:
    row = launch.start_policy(dataset=dataset, policy=SUSPECTS, by=curator)
    return work_off(row)


def test_the_undo_says_first_what_it_does_then_does_it_once(
    at: Client, dataset: Dataset, curator: User, applied: DecisionBatch
) -> None:
    path = f"/datasets/desk/batches/{applied.pk}/undo/"
    standing = dataset.standings.filter(verdict="drop").select_related("pair")[0]
    decisions.decide(
        pair=standing.pair, verdict=Verdict.TIE, by=curator, based_on=standing.decision_id
    )
    context = at.get(path).context
    assert context is not None
    dropped, waiting = applied.counts["drop"], applied.counts["queue"]
    assert context["taken_back"].restored == {"undecided": dropped - 1}
    assert (context["taken_back"].stays, context["taken_back"].queued) == (1, waiting)
    one, two = at.post(path), at.post(path)
    assert one.headers["Location"] == two.headers["Location"]
    back = work_off(DecisionBatch.objects.get(undoes=applied))
    assert back.counts == {"undecided": dropped - 1, "queue": waiting}
    assert count(dataset, verdict="drop") == 0
    assert count(dataset, put_forward_by=applied) == 0


def test_an_undo_of_an_undo_stands_in_one_line_of_history(
    at: Client, dataset: Dataset, curator: User, applied: DecisionBatch
) -> None:
    back = work_off(launch.start_undo(batch=applied, by=curator))
    context = at.get(f"/datasets/desk/batches/{back.pk}/undo/").context
    assert context is not None
    assert context["taken_back"].restored == {"drop": applied.counts["drop"]}
    assert context["taken_back"].queued == applied.counts["queue"]
    forth = work_off(launch.start_undo(batch=back, by=curator))
    page = page_of(at.get(f"/datasets/desk/batches/{applied.pk}/"))
    assert f"took back batch {applied.pk}" in page
    assert f"took back batch {back.pk}" in page
    assert f"/batches/{forth.pk}/" in page
    assert "Undo…" not in page


def test_a_batch_of_another_dataset_is_not_found(
    at: Client, curator: User, applied: DecisionBatch
) -> None:
    factories.dataset("other", curators=[curator])
    assert at.get(f"/datasets/other/batches/{applied.pk}/").status_code == 404
    assert at.get(f"/datasets/other/batches/{applied.pk}/undo/").status_code == 404


def test_the_pairs_of_a_batch_come_a_page_at_a_time(
    at: Client, applied: DecisionBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotations.batch_records.PAGE_SIZE", 3)
    seen: list[int] = []
    after: Any = 0
    while after is not None:
        context = at.get(f"/datasets/desk/batches/{applied.pk}/?after={after}").context
        assert context is not None
        seen += [decision.pair_id for decision in context["decisions"]]
        after = context["more"]
    made = applied.decisions.order_by("pair").values_list("pair", flat=True)
    assert seen == list(made)
    assert at.get(f"/datasets/desk/batches/{applied.pk}/?after=x").status_code == 404


def test_a_live_batch_is_asked_for_until_it_is_over(
    at: Client, dataset: Dataset, curator: User
) -> None:
    row = launch.start_policy(dataset=dataset, policy=SUSPECTS, by=curator)
    path = f"/datasets/desk/batches/{row.pk}/"
    live = {"HX-Request": "true"}
    assert "No worker has picked this up" in page_of(at.get(path, headers=live))
    work_off(row)
    assert at.get(path, headers=live).headers["HX-Refresh"] == "true"


def test_what_people_type_is_shown_as_text(at: Client) -> None:
    changed = posted(SUSPECTS) | {"name": '"><script>x</script>', "do": "preview"}
    page = page_of(at.post("/datasets/desk/policies/new/", changed))
    assert "<script>x" not in page
    assert "&lt;script&gt;" in page
