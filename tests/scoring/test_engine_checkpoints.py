"""Reward models of others: loaded only if they are what they seem, refused in a sentence otherwise,
and named by a digest of everything that shapes a score."""

import gc
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from scoring.engine import adapters, checkpoints
from scoring.engine.checkpoints import Checkpoint, Setup
from scoring.engine.folders import ModelUnavailable
from tests import tiny_models
from tests.scoring.oracle import (
    CASES,
    FP32,
    PAIRS,
    TURNS,
    Floats,
    Shelf,
    groups_of,
    largest,
    rewards,
    scored,
)
from tests.tiny_models import edit

Spoil = Callable[[Path], object]


@pytest.fixture
def folder(shelf: Shelf, tmp_path: Path) -> Path:
    """A copy of a reward model's folder, to spoil."""
    return Path(shutil.copytree(shelf.folder(), tmp_path / "model"))


@pytest.fixture
def adapter(shelf: Shelf, tmp_path: Path) -> Path:
    """The folder of an adapter on a language model, to spoil."""
    return tiny_models.adapter(tmp_path / "adapter", shelf.folder(tiny_models.language_model))


def load(folder: Path, **setup: Any) -> Checkpoint:
    return checkpoints.load(str(folder), setup=Setup(**setup), with_layer_digests=True)


def refusal(folder: Path, **setup: Any) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        load(folder, **setup)
    return str(caught.value)


def change_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def without(part: str) -> Callable[[dict[str, torch.Tensor]], object]:
    """Takes the weights away whose name holds the part."""
    return lambda weights: [weights.pop(name) for name in list(weights) if part in name]


# What is refused


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda folder: (folder / "config.json").unlink(),
            "model has no config.json: it is not a model folder.",
        ),
        (
            lambda folder: (folder / "config.json").write_text("{ half"),
            "The config.json of model is not JSON.",
        ),
        (
            lambda folder: (folder / "config.json").write_text("[]"),
            "The config.json of model is not a JSON object.",
        ),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            "model has no safetensors weights; pickled weights are not loaded.",
        ),
        (
            lambda folder: edit(folder / "config.json", auto_map={"AutoModel": "evil.Model"}),
            "model needs code of its own to run, which Curator does not run.",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
            "The model.safetensors.index.json of model cannot be read.",
        ),
    ],
)
def test_a_folder_that_is_no_model_is_refused(folder: Path, spoil: Spoil, sentence: str) -> None:
    spoil(folder)
    assert refusal(folder) == sentence


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda folder: [path.unlink() for path in folder.glob("tokenizer*")],
            "{} comes without a tokenizer.",
        ),
        (
            lambda folder: (folder / "tokenizer.json").write_text("{ half"),
            "The tokenizer of {} cannot be loaded: ",
        ),
        (
            lambda folder: (folder / "tokenizer.json").unlink(),
            "The tokenizer of {} cannot be loaded: ",
        ),
        (
            lambda folder: edit(
                folder / "tokenizer_config.json",
                tokenizer_class="Evil",
                auto_map={"AutoTokenizer": ["evil.Evil", None]},
            ),
            "The tokenizer of {} cannot be loaded: ",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"half a file"),
            "{} cannot be loaded as a sequence classifier: ",
        ),
        (
            lambda folder: edit(folder / "config.json", hidden_size=64),
            "{} cannot be loaded as a sequence classifier: ",
        ),
        (
            lambda folder: edit(folder / "config.json", model_type="nobody-knows"),
            "{} cannot be loaded as a sequence classifier: ",
        ),
        (
            lambda folder: edit(folder / "config.json", num_hidden_layers=5),
            "{} has no weights for 18 parts of the model, such as model.layers.3.",
        ),
        (
            lambda folder: change_weights(folder / "model.safetensors", without("score")),
            "{} has no trained score head (score.weight is not in its files): it is a language "
            "model or encoder, not a reward model.",
        ),
        (
            lambda folder: change_weights(
                folder / "model.safetensors", lambda weights: weights["score.weight"].fill_(np.nan)
            ),
            "{} holds weights that are no numbers, in score.weight.",
        ),
        (
            lambda folder: (folder / "chat_template.jinja").write_text(
                "{{ raise_exception('no') }}"
            ),
            "The chat template of {} refuses a question and its answer: no",
        ),
        (
            lambda folder: (folder / "chat_template.jinja").write_text("{% if %}"),
            "The chat template of {} refuses a question and its answer: Expected an expression",
        ),
    ],
)
def test_what_gives_meaningless_scores_is_refused(
    folder: Path, spoil: Spoil, sentence: str
) -> None:
    spoil(folder)
    found = refusal(folder)
    assert found.startswith(sentence.format(folder))
    assert len(found) <= 300


