"""The form that starts a run, and the page on which it is watched, paused and understood."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotations.models import Dataset, Membership, Role
from curator.lib.processes import this_process
from curator.models import User
from scoring import launch, reports
from scoring.core.options import EngineOptions
from scoring.models import Checkpoint, Ensemble, ScoringRun, ScoringShard
from tests import factories
from tests.scenarios import Scene

Status = ScoringRun.Status
FRAGMENT = {"HX-Request": "true"}


def text(response: Any) -> str:
    """The page as it reads: one blank between words, and no thin ones."""
    return " ".join(response.content.decode().replace("\u202f", " ").split())


def page_of(run: ScoringRun, name: str = "run") -> str:
    return reverse(f"scoring:{name}", args=[run.dataset.slug, run.pk])


@pytest.fixture
def ensemble(dataset: Dataset) -> Ensemble:
    """Two registered models."""
    models = [factories.checkpoint("tiny"), factories.checkpoint("other")]
    return launch.assemble(dataset=dataset, name="both", by=None, checkpoints=models)


@pytest.fixture
def run(ensemble: Ensemble) -> ScoringRun:
    """A run in the middle: planned a minute ago, 200 pairs, two shards for each member."""
    before = timezone.now() - timedelta(minutes=1)
    found = ScoringRun.objects.create(
        dataset=ensemble.dataset,
        ensemble=ensemble,
        status=Status.RUNNING,
        started_at=before,
        planned_at=before,
        plan_is_complete=True,
        pairs_total=200,
        engine=EngineOptions().as_dict(),
    )
    for member in range(2):
        for _ in range(2):
            shard(found, [member])
    return found


def shard(run: ScoringRun, members: list[int], **fields: Any) -> ScoringShard:
    position = run.shards.count()
    made = {"pair_ids": [], "pairs_count": 100, "members": members}
    return ScoringShard.objects.create(run=run, position=position, **{**made, **fields})


def done_by(run: ScoringRun, worker: str, *, seconds: float, **fields: Any) -> ScoringShard:
    """The run's first shard that waits, done by the worker in so many seconds."""
    waiting = run.shards.filter(status=Status.QUEUED).order_by("position")[0]
    now = timezone.now()
    ended = {
        "status": Status.DONE,
        "worked_by": worker,
        "started_at": now - timedelta(seconds=seconds),
        "finished_at": now,
        "pairs_done": waiting.pairs_count,
        "calls": waiting.pairs_count * len(waiting.members),
        **fields,
    }
    ScoringShard.objects.filter(pk=waiting.pk).update(**ended)
    waiting.refresh_from_db()
    return waiting


def held_by(run: ScoringRun, worker: str, *, done: int = 0, lease: float = 60) -> ScoringShard:
    """The run's first shard that waits, in the worker's hands."""
    waiting = run.shards.filter(status=Status.QUEUED).order_by("position")[0]
    now = timezone.now()
    held = {
        "status": Status.RUNNING,
        "holder": worker,
        "started_at": now,
        "heartbeat_at": now,
        "lease_expires_at": now + timedelta(seconds=lease),
        "pairs_done": done,
    }
    ScoringShard.objects.filter(pk=waiting.pk).update(**held)
    waiting.refresh_from_db()
    return waiting


# --- Starting a run -------------------------------------------------------------------------------


def score(desk: Client, ensemble: Ensemble, **data: str) -> Any:
    url = reverse("scoring:score", args=[ensemble.dataset.slug, ensemble.name])
    return desk.post(url, {"mode": "out-of-bag", **data})


def test_a_run_has_the_engines_defaults_where_nothing_is_said(
    ensemble: Ensemble, as_casey: Client
) -> None:
    factories.pairs(ensemble.dataset, 2)
    assert score(as_casey, ensemble).status_code == 302
    run = ScoringRun.objects.get()
    assert run.engine == EngineOptions().as_dict()
    assert not run.is_adaptive


