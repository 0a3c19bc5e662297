"""Clusters recover what is there, topics join what is near, names tell them apart, and codes keep
who is near whom."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.core import topics
from scoring.core.topics import cluster, fit_compression, name_topics, nearest, topics_of

Floats = npt.NDArray[np.float32]
SEEDS = st.integers(0, 2**32 - 1)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def blobs(
    seed: int, *, count: int, width: int = 24, each: int = 30, spread: float = 0.02
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Vectors of any length around `count` directions at right angles, and which each is of."""
    rng = generator(seed)
    middles = np.linalg.qr(rng.normal(size=(width, width)))[0][:count]
    members = rng.permutation(np.repeat(np.arange(count), each))
    vectors = middles[members] + spread * rng.normal(size=(len(members), width))
    lengths = rng.uniform(0.1, 10, size=(len(members), 1))
    return (vectors * lengths).astype(np.float32), members


def are_same_parts(first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> bool:
    couples = set(zip(first.tolist(), second.tolist(), strict=True))
    return len(couples) == len(set(first.tolist())) == len(set(second.tolist()))


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 12))
def test_every_blob_is_a_cluster(seed: int, count: int) -> None:
    vectors, members = blobs(seed, count=count)
    assignments, centroids = cluster(vectors, count, generator(seed))
    assert are_same_parts(assignments, members)
    assert centroids.shape == (count, vectors.shape[1])


@given(SEEDS, st.integers(1, 60), st.integers(1, 20))
def test_each_vector_is_of_the_nearest_centroid(seed: int, n: int, k: int) -> None:
    vectors = generator(seed).normal(size=(n, 5)).astype(np.float32)
    assignments, centroids = cluster(vectors, k, generator(seed))
    cosines = vectors @ centroids.T / np.linalg.norm(vectors, axis=1, keepdims=True)
    own = cosines[np.arange(n), assignments]
    assert np.all(own >= cosines.max(axis=1) - 1e-5)
    sizes = np.bincount(assignments, minlength=len(centroids))
    assert len(centroids) <= min(n, k)
    assert sizes.min() > 0
    assert np.all(np.diff(sizes) <= 0)
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)


def test_clusters_of_a_sample_hold_for_all_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "SAMPLE", 100)
    monkeypatch.setattr(topics, "LEAST_SAMPLE_OF_CLUSTER", 1)
    monkeypatch.setattr(topics, "CHUNK", 64)
    vectors, members = blobs(3, count=6, each=150)
    assignments, _ = cluster(vectors, 6, generator())
    assert are_same_parts(assignments, members)


