"""What a whole model is trained on: pairs as tokens, what each of them teaches, and in which order
they come."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from scoring.core.targets import Targets
from scoring.engine.conversations import ReadPair, Text
from scoring.engine.prefix import packs

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

SORTED_BATCHES = 16  # whose pairs are sorted by length among each other, so that little is padded


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts as tokens, one after the other, in four bytes each."""

    tokens: npt.NDArray[np.int32]
    ends: Indices  # (texts,): one past the last token of each
    seconds: npt.NDArray[np.int32]  # (texts,): where an encoder's second segment begins

    @classmethod
    def of(cls, texts: Iterable[Text]) -> "Corpus":
        ids, seconds = [], []
        for text in texts:
            ids.append(text.ids.astype(np.int32))
            seconds.append(text.second)
        tokens = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32)
        ends = np.cumsum([len(each) for each in ids], dtype=np.int64)
        return cls(tokens, ends, np.array(seconds, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.ends)

    def text(self, i: int) -> Text:
        start = int(self.ends[i - 1]) if i else 0
        return Text(self.tokens[start : int(self.ends[i])].astype(np.int64), int(self.seconds[i]))

    @property
    def lengths(self) -> Indices:
        return np.diff(self.ends, prepend=0)


def corpus_of_pairs(pairs: Sequence[ReadPair]) -> Corpus:
    """A and B of each pair in turn."""
    return Corpus.of(text for pair in pairs for text in (pair.a, pair.b))


@dataclass(frozen=True, eq=False)
class Lesson:
    """n pairs, those that a member learns from and those that it is judged by."""

    texts: Corpus  # 2 n: A and B of each pair in turn
    targets: Targets  # (n,)
    labels: Floats  # (n,): +1 where A is preferred, -1 where B is, 0 for a tie
    trusted: Floats  # (n,): the same of labels that are known to be true; 0 where unknown
    learns: Booleans  # (n,): in the bag, and of some weight
    held_out: Booleans  # (n,): outside the bag
    sampled: Corpus | None = None  # responses of the policy, `width` of each prompt in turn
    width: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> Indices:
        """(n,): tokens of each pair's longer text."""
        return np.asarray(self.texts.lengths.reshape(-1, 2).max(axis=1))

    @property
    def prompts(self) -> int:
        """Of which responses were sampled."""
        return len(self.sampled) // self.width if self.sampled is not None else 0

    def texts_of(self, pairs: Indices) -> list[Text]:
        """A and B of the pairs in turn."""
        return [self.texts.text(2 * int(i) + side) for i in pairs for side in (0, 1)]

    def sampled_texts(self, prompts: Indices) -> list[Text]:
        assert self.sampled is not None
        places = (int(i) * self.width + k for i in prompts for k in range(self.width))
        return [self.sampled.text(place) for place in places]

    # --- For processes that train together --------------------------------------------------------

    def write(self, path: Path) -> None:
        """All that is learnt from; warnings about it stay with whoever tells them."""
        arrays = {f"texts.{k}": v for k, v in vars(self.texts).items()}
        taught = {k: v for k, v in vars(self.targets).items() if k != "warnings"}
        arrays |= {f"targets.{k}": v for k, v in taught.items()}
        names = ("labels", "trusted", "learns", "held_out")
        arrays |= {name: getattr(self, name) for name in names}
        if self.sampled is not None:
            arrays |= {f"sampled.{k}": v for k, v in vars(self.sampled).items()}
        arrays["width"] = np.array([self.width])
        save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, path)

    @classmethod
    def read(cls, path: Path) -> "Lesson":
        arrays = load_file(path)

        def part(of: str) -> dict[str, npt.NDArray[np.generic]]:
            return {k.removeprefix(of): v for k, v in arrays.items() if k.startswith(of)}

        return cls(
            texts=Corpus(**part("texts.")),  # type: ignore[arg-type]
            targets=Targets(**part("targets.")),  # type: ignore[arg-type]
            labels=arrays["labels"],
            trusted=arrays["trusted"],
            learns=arrays["learns"],
            held_out=arrays["held_out"],
            sampled=Corpus(**part("sampled.")) if part("sampled.") else None,  # type: ignore[arg-type]
            width=int(arrays["width"][0]),
        )


def batches_of_epoch(
    pairs: Indices, sizes: Indices, *, batch: int, seed: int, epoch: int
) -> list[Indices]:
    """The pairs of one epoch, in batches of similar length that come in any order; the same for
    the same seed and epoch. The last batch may be smaller.

    `sizes` are of `pairs`. Within a stretch of shuffled batches pairs are sorted by length: the
    order stays random from one stretch to the next, so that a batch is no tenth of the lengths.
    """
    generator = np.random.default_rng([seed, epoch])
    shuffled = generator.permutation(len(pairs))
    made = []
    for start in range(0, len(pairs), batch * SORTED_BATCHES):
        stretch = shuffled[start : start + batch * SORTED_BATCHES]
        stretch = stretch[np.argsort(sizes[stretch], kind="stable")]
        made += [pairs[stretch[i : i + batch]] for i in range(0, len(stretch), batch)]
    return [made[i] for i in generator.permutation(len(made))]


def parts_of(batch: Indices, sizes: Indices, *, token_budget: int) -> Iterator[Indices]:
    """The pairs of a batch in parts whose texts, padded to the longest, hold at most so many
    tokens; a pair that is larger alone goes alone. `sizes` are of the batch."""
    for part in packs([2 * int(size) for size in sizes], token_budget=token_budget, padded=True):
        yield batch[part]
