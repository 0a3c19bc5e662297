"""Features: of one prompt and one response, and scaled as the training responses say."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.engine import surface
from scoring.engine.features import (
    FARTHEST,
    LAYERS,
    SURFACE_WEIGHT,
    Scaling,
    features,
    width,
)

Floats = npt.NDArray[np.float32]


def embeddings(count: int, dimension: int, seed: int) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(count, LAYERS, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def looks(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).random((count, surface.COUNT), dtype=np.float32)


@given(st.integers(1, 4), st.integers(1, 8))
def test_there_are_as_many_features_as_announced(count: int, dimension: int) -> None:
    prompts, responses = (embeddings(count, dimension, seed) for seed in (1, 2))
    assert features(prompts, responses, looks(count)).shape == (count, width(dimension))


def test_a_responses_features_depend_on_no_other_response() -> None:
    prompts, responses, shown = embeddings(5, 4, 1), embeddings(5, 4, 2), looks(5)
    together = features(prompts, responses, shown)
    for i in range(5):
        alone = features(prompts[i : i + 1], responses[i : i + 1], shown[i : i + 1])
        np.testing.assert_array_equal(alone[0], together[i])


def test_features_hold_the_response_its_likeness_to_the_prompt_and_its_looks() -> None:
    prompts, responses, shown = embeddings(1, 2, 1), embeddings(1, 2, 2), looks(1)
    (p1, p2), (r1, r2) = prompts[0, 1:], responses[0, 1:]
    expected = [*responses[0].ravel(), *(p1 * r1), *(p2 * r2), *abs(p2 - r2), *shown[0]]
    np.testing.assert_array_equal(features(prompts, responses, shown)[0], expected)


def test_training_responses_are_standardised_and_their_looks_weigh_more() -> None:
    normal = np.random.default_rng(0).normal(5.0, 3.0, size=(400, surface.COUNT + 7))
    rows = normal.astype(np.float32)
    scaled = Scaling.of(rows).apply(rows)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(scaled[:, :7].std(axis=0), 1.0, rtol=1e-4)
    np.testing.assert_allclose(scaled[:, 7:].std(axis=0), SURFACE_WEIGHT, rtol=1e-4)


def test_scaling_changes_nothing_that_it_is_given() -> None:
    rows = looks(10)
    before = rows.copy()
    Scaling.of(rows).apply(rows)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("far", [1e6, -1e6])
def test_what_lies_very_far_out_is_clipped(far: float) -> None:
    rows = np.random.default_rng(0).normal(size=(50, surface.COUNT + 1)).astype(np.float32)
    scaled = Scaling.of(rows).apply(np.full((1, surface.COUNT + 1), far, dtype=np.float32))
    assert scaled[0, 0] == np.sign(far) * FARTHEST
    np.testing.assert_array_equal(scaled[0, 1:], np.sign(far) * FARTHEST * SURFACE_WEIGHT)


def test_a_feature_that_never_varies_stays_finite() -> None:
    rows = np.full((20, surface.COUNT + 1), 3.0, dtype=np.float32)
    np.testing.assert_array_equal(Scaling.of(rows).apply(rows), 0.0)
