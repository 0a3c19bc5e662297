"""What prompts are about: their embeddings in clusters, clusters in a few topics named by the words
that set them apart, and short codes by which similar prompts are found.

Vectors are (n, d), any float type; only directions count. What is fitted is fitted on a sample, and
all n are gone through in chunks, so memory beyond the vectors and the results does not grow with n.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as counting
from typing import Any

import numpy as np
import numpy.typing as npt

from scoring.core.stop_words import STOP_WORDS

Vectors = npt.NDArray[np.floating[Any]]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]
Int32s = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]

CHUNK = 8192
SAMPLE = 20_000
LEAST_SAMPLE_OF_CLUSTER = 64
ROUNDS = 20
MOST_TOPICS = 16
WIDTH = 64
NOISE = 1e-5  # of a coordinate: below it a unit vector is the mean, but for rounding
ZERO = 1e-6  # of squared distances between unit vectors: below it they are the same in float32


# Codes


@dataclass(frozen=True)
class Compression:
    """The mean (d,) of vectors and the axes (d, m) along which they differ most."""

    mean: Floats
    axes: Floats

    def codes(self, vectors: Vectors) -> Codes:
        """Codes (n, m) whose cosines are close to those of the vectors around their mean.

        int8, scaled so that the largest number of each row is 127. Raises ValueError for vectors
        that are not finite.
        """
        _check(vectors)
        codes = np.zeros((len(vectors), self.axes.shape[1]), dtype=np.int8)
        for start, rows in _unit_chunks(vectors):
            along = (rows - self.mean) @ self.axes
            largest = np.abs(along).max(axis=1, keepdims=True, initial=0.0)
            along *= 127.0 / np.where(largest > NOISE, largest, np.inf)
            codes[start : start + len(rows)] = np.rint(along)
        return codes


def fit_compression(
    vectors: Vectors, generator: np.random.Generator, *, width: int = WIDTH
) -> Compression:
    """Principal axes of a sample of the vectors (n, d), at most `width` of them.

    The same vectors and generator give the same axes. Raises ValueError for vectors that are not
    finite, and for none.
    """
    _check(vectors)
    if not len(vectors):
        raise ValueError("There are no vectors to fit a compression to.")
    sample = _sample(vectors, SAMPLE, generator).astype(np.float64)
    mean = sample.mean(axis=0)
    _, axes = np.linalg.eigh((sample - mean).T @ (sample - mean))
    axes = axes[:, ::-1][:, :width]  # eigenvalues ascend
    strongest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return Compression(mean.astype(np.float32), (axes * np.sign(strongest)).astype(np.float32))


def nearest(codes: npt.NDArray[Any], query: npt.NDArray[Any], count: int) -> tuple[Indices, Floats]:
    """The `count` codes (n, m) most like the query (m,): their positions and cosines, most alike
    first and of equal ones the earlier. Fewer where there are fewer."""
    wanted = query.astype(np.float32)
    wanted /= max(float(np.linalg.norm(wanted)), 1e-12)
    cosines = np.zeros(len(codes), dtype=np.float32)
    for start in range(0, len(codes), CHUNK):
        rows = codes[start : start + CHUNK].astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        cosines[start : start + CHUNK] = rows @ wanted / np.maximum(lengths, 1e-12)
    np.clip(cosines, -1.0, 1.0, out=cosines)
    count = min(count, len(codes))
    if count < 1:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    last = np.partition(cosines, len(codes) - count)[len(codes) - count]
    among = np.flatnonzero(cosines >= last)
    found = among[np.argsort(-cosines[among], kind="stable")[:count]]
    return found, cosines[found]


# Clusters


def cluster(
    vectors: npt.NDArray[Any], k: int, generator: np.random.Generator
) -> tuple[Int32s, Floats]:
    """Spherical k-means: the cluster of each vector (n,), largest cluster 0, and the unit centroids
    (at most k, d). Each vector belongs to the centroid whose direction is nearest.

    Seeded by greedy k-means++ (Arthur and Vassilvitskii, 2007) and settled on a sample; one more
    round goes through all vectors. Fewer than k clusters come back where there are fewer distinct
    vectors. The same vectors and generator give the same clusters. Raises ValueError for vectors
    that are not finite, and for k below 1.
    """
    if k < 1:
        raise ValueError("There must be at least one cluster.")
    _check(vectors)
    if not len(vectors):
        return np.zeros(0, dtype=np.int32), np.zeros((0, vectors.shape[1]), dtype=np.float32)
    sample = _sample(vectors, max(SAMPLE, LEAST_SAMPLE_OF_CLUSTER * k), generator)
    centroids = _seeds(sample, k, generator)
    for _ in range(ROUNDS):
        moved, _ = _round(sample, centroids)
        if np.allclose(moved, centroids, atol=1e-5):
            break
        centroids = moved
    centroids, sizes = _round(vectors, centroids)
    centroids = centroids[sizes > 0]
    assignments = assign(vectors, centroids)
    return _largest_first(assignments, centroids)


def _seeds(sample: Floats, k: int, generator: np.random.Generator) -> Floats:
    """Vectors far from one another: each is the best of a few drawn by their squared distance to
    the seeds so far."""
    tries = 2 + int(np.log(k))
    seeds = [sample[generator.integers(len(sample))]]
    distances = _distances(sample, seeds[0][:, None])[:, 0]
    while len(seeds) < k and distances.max() > ZERO:
        chances = np.where(distances > ZERO, distances, 0.0).astype(np.float64).cumsum()
        drawn = np.searchsorted(chances, generator.random(tries) * chances[-1], side="right")
        drawn = np.minimum(drawn, len(sample) - 1)
        closer = np.minimum(distances[:, None], _distances(sample, sample[drawn].T))
        best = int(closer.sum(axis=0, dtype=np.float64).argmin())
        seeds.append(sample[drawn[best]])
        distances = closer[:, best]
    return np.asarray(np.stack(seeds))


def _distances(rows: Floats, others: Floats) -> Floats:
    """Squared distances of unit vectors, (n, d) and (d, m) -> (n, m)."""
    return np.asarray(np.maximum(2.0 - 2.0 * (rows @ others), 0.0))


def _round(vectors: npt.NDArray[Any], centroids: Floats) -> tuple[Floats, Indices]:
    """Where the centroids move to, and how many vectors each has; one without any stays."""
    sums = np.zeros(centroids.shape, dtype=np.float64)
    sizes = np.zeros(len(centroids), dtype=np.int64)
    for _, rows in _unit_chunks(vectors):
        nearest_one = (rows @ centroids.T).argmax(axis=1)
        order = np.argsort(nearest_one, kind="stable")
        present, starts, counts = np.unique(
            nearest_one[order], return_index=True, return_counts=True
        )
        sums[present] += np.add.reduceat(rows[order], starts, axis=0)
        sizes[present] += counts
    moved = _unit(sums.astype(np.float32))
    is_lost = np.linalg.norm(sums, axis=1) <= ZERO
    return np.where(is_lost[:, None], centroids, moved), sizes


def assign(vectors: npt.NDArray[Any], centroids: Floats) -> Int32s:
    """The cluster of each vector, (n, d) and unit centroids (k, d) -> (n,)."""
    assignments = np.zeros(len(vectors), dtype=np.int32)
    for start, rows in _unit_chunks(vectors):
        assignments[start : start + len(rows)] = (rows @ centroids.T).argmax(axis=1)
    return assignments


def _largest_first(assignments: Int32s, centroids: Floats) -> tuple[Int32s, Floats]:
    """The same clusters, numbered by size, without those that have lost their last vector."""
    sizes = np.bincount(assignments, minlength=len(centroids))
    order = np.argsort(-sizes, kind="stable")
    number = np.zeros(len(centroids), dtype=np.int32)
    number[order] = np.arange(len(centroids))
    return number[assignments], centroids[order[: int((sizes > 0).sum())]]


# Topics


def topics_of(
    centroids: Floats, sizes: Indices | None = None, *, most: int = MOST_TOPICS
) -> Int32s:
    """The topic of each cluster, (k, d) unit centroids -> (k,): at most `most` topics, the one with
    most vectors first.

    Clusters are joined two by two, each time the couple that adds least to the squared distances
    from the middle (Ward, 1963), weighted by their `sizes` (k,).
    """
    weights = np.ones(len(centroids)) if sizes is None else np.maximum(sizes.astype(np.float64), 1)
    middles = centroids.astype(np.float64)
    topics = np.arange(len(centroids))
    costs = np.array([_costs(middles, weights, one) for one in range(len(centroids))])
    for _ in range(len(centroids) - most):
        kept, joined = sorted(int(i) for i in np.unravel_index(costs.argmin(), costs.shape))
        couple = [kept, joined]
        middles[kept] = np.average(middles[couple], axis=0, weights=weights[couple])
        weights[kept] += weights[joined]
        weights[joined] = 0.0
        topics[topics == joined] = kept
        costs[joined, :] = costs[:, joined] = np.inf
        costs[kept, :] = costs[:, kept] = _costs(middles, weights, kept)
    left = np.unique(topics)
    order = left[np.argsort(-weights[left], kind="stable")]
    number = np.zeros(len(centroids), dtype=np.int32)
    number[order] = np.arange(len(order))
    return number[topics]


def _costs(middles: Doubles, weights: Doubles, one: int) -> Doubles:
    """What it costs to join each with `one`; itself and those joined already cannot be, (k,)."""
    shared = weights * weights[one] / np.maximum(weights + weights[one], 1.0)
    costs = shared * ((middles - middles[one]) ** 2).sum(axis=1)
    costs[weights == 0] = np.inf
    costs[one] = np.inf
    return np.asarray(costs)


# Names

WORDS_OF_NAME = 4
MOST_WORDS = 40  # that are looked at for a name
# a few letters of a script that writes without spaces say as much as a word elsewhere
WORD = re.compile(
    r"[\u3040-\u30ff]{2,6}|[\u4e00-\u9fff]{2}|[^\W\d_\u3040-\u30ff\u4e00-\u9fff]{3,30}"
)
WITH_DIGIT = re.compile(r"\w*\d\w*")
LONGEST_TEXT = 4000
LEAST_TEXTS = 2  # of a topic that say a word, where the topic has some


def asked(prompt: Sequence[Mapping[str, str]]) -> str:
    """What the user says in a prompt, the last turn first: one of "Yes, please" says nothing
    alone."""
    return "\n".join(turn["content"] for turn in reversed(prompt) if turn["role"] == "user")


def name_topics(
    texts: Sequence[Sequence[str]], *, words: int = WORDS_OF_NAME, unknown: str = "other"
) -> list[str]:
    """A name for each topic, from a sample of its texts: the words that set it apart from the other
    topics, such as "python, code, function".

    A word scores by how many of the topic's texts say it, times the logarithm of how much larger
    their share is than among all other texts: its part in the Kullback-Leibler divergence of the
    two. Against class-based TF-IDF (arXiv 2203.05794), which knows only how rare a word is, this
    leaves out words that all topics share. Stop words, numbers, and other forms of a word taken
    already are left out. Names differ; `unknown` is that of a topic without words.
    """
    counted = [Counter(word for text in topic for word in _words(text)) for topic in texts]
    everywhere: Counter[str] = Counter()
    for counts in counted:
        everywhere.update(counts)
    total = sum(len(topic) for topic in texts)
    names: list[str] = []
    for topic, counts in zip(texts, counted, strict=True):
        best = _best(_scores(counts, everywhere, size=len(topic), total=total))
        names.append(_unlike(names, ", ".join(best[:words]) or unknown))
    return names


def _scores(
    counts: Mapping[str, int], everywhere: Mapping[str, int], *, size: int, total: int
) -> dict[str, float]:
    """The words that a topic of `size` texts, among `total`, says more often than others do."""
    least = LEAST_TEXTS if size > 2 * LEAST_TEXTS else 1
    others = (total - size) or size  # a topic without others is held against as much silence
    scores: dict[str, float] = {}
    for word, count in counts.items():
        here = (count + 0.5) / (size + 1)
        elsewhere = (everywhere[word] - count + 0.5) / (others + 1)
        if count >= least and here > elsewhere:
            scores[word] = count * math.log(here / elsewhere)
    return scores


def _best(scores: Mapping[str, float]) -> list[str]:
    """The highest scores' words, "recipe" but not "recipes" too; of equal ones by alphabet."""
    kept: list[str] = []
    for word in sorted(scores, key=lambda word: (-scores[word], word))[:MOST_WORDS]:
        if not any(_is_form_of(word, other) for other in kept):
            kept.append(word)
    return kept