def test_a_model_that_lacks_a_shard_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.decoder(tmp_path / "model", shard_size="40KB")
    assert load(folder).identity.parameters > 0
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    assert refusal(folder) == (
        f"model lacks 1 of the files its index names, such as {shards[1].name}."
    )


@pytest.mark.parametrize("build", [tiny_models.decoder, tiny_models.encoder])
def test_a_model_of_several_scores_is_refused(tmp_path: Path, build: Any) -> None:
    for labels in (2, 5):
        folder = build(tmp_path / f"model-{labels}", labels=labels)
        assert refusal(folder) == (
            f"{folder} gives {labels} scores a text (num_labels); a reward model gives one."
        )


@pytest.mark.parametrize("configured", [None, -1])
def test_a_model_without_a_pad_token_is_refused(tmp_path: Path, configured: int | None) -> None:
    """-1 is how early conversions of LLaMA say that there is none."""
    folder = tiny_models.decoder(tmp_path / "model", pad=None)
    edit(folder / "config.json", pad_token_id=configured)
    assert refusal(folder) == (
        f"{folder} has no pad token: name one in its tokenizer_config.json (`pad_token`) and "
        f"config.json (`pad_token_id`), as it was trained with."
    )


def test_a_model_that_reads_next_to_nothing_is_refused(tmp_path: Path, folder: Path) -> None:
    short = tiny_models.decoder(tmp_path / "short", max_length=7)
    for found in (refusal(short), refusal(folder, max_length=7)):
        assert found == "A reward model that reads 7 tokens reads no conversation."


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("template", [tiny_models.TEMPLATE, None])
def test_a_pad_token_that_ends_texts_must_be_told_apart(
    tmp_path: Path, architecture: str, template: str | None
) -> None:
    folder = tiny_models.decoder(
        tmp_path / "model", architecture=architecture, template=template, pad=tiny_models.EOS
    )
    assert refusal(folder) == (
        f"The pad token of {folder} is also what ends its texts, so it cannot be told which "
        f"token's score was trained: say --score-at last (OpenRLHF) or --score-at before-padding "
        f"(TRL and other users of transformers)."
    )
    found = [load(folder, score_at=where) for where in ("last", "before-padding")]
    assert [each.identity.score_at for each in found] == ["last", "before-padding"]
    assert np.abs(rewards(found[0], PAIRS) - rewards(found[1], PAIRS)).min() > FP32


@pytest.mark.parametrize(("reference", "says"), [("/nowhere/at/all", "no folder"), ("a/b", "hub")])
def test_what_is_not_there_is_refused(reference: str, says: str) -> None:
    with pytest.raises(ModelUnavailable, match=says):
        checkpoints.load(reference, setup=Setup())


# What a checkpoint is known by


def test_a_checkpoint_is_known_by_what_shapes_its_scores(shelf: Shelf) -> None:
    found = load(shelf.folder()).identity
    assert found.architecture == "LlamaForSequenceClassification"
    assert (found.is_decoder, found.dtype, found.score_at) == (True, "float32", "last")
    assert found.max_length == 256
    assert len(set(found.layer_digests)) == 3
    json.dumps(found.as_dict(), allow_nan=False)
    encoder = load(shelf.folder(tiny_models.encoder)).identity
    assert encoder.architecture == "BertForSequenceClassification"
    assert (encoder.is_decoder, encoder.score_at, encoder.layer_digests) == (False, "head", ())


