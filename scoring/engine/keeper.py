"""Loaded checkpoints, kept by what names them for as long as they fit in memory together."""

import logging
from collections import OrderedDict
from collections.abc import Callable

from scoring.engine import devices
from scoring.engine.checkpoints import Checkpoint

logger = logging.getLogger(__name__)


class Keeper:
    """The least recently used checkpoint goes first. One a process: it owns the device."""

    def __init__(self, most_bytes: int | None = None) -> None:
        self.most_bytes = most_bytes
        self.kept: OrderedDict[str, Checkpoint] = OrderedDict()

    def get(self, key: str, load: Callable[[], Checkpoint], *, bytes_needed: int) -> Checkpoint:
        """The checkpoint of that key, loaded if it must be, after room was made for it."""
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key]
        self._make_room(bytes_needed)
        checkpoint = load()
        self.kept[key] = checkpoint
        logger.info("loaded checkpoint %s, all hold bytes=%d", key[:12], self.bytes)
        return checkpoint

    @property
    def bytes(self) -> int:
        """What all of them hold; a tensor that several share counts once."""
        held: dict[int, int] = {}
        for checkpoint in self.kept.values():
            held |= checkpoint.tensors
        return sum(held.values())

    def _make_room(self, needed: int) -> None:
        most = devices.memory_for_models() if self.most_bytes is None else self.most_bytes
        while self.kept and self.bytes + needed > most:
            key, _ = self.kept.popitem(last=False)
            logger.info("unloaded checkpoint %s", key[:12])
            devices.free_memory()