def test_a_run_is_adaptive_and_has_the_options_that_were_chosen(
    ensemble: Ensemble, as_casey: Client
) -> None:
    factories.pairs(ensemble.dataset, 2)
    chosen = {"share_prefixes": "off", "compile": "on", "token_budget": "512", "attention": "sdpa"}
    response = score(as_casey, ensemble, adaptive="on", **chosen)
    run = ScoringRun.objects.get()
    assert response["Location"] == page_of(run)
    wanted = EngineOptions(share_prefixes=False, compile=True, token_budget=512, attention="sdpa")
    assert run.engine == wanted.as_dict()
    assert run.is_adaptive


def test_the_form_says_what_asking_in_waves_saves(ensemble: Ensemble, as_casey: Client) -> None:
    page = text(as_casey.get(reverse("scoring:ensemble", args=["pairs", "both"])))
    assert "ask further members only while a pair’s flag is open" in page
    assert "It saves no time with heads" in page
    for name in EngineOptions().as_dict():
        assert f'name="{name}"' in page


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "guess"},
        {"pack": "maybe"},
        {"token_budget": "-1"},
        {"token_budget": "many"},
        {"attention": "none"},
    ],
)
def test_a_run_that_cannot_be_is_said_on_its_form(
    ensemble: Ensemble, as_casey: Client, change: dict[str, str]
) -> None:
    factories.pairs(ensemble.dataset, 2)
    response = score(as_casey, ensemble, **{"sort_by_length": "off", **change})
    assert response.status_code == 422
    assert [*response.context["form"].errors] == [*change]
    assert '<option value="off" selected>' in response.content.decode()
    assert ("<details open" in text(response).replace('class="field" ', "")) == (
        "mode" not in change
    )
    assert not ScoringRun.objects.exists()


def test_an_ensemble_without_pairs_or_members_is_refused(
    dataset: Dataset, ensemble: Ensemble, as_casey: Client
) -> None:
    assert score(as_casey, ensemble).status_code == 400  # no pairs
    factories.pairs(dataset, 2)
    empty = Ensemble.objects.create(dataset=dataset, name="empty", members_count=2)
    assert score(as_casey, empty).status_code == 400
    page = text(as_casey.get(reverse("scoring:ensemble", args=["pairs", "empty"])))
    assert "Score the dataset" not in page


# --- Pausing --------------------------------------------------------------------------------------


def test_a_run_is_paused_and_goes_on(run: ScoringRun, as_casey: Client) -> None:
    held_by(run, this_process(), done=50)
    page = text(as_casey.get(page_of(run)))
    assert page_of(run, "run-pause") in page
    assert page_of(run, "run-resume") not in page
    response: Any = as_casey.post(page_of(run, "run-pause"))
    assert response["Location"] == page_of(run)
    assert ScoringRun.objects.get().is_paused
    page = text(as_casey.get(page_of(run)))
    assert "paused</span>" in page
    assert page_of(run, "run-resume") in page
    assert page_of(run, "run-pause") not in page
    as_casey.post(page_of(run, "run-resume"))
    found = ScoringRun.objects.get()
    assert not found.is_paused
    assert found.status == Status.RUNNING


def test_a_second_click_on_pause_or_go_on_changes_nothing(
    run: ScoringRun, as_casey: Client
) -> None:
    as_casey.post(page_of(run, "run-pause"))
    run.refresh_from_db()
    since = run.paused_at
    assert as_casey.post(page_of(run, "run-pause")).status_code == 302
    run.refresh_from_db()
    assert run.paused_at == since
    for _ in range(2):
        assert as_casey.post(page_of(run, "run-resume")).status_code == 302
    run.refresh_from_db()
    assert run.paused_at is None


def test_a_run_that_is_over_is_not_paused(run: ScoringRun, as_casey: Client) -> None:
    ScoringRun.objects.update(status=Status.CANCELLED)
    as_casey.post(page_of(run, "run-pause"))
    run.refresh_from_db()
    assert run.paused_at is None
    assert page_of(run, "run-pause") not in text(as_casey.get(page_of(run)))


