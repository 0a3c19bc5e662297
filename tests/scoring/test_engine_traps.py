"""The traps of reward scoring that others fell into (METHOD.md, 4.3), one by one.

The oracle is plain transformers, one text at a time.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file

from curator.lib.intervals import Estimate
from scoring.core import strength
from scoring.core.confounds import length_confound
from scoring.core.flags import FLIPPED, flag
from scoring.engine import checkpoints
from scoring.engine.checkpoints import Checkpoint, Setup
from scoring.engine.conversations import Conversations, ReadPair, Text
from scoring.engine.folders import ModelUnavailable
from scoring.engine.padded import PaddedModel
from scoring.engine.scorer import Scorer
from scoring.engine.selftest import self_test
from tests import tiny_models
from tests.scoring.oracle import (
    BF16,
    CASES,
    DECODERS,
    FP32,
    PAIRS,
    TURNS,
    Case,
    Floats,
    Shelf,
    asked,
    by_transformers,
    groups_of,
    largest,
    margins,
    rewards,
    scored,
    some_pairs,
)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> Case:
    return DECODERS[request.param]


def texts_of(checkpoint: Checkpoint, pairs: Sequence[Conversations]) -> list[Text]:
    return [text for group in groups_of(checkpoint, pairs) for text in group]


def padded(
    checkpoint: Checkpoint, texts: Sequence[Text], size: int, *, left: bool = False
) -> Floats:
    """Scores in padded batches of a size, in the order given."""
    model = PaddedModel(checkpoint)
    batches = [list(texts[start : start + size]) for start in range(0, len(texts), size)]
    return np.concatenate([model.rewards(some, left=left)[:, 0].cpu().numpy() for some in batches])


def tolerance(scores: Floats, share: float) -> float:
    return share * max(1.0, float(np.sqrt((scores**2).mean())))


# 1


@pytest.mark.parametrize("size", [1, 2, 8])
def test_a_score_does_not_depend_on_its_batch(shelf: Shelf, case: Case, size: int) -> None:
    """Trap 1: padded batches of any size, in any order."""
    checkpoint = shelf.checkpoint(case)
    texts = texts_of(checkpoint, case.pairs)
    order = np.random.default_rng(size).permutation(len(texts))
    shuffled = padded(checkpoint, [texts[i] for i in order], size)
    assert largest(padded(checkpoint, texts, size), shelf.scores(case)) < FP32
    assert largest(shuffled, shelf.scores(case)[order]) < FP32


@pytest.mark.parametrize("size", [2, 8])
def test_a_decoders_score_does_not_depend_on_the_side_of_padding(
    shelf: Shelf, decoder: Case, size: int
) -> None:
    """Trap 1: padding on the left."""
    checkpoint = shelf.checkpoint(decoder)
    texts = texts_of(checkpoint, decoder.pairs)
    assert largest(padded(checkpoint, texts, size, left=True), shelf.scores(decoder)) < FP32


def test_a_score_does_not_depend_on_the_order_of_pairs(shelf: Shelf, case: Case) -> None:
    """Trap 1: by the engine, in other groups, batches and order."""
    checkpoint = shelf.checkpoint(case)
    expected = shelf.scores(case)
    assert largest(rewards(checkpoint, case.pairs), expected) < FP32
    order = np.random.default_rng(0).permutation(len(case.pairs))
    shuffled = rewards(checkpoint, [case.pairs[i] for i in order], token_budget=200)
    assert largest(shuffled.reshape(-1, 2), expected.reshape(-1, 2)[order]) < FP32
    together = [text for group in groups_of(checkpoint, case.pairs) for text in group]
    all_in_one = Scorer([checkpoint]).rewards([together]).rewards[:, 0]
    assert largest(all_in_one, expected) < FP32


@pytest.mark.parametrize("name", ["llama", "gemma2", "bert"])
def test_half_precision_changes_scores_a_little_and_no_clear_margin(
    shelf: Shelf, name: str
) -> None:
    """Trap 1: bf16 within a stated tolerance; signs differ only inside it."""
    case = CASES[name]
    checkpoint = shelf.checkpoint(replace(case, setup=Setup(dtype="bfloat16")))
    exact = shelf.scores(case)
    tolerated = tolerance(exact, BF16)
    texts = texts_of(checkpoint, case.pairs)
    for found in (rewards(checkpoint, case.pairs), padded(checkpoint, texts, 8)):
        assert largest(found, exact) < tolerated
        clear = np.abs(margins(exact)) > 2 * tolerated
        assert clear.any()
        np.testing.assert_array_equal(
            np.sign(margins(found))[clear], np.sign(margins(exact))[clear]
        )


# 2


def test_the_scored_token_is_the_one_that_transformers_scores(shelf: Shelf, decoder: Case) -> None:
    """Trap 2: the last token, or the last that is no pad token."""
    found = rewards(shelf.checkpoint(decoder), decoder.pairs)
    assert largest(found, shelf.scores(decoder)) < FP32


def test_the_scored_token_is_the_last_one_that_is_not_padding(shelf: Shelf, decoder: Case) -> None:
    """Trap 2: the place that transformers finds by id is the place that the mask says."""
    checkpoint = shelf.checkpoint(decoder)
    pad = checkpoint.model.config.pad_token_id
    for text in texts_of(checkpoint, decoder.pairs):
        by_id = int(np.flatnonzero(text.ids != pad)[-1])
        ends_in_pad = decoder.setup.score_at == "last"
        assert by_id == len(text.ids) - (2 if ends_in_pad else 1)


def test_where_the_pad_token_ends_a_turn_the_two_ways_of_telling_differ(shelf: Shelf) -> None:
    """Trap 2: so that the tests above can tell them apart."""
    read = shelf.scores(DECODERS["llama, pad is EOS, read"])
    skipped = shelf.scores(DECODERS["llama, pad is EOS, skipped"])
    assert np.abs(read - skipped).min() > 100 * FP32


def test_a_pad_token_that_ends_texts_must_be_told_apart(shelf: Shelf) -> None:
    """Trap 2: refused until somebody says which score was trained."""
    folder = shelf.folder(pad=tiny_models.EOS)
    with pytest.raises(ModelUnavailable, match=r"say --score-at last .* --score-at before-padding"):
        checkpoints.load(str(folder), setup=Setup())


def test_end_tokens_inside_a_conversation_end_nothing(shelf: Shelf) -> None:
    """Trap 2: before transformers' fix the first pad id counted, where EOS closes every turn."""
    for name in ("llama, pad is EOS, read", "llama, pad is EOS, skipped"):
        case = DECODERS[name]
        checkpoint = shelf.checkpoint(case)
        expected = by_transformers(
            shelf.folder(**case.options), TURNS, reads_last=case.setup.score_at == "last"
        )
        assert largest(rewards(checkpoint, TURNS), expected) < FP32
        assert np.abs(margins(expected)).min() > FP32


