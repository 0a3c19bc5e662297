"""Fine-tune one member of an ensemble and register what comes out; when all are there, bring them
together. Runs on the device."""

import gc
import hashlib
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from django.conf import settings
from django.db import transaction

from annotations.models import PreferencePair
from curator.lib import digests, work
from curator.lib.batches import batches
from curator.lib.processes import this_process
from curator.lib.refusals import Refusal
from curator.lib.work import Work
from scoring import checkpoints, fitting, recipe_book, responses
from scoring.core import curves, recipes
from scoring.core.bags import in_bag
from scoring.core.curves import Point
from scoring.core.recipes import KINDS, Recipe
from scoring.engine import devices
from scoring.engine.conversations import Conversations, ReadPair, Text, Unreadable
from scoring.environment import environment
from scoring.finetuning import plans
from scoring.labels import labelled_pairs, trusted
from scoring.models import (
    Checkpoint,
    Ensemble,
    MemberTraining,
    Precision,
    ResponseSet,
    RewardModel,
    TrainingRun,
)
from scoring.responses import Sampled
from scoring.shards import NotEnoughPairs
from scoring.training import finetune, learners, side_by_side
from scoring.training.diverging import Diverged
from scoring.training.finetune import Pace, Tuned
from scoring.training.learners import Learner
from scoring.training.lessons import Corpus, Lesson, corpus_of_pairs
from scoring.training.savepoints import TOKENIZER, Savepoints

logger = logging.getLogger(__name__)

Booleans = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

PACE = Pace()
CHUNK = 1024  # pairs that are read at once
HEARD_EVERY = 2.0  # seconds between two signs of life
LONGEST_NAME = 60


class CannotRegister(Refusal):
    """What was trained does not pass the test that every model passes before it scores."""


@dataclass(frozen=True)
class _Material:
    """What one member learns from, and what is told of it."""

    lesson: Lesson
    data_digest: str  # of what this member learns
    labels_digest: str  # of all labels, the same for all members
    labelled: int
    truncated: int
    unreadable: int
    why_unreadable: str

    @property
    def told(self) -> list[str]:
        found = list(self.lesson.targets.warnings)
        if self.truncated:
            found.append(
                f"{self.truncated:,} of {len(self.lesson):,} pairs are longer than the model "
                f"reads here: of these, the beginning of the prompt is left out."
            )
        if self.unreadable:
            found.append(f"{self.unreadable:,} pairs cannot be read: {self.why_unreadable}")
        return found


def train(row: MemberTraining) -> None:
    """Train the member from where its last worker left it, store and register it. Asked to pause,
    it is put back in the queue with what it has reached. Raises Refusal, Diverged among them."""
    run = row.run
    ensemble = run.ensemble
    recipe = recipe_book.recipe_of(ensemble)
    folder = folder_of(ensemble, row.position)
    seed = _seed_of(row, ensemble)
    checkpoints.keeper.kept.clear()  # a training needs the memory that models are kept in
    devices.free_memory()
    started = time.monotonic()
    # who has an account names models of the hub and of the folder that was set aside
    within = None if ensemble.created_by_id is None else settings.CHECKPOINTS_FOLDER
    on_gpu = torch.cuda.is_available()
    learner = learners.load(recipe.model, seed=seed, within=within, half=on_gpu)
    work.renew(row)
    material = _material(row, learner, recipe)
    facts = {
        TOKENIZER: learner.tokenizer_digest,
        "base": learner.base_digest,
        "recipe": recipes.digest(recipe),
        "data": material.data_digest,
        "seed": str(seed),
    }
    savepoints = Savepoints(folder / "state", facts)
    heard = _Heard(row)
    try:
        done = side_by_side.fine_tune(
            learner,
            material.lesson,
            recipe,
            seed=seed,
            savepoints=savepoints,
            pace=PACE,
            on_step=heard.step,
            on_look=heard.look,
            on_save=heard.saved,
            should_stop=heard.is_paused,
            within=within,
        )
    except Diverged:
        savepoints.clear()
        work.renew(row, restarts=row.restarts + 1)
        raise
    if not done.is_complete:
        work.release(row, status=Work.Status.QUEUED, steps_done=done.steps)
        return
    _finish(row, learner, material, done, folder, seconds=time.monotonic() - started)
    savepoints.clear()