def test_layers_are_digested_only_for_who_asks(shelf: Shelf) -> None:
    found = checkpoints.load(str(shelf.folder()), setup=Setup()).identity
    assert found == replace(load(shelf.folder()).identity, layer_digests=())
    assert found.digest == load(shelf.folder()).identity.digest


@pytest.mark.parametrize("name", CASES)
def test_a_digest_is_the_same_each_time(shelf: Shelf, name: str, tmp_path: Path) -> None:
    case = CASES[name]
    folder = shelf.folder(case.build, **case.options)
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    (moved / "README.md").write_text("A reward model.")
    found = [
        checkpoints.load(str(each), setup=case.setup, with_layer_digests=True).identity
        for each in (folder, folder, moved)
    ]
    assert found[0] == found[1] == found[2]
    assert len({each.digest for each in found}) == 1


def test_a_digest_changes_with_how_a_model_is_run(shelf: Shelf) -> None:
    folder = shelf.folder(pad=tiny_models.EOS)
    setups: list[dict[str, Any]] = [
        {"score_at": "last"},
        {"score_at": "before-padding"},
        {"score_at": "last", "dtype": "bfloat16"},
        {"score_at": "last", "max_length": 100},
        {"score_at": "last", "max_length": 101},
    ]
    assert len({load(folder, **setup).identity.digest for setup in setups}) == len(setups)


def test_a_limit_that_changes_nothing_changes_no_digest(folder: Path) -> None:
    """What the model reads at most is what counts, not who said so."""
    plain = load(folder).identity
    assert load(folder, max_length=256).identity == plain
    assert load(folder, max_length=100_000).identity == plain
    assert load(folder, score_at="before-padding").identity == plain


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: edit(folder / "config.json", rms_norm_eps=1e-5),
        lambda folder: edit(folder / "tokenizer_config.json", extra=1),
        lambda folder: (folder / "tokenizer.json").write_text(
            (folder / "tokenizer.json").read_text() + "\n"
        ),
        lambda folder: (folder / "chat_template.jinja").write_text(
            tiny_models.TEMPLATE_WITHOUT_BOS
        ),
        lambda folder: (folder / "added.json").write_text("{}"),
        lambda folder: change_weights(
            folder / "model.safetensors", lambda weights: weights["model.norm.weight"][0].add_(1e-6)
        ),
    ],
)
def test_a_digest_changes_with_every_file(folder: Path, change: Spoil) -> None:
    before = load(folder).identity
    change(folder)
    after = load(folder).identity
    assert after.weights_digest != before.weights_digest
    assert after.digest != before.digest
    with pytest.raises(ModelUnavailable) as caught:
        checkpoints.load(str(folder), setup=Setup(), expected_digest=before.weights_digest)
    assert str(caught.value) == (
        f"The files of {folder} have changed since it was registered: register it anew."
    )
    checkpoints.load(str(folder), setup=Setup(), expected_digest=after.weights_digest)


def test_members_that_read_alike_are_known_by_it(shelf: Shelf) -> None:
    one, other = (load(shelf.folder(seed=seed)).identity for seed in (1, 2))
    assert (one.tokenizer_digest, one.template_digest) == (
        other.tokenizer_digest,
        other.template_digest,
    )
    assert load(shelf.folder(template=None)).identity.template_digest != one.template_digest
    assert load(shelf.folder(adds_bos=True)).identity.tokenizer_digest != one.tokenizer_digest


@pytest.mark.parametrize("named", [0, 20, 10_000])
def test_a_model_reads_as_much_as_it_can_and_no_more_than_asked(shelf: Shelf, named: int) -> None:
    for build, most in ((tiny_models.decoder, 256), (tiny_models.encoder, 128)):
        found = load(shelf.folder(build), max_length=named)
        assert found.identity.max_length == found.reader.max_length == (min(named, most) or most)


def test_precision_is_of_the_body_and_the_head_is_exact(shelf: Shelf) -> None:
    for build, head in ((tiny_models.decoder, "score"), (tiny_models.encoder, "classifier")):
        found = load(shelf.folder(build), dtype="bfloat16")
        assert {weights.dtype for weights in found.body.parameters()} == {torch.bfloat16}
        assert getattr(found.model, head).weight.dtype == torch.float32
        whole = load(shelf.folder(build)).tensors
        assert sum(found.tensors.values()) < 0.6 * sum(whole.values())
        assert found.dtype == torch.bfloat16