# 3


def test_a_model_without_a_pad_token_is_refused(shelf: Shelf) -> None:
    """Trap 3."""
    with pytest.raises(ModelUnavailable, match="has no pad token: name one"):
        checkpoints.load(str(shelf.folder(pad=None)), setup=Setup())


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("lacking", ["config.json", "tokenizer_config.json"])
def test_a_pad_token_named_in_one_place_is_used_in_both(
    shelf: Shelf, tmp_path: Path, architecture: str, lacking: str
) -> None:
    """Trap 3: no `Cannot handle batch sizes > 1`, and the same scores."""
    whole = DECODERS[architecture]
    folder = shutil.copytree(shelf.folder(**whole.options), tmp_path / "model")
    name, value = ("pad_token_id", None) if lacking == "config.json" else ("pad_token", None)
    tiny_models.edit(folder / lacking, **{name: value})
    checkpoint = checkpoints.load(str(folder), setup=Setup())
    assert checkpoint.tokenizer.pad_token_id == checkpoint.model.config.pad_token_id == 0
    texts = texts_of(checkpoint, whole.pairs)
    assert largest(padded(checkpoint, texts, 8), shelf.scores(whole)) < FP32


# 4


@pytest.mark.parametrize("adds_bos", [False, True], ids=["plain", "tokenizer adds BOS"])
@pytest.mark.parametrize(
    "template",
    [tiny_models.TEMPLATE, tiny_models.TEMPLATE_WITHOUT_BOS, None],
    ids=["template has BOS", "template has none", "no template"],
)
def test_a_text_begins_with_one_bos(shelf: Shelf, template: str | None, adds_bos: bool) -> None:
    """Trap 4: neither two, nor none where tokenizer or template wants one."""
    checkpoint = shelf.loaded(template=template, adds_bos=adds_bos)
    bos = checkpoint.tokenizer.bos_token_id
    wanted = int(adds_bos or template == tiny_models.TEMPLATE)
    for text in texts_of(checkpoint, PAIRS):
        assert (text.ids == bos).sum() == wanted
        assert (text.ids[0] == bos) == bool(wanted)


