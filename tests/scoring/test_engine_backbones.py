"""Backbones: a text's embedding is its own, and what cannot be loaded is refused in a sentence."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load_file, save_file

from scoring.engine import backbones, devices
from scoring.engine.backbones import MOST_TOKENS, Backbone
from scoring.engine.folders import ModelUnavailable

Floats = npt.NDArray[np.float32]

TEXTS = [
    "A short answer.",
    "",
    "Why?",
    "A somewhat longer answer, with reasons: " + "because it is so, " * 20,
    "日本語の答え",
    "word " * 300,
    "\x00\n\t",
]
LONG = [f"number{i}" for i in range(1500)]


@pytest.fixture(scope="module")
def backbone(tiny_backbone: str) -> Iterator[Backbone]:
    """Loaded in full precision, whatever this machine's CPU would rather compute in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "has_fast_bfloat16", lambda: False)
        patch.setattr(torch.cuda, "is_available", lambda: False)
        backbones.load.cache_clear()
        yield backbones.load(tiny_backbone, "float32")
    backbones.load.cache_clear()


@pytest.fixture
def folder(tiny_backbone: str, tmp_path: Path) -> Path:
    """A copy of the backbone's folder, to spoil."""
    return Path(shutil.copytree(tiny_backbone, tmp_path / "model"))


