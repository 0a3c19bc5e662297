"""The engine's tricks: each saves work, and none of them changes a score."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from scoring.core.options import EngineOptions
from scoring.engine import checkpoints
from scoring.engine.attention import CHUNK
from scoring.engine.checkpoints import Checkpoint, Setup
from scoring.engine.conversations import Text
from scoring.engine.decoders import share_weights, shared_layers
from scoring.engine.prefix import tokens_needed
from scoring.engine.scorer import LARGEST_TREE, Scorer
from tests.scoring.oracle import (
    BF16,
    CASES,
    DECODERS,
    FP32,
    Case,
    Shelf,
    asked,
    groups_of,
    largest,
    rewards,
    scored,
    some_pairs,
)

OFF: dict[str, Any] = {
    "share_prefixes": False,
    "prune_last_layer": False,
    "share_trunks": False,
    "pack": False,
    "sort_by_length": False,
}
WAYS: dict[str, dict[str, Any]] = {
    "all on": {},
    **{f"{name} off": {name: False} for name in OFF},
    "all off": OFF,
    "all off but packing": {**OFF, "pack": True},
    "one token a batch": {"token_budget": 1},
    "90 tokens a batch": {"token_budget": 90},
    "90 tokens a batch, in order": {"token_budget": 90, "sort_by_length": False},
    "90 tokens a padded batch": {"token_budget": 90, "pack": False},
    "everything in one batch": {"token_budget": 1_000_000},
    "flex": {"attention": "flex"},
    "flex, last layer whole": {"attention": "flex", "prune_last_layer": False},
}


# FlexAttention is compiled on GPUs only; elsewhere it is as slow as it says, and exact
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@pytest.fixture(params=["llama", "gemma2"])
def case(request: pytest.FixtureRequest) -> Case:
    return DECODERS[request.param]


def by_prompt(checkpoint: Checkpoint) -> list[list[Text]]:
    """Texts in groups of one prompt, a dozen prompts of four responses."""
    pairs = some_pairs(24, seed=3)
    groups: dict[str, list[Text]] = {}
    for pair, texts in zip(pairs, groups_of(checkpoint, pairs), strict=True):
        groups.setdefault(pair.prompt[0]["content"], []).extend(texts)
    return list(groups.values())


@contextmanager
def tokens_through(*modules: torch.nn.Module) -> Iterator[list[int]]:
    """How many tokens each of the modules is given while this lasts; calls are added up."""
    counts = [0] * len(modules)

    def counting(number: int) -> Any:
        def count(module: Any, given: tuple[torch.Tensor, ...]) -> None:
            counts[number] += given[0].shape[:-1].numel()

        return count

    hooks = [each.register_forward_pre_hook(counting(i)) for i, each in enumerate(modules)]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("way", WAYS)
def test_no_trick_changes_a_score(shelf: Shelf, case: Case, way: str) -> None:
    found = rewards(shelf.checkpoint(case), case.pairs, **WAYS[way])
    assert largest(found, shelf.scores(case)) < FP32


@pytest.mark.parametrize("way", ["all on", "all off", "90 tokens a padded batch"])
def test_no_trick_changes_an_encoders_score(shelf: Shelf, way: str) -> None:
    case = CASES["bert"]
    found = rewards(shelf.checkpoint(case), case.pairs, **WAYS[way])
    assert largest(found, shelf.scores(case)) < FP32


@pytest.mark.parametrize("way", ["all on", "all off", "90 tokens a batch"])
def test_in_half_precision_tricks_change_a_score_by_rounding_only(
    shelf: Shelf, case: Case, way: str
) -> None:
    exact = shelf.scores(case)
    checkpoint = shelf.loaded(case.build, setup=Setup(dtype="bfloat16"), **case.options)
    tolerated = BF16 * max(1.0, float(np.sqrt((exact**2).mean())))
    assert largest(rewards(checkpoint, case.pairs, **WAYS[way]), exact) < tolerated


def test_texts_longer_than_a_part_of_attention_are_read_whole(shelf: Shelf, case: Case) -> None:
    long = asked("why " * 40, "the cat " * 12, "in " * 30)
    checkpoint = shelf.checkpoint(case)
    assert max(len(text.ids) for text in groups_of(checkpoint, [long])[0]) > CHUNK
    whole, alone = (rewards(checkpoint, [long], **options) for options in ({}, OFF))
    assert largest(whole, alone) < FP32


def test_what_texts_of_a_prompt_share_is_read_once(shelf: Shelf, case: Case) -> None:
    checkpoint = shelf.checkpoint(case)
    groups = by_prompt(checkpoint)
    every = sum(len(text.ids) for group in groups for text in group)
    shared, apart = (
        Scorer([checkpoint], options=EngineOptions(share_prefixes=each)).rewards(groups)
        for each in (True, False)
    )
    needed = tokens_needed([[text.ids for text in group] for group in groups])
    assert shared.tokens == needed < 0.7 * every
    assert apart.tokens == every
    assert largest(shared.rewards, apart.rewards) < FP32


def test_the_tokens_counted_are_those_that_go_through_the_model(shelf: Shelf, case: Case) -> None:
    checkpoint = shelf.checkpoint(case)
    groups = by_prompt(checkpoint)
    for options in ({}, {"share_prefixes": False}, {"pack": False, "token_budget": 200}):
        with tokens_through(checkpoint.body.layers[0].mlp) as counts:
            found = Scorer([checkpoint], options=EngineOptions(**options)).rewards(groups)
        assert counts == [found.tokens]


def test_padded_batches_hold_no_more_than_their_budget(shelf: Shelf) -> None:
    checkpoint = shelf.checkpoint(CASES["bert"])
    groups = groups_of(checkpoint, some_pairs(24, seed=3))
    sizes: list[int] = []

    def note(module: Any, given: Sequence[Any], named: dict[str, Any]) -> None:
        sizes.append(named["input_ids"].numel())

    hook = checkpoint.model.register_forward_pre_hook(note, with_kwargs=True)
    found = Scorer([checkpoint], options=EngineOptions(token_budget=200)).rewards(groups)
    hook.remove()
    assert sum(sizes) == found.tokens
    assert max(sizes) <= 200
    unsorted = EngineOptions(token_budget=200, sort_by_length=False)
    assert found.tokens < Scorer([checkpoint], options=unsorted).rewards(groups).tokens


def test_the_last_layer_goes_on_with_scored_tokens_only(shelf: Shelf, case: Case) -> None:
    checkpoint = shelf.checkpoint(case)
    groups = by_prompt(checkpoint)
    texts = {text.key for group in groups for text in group}
    first, last = checkpoint.body.layers[0], checkpoint.body.layers[-1]
    parts = [first.mlp, last.self_attn.k_proj, last.mlp, checkpoint.body.norm]
    with tokens_through(*parts, last.self_attn.o_proj) as counts:
        found = Scorer([checkpoint]).rewards(groups)
    assert counts[:2] == [found.tokens, found.tokens + len(texts)]
    assert counts[2:] == [len(texts)] * 3
    with tokens_through(*parts) as counts:
        Scorer([checkpoint], options=EngineOptions(prune_last_layer=False)).rewards(groups)
    assert counts == [found.tokens] * 4


def test_a_model_is_left_as_it_was(shelf: Shelf, case: Case) -> None:
    """So that transformers' own forward pass still gives transformers' scores."""
    checkpoint = shelf.checkpoint(case)
    layers, attention = checkpoint.body.layers, checkpoint.body.config._attn_implementation
    rewards(checkpoint, case.pairs)
    assert checkpoint.body.layers is layers
    assert checkpoint.body.config._attn_implementation == attention
    ids = torch.from_numpy(groups_of(checkpoint, case.pairs)[0][0].ids)[None]
    with torch.inference_mode():
        own = float(checkpoint.model(input_ids=ids.to(checkpoint.device)).logits[0, 0])
    assert abs(own - shelf.scores(case)[0]) < FP32


def family(shelf: Shelf, case: Case, count: int, shared: int) -> list[Checkpoint]:
    """Members that have their lowest layers in common."""
    return [
        shelf.loaded(case.build, **case.options, seed=seed, shared_layers=shared)
        for seed in range(1, count + 1)
    ]


def chains_of(members: Sequence[Checkpoint]) -> list[tuple[str, ...]]:
    return [member.identity.layer_digests for member in members]


@pytest.mark.parametrize("shared", [0, 1, 2, 3])
def test_members_over_one_trunk_score_as_each_alone(shelf: Shelf, case: Case, shared: int) -> None:
    members = family(shelf, case, 3, shared)
    assert shared_layers(chains_of(members)) == shared
    alone = np.stack([rewards(member, case.pairs) for member in members], axis=1)
    assert np.abs(alone[:, 0] - alone[:, 1]).max() > 100 * FP32
    for options in ({}, {"prune_last_layer": False, "token_budget": 200}, {"share_trunks": False}):
        together = scored(members, case.pairs, shared=shared, **options)
        assert not together.refused
        assert largest(together.rewards, alone) < FP32


@pytest.mark.parametrize("share", [True, False])
def test_layers_in_common_are_run_once(shelf: Shelf, case: Case, share: bool) -> None:
    members = family(shelf, case, 3, 2)
    layers = [layer for member in members for layer in member.body.layers]
    with tokens_through(*layers) as counts:
        found = scored(members, case.pairs, shared=2, share_trunks=share, prune_last_layer=False)
    once, none = found.tokens, 0 if share else found.tokens
    assert counts == [once, once, once, none, none, once, none, none, once]


@pytest.mark.parametrize("shared", [0, 2])
def test_layers_in_common_are_in_memory_once(shelf: Shelf, case: Case, shared: int) -> None:
    """And each member goes on without the others."""
    made = [{**case.options, "seed": seed, "shared_layers": 2} for seed in (1, 2)]
    members = [
        checkpoints.load(str(shelf.folder(case.build, **options)), setup=Setup())
        for options in made
    ]
    expected = np.stack([rewards(member, case.pairs) for member in members], axis=1)
    share_weights(members, shared)
    tensors = [list(member.model.named_parameters()) for member in members]
    for (name, first), (_, second) in zip(*tensors, strict=True):
        low = any(part in name for part in ("embed_tokens", "layers.0.", "layers.1."))
        assert (first.data_ptr() == second.data_ptr()) == (low and shared > 0)
    together = scored(members, case.pairs, shared=shared).rewards
    np.testing.assert_allclose(together, expected, atol=FP32)
    for order in (members, members[::-1]):
        for member in order:
            column = expected[:, members.index(member)]
            for options in ({}, {"pack": False}):
                assert largest(rewards(member, case.pairs, **options), column) < FP32


def test_a_member_alone_shares_with_nobody(shelf: Shelf, case: Case) -> None:
    member = shelf.checkpoint(case)
    assert shared_layers(chains_of([member])) == len(member.body.layers)
    found = scored(member, case.pairs, shared=3)
    assert largest(found.rewards[:, 0], shelf.scores(case)) < FP32


def test_other_weights_other_settings_and_other_precision_share_nothing(
    shelf: Shelf, tmp_path: Path
) -> None:
    one = shelf.loaded(seed=1, shared_layers=3)
    folder = shutil.copytree(shelf.folder(seed=2, shared_layers=3), tmp_path / "model")
    config = folder / "config.json"
    config.write_text(config.read_text().replace("10000.0", "20000.0"))
    others = [
        checkpoints.load(str(folder), setup=Setup(), with_layer_digests=True),
        shelf.loaded(setup=Setup(dtype="bfloat16"), seed=2, shared_layers=3),
        shelf.loaded(seed=2),
        shelf.loaded(architecture="gemma2", seed=2, shared_layers=3),
    ]
    for other in others:
        assert shared_layers(chains_of([one, other])) == 0
    assert shared_layers([]) == 0


def test_many_responses_to_one_prompt_are_read_in_parts(shelf: Shelf, case: Case) -> None:
    """A tree may be larger than the budget, but only so much."""
    checkpoint = shelf.checkpoint(case)
    pairs = [asked("Why, the cat?", f"because {i}", f"so {i}" * 3) for i in range(20)]
    group = [text for texts in groups_of(checkpoint, pairs) for text in texts]
    sizes: list[int] = []

    def note(module: Any, given: tuple[torch.Tensor, ...]) -> None:
        sizes.append(given[0].shape[1])

    hook = checkpoint.body.layers[0].mlp.register_forward_pre_hook(note)
    small = Scorer([checkpoint], options=EngineOptions(token_budget=60)).rewards([group])
    hook.remove()
    assert len(sizes) > 1
    assert max(sizes) <= LARGEST_TREE * 60
    assert largest(small.rewards, Scorer([checkpoint]).rewards([group]).rewards) < FP32


def check_compiled(shelf: Shelf) -> None:
    case = DECODERS["llama"]
    folder = shelf.folder(layers=1)
    expected = rewards(shelf.loaded(layers=1), case.pairs)
    compiled = checkpoints.load(str(folder), setup=Setup())
    found = rewards(compiled, case.pairs, compile=True, token_budget=90)
    assert largest(found, expected) < FP32
    layer = compiled.body.layers[0]
    assert layer.mlp._compiled_call_impl is not None
    assert layer.input_layernorm._compiled_call_impl is not None
    assert layer.self_attn._compiled_call_impl is None


def test_parts_of_a_layer_can_be_traced_for_any_number_of_tokens(shelf: Shelf) -> None:
    """All of torch.compile but the code that it would write."""
    compile_for_real = torch.nn.Module.compile

    def trace(module: torch.nn.Module, **options: Any) -> None:
        compile_for_real(module, **options, backend="eager", fullgraph=True)

    with patch.object(torch.nn.Module, "compile", trace):
        check_compiled(shelf)


@pytest.mark.skipif(
    not os.environ.get("CURATOR_TEST_COMPILER"),
    reason="torch's compiler takes half a minute: set CURATOR_TEST_COMPILER=1",
)
@pytest.mark.filterwarnings("default")
def test_compiled_parts_give_the_same_scores(shelf: Shelf) -> None:
    check_compiled(shelf)