def bring_together(run: TrainingRun) -> None:
    """The ensemble's members from what was trained, in one transaction with the run's end."""
    ensemble = run.ensemble
    rows = list(run.member_trainings.select_related("checkpoint"))
    own_bags = fitting.bags_of(ensemble)
    members = []
    for row, bag in zip(rows, own_bags, strict=True):
        assert row.checkpoint is not None
        members.append(
            RewardModel(
                ensemble=ensemble,
                position=row.position,
                name=f"{ensemble.name}-{row.position + 1:02d}",
                seed=row.found["seed"],
                bag=bag.as_dict(),
                digest=row.checkpoint.digest,
                checkpoint=row.checkpoint,
                card={**row.found, "bag": bag.as_dict()},
                out_of_bag_accuracy=row.found["out_of_bag_accuracy"],
                seconds=row.found["seconds"],
            )
        )
    summary = {
        **run.summary,
        "labelled": rows[0].found["labelled"],
        "data_digest": rows[0].found["labels_digest"],
        "warnings": sorted({sentence for row in rows for sentence in row.warnings}),
    }
    with transaction.atomic():
        ensemble.members.all().delete()
        RewardModel.objects.bulk_create(members)
        work.finish(
            run,
            steps_done=sum(row.steps_done for row in rows),
            steps_total=sum(row.steps_total for row in rows),
            summary=summary,
            environment=rows[-1].found["environment"],
        )


def folder_of(ensemble: Ensemble, position: int) -> Path:
    """Where a member is trained and, in `model`, kept."""
    return Path(settings.CURATOR_HOME) / "models" / str(ensemble.pk) / f"{position + 1:02d}"


def _seed_of(row: MemberTraining, ensemble: Ensemble) -> int:
    """Another for each member, and after it diverged."""
    named = [int(ensemble.recipe["seed"]), row.position, row.restarts]
    return int(np.random.SeedSequence(named).generate_state(1, np.uint32)[0])


# --- What is learnt from --------------------------------------------------------------------------


def _material(row: MemberTraining, learner: Learner, recipe: Recipe) -> _Material:
    """The pairs of the member's bag and a sample of those outside, as tokens."""
    ensemble = row.run.ensemble
    labelled = labelled_pairs(
        ensemble.dataset, keeps_ties=recipe.keeps_ties, until=plans.until(row.run)
    )
    taught = fitting.taught_to(ensemble, labelled, recipe, until=row.run.planned_at)
    own_bags = fitting.bags_of(ensemble)
    bag = in_bag(fitting.units_of(labelled, own_bags), own_bags)
    fitting.check_bags(bag, taught)
    own = bag[:, row.position]
    known = trusted(labelled, ensemble.dataset).astype(np.float64)
    judged = finetune.watched(
        np.flatnonzero(~own & (taught.used | (known != 0))), known, row.position
    )
    learns = own & taught.used
    wanted = np.union1d(np.flatnonzero(learns), judged)
    read = _read([labelled.ids[i] for i in wanted], learner, row)
    kept = np.array([isinstance(each, ReadPair) for each in read], dtype=np.bool_)
    refused = [each.reason for each in read if isinstance(each, Unreadable)]
    chosen = wanted[kept]
    if not learns[chosen].any():
        raise NotEnoughPairs(
            f"The model can read none of the pairs that it is to learn from: {refused[0]}"
            if refused
            else "There is no pair to learn from."
        )
    pairs = [each for each in read if isinstance(each, ReadPair)]
    lesson = Lesson(
        texts=corpus_of_pairs(pairs),
        targets=taught.of(chosen),
        labels=labelled.labels[chosen].astype(np.float64),
        trusted=known[chosen],
        learns=learns[chosen],
        held_out=~own[chosen],
    )
    if recipe.meta is not None:
        lesson = _with_sampled(lesson, ensemble, recipe, learner, row)
    return _Material(
        lesson=lesson,
        data_digest=_digest_of(lesson),
        labels_digest=labelled.data_digest,
        labelled=len(labelled.ids),
        truncated=sum(each.truncated for each in pairs),
        unreadable=len(refused),
        why_unreadable=refused[0] if refused else "",
    )


