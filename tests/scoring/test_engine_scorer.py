"""Scoring goes on: without memory in smaller batches, around texts that break a model, and not at
all on a device that is lost."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from scoring.core.options import EngineOptions
from scoring.engine import devices
from scoring.engine.checkpoints import Checkpoint
from scoring.engine.conversations import Text
from scoring.engine.decoders import PackedDecoders
from scoring.engine.devices import DeviceLost
from scoring.engine.padded import PaddedModel
from scoring.engine.prefix import Pack
from scoring.engine.scorer import Scored, Scorer
from tests import tiny_models
from tests.scoring.oracle import (
    CASES,
    FP32,
    Floats,
    Shelf,
    asked,
    groups_of,
    largest,
    some_pairs,
)

WAYS: dict[str, dict[str, Any]] = {
    "packed": {},
    "packed, nothing shared": {"share_prefixes": False},
    "padded": {"pack": False},
}
MANY = some_pairs(20, seed=5)
RARE = "%"  # a character that no other text holds


@pytest.fixture(params=["llama", "gemma2", "bert"])
def checkpoint(request: pytest.FixtureRequest, shelf: Shelf) -> Checkpoint:
    return shelf.checkpoint(CASES[request.param])


@pytest.fixture(params=WAYS)
def options(request: pytest.FixtureRequest) -> EngineOptions:
    return EngineOptions(**WAYS[request.param])


def undisturbed(checkpoint: Checkpoint, groups: list[list[Text]]) -> Floats:
    found = Scorer([checkpoint]).rewards(groups)
    assert not found.refused
    return found.rewards.astype(float)


class Memory:
    """Memory that holds so many tokens at once, padding included."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, holds: int) -> None:
        self.holds = holds
        self.failures: list[int] = []
        self.sizes: list[int] = []
        packed, padded = PackedDecoders.rewards, PaddedModel.rewards

        def by_packs(model: PackedDecoders, pack: Pack) -> torch.Tensor:
            self._ask(len(pack.tokens))
            return packed(model, pack)

        def by_rows(model: PaddedModel, texts: list[Text], **sides: bool) -> torch.Tensor:
            self._ask(len(texts) * max(len(text.ids) for text in texts))
            return padded(model, texts, **sides)

        monkeypatch.setattr(PackedDecoders, "rewards", by_packs)
        monkeypatch.setattr(PaddedModel, "rewards", by_rows)

    def _ask(self, tokens: int) -> None:
        if tokens > self.holds:
            self.failures.append(tokens)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.sizes.append(tokens)


@contextmanager
def embeddings_hooked(
    checkpoint: Checkpoint, hook: Callable[[torch.Tensor, torch.Tensor], torch.Tensor | None]
) -> Iterator[None]:
    """With a hook on (tokens, embeddings)."""
    table = checkpoint.body.get_input_embeddings()
    handle = table.register_forward_hook(lambda module, given, out: hook(given[0], out))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def poisoned(checkpoint: Checkpoint, *, by: str) -> Iterator[None]:
    """A model that fails on texts with the rare character, or finds no number for them."""
    rare = checkpoint.tokenizer(RARE, add_special_tokens=False)["input_ids"][0]

    def raises(tokens: torch.Tensor, out: torch.Tensor) -> torch.Tensor | None:
        if (tokens == rare).any():
            raise IndexError("index out of range in self")
        return None

    def gives_nan(tokens: torch.Tensor, out: torch.Tensor) -> torch.Tensor | None:
        return torch.where((tokens == rare)[..., None], torch.nan, out)

    with embeddings_hooked(checkpoint, {"raising": raises, "NaN": gives_nan}[by]):
        yield


# Memory


