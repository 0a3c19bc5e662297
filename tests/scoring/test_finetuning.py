"""Fine-tuned ensembles in the product: planned, trained member by member, registered, scored with;
paused, cancelled, taken over, diverged and started again."""

import io
import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.conf import settings
from django.utils import timezone
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from annotations import decisions
from annotations.models import Dataset, Verdict
from curator.lib import work
from curator.lib.refusals import Forbidden, Refusal
from curator.lib.work import Work
from scoring import checkpoints, device_tasks, launch, responses, shards, slicing, tasks
from scoring.core import recipes
from scoring.core.bags import Bag, in_bag
from scoring.core.recipes import Recipe, Then, Treatment, When
from scoring.engine.conversations import Conversations, ReadPair
from scoring.finetuning import members
from scoring.models import (
    Checkpoint,
    Ensemble,
    MemberTraining,
    Mode,
    RewardModel,
    ScoringRun,
    TrainingRun,
)
from scoring.responses import Sampled
from scoring.training import learners
from scoring.training.finetune import Pace
from tests import factories, tiny_models

pytestmark = pytest.mark.django_db

READ = 128  # tokens


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """No model and no reward of another test."""
    for part in ("rewards", "models"):
        shutil.rmtree(settings.CURATOR_HOME / part, ignore_errors=True)
    checkpoints.keeper.kept.clear()
    yield
    checkpoints.keeper.kept.clear()


@pytest.fixture(autouse=True)
def heard_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "HEARD_EVERY", 0.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.language_model(tmp_path_factory.mktemp("base") / "language-model")


def recipe_on(base: Path, kind: str = "lora", **optimiser: Any) -> Recipe:
    rank = {"rank": 4} if kind == "lora" else {}
    return recipes.parse(
        {
            "name": "tuned",
            "model": {"kind": kind, "base": str(base), "max_length": READ, **rank},
            "optimiser": {"epochs": 1, "batch": 8, "learning_rate": 0.01, **optimiser},
        }
    )


def started(
    dataset: Dataset, recipe: Recipe, *, count: int = 2, name: str = "tuned"
) -> TrainingRun:
    run = launch.start_training(dataset=dataset, name=name, by=None, members=count, recipe=recipe)
    tasks.plan_training(run_id=run.pk)
    run.refresh_from_db()
    return run


def trained(dataset: Dataset, recipe: Recipe, **options: Any) -> Ensemble:
    run = started(dataset, recipe, **options)
    for member in run.member_trainings.all():
        device_tasks.finetune_member(member_id=member.pk)
    device_tasks.fit_ensemble(run_id=run.pk)
    run.refresh_from_db()
    assert run.status == Work.Status.DONE, run.problem
    return run.ensemble


