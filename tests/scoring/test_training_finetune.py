"""Fine-tuning tiny models on real pairs: every treatment learns, nothing is lost when a worker
dies, and what is saved is what was trained."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curator.demo import PAIRS as DEMO
from curator.lib.refusals import Refusal
from curator.lib.work import LeaseLost
from scoring.core import recipes
from scoring.core.curves import Point
from scoring.core.recipes import Recipe
from scoring.core.targets import targets
from scoring.engine import checkpoints
from scoring.engine.conversations import Conversations, ReadPair, Text
from scoring.engine.devices import DeviceLost
from scoring.engine.folders import ModelUnavailable
from scoring.engine.padded import PaddedModel
from scoring.training import learners, side_by_side
from scoring.training.diverging import Diverged
from scoring.training.finetune import Pace, Tuned, fine_tune
from scoring.training.learners import Learner
from scoring.training.lessons import Corpus, Lesson, batches_of_epoch, corpus_of_pairs, parts_of
from scoring.training.savepoints import Savepoints
from tests import tiny_models

COUNT = 24
READ = 96  # tokens of each text
QUICK: Mapping[str, Any] = {"epochs": 6, "batch": 8, "learning_rate": 0.01, "weight_decay": 0.0}
ADAPTER: Mapping[str, Any] = {"kind": "lora", "rank": 4, "max_length": READ}
WHOLE: Mapping[str, Any] = {"kind": "full", "max_length": READ}
CONTRASTS: Sequence[Mapping[str, Any]] = (
    {"method": "simcse", "on": "pairs"},
    {"method": "simcse", "on": "differences"},
    {"method": "swav", "on": "pairs"},
    {"method": "swav", "on": "differences"},
    {"method": "goals"},
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small language model, which has no score head yet."""
    return tiny_models.language_model(tmp_path_factory.mktemp("base") / "language-model")


def real_pairs() -> tuple[list[Conversations], list[float]]:
    """Pairs of the demo with what most people said of them, +1 for A."""
    found, labels = [], []
    with DEMO.open(encoding="utf-8") as lines:
        for line in itertools.islice(lines, COUNT):
            row = json.loads(line)
            answers = [
                [{"role": "assistant", "content": row[side]}]
                for side in ("response_a", "response_b")
            ]
            said = [each["label"] for each in row["labels"]]
            found.append(Conversations(row["prompt"], *answers))
            labels.append(1.0 if said.count("a") >= said.count("b") else -1.0)
    return found, labels


def recipe_of(model: Mapping[str, Any], base: Path, **parts: Any) -> Recipe:
    optimiser = {**QUICK, **parts.pop("optimiser", {})}
    whole = {**model, "base": str(base), **parts.pop("changes", {})}
    return recipes.parse({"name": "tuned", "model": whole, "optimiser": optimiser, **parts})


def read_by(learner: Learner) -> tuple[list[ReadPair], np.ndarray[Any, Any]]:
    conversations, labels = real_pairs()
    read = learner.reader.read(conversations)
    kept = [i for i, each in enumerate(read) if isinstance(each, ReadPair)]
    return [each for each in read if isinstance(each, ReadPair)], np.array(labels)[kept]


def lesson_for(
    learner: Learner, recipe: Recipe, *, held_out: int = 0, sampled: bool = False
) -> Lesson:
    """All pairs to learn from, but for the last, which are held out."""
    pairs, labels = read_by(learner)
    learns = np.arange(len(pairs)) < len(pairs) - held_out
    texts = [text for pair in pairs for text in (pair.a, pair.b)]
    return Lesson(
        texts=corpus_of_pairs(pairs),
        targets=targets(labels, recipe),
        labels=labels,
        trusted=np.zeros(len(pairs)),
        learns=learns,
        held_out=~learns,
        sampled=Corpus.of(texts) if sampled else None,
        width=4 if sampled else 0,
    )