def embedded(backbone: Backbone, texts: list[str], *, keep_end: bool = False) -> Floats:
    return backbone.embed(texts, keep_end=[keep_end] * len(texts))[1]


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_embedding_does_not_depend_on_what_else_is_embedded(backbone: Backbone) -> None:
    together = embedded(backbone, TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(embedded(backbone, [text])[0], vector, atol=1e-5)


def test_an_embedding_does_not_depend_on_the_order(backbone: Backbone) -> None:
    np.testing.assert_allclose(
        embedded(backbone, TEXTS[::-1])[::-1], embedded(backbone, TEXTS), atol=1e-5
    )


def test_an_embedding_does_not_depend_on_the_size_of_a_batch(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = embedded(backbone, TEXTS)
    monkeypatch.setattr(backbones, "TOKEN_BUDGET", 16)
    monkeypatch.setattr(backbones, "TOKENISED_AT_ONCE", 2)
    np.testing.assert_allclose(embedded(backbone, TEXTS), expected, atol=1e-5)


def test_different_texts_have_different_embeddings(backbone: Backbone) -> None:
    texts = [text for text in TEXTS if text.strip("\x00\n\t")]
    vectors = embedded(backbone, texts).reshape(len(texts), -1)
    likeness = vectors @ vectors.T - 2.0 * len(backbone.layers) * np.eye(len(texts))
    assert likeness.max() < len(backbone.layers) - 1e-3


def test_embeddings_are_of_unit_length_in_each_layer_that_is_read(backbone: Backbone) -> None:
    vectors = embedded(backbone, TEXTS)
    assert vectors.shape == (len(TEXTS), 3, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1.0, atol=1e-5)


def test_an_embedding_is_the_mean_of_the_tokens_states_after_three_layers(
    backbone: Backbone, tiny_backbone: str
) -> None:
    from transformers import AutoModel  # noqa: PLC0415 - loads slowly

    whole = AutoModel.from_pretrained(tiny_backbone, dtype=torch.float32).eval()
    ids = torch.tensor([backbone.tokenizer(TEXTS[0])["input_ids"]])
    with torch.inference_mode():
        states = whole(input_ids=ids, output_hidden_states=True).hidden_states
    expected = np.stack([states[layer][0].mean(0).numpy() for layer in (1, 3, 4)])
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(embedded(backbone, TEXTS[:1])[0], expected, atol=1e-5)


def test_no_texts_have_no_embeddings(backbone: Backbone) -> None:
    counts, vectors = backbone.embed([], keep_end=[])
    assert (counts.shape, vectors.shape) == ((0,), (0, 3, 32))


def test_of_a_long_text_only_the_end_that_is_kept_is_read(backbone: Backbone) -> None:
    whole = " ".join(LONG)
    for keep_end in (True, False):
        other_end = LONG[700:] if keep_end else LONG[:700]
        kept, rest = (" ".join(other_end), " ".join(["else"] * 600))
        changed = f"{rest} {kept}" if keep_end else f"{kept} {rest}"
        np.testing.assert_allclose(
            embedded(backbone, [whole], keep_end=keep_end),
            embedded(backbone, [changed], keep_end=keep_end),
            atol=1e-5,
        )
    assert (
        np.abs(embedded(backbone, [whole], keep_end=True) - embedded(backbone, [whole])).max()
        > 1e-2
    )


def test_each_text_has_an_end_of_its_own_that_is_kept(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "TOKENISED_AT_ONCE", 2)
    texts, ends = [" ".join(LONG), "short", " ".join(LONG)], [False, False, True]
    found = backbone.embed(texts, keep_end=ends)[1]
    for text, keep_end, vector in zip(texts, ends, found, strict=True):
        expected = embedded(backbone, [text], keep_end=keep_end)[0]
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_which_end_is_kept_of_a_text_that_fits_does_not_matter(backbone: Backbone) -> None:
    np.testing.assert_allclose(
        embedded(backbone, TEXTS, keep_end=True), embedded(backbone, TEXTS), atol=1e-5
    )


def test_tokens_are_counted_before_a_text_is_cut(backbone: Backbone) -> None:
    texts = ["", "one two three", "word " * (2 * MOST_TOKENS)]
    counts, _ = backbone.embed(texts, keep_end=[False] * 3)
    assert counts.tolist() == [2, 5, 2 * MOST_TOKENS + 2]


def test_progress_ends_with_all_texts(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "TOKEN_BUDGET", 16)
    heard: list[int] = []
    backbone.embed(TEXTS, keep_end=[False] * len(TEXTS), on_batch=heard.append)
    assert heard == sorted(heard)
    assert len(heard) > 1
    assert heard[-1] == len(TEXTS)


def test_layers_that_are_not_read_are_not_run(backbone: Backbone) -> None:
    assert backbone.layers == (1, 3, 4)
    assert len(backbone.model.encoder.layer) == 4


def test_a_backbone_is_loaded_once_a_process(backbone: Backbone, tiny_backbone: str) -> None:
    assert backbones.load(tiny_backbone, "float32") is backbone


def digest(folder: Path, *, layers: tuple[int, ...] = (1, 3, 4)) -> str:
    return backbones.digest_of(folder, layers, torch.float32)


def test_the_digest_does_not_depend_on_where_the_folder_is(
    folder: Path, tiny_backbone: str, backbone: Backbone
) -> None:
    assert digest(folder) == digest(Path(tiny_backbone)) == backbone.digest


def test_the_digest_changes_with_the_weights(folder: Path) -> None:
    before = digest(folder)
    weights = next(folder.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert digest(folder) != before


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_the_digest_changes_with_what_else_shapes_a_vector(folder: Path, name: str) -> None:
    before = digest(folder)
    edit(folder / name, changed=True)
    assert digest(folder) != before


def test_the_digest_changes_with_the_vocabulary_of_an_older_tokenizer(folder: Path) -> None:
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    before = digest(folder)
    (folder / "vocab.txt").write_text("[UNK]\n[PAD]\n")
    assert digest(folder) != before


def test_the_digest_changes_with_the_layers_and_the_precision(folder: Path) -> None:
    found = {
        digest(folder),
        digest(folder, layers=(1, 3, 5)),
        backbones.digest_of(folder, (1, 3, 4), torch.bfloat16),
    }
    assert len(found) == 3


@pytest.mark.parametrize("reference", ["/nowhere/at/all", "./nowhere", "~nobody-here/model"])
def test_a_folder_that_is_not_there_is_refused(reference: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"^There is no folder .*nowhere|nobody-here"):
        backbones.load(reference, "float32")


@pytest.mark.parametrize("reference", ["someone/a-model", "not a name / at all"])
def test_a_model_that_the_hub_does_not_give_us_is_refused(reference: str) -> None:
    with pytest.raises(ModelUnavailable, match="neither a folder nor a model"):
        backbones.load(reference, "float32")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"has no config\.json"):
        backbones.load(str(tmp_path), "float32")


def test_pickled_weights_are_refused(folder: Path) -> None:
    for weights in folder.glob("*.safetensors"):
        weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="pickled weights are not loaded"):
        backbones.load(str(folder), "float32")


def test_a_model_that_brings_code_is_refused(folder: Path) -> None:
    edit(folder / "config.json", auto_map={"AutoModel": "evil.Model"})
    with pytest.raises(ModelUnavailable, match="code of its own to run"):
        backbones.load(str(folder), "float32")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{ half"),
        ("config.json", b"[]"),
        ("config.json", b"{}"),
        ("config.json", b'{"model_type": "nobody-knows"}'),
        ("model.safetensors", b"half a file"),
        ("model.safetensors", b""),
        ("tokenizer.json", b"{ half"),
    ],
)
def test_a_folder_with_a_broken_file_is_refused(folder: Path, name: str, content: bytes) -> None:
    assert (folder / name).exists()
    (folder / name).write_bytes(content)
    with pytest.raises(
        ModelUnavailable, match=r"^.* (is not (a )?JSON|cannot be loaded as an encoder)"
    ):
        backbones.load(str(folder), "float32")


@pytest.mark.parametrize("changes", [{"hidden_size": 64}, {"hidden_size": "many"}])
def test_weights_that_do_not_fit_the_config_are_refused(
    folder: Path, changes: dict[str, object]
) -> None:
    edit(folder / "config.json", **changes)
    with pytest.raises(ModelUnavailable, match="cannot be loaded as an encoder"):
        backbones.load(str(folder), "float32")


def test_weights_that_are_missing_are_not_made_up(folder: Path) -> None:
    edit(folder / "config.json", num_hidden_layers=8)
    with pytest.raises(ModelUnavailable, match=r"no weights for 32 parts .*encoder\.layer\.6"):
        backbones.load(str(folder), "float32")


def test_an_encoder_without_a_pooler_is_taken_as_it_is(folder: Path, backbone: Backbone) -> None:
    """Checkpoints of language models have none, and what it would compute is not read."""
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_allclose(
        embedded(backbones.load(str(folder), "float32"), TEXTS),
        embedded(backbone, TEXTS),
        atol=1e-5,
    )