def test_an_encoders_text_begins_with_one_cls(shelf: Shelf) -> None:
    """Trap 4."""
    checkpoint = shelf.checkpoint(CASES["bert"])
    for text in texts_of(checkpoint, PAIRS):
        assert (text.ids == checkpoint.tokenizer.cls_token_id).sum() == 1
        assert (text.ids == checkpoint.tokenizer.sep_token_id).sum() == 2


# 5


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_no_answer_is_asked_for_and_the_turn_is_closed(shelf: Shelf, architecture: str) -> None:
    """Trap 5: no generation prompt; the assistant's turn ends as the template ends it."""
    checkpoint = shelf.checkpoint(DECODERS[architecture])
    asks = checkpoint.tokenizer.convert_tokens_to_ids("<|assistant|>")
    for pair, (a, b) in zip(PAIRS, groups_of(checkpoint, PAIRS), strict=True):
        for text, turns in ((a, pair.a), (b, pair.b)):
            assert text.ids[-1] == checkpoint.tokenizer.eos_token_id
            assert (text.ids == asks).sum() == 1
            shown = checkpoint.tokenizer.decode(text.ids)
            assert shown.endswith(f"<|assistant|>{turns[-1]['content']}</s>")


def test_both_sides_have_the_same_prompt(shelf: Shelf) -> None:
    """Trap 5: token by token."""
    checkpoint = shelf.checkpoint(DECODERS["llama"])
    for pair, (a, b) in zip(PAIRS, groups_of(checkpoint, PAIRS), strict=True):
        prompt = f"<s><|user|>{pair.prompt[0]['content']}</s><|assistant|>"
        ids = checkpoint.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        assert a.ids[: len(ids)].tolist() == b.ids[: len(ids)].tolist() == ids


# 6


def test_it_does_not_matter_where_a_prompt_ends(shelf: Shelf) -> None:
    """Trap 6: explicit and implicit prompts give the same ids."""
    checkpoint = shelf.checkpoint(DECODERS["llama"])
    explicit = texts_of(checkpoint, PAIRS + TURNS)
    implicit = texts_of(
        checkpoint,
        [Conversations([], [*p.prompt, *p.a], [*p.prompt, *p.b]) for p in PAIRS + TURNS],
    )
    for one, other in zip(explicit, implicit, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)


def test_tokens_that_merge_at_the_seam_are_read_merged(shelf: Shelf) -> None:
    """Trap 6: without a template the text is one string, as transformers reads it."""
    checkpoint = shelf.checkpoint(DECODERS["llama, no template"])
    pair = asked("Wh", "iny? the", "erther")
    seam = asked("so t", "he", "in")
    for (a, _), whole in zip(
        groups_of(checkpoint, [pair, seam]), ["Whiny? the</s>", "so the</s>"], strict=True
    ):
        assert a.ids.tolist() == checkpoint.tokenizer(whole)["input_ids"]
    first, second = (checkpoint.tokenizer(part)["input_ids"] for part in ("so t", "he</s>"))
    assert groups_of(checkpoint, [seam])[0][0].ids.tolist() != first + second


# 7


