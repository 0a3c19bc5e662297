"""Real pairs made ready for training heads in the same process, without a database: read as the
product imports them, embedded once, and brought into the form that `scoring.training` reads.

Where CURATOR_BENCH_CACHE names a folder, embeddings are kept there between runs.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from annotations.formats.parsed import ParsedPair
from annotations.formats.reading import PairReader, ReadPair
from benchmarks.planted_flips import Case
from benchmarks.reporting import say
from scoring.engine.backbones import load
from scoring.engine.cache import EmbeddingCache, key_of
from scoring.engine.devices import best_precision
from scoring.engine.features import features
from scoring.engine.folders import MINILM
from scoring.engine.heads import Keys, Slices, response_key
from scoring.engine.surface import surface
from scoring.engine.texts import Messages, prompt_text, response_text
from scoring.training.heads import Space, TrainingPairs

Floats = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

LARGEST = 1 << 30  # bytes of text in a file
LEAST_SLICE = 50  # pairs


@dataclass(frozen=True)
class Prepared:
    """A set of n pairs, ready for training."""

    parsed: list[ParsedPair]
    pairs: TrainingPairs
    space: Space
    slices: Slices
    a: Floats  # (n, width): features of response A
    b: Floats
    keys: tuple[Keys, Keys]  # (n,) each: the names of responses A and B
    longer_a: Floats  # (n,): characters by which A is longer than B

    @property
    def digests(self) -> list[str]:
        return [pair.digest for pair in self.parsed]

    @property
    def groups(self) -> list[str]:
        return [pair.group for pair in self.parsed]

    def of(self, chosen: Booleans | Indices) -> TrainingPairs:
        """Some of the pairs, in the form that training reads."""
        return of_pairs(self.pairs, chosen)


def of_pairs(pairs: TrainingPairs, chosen: Booleans | Indices) -> TrainingPairs:
    """Some of the pairs; the responses that stood in several keep their names."""
    return replace(
        pairs,
        differences=pairs.differences[chosen],
        a=pairs.a[chosen],
        b=pairs.b[chosen],
        labels=pairs.labels[chosen],
        codes=pairs.codes[chosen],
        targets=None if pairs.targets is None else pairs.targets.of(chosen),
        projected_a=None if pairs.projected_a is None else pairs.projected_a[chosen],
        projected_b=None if pairs.projected_b is None else pairs.projected_b[chosen],
    )


def read(case: Case) -> list[ParsedPair]:
    """The set's distinct pairs of which one response is preferred."""
    with case.path.open("rb") as file:
        return read_file(file, subset=case.subset)


def read_file(file: IO[bytes], *, subset: str = "") -> list[ParsedPair]:
    """The distinct pairs of an open file of which one response is preferred, of all subsets or of
    one."""
    rows = list(PairReader(file, cap=LARGEST).pairs())
    pairs = [row.pair for row in rows if isinstance(row, ReadPair)]
    wanted = [
        pair
        for pair in pairs
        if pair.source_preference in ("a", "b") and subset in ("", pair.meta.get("subset"))
    ]
    return list({pair.digest: pair for pair in wanted}.values())


def prepare(pairs: Sequence[ParsedPair], *, by_subset: bool = False) -> Prepared:
    """Embed the pairs and make of them what training reads; of one slice, or with weights for each
    large enough subset."""
    say(f"  embedding {len(pairs):,} pairs")
    prompts, *answers = (list(texts) for texts in zip(*map(texts_of, pairs), strict=True))
    row_a, row_b = (response_features(prompts, texts) for texts in answers)
    space = Space.of(np.concatenate([row_a, row_b]))
    a, b = space.project(row_a), space.project(row_b)
    names = [str(pair.meta.get("subset", "")) for pair in pairs]
    slices = _slices_of(names) if by_subset else Slices.none()
    named = [
        np.array([response_key(p, t) for p, t in zip(prompts, texts, strict=True)], dtype=np.int64)
        for texts in answers
    ]
    keys, place_a, place_b = _compared(*named)
    training = TrainingPairs(
        differences=a - b,
        norm=float((np.square(a).sum() + np.square(b).sum()) / (2 * len(pairs))),
        keys=keys,
        a=place_a,
        b=place_b,
        labels=np.array(
            [1.0 if pair.source_preference == "a" else -1.0 for pair in pairs], dtype=np.float32
        ),
        codes=slices.codes_of(names),
        projected_a=a,
        projected_b=b,
    )
    longer = np.array([len(x) - len(y) for x, y in zip(*answers, strict=True)], dtype=np.float32)
    return Prepared(
        list(pairs), training, space, slices, row_a, row_b, (named[0], named[1]), longer
    )


def response_features(prompts: Sequence[str], responses: Sequence[str]) -> Floats:
    """Features (n, width) of responses to prompts, (n,) each."""
    asked, answered = embed(prompts, keep_end=True), embed(responses, keep_end=False)
    return features(asked, answered, surface(prompts, responses))


def texts_of(pair: ParsedPair) -> tuple[str, str, str]:
    """What the backbone reads of a pair."""
    # to mypy a TypedDict of texts is no mapping of texts
    prompt, *responses = cast("list[Messages]", [pair.prompt, pair.response_a, pair.response_b])
    a, b = map(response_text, responses)
    return prompt_text(prompt), a, b


def embed(texts: Sequence[str], *, keep_end: bool) -> Floats:
    """A vector for each text, equal texts embedded once."""
    distinct = list(dict.fromkeys(texts))
    place = {text: number for number, text in enumerate(distinct)}
    vectors = _vectors(distinct, keep_end=keep_end)
    return np.asarray(vectors[[place[text] for text in texts]])


def _vectors(texts: Sequence[str], *, keep_end: bool) -> Floats:
    backbone = load(MINILM, best_precision())
    folder = os.environ.get("CURATOR_BENCH_CACHE")
    if not folder:
        return backbone.embed(texts, keep_end=[keep_end] * len(texts))[1]
    shape = (len(backbone.layers), backbone.dimension)
    cache = EmbeddingCache(Path(folder), backbone.digest, shape)
    keys = [key_of(text, keep_end=keep_end) for text in texts]
    by_key = dict(zip(keys, texts, strict=True))
    if missing := cache.missing(keys):
        counts, vectors = backbone.embed(
            [by_key[key] for key in missing], keep_end=[keep_end] * len(missing)
        )
        cache.put(missing, counts.tolist(), vectors)
    found = cache.get(keys)
    return np.stack([found[key][1] for key in keys])


def _slices_of(names: Sequence[str]) -> Slices:
    kept = tuple(name for name, count in Counter(names).most_common() if count >= LEAST_SLICE)
    shares = np.array([names.count(name) / len(names) for name in kept], dtype=np.float32)
    return Slices(kept, np.eye(len(kept), dtype=np.float32) - shares)


def _compared(keys_a: Keys, keys_b: Keys) -> tuple[Keys, Indices, Indices]:
    """The responses that stand in several pairs, and which of them each pair's A and B are."""
    keys, place, counts = np.unique(
        np.concatenate([keys_a, keys_b]), return_inverse=True, return_counts=True
    )
    several = counts > 1
    number = np.where(several, several.cumsum() - 1, several.sum())
    a, b = number[place.reshape(2, -1)]
    return keys[several], a, b
