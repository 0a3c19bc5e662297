"""Architectures that the engine was not written for score as transformers has them: packed where
that is exact, by their own forward pass where it is not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import transformers

from scoring.engine import checkpoints
from scoring.engine.checkpoints import Checkpoint, Setup
from scoring.engine.folders import ModelUnavailable
from scoring.engine.scorer import Scorer
from scoring.engine.selftest import self_test
from tests import tiny_models
from tests.scoring.oracle import FP32, PAIRS, TURNS, Shelf, by_transformers, largest, rewards

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
GROUPED = {**SHAPE, "num_key_value_heads": 2}
NARROW = {**GROUPED, "head_dim": 8}
PACKED: dict[str, dict[str, Any]] = {
    "MistralConfig": {**NARROW, "sliding_window": 16},
    "Qwen2Config": GROUPED,
    "Qwen3Config": NARROW,
    "Gemma3TextConfig": {**NARROW, "sliding_window": 16},
    "Phi3Config": GROUPED,
    "MixtralConfig": {**NARROW, "num_local_experts": 4},
}
# attention that is not handed what we hand on, and attention with sinks
NOT_PACKED: dict[str, dict[str, Any]] = {
    "StableLmConfig": GROUPED,
    "GptOssConfig": {**NARROW, "num_local_experts": 4, "sliding_window": 16},
}
OLDER: dict[str, dict[str, Any]] = {
    "GPT2Config": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "GPTNeoXConfig": SHAPE,
    "OPTConfig": {
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "word_embed_proj_dim": 32,
    },
}
ENCODERS: dict[str, dict[str, Any]] = {
    "DebertaV2Config": {**SHAPE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "RobertaConfig": SHAPE,
    "ModernBertConfig": {**SHAPE, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 16},
}
EVERY = {**PACKED, **NOT_PACKED, **OLDER, **ENCODERS}
ASKED = PAIRS[:4] + TURNS


def loaded(shelf: Shelf, name: str, *, score_at: Any = "", **options: Any) -> Checkpoint:
    return shelf.loaded(
        tiny_models.of_config,
        setup=Setup(score_at=score_at),
        config_class=getattr(transformers, name),
        **EVERY[name],
        **options,
    )


def folder(shelf: Shelf, name: str, **options: Any) -> Any:
    config_class = getattr(transformers, name)
    return shelf.folder(tiny_models.of_config, config_class=config_class, **EVERY[name], **options)


@pytest.mark.parametrize("name", PACKED)
def test_decoders_like_llama_are_packed(shelf: Shelf, name: str) -> None:
    checkpoint = loaded(shelf, name)
    expected = by_transformers(folder(shelf, name), ASKED)
    assert Scorer([checkpoint]).path.startswith("packed")
    for options in ({}, {"token_budget": 90}, {"prune_last_layer": False}, {"pack": False}):
        assert largest(rewards(checkpoint, ASKED, **options), expected) < FP32


@pytest.mark.parametrize("name", NOT_PACKED)
def test_decoders_that_packing_would_get_wrong_are_known_and_padded(
    shelf: Shelf, name: str
) -> None:
    checkpoint = loaded(shelf, name)
    found = self_test(checkpoint)
    assert found.passed
    assert not found.packs
    expected = by_transformers(folder(shelf, name), ASKED)
    assert largest(rewards(checkpoint, ASKED, pack=False), expected) < FP32


@pytest.mark.parametrize("name", [*OLDER, *ENCODERS])
def test_models_of_other_kinds_are_padded(shelf: Shelf, name: str) -> None:
    checkpoint = loaded(shelf, name)
    assert Scorer([checkpoint]).path == "padded"
    expected = by_transformers(folder(shelf, name), ASKED)
    for options in ({}, {"token_budget": 90}):
        assert largest(rewards(checkpoint, ASKED, **options), expected) < FP32


@pytest.mark.parametrize("name", OLDER)
def test_older_decoders_whose_pad_token_ends_texts_are_scored_before_it(
    shelf: Shelf, name: str
) -> None:
    """Their own forward pass knows no other way."""
    checkpoint = loaded(shelf, name, score_at="before-padding", pad=tiny_models.EOS)
    expected = by_transformers(folder(shelf, name, pad=tiny_models.EOS), ASKED)
    assert largest(rewards(checkpoint, ASKED), expected) < FP32
    for score_at in ("", "last"):
        with pytest.raises(ModelUnavailable, match="is also what ends its texts"):
            loaded(shelf, name, score_at=score_at, pad=tiny_models.EOS)


def test_where_nothing_ends_a_text_its_pad_token_may_be_eos(shelf: Shelf) -> None:
    """GPT-2 without a template reads question and answer one after the other, and no more."""
    checkpoint = loaded(shelf, "GPT2Config", pad=tiny_models.EOS, template=None)
    tokens = checkpoint.tokenizer
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder(shelf, "GPT2Config", pad=tiny_models.EOS, template=None)
    )
    expected = []
    for pair in PAIRS:
        for turns in (pair.a, pair.b):
            text = pair.prompt[0]["content"], turns[0]["content"]
            given = tokens([text], return_tensors="pt", return_token_type_ids=False)
            expected.append(model(**given).logits[0, 0].item())
    assert largest(rewards(checkpoint, PAIRS), np.array(expected)) < FP32


def test_a_repository_of_a_kind_that_is_no_classifier_is_refused(shelf: Shelf) -> None:
    source = folder(shelf, "GPT2Config")
    spoilt = source.parent / "no-classifier"
    spoilt.mkdir()
    for path in source.iterdir():
        (spoilt / path.name).write_bytes(path.read_bytes())
    tiny_models.edit(spoilt / "config.json", model_type="clip")
    with pytest.raises(ModelUnavailable, match="cannot be loaded as a sequence classifier"):
        checkpoints.load(str(spoilt), setup=replace(Setup(), dtype="float32"))
