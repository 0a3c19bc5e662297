"""What a training has reached, kept in a folder so that a killed worker's successor goes on from
there and ends with the same weights.

Nothing random is kept: a step draws its dropout and its batch from the seed and its own number.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from curator.lib.refusals import Refusal

WEIGHTS, OPTIMISER, PROGRESS, BEST = (
    "weights.safetensors",
    "optimiser.safetensors",
    "progress.json",
    "best.safetensors",
)
TOKENIZER = "tokenizer_digest"

Named = list[tuple[str, nn.Parameter]]


@dataclass(frozen=True)
class Savepoints:
    """The folder of one training; `facts` are what must be the same for its successor to go on."""

    folder: Path
    facts: Mapping[str, str]

    def save(
        self, step: int, weights: Named, optimiser: torch.optim.Optimizer, progress: Any
    ) -> None:
        """Keep this step, and only then let go of those before it."""
        fresh = self.folder / f"fresh-{os.getpid()}"  # whoever is taken for dead may write still
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        save_file({name: _kept(weight) for name, weight in weights}, fresh / WEIGHTS)
        save_file(_flat(optimiser, weights), fresh / OPTIMISER)
        written = {"facts": dict(self.facts), "step": step, "progress": progress}
        (fresh / PROGRESS).write_text(json.dumps(written))
        _synced(fresh)
        kept = self.folder / f"step-{step:08d}"
        shutil.rmtree(kept, ignore_errors=True)
        fresh.rename(kept)
        _synced(self.folder)
        for older in self._kept_steps():
            if older != kept:
                shutil.rmtree(older, ignore_errors=True)

    def resume(
        self, weights: Named, optimiser: torch.optim.Optimizer
    ) -> tuple[int, dict[str, Any]] | None:
        """Bring weights and optimiser to the last step that was kept: its number, and what was
        noted with it. None where there is nothing to go on from, or it was of another training.
        Raises Refusal where the tokenizer is another by now."""
        steps = self._kept_steps()
        if not steps:
            return None
        written = json.loads((steps[-1] / PROGRESS).read_bytes())
        if written["facts"].get(TOKENIZER) != self.facts.get(TOKENIZER):
            raise Refusal(
                "The base's tokenizer is not the one that this training began with: start it anew "
                "under another name."
            )
        if written["facts"] != dict(self.facts):
            self.clear()
            return None
        load_into(steps[-1] / WEIGHTS, weights)
        _fill(optimiser, weights, load_file(steps[-1] / OPTIMISER))
        return int(written["step"]), written["progress"]

    def save_best(self, weights: Named) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f"{BEST}-{os.getpid()}"
        save_file({name: _kept(weight) for name, weight in weights}, fresh)
        fresh.replace(self.folder / BEST)

    def restore_best(self, weights: Named) -> None:
        if (self.folder / BEST).is_file():
            load_into(self.folder / BEST, weights)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kept_steps(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob(f"step-*/{PROGRESS}"))


def load_into(path: Path, weights: Iterable[tuple[str, nn.Parameter]]) -> None:
    found = load_file(path)
    with torch.no_grad():
        for name, weight in weights:
            weight.copy_(found[name])


def _kept(weight: Tensor) -> Tensor:
    return weight.detach().cpu().contiguous().clone()


def _flat(optimiser: torch.optim.Optimizer, weights: Named) -> dict[str, Tensor]:
    return {
        f"{part} {name}": _kept(value)
        for name, weight in weights
        for part, value in optimiser.state[weight].items()
    }


def _fill(optimiser: torch.optim.Optimizer, weights: Named, found: Mapping[str, Tensor]) -> None:
    by_name = dict(weights)
    for key, value in found.items():
        part, name = key.split(" ", 1)
        weight = by_name[name]
        # how many steps it took stays on the CPU, as torch has it
        own = value if part == "step" else value.to(weight.device)
        optimiser.state[weight][part] = own


def _synced(folder: Path) -> None:
    for path in [*(each for each in folder.iterdir() if each.is_file()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
