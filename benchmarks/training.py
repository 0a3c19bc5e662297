"""How long the heads of an ensemble take, trained in one batched pass, beside one after the other.

    python -m benchmarks.training [--quick] [--json PATH]

Ten heads of each kind are trained on the pairs of HH, whose texts have been embedded before, as
`train_ensemble` trains them: linear ones with all their penalties, and ones with a hidden layer by
the recipe's usual optimiser. The baseline trains the same heads one by one. Memory is what a
training adds at its peak to what the process held before. OMP_NUM_THREADS=1 gives steadier figures
on a machine that others use.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.planted_flips import CASES
from benchmarks.prepared import Prepared, prepare, read
from benchmarks.reporting import Report, Row, options_of, say
from scoring.core import strength
from scoring.core.bags import bags, in_bag
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import Recipe
from scoring.engine.heads import Slices
from scoring.training.heads import Trained
from scoring.training.teaching import teach

Booleans = npt.NDArray[np.bool_]
Found = TypeVar("Found")

RECIPES = ("plain", "hidden layer", "SimCSE on pairs", "SwAV on differences", "robust")
COMPARED = ("plain", "hidden layer")  # also one by one
MEMBERS = 10
MEMORY_MEMBERS = (2, 10, 40)
SECONDS = 10.0
FASTER = 4.0
QUICK_PAIRS = 400
PROCESS = Path("/proc/self")


def main() -> None:
    options = options_of("training", "How long ten heads take, in one pass and one by one.")
    report = Report("training", baseline="one by one")
    (case,) = (case for case in CASES if case.name == "hh-rlhf")
    if not case.path.exists():
        report.skip(f"{case.name}, because {case.path} is absent (set CURATOR_BENCH_DATA).")
        report.show(options.json)
        return
    prepared = prepare(read(case)[: QUICK_PAIRS if options.quick else None])
    for name in RECIPES:
        say(f"{name}:")
        report.rows += times(prepared, PRESETS[name], name in COMPARED)
    for name in COMPARED:
        report.rows += memory(prepared, PRESETS[name], report)
    report.show(options.json)


def times(prepared: Prepared, recipe: Recipe, is_compared: bool) -> list[Row]:
    """Seconds of ten heads at once and, where they are compared, one by one."""
    bag = in_bag(prepared.digests, bags(MEMBERS, seed=0))
    train(prepared, bag[:, :1], recipe)  # what is done once a process is done before
    trained, seconds = timed(lambda: train(prepared, bag, recipe))
    unseen = np.where(bag, np.nan, trained.margins.astype(np.float64))
    accuracy = float(strength.accuracy(unseen).mean())
    rows = [
        Row(
            f"{recipe.name}: {MEMBERS} heads",
            seconds,
            "s",
            target=SECONDS,
            smaller_is_better=True,
            note=f"{len(bag):,} pairs, accuracy outside the bags {accuracy:.3f}",
        )
    ]
    if is_compared:
        single, alone = timed(
            lambda: [
                train(prepared, bag[:, [member]], recipe, seed=member) for member in range(MEMBERS)
            ]
        )
        rows.append(
            Row(
                "  in one pass",
                seconds,
                "s",
                baseline=alone,
                target=FASTER,
                target_is_ratio=True,
                smaller_is_better=True,
                note=f"{len(single)} trainings of one head",
            )
        )
    return rows


def memory(prepared: Prepared, recipe: Recipe, report: Report) -> list[Row]:
    """The most memory that a training adds, by how many members there are; Linux only."""
    if not PROCESS.exists():
        report.skip("Memory, which only Linux tells.")
        return []
    rows = []
    for members in MEMORY_MEMBERS:
        bag = in_bag(prepared.digests, bags(members, seed=0))
        (PROCESS / "clear_refs").write_text("5")  # the peak begins anew
        before = megabytes("VmRSS")
        train(prepared, bag, recipe)
        added = megabytes("VmHWM") - before
        rows.append(
            Row(
                f"{recipe.name}: memory of {members} heads",
                added,
                "MB",
                smaller_is_better=True,
                note=f"beside {prepared.pairs.differences.nbytes / 1e6:,.0f} MB of differences",
            )
        )
    return rows


def train(prepared: Prepared, bag: Booleans, recipe: Recipe, seed: int = 0) -> Trained:
    return teach(prepared.pairs, bag, recipe, space=prepared.space, slices=Slices.none(), seed=seed)


def timed(work: Callable[[], Found]) -> tuple[Found, float]:
    """What the work has found, and the seconds it took."""
    started = time.perf_counter()
    found = work()
    return found, time.perf_counter() - started


def megabytes(name: str) -> float:
    """A figure of this process's memory."""
    lines = (PROCESS / "status").read_text().splitlines()
    (found,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(found) * 1024 / 1e6


if __name__ == "__main__":
    main()