def rungs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is rung for from now on."""
    heard: list[tuple[str, dict[str, Any]]] = []

    def ring(task: str, **arguments: Any) -> bool:
        heard.append((task, arguments))
        return True

    monkeypatch.setattr(shards, "ring", ring)
    return heard


def margins_of(run: ScoringRun) -> Any:
    rows = run.scores.order_by("pair_id").values_list("margins", flat=True)
    return np.array(list(rows), dtype=np.float64)


def test_a_training_of_whole_models_is_planned_as_members(
    thirty: Dataset, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = rungs(monkeypatch)
    run = started(thirty, recipe_on(base), count=4)
    assert (run.plan_is_complete, run.shards.count(), run.ensemble.backbone) == (True, 0, "")
    assert [member.position for member in run.member_trainings.all()] == [0, 1, 2, 3]
    assert [task for task, _ in heard] == [shards.FINETUNE_MEMBER] * 4
    tasks.plan_training(run_id=run.pk)  # rung for twice
    assert run.member_trainings.count() == 4


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_fine_tuned_ensemble_says_what_transformers_says(
    thirty: Dataset, base: Path, kind: str
) -> None:
    ensemble = trained(thirty, recipe_on(base, kind))
    run = factories.scored(ensemble, mode=Mode.IN_SAMPLE)
    pairs = list(thirty.pairs.order_by("pk"))
    own = np.array(
        [_margins_by_transformers(member, base, pairs) for member in ensemble.members.all()]
    ).T
    signs = np.array([-1.0 if pair.source_preference == "b" else 1.0 for pair in pairs])
    assert np.allclose(margins_of(run), own * signs[:, None], atol=1e-4)
    assert not np.allclose(own[:, 0], own[:, 1])


def _margins_by_transformers(member: RewardModel, base: Path, pairs: list[Any]) -> list[float]:
    """Towards A, each text alone, by a model that transformers and peft load from the folder."""
    assert member.checkpoint is not None
    folder = member.checkpoint.reference
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if (Path(folder) / "adapter_config.json").is_file():
        body = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        body.config.pad_token_id = tokenizer.pad_token_id
        with warnings.catch_warnings():  # peft asks transformers for what it deprecates
            warnings.simplefilter("ignore", FutureWarning)
            model = PeftModel.from_pretrained(body, folder).eval()
    else:
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def reward(pair: Any, response: Any) -> float:
        text = tokenizer.apply_chat_template([*pair.prompt, *response], tokenize=False)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            return float(model(input_ids=ids).logits[0, 0])

    return [reward(pair, pair.response_a) - reward(pair, pair.response_b) for pair in pairs]


def test_members_are_asked_of_the_half_that_they_never_saw(thirty: Dataset, base: Path) -> None:
    ensemble = trained(thirty, recipe_on(base))
    run = factories.scored(ensemble)
    own = [Bag(**member.bag) for member in ensemble.members.all()]
    seen = in_bag([pair.digest for pair in thirty.pairs.order_by("pk")], own)
    assert np.array_equal(np.isnan(margins_of(run)), seen)
    assert sum(shard.calls for shard in run.shards.all()) == thirty.pairs.count()
    waves = slicing.waves_of(ScoringRun(ensemble=ensemble, mode=Mode.OUT_OF_BAG, is_adaptive=True))
    assert slicing.positions_of(waves) == [[0, 1]]  # half a margin each is too few for a wave


def test_a_member_says_how_it_was_trained(thirty: Dataset, base: Path, as_casey: Any) -> None:
    ensemble = trained(thirty, recipe_on(base))
    member = ensemble.members.get(position=0)
    assert member.checkpoint is not None
    assert member.checkpoint.is_usable
    assert member.digest == member.checkpoint.digest
    assert member.card["base"] == str(base)
    assert member.card["recipe"]["name"] == "tuned"
    assert 0 < member.card["pairs_in_bag"] < 28
    row = ensemble.training.member_trainings.get(position=0)
    assert row.steps_done == row.steps_total > 0
    assert row.curve[-1]["step"] == row.steps_done
    assert member.out_of_bag_accuracy == row.curve[-1]["held_out_accuracy"]
    assert ensemble.training.share_done == 1.0
    assert not (members.folder_of(ensemble, 0) / "state").exists()
    page = as_casey.get(f"/datasets/{thirty.slug}/ensembles/{ensemble.name}/").content.decode()
    assert "half of split 1, by pair" in page
    assert "it saw no pair" not in page
    other = ensemble.members.get(position=1)
    assert (other.seed, other.digest) != (member.seed, member.digest)


def test_a_member_that_diverged_fails_with_the_reason_and_is_trained_anew_alone(
    thirty: Dataset, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(thirty, recipe_on(base, learning_rate=9.0, warm_up=0, epochs=3))
    first, second = run.member_trainings.all()
    device_tasks.finetune_member(member_id=second.pk)
    second.refresh_from_db()
    assert second.status == Work.Status.FAILED
    assert "diverged" in second.problem
    assert second.restarts == 1
    run.refresh_from_db()
    assert run.status == Work.Status.RUNNING  # the other may still learn something
    calm = recipes.as_json(recipe_on(base))
    Ensemble.objects.filter(pk=run.ensemble_id).update(
        recipe={**run.ensemble.recipe, "training": calm}
    )
    device_tasks.finetune_member(member_id=first.pk)
    run.refresh_from_db()
    assert run.status == Work.Status.FAILED
    assert run.problem.startswith("Member 2 of 2 failed: The training diverged")
    first.refresh_from_db()
    assert first.status == Work.Status.DONE
    heard = rungs(monkeypatch)
    launch.start_again(run, by=None)
    shards.go_on(TrainingRun.objects.get(pk=run.pk))
    assert heard == [(shards.FINETUNE_MEMBER, {"member_id": second.pk})]
    device_tasks.finetune_member(member_id=second.pk)
    assert heard[-1] == (shards.FIT_ENSEMBLE, {"run_id": run.pk})
    device_tasks.fit_ensemble(run_id=run.pk)
    run.refresh_from_db()
    assert run.status == Work.Status.DONE
    assert run.ensemble.is_trained


def test_a_killed_workers_successor_goes_on_and_ends_with_the_same_model(
    thirty: Dataset, base: Path, casey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_on(base, epochs=3)
    whole = trained(thirty, recipe, name="whole")
    run = started(thirty, recipe, name="cut")
    row = run.member_trainings.get(position=0)
    monkeypatch.setattr(members, "PACE", Pace(save_after=0.0))
    steps: list[int] = []
    step = members._Heard.step

    def die(heard: Any, done: int, total: int) -> None:
        steps.append(done)
        if done == 3 and len(steps) == 3:
            raise KeyboardInterrupt
        step(heard, done, total)

    monkeypatch.setattr(members._Heard, "step", die)
    with pytest.raises(KeyboardInterrupt):
        device_tasks.finetune_member(member_id=row.pk)
    row.refresh_from_db()
    assert row.status == Work.Status.RUNNING
    for pair in thirty.pairs.filter(source_preference="a")[:3]:  # people go on meanwhile
        decisions.decide(pair=pair, verdict=Verdict.FLIP, by=casey, based_on=None)
    past = timezone.now() - timedelta(minutes=5)
    MemberTraining.objects.filter(pk=row.pk).update(lease_expires_at=past)
    assert row.pk in work.due(MemberTraining, unheard=timedelta(0), quiet=False)
    device_tasks.finetune_member(member_id=row.pk)
    row.refresh_from_db()
    assert row.status == Work.Status.DONE, row.problem
    assert steps[3] == 4
    assert row.checkpoint is not None
    first = whole.members.get(position=0)
    assert first.checkpoint is not None
    for name in ("adapter_model.safetensors",):
        one, other = (Path(each.reference) / name for each in (first.checkpoint, row.checkpoint))
        assert one.read_bytes() == other.read_bytes()


def test_a_training_that_loses_many_workers_and_gets_on_is_not_given_up(
    thirty: Dataset, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(thirty, recipe_on(base, epochs=3))
    row = run.member_trainings.get(position=0)
    monkeypatch.setattr(members, "PACE", Pace(save_after=0.0))
    step = members._Heard.step

    def die(heard: Any, done: int, total: int) -> None:
        raise KeyboardInterrupt

    past = timezone.now() - timedelta(minutes=5)
    monkeypatch.setattr(members._Heard, "step", die)
    for _ in range(work.MOST_ATTEMPTS + 1):
        with pytest.raises(KeyboardInterrupt):
            device_tasks.finetune_member(member_id=row.pk)
        MemberTraining.objects.filter(pk=row.pk).update(lease_expires_at=past)
    monkeypatch.setattr(members._Heard, "step", step)
    device_tasks.finetune_member(member_id=row.pk)
    row.refresh_from_db()
    assert row.status == Work.Status.DONE, row.problem


def test_a_training_that_loses_its_workers_before_any_savepoint_is_given_up(
    thirty: Dataset, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(thirty, recipe_on(base, epochs=3))
    row = run.member_trainings.get(position=0)

    def die(heard: Any, done: int, total: int) -> None:
        raise KeyboardInterrupt

    past = timezone.now() - timedelta(minutes=5)
    monkeypatch.setattr(members._Heard, "step", die)
    for _ in range(work.MOST_ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            device_tasks.finetune_member(member_id=row.pk)
        MemberTraining.objects.filter(pk=row.pk).update(lease_expires_at=past)
    device_tasks.finetune_member(member_id=row.pk)
    row.refresh_from_db()
    assert row.status == Work.Status.FAILED
    assert "Given up after 3 attempts" in row.problem


def test_a_paused_training_puts_its_member_back_and_goes_on_later(
    thirty: Dataset, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = rungs(monkeypatch)
    run = started(thirty, recipe_on(base, epochs=5))
    row = run.member_trainings.get(position=0)
    step = members._Heard.step

    def pause_meanwhile(heard: Any, done: int, total: int) -> None:
        step(heard, done, total)
        shards.pause(run)

    monkeypatch.setattr(members._Heard, "step", pause_meanwhile)
    device_tasks.finetune_member(member_id=row.pk)
    row.refresh_from_db()
    assert row.status == Work.Status.QUEUED
    assert 0 < row.steps_done < row.steps_total
    device_tasks.finetune_member(member_id=row.pk)  # rung for while it is paused
    row.refresh_from_db()
    assert row.status == Work.Status.QUEUED
    monkeypatch.setattr(members._Heard, "step", step)
    heard.clear()
    run.refresh_from_db()
    assert shards.resume(run)
    shards.go_on(TrainingRun.objects.get(pk=run.pk))
    assert (shards.FINETUNE_MEMBER, {"member_id": row.pk}) in heard
    device_tasks.finetune_member(member_id=row.pk)
    row.refresh_from_db()
    assert row.status == Work.Status.DONE


def test_a_cancelled_training_stops_its_member(
    thirty: Dataset, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(thirty, recipe_on(base, epochs=50))
    row = run.member_trainings.get(position=0)
    steps: list[int] = []
    step = members._Heard.step

    def cancel_meanwhile(heard: Any, done: int, total: int) -> None:
        steps.append(done)
        if done == 2:
            shards.cancel(run)
        step(heard, done, total)

    monkeypatch.setattr(members._Heard, "step", cancel_meanwhile)
    device_tasks.finetune_member(member_id=row.pk)
    assert steps == [1, 2]
    assert set(run.member_trainings.values_list("status", flat=True)) == {"cancelled"}


def test_the_sweep_rings_for_members_whose_bell_was_lost(
    thirty: Dataset, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(thirty, recipe_on(base))
    long_ago = timezone.now() - timedelta(hours=1)
    run.member_trainings.update(queued_at=long_ago)
    TrainingRun.objects.filter(pk=run.pk).update(queued_at=long_ago)
    monkeypatch.setattr(shards, "is_quiet", lambda queue: True)
    heard = rungs(monkeypatch)
    shards.sweep()
    wanted = [(shards.FINETUNE_MEMBER, {"member_id": row.pk}) for row in run.member_trainings.all()]
    assert [each for each in heard if each[0] == shards.FINETUNE_MEMBER] == wanted
    assert shards.FIT_ENSEMBLE not in [task for task, _ in heard]


def test_all_members_learn_the_labels_of_the_same_moment(
    thirty: Dataset, base: Path, casey: Any
) -> None:
    run = started(thirty, recipe_on(base))
    rows = list(run.member_trainings.all())
    device_tasks.finetune_member(member_id=rows[0].pk)
    for pair in thirty.pairs.filter(source_preference="a")[:5]:
        decisions.decide(pair=pair, verdict=Verdict.FLIP, by=casey, based_on=None)
    factories.imported(thirty, [factories.row(number) for number in range(30, 40)])
    device_tasks.finetune_member(member_id=rows[1].pk)
    directions = []
    for row in rows:
        row.refresh_from_db()
        directions.append(row.found["labels_digest"])
    assert directions[0] == directions[1]


def test_a_model_meta_learns_from_responses_of_a_file(thirty: Dataset, base: Path) -> None:
    row = {"prompt": "Why?", "responses": ["So.", "Because it is so.", "No idea."]}
    short = {"prompt": "What?", "responses": ["That.", "This."]}
    lines = [json.dumps({**row, "prompt": f"Why {i}?"}) for i in range(6)] + [json.dumps(short)]
    found, _ = responses.store(
        dataset=thirty, file=io.BytesIO("\n".join(lines).encode()), name="sampled", by=None
    )
    written = recipes.as_json(recipe_on(base))
    recipe = recipes.parse({**written, "meta": {"step": 0.1, "prompts": 2, "responses": 3}})
    run = launch.start_training(
        dataset=thirty, name="meta", by=None, members=2, recipe=recipe, responses=found
    )
    tasks.plan_training(run_id=run.pk)
    for member in run.member_trainings.all():
        device_tasks.finetune_member(member_id=member.pk)
    device_tasks.fit_ensemble(run_id=run.pk)
    run.refresh_from_db()
    assert run.status == Work.Status.DONE, run.problem
    assert {member.card["responses"] for member in run.ensemble.members.all()} == {found.pk}


def test_sampled_responses_are_read_in_few_goes_and_as_one_reads_them_alone(base: Path) -> None:
    learner = learners.load(recipe_on(base).model, seed=0)
    question = [{"role": "user", "content": "Why?"}]
    answers: list[Sequence[Any]] = [
        [{"role": "assistant", "content": text}] for text in ("So.", "Because.", "No idea.")
    ]
    sampled = [Sampled(question, answers, [None] * 3) for _ in range(4)]
    sampled[1] = Sampled([{"role": "nobody"}], answers, [None] * 3)  # which no template reads
    texts = members._texts_of_prompts(sampled, learner, 3)
    alone = [learner.reader.read([Conversations(question, each, each)])[0] for each in answers]
    assert [text.key for text in texts] == [
        each.a.key for each in alone if isinstance(each, ReadPair)
    ] * 3


def test_a_fine_tuned_model_belongs_to_the_curators_of_its_dataset(
    thirty: Dataset, base: Path
) -> None:
    ensemble = trained(thirty, recipe_on(base))
    checkpoint = ensemble.members.get(position=0).checkpoint
    assert checkpoint is not None
    assert checkpoint.dataset == thirty
    olga = factories.user("olga")
    elsewhere = factories.dataset("elsewhere", curators=[olga])
    used = list(Checkpoint.objects.all())
    with pytest.raises(Forbidden, match=f"curators and owners of {thirty.name}"):
        launch.assemble(dataset=elsewhere, name="taken", by=olga, checkpoints=used)
    run = factories.scored(ensemble, mode=Mode.IN_SAMPLE)
    said = run.members_record[0]
    assert (said["model"], said["reference"]) == (checkpoint.name, "")


def test_what_the_model_cannot_read_whole_is_told(dataset: Dataset, base: Path) -> None:
    long = "A very long question indeed. " * 20
    rows = [factories.row(i, label="ab"[i % 2], prompt=f"{i} {long}") for i in range(28)]
    factories.imported(dataset, rows)
    ensemble = trained(dataset, recipe_on(base))
    warnings_said = ensemble.training.summary["warnings"]
    assert any("longer than the model reads" in sentence for sentence in warnings_said)
    assert ensemble.members.get(position=0).card["truncated"] == 28


def test_a_treatment_that_meets_no_pair_is_told(run: ScoringRun, base: Path) -> None:
    idle = Treatment(When(strength_from=1e6), Then(drop=True))
    ensemble = trained(run.dataset, replace(recipe_on(base), treatments=(idle,)))
    told = "Treatment 1 of the recipe met no pair and does nothing."
    assert told in TrainingRun.objects.get(ensemble=ensemble).summary["warnings"]


def test_a_base_elsewhere_on_the_machine_is_refused_from_the_browser(
    thirty: Dataset, base: Path, casey: Any
) -> None:
    with pytest.raises(Refusal, match="From the browser"):
        launch.start_training(
            dataset=thirty, name="tuned", by=casey, members=2, recipe=recipe_on(base)
        )


def test_what_was_trained_here_keeps_its_bag_in_an_assembled_ensemble(
    thirty: Dataset, base: Path
) -> None:
    ensemble = trained(thirty, recipe_on(base))
    used = [member.checkpoint for member in ensemble.members.all() if member.checkpoint]
    both = launch.assemble(dataset=thirty, name="both", by=None, checkpoints=used)
    assert [member.bag for member in both.members.all()] == [
        member.bag for member in ensemble.members.all()
    ]


def test_a_model_that_cannot_be_trained_says_why(thirty: Dataset, tmp_path: Path) -> None:
    three = tiny_models.decoder(tmp_path / "three", labels=3)
    run = started(thirty, recipe_on(three))
    for row in run.member_trainings.all():
        device_tasks.finetune_member(member_id=row.pk)
    run.refresh_from_db()
    assert run.status == Work.Status.FAILED
    assert run.problem.startswith("Members 1, 2 of 2 failed:")
    assert "3 scores a text" in run.problem