def test_only_curators_pause_and_only_by_a_button(run: ScoringRun, client: Client) -> None:
    anna = factories.user("anna")
    Membership.objects.create(dataset=run.dataset, user=anna, role=Role.ANNOTATOR)
    for person, status in ((anna, 403), (factories.user("stranger"), 404)):
        client.force_login(person)
        for name in ("run-pause", "run-resume"):
            assert client.post(page_of(run, name)).status_code == status
    client.force_login(User.objects.get(username="casey"))
    for name in ("run-pause", "run-resume"):
        assert client.get(page_of(run, name)).status_code == 405
    run.refresh_from_db()
    assert run.paused_at is None


def test_the_list_of_runs_says_which_are_paused(run: ScoringRun, as_casey: Client) -> None:
    listing = reverse("scoring:ensembles", args=["pairs"])
    overview = reverse("scoring:overview", args=["pairs"])
    assert "paused" not in text(as_casey.get(listing))
    assert "is running" in text(as_casey.get(overview))
    as_casey.post(page_of(run, "run-pause"))
    assert "paused</span>" in text(as_casey.get(listing))
    assert "is paused" in text(as_casey.get(overview))


# --- Watching -------------------------------------------------------------------------------------


def test_each_worker_is_shown_with_its_own_rate_and_what_it_has_in_hand(
    run: ScoringRun, as_casey: Client
) -> None:
    done_by(run, "fast/11/x", seconds=10)
    done_by(run, "slow/22/x", seconds=50)
    held_by(run, "fast/11/x", done=40)
    fast, slow = sorted(reports.workers_of(run), key=lambda worker: worker.process)
    assert (fast.name, slow.name) == ("fast, process 11", "slow, process 22")
    assert fast.pairs_per_second == pytest.approx(10)
    assert slow.pairs_per_second == pytest.approx(2)
    assert fast.remaining is not None
    assert fast.remaining.total_seconds() == pytest.approx(6)  # 60 of 100 pairs, at ten a second
    assert (fast.is_at_it, slow.is_at_it) == (True, False)
    page = text(as_casey.get(page_of(run), headers=FRAGMENT))
    assert "fast, process 11" in page
    assert "shard 3, 40 of 100 pairs" in page
    assert "about 6 s left" in page


def test_what_is_left_is_told_by_the_workers_that_are_at_it(run: ScoringRun) -> None:
    done_by(run, "fast/11/x", seconds=10)
    done_by(run, "gone/22/x", seconds=50)
    held_by(run, "fast/11/x", done=50)
    found = reports.progress(run)
    assert found.share_done == pytest.approx(250 / 400)
    assert found.pairs_done == 125  # of 200, each in two shards
    assert found.pairs_per_second == pytest.approx(5)
    assert found.remaining is not None
    assert found.remaining.total_seconds() == pytest.approx(15)


def test_while_paused_no_rest_is_told(run: ScoringRun, as_casey: Client) -> None:
    done_by(run, "fast/11/x", seconds=10)
    held_by(run, "fast/11/x")
    assert reports.progress(run).remaining is not None
    ScoringRun.objects.update(paused_at=timezone.now())
    run.refresh_from_db()
    assert reports.progress(run).remaining is None
    state = text(as_casey.get(page_of(run), headers=FRAGMENT)).partition("Workers")[0]
    assert "left" not in state
    assert "No further shard is taken up" in state


def test_a_worker_that_was_not_heard_of_for_its_lease_is_told_as_lost(
    run: ScoringRun, as_casey: Client
) -> None:
    held_by(run, "gone/22/x", lease=-1)
    [worker] = reports.workers_of(run)
    assert not worker.is_at_it
    assert "lost" in text(as_casey.get(page_of(run), headers=FRAGMENT))


