"""Where prompts stand among one another: fitted once on a sample of their embeddings, and then told
of any number of prompts, however many come later."""

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scoring.core import topics
from scoring.core.topics import Codes, Compression, Floats, Int32s, Vectors

MOST_CLUSTERS = 1024
PROMPTS_OF_TOPIC = 20  # different ones, on average: fewer share no words to name them by


@dataclass(frozen=True)
class PromptMap:
    """How embeddings become codes, the unit `centroids` (k, m) of the clusters of codes, and the
    topic (k,) of each cluster."""

    compression: Compression
    centroids: Floats
    topics: Int32s

    def places(self, vectors: Vectors) -> tuple[Int32s, Codes]:
        """The clusters (n,) and codes (n, m) of embeddings (n, d). Raises ValueError for vectors
        that are not finite."""
        codes = self.compression.codes(vectors)
        return topics.assign(codes, self.centroids), codes

    def clusters_near(self, code: npt.NDArray[Any], count: int) -> list[int]:
        """The `count` clusters nearest to a code (m,), its own first."""
        found, _ = topics.nearest(self.centroids, code, count)
        return [int(number) for number in found]

    def to_bytes(self) -> bytes:
        file = io.BytesIO()
        np.savez(
            file,
            mean=self.compression.mean,
            axes=self.compression.axes,
            centroids=self.centroids,
            topics=self.topics,
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "PromptMap":
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            compression = Compression(stored["mean"], stored["axes"])
            return cls(compression, stored["centroids"], stored["topics"])


def fit(vectors: Vectors, generator: np.random.Generator, *, clusters: int) -> PromptMap:
    """The map of a sample of embeddings (n, d); at most so many clusters.

    The same vectors and generator give the same map. Raises ValueError for vectors that are not
    finite, and for none.
    """
    compression = topics.fit_compression(vectors, generator)
    codes = compression.codes(vectors)
    assignments, centroids = topics.cluster(codes, clusters, generator)
    sizes = np.bincount(assignments, minlength=len(centroids)).astype(np.int64)
    prompts = len(np.unique(codes, axis=0))
    most = min(topics.MOST_TOPICS, max(1, prompts // PROMPTS_OF_TOPIC))
    return PromptMap(compression, centroids, topics.topics_of(centroids, sizes, most=most))


def clusters_for(count: int) -> int:
    """How many clusters suit so many pairs: as many as a cluster holds pairs, so that looking
    through clusters and through the pairs of one takes alike."""
    return min(MOST_CLUSTERS, max(1, math.isqrt(count)))


def sample_for(clusters: int) -> int:
    """How many embeddings such a map is to be fitted on."""
    return max(topics.SAMPLE, topics.LEAST_SAMPLE_OF_CLUSTER * clusters)
