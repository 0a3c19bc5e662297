"""The exports, read by those they are for: `datasets` loads the file and TRL takes a step on it."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from annotations.models import Dataset, Export
from curator.models import User
from scoring import freezing
from scoring.models import ScoringRun
from tests import factories

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }} [SEP]{% endfor %}"
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that we only visit


@pytest.fixture
def run(dataset: Dataset, tiny_backbone: str) -> ScoringRun:
    rows = [factories.row(number, label="b" if number % 5 == 0 else "a") for number in range(24)]
    factories.imported(dataset, rows)
    return factories.scored(factories.trained(dataset, tiny_backbone))


def loaded(export: Export, folder: Path) -> Any:
    """The export as the real `datasets` reads it."""
    import datasets  # noqa: PLC0415 - heavy

    return datasets.load_dataset(
        "json", data_files=export.file.path, split="train", cache_dir=str(folder)
    )


def test_trl_trains_a_reward_model_on_the_export(
    run: ScoringRun, casey: User, tiny_backbone: str, tmp_path: Path
) -> None:
    from trl import RewardConfig, RewardTrainer  # noqa: PLC0415 - heavy

    snapshot = freezing.freeze(dataset=run.dataset, by=casey)
    export = factories.exported(snapshot, Export.Format.TRL_REWARD)
    pairs = loaded(export, tmp_path / "cache")
    assert pairs.column_names == ["prompt", "chosen", "rejected", "margin"]
    assert len(pairs) == export.rows == 24
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
    tokenizer.chat_template = TEMPLATE
    tokenizer.eos_token = "[SEP]"
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    arguments = RewardConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=4,
        report_to="none",
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=1,
    )
    trainer = RewardTrainer(
        model=LlamaForSequenceClassification(config),
        args=arguments,
        train_dataset=pairs,
        processing_class=tokenizer,
    )
    trainer.train()
    [step, *_] = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert trainer.state.global_step == 1
    assert step["loss"] > 0


def test_datasets_reads_the_other_formats_row_by_row(
    run: ScoringRun, casey: User, tmp_path: Path
) -> None:
    snapshot = freezing.freeze(dataset=run.dataset, by=casey)
    for layout in (Export.Format.TRL_DPO, Export.Format.JSONL):
        export = factories.exported(snapshot, layout)
        pairs = loaded(export, tmp_path / layout)
        first = factories.lines_of(export)[0]
        assert len(pairs) == export.rows
        assert pairs[0]["prompt"] == first["prompt"]
        assert json.dumps(first)