def test_before_anybody_took_up_a_shard_the_page_says_so(run: ScoringRun, as_casey: Client) -> None:
    page = text(as_casey.get(page_of(run)))
    assert "No worker has taken up a shard yet" in page
    assert "No worker is alive" in page


def test_shards_are_counted_by_the_members_they_ask(run: ScoringRun, as_casey: Client) -> None:
    done_by(run, "a/1/x", seconds=1)
    failed = {"status": Status.FAILED, "problem": "The files of `tiny` have changed."}
    run.shards.filter(position=1).update(**failed)
    first, second = reports.groups_of(run)
    assert [member.name for member in (*first.members, *second.members)] == ["tiny", "other"]
    assert (first.shards, first.done, first.failed, first.calls) == (2, 1, 1, 100)
    assert (second.shards, second.done, second.failed, second.calls) == (2, 0, 0, 0)
    [trouble] = first.troubles
    assert (trouble.shards, second.troubles) == (1, [])
    page = text(as_casey.get(page_of(run), headers=FRAGMENT))
    assert "1 shard: The files of <code>tiny</code> have changed." in page
    assert reverse("scoring:model", args=["tiny"]) in page


def test_waves_of_an_adaptive_run_are_told_apart(run: ScoringRun, as_casey: Client) -> None:
    ScoringRun.objects.update(is_adaptive=True, wave=1, plan_is_complete=False)
    shard(run, [0], wave=1, pairs_count=10)
    run.refresh_from_db()
    assert [group.wave for group in reports.groups_of(run)] == [0, 0, 1]
    done_by(run, "a/1/x", seconds=1)
    held_by(run, "a/1/x")
    page = text(as_casey.get(page_of(run), headers=FRAGMENT))
    assert "Wave 2:" in page
    assert "left of what is planned so far" in page


def test_many_shards_take_as_many_queries_as_few(run: ScoringRun, as_casey: Client) -> None:
    done_by(run, "a/1/x", seconds=1)
    held_by(run, "b/2/x")
    run.shards.filter(position=2).update(status=Status.FAILED, problem="why")

    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            assert as_casey.get(page_of(run), headers=FRAGMENT).status_code == 200
        return len(found)

    few = queries()
    for number in range(12):
        shard(run, [number % 2])
        done_by(run, f"host-{number}/1/x", seconds=1)
        shard(run, [number % 2], status=Status.FAILED, problem=f"why {number}")
        shard(run, [number % 2])
        held_by(run, f"other-{number}/1/x")
    assert queries() == few


# --- What a run found and took --------------------------------------------------------------------


def finished(dataset: Dataset, **summary: Any) -> ScoringRun:
    """A run that is done and whose summary says so much more."""
    [pair, *_] = factories.pairs(dataset, 2)
    run = factories.judged(dataset, {pair.pk: (1.0, "clear")}, planned_at=timezone.now())
    run.summary |= {"cut": 0.5, **summary}
    run.save(update_fields=["summary"])
    return run


def test_what_an_adaptive_run_saved_is_said(dataset: Dataset, as_casey: Client) -> None:
    run = finished(dataset, calls=4102, calls_of_all=8600, tokens=1_234_567)
    assert "saved" not in text(as_casey.get(page_of(run)))
    ScoringRun.objects.update(is_adaptive=True)
    shard(run, [], status=Status.DONE)  # there is something to tell of
    page = text(as_casey.get(page_of(run)))
    assert '4,102 of 8,600 <span class="muted">52 % saved' in page
    assert "1.2 M" in page


def test_a_run_of_an_older_version_is_shown_without_what_it_did_not_count(
    dataset: Dataset, as_casey: Client
) -> None:
    run = finished(dataset)
    shard(run, [], status=Status.DONE)
    page = text(as_casey.get(page_of(run)))
    assert "How this run was made" in page
    for words in ("Model calls</dt>", "Tokens through models", "Spearman", "refused"):
        assert words not in page


