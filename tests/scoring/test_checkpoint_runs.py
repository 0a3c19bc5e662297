"""Registered checkpoints in the product: registered, put into ensembles, scored with, cached, and
refused with a sentence."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.utils import timezone

from annotations.models import Dataset
from curator.lib import processes
from curator.lib.refusals import Conflict, Refusal
from curator.lib.work import Work
from scoring import checkpoint_margins, checkpoints, device_tasks, launch, shards, slicing, tasks
from scoring.core import strength
from scoring.core.options import EngineOptions
from scoring.engine.devices import DeviceLost
from scoring.engine.padded import PaddedModel
from scoring.engine.scorer import Scorer
from scoring.models import Checkpoint, Ensemble, ScoringRun
from tests import factories, tiny_models

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """No reward and no model of another test."""
    shutil.rmtree(settings.CURATOR_HOME / "rewards", ignore_errors=True)
    checkpoints.keeper.kept.clear()
    yield
    checkpoints.keeper.kept.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_models.decoder(tmp_path / "a", seed=1)


@pytest.fixture
def loud(tmp_path: Path) -> Path:
    """Another model, whose scores are ten times as large."""
    return tiny_models.decoder(tmp_path / "b", seed=2, scale=10.0)


@pytest.fixture
def pair_of_models(thirty: Dataset, folder: Path, loud: Path) -> Ensemble:
    models = [factories.registered(folder, "quiet"), factories.registered(loud, "loud")]
    return launch.assemble(dataset=thirty, name="two", by=None, checkpoints=models)


def margins_of(run: ScoringRun) -> Any:
    rows = run.scores.order_by("pair_id").values_list("margins", flat=True)
    return np.array(list(rows), dtype=np.float64)


def flagged(run: ScoringRun) -> list[bool]:
    """Which pairs carry a flag, since their source prefers one response."""
    return [bool(flag) for flag in run.scores.order_by("pair_id").values_list("flag", flat=True)]


def test_a_registered_model_says_what_it_is_and_how_it_was_tested(folder: Path) -> None:
    row = factories.registered(folder, "quiet")
    assert (row.status, row.problem) == (Work.Status.DONE, "")
    assert row.identity["architecture"] == "LlamaForSequenceClassification"
    assert len(row.digest) == len(row.identity["weights_digest"]) == 64
    assert row.self_test["packs"] is True
    assert all(check["passed"] for check in row.self_test["checks"])
    assert {"torch", "transformers", "device", "host"} <= set(row.environment)


def test_a_model_that_cannot_be_used_says_why_on_its_row(tmp_path: Path) -> None:
    folder = tiny_models.language_model(tmp_path / "lm")
    row = factories.registered(folder, "no-head")
    assert row.status == Work.Status.FAILED
    assert "no trained score head" in row.problem
    shutil.rmtree(folder)
    tiny_models.decoder(folder, seed=1)
    launch.test_again(row, by=None)
    device_tasks.register_checkpoint(checkpoint_id=row.pk)
    row.refresh_from_db()
    assert (row.status, row.problem) == (Work.Status.DONE, "")
    with pytest.raises(Refusal, match="registration failed"):
        launch.test_again(row, by=None)


def test_a_models_name_is_taken_once(folder: Path) -> None:
    factories.registered(folder, "quiet")
    with pytest.raises(Conflict, match="registered already"):
        launch.start_registration(name="quiet", reference=str(folder), by=None)


def test_a_model_that_fails_in_batches_is_refused_with_its_test_on_the_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = PaddedModel.rewards

    def only_alone(model: PaddedModel, texts: list[Any], **options: Any) -> Any:
        if len(texts) > 1:
            raise RuntimeError("one at a time")
        return alone(model, texts, **options)

    monkeypatch.setattr(PaddedModel, "rewards", only_alone)
    row = factories.registered(folder, "alone")
    assert row.status == Work.Status.FAILED
    assert "no scores in batches (right-padded, batches of 2)" in row.problem
    assert row.self_test["checks"][0]["largest"] is None


def test_a_model_is_a_member_once(thirty: Dataset, folder: Path) -> None:
    model = factories.registered(folder, "quiet")
    with pytest.raises(Refusal, match="a member once"):
        launch.assemble(dataset=thirty, name="two", by=None, checkpoints=[model, model])


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"name": "no spaces"}, "Use letters, digits"),
        ({"reference": " "}, "Say where the model is"),
        ({"dtype": "int3"}, "precision 'int3' is not known"),
        ({"score_at": "first"}, "not 'first'"),
        ({"max_length": -1}, "positive number of tokens"),
    ],
)
def test_what_cannot_be_registered_is_refused_at_once(wanted: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        launch.start_registration(**{"name": "x", "reference": "a/b", "by": None, **wanted})
    assert not Checkpoint.objects.exists()


def test_a_curator_cannot_name_every_folder_of_the_machine(folder: Path) -> None:
    curator = factories.user("cora")
    with pytest.raises(Refusal, match="From the browser, a folder must lie in"):
        launch.start_registration(name="x", reference=str(folder), by=curator)
    for outside in ("../../etc", "a/../../b", "~/x", "a/b/c"):
        with pytest.raises(Refusal, match="From the browser"):
            launch.start_registration(name="x", reference=outside, by=curator)
    inside = settings.CHECKPOINTS_FOLDER / "mine"
    row = launch.start_registration(name="x", reference=str(inside), by=curator)
    assert row.created_by == curator


def test_no_member_of_a_mixed_ensemble_dominates(
    ensemble: Ensemble, folder: Path, loud: Path
) -> None:
    """Two checkpoints whose scores are ten times apart, and heads: the strength follows each
    equally."""
    models = [factories.registered(folder, "quiet"), factories.registered(loud, "loud")]
    mixed = launch.assemble(
        dataset=ensemble.dataset, name="mixed", by=None, checkpoints=models, heads_of=ensemble
    )
    run = factories.scored(mixed)
    margins = margins_of(run)
    assert margins.shape == (30, 6)
    raw = np.sqrt(np.nanmean(margins**2, axis=0))
    assert raw[5] > 4 * raw[4]
    standard = strength.standardise(margins, np.array(run.member_scales))
    labelled = [
        bool(flag) for flag in run.scores.order_by("pair_id").values_list("flag", flat=True)
    ]
    np.testing.assert_allclose(np.sqrt(np.nanmean(standard[labelled] ** 2, axis=0)), 1.0)
    stored = np.array(run.scores.order_by("pair_id").values_list("strength", flat=True))
    np.testing.assert_allclose(stored, np.nanmean(standard, axis=1))
    # leaving a member out moves strengths by as much, whichever member it is
    moved = [
        np.abs(np.nanmean(np.delete(standard, i, axis=1), axis=1) - stored).mean() for i in (4, 5)
    ]
    assert max(moved) < 1.5 * min(moved)


def test_a_checkpoint_is_asked_of_all_pairs_and_a_head_of_those_it_never_saw(
    ensemble: Ensemble, folder: Path
) -> None:
    model = factories.registered(folder, "quiet")
    mixed = launch.assemble(
        dataset=ensemble.dataset, name="mixed", by=None, checkpoints=[model], heads_of=ensemble
    )
    asked = np.isfinite(margins_of(factories.scored(mixed)))
    assert asked[:, 4].all()
    assert (asked[:, :4].sum(axis=1) == 2).all()


def test_a_second_run_takes_every_reward_from_the_cache(
    pair_of_models: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = factories.scored(pair_of_models)
    monkeypatch.setattr(Scorer, "rewards", None)
    second = factories.scored(pair_of_models)
    np.testing.assert_array_equal(margins_of(first), margins_of(second))
    assert (first.summary["tokens"] > 0, second.summary["tokens"]) == (True, 0)


def test_only_new_pairs_are_computed(pair_of_models: Ensemble) -> None:
    first = factories.scored(pair_of_models)
    factories.imported(pair_of_models.dataset, [factories.row(100 + n) for n in range(3)])
    second = factories.scored(pair_of_models)
    assert 0 < second.summary["tokens"] < 0.2 * first.summary["tokens"]


def test_swapping_the_label_negates_the_margin(dataset: Dataset, pair_of_models: Ensemble) -> None:
    run = factories.scored(pair_of_models)
    other = factories.dataset("swapped")
    rows = [factories.row(n, label="a" if n % 5 == 0 else "b") for n in range(28)]
    factories.imported(other, rows)
    again = launch.assemble(
        dataset=other, name="two", by=None, checkpoints=list(Checkpoint.objects.order_by("pk"))
    )
    np.testing.assert_array_equal(margins_of(factories.scored(again)), -margins_of(run)[:28])


def test_a_pair_that_cannot_be_read_is_refused_and_the_others_are_not(
    tmp_path: Path, folder: Path, dataset: Dataset
) -> None:
    bare = tiny_models.decoder(tmp_path / "bare", seed=3, template=None)
    models = [factories.registered(folder, "quiet"), factories.registered(bare, "bare")]
    talk = [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Is water wet?"},
    ]
    rows = [factories.row(n) for n in range(12)]
    factories.imported(dataset, [*rows, {**factories.row(12), "prompt": talk}])
    ensemble = launch.assemble(dataset=dataset, name="two", by=None, checkpoints=models)
    run = factories.scored(ensemble)
    assert run.summary["refused"] == 1
    refusal = run.summary["refusals"][0]
    assert refusal["member"] == "bare"
    assert "no chat template" in refusal["reason"]
    assert np.isnan(margins_of(run)).sum() == 1
    assert run.scores.filter(flag="").count() == 0


def test_a_model_whose_files_changed_leaves_the_rest_of_the_run(
    pair_of_models: Ensemble, loud: Path
) -> None:
    tiny_models.edit(loud / "config.json", rope_theta=20_000.0)
    run = factories.scored(pair_of_models)
    assert "have changed since it was registered" in run.problem
    assert "(of loud)" in run.problem
    margins = margins_of(run)
    assert np.isfinite(margins[:, 0]).all()
    assert np.isnan(margins[:, 1]).all()


def test_a_device_that_vanishes_ends_the_process_and_leaves_the_shard_to_another(
    pair_of_models: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    run = launch.start_scoring(ensemble=pair_of_models, by=None)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_margins, "towards_a", _lose_the_device)
        patch.setattr(processes, "end_at_once", lambda: ended.append(True))
        tasks.plan_scoring(run_id=run.pk)
        shard = run.shards.get(position=0)
        device_tasks.score_shard(shard_id=shard.pk)
        shard.refresh_from_db()
    assert ended == [True]
    assert shard.status == Work.Status.QUEUED
    assert "The device stopped answering" in shard.problem
    for each in run.shards.all():
        device_tasks.score_shard(shard_id=each.pk)
    tasks.finish_scoring(run_id=run.pk)
    run.refresh_from_db()
    assert (run.status, run.problem) == (Work.Status.DONE, "")


def _lose_the_device(*_: Any) -> None:
    raise DeviceLost("The device stopped answering: CUDA error: unspecified launch failure")


def test_members_with_layers_in_common_are_asked_by_one_task(
    thirty: Dataset, tmp_path: Path
) -> None:
    first = tiny_models.decoder(tmp_path / "one", seed=1, shared_layers=2)
    second = tiny_models.decoder(tmp_path / "two", seed=2, shared_layers=2)
    rows = [factories.registered(first, "one"), factories.registered(second, "two")]
    ensemble = launch.assemble(dataset=thirty, name="family", by=None, checkpoints=rows)
    assert [group.positions for group in slicing.members_together(ensemble)] == [(0, 1)]
    together = margins_of(factories.scored(ensemble))
    shutil.rmtree(settings.CURATOR_HOME / "rewards")
    apart = factories.scored(ensemble, options=EngineOptions(share_trunks=False))
    np.testing.assert_allclose(together, margins_of(apart), atol=1e-5)


def test_what_scored_is_recorded_with_the_run(pair_of_models: Ensemble) -> None:
    options = EngineOptions(share_prefixes=False, token_budget=512)
    run = factories.scored(pair_of_models, options=options)
    record = run.members_record[1]
    assert (record["name"], record["kind"]) == ("loud", "checkpoint")
    assert {"digest", "weights_digest", "template_digest", "dtype", "max_length"} <= set(record)
    assert run.engine == options.as_dict()
    assert run.environment["path"] == "packed, sdpa"


def test_an_adaptive_run_asks_less_and_says_how_much(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = factories.scored(ensemble)
    run = factories.scored(ensemble, adaptive=True)
    assert run.wave <= 1
    assert run.summary["calls_of_all"] == full.summary["calls"] == 60
    assert run.summary["calls"] <= 60
    assert run.scores.count() == 30
    monkeypatch.setattr("scoring.core.adaptive.settled", _all_but_three)
    in_sample = factories.scored(ensemble, mode="in-sample", adaptive=True)
    assert in_sample.wave == 1
    assert in_sample.summary["calls"] == 2 * 30 + 2 * 3
    assert in_sample.summary["calls_of_all"] == 4 * 30


def _all_but_three(margins: Any, *_: Any, **__: Any) -> Any:
    return np.arange(len(margins)) >= 3


def test_an_adaptive_run_that_never_settles_is_the_full_run(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = factories.scored(ensemble, mode="in-sample")
    monkeypatch.setattr(
        "scoring.core.adaptive.settled",
        lambda margins, *_, **__: np.zeros(len(margins), dtype=bool),
    )
    run = factories.scored(ensemble, mode="in-sample", adaptive=True)
    labelled = [
        bool(flag) for flag in run.scores.order_by("pair_id").values_list("flag", flat=True)
    ]
    np.testing.assert_allclose(margins_of(run)[labelled], margins_of(full)[labelled], atol=1e-6)
    assert run.summary["flags"] == full.summary["flags"]


def _nobody(margins: Any, *_: Any, **__: Any) -> Any:
    return np.zeros(len(margins), dtype=np.bool_)


def test_an_adapter_that_an_account_registers_opens_no_folder_elsewhere(
    tmp_path: Path, folder: Path
) -> None:
    """What its configuration names as its base is as little trusted as what the account names."""
    inside = settings.CHECKPOINTS_FOLDER / "adapter"
    shutil.rmtree(inside, ignore_errors=True)
    tiny_models.adapter(inside, folder)
    row = launch.start_registration(name="x", reference=str(inside), by=factories.user("cora"))
    device_tasks.register_checkpoint(checkpoint_id=row.pk)
    row.refresh_from_db()
    assert row.status == Work.Status.FAILED
    assert "is no id of the model hub and not a folder in" in row.problem
    assert factories.registered(inside, "by-the-operator").status == Work.Status.DONE


def test_a_template_that_prints_the_date_gives_the_same_tokens_every_day(tmp_path: Path) -> None:
    template = "{{ strftime_now('%d %b %Y') }}" + tiny_models.TEMPLATE
    folder = tiny_models.decoder(tmp_path / "dated", template=template)
    row = factories.registered(folder, "dated")
    assert row.status == Work.Status.DONE, row.problem
    reader = checkpoints.loaded(row).reader
    text = reader._by_template([{"role": "user", "content": "Hello"}])
    assert text.startswith("26 Jul 2024")


def test_when_all_shards_are_over_and_the_bell_was_lost_the_sweep_rings_for_the_end(
    pair_of_models: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a run is work of the default queue: other runs' shards do not hold it up."""
    rung: list[str] = []
    run = launch.start_scoring(ensemble=pair_of_models, by=None)
    tasks.plan_scoring(run_id=run.pk)
    run.shards.update(status=Work.Status.DONE)
    ScoringRun.objects.update(queued_at=timezone.now() - timedelta(minutes=5))
    monkeypatch.setattr(shards, "ring", lambda task, **_: rung.append(task))
    monkeypatch.setattr(shards, "is_quiet", lambda queue: queue == "default")
    shards.sweep()
    assert rung == [shards.FINISH_SCORING]


def test_a_run_that_is_started_again_is_not_paused_any_more(pair_of_models: Ensemble) -> None:
    run = launch.start_scoring(ensemble=pair_of_models, by=None)
    tasks.plan_scoring(run_id=run.pk)
    run.refresh_from_db()
    shards.pause(run)
    shards.cancel(run)
    launch.start_again(run, by=None)
    run.refresh_from_db()
    assert not run.is_paused
