"""Heads: stored and read back whole, or not at all; rewards that each head gives on its own."""

import hashlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from curator.lib import digests
from scoring.engine import surface
from scoring.engine.features import Scaling
from scoring.engine.heads import (
    AnyHead,
    BadHead,
    Effects,
    Head,
    HiddenHead,
    Slices,
    read,
    response_key,
    rewards,
)

Floats = npt.NDArray[np.float32]

WIDTH = surface.COUNT + 6
KEYS = np.array([3, 20, 500], dtype=np.int64)
CODES = np.array([[0.4, -0.4], [-0.6, 0.6]], dtype=np.float32)
SLICES = Slices(("poems", "Prosa – ½"), CODES)
SCALING = Scaling(
    np.linspace(-1.0, 1.0, WIDTH, dtype=np.float32), np.linspace(0.5, 2.0, WIDTH, dtype=np.float32)
)


def normal(*shape: int, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def head(seed: int = 0, *, slices: Slices = SLICES, keys: npt.NDArray[np.int64] = KEYS) -> Head:
    weights = normal(1 + len(slices.names), WIDTH, seed=seed)
    return Head(SCALING, weights, slices, Effects(keys, normal(len(keys), seed=seed + 100)))


def hidden_head(seed: int = 0, *, units: int = 5) -> HiddenHead:
    return HiddenHead(
        SCALING,
        weights=normal(units, WIDTH, seed=seed),
        bias=normal(units, seed=seed + 100),
        outputs=normal(units, seed=seed + 200),
        straight=normal(WIDTH, seed=seed + 300),
    )


def responses(count: int = 6) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Features, slice codes and keys of some responses, known and unknown."""
    names = ["poems", "Prosa – ½", "unheard of", "poems", "", "poems"]
    keys = np.array([3, 500, 4, 20, -1, 10**17], dtype=np.int64)
    return normal(count, WIDTH, seed=9), SLICES.codes_of(names[:count]), keys[:count]


@pytest.mark.parametrize(
    "stored",
    [
        head(),
        head(slices=Slices.none()),
        head(keys=np.zeros(0, dtype=np.int64)),
        head(slices=Slices.none(), keys=np.zeros(0, dtype=np.int64)),
    ],
    ids=["whole", "no slices", "no effects", "weights only"],
)
def test_a_stored_head_gives_the_same_rewards(stored: Head) -> None:
    data = stored.to_bytes()
    read = Head.from_bytes(data, digest=digests.of_bytes(data))
    rows, _, keys = responses()
    codes = stored.slices.codes_of(["poems"] * len(rows))
    assert read.slices.names == stored.slices.names
    np.testing.assert_array_equal(
        rewards([read], rows, codes, keys), rewards([stored], rows, codes, keys)
    )


def test_the_same_head_is_stored_as_the_same_bytes() -> None:
    for made in (head, hidden_head):
        assert made().to_bytes() == made().to_bytes()
        assert made().to_bytes() != made(1).to_bytes()


@pytest.mark.parametrize("stored", [head(), hidden_head()], ids=["linear", "hidden"])
def test_a_file_of_either_kind_is_read_as_what_it_is(stored: AnyHead) -> None:
    data = stored.to_bytes()
    found = read(data, digest=digests.of_bytes(data))
    assert type(found) is type(stored)
    np.testing.assert_array_equal(rewards([found], *responses()), rewards([stored], *responses()))


def test_a_head_of_one_kind_is_not_read_as_the_other() -> None:
    linear, hidden = head().to_bytes(), hidden_head().to_bytes()
    with pytest.raises(BadHead, match="cannot be read"):
        Head.from_bytes(hidden, digest=digests.of_bytes(hidden))
    with pytest.raises(BadHead, match="cannot be read"):
        HiddenHead.from_bytes(linear, digest=digests.of_bytes(linear))


@given(st.data(), st.sampled_from([head(), hidden_head()]))
def test_a_head_of_which_one_byte_changed_is_not_used(data: st.DataObject, stored: AnyHead) -> None:
    whole = stored.to_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadHead, match="changed since it was trained"):
        read(bytes(changed), digest=digests.of_bytes(whole))


@pytest.mark.parametrize(
    "data",
    [b"", b"no head", b"\x05" + bytes(7) + b"{bad}", save({"mean": np.zeros(2)})],
    ids=["empty", "too short", "broken header", "tensors missing"],
)
def test_a_file_that_is_no_head_is_not_used(data: bytes) -> None:
    with pytest.raises(BadHead, match="cannot be read"):
        read(data, digest=hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("made", [head, hidden_head])
@given(order=st.permutations(range(4)))
def test_rewards_do_not_depend_on_which_heads_are_asked_along(
    made: Callable[[int], AnyHead], order: list[int]
) -> None:
    heads = [made(seed) for seed in range(4)]
    together = rewards(heads, *responses())
    permuted = rewards([heads[i] for i in order], *responses())
    np.testing.assert_allclose(permuted, together[:, order], rtol=1e-5, atol=1e-5)
    alone = rewards([heads[2]], *responses())
    np.testing.assert_allclose(alone[:, 0], together[:, 2], rtol=1e-5, atol=1e-5)


def test_a_reward_is_what_the_modules_formula_says() -> None:
    one, (rows, codes, keys) = head(), responses()
    found = rewards([one], rows, codes, keys)[:, 0]
    for i, row in enumerate(rows):
        weights = one.weights[0] + codes[i] @ one.weights[1:]
        effect = dict(zip(KEYS.tolist(), one.effects.values, strict=True)).get(int(keys[i]), 0.0)
        expected = one.scaling.apply(row[None, :])[0] @ weights + effect
        assert found[i] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_reward_of_a_hidden_layer_is_what_its_formula_says() -> None:
    one, (rows, codes, keys) = hidden_head(), responses()
    found = rewards([one], rows, codes, keys)[:, 0]
    units = one.units(rows)
    for i, row in enumerate(SCALING.apply(rows)):
        inner = [max(float(row @ w + b), 0.0) for w, b in zip(one.weights, one.bias, strict=True)]
        expected = float(np.array(inner) @ one.outputs + row @ one.straight)
        np.testing.assert_allclose(units[i], inner, rtol=1e-4, atol=1e-4)
        assert found[i] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_hidden_rewards_are_the_same_in_few_rows_and_in_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads = [hidden_head(seed) for seed in range(3)]
    whole = rewards(heads, *responses())
    monkeypatch.setattr("scoring.engine.heads.AT_ONCE", 30)
    np.testing.assert_allclose(rewards(heads, *responses()), whole, rtol=1e-5, atol=1e-5)


def test_an_unknown_slice_and_response_get_the_shared_weights_alone() -> None:
    one, (rows, _, _) = head(), responses(1)
    unknown = np.array([4], dtype=np.int64)
    found = rewards([one], rows, SLICES.codes_of(["unheard of"]), unknown)
    shared = one.scaling.apply(rows) @ one.weights[0]
    np.testing.assert_allclose(found[:, 0], shared, rtol=1e-5)
    known = rewards([one], rows, SLICES.codes_of(["poems"]), unknown)
    assert abs(known - found).max() > 1e-3


@given(st.lists(st.sampled_from(["poems", "Prosa – ½", "unheard of", ""]), max_size=5))
def test_each_pair_gets_the_code_of_its_slice(names: list[str]) -> None:
    found = SLICES.codes_of(names)
    assert found.shape == (len(names), 2)
    for name, code in zip(names, found, strict=True):
        expected = CODES[SLICES.names.index(name)] if name in SLICES.names else [0.0, 0.0]
        np.testing.assert_array_equal(code, np.array(expected, dtype=np.float32))


@pytest.mark.parametrize("names", [[], ["poems"], ["poems", ""]])
def test_without_slices_codes_are_empty(names: list[str]) -> None:
    assert Slices.none().codes_of(names).shape == (len(names), 0)


@given(
    st.dictionaries(st.integers(0, 40), st.integers(-9, 9), max_size=12),
    st.lists(st.integers(-5, 45), max_size=12),
)
def test_effects_are_those_of_a_dictionary(known: dict[int, int], asked: list[int]) -> None:
    keys = np.array(sorted(known), dtype=np.int64)
    effects = Effects(keys, np.array([known[int(key)] for key in keys], dtype=np.float32))
    found = effects.of(np.array(asked, dtype=np.int64))
    assert found.tolist() == [known.get(key, 0) for key in asked]


@given(st.text(), st.text(), st.text(), st.text())
def test_a_response_key_names_prompt_and_response(
    prompt: str, response: str, other_prompt: str, other_response: str
) -> None:
    key, other = response_key(prompt, response), response_key(other_prompt, other_response)
    assert 0 <= key < 2**60
    assert (key == other) == ((prompt, response) == (other_prompt, other_response))


def test_moving_the_border_between_prompt_and_response_changes_the_key() -> None:
    assert response_key("ab", "c") != response_key("a", "bc")
