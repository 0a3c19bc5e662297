"""Rewards of many texts by the members of one family: everything once, nothing lost.

A family is one checkpoint, or several that share tokenizer, template and their lowest layers.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from scoring.core.options import EngineOptions
from scoring.engine import devices
from scoring.engine.checkpoints import Checkpoint
from scoring.engine.conversations import Text
from scoring.engine.decoders import NotPrunable, PackedDecoders, can_pack, depends_on_longest
from scoring.engine.devices import DeviceLost
from scoring.engine.padded import PaddedModel
from scoring.engine.prefix import Pack, Tree, packs, tree_of

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]
OnTokens = Callable[[int, int], None]

LARGEST_TREE = 4  # token budgets: a prompt with more responses than this is read several times


@dataclass
class Scored:
    """Rewards (texts, members), NaN for a text that was refused, and what it took."""

    rewards: Floats
    refused: dict[int, str] = field(default_factory=dict)  # text -> why
    tokens: int = 0  # that went through the model, padding included
    halvings: int = 0  # of the batch, for want of memory


@dataclass(frozen=True)
class _Unit:
    """Texts that go through together: one prefix tree, or one text where nothing is shared."""

    texts: tuple[int, ...]
    tree: Tree

    @property
    def size(self) -> int:
        return len(self.tree)


class Scorer:
    """Scores texts with all members of a family, by whichever path is exact for its
    architecture."""

    def __init__(
        self,
        members: Sequence[Checkpoint],
        *,
        shared: int = 0,
        options: EngineOptions | None = None,
    ) -> None:
        self.members = list(members)
        self.options = options or EngineOptions()
        self.device = members[0].device
        self.budget = self.options.token_budget or devices.BATCH_TOKENS[self.device.type]
        self.too_large: float = math.inf  # tokens that the device's memory did not hold at once
        self.packed = None
        if any(depends_on_longest(member) for member in members):
            self.budget = 1  # each text alone, which is the only batch with one meaning
        elif self.options.pack and all(can_pack(member) for member in members):
            self.packed = PackedDecoders(members, shared=shared, options=self.options)
        self.padded = [PaddedModel(member) for member in members]

    @property
    def path(self) -> str:
        return self.packed.path if self.packed is not None else PaddedModel.path

    def rewards(
        self, groups: Sequence[Sequence[Text]], *, on_tokens: OnTokens | None = None
    ) -> Scored:
        """Rewards of the groups' texts, in their order one after the other.

        A group holds the texts of one prompt; the same text is scored once, wherever it stands. A
        text that cannot be scored is refused and the others are not. `on_tokens` hears how many
        of all tokens are done. Raises DeviceLost.
        """
        texts = [text for group in groups for text in group]
        place: dict[bytes, int] = {}
        first = np.array([place.setdefault(text.key, i) for i, text in enumerate(texts)], dtype=int)
        found = Scored(np.full((len(texts), len(self.members)), np.nan, dtype=np.float32))
        self._refuse_unknown_tokens(texts, found)
        units = list(self._units(groups, first, found.refused))
        done, total = 0, sum(unit.size for unit in units)
        for some in self._batches(units):
            self._score([units[i] for i in some], texts, found)
            done += sum(units[i].size for i in some)
            if on_tokens is not None:
                on_tokens(done, total)
        found.rewards = found.rewards[first]
        for i, own in enumerate(first.tolist()):
            if own in found.refused:
                found.refused[i] = found.refused[own]
        return found

    def _refuse_unknown_tokens(self, texts: Sequence[Text], found: Scored) -> None:
        """Refuse what a GPU would answer by giving up the device: tokens beyond the embeddings,
        which a tokenizer has that was extended after the model."""
        known = min(each.body.get_input_embeddings().num_embeddings for each in self.members)
        for i, text in enumerate(texts):
            if len(text.ids) and int(text.ids.max()) >= known:
                found.refused[i] = f"The model has no embedding for token {int(text.ids.max())}."

    def _units(
        self,
        groups: Sequence[Sequence[Text]],
        first: npt.NDArray[np.int_],
        refused: Mapping[int, str],
    ) -> Iterator[_Unit]:
        start = 0
        for group in groups:
            whole = enumerate(group, start)
            own = {i: text for i, text in whole if first[i] == i and i not in refused}
            start += len(group)
            share = self.packed is not None and self.options.share_prefixes
            for some in self._small_enough(own) if share else ([i] for i in own):
                yield _Unit(tuple(some), tree_of([own[i].ids for i in some]))

    def _small_enough(self, texts: dict[int, Text]) -> Iterator[list[int]]:
        """The texts of one prompt in parts that fit a few batches; a part reads the prompt anew."""
        part: list[int] = []
        held = 0
        for i, text in texts.items():
            if part and held + len(text.ids) > LARGEST_TREE * self.budget:
                yield part
                part, held = [], 0
            part.append(i)
            held += len(text.ids)
        if part:
            yield part

    def _batches(self, units: Sequence[_Unit]) -> Iterable[list[int]]:
        return packs(
            [unit.size for unit in units],
            token_budget=self.budget,
            padded=self.packed is None,
            in_order=not self.options.sort_by_length,
        )

    def _score(self, units: list[_Unit], texts: Sequence[Text], found: Scored) -> None:
        """Score the units; where that fails, their halves, down to the one text that is at
        fault."""
        if self._is_too_large(units):
            self._split(units, texts, found, "")
            return
        rewards, reason = self._tried(units, texts, found)
        if rewards is None:
            self._split(units, texts, found, reason)
            return
        finite = np.isfinite(rewards).all(axis=1)
        order = np.array([i for unit in units for i in unit.texts])
        if finite.all():
            found.rewards[order] = rewards
        elif len(order) == 1:
            found.refused[int(order[0])] = "The model's reward is not a finite number."
            found.rewards[order] = np.where(np.isfinite(rewards), rewards, np.nan)
        else:  # one text may have spoilt those beside it
            self._split(units, texts, found, "")

    def _tried(
        self, units: list[_Unit], texts: Sequence[Text], found: Scored
    ) -> tuple[Floats | None, str]:
        """Rewards (texts of the units, members), or why there are none. Raises DeviceLost."""
        is_prunable = fits = True
        reason = ""
        try:
            return self._forward(units, texts, found), ""
        except NotPrunable:
            is_prunable = False
        except Exception as error:  # whatever the model's code may raise over one odd text
            if devices.is_device_lost(error):
                first = str(error).partition("\n")[0]
                raise DeviceLost(f"The device stopped answering: {first}") from error
            fits, reason = not devices.is_out_of_memory(error), _reason(error)
        # out here, where the error no longer holds the tensors of the pass that failed
        if not is_prunable:
            self._without_pruning()
            return self._tried(units, texts, found)
        if not fits:
            self._halve(self._size(units), found)
        return None, reason

    def _split(self, units: list[_Unit], texts: Sequence[Text], found: Scored, reason: str) -> None:
        if len(units) > 1:
            middle = len(units) // 2
            self._score(units[:middle], texts, found)
            self._score(units[middle:], texts, found)
        elif len(units[0].texts) > 1:
            own = units[0].texts
            for half in (own[: len(own) // 2], own[len(own) // 2 :]):
                self._score([_Unit(half, tree_of([texts[i].ids for i in half]))], texts, found)
        else:
            found.refused[units[0].texts[0]] = reason

    def _forward(self, units: list[_Unit], texts: Sequence[Text], found: Scored) -> Floats:
        """(texts of the units, members)"""
        if self.packed is not None:
            pack = Pack(tuple(unit.tree for unit in units))
            found.tokens += len(pack.tokens)
            return np.asarray(self.packed.rewards(pack).cpu().numpy(), dtype=np.float32)
        own = [texts[i] for unit in units for i in unit.texts]
        found.tokens += len(own) * max(len(text.ids) for text in own)
        columns = [padded.rewards(own).cpu().numpy() for padded in self.padded]
        return np.concatenate(columns, axis=1)

    def _is_too_large(self, units: list[_Unit]) -> bool:
        """Whether there is no need to try, since as much was too much before."""
        if len(units) > 1:
            return self._size(units) > self.budget
        return self._size(units) >= self.too_large and len(units[0].texts) > 1

    def _size(self, units: list[_Unit]) -> int:
        """Tokens that go through together, padding included."""
        if self.packed is not None:
            return sum(unit.size for unit in units)
        return len(units) * max(unit.size for unit in units)

    def _halve(self, size: int, found: Scored) -> None:
        self.too_large = min(self.too_large, size)
        self.budget = max(min(self.budget, size // 2), 1)
        found.halvings += 1
        devices.free_memory()
        logger.warning("out of memory, batches of %d tokens from now on", self.budget)

    def _without_pruning(self) -> None:
        assert self.packed is not None
        self.packed.give_up_pruning()


def _reason(error: BaseException) -> str:
    if devices.is_out_of_memory(error):
        return "The text is too long for this device's memory."
    return f"The model fails on this text: {type(error).__name__}: {error}"[:300]
