"""The pages of snapshots: tags, card, what changed, restoring, freezing in the background."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import strip_tags

from annotations import decisions, tagging
from annotations.models import (
    Dataset,
    Decision,
    DecisionBatch,
    Snapshot,
    SnapshotRequest,
    SnapshotTag,
    Verdict,
)
from curator.models import User
from scoring import freezing, tasks
from tests import factories
from tests.web.test_api import program_of


def decide(into: Dataset, number: int, verdict: Verdict, by: User, reason: str = "") -> None:
    pair = into.pairs.get(source_id=f"pair-{number}")
    latest = decisions.latest_decision(pair)
    based_on = latest.pk if latest else None
    decisions.decide(pair=pair, verdict=verdict, by=by, based_on=based_on, reason=reason)


@pytest.fixture
def two(dataset: Dataset, casey: User) -> tuple[Snapshot, Snapshot]:
    """Two snapshots of five pairs; in between one was flipped and one dropped."""
    factories.pairs(dataset, 5)
    first = freezing.freeze(dataset=dataset, by=casey)
    decide(dataset, 0, Verdict.FLIP, casey, reason="B answers <b>the question</b>")
    decide(dataset, 1, Verdict.DROP, casey)
    return first, freezing.freeze(dataset=dataset, by=casey)


def url(name: str, *arguments: Any) -> str:
    return reverse(f"annotations:{name}", args=["pairs", *arguments])


def page(desk: Client, address: str, **query: Any) -> str:
    response = desk.get(address, query)
    assert response.status_code == 200
    return response.content.decode()


# --- Tags -----------------------------------------------------------------------------------------


def test_a_tag_names_one_snapshot_and_moves(
    two: tuple[Snapshot, Snapshot], as_casey: Client, dataset: Dataset
) -> None:
    first, second = two
    as_casey.post(url("snapshot-tag", 1), {"name": "v1"})
    assert tagging.find(dataset, "v1") == first
    told = as_casey.post(url("snapshot-tag", 2), {"name": " v1 "}, follow=True).content.decode()
    assert "named snapshot 1 before" in told
    assert tagging.find(dataset, "v1") == second
    retired = SnapshotTag.objects.get(snapshot=first)
    assert (retired.retired_by, retired.retired_at is None) == (second.created_by, False)


def test_a_tag_leads_to_its_snapshot_until_it_is_taken_away(
    two: tuple[Snapshot, Snapshot], as_casey: Client, casey: User
) -> None:
    given = tagging.tag(snapshot=two[0], name="v1", by=casey)
    response: Any = as_casey.get(url("snapshot-tagged", "v1"))
    assert response["Location"] == url("snapshot", 1)
    as_casey.post(url("snapshot-untag", 1, given.pk))
    assert as_casey.get(url("snapshot-tagged", "v1")).status_code == 404


@pytest.mark.parametrize("name", ["", "12", "now", "two words", "../x", "é", "v" * 61, "-v"])
def test_what_cannot_be_a_tag_is_refused_with_what_can(
    two: tuple[Snapshot, Snapshot], as_casey: Client, name: str
) -> None:
    response = as_casey.post(url("snapshot-tag", 1), {"name": name})
    assert response.status_code == 422
    text = response.content.decode()
    assert "A tag has up to 60 letters" in text
    assert "Restore its decisions" in text  # the page it was typed on
    assert f'value="{name}"' in text
    assert not SnapshotTag.objects.exists()


def test_tags_stand_in_the_list(
    two: tuple[Snapshot, Snapshot], as_casey: Client, casey: User
) -> None:
    tagging.tag(snapshot=two[0], name="v1-reviewed", by=casey)
    assert "v1-reviewed" in page(as_casey, reverse("scoring:snapshots", args=["pairs"]))


# --- The card -------------------------------------------------------------------------------------


def test_the_card_is_shown_and_downloaded_as_it_was_written(
    two: tuple[Snapshot, Snapshot], as_casey: Client, dataset: Dataset
) -> None:
    before = as_casey.get(url("card", 2)).content.decode()
    assert before.startswith('---\npretty_name: "Pairs"\nlicense: unknown\n')
    Dataset.objects.filter(pk=dataset.pk).update(name="Another", description="CC-BY-4.0")
    response = as_casey.get(url("card", 2))
    assert response.content.decode() == before
    assert f"pairs-snapshot2-{two[1].short_digest}.card.md" in response["Content-Disposition"]
    assert "How the labels were checked" in page(as_casey, url("snapshot", 2))


def test_the_card_names_the_files_written_since(
    two: tuple[Snapshot, Snapshot], as_casey: Client
) -> None:
    export = factories.exported(two[1], "trl-dpo")
    text = as_casey.get(url("card", 2)).content.decode()
    assert f"| 4 | 1 dropped | `{export.sha256}` |" in text


# --- What changed ---------------------------------------------------------------------------------


def test_the_page_of_changes_says_which_by_whom_and_why(
    two: tuple[Snapshot, Snapshot], as_casey: Client
) -> None:
    text = page(as_casey, url("snapshot-changes", 2, 1))
    assert "B answers &lt;b&gt;the question&lt;/b&gt;" in text
    assert "decided one by one" in text
    narrowed = as_casey.get(url("snapshot-changes", 2, 1), {"was": "", "now": "flip"})
    assert [row.after.verdict for row in narrowed.context["page"].rows] == ["flip"]


def test_snapshots_are_compared_in_whatever_order_they_are_chosen(
    two: tuple[Snapshot, Snapshot], as_casey: Client
) -> None:
    for number, other in ((1, "2"), (2, "1")):
        response: Any = as_casey.get(url("snapshot-compare", number), {"with": other})
        assert response["Location"] == url("snapshot-changes", 2, 1)
    response = as_casey.get(url("snapshot-compare", 1), {"with": "now"})
    assert response["Location"] == url("snapshot-changes-now", 1)
    assert as_casey.get(url("snapshot-compare", 1), {"with": "x"}).status_code == 404


def test_since_then_until_now(
    two: tuple[Snapshot, Snapshot], as_casey: Client, dataset: Dataset, casey: User
) -> None:
    assert "Nothing changed" in page(as_casey, url("snapshot-changes-now", 2))
    decide(dataset, 2, Verdict.KEEP, casey)
    response = as_casey.get(url("snapshot-changes-now", 2))
    assert response.context["found"].verdicts == {("", "keep"): 1}


@pytest.mark.parametrize("query", [{"after": "x"}, {"kind": "moon"}, {"was": "\x00"}, {"now": "é"}])
def test_a_made_up_question_harms_nothing(
    two: tuple[Snapshot, Snapshot], as_casey: Client, query: dict[str, str]
) -> None:
    assert as_casey.get(url("snapshot-changes", 2, 1), query).status_code == 200


def test_a_snapshot_is_not_compared_with_itself(
    two: tuple[Snapshot, Snapshot], as_casey: Client
) -> None:
    response = as_casey.get(url("snapshot-changes", 1, 1))
    assert response.status_code == 422
    assert "is not later than" in response.content.decode()


# --- Restoring ------------------------------------------------------------------------------------


def test_restoring_shows_what_would_change_and_starts_one_batch(
    two: tuple[Snapshot, Snapshot], as_casey: Client
) -> None:
    response = as_casey.get(url("snapshot-restore", 1))
    assert response.context["found"].decided == 2
    last = response.context["last_decision"]
    assert last == Decision.objects.latest("pk").pk
    sent = {"expected": "2", "last_decision": str(last), "reason": "back to\0 v1"}
    as_casey.post(url("snapshot-restore", 1), sent)
    batch = DecisionBatch.objects.get()
    assert batch.expected == {"counts": {"all": 2}, "last_decision": last}
    assert (batch.kind, batch.snapshot, batch.reason) == ("restore", two[0], "back to v1")


def test_restoring_says_what_would_change_in_plain_sentences(
    two: tuple[Snapshot, Snapshot], as_casey: Client
) -> None:
    text = page(as_casey, url("snapshot-restore", 1))
    words = " ".join(strip_tags(text).split())
    assert "1 pair, now drop , would be undecided again" in words
    assert "1 pair, now flip , would be undecided again" in words


def test_a_restore_that_is_refused_keeps_the_reason(
    two: tuple[Snapshot, Snapshot], as_casey: Client, dataset: Dataset
) -> None:
    DecisionBatch.objects.create(dataset=dataset, kind="bulk", actor="casey")
    sent = {"expected": "2", "last_decision": "1", "reason": "back to v1"}
    response = as_casey.post(url("snapshot-restore", 1), sent)
    assert response.status_code == 409
    text = response.content.decode()
    assert "wait until it is over" in text
    assert 'value="back to v1"' in text


def test_a_strength_is_told_towards_the_label(
    two: tuple[Snapshot, Snapshot], as_casey: Client, dataset: Dataset
) -> None:
    """Of a label for B the models that prefer B speak."""
    other = dataset.standings.get(pair__source_id="pair-1")
    assert other.pair.source_preference in ("a", "b")
    dataset.standings.update(strength=-0.5, run_id=7)
    response = as_casey.get(url("snapshot-changes-now", 1))
    rows = response.context["page"].rows
    assert {row.after.strength for row in rows} == {-0.5}
    assert "towards A" not in response.content.decode()


def test_what_stands_as_it_did_is_not_restored(
    two: tuple[Snapshot, Snapshot], as_casey: Client
) -> None:
    assert "Nothing to restore" in page(as_casey, url("snapshot-restore", 2))
    assert as_casey.post(url("snapshot-restore", 2)).status_code == 422
    assert not DecisionBatch.objects.exists()


# --- For programs ---------------------------------------------------------------------------------


def test_programs_read_snapshots_changes_and_activity(
    two: tuple[Snapshot, Snapshot], casey: User
) -> None:
    program = program_of(casey)
    tagged = program.post("/datasets/pairs/snapshots/1/tags", name="v1").found
    assert (tagged["number"], tagged["tags"]) == (1, ["v1"])
    listed = program.get("/datasets/pairs/snapshots").found
    assert [(row["number"], row["tags"]) for row in listed] == [(2, []), (1, ["v1"])]
    assert "pretty_name" in program.get("/datasets/pairs/snapshots/v1").found["card"]
    found = program.get("/datasets/pairs/changes?since=v1&until=2").found
    assert (found["decided"], found["training_rows"]["lost"]) == (2, 1)
    assert program.get("/datasets/pairs/changes").found["decided"] == 0
    feed = program.get("/datasets/pairs/activity?kind=snapshots").found
    assert [entry["kind"] for entry in feed["entries"]] == ["tag", "snapshot", "snapshot"]
    assert feed["next"] is None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("snapshots/v9", 404),
        ("snapshots/%00", 404),
        ("changes?since=2&until=1", 422),
        ("changes?until=1", 422),
        ("activity?kind=moon", 422),
        ("activity?after=x", 422),
        ("activity?person=99999999999999999999", 422),
    ],
)
def test_programs_are_told_what_cannot_be(
    two: tuple[Snapshot, Snapshot], casey: User, path: str, status: int
) -> None:
    assert program_of(casey).get(f"/datasets/pairs/{path}").status == status


def test_programs_name_moments_with_or_without_a_zone(
    two: tuple[Snapshot, Snapshot], casey: User
) -> None:
    program = program_of(casey)
    for since in ("2020-01-01", "2020-01-01T10:00:00", "2020-01-01T10:00:00Z"):
        answer = program.get(f"/datasets/pairs/activity?since={since}")
        assert answer.found["entries"]


# --- In the background ----------------------------------------------------------------------------


def test_a_large_dataset_is_frozen_in_the_background(
    dataset: Dataset, as_casey: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freezing, "FREEZES_AT_ONCE", 2)
    factories.pairs(dataset, 3)
    index = reverse("scoring:snapshots", args=["pairs"])
    shown = as_casey.post(index, {"note": "all of it"}, follow=True).content.decode()
    assert "A snapshot is being frozen" in shown
    row = SnapshotRequest.objects.get()
    again = as_casey.post(index, {"note": "once more"})
    assert again.status_code == 409
    assert 'class="field-error"' in again.content.decode()
    assert "once more" in again.content.decode()
    tasks.freeze_dataset(request_id=row.pk)
    row.refresh_from_db()
    assert row.status == "done", row.problem
    assert row.snapshot is not None
    assert (row.snapshot.note, row.snapshot.card is not None) == ("all of it", True)
    assert "being frozen" not in page(as_casey, index)


def test_a_request_that_cannot_be_met_says_why(
    dataset: Dataset, as_casey: Client, casey: User
) -> None:
    row = SnapshotRequest.objects.create(dataset=dataset, created_by=casey)
    tasks.freeze_dataset(request_id=row.pk)
    assert "import some first" in page(as_casey, reverse("scoring:snapshots", args=["pairs"]))
