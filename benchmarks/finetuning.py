"""Tokens learnt from in a second by LoRA and full fine-tuning, beside TRL's RewardTrainer on the
same pairs with the same settings.

On a GPU a model of 1.2 billion random weights, bf16, gradient checkpointing, no dropout, batches of
32 pairs; both sides learn every pair once, and TRL holds the texts of a batch at once as ours does.
Without a GPU a tiny shape on the CPU, which says that both ways work and little about speed. Only
the training is timed, not what is loaded or tokenised before. A token is one of a text: padding
does not count. Where Curator gains is padding: its batches are of similar length.

It also tells what reading the common beginning of both responses once would save at most.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, TaskType
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging
from trl import RewardConfig, RewardTrainer

from benchmarks.decoders import TINY, Shape, save
from benchmarks.planted_flips import HH
from benchmarks.reporting import Report, Row, options_of, say
from benchmarks.scoring import read
from benchmarks.scoring_runs import conversations, spread
from scoring.core import recipes
from scoring.core.recipes import FULL, LORA, Recipe
from scoring.core.targets import targets
from scoring.engine import devices
from scoring.engine.conversations import Conversations, ReadPair
from scoring.engine.prefix import tokens_needed
from scoring.training import learners
from scoring.training.finetune import Pace, fine_tune
from scoring.training.learners import SCALE, Learner
from scoring.training.lessons import Lesson, corpus_of_pairs
from scoring.training.savepoints import Savepoints

BILLION = Shape(layers=16, width=2048, inner=8192, heads=32, groups=8)
LONGEST = 1024
RANK = 16
RATES = {LORA: 1e-4, FULL: 5e-6}
SMALL = Shape(layers=4, width=256, inner=688, heads=4)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    name: str
    shape: Shape
    pairs: int
    batch: int
    longest: int


ON_GPU = Size("1.2B-shaped", BILLION, 1024, 32, LONGEST)
ON_GPU_QUICK = Size("1.2B-shaped", BILLION, 128, 32, LONGEST)
ON_CPU = Size("small", SMALL, 64, 8, 384)
ON_CPU_QUICK = Size("tiny", TINY, 32, 8, 256)


def main() -> None:
    options = options_of(
        "finetuning", "Tokens a second of fine-tuning, beside TRL's RewardTrainer."
    )
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    report = Report("finetuning", baseline="TRL")
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        size = ON_GPU_QUICK if options.quick else ON_GPU
    else:
        size = ON_CPU_QUICK if options.quick else ON_CPU
        report.skip("the model of 1.2 billion weights, because there is no GPU here.")
    if HH.exists():
        with tempfile.TemporaryDirectory(prefix="curator-finetuning-") as folder:
            report.rows += figures(Path(folder), size)
    else:
        report.skip(f"everything, because {HH} is absent (set CURATOR_BENCH_DATA).")
    report.show(options.json)


def figures(scratch: Path, size: Size) -> list[Row]:
    base = save(scratch / "base", size.shape)
    rows = []
    for kind in (LORA, FULL):
        say(f"{size.name}, {kind}:")
        recipe = recipe_of(base, kind, size)
        learner = learners.load(recipe.model, seed=0, half=torch.cuda.is_available())
        pairs, kept = whole_pairs(learner, size)
        texts = [text.ids for pair in kept for text in (pair.a, pair.b)]
        tokens = sum(map(len, texts))
        ours = seconds_of_ours(learner, kept, recipe, scratch / f"state-{kind}")
        learner.release()
        devices.free_memory()
        theirs = seconds_of_trl(base, pairs, kind, size, scratch / f"trl-{kind}")
        devices.free_memory()
        rows.append(
            Row(
                f"{size.name}, {kind}: tokens learnt from a second",
                tokens / ours,
                "tokens",
                target=1.0,
                baseline=tokens / theirs,
                target_is_ratio=True,
            )
        )
    needed = tokens_needed([[pair.a.ids, pair.b.ids] for pair in kept])
    rows.append(
        Row(
            "tokens left if what both responses begin with were read once",
            needed,
            "tokens",
            baseline=tokens,
            smaller_is_better=True,
            note="an upper bound of what sharing could save; training does not do it",
        )
    )
    return rows


def recipe_of(base: Path, kind: str, size: Size) -> Recipe:
    model = {"kind": kind, "base": str(base), "max_length": size.longest, "dropout": 0.0}
    optimiser = {"epochs": 1, "batch": size.batch, "learning_rate": RATES[kind]}
    return recipes.parse(
        {
            "name": kind,
            "model": model | ({"rank": RANK} if kind == LORA else {}),
            "optimiser": {**optimiser, "weight_decay": 0.0, "warm_up": 0.0, "patience": 0},
        }
    )


def whole_pairs(learner: Learner, size: Size) -> tuple[list[Conversations], list[ReadPair]]:
    """Pairs that both sides read whole, since TRL leaves out what is longer."""
    found = [conversations(line) for line in spread(read(HH), 2 * size.pairs)]
    kept = [
        (pair, each)
        for pair, each in zip(found, learner.reader.read(found), strict=True)
        if isinstance(each, ReadPair) and not each.truncated
    ][: size.pairs]
    return [pair for pair, _ in kept], [each for _, each in kept]


def seconds_of_ours(
    learner: Learner, pairs: Sequence[ReadPair], recipe: Recipe, state: Path
) -> float:
    labels = np.ones(len(pairs))
    everything = np.ones(len(pairs), dtype=np.bool_)
    lesson = Lesson(
        texts=corpus_of_pairs(pairs),
        targets=targets(labels, recipe),
        labels=labels,
        trusted=np.zeros(len(pairs)),
        learns=everything,
        held_out=~everything,
    )
    # as TRL has it: gradients are checkpointed whatever the device, a batch goes through at once
    pace = Pace(looks=1, checkpoint_gradients=True, part_tokens=1 << 30)
    devices_settled()
    started = time.perf_counter()
    fine_tune(learner, lesson, recipe, seed=0, savepoints=Savepoints(state, {}), pace=pace)
    devices_settled()
    return time.perf_counter() - started


def seconds_of_trl(
    base: Path, pairs: Sequence[Conversations], kind: str, size: Size, scratch: Path
) -> float:
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = {
        "prompt": [list(pair.prompt) for pair in pairs],
        "chosen": [list(pair.a) for pair in pairs],
        "rejected": [list(pair.b) for pair in pairs],
    }
    on_gpu = torch.cuda.is_available()
    half = on_gpu and kind == LORA
    trainer: Any = RewardTrainer(
        model=str(base),
        args=RewardConfig(
            output_dir=str(scratch),
            num_train_epochs=1,
            per_device_train_batch_size=size.batch,
            learning_rate=RATES[kind],
            weight_decay=0.0,
            max_length=size.longest,
            bf16=on_gpu,
            use_cpu=not on_gpu,
            gradient_checkpointing=True,
            disable_dropout=True,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            report_to="none",
            model_init_kwargs={"dtype": "bfloat16" if half else "float32", "num_labels": 1},
        ),
        train_dataset=Dataset.from_dict(rows),
        processing_class=tokenizer,
        peft_config=_adapter(size) if kind == LORA else None,
    )
    if len(trainer.train_dataset) != len(pairs):
        raise SystemExit(f"TRL kept {len(trainer.train_dataset)} of {len(pairs)} pairs.")
    devices_settled()
    started = time.perf_counter()
    trainer.train()
    devices_settled()
    return time.perf_counter() - started


def _adapter(size: Size) -> LoraConfig:
    """The same adapter as ours."""
    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=RANK,
        lora_alpha=SCALE * RANK,
        target_modules=layers,
        modules_to_save=["score"],
    )


def devices_settled() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
