"""Fine-tune on all devices of a host at once: a process for each, in step with the others.

The processes share a batch's pairs and add up their gradients, so that several devices give what
one would. They are started for one training and end with it; the worker that started them hears
how it goes, line by line, and stays the only one that knows the database.
"""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from curator.lib.refusals import Refusal
from scoring.core import recipes
from scoring.core.curves import Point
from scoring.core.recipes import Recipe
from scoring.training import finetune, learners
from scoring.training.diverging import Diverged
from scoring.training.finetune import PROTOTYPES, OnLook, OnSave, OnStep, Pace, ShouldStop, Tuned
from scoring.training.learners import Learner
from scoring.training.lessons import Lesson
from scoring.training.savepoints import Savepoints, load_into

logger = logging.getLogger(__name__)

JOB, LESSON, RESULT, STOP = "job.json", "lesson.safetensors", "result.safetensors", "stop"
SAID = "curator: "  # what a line for the worker begins with, among those of libraries
LONGEST_END = 60.0  # seconds, from the last word of the processes to their end
ERRORS = {"Diverged": Diverged, "Refusal": Refusal}


def fine_tune(
    learner: Learner,
    lesson: Lesson,
    recipe: Recipe,
    *,
    seed: int,
    savepoints: Savepoints,
    pace: Pace | None = None,
    on_step: OnStep | None = None,
    on_look: OnLook | None = None,
    on_save: OnSave | None = None,
    should_stop: ShouldStop | None = None,
    processes: int | None = None,
    within: Path | None = None,
) -> Tuned:
    """`finetune.fine_tune` in as many processes as there are GPUs, and in this one where there is
    one or none. The learner's weights are the result in either case."""
    count = max(torch.cuda.device_count(), 1) if processes is None else processes
    if count == 1:
        return finetune.fine_tune(
            learner,
            lesson,
            recipe,
            seed=seed,
            savepoints=savepoints,
            pace=pace,
            on_step=on_step,
            on_look=on_look,
            on_save=on_save,
            should_stop=should_stop,
        )
    folder = savepoints.folder.with_name(f"{savepoints.folder.name}-shared")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        lesson.write(folder / LESSON)
        job = {
            "recipe": recipes.as_json(recipe),
            "seed": seed,
            "savepoints": str(savepoints.folder),
            "facts": dict(savepoints.facts),
            "pace": asdict(pace or Pace()),
            "within": None if within is None else str(within),
        }
        (folder / JOB).write_text(json.dumps(job))
        tuned = _followed(folder, count, on_step, on_look, on_save, should_stop)
        if tuned.is_complete:
            load_into(folder / RESULT, learner.learning())
            learner.model.eval()
        return tuned
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _followed(
    folder: Path,
    count: int,
    on_step: OnStep | None,
    on_look: OnLook | None,
    on_save: OnSave | None,
    should_stop: ShouldStop | None,
) -> Tuned:
    """Start the processes and pass on what they say, until they end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(count), "--module", __name__, str(folder)]
    logger.info("trains in %d processes", count)
    with subprocess.Popen(  # noqa: S603 - our own module, by this interpreter
        command, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            for said in _heard(process):
                if "error" in said:
                    raise ERRORS[said["error"]](said["reason"])
                if "steps" in said:
                    curve = [Point.from_dict(each) for each in said.pop("curve")]
                    return Tuned(**said, curve=curve)
                if "look" in said and on_look is not None:
                    on_look(Point.from_dict(said["look"]))
                if "saved" in said and on_save is not None:
                    on_save(said["saved"])
                if "step" in said and on_step is not None:
                    on_step(said["step"], said["total"])
                if should_stop is not None and should_stop():
                    (folder / STOP).touch()
        except BaseException:
            process.terminate()  # the launcher ends its processes: the device is free at once
            raise
        finally:
            _end(process)
    raise RuntimeError(f"The training's processes ended with status {process.returncode}.")


def _heard(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(SAID):
            yield json.loads(line.removeprefix(SAID))


def _end(process: subprocess.Popen[str]) -> None:
    """See the processes off, which have said their last word or were told to end."""
    try:
        process.wait(timeout=LONGEST_END)
    except subprocess.TimeoutExpired:
        process.kill()


# --- One of the processes -------------------------------------------------------------------------


def main(folder: Path) -> None:
    job = json.loads((folder / JOB).read_text())
    recipe = recipes.parse(job["recipe"])
    within = None if job["within"] is None else Path(job["within"])
    try:
        learner = learners.load(
            recipe.model, seed=job["seed"], within=within, half=torch.cuda.is_available()
        )
        tuned = finetune.fine_tune(
            learner,
            Lesson.read(folder / LESSON),
            recipe,
            seed=job["seed"],
            savepoints=Savepoints(Path(job["savepoints"]), job["facts"]),
            pace=Pace(**job["pace"]),
            on_step=lambda step, total: _say_once({"step": step, "total": total}),
            on_look=lambda point: _say_once({"look": point.as_dict()}),
            on_save=lambda step: _say_once({"saved": step}),
            should_stop=(folder / STOP).exists,
        )
    except Refusal as refusal:
        kind = "Diverged" if isinstance(refusal, Diverged) else "Refusal"
        _say({"error": kind, "reason": str(refusal)})  # any of them: the others wait for it in vain
        return
    if _is_first() and tuned.is_complete:
        weights = {
            name: weight.detach().cpu().contiguous()
            for name, weight in learner.learning()
            if name != PROTOTYPES
        }
        save_file(weights, folder / RESULT)
    _say_once({**asdict(tuned), "curve": [point.as_dict() for point in tuned.curve]})


def _is_first() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _say_once(what: dict[str, Any]) -> None:
    """What all processes know, from one of them."""
    if _is_first():
        _say(what)


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(f"{SAID}{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
