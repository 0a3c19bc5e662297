"""The embedding cache: what was put is found again, whole transactions only, whoever writes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.engine.cache import EmbeddingCache, key_of

Floats = npt.NDArray[np.float32]

SHAPE = (3, 4)


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "embeddings", "a" * 64, SHAPE)


def keys(count: int) -> list[bytes]:
    return [key_of(f"text {number}", keep_end=False) for number in range(count)]


def vectors(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, *SHAPE)).astype(np.float32)


def test_what_was_put_is_found_at_half_precision(cache: EmbeddingCache) -> None:
    stored = vectors(3)
    cache.put(keys(3), [7, 8, 900], stored)
    found = cache.get(keys(3))
    assert [found[key][0] for key in keys(3)] == [7, 8, 900]
    for key, vector in zip(keys(3), stored, strict=True):
        assert found[key][1].dtype == np.float32
        np.testing.assert_array_equal(found[key][1], vector.astype(np.float16))


def test_what_was_never_put_is_not_found(cache: EmbeddingCache) -> None:
    cache.put(keys(1), [7], vectors(1))
    assert list(cache.get(keys(3))) == keys(1)
    assert cache.get([]) == {}


def test_more_keys_than_one_query_takes_are_found(cache: EmbeddingCache) -> None:
    many = keys(1203)
    cache.put(many, range(1203), vectors(1203))
    found = cache.get(many)
    assert [found[key][0] for key in many] == list(range(1203))
    assert cache.missing(many) == []


def test_missing_keys_are_named_once_and_in_their_order(cache: EmbeddingCache) -> None:
    a, b, c, d = keys(4)
    cache.put([b], [1], vectors(1))
    assert cache.missing([d, a, b, d, c, a]) == [d, a, c]


def test_of_two_writers_of_one_text_the_first_is_kept(cache: EmbeddingCache) -> None:
    other = EmbeddingCache(cache.file.path.parent, "a" * 64, SHAPE)
    first = vectors(1)
    cache.put(keys(1), [7], first)
    other.put(keys(2), [8, 9], vectors(2, seed=1))
    found = cache.get(keys(2))
    assert [found[key][0] for key in keys(2)] == [7, 9]
    np.testing.assert_array_equal(found[keys(1)[0]][1], first[0].astype(np.float16))


def test_what_a_process_wrote_the_next_one_reads(cache: EmbeddingCache) -> None:
    cache.put(keys(1), [7], vectors(1))
    again = EmbeddingCache(cache.file.path.parent, "a" * 64, SHAPE)
    assert again.missing(keys(2)) == keys(2)[1:]


def test_another_backbone_has_a_cache_of_its_own(cache: EmbeddingCache) -> None:
    cache.put(keys(1), [7], vectors(1))
    other = EmbeddingCache(cache.file.path.parent, "b" * 64, SHAPE)
    assert other.missing(keys(1)) == keys(1)


def test_vectors_of_another_shape_are_not_handed_out(cache: EmbeddingCache) -> None:
    cache.put(keys(1), [7], vectors(1))
    other = EmbeddingCache(cache.file.path.parent, "a" * 64, (3, 5))
    with pytest.raises(ValueError, match="reshape"):
        other.get(keys(1))


def test_a_writer_that_dies_in_the_middle_leaves_nothing(cache: EmbeddingCache) -> None:
    with closing(sqlite3.connect(cache.file.path)) as dying:
        dying.execute("BEGIN IMMEDIATE")
        dying.execute("INSERT INTO embedding VALUES (?, ?, ?)", (keys(1)[0], 7, b"half a vector"))
    assert cache.missing(keys(1)) == keys(1)
    cache.put(keys(1), [7], vectors(1))
    assert cache.missing(keys(1)) == []


def test_a_row_that_cannot_be_written_takes_the_others_with_it(cache: EmbeddingCache) -> None:
    with pytest.raises(ValueError, match="shorter"):
        cache.put(keys(3), [7, 8, 9], vectors(2))
    assert cache.missing(keys(3)) == keys(3)
    cache.put(keys(3), [7, 8, 9], vectors(3))
    assert cache.missing(keys(3)) == []


@given(st.text(), st.text(), st.booleans(), st.booleans())
def test_a_key_names_the_text_and_the_end_that_is_read(
    one: str, other: str, one_end: bool, other_end: bool
) -> None:
    same = key_of(one, keep_end=one_end) == key_of(other, keep_end=other_end)
    assert same == ((one, one_end) == (other, other_end))