def tuned(
    recipe: Recipe,
    folder: Path,
    *,
    held_out: int = 0,
    sampled: bool = False,
    seed: int = 1,
    **options: Any,
) -> tuple[Learner, Tuned]:
    learner = learners.load(recipe.model, seed=seed)
    lesson = lesson_for(learner, recipe, held_out=held_out, sampled=sampled)
    points = Savepoints(folder, {"tokenizer_digest": learner.tokenizer_digest})
    return learner, fine_tune(learner, lesson, recipe, seed=seed, savepoints=points, **options)


def losses_of(done: Tuned) -> list[float]:
    return [point.loss for point in done.curve if point.loss is not None]


def weights_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in learner.learning()}


@pytest.mark.parametrize("model", [ADAPTER, WHOLE], ids=["lora", "full"])
def test_a_model_learns_real_pairs(model: Mapping[str, Any], base: Path, tmp_path: Path) -> None:
    heard: list[Point] = []
    recipe = recipe_of(model, base)
    _, done = tuned(recipe, tmp_path / "state", held_out=4, on_look=heard.append)
    assert heard == done.curve
    assert losses_of(done)[-1] < 0.5 * losses_of(done)[0]
    assert done.curve[-1].accuracy is not None
    assert done.curve[-1].accuracy > 0.8
    assert done.curve[-1].held_out_accuracy is not None
    assert done.steps == done.total == 6 * 3


def test_an_encoder_learns_under_an_adapter_and_whole(tmp_path: Path) -> None:
    encoder = tiny_models.encoder(tmp_path / "bert", max_length=128)
    for model in (ADAPTER, WHOLE):
        recipe = recipe_of(model, encoder)
        _, done = tuned(recipe, tmp_path / str(model["kind"]))
        assert losses_of(done)[-1] < losses_of(done)[0]