def test_the_head_is_computed_in_full_precision(shelf: Shelf) -> None:
    """Trap 7: bf16 scores of 8 to 16 come in steps of 1/16, which makes ties."""
    loud = DECODERS["llama"].options | {"scale": 10.0}
    pairs = some_pairs(30, seed=1)
    checkpoint = shelf.loaded(setup=Setup(dtype="bfloat16"), **loud)
    found = scored(checkpoint, pairs).rewards
    assert found.dtype == np.float32
    assert np.abs(found).max() > 8.0
    by_bf16 = by_transformers(shelf.folder(**loud), pairs, dtype=torch.bfloat16)
    assert on_coarse_grid(by_bf16) == 1.0
    assert on_coarse_grid(found[:, 0]) < 0.1


def on_coarse_grid(scores: npt.ArrayLike) -> float:
    """The share of scores that bf16 could hold."""
    values = torch.from_numpy(np.asarray(scores, dtype=np.float32))
    return float((values.bfloat16().float() == values).float().mean())


def test_an_encoders_head_is_computed_in_full_precision(shelf: Shelf) -> None:
    """Trap 7."""
    checkpoint = shelf.loaded(tiny_models.encoder, setup=Setup(dtype="bfloat16"), scale=10.0)
    assert on_coarse_grid(rewards(checkpoint, some_pairs(30, seed=1))) < 0.1
    assert checkpoint.body.encoder.layer[0].output.dense.weight.dtype == torch.bfloat16


# 8


@pytest.mark.parametrize("changes", [{"attn_logit_softcapping": None}, {"sliding_window": 256}])
def test_gemmas_squeezed_scores_and_short_windows_are_kept(
    shelf: Shelf, tmp_path: Path, changes: dict[str, object]
) -> None:
    """Trap 8: a backend that leaves either out gives other scores (reward-bench 163, 169)."""
    case = DECODERS["gemma2"]
    folder = shutil.copytree(shelf.folder(**case.options), tmp_path / "model")
    tiny_models.edit(folder / "config.json", **changes)
    assert largest(by_transformers(folder, case.pairs), shelf.scores(case)) > 100 * FP32
    checkpoint = shelf.checkpoint(case)
    for options in ({}, {"pack": False}):
        assert largest(rewards(checkpoint, case.pairs, **options), shelf.scores(case)) < FP32


def test_the_way_that_texts_went_is_on_record(shelf: Shelf) -> None:
    """Trap 8: backend and precision are told with the scores."""
    checkpoint = shelf.checkpoint(DECODERS["gemma2"])
    assert checkpoint.identity.dtype == "float32"
    assert Scorer([checkpoint]).path.startswith("packed, ")
    assert Scorer([shelf.checkpoint(CASES["bert"])]).path == "padded"


# 9


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_a_language_model_is_no_reward_model(shelf: Shelf, architecture: str) -> None:
    """Trap 9: transformers would make up its head, with a warning only."""
    folder = shelf.folder(tiny_models.language_model, architecture=architecture)
    with pytest.raises(ModelUnavailable, match=r"no trained score head \(score\.weight is not in"):
        checkpoints.load(str(folder), setup=Setup())