def test_the_same_generator_gives_the_same_clusters_codes_and_axes() -> None:
    vectors = generator(1).normal(size=(300, 20)).astype(np.float32)
    (first, centroids), (second, others) = (cluster(vectors, 9, generator(7)) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(centroids, others)
    codes, again = (
        fit_compression(vectors, generator(7), width=8).codes(vectors) for _ in range(2)
    )
    assert np.array_equal(codes, again)


def test_more_clusters_than_vectors_give_each_its_own() -> None:
    vectors = np.eye(3, 8, dtype=np.float32)
    assignments, centroids = cluster(vectors, 10, generator())
    assert sorted(assignments) == [0, 1, 2]
    assert np.allclose(centroids[assignments], vectors)


def test_equal_vectors_are_one_cluster() -> None:
    vectors = np.tile(generator().normal(size=7), (50, 1)).astype(np.float32)
    vectors[::2] *= 3
    assignments, centroids = cluster(vectors, 5, generator())
    assert not assignments.any()
    assert len(centroids) == 1


def test_vectors_of_nothing_have_a_cluster_too() -> None:
    assignments, _ = cluster(np.zeros((4, 3), dtype=np.float32), 2, generator())
    assert not assignments.any()


def test_no_vectors_make_no_cluster() -> None:
    assignments, centroids = cluster(np.zeros((0, 3), dtype=np.float32), 2, generator())
    assert len(assignments) == 0
    assert centroids.shape == (0, 3)


def test_codes_of_small_numbers_can_be_clustered() -> None:
    vectors, members = blobs(5, count=4)
    codes = fit_compression(vectors, generator(), width=8).codes(vectors)
    assert are_same_parts(cluster(codes, 4, generator())[0], members)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused(bad: float) -> None:
    vectors = np.ones((20, 3), dtype=np.float32)
    vectors[13, 1] = bad
    with pytest.raises(ValueError, match="A vector holds a number that is not finite"):
        cluster(vectors, 2, generator())
    with pytest.raises(ValueError, match="A vector holds a number that is not finite"):
        fit_compression(vectors, generator())
    with pytest.raises(ValueError, match="A vector holds a number that is not finite"):
        fit_compression(np.eye(3, dtype=np.float32), generator()).codes(vectors)


def test_what_cannot_be_clustered_or_compressed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one cluster"):
        cluster(np.eye(3, dtype=np.float32), 0, generator())
    with pytest.raises(ValueError, match="one row for each"):
        cluster(np.ones(3, dtype=np.float32), 1, generator())
    with pytest.raises(ValueError, match="no vectors"):
        fit_compression(np.zeros((0, 3), dtype=np.float32), generator())


# Topics


@given(SEEDS, st.integers(1, 40), st.integers(1, 16))
def test_topics_are_numbered_by_size_and_no_more_than_asked_for(
    seed: int, k: int, most: int
) -> None:
    rng = generator(seed)
    centroids = rng.normal(size=(k, 4)).astype(np.float32)
    sizes = rng.integers(1, 100, size=k)
    found = topics_of(centroids, sizes, most=most)
    assert set(found.tolist()) == set(range(min(k, most)))
    assert np.all(np.diff(np.bincount(found, weights=sizes)) <= 0)


def test_clusters_of_one_blob_are_one_topic() -> None:
    centroids, members = blobs(2, count=5, each=6, spread=0.05)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    assert are_same_parts(topics_of(centroids, most=5), members)


def test_no_clusters_have_no_topics() -> None:
    assert len(topics_of(np.zeros((0, 4), dtype=np.float32))) == 0


# Names


def test_a_topic_is_named_by_what_sets_it_apart() -> None:
    code = ["Write a python function.", "My python code fails", "Which function sorts in python?"]
    food = ["A recipe for soup please", "Is soup healthy?", "Which recipe and which recipes?"]
    names = name_topics([code, food])
    assert names[0].startswith("python, function")
    assert names[1] == "recipe, soup, healthy"
    assert "recipes" not in names[1]
    assert "please" not in ", ".join(names)


def test_words_that_all_topics_share_name_none() -> None:
    shared = ["movie star"] * 5
    names = name_topics(
        [[*shared, *["movie actor"] * 5], [*shared, *["movie galaxy"] * 5]], words=1
    )
    assert names == ["actor", "galaxy"]


def test_a_topic_without_others_is_named_by_its_commonest_words() -> None:
    assert name_topics([["red bird", "red fox", "red"]], words=2) == ["red, bird"]


def test_other_languages_have_names_too() -> None:
    names = name_topics(
        [
            ["Wie backe ich einen Kuchen?", "Kuchen ohne Zucker", "Ist der Kuchen fertig?"],
            ["日本の料理を教えて", "料理の本", "料理は好き？"],
            ["Почему собака лает?", "Моя собака ест траву", "собака и кошка"],
        ]
    )
    assert names[0].startswith("kuchen")
    assert names[1].startswith("料理")
    assert names[2].startswith("собака")


def test_numbers_name_nothing() -> None:
    assert name_topics([["12 500 4th x86"], ["2024 3.14"]]) == ["other", "other (2)"]


@given(st.lists(st.lists(st.text(max_size=60), max_size=5), max_size=6))
def test_every_topic_has_a_name_of_its_own_without_digits_of_the_texts(
    texts: list[list[str]],
) -> None:
    names = name_topics(texts)
    assert len(names) == len(set(names)) == len(texts)
    assert all(name for name in names)
    assert name_topics(texts) == names


def test_what_was_asked_begins_with_the_last_user_turn() -> None:
    turns = [
        {"role": role, "content": text}
        for role, text in [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hi!")]
    ]
    assert topics.asked([*turns, {"role": "user", "content": "Why?"}]) == "Why?\nHi"
    assert topics.asked(turns) == "Hi"
    assert topics.asked(turns[:1]) == ""


# Codes


@given(SEEDS, st.integers(1, 60))
def test_the_nearest_are_those_of_comparing_with_all(seed: int, count: int) -> None:
    rng = generator(seed)
    codes = rng.integers(-2, 3, size=(40, 3)).astype(np.int8)  # many are alike
    query = rng.integers(-2, 3, size=3).astype(np.int8)
    found, cosines = nearest(codes, query, count)
    lengths = np.linalg.norm(codes.astype(float), axis=1) * np.linalg.norm(query.astype(float))
    exact = codes.astype(float) @ query / np.maximum(lengths, 1e-12)
    assert len(found) == len(set(found.tolist())) == min(count, 40)
    assert np.allclose(cosines, exact[found], atol=1e-6)
    assert np.allclose(cosines, np.sort(exact)[::-1][: len(found)], atol=1e-6)
    assert np.all(np.diff(cosines) <= 0)
    assert np.abs(cosines).max() <= 1


def test_of_equally_near_ones_the_earlier_come_first() -> None:
    codes = np.ones((9, 2), dtype=np.int8)
    assert nearest(codes, codes[0], 4)[0].tolist() == [0, 1, 2, 3]


def test_nothing_is_near_where_there_is_nothing() -> None:
    found, cosines = nearest(np.zeros((0, 4), dtype=np.int8), np.ones(4, dtype=np.int8), 3)
    assert len(found) == len(cosines) == 0


@settings(max_examples=20)
@given(SEEDS)
def test_codes_keep_the_cosines_of_vectors_that_lie_in_few_directions(seed: int) -> None:
    rng = generator(seed)
    vectors = (rng.normal(size=(80, 6)) @ rng.normal(size=(6, 40)) + 3).astype(np.float32)
    codes = fit_compression(vectors, rng, width=8).codes(vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    around = unit - unit.mean(axis=0)
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    kept = codes / np.linalg.norm(codes.astype(np.float32), axis=1, keepdims=True)
    assert np.abs(kept @ kept.T - around @ around.T).max() < 0.03


def test_equal_vectors_have_codes_that_are_alike_to_none() -> None:
    vectors = np.ones((5, 4), dtype=np.float32)
    codes = fit_compression(vectors, generator()).codes(vectors)
    assert codes.shape == (5, 4)
    assert not nearest(codes, codes[0], 5)[1].any()
