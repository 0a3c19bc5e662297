"""The activity of a dataset: everything that was done is there once, newest first, page by page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotations import activity as annotations_activity
from annotations import commenting, decisions, golds, people, policies, policy_book, tagging
from annotations.activity import Entry, Key, Wanted
from annotations.models import (
    Dataset,
    Decision,
    DecisionBatch,
    GoldPair,
    Import,
    Membership,
    RoleChange,
    Round,
    SavedView,
    Verdict,
)
from curator.models import User
from scoring import activity, freezing
from scoring.models import (
    Audit,
    Checkpoint,
    Ensemble,
    Recalibration,
    ReviewSample,
    RewardModel,
    TrainingRun,
)
from tests import factories

ALL_KINDS = {source.kind for source in (*annotations_activity.SOURCES, *activity.SOURCES)}


@pytest.fixture
def busy(dataset: Dataset, casey: User) -> Dataset:
    """A dataset in which everything that can be done was done once."""
    pair, other, *_ = factories.pairs(dataset, 4)
    anna = factories.user("anna")
    Membership.objects.create(dataset=dataset, user=anna, role="annotator", ended_at=timezone.now())
    Membership.objects.filter(user=anna).update(joined_at=F("ended_at") - timedelta(days=1))
    RoleChange.objects.create(membership=dataset.memberships.get(user=anna), role="annotator")
    round = factories.opened_round(dataset)
    Round.objects.filter(pk=round.pk).update(closed_at=timezone.now())
    commenting.comment(pair=pair, by=casey, text="the second answer is better")
    golds.mark(pair=pair, preference="a", by=casey)
    golds.retire(gold=GoldPair.objects.get(), by=casey)
    decisions.decide(pair=pair, verdict=Verdict.FLIP, by=casey, based_on=None, reason="sure")
    DecisionBatch.objects.create(dataset=dataset, kind="bulk", actor="casey", created_by=casey)
    policy_book.keep(dataset=dataset, policy=policies.PRESETS["conservative"], by=casey)
    snapshot = freezing.freeze(dataset=dataset, by=casey)
    tagging.untag(tag=tagging.tag(snapshot=snapshot, name="v1", by=casey), by=casey)
    factories.exported(snapshot, "trl-dpo")
    now = timezone.now()
    SavedView.objects.create(dataset=dataset, name="weak", query="flag=flipped", retired_at=now)
    run = factories.judged(dataset, {pair.pk: (-1.0, "flipped"), other.pk: (1.0, "clear")})
    TrainingRun.objects.create(ensemble=run.ensemble, created_by=casey)
    model = factories.checkpoint("tiny-llama")
    mixed = Ensemble.objects.create(
        dataset=dataset, name="mixed", members_count=1, created_by=casey
    )
    RewardModel.objects.create(ensemble=mixed, position=0, name="tiny-llama", checkpoint=model)
    Audit.objects.create(run=run, share=0.1, created_by=casey)
    sample = ReviewSample.objects.create(run=run, size=2, created_by=casey)
    Recalibration.objects.create(sample=sample, created_by=casey)
    return dataset


def everything(of: Dataset, size: int, **wanted: Any) -> list[Entry]:
    """All pages."""
    seen: list[Entry] = []
    after: Key | None = None
    while True:
        page = annotations_activity.feed(
            of, Wanted(after=after, **wanted), more=activity.SOURCES, size=size
        )
        seen += page.entries
        after = page.next_cursor
        if after is None:
            return seen


def test_every_kind_is_there_once(busy: Dataset) -> None:
    kinds = [entry.kind for entry in everything(busy, 500)]
    once = [kind for kind in kinds if kind != "member-joined"]  # casey and anna
    assert set(kinds) == ALL_KINDS
    assert len(once) == len(set(once)) == len(ALL_KINDS) - 1


@pytest.mark.parametrize("size", [1, 3, 7])
def test_pages_follow_each_other_without_gap_or_repeat(busy: Dataset, size: int) -> None:
    whole = everything(busy, 500)
    assert everything(busy, size) == whole
    assert [entry.key for entry in whole] == sorted((e.key for e in whole), reverse=True)


def test_what_happened_at_the_same_moment_is_lost_on_no_page(busy: Dataset) -> None:
    moment = timezone.now()
    Import.objects.update(queued_at=moment)
    DecisionBatch.objects.update(queued_at=moment)
    DecisionBatch.objects.create(dataset=busy, kind="bulk", actor="casey", queued_at=moment)
    SavedView.objects.update(created_at=moment)
    assert everything(busy, 1) == everything(busy, 500)


def test_the_feed_asks_as_often_for_much_as_for_little(
    busy: Dataset, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(len(ALL_KINDS)):
        activity.feed(busy, Wanted())
    for number in range(20):
        SavedView.objects.create(dataset=busy, name=f"view {number}", query="")
        tagging.tag(snapshot=busy.snapshots.get(), name=f"tag-{number}", by=None)
    with django_assert_num_queries(len(ALL_KINDS)):
        activity.feed(busy, Wanted())


@pytest.mark.parametrize("group", list(activity.GROUPS))
def test_a_group_shows_its_own_alone(busy: Dataset, group: str) -> None:
    kinds = {s.kind for s in (*annotations_activity.SOURCES, *activity.SOURCES) if s.group == group}
    assert {entry.kind for entry in everything(busy, 500, group=group)} == kinds


def test_a_person_and_days_narrow_the_feed(busy: Dataset, casey: User) -> None:
    anna = User.objects.get(username="anna")
    assert {e.who for e in everything(busy, 500, person=anna.pk)} == {"anna"}
    mine = everything(busy, 500, person=casey.pk)
    assert {entry.who for entry in mine} == {"casey"}
    today = timezone.now()
    assert everything(busy, 500, since=today + timedelta(days=1)) == []
    assert everything(busy, 500, until=today - timedelta(days=2)) == []
    assert everything(busy, 500, person=casey.pk, since=today - timedelta(days=1)) == mine


def test_a_persons_decisions_of_an_hour_are_one_entry_that_opens(
    dataset: Dataset, casey: User, as_casey: Client
) -> None:
    one, two, three = factories.pairs(dataset, 3)
    hour = datetime(2026, 11, 20, 9, tzinfo=UTC)
    for minutes, pair, verdict in ((10, one, "flip"), (40, two, "flip"), (70, three, "drop")):
        Decision.objects.create(
            pair=pair,
            verdict=verdict,
            decided_by=casey,
            actor="casey",
            created_at=hour + timedelta(minutes=minutes),
        )
    later, earlier = everything(dataset, 500, group="decisions")
    assert (later.words, later.url) == (
        "decided 1 pair: 1 drop",
        reverse("scoring:pair", args=["pairs", three.pk]),
    )
    assert (earlier.words, earlier.at) == (
        "decided 2 times: 2 flip",
        hour + timedelta(minutes=40),
    )
    opened = as_casey.get(earlier.url)
    assert [made.pair for made in opened.context["decisions"]] == [two, one]


@pytest.mark.parametrize(
    "after",
    [
        "x",
        ",,",
        "2026-99-99,x,1",
        "2026-11-21T00:00:00,x,1",
        "99999-11-21T00:00:00+00:00,x,1",
        "0001-01-01T00:00:00+12:00,x,1",
        "9999-12-31T23:00:00-12:00,x,1",
        f"2026-11-21T00:00:00+00:00,x,{'9' * 30}",
    ],
)
def test_a_made_up_place_is_refused(busy: Dataset, as_casey: Client, after: str) -> None:
    response = as_casey.get(reverse("scoring:activity", args=["pairs"]), {"after": after})
    assert response.status_code == 422
    assert "begin with the newest" in response.content.decode()
    assert response.context["page"] is None


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"since": "2026-02-31"}, "“2026-02-31” is no day"),
        ({"until": "99999-01-01"}, "“99999-01-01” is no day"),
        ({"person": "x"}, "no member of this dataset"),
        ({"person": "9" * 30}, "no member of this dataset"),
        ({"kind": "moon"}, "There is no kind of activity “moon”"),
    ],
)
def test_what_a_filter_cannot_read_is_not_acted_on(
    busy: Dataset, as_casey: Client, query: dict[str, str], says: str
) -> None:
    response = as_casey.get(reverse("scoring:activity", args=["pairs"]), query)
    assert response.status_code == 422
    assert says in response.content.decode()
    assert response.context["page"] is None


def test_the_last_day_there_is_can_be_asked_for(busy: Dataset, as_casey: Client) -> None:
    response = as_casey.get(reverse("scoring:activity", args=["pairs"]), {"until": "9999-12-31"})
    assert len(response.context["page"].entries) > 10


def test_samples_and_audits_lead_to_the_evidence_of_their_run(
    busy: Dataset, as_casey: Client
) -> None:
    entries = everything(busy, 500, group="evidence")
    run = busy.scoring_runs.get()
    base = reverse("scoring:evidence", args=["pairs"])
    assert {entry.url for entry in entries} == {
        f"{base}?run={run.pk}#{part}" for part in ("sample", "planted", "recalibration")
    }
    for entry in entries:
        assert as_casey.get(entry.url.partition("#")[0]).status_code == 200


def test_another_role_is_told_with_who_gave_it(dataset: Dataset, casey: User) -> None:
    anna = factories.user("anna")
    member = Membership.objects.create(dataset=dataset, user=anna, role="annotator")
    people.set_role(membership=member, role="curator", by=None)
    people.set_role(membership=member, role="curator", by=None)  # changes nothing
    dataset.memberships.create(user=(olivia := factories.user("olivia")), role="owner")
    people.deactivate(membership=member, by=olivia)
    people.reactivate(membership=member, by=olivia)
    told = [e for e in everything(dataset, 500, group="people") if e.kind == "role"]
    assert [(entry.who, entry.words, entry.name) for entry in told] == [
        ("olivia", "made a former member curator again:", "anna"),
        ("the command line", "changed a role from annotator to curator, of", "anna"),
    ]


def test_every_entry_leads_somewhere(busy: Dataset, as_casey: Client) -> None:
    for entry in everything(busy, 500):
        assert entry.url.startswith("/"), entry.kind


def test_names_are_shown_as_text(dataset: Dataset, as_casey: Client) -> None:
    SavedView.objects.create(dataset=dataset, name="<script>alert(1)</script>", query="")
    page = as_casey.get(reverse("scoring:activity", args=["pairs"])).content.decode()
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page


def test_there_is_a_registered_model_only_where_it_became_a_member(dataset: Dataset) -> None:
    assert Checkpoint.objects.count() == 0
    factories.checkpoint("elsewhere")
    assert everything(dataset, 500, group="models") == []