def test_without_memory_batches_are_halved_until_they_fit(
    checkpoint: Checkpoint, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = groups_of(checkpoint, MANY)
    expected = undisturbed(checkpoint, groups)
    memory = Memory(monkeypatch, 250)
    scorer = Scorer([checkpoint], options=options)
    found = scorer.rewards(groups)
    assert not found.refused
    assert largest(found.rewards, expected) < FP32
    assert found.halvings == len(memory.failures) > 0
    assert scorer.budget == min(memory.failures) // 2 >= 250 / 2
    assert len(memory.failures) <= np.ceil(np.log2(memory.failures[0] / 250)) + 1
    again = scorer.rewards(groups)
    assert again.halvings <= 1
    assert largest(again.rewards, expected) < FP32


def test_many_responses_to_one_prompt_are_split_where_memory_ends(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = shelf.loaded()
    trees = [
        [text for texts in groups_of(checkpoint, some_pairs(8, seed=seed)) for text in texts]
        for seed in range(6)
    ]
    expected = undisturbed(checkpoint, trees)
    memory = Memory(monkeypatch, 200)
    found = Scorer([checkpoint]).rewards(trees)
    assert not found.refused
    assert largest(found.rewards, expected) < FP32
    assert len(memory.failures) <= 8


def test_a_text_that_no_memory_holds_is_refused_alone(
    checkpoint: Checkpoint, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [*MANY, asked("Why?", "so", "cat " * 25)]
    groups = groups_of(checkpoint, pairs)
    expected = undisturbed(checkpoint, groups)
    holds = len(groups[-1][1].ids) - 1
    Memory(monkeypatch, holds)
    scorer = Scorer([checkpoint], options=options)
    found = scorer.rewards(groups)
    last = 2 * len(pairs) - 1
    assert found.refused == {last: "The text is too long for this device's memory."}
    assert np.isnan(found.rewards[last]).all()
    assert largest(found.rewards[:last], expected[:last]) < FP32
    assert scorer.budget >= holds // 2


def test_the_memory_of_a_pass_that_failed_is_given_back_before_the_next(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error holds the frames it went through, and those the tensors."""
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def embed(tokens: torch.Tensor, out: torch.Tensor) -> torch.Tensor | None:
        alive.append(sum(each() is not None for each in held))
        if tokens.numel() > 100:
            held.append(weakref.ref(out))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return None

    monkeypatch.setattr(devices, "free_memory", lambda: alive.append(sum(map(_is_alive, held))))
    checkpoint = shelf.loaded()
    with embeddings_hooked(checkpoint, embed):
        found = Scorer([checkpoint]).rewards(groups_of(checkpoint, MANY))
    assert found.halvings > 1
    assert not found.refused
    assert set(alive) == {0}


def _is_alive(reference: "weakref.ref[torch.Tensor]") -> bool:
    return reference() is not None


@pytest.mark.parametrize(
    ("error", "out_of_memory", "lost"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True, False),
        (MemoryError(), True, False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True, False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), False, True),
        (RuntimeError("The size of tensor a (3) must match"), False, False),
        (IndexError("index out of range in self"), False, False),
    ],
)
def test_errors_are_told_apart(error: BaseException, out_of_memory: bool, lost: bool) -> None:
    assert devices.is_out_of_memory(error) is out_of_memory
    assert devices.is_device_lost(error) is lost


# Texts that break a model


@pytest.mark.parametrize("by", ["raising", "NaN"])
def test_a_text_that_breaks_the_model_is_refused_alone(
    checkpoint: Checkpoint, options: EngineOptions, by: str
) -> None:
    pairs = [*MANY[:10], asked("Why?", "the " + RARE, "so"), *MANY[10:]]
    groups = groups_of(checkpoint, pairs)
    expected = undisturbed(checkpoint, groups)
    with poisoned(checkpoint, by=by):
        found = Scorer([checkpoint], options=options).rewards(groups)
    assert list(found.refused) == [20]
    assert (
        found.refused[20]
        == {
            "raising": "The model fails on this text: IndexError: index out of range in self",
            "NaN": "The model's reward is not a finite number.",
        }[by]
    )
    assert np.isnan(found.rewards[20]).all()
    others = np.arange(len(expected)) != 20
    assert largest(found.rewards[others], expected[others]) < FP32
    assert found.halvings == 0


def test_a_prompt_that_breaks_the_model_is_refused_with_all_its_responses(
    checkpoint: Checkpoint,
) -> None:
    pairs = [*MANY[:3], asked(RARE, "so", "the"), asked(RARE, "in", "so")]
    groups = groups_of(checkpoint, pairs)
    together = [*groups[:3], groups[3] + groups[4]]
    expected = undisturbed(checkpoint, groups)
    with poisoned(checkpoint, by="NaN"):
        found = Scorer([checkpoint]).rewards(together)
    assert sorted(found.refused) == [6, 7, 8, 9]  # the ninth is the sixth again
    assert largest(found.rewards[:6], expected[:6]) < FP32


def test_one_member_that_finds_no_number_does_not_silence_the_others(shelf: Shelf) -> None:
    members = [shelf.loaded(seed=1), shelf.loaded(seed=2)]
    groups = groups_of(members[0], [*MANY[:3], asked("Why?", RARE, "so")])
    expected = Scorer(members).rewards(groups).rewards
    with poisoned(members[1], by="NaN"):
        found = Scorer(members).rewards(groups)
    assert found.refused == {6: "The model's reward is not a finite number."}
    assert np.isnan(found.rewards[6]).tolist() == [False, True]
    assert largest(found.rewards[6, 0], expected[6, 0]) < FP32
    assert largest(found.rewards[:6], expected[:6]) < FP32


@pytest.mark.parametrize("number", [float("inf"), float("-inf")])
def test_an_infinite_reward_is_none(shelf: Shelf, number: float) -> None:
    checkpoint = shelf.loaded()
    groups = groups_of(checkpoint, MANY[:2])
    hook = checkpoint.model.score.register_forward_hook(
        lambda module, given, out: torch.full_like(out, number)
    )
    found = Scorer([checkpoint]).rewards(groups)
    hook.remove()
    assert sorted(found.refused) == [0, 1, 2, 3]
    assert np.isnan(found.rewards).all()


def test_a_model_that_keeps_its_keys_in_another_way_is_run_whole(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = shelf.loaded()
    groups = groups_of(checkpoint, MANY)
    expected = undisturbed(checkpoint, groups)
    last = checkpoint.body.layers[-1]
    plain = last.forward
    monkeypatch.setattr(
        last, "forward", lambda *given, past_key_values=None, **more: plain(*given, **more)
    )
    found = Scorer([checkpoint]).rewards(groups)
    assert not found.refused
    assert largest(found.rewards, expected) < FP32


# A device that is lost


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with …"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_a_lost_device_ends_it_all(checkpoint: Checkpoint, error: RuntimeError) -> None:
    calls = []

    def lose(tokens: torch.Tensor, out: torch.Tensor) -> torch.Tensor | None:
        calls.append(tokens)
        raise error

    with (
        embeddings_hooked(checkpoint, lose),
        pytest.raises(
            DeviceLost,
            match=r"^The device stopped answering: CUDA error: an illegal memory access was "
            r"encountered$",
        ),
    ):
        Scorer([checkpoint]).rewards(groups_of(checkpoint, MANY))
    assert len(calls) == 1


# What is asked for


def test_identical_texts_are_scored_once(checkpoint: Checkpoint, options: EngineOptions) -> None:
    groups = groups_of(checkpoint, [asked("Why?", "so", "so"), asked("the cat?", "in", "so")])
    scorer = Scorer([checkpoint], options=options)
    once = scorer.rewards(groups)
    again = scorer.rewards([*groups, *groups[::-1], groups[0]])
    assert once.rewards[0] == once.rewards[1]
    assert again.tokens == once.tokens
    np.testing.assert_array_equal(again.rewards[:4], once.rewards)
    np.testing.assert_array_equal(again.rewards[4:6], once.rewards[2:])
    np.testing.assert_array_equal(again.rewards[6:8], once.rewards[:2])


def test_a_text_is_refused_wherever_it_stands(shelf: Shelf) -> None:
    checkpoint = shelf.loaded()
    groups = groups_of(checkpoint, [asked("Why?", RARE, "so"), MANY[0], asked("Why?", "in", RARE)])
    with poisoned(checkpoint, by="raising"):
        found = Scorer([checkpoint]).rewards(groups)
    assert sorted(found.refused) == [0, 5]
    assert len(set(found.refused.values())) == 1


def test_the_same_tokens_in_other_segments_are_another_text(shelf: Shelf) -> None:
    checkpoint = shelf.loaded(tiny_models.encoder)
    one = groups_of(checkpoint, [asked("why so", "in", "the")])[0][0]
    other = Text(one.ids, one.second - 1)
    found = Scorer([checkpoint]).rewards([[one, other]])
    assert found.rewards[0] != found.rewards[1]


@pytest.mark.parametrize("pack", [True, False])
def test_members_are_columns_in_their_order(shelf: Shelf, pack: bool) -> None:
    members = [shelf.loaded(seed=1), shelf.loaded(seed=2)]
    groups = groups_of(members[0], MANY)
    for order in (members, members[::-1]):
        found = Scorer(order, options=EngineOptions(pack=pack)).rewards(groups)
        assert found.rewards.shape == (2 * len(MANY), 2)
        assert found.rewards.dtype == np.float32
        for column, member in enumerate(order):
            alone = undisturbed(member, groups)
            assert largest(found.rewards[:, [column]], alone) < FP32


@pytest.mark.parametrize("groups", [[], [[], []]])
def test_nothing_asked_is_nothing_scored(
    checkpoint: Checkpoint, options: EngineOptions, groups: list[list[Text]]
) -> None:
    found = Scorer([checkpoint], options=options).rewards(groups)
    assert found.rewards.shape == (0, 1)
    assert found == Scored(found.rewards)


def test_progress_is_told_in_tokens(checkpoint: Checkpoint) -> None:
    told: list[tuple[int, int]] = []
    groups = [[], *groups_of(checkpoint, MANY), []]
    scorer = Scorer([checkpoint], options=EngineOptions(token_budget=200))
    scorer.rewards(groups, on_tokens=lambda done, total: told.append((done, total)))
    done = [each for each, _ in told]
    assert len(told) > 3
    assert done == sorted(set(done))
    assert {total for _, total in told} == {done[-1]}


def test_a_token_beyond_the_embeddings_is_refused_before_it_reaches_the_device(
    checkpoint: Checkpoint,
) -> None:
    """On a GPU it would cost the device, and with it the whole shard."""
    groups = groups_of(checkpoint, MANY[:3])
    before = undisturbed(checkpoint, groups)
    known = checkpoint.body.get_input_embeddings().num_embeddings
    beyond = np.append(groups[0][0].ids, known)
    groups[0][0] = Text(beyond, len(beyond))
    found = Scorer([checkpoint]).rewards(groups)
    assert list(found.refused) == [0]
    assert "no embedding for token" in found.refused[0]
    np.testing.assert_allclose(found.rewards[1:], before[1:], atol=FP32)