def _read(ids: Sequence[int], learner: Learner, row: MemberTraining) -> list[ReadPair | Unreadable]:
    found: list[ReadPair | Unreadable] = []
    for some in batches(list(ids), CHUNK):
        rows = PreferencePair.objects.only("prompt", "response_a", "response_b").in_bulk(some)
        pairs = [rows[pk] for pk in some]
        found += learner.reader.read(
            [Conversations(pair.prompt, pair.response_a, pair.response_b) for pair in pairs]
        )
        work.renew(row)
    return found


def _with_sampled(
    lesson: Lesson, ensemble: Ensemble, recipe: Recipe, learner: Learner, row: MemberTraining
) -> Lesson:
    """The lesson with the first so many responses of each prompt that has as many, as the model
    reads them."""
    assert recipe.meta is not None
    found = ResponseSet.objects.get(pk=ensemble.recipe["responses"])
    width = recipe.meta.responses
    enough = (each for each in responses.read(found) if len(each.responses) >= width)
    texts: list[Text] = []
    for some in batches(enough, max(CHUNK // width, 1)):
        texts += _texts_of_prompts(some, learner, width)
        work.renew(row)
    if not texts:
        raise NotEnoughPairs(
            f"No prompt of {found.name} has the {width} responses that the recipe asks for, of a "
            f"kind that the model reads."
        )
    return replace(lesson, sampled=Corpus.of(texts), width=width)


def _texts_of_prompts(some: Sequence[Sampled], learner: Learner, width: int) -> list[Text]:
    """The first so many responses of each prompt, read two at a time; without prompts of which the
    model cannot read one."""
    firsts = range(0, width, 2)
    by_two = [
        Conversations(each.prompt, each.responses[i], each.responses[min(i + 1, width - 1)])
        for each in some
        for i in firsts
    ]
    read = learner.reader.read(by_two)
    found: list[Text] = []
    for own in batches(read, len(firsts)):
        pairs = [each for each in own if isinstance(each, ReadPair)]
        if len(pairs) == len(own):
            found += [text for pair in pairs for text in (pair.a, pair.b)][:width]
    return found


def _digest_of(lesson: Lesson) -> str:
    """Names what is learnt, so that nobody goes on with something else. By what it is judged may
    change meanwhile: people go on deciding."""
    learnt = np.flatnonzero(lesson.learns)
    read = hashlib.sha256()
    for some in batches(learnt.tolist(), CHUNK):
        for text in lesson.texts_of(np.array(some)):
            read.update(text.key)
    taught = lesson.targets.of(learnt)
    arrays = (taught.direction, taught.probability, taught.margin, taught.weight)
    return digests.of_value(
        [read.hexdigest(), *(digests.of_bytes(each.tobytes()) for each in arrays)]
    )


# --- While it goes on -----------------------------------------------------------------------------


class _Heard:
    """Notes progress on the member's row, now and then, and looks whether its run is paused."""

    def __init__(self, row: MemberTraining) -> None:
        self.row = row
        self.curve = [Point.from_dict(each) for each in row.curve]
        self.renewed = self.asked = 0.0

    def step(self, done: int, total: int) -> None:
        """Raises LeaseLost where the member was cancelled or taken over."""
        now = time.monotonic()
        if done == total or now - self.renewed >= HEARD_EVERY:
            self.renewed = now
            work.renew(self.row, steps_done=done, steps_total=total)

    def look(self, point: Point) -> None:
        # what an earlier worker saw after its last savepoint is seen again
        self.curve = [*(each for each in self.curve if each.step < point.step), point]
        shown = [each.as_dict() for each in curves.thinned(self.curve)]
        work.renew(self.row, curve=shown)

    def saved(self, step: int) -> None:
        """A savepoint is progress: a training that takes days may lose more workers than work that
        comes to nothing."""
        work.renew(self.row, attempts=0)

    def is_paused(self) -> bool:
        now = time.monotonic()
        if now - self.asked < HEARD_EVERY:
            return False
        self.asked = now
        paused = TrainingRun.objects.filter(pk=self.row.run_id, paused_at__isnull=False)
        return paused.exists()


# --- Its end --------------------------------------------------------------------------------------


def _finish(
    row: MemberTraining,
    learner: Learner,
    material: _Material,
    done: Tuned,
    folder: Path,
    *,
    seconds: float,
) -> None:
    """Store the model, have it tested as any other that is registered, and finish the row."""
    dtype = Precision.BFLOAT16 if torch.cuda.is_available() else Precision.FLOAT32
    found = _found(row, learner, material, done, dtype, seconds)
    _store(learner, folder / "model", dtype)
    longest = learner.reader.max_length
    learner.release()
    gc.collect()
    devices.free_memory()
    checkpoint = _registered(row, folder / "model", dtype=dtype, max_length=longest)
    curve = [point.as_dict() for point in curves.thinned(done.curve)]
    work.finish(
        row,
        checkpoint=checkpoint,
        steps_done=done.steps,
        steps_total=done.steps,
        curve=curve,
        warnings=[*done.warnings, *material.told],
        found=found,
        worked_by=this_process(),
    )


def _found(
    row: MemberTraining,
    learner: Learner,
    material: _Material,
    done: Tuned,
    dtype: str,
    seconds: float,
) -> dict[str, Any]:
    ensemble = row.run.ensemble
    recipe = recipe_book.recipe_of(ensemble)
    kept = next((each for each in done.curve if each.step == done.best_step), done.curve[-1])
    return {
        "kind": KINDS[recipe.model.kind],
        "base": learner.reference,
        "base_digest": learner.base_digest,
        "recipe": {
            "name": recipe.name,
            "version": ensemble.recipe.get("training_version"),
            "digest": recipes.digest(recipe),
        },
        "run": ensemble.recipe.get("run"),
        "responses": ensemble.recipe.get("responses"),
        "seed": _seed_of(row, ensemble),
        "labelled": material.labelled,
        "data_digest": material.data_digest,
        "labels_digest": material.labels_digest,
        "pairs_in_bag": int(material.lesson.learns.sum()),
        "held_out_pairs": int(material.lesson.held_out.sum()),
        "out_of_bag_accuracy": kept.held_out_accuracy,
        "trusted_accuracy": kept.trusted_accuracy,
        "in_bag_accuracy": kept.accuracy,
        "steps": done.steps,
        "best_step": done.best_step,
        "truncated": material.truncated,
        "unreadable": material.unreadable,
        "seconds": seconds,
        "environment": environment(device=devices.this_device(), precision=dtype),
    }


def _store(learner: Learner, folder: Path, dtype: str) -> None:
    """The model in its folder, whole or not at all."""
    fresh = folder.with_name("fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    learner.save(fresh, dtype=devices.PRECISIONS[dtype])
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def _registered(row: MemberTraining, folder: Path, *, dtype: str, max_length: int) -> Checkpoint:
    """The model as a registered one. Raises CannotRegister."""
    wanted = {
        "reference": str(folder),
        "dtype": dtype,
        "max_length": max_length,
        "dataset": row.run.ensemble.dataset,
    }
    checkpoint = row.checkpoint
    if checkpoint is None:
        checkpoint = Checkpoint.objects.create(name=_free_name(row), **wanted)
        work.renew(row, checkpoint=checkpoint)
    else:  # an earlier attempt came as far as this
        Checkpoint.objects.filter(pk=checkpoint.pk).update(**wanted)
        work.requeue(checkpoint, also_done=True)
    work.perform(Checkpoint, checkpoint.pk, checkpoints.register)
    checkpoint.refresh_from_db()
    if checkpoint.status != Work.Status.DONE:
        raise CannotRegister(f"The trained model cannot be used: {checkpoint.problem}")
    return checkpoint


def _free_name(row: MemberTraining) -> str:
    ensemble = row.run.ensemble
    ending = f"-{ensemble.pk}-{row.position + 1:02d}"
    name = ensemble.name[: LONGEST_NAME - len(ending)] + ending
    while Checkpoint.objects.filter(name=name).exists():
        ending = f"{ending}.1"
        name = ensemble.name[: LONGEST_NAME - len(ending)] + ending
    return name