def test_an_encoder_without_a_head_is_no_reward_model(shelf: Shelf, tmp_path: Path) -> None:
    """Trap 9."""
    folder = shutil.copytree(shelf.folder(tiny_models.encoder), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    kept = {name: each for name, each in weights.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"no trained score head \(classifier\.bias"):
        checkpoints.load(str(folder), setup=Setup())


@pytest.mark.parametrize("base", [tiny_models.language_model, tiny_models.decoder])
def test_an_adapter_without_a_head_is_no_reward_model(
    shelf: Shelf, tmp_path: Path, base: type[Path]
) -> None:
    """Trap 9: whatever head its base has was trained without the adapter."""
    folder = tiny_models.adapter(tmp_path / "adapter", shelf.folder(base), head=False)
    with pytest.raises(ModelUnavailable, match="brings no trained score head"):
        checkpoints.load(str(folder), setup=Setup())


# 10


@pytest.mark.parametrize(
    ("name", "dropout"),
    [("llama", 0.5), ("gemma2", 0.5), ("bert", 0.5)],
    ids=lambda each: str(each),
)
def test_dropout_is_off(shelf: Shelf, name: str, dropout: float) -> None:
    """Trap 10: twice the same, and the same as without any."""
    case = CASES[name]
    dropped = replace(case, options={**case.options, "dropout": dropout})
    checkpoint = shelf.checkpoint(dropped)
    assert not any(module.training for module in checkpoint.model.modules())
    for options in ({}, {"pack": False}):
        first, second = (rewards(checkpoint, case.pairs, **options) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert largest(first, shelf.scores(case)) < FP32


# 11


@pytest.mark.parametrize("name", ["llama", "gemma2", "llama, no template", "bert"])
def test_a_pair_that_is_too_long_is_cut_alike_and_counted(shelf: Shelf, name: str) -> None:
    """Trap 11: the same tokens of the prompt are left out on both sides, and the pair is told."""
    case = replace(CASES[name], setup=Setup(max_length=40))
    checkpoint = shelf.checkpoint(case)
    long = asked("why " * 40, "so", "so the other cat in the house")
    short = asked("Why?", "So.", "the")
    cut, whole = checkpoint.reader.read([long, short])
    assert isinstance(cut, ReadPair)
    assert isinstance(whole, ReadPair)
    assert cut.truncated
    assert not whole.truncated
    full = shelf.checkpoint(CASES[name]).reader.read([long])[0]
    assert isinstance(full, ReadPair)
    assert max(len(cut.a.ids), len(cut.b.ids)) == 40
    left_out = len(full.b.ids) - len(cut.b.ids)
    assert len(full.a.ids) - len(cut.a.ids) == left_out > 0
    for now, before in ((cut.a, full.a), (cut.b, full.b)):
        lead = len(before.ids) - left_out - len(_common_end(now, before))
        assert lead == int(name != "llama, no template")
        assert now.ids[:lead].tolist() == before.ids[:lead].tolist()


def _common_end(one: Text, other: Text) -> list[int]:
    """The tokens that both end with."""
    end: list[int] = []
    for left, right in zip(one.ids[::-1].tolist(), other.ids[::-1].tolist(), strict=False):
        if left != right:
            break
        end.append(left)
    return end


# 12


@pytest.mark.parametrize("build", [tiny_models.decoder, tiny_models.encoder])
def test_a_model_of_several_outputs_is_refused(shelf: Shelf, build: type[Path]) -> None:
    """Trap 12."""
    with pytest.raises(ModelUnavailable, match=r"gives 2 scores a text \(num_labels\)"):
        checkpoints.load(str(shelf.folder(build, labels=2)), setup=Setup())


@pytest.mark.parametrize("name", ["llama", "gemma2", "bert"])
def test_rewards_are_raw(shelf: Shelf, name: str) -> None:
    """Trap 12: nothing squashes them, nothing takes a mean off; a head ten times as loud gives
    rewards ten times as large."""
    case = CASES[name]
    loud = replace(case, options={**case.options, "scale": 10.0})
    quiet, large = (rewards(shelf.checkpoint(each), case.pairs) for each in (case, loud))
    assert np.abs(large).max() > 1.0
    np.testing.assert_allclose(large, 10.0 * quiet, rtol=1e-4, atol=10 * FP32)


def test_the_scale_of_rewards_is_on_record(shelf: Shelf) -> None:
    """Trap 12: the self-test says in which units a model's scores come."""
    quiet, loud = (self_test(shelf.loaded(scale=scale)) for scale in (1.0, 10.0))
    assert loud.scores_deviation == pytest.approx(10 * quiet.scores_deviation, rel=1e-3)
    assert loud.scores_mean == pytest.approx(10 * quiet.scores_mean, rel=1e-3)


# 13


def test_a_tie_is_half_right_and_never_flipped(shelf: Shelf) -> None:
    """Trap 13."""
    checkpoint = shelf.checkpoint(DECODERS["llama"])
    same = [asked(f"the {word}?", "the same", "the same") for word in ("cat", "house", "thing")]
    found = margins(np.asarray(scored(checkpoint, same).rewards, dtype=np.float64))
    np.testing.assert_array_equal(found, np.zeros((3, 1)))
    np.testing.assert_array_equal(strength.accuracy(found), [0.5])
    flags = flag(
        strength.preference_strength(found),
        strength.votes(found),
        np.full(3, 0.5),
        accuracy=0.5,
        noise=Estimate(0.5, 0.0, 1.0),
    ).flags
    assert FLIPPED not in flags


def test_weights_that_are_no_numbers_are_refused(shelf: Shelf, tmp_path: Path, case: Case) -> None:
    """Trap 13."""
    folder = shutil.copytree(shelf.folder(case.build, **case.options), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "norm" in name.lower())
    weights[name][3] = float("inf")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=f"holds weights that are no numbers, in {name}"):
        checkpoints.load(str(folder), setup=case.setup)


def test_a_member_without_a_score_says_nothing(shelf: Shelf) -> None:
    """Trap 13: a margin that is no number is not counted, and does not pull others down."""
    found = np.array([[1.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(strength.preference_strength(found), [1.0, np.nan])
    np.testing.assert_array_equal(strength.votes(found), [1.0, np.nan])


# 14


def test_swapped_responses_have_the_opposite_margin(shelf: Shelf, case: Case) -> None:
    """Trap 14: but for rounding, which on some processors depends on where a text stands."""
    checkpoint = shelf.checkpoint(case)
    swapped = [Conversations(pair.prompt, pair.b, pair.a) for pair in case.pairs]
    one, other = (margins(rewards(checkpoint, pairs)) for pairs in (case.pairs, swapped))
    np.testing.assert_allclose(one, -other, atol=FP32, rtol=0)
    assert np.abs(one).max() > FP32


# 15


def test_the_loudest_member_does_not_speak_for_all(shelf: Shelf) -> None:
    """Trap 15: members of different scales are standardised before they are averaged."""
    members = [shelf.loaded(seed=0), shelf.loaded(seed=1)]
    loud = [shelf.loaded(seed=0), shelf.loaded(seed=1, scale=10.0)]
    quiet, mixed = (
        np.hstack([margins(rewards(member, PAIRS))[:, None] for member in each])
        for each in (members, loud)
    )
    assert not np.allclose(
        strength.preference_strength(mixed), strength.preference_strength(quiet), atol=0.1
    )
    standard = [strength.standardise(each, strength.member_scales(each)) for each in (quiet, mixed)]
    np.testing.assert_allclose(standard[0], standard[1], atol=10 * FP32)


def test_a_flipped_label_has_the_opposite_strength(shelf: Shelf) -> None:
    """Trap 15: the stored margin changes sign with the label."""
    towards_a = margins(np.asarray(scored(shelf.loaded(), PAIRS).rewards, dtype=np.float64))
    prefers_a = np.array([[1.0 if i % 2 else -1.0] for i in range(len(PAIRS))])
    given, flipped = (
        strength.preference_strength(towards_a * sign) for sign in (prefers_a, -prefers_a)
    )
    np.testing.assert_array_equal(flipped, -given)


def test_scoring_again_gives_the_same_row(shelf: Shelf, case: Case) -> None:
    """Trap 15: the same inputs and the same digest, from the same files."""
    checkpoint = shelf.checkpoint(case)
    folder = shelf.folder(case.build, **case.options)
    again = checkpoints.load(str(folder), setup=case.setup, with_layer_digests=True)
    assert again.identity == checkpoint.identity
    np.testing.assert_array_equal(rewards(again, case.pairs), rewards(checkpoint, case.pairs))


# 16


def test_a_model_that_counts_tokens_is_found_out(shelf: Shelf) -> None:
    """Trap 16: the rank correlation of margins with differences of length."""
    checkpoint = shelf.loaded()
    lengths = np.array([float(len(text.ids)) for text in texts_of(checkpoint, PAIRS)])
    found = length_confound(margins(rewards(checkpoint, PAIRS)), margins(lengths))
    assert found is not None
    assert abs(found) < 0.9
    assert length_confound(margins(np.log(lengths)), margins(lengths)) == pytest.approx(1, abs=0.1)
