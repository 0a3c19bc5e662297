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
        logger.info("loaded checkpoint %s bytes=%d", key[:12], checkpoint.bytes)
        self.kept[key] = checkpoint
        return checkpoint

    def _make_room(self, needed: int) -> None:
        most = devices.memory_for_models() if self.most_bytes is None else self.most_bytes
        while self.kept and sum(each.bytes for each in self.kept.values()) + needed > most:
            key, _ = self.kept.popitem(last=False)
            logger.info("unloaded checkpoint %s", key[:12])
            devices.free_memory()