# Adapters


def by_peft(adapter: Path, base: Path, pairs: Any, reader: Checkpoint) -> Floats:
    """One text at a time, by peft and transformers alone."""
    body = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = PeftModel.from_pretrained(body, str(adapter)).eval()
    found = []
    with torch.inference_mode():
        for group in groups_of(reader, pairs):
            for text in group:
                ids = torch.from_numpy(text.ids)[None]
                found.append(float(model(input_ids=ids).logits[0, 0]))
    return np.array(found)


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_adapters_score_as_peft_says_over_weights_that_they_share(
    shelf: Shelf, tmp_path: Path, architecture: str
) -> None:
    base = shelf.folder(tiny_models.language_model, architecture=architecture)
    folders = [tiny_models.adapter(tmp_path / str(i), base, seed=i) for i in range(2)]
    members = [load(folder) for folder in folders]
    first, second = (member.body.layers[0].self_attn.q_proj for member in members)
    assert first.base_layer.weight.data_ptr() == second.base_layer.weight.data_ptr()
    assert len({member.identity.digest for member in members}) == 2
    assert {member.identity.parameters for member in members} == {members[0].identity.parameters}
    pairs = PAIRS + TURNS
    expected = np.stack([by_peft(each, base, pairs, members[0]) for each in folders], axis=1)
    assert np.abs(expected[:, 0] - expected[:, 1]).min() > FP32
    for options in ({}, {"pack": False}):
        assert largest(scored(members, pairs, **options).rewards, expected) < FP32
        for column in (1, 0):  # whichever was asked last
            alone = rewards(members[column], pairs, **options)
            assert largest(alone, expected[:, column]) < FP32


def test_an_adapter_does_not_depend_on_those_loaded_before_it(shelf: Shelf, tmp_path: Path) -> None:
    base = shelf.folder(tiny_models.language_model)
    folders = [tiny_models.adapter(tmp_path / str(i), base, seed=i) for i in range(2)]
    alone = load(folders[0])
    expected = rewards(alone, PAIRS)
    other = load(folders[1])
    again = load(folders[0])
    assert again.identity == alone.identity
    # layers of adapters change by turns, so they are never taken for a common trunk
    assert again.identity.layer_digests == other.identity.layer_digests == ()
    np.testing.assert_array_equal(rewards(again, PAIRS), expected)


def test_a_base_is_let_go_with_its_last_adapter(shelf: Shelf, adapter: Path) -> None:
    gc.collect()
    before = len(adapters._bases)
    members = [load(adapter), load(adapter, dtype="bfloat16")]
    assert len(adapters._bases) == before + 2
    assert np.isfinite(rewards(members[1], PAIRS)).all()
    del members
    gc.collect()
    assert len(adapters._bases) == before


def test_an_adapter_is_known_by_its_base_too(adapter: Path, tmp_path: Path) -> None:
    base = tiny_models.language_model(tmp_path / "base", seed=3)
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(base))
    before = load(adapter).identity
    assert load(adapter).identity == before
    edit(base / "config.json", rms_norm_eps=1e-5)
    assert load(adapter).identity.digest != before.digest
    with pytest.raises(ModelUnavailable, match="have changed since it was registered"):
        checkpoints.load(str(adapter), setup=Setup(), expected_digest=before.weights_digest)


def test_an_adapters_own_tokenizer_is_the_one_that_counts(shelf: Shelf, adapter: Path) -> None:
    plain = load(adapter).identity
    base = load(shelf.folder()).identity
    assert plain.tokenizer_digest == base.tokenizer_digest
    tiny_models.byte_tokenizer(adds_bos=True).save_pretrained(adapter)
    own = load(adapter)
    assert own.reader.adds_bos
    assert own.identity.tokenizer_digest != plain.tokenizer_digest


WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda folder: (folder / "adapter_config.json").write_text("{ half"),
            "The adapter_config.json of adapter cannot be read.",
        ),
        (
            lambda folder: (folder / "adapter_config.json").write_text("{}"),
            "The adapter_config.json of adapter cannot be read.",
        ),
        (
            lambda folder: edit(folder / "adapter_config.json", peft_type="IA3"),
            "adapter is an adapter of kind IA3; LoRA is what we read.",
        ),
        (
            lambda folder: edit(folder / "adapter_config.json", base_model_name_or_path=None),
            "adapter is an adapter of kind LORA; LoRA is what we read.",
        ),
        (
            lambda folder: edit(folder / "adapter_config.json", base_model_name_or_path="/no/base"),
            "There is no folder /no/base.",
        ),
        (
            lambda folder: (folder / WEIGHTS).rename(folder / "adapter_model.bin"),
            "adapter has no safetensors weights; pickled weights are not loaded.",
        ),
        (  # beside other safetensors, peft would unpickle the adapter's own
            lambda folder: (folder / WEIGHTS).rename(folder / "optimizer.safetensors"),
            "adapter has no safetensors weights; pickled weights are not loaded.",
        ),
        (
            lambda folder: change_weights(folder / WEIGHTS, without("score")),
            "The adapter adapter brings no trained score head: train it with "
            'modules_to_save=["score"].',
        ),
        (
            lambda folder: change_weights(folder / WEIGHTS, without("layers.1.self_attn.q_proj")),
            "The adapter adapter has no weights for 2 of its parts, such as "
            "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight.",
        ),
        (
            lambda folder: (folder / WEIGHTS).write_bytes(b"half a file"),
            "The adapter adapter cannot be loaded: ",
        ),
        (
            lambda folder: edit(folder / "adapter_config.json", r=8),
            "The adapter adapter cannot be loaded: ",
        ),
        (
            lambda folder: edit(folder / "adapter_config.json", target_modules=["nothing"]),
            "The adapter adapter cannot be loaded: ",
        ),
        (
            lambda folder: change_weights(
                folder / WEIGHTS, lambda weights: next(iter(weights.values())).fill_(np.nan)
            ),
            "{} holds weights that are no numbers, in base_model.model.model.layers.0.self_attn.",
        ),
    ],
)
@pytest.mark.parametrize("beside_another", [False, True])
def test_an_adapter_that_gives_meaningless_scores_is_refused_each_time(
    shelf: Shelf,
    adapter: Path,
    tmp_path: Path,
    spoil: Spoil,
    sentence: str,
    beside_another: bool,
) -> None:
    """Whether or not its base is in memory already; and it does not spoil the base for others."""
    base = shelf.folder(tiny_models.language_model)
    good = tiny_models.adapter(tmp_path / "good", base, seed=7)
    another = load(good) if beside_another else None
    expected = None if another is None else rewards(another, PAIRS[:3])
    spoil(adapter)
    for _ in range(2):
        assert refusal(adapter).startswith(sentence.format(adapter))
    if another is not None:
        np.testing.assert_array_equal(rewards(another, PAIRS[:3]), expected)
        third = load(tiny_models.adapter(tmp_path / "third", base, seed=8))
        assert np.isfinite(rewards(third, PAIRS[:3])).all()


@pytest.mark.parametrize("base", [tiny_models.language_model, tiny_models.decoder])
def test_an_adapter_without_a_head_is_refused(shelf: Shelf, tmp_path: Path, base: Any) -> None:
    folder = tiny_models.adapter(tmp_path / "adapter", shelf.folder(base), head=False)
    assert refusal(folder) == (
        'The adapter adapter brings no trained score head: train it with modules_to_save=["score"].'
    )


@pytest.mark.parametrize(
    ("changes", "named"), [({"bias": "all"}, "bias"), ({"use_dora": True}, "use_dora")]
)
def test_an_adapter_that_changes_more_than_its_own_layers_is_refused(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    base = tiny_models.decoder(tmp_path / "base")
    folder = tiny_models.adapter(tmp_path / "adapter", base)
    tiny_models.edit(folder / "adapter_config.json", **changes)
    with pytest.raises(ModelUnavailable, match=named):
        checkpoints.load(str(folder), setup=checkpoints.Setup())