def _is_form_of(word: str, other: str) -> bool:
    short, long = sorted((word, other), key=len)
    return len(short) > 3 and len(long) - len(short) <= 3 and long.startswith(short[:-1])


def _unlike(names: Sequence[str], name: str) -> str:
    """The name, numbered if there is one like it."""
    numbered = (name if number == 1 else f"{name} ({number})" for number in counting(1))
    return next(candidate for candidate in numbered if candidate not in names)


def _words(text: str) -> set[str]:
    """The telling words of a text, each once."""
    plain = WITH_DIGIT.sub(" ", text[:LONGEST_TEXT].casefold())
    return set(WORD.findall(plain)) - STOP_WORDS


# Vectors


def _check(vectors: npt.NDArray[Any]) -> None:
    if vectors.ndim != 2:
        raise ValueError("Vectors must come as a table with one row for each.")
    for start in range(0, len(vectors), CHUNK):
        if not np.isfinite(vectors[start : start + CHUNK]).all():
            raise ValueError("A vector holds a number that is not finite.")


def _sample(vectors: npt.NDArray[Any], most: int, generator: np.random.Generator) -> Floats:
    """At most so many of the vectors, as unit vectors, in their order."""
    if len(vectors) <= most:
        return _unit(vectors)
    return _unit(vectors[np.sort(generator.choice(len(vectors), most, replace=False))])


def _unit_chunks(vectors: npt.NDArray[Any]) -> Iterator[tuple[int, Floats]]:
    """The rows as unit vectors, some thousands at a time, after the position of the first."""
    for start in range(0, len(vectors), CHUNK):
        yield start, _unit(vectors[start : start + CHUNK])


def _unit(vectors: npt.NDArray[Any]) -> Floats:
    """Rows of length 1; rows of zeros stay."""
    rows = vectors.astype(np.float32)
    rows /= np.maximum(np.abs(rows).max(axis=1, keepdims=True, initial=0.0), 1e-30)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return np.asarray(rows / np.maximum(lengths, 1e-30)[:, None])