@pytest.mark.parametrize("model", [ADAPTER, WHOLE], ids=["lora", "full"])
@pytest.mark.parametrize("contrast", CONTRASTS, ids=lambda c: "-".join(c.values()))
def test_each_contrastive_treatment_learns(
    model: Mapping[str, Any], contrast: Mapping[str, Any], base: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(model, base, contrastive=contrast, changes={"dropout": 0.1})
    _, done = tuned(recipe, tmp_path / "state")
    assert losses_of(done)[-1] < losses_of(done)[0]


@pytest.mark.parametrize("model", [ADAPTER, WHOLE], ids=["lora", "full"])
def test_meta_learning_learns_and_spreads_sampled_responses(
    model: Mapping[str, Any], base: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(model, base, meta={"step": 0.05, "prompts": 4, "responses": 4})
    _, done = tuned(recipe, tmp_path / "state", sampled=True)
    assert losses_of(done)[-1] < losses_of(done)[0]


def test_meta_learning_without_a_step_is_plain_training(base: Path, tmp_path: Path) -> None:
    plain, _ = tuned(recipe_of(WHOLE, base), tmp_path / "plain")
    none, _ = tuned(recipe_of(WHOLE, base, meta={"step": 0}), tmp_path / "none", sampled=True)
    for name, weight in weights_of(plain).items():
        assert torch.equal(weight, weights_of(none)[name])


def test_a_contrastive_loss_without_weight_is_plain_training(base: Path, tmp_path: Path) -> None:
    plain, _ = tuned(recipe_of(WHOLE, base), tmp_path / "plain")
    for method in ("simcse", "swav"):
        recipe = recipe_of(WHOLE, base, contrastive={"method": method, "weight": 0})
        none, _ = tuned(recipe, tmp_path / method)
        assert weights_of(none).keys() == weights_of(plain).keys()
        for name, weight in weights_of(plain).items():
            assert torch.equal(weight, weights_of(none)[name])


def test_meta_learning_without_responses_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="sampled responses"):
        tuned(recipe_of(WHOLE, base, meta={"step": 0.1}), tmp_path / "state")


@pytest.mark.parametrize(
    "loss",
    [
        {"name": "unbiased", "noise": 0.1},
        {"name": "robust", "beta": 1.0},
        {"name": "bradley-terry", "centring": 0.01},
    ],
    ids=lambda loss: loss["name"],
)
def test_each_loss_learns(loss: Mapping[str, Any], base: Path, tmp_path: Path) -> None:
    _, done = tuned(recipe_of(ADAPTER, base, loss=loss), tmp_path / "state")
    assert done.curve[-1].margin is not None
    assert done.curve[0].margin is not None
    assert done.curve[-1].margin > done.curve[0].margin


@pytest.mark.parametrize("model", [ADAPTER, WHOLE], ids=["lora", "full"])
def test_a_training_that_was_interrupted_ends_with_the_same_weights(
    model: Mapping[str, Any], base: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(
        model, base, contrastive=CONTRASTS[2], optimiser={"patience": 50}, changes={"dropout": 0.1}
    )
    whole, whole_done = tuned(recipe, tmp_path / "whole", held_out=4)

    def die(step: int, total: int) -> None:
        if step == 7:
            raise KeyboardInterrupt

    pace = Pace(save_after=0.0)
    with pytest.raises(KeyboardInterrupt):
        tuned(recipe, tmp_path / "cut", held_out=4, pace=pace, on_step=die)
    seen: list[int] = []
    resumed, resumed_done = tuned(
        recipe, tmp_path / "cut", held_out=4, on_step=lambda step, total: seen.append(step)
    )
    assert seen[0] == 8
    assert resumed_done.curve == whole_done.curve
    assert resumed_done.best_step == whole_done.best_step
    for name, weight in weights_of(whole).items():
        assert torch.equal(weight, weights_of(resumed)[name]), name


def test_a_training_that_is_asked_to_stop_goes_on_from_there(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(ADAPTER, base)
    _, paused = tuned(recipe, tmp_path / "state", should_stop=lambda: True)
    assert (paused.steps, paused.is_complete) == (1, False)
    _, done = tuned(recipe, tmp_path / "state")
    assert (done.steps, done.is_complete) == (18, True)
    whole, _ = tuned(recipe, tmp_path / "whole")
    assert whole is not None


def test_a_savepoint_of_another_tokenizer_is_refused(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(ADAPTER, base)
    learner, _ = tuned(recipe, tmp_path / "state", should_stop=lambda: True)
    lesson = lesson_for(learner, recipe)
    other = Savepoints(tmp_path / "state", {"tokenizer_digest": "another"})
    with pytest.raises(Refusal, match="tokenizer is not the one"):
        fine_tune(learner, lesson, recipe, seed=1, savepoints=other)


def test_a_savepoint_of_other_labels_is_begun_anew(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(ADAPTER, base)
    learner, _ = tuned(recipe, tmp_path / "state", should_stop=lambda: True)
    facts = {"tokenizer_digest": learner.tokenizer_digest, "labels": "others"}
    seen: list[int] = []
    fine_tune(
        learner,
        lesson_for(learner, recipe),
        recipe,
        seed=1,
        savepoints=Savepoints(tmp_path / "state", facts),
        on_step=lambda step, total: seen.append(step),
    )
    assert seen[0] == 1


def test_parts_of_a_batch_add_up_to_the_whole(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(WHOLE, base, changes={"dropout": 0.0}, optimiser={"epochs": 1})
    small = Pace(part_tokens=2 * READ)
    whole, _ = tuned(recipe, tmp_path / "whole", pace=Pace(part_tokens=100_000))
    parts, _ = tuned(recipe, tmp_path / "parts", pace=small)
    for name, weight in weights_of(whole).items():
        assert torch.allclose(weight, weights_of(parts)[name], atol=2e-3), name


def test_gradients_may_be_computed_again_instead_of_kept(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(ADAPTER, base, optimiser={"epochs": 1})
    kept, _ = tuned(recipe, tmp_path / "kept", pace=Pace(checkpoint_gradients=False))
    again, _ = tuned(recipe, tmp_path / "again", pace=Pace(checkpoint_gradients=True))
    for name, weight in weights_of(kept).items():
        assert torch.allclose(weight, weights_of(again)[name], atol=1e-5), name


def test_less_goes_through_at_once_where_memory_is_short(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    see, sizes = Learner.see, []

    def scarce(learner: Learner, texts: Sequence[Text], **options: Any) -> Any:
        sizes.append(len(texts) * max(len(text.ids) for text in texts))
        if sizes[-1] > 500:
            raise torch.OutOfMemoryError
        return see(learner, texts, **options)

    monkeypatch.setattr(Learner, "see", scarce)
    _, done = tuned(recipe_of(ADAPTER, base), tmp_path / "state")
    assert done.is_complete
    assert max(sizes[-3:]) <= 500
    monkeypatch.setattr(Learner, "see", lambda *_, **__: scarce_always())
    with pytest.raises(Refusal, match="does not hold a pair"):
        tuned(recipe_of(ADAPTER, base), tmp_path / "other")


def test_a_device_that_no_longer_answers_is_told_from_a_text_at_fault(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    monkeypatch.setattr(Learner, "see", gone)
    with pytest.raises(DeviceLost, match="illegal memory access"):
        tuned(recipe_of(ADAPTER, base), tmp_path / "state")


def scarce_always() -> None:
    raise torch.OutOfMemoryError


@pytest.mark.parametrize("model", [ADAPTER, WHOLE], ids=["lora", "full"])
def test_a_training_out_of_bounds_says_at_which_step(
    model: Mapping[str, Any], base: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(model, base, optimiser={"learning_rate": 10.0, "warm_up": 0.0})
    with pytest.raises(Diverged, match=r"diverged: .* step"):
        tuned(recipe, tmp_path / "state")


def test_the_best_weights_on_what_is_held_out_are_kept(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(WHOLE, base, optimiser={"patience": 2, "epochs": 30})
    learner, done = tuned(recipe, tmp_path / "state", held_out=8)
    held_out = [point.held_out_loss for point in done.curve if point.held_out_loss is not None]
    best = min(held_out)
    assert done.steps < done.total
    assert done.best_step == done.curve[held_out.index(best)].step
    lesson = lesson_for(learner, recipe, held_out=8)
    with torch.no_grad():
        seen = learner.see(lesson.texts_of(np.flatnonzero(lesson.held_out)))
    margins = (seen.rewards[::2] - seen.rewards[1::2]).numpy()
    own = np.logaddexp(0.0, -margins * lesson.labels[lesson.held_out]).mean()
    assert own == pytest.approx(best, abs=1e-5)


def test_what_is_held_out_counts_as_the_recipe_teaches_it(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(WHOLE, base, optimiser={"patience": 50})
    learner = learners.load(recipe.model, seed=1)
    plain = lesson_for(learner, recipe, held_out=8)
    held_out = np.flatnonzero(plain.held_out)
    flipped, softened, dropped = held_out[:3], held_out[3:5], held_out[5:7]
    direction, probability, weight = (
        values.copy()
        for values in (plain.targets.direction, plain.targets.probability, plain.targets.weight)
    )
    direction[flipped] *= -1
    probability[softened], weight[held_out[7]], weight[dropped] = 0.7, 0.5, 0.0
    taught = replace(plain.targets, direction=direction, probability=probability, weight=weight)
    lesson = replace(plain, targets=taught)
    points = Savepoints(tmp_path / "state", {})
    done = fine_tune(learner, lesson, recipe, seed=1, savepoints=points)
    best = next(point for point in done.curve if point.step == done.best_step)
    counted = np.setdiff1d(held_out, dropped)
    with torch.no_grad():
        seen = learner.see(lesson.texts_of(counted))
    margins = (seen.rewards[::2] - seen.rewards[1::2]).numpy()
    own = taught.of(counted)
    lost = own.probability * np.logaddexp(0.0, -margins * own.direction)
    lost += (1 - own.probability) * np.logaddexp(0.0, margins * own.direction)
    expected = np.average(lost, weights=own.weight)
    assert best.held_out_loss == pytest.approx(expected, abs=1e-5)
    right = (margins * lesson.labels[counted] > 0).mean()
    assert best.held_out_accuracy == pytest.approx(right)


def test_what_was_trained_is_what_the_engine_reads(base: Path, tmp_path: Path) -> None:
    for model in (ADAPTER, WHOLE):
        recipe = recipe_of(model, base)
        folder = tmp_path / str(model["kind"])
        learner, _ = tuned(recipe, tmp_path / f"state-{model['kind']}")
        pairs, _ = read_by(learner)
        texts = [pair.a for pair in pairs]
        with torch.no_grad():
            before = learner.see(texts).rewards
        learner.save(folder, dtype=torch.float32)
        loaded = checkpoints.load(str(folder), setup=checkpoints.Setup(max_length=READ))
        after = PaddedModel(loaded).rewards(texts)[:, 0]
        assert torch.allclose(before, after, atol=1e-5)
        assert (
            folder / ("adapter_model.safetensors" if learner.is_adapter else "model.safetensors")
        ).is_file()


def test_two_views_without_dropout_are_refused(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(WHOLE, base, contrastive=CONTRASTS[0], changes={"dropout": 1e-9})
    with pytest.raises(Refusal, match="Both views of a text are the same"):
        tuned(recipe, tmp_path / "state")


def test_a_new_head_begins_as_wide_as_its_input_asks(base: Path) -> None:
    model = recipe_of(WHOLE, base).model
    drawn = [learners.load(model, seed=seed).score.weight.detach() for seed in range(4)]
    assert torch.cat(drawn).std() == pytest.approx(1 / np.sqrt(32 + 1), rel=0.2)
    assert torch.equal(drawn[0], learners.load(model, seed=0).score.weight)


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    two = tiny_models.decoder(tmp_path / "two", labels=3)
    unpadded = tiny_models.decoder(tmp_path / "unpadded", pad=None)
    ended = tiny_models.decoder(tmp_path / "ended", pad="</s>")
    whole = tiny_models.decoder(tmp_path / "whole")
    adapter = tiny_models.adapter(tmp_path / "adapter", whole)
    other = tiny_models.decoder(tmp_path / "other")
    reader = tiny_models.byte_tokenizer()
    reader.add_tokens(["a-new-word"])
    reader.save_pretrained(other)
    for folder, reason in (
        (two, "3 scores a text"),
        (adapter, "merge it into its base"),
        (other, "another model's"),
        (tmp_path / "nowhere", "no folder"),
    ):
        with pytest.raises(ModelUnavailable, match=reason):
            learners.load(recipe_of(WHOLE, folder).model, seed=0)
    # their vocabulary has a token for padding that nobody named
    for folder in (unpadded, ended):
        learner = learners.load(recipe_of(WHOLE, folder).model, seed=0)
        assert learner.tokenizer.pad_token == "<pad>"


def test_an_epoch_holds_every_pair_once_and_comes_in_any_order() -> None:
    pairs = np.flatnonzero(np.arange(1000) % 3 > 0)
    sizes = np.random.default_rng(0).integers(5, 500, len(pairs))
    epochs = [batches_of_epoch(pairs, sizes, batch=16, seed=3, epoch=e) for e in (0, 0, 1)]
    for batches in epochs:
        assert np.array_equal(np.sort(np.concatenate(batches)), pairs)
    flat = [np.concatenate(batches).tolist() for batches in epochs]
    assert flat[0] == flat[1]
    assert flat[0] != flat[2]
    by_pair = dict(zip(pairs.tolist(), sizes.tolist(), strict=True))
    spread = [np.ptp([by_pair[i] for i in batch.tolist()]) for batch in epochs[0]]
    assert np.mean(spread) < 100  # of 495, had they come as they are


def test_parts_hold_no_more_than_their_budget() -> None:
    sizes = np.array([10, 200, 30, 40, 5, 60])
    parts = list(parts_of(np.arange(6), sizes, token_budget=200))
    assert sorted(np.concatenate(parts).tolist()) == list(range(6))
    for part in parts:
        assert len(part) == 1 or 2 * len(part) * sizes[part].max() <= 200


def test_a_lesson_is_read_back_as_it_was_written(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(ADAPTER, base)
    learner = learners.load(recipe.model, seed=0)
    lesson = lesson_for(learner, recipe, held_out=3, sampled=True)
    told = replace(lesson.targets, warnings=("Treatment 1 met no pair.",))
    lesson = replace(lesson, targets=told)
    lesson.write(tmp_path / "lesson.safetensors")
    back = Lesson.read(tmp_path / "lesson.safetensors")
    assert np.array_equal(back.texts.tokens, lesson.texts.tokens)
    assert np.array_equal(back.targets.direction, lesson.targets.direction)
    assert np.array_equal(back.held_out, lesson.held_out)
    assert (back.width, back.prompts) == (lesson.width, lesson.prompts)
    assert back.texts_of(np.array([5]))[1].key == lesson.texts_of(np.array([5]))[1].key


@pytest.mark.parametrize("held_out", [4, 7], ids=["even", "one-pair-in-the-last-batch"])
def test_two_processes_give_what_one_gives(base: Path, tmp_path: Path, held_out: int) -> None:
    recipe = recipe_of(
        WHOLE,
        base,
        changes={"dropout": 0.0},
        loss={"name": "bradley-terry", "centring": 0.01},
        optimiser={"epochs": 2, "patience": 5},
    )
    one, done = tuned(recipe, tmp_path / "one", held_out=held_out)
    learner = learners.load(recipe.model, seed=1)
    lesson = lesson_for(learner, recipe, held_out=held_out)
    steps: list[int] = []
    looks: list[Point] = []
    saved: list[int] = []
    together = side_by_side.fine_tune(
        learner,
        lesson,
        recipe,
        seed=1,
        savepoints=Savepoints(tmp_path / "two", {}),
        on_step=lambda step, total: steps.append(step),
        on_look=looks.append,
        on_save=saved.append,
        pace=Pace(save_after=0.0),
        processes=2,
    )
    assert steps == list(range(1, done.total + 1))
    assert looks == together.curve
    assert saved == steps
    assert [p.loss for p in together.curve] == pytest.approx(losses_of(done), rel=1e-3)
    for name, weight in weights_of(one).items():
        assert torch.allclose(weight, weights_of(learner)[name], atol=5e-3), name


def test_processes_that_diverge_say_so_in_the_worker(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(WHOLE, base, optimiser={"learning_rate": 10.0, "warm_up": 0.0})
    learner = learners.load(recipe.model, seed=1)
    with pytest.raises(Diverged, match="diverged"):
        side_by_side.fine_tune(
            learner,
            lesson_for(learner, recipe),
            recipe,
            seed=1,
            savepoints=Savepoints(tmp_path / "state", {}),
            processes=2,
        )


def test_processes_end_with_the_worker_that_lost_its_lease(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(WHOLE, base, optimiser={"epochs": 500})
    learner = learners.load(recipe.model, seed=1)

    def lose(step: int, total: int) -> None:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        side_by_side.fine_tune(
            learner,
            lesson_for(learner, recipe),
            recipe,
            seed=1,
            savepoints=Savepoints(tmp_path / "state", {}),
            on_step=lose,
            processes=2,
        )
    assert not (tmp_path / "state-shared").exists()


def test_what_any_of_the_processes_refuses_is_heard(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of(WHOLE, base)
    job = {
        "recipe": recipes.as_json(recipe),
        "seed": 1,
        "savepoints": str(tmp_path / "state"),
        "facts": {},
        "pace": {},
        "within": None,
    }
    (tmp_path / side_by_side.JOB).write_text(json.dumps(job))
    learner = learners.load(recipe.model, seed=1)
    lesson_for(learner, recipe).write(tmp_path / side_by_side.LESSON)

    def short_of_memory(*_: Any, **__: Any) -> Tuned:
        raise Refusal("The device's memory does not hold a pair of this length.")

    monkeypatch.setattr("scoring.training.finetune.fine_tune", short_of_memory)
    monkeypatch.setattr(side_by_side, "_is_first", lambda: False)
    side_by_side.main(tmp_path)
    said = capsys.readouterr().out.strip()
    assert json.loads(said.removeprefix(side_by_side.SAID)) == {
        "error": "Refusal",
        "reason": "The device's memory does not hold a pair of this length.",
    }