def test_refused_pairs_are_named_with_member_and_reason(dataset: Dataset, as_casey: Client) -> None:
    reason = "The reward is <b>nan</b>."
    refusals = [{"pair": 7, "member": "tiny", "reason": reason}]
    run = finished(dataset, refused=1200, refusals=refusals)
    page = text(as_casey.get(page_of(run)))
    assert "1,200 answers refused" in page
    assert "The first 1:" in page
    assert reverse("scoring:pair", args=["pairs", 7]) in page
    assert "The reward is &lt;b&gt;nan&lt;/b&gt;." in page


def test_pairs_read_in_part_and_the_length_confound_stand_beside_the_flags(
    dataset: Dataset, as_casey: Client
) -> None:
    run = finished(dataset, truncated=12, length_confound=0.31)
    page = text(as_casey.get(page_of(run)))
    assert "12 pairs are longer than a member reads" in page
    assert "Spearman of strength and length difference" in page
    assert "+0.31" in page
    assert "The models go by length strongly" in page


def test_the_length_confound_is_found_at_the_end_of_a_run(scene: Scene) -> None:
    """A label that prefers the long response has the greater length difference; the members learnt
    to prefer what most labels do, which here is the long one."""
    assert 0 < scene.run.summary["length_confound"] <= 1


def test_a_run_that_lacks_shards_warns_and_goes_on(dataset: Dataset, as_casey: Client) -> None:
    run = finished(dataset)
    retry = page_of(run, "run-retry")
    assert retry not in text(as_casey.get(page_of(run)))
    ScoringRun.objects.update(problem="1 of 2 shards failed (of tiny).")
    lost = shard(run, [], status=Status.FAILED, problem="why")
    page = text(as_casey.get(page_of(run)))
    assert '<p class="notice warning">1 of 2 shards failed (of tiny).</p>' in page
    assert "What the models say" in page
    assert retry in page
    as_casey.post(retry)
    for row in (run, lost):
        row.refresh_from_db()
        assert row.status == Status.QUEUED
    assert as_casey.post(retry).status_code == 400  # a second click


def test_a_run_whose_members_were_not_trained_together_is_not_audited(
    dataset: Dataset, ensemble: Ensemble, as_casey: Client
) -> None:
    run = finished(dataset)
    audit = page_of(run, "audit")
    assert audit in text(as_casey.get(page_of(run)))
    ScoringRun.objects.update(ensemble=ensemble)
    assert audit not in text(as_casey.get(page_of(run)))
    refused = as_casey.post(audit, {"share": "10"})
    assert refused.status_code == 400
    assert "An audit trains the members anew" in text(refused)
    assert not run.audits.exists()


def test_a_run_shows_how_it_was_made_what_was_changed_first(
    dataset: Dataset, ensemble: Ensemble, as_casey: Client
) -> None:
    run = finished(dataset)
    tiny = Checkpoint.objects.get(name="tiny")
    head = {"position": 0, "name": "head-1", "kind": "head", "digest": "ab" * 32, "dtype": ""}
    model = {"position": 1, "name": "tiny", "kind": "checkpoint", "digest": tiny.digest}
    facts = ("architecture", "template_digest", "dtype", "max_length", "score_at")
    model |= {name: tiny.identity[name] for name in facts}
    ScoringRun.objects.filter(pk=run.pk).update(
        engine=EngineOptions(sort_by_length=False).as_dict(),
        members_record=[head | {"backbone": "minilm"}, model],
        environment={"torch": "2.13.0", "path": "packed, sdpa"},
    )
    page = text(as_casey.get(page_of(run)))
    for words in (tiny.digest[:16], tiny.identity["template_digest"][:16], "ab" * 8, "on minilm"):
        assert words in page
    for words in ("2,048 tokens", "packed, sdpa", reverse("scoring:model", args=["tiny"])):
        assert words in page
    assert "<td>sort by length</td>" in page.partition('id="engine"')[2].partition("</tr>")[2][:60]
    assert '<strong>off</strong> <span class="muted">not on</span>' in page
