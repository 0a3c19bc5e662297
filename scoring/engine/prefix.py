"""Texts that begin alike, laid out so that what they share is read once.

A *tree* is the prefix tree (trie) of the texts of one prompt as a single sequence of tokens in
depth-first order: the prompt, then one response after the other. Every token keeps the position it
has in its own text. A token's descendants are the tokens from itself up to its `end`, so that
"may i attend to j" is `j <= i < end[j]`, whatever the shape of the tree and however many trees
stand one after the other in a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """The prefix tree of n texts, t tokens in depth-first order."""

    tokens: Tokens  # (t,)
    positions: Indices  # (t,): of each token in its own text
    ends: Indices  # (t,): one past the last descendant
    leaves: Indices  # (n,): the last token of each text

    def __len__(self) -> int:
        return len(self.tokens)


def tree_of(texts: Sequence[Tokens]) -> Tree:
    """The prefix tree of texts that hold at least one token each; the order of `leaves` is
    theirs."""
    order = sorted(range(len(texts)), key=lambda i: texts[i].astype(">u4").tobytes())
    pieces: list[Tokens] = []
    starts: list[Indices] = []
    leaves = np.zeros(len(texts), dtype=np.int64)
    ends = np.zeros(sum(map(len, texts)), dtype=np.int64)
    path, previous, total = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 0
    for i in order:
        text = texts[i]
        shared = common_prefix(previous, text)
        ends[path[shared:]] = total
        fresh = text[shared:]
        pieces.append(fresh)
        starts.append(np.arange(shared, len(text)))
        path = np.concatenate([path[:shared], np.arange(total, total + len(fresh))])
        total += len(fresh)
        leaves[i] = path[-1]
        previous = text
    ends[path] = total
    return Tree(np.concatenate(pieces), np.concatenate(starts), ends[:total], leaves)


def common_prefix(one: Tokens, other: Tokens) -> int:
    """How many tokens two texts begin with in common."""
    shorter = min(len(one), len(other))
    different = np.flatnonzero(one[:shorter] != other[:shorter])
    return int(different[0]) if len(different) else shorter


def tokens_needed(groups: Sequence[Sequence[Tokens]]) -> int:
    """How many tokens a perfect scorer reads: each group's prefix tree once."""
    return sum(len(tree_of(texts)) for texts in groups if texts)


@dataclass(frozen=True)
class Pack:
    """Trees that go through the model together, one after the other in one sequence of t
    tokens."""

    trees: tuple[Tree, ...]

    @property
    def tokens(self) -> Tokens:
        return np.concatenate([tree.tokens for tree in self.trees])

    @property
    def positions(self) -> Indices:
        return np.concatenate([tree.positions for tree in self.trees])

    @property
    def starts(self) -> Indices:
        """(trees,): where each tree begins."""
        return np.cumsum([0, *(len(tree) for tree in self.trees)])[:-1]

    @property
    def ends(self) -> Indices:
        return self._shifted("ends")

    @property
    def leaves(self) -> Indices:
        """The last tokens of all texts, tree by tree."""
        return self._shifted("leaves")

    def _shifted(self, name: str) -> Indices:
        pieces = zip(self.trees, self.starts, strict=True)
        return np.concatenate([getattr(tree, name) + start for tree, start in pieces])


def packs(
    sizes: Sequence[int], *, token_budget: int, padded: bool = False, in_order: bool = False
) -> Iterator[list[int]]:
    """Which trees go together: indices into `sizes`, the largest first, so that too large a batch
    shows at once.

    A pack holds at most `token_budget` tokens, counted with the padding to its longest where it is
    `padded`; what is larger alone goes alone. `in_order` leaves them as they come.
    """
    order = range(len(sizes)) if in_order else np.argsort(-np.asarray(sizes), kind="stable")
    pack: list[int] = []
    held = longest = 0
    for i in map(int, order):
        longest_with = max(longest, sizes[i])
        held_with = (len(pack) + 1) * longest_with if padded else held + sizes[i]
        if pack and held_with > token_budget:
            yield pack
            pack, held_with, longest_with = [], sizes[i], sizes[i]
        pack.append(i)
        held, longest = held_with, longest_with
    if pack:
        yield pack
