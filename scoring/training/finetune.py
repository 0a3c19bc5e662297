"""Fine-tune a whole model, or an adapter on it, by a recipe: on one device, or in step on several.

The batch of a step is cut into parts that fit the device; where the loss is a sum over pairs, the
parts' gradients add up to exactly that of the whole batch. Robust and contrastive losses compare
the pairs of a batch with each other, and take it in one piece. Every step draws from the seed and
its own number alone, so that a training that was interrupted ends with the same weights.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from curator.lib.refusals import Refusal
from scoring.core import curves
from scoring.core.curves import Point
from scoring.core.recipes import GOALS, ROBUST, SWAV, UNBIASED, Contrastive, Recipe
from scoring.core.targets import Targets
from scoring.engine import devices
from scoring.engine.conversations import Text
from scoring.engine.devices import DeviceLost
from scoring.engine.prefix import common_prefix
from scoring.training import contrastive, losses
from scoring.training.diverging import Diverged, check_loss
from scoring.training.learners import Learner, Seen
from scoring.training.lessons import Lesson, batches_of_epoch, parts_of
from scoring.training.metarm import ascended, difference_loss
from scoring.training.savepoints import Savepoints

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
OnStep = Callable[[int, int], None]
OnLook = Callable[[Point], None]
ShouldStop = Callable[[], bool]
OnSave = Callable[[int], None]

PART_TOKENS = {"cuda": 16_384, "cpu": 4_096}  # that go through at once and are learnt from
LOOKS = 20  # at most, about, in a training that nothing cuts short
MOST_HELD_OUT = 256  # pairs that a look judges by
FEWEST_TRUSTED = 50  # among them, to stop by them and not by the labels
LONGEST_GRADIENT = 1.0
SAVE_AFTER = 300.0  # seconds
SAVE_SHARE = 10.0  # of the time that saving takes, which lies at least between two of them
SEEDS = 2**63 - 1
PROTOTYPES = "prototypes"
# sums over the pairs since the last look
GATHERED = ("loss", "weight", "right", "margin", "reward", "square", "pairs")


@dataclass(frozen=True)
class Pace:
    """How often a training looks up and saves; `save_after` in seconds, 0 for every step."""

    looks: int = LOOKS
    save_after: float = SAVE_AFTER
    part_tokens: int = 0  # 0 is what the device takes
    checkpoint_gradients: bool | None = None  # None: on a GPU


@dataclass(frozen=True)
class Tuned:
    """How a training ended; the learner's weights are its result."""

    steps: int
    total: int
    curve: list[Point]
    warnings: list[str]
    best_step: int | None  # whose weights were kept, where it was stopped by what is held out
    is_complete: bool  # False: it was asked to stop, and goes on from its savepoint


@dataclass
class _Progress:
    """What is kept beside the weights."""

    curve: list[Point] = field(default_factory=list)
    start: float | None = None  # the loss of the first step
    best: float | None = None
    best_step: int | None = None
    looks_since: int = 0
    gathered: list[float] = field(default_factory=lambda: [0.0] * len(GATHERED))

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "curve": [point.as_dict() for point in self.curve]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "_Progress":
        return cls(**{**values, "curve": [Point.from_dict(each) for each in values["curve"]]})


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
) -> Tuned:
    """Train the learner on the lesson, from its last savepoint where there is one.

    `on_step` hears how many of all steps are done, and may raise to end the work; `on_look` hears
    each point of the curve, `on_save` after how many steps a savepoint was kept. Asked to stop, it
    saves and returns. Raises Diverged, DeviceLost, and
    Refusal where not even one pair fits the device, or where two views of a text do not differ.
    """
    try:
        training = _Training(learner, lesson, recipe, seed, savepoints, pace or Pace())
        return training.run(on_step, on_look, on_save, should_stop)
    except RuntimeError as error:
        if not devices.is_device_lost(error):
            raise
        first = str(error).partition("\n")[0]
        raise DeviceLost(f"The device stopped answering: {first}") from error


class _Training:
    """One training in progress, on one process of those that take part."""

    def __init__(
        self,
        learner: Learner,
        lesson: Lesson,
        recipe: Recipe,
        seed: int,
        savepoints: Savepoints,
        pace: Pace,
    ) -> None:
        self.learner, self.lesson, self.recipe, self.seed = learner, lesson, recipe, seed
        self.savepoints, self.pace = savepoints, pace
        # told to, it also counts processes where there is no GPU
        self.accelerator = Accelerator(
            mixed_precision=_precision(), cpu=not torch.cuda.is_available()
        )
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if self.world != started:
            raise RuntimeError(f"{started} processes were started, {self.world} found each other.")
        self.pairs = np.flatnonzero(lesson.learns)
        if not len(self.pairs):
            raise Refusal("There is nothing to learn: the recipe leaves out every pair of the bag.")
        if recipe.meta is not None and recipe.meta.step > 0 and not lesson.prompts:
            raise Refusal("The recipe meta-learns from sampled responses: name a file of them.")
        device = self.accelerator.device
        learner.model.to(device)
        wanted = pace.checkpoint_gradients
        wanted = device.type == "cuda" if wanted is None else wanted
        if wanted and learner.classifier.supports_gradient_checkpointing:
            learner.classifier.activation_checkpointing_enable({"use_reentrant": False})
        self.budget = pace.part_tokens or PART_TOKENS[device.type]
        self.named = [*learner.learning(), *self._prototypes(device)]
        self.weights = [weight for _, weight in self.named]
        self.optimiser = _optimiser(self.named, recipe)
        self.steps_an_epoch = -(-len(self.pairs) // recipe.optimiser.batch)
        self.total = self.steps_an_epoch * recipe.optimiser.epochs
        judged = lesson.held_out & (lesson.targets.used | (lesson.trusted != 0))
        self.watched = watched(np.flatnonzero(judged), lesson.trusted, seed)
        # as many pairs are learnt from between two looks as a look judges by, at least
        least = -(-len(self.watched) // recipe.optimiser.batch)
        self.look_every = max(1, self.total // pace.looks, least)
        self.progress = _Progress()
        self.views_differ = False
        self._epoch: tuple[int, list[Indices]] = (-1, [])

    # --- The course of it -------------------------------------------------------------------------

    def run(
        self,
        on_step: OnStep | None,
        on_look: OnLook | None,
        on_save: OnSave | None,
        should_stop: ShouldStop | None,
    ) -> Tuned:
        step = self._resumed()
        saved_at, saving_took = time.monotonic(), 0.0
        while step < self.total and not self._is_patience_over():
            self._step(step)
            step += 1
            if step % self.look_every == 0 or step == self.total:
                point = self._look(step)
                if on_look is not None:
                    on_look(point)
            stops = should_stop is not None and self._first_says(should_stop())
            since = time.monotonic() - saved_at
            if stops or since >= self._between_saves(saving_took):
                started = time.monotonic()
                self._save(step)
                saved_at, saving_took = time.monotonic(), time.monotonic() - started
                if on_save is not None:
                    on_save(step)
            if on_step is not None:
                on_step(step, self.total)
            if stops:
                return self._tuned(step, is_complete=False)
        if self.progress.best_step is not None:
            self.savepoints.restore_best(self.named)
        self.learner.model.eval()
        return self._tuned(step, is_complete=True)

    def _resumed(self) -> int:
        with self.accelerator.main_process_first():  # which clears what is of another training
            found = self.savepoints.resume(self.named, self.optimiser)
        if found is None:
            return 0
        step, progress = found
        self.progress = _Progress.from_dict(progress)
        logger.info("goes on from step=%d of %d", step, self.total)
        return step

    def _save(self, step: int) -> None:
        if self.rank == 0:
            self.savepoints.save(step, self.named, self.optimiser, self.progress.as_dict())

    def _between_saves(self, saving_took: float) -> float:
        """Seconds; a large model is saved less often, so that it learns most of the time."""
        after = self.pace.save_after
        return max(after, SAVE_SHARE * saving_took) if after else 0.0

    def _tuned(self, step: int, *, is_complete: bool) -> Tuned:
        curve = self.progress.curve
        inflated = curves.inflation(curve, until=self.progress.best_step)
        return Tuned(
            steps=step,
            total=self.total,
            curve=curve,
            warnings=[inflated] if inflated else [],
            best_step=self.progress.best_step,
            is_complete=is_complete,
        )

    # --- One step ---------------------------------------------------------------------------------

    def _step(self, step: int) -> None:
        """Go one step downhill. Raises Diverged."""
        batch = self._batch(step)
        self._go_by_learning_rate(step)
        while True:
            fits = True
            try:
                sums = self._gradients(step, batch)
            except Exception as error:
                if not devices.is_out_of_memory(error):
                    raise
                fits = False
            if fits:
                break
            self._halve(batch)  # out here, where the error no longer holds the tensors of the pass
        sums = self._summed(sums)
        loss = float(sums[0] / sums[1])
        where = f"at step {step + 1:,} of {self.total:,}"
        if self.progress.start is None:
            self.progress.start = loss
        check_loss(loss, self.progress.start, where=where)
        if self.world > 1:
            self._share_gradients()
        length = nn.utils.clip_grad_norm_(self.weights, LONGEST_GRADIENT)
        if not bool(torch.isfinite(length)):
            raise Diverged(
                f"The training diverged: its gradient is no finite number {where}. A lower "
                f"learning rate keeps it in bounds."
            )
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.progress.gathered = [
            before + more
            for before, more in zip(self.progress.gathered, sums.tolist(), strict=True)
        ]

    def _share_gradients(self) -> None:
        """Add up the processes' gradients. One whose share of the batch is empty has none, and adds
        zeros: all must take part in every sum."""
        has_one = [float(weight.grad is not None) for weight in self.weights]
        touched = self._summed(torch.tensor(has_one, device=self.accelerator.device))
        for weight, by in zip(self.weights, touched.tolist(), strict=True):
            if by:
                own = torch.zeros_like(weight) if weight.grad is None else weight.grad
                weight.grad = self._summed(own)

    def _batch(self, step: int) -> Indices:
        epoch, place = divmod(step, self.steps_an_epoch)
        if self._epoch[0] != epoch:
            own = self.lesson.sizes[self.pairs]
            size = self.recipe.optimiser.batch
            made = batches_of_epoch(self.pairs, own, batch=size, seed=self.seed, epoch=epoch)
            self._epoch = (epoch, made)
        return self._epoch[1][place]

    def _go_by_learning_rate(self, step: int) -> None:
        """Linearly up over the warm-up, then linearly down to 0."""
        wanted = self.recipe.optimiser
        warm = max(1.0, wanted.warm_up * self.total)
        share = min((step + 1) / warm, (self.total - step) / max(self.total - warm, 1.0), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = wanted.learning_rate * share

    def _gradients(self, step: int, batch: Indices) -> Tensor:
        """Gather the batch's gradients; sums of GATHERED over this process's part of it."""
        self.optimiser.zero_grad(set_to_none=True)
        self.learner.model.train()
        sums = torch.zeros(len(GATHERED), dtype=torch.float64, device=self.accelerator.device)
        with self._raised(step, batch):
            self._draw_from(step, 0, self.rank)
            own = batch[self.rank :: self.world]
            whole = float(self.lesson.targets.weight[batch].sum())
            sharing = min(self.world, len(batch))
            parts = [own] if self._compares_pairs else self._parts(own)
            for part in parts:
                if not len(part):
                    continue
                loss, more = self._loss(part, step)
                share = 1.0 / sharing if self._compares_pairs else 1.0 / whole
                (loss * share).backward()
                sums += more
        return sums

    def _raised(self, step: int, batch: Indices) -> Any:
        """Where the gradient is taken: further up where the scores of sampled responses spread."""
        meta = self.recipe.meta
        if meta is None or meta.step == 0.0:
            return nullcontext()
        self._draw_from(step, 1, 0)  # the same on every process
        drawn = np.random.default_rng([self.seed, step, 1])
        count = min(meta.prompts, self.lesson.prompts)
        prompts = np.sort(drawn.choice(self.lesson.prompts, size=count, replace=False))
        with self._cast():
            seen = self.learner.see(self.lesson.sampled_texts(prompts))
        spread = difference_loss(seen.rewards.reshape(count, self.lesson.width)).mean()
        return ascended(self.weights, spread, meta.step)

    @property
    def _contrasts(self) -> Contrastive | None:
        """The contrastive loss, where it weighs anything."""
        wanted = self.recipe.contrastive
        return wanted if wanted is not None and wanted.weight > 0 else None

    @property
    def _compares_pairs(self) -> bool:
        """Whether the loss of a batch is more than the sum of its pairs'."""
        return self.recipe.loss.name == ROBUST or self._contrasts is not None

    def _parts(self, batch: Indices) -> Sequence[Indices]:
        sizes = self.lesson.sizes[batch]
        return list(parts_of(batch, sizes, token_budget=self.budget))

    def _halve(self, batch: Indices) -> None:
        """Less at once from now on. Raises Refusal where there is no less."""
        self.optimiser.zero_grad(set_to_none=True)
        devices.free_memory()
        least = 2 * int(self.lesson.sizes[batch].max())
        if self._compares_pairs or self.budget <= least:
            what = "a batch" if self._compares_pairs else "a pair"
            raise Refusal(
                f"The device's memory does not hold {what} of this length while it is learnt from: "
                f"choose a smaller `max_length`{' or `batch`' if self._compares_pairs else ''}."
            )
        self.budget = max(self.budget // 2, least)
        logger.warning("out of memory, parts of %d tokens from now on", self.budget)

    # --- The loss of some pairs -------------------------------------------------------------------

    def _loss(self, pairs: Indices, step: int) -> tuple[Tensor, Tensor]:
        """The loss of pairs that go through together, summed over them by weight or, where pairs
        are compared with each other, as their mean; and their sums of GATHERED."""
        texts = self.lesson.texts_of(pairs)
        taught = _Taught.of(self.lesson, pairs, self.accelerator.device)
        wanted = self._contrasts
        with self._cast():
            seen = self.learner.see(
                texts, with_states=wanted is not None and wanted.method == GOALS
            )
        total, sums = self._of_rewards(seen, taught)
        if wanted is None:
            return total, sums
        if wanted.method == GOALS:
            return total + wanted.weight * self._of_goals(wanted, seen, texts, taught, step), sums
        with self._cast():
            again = self.learner.see(texts)
        self._check_views(seen, again)
        total = (total + self._of_rewards(again, taught)[0]) / 2
        views = (
            contrastive.samples(*taught.sides(view.features), wanted.on) for view in (seen, again)
        )
        first, second = views
        prototypes = dict(self.named).get(PROTOTYPES)
        between = contrastive.between_views(wanted, first, second, prototypes=prototypes)
        return total + wanted.weight * between, sums

    def _of_rewards(self, seen: Seen, taught: "_Taught") -> tuple[Tensor, Tensor]:
        wanted = self.recipe.loss
        preferred, other = taught.sides(seen.rewards)
        margins = preferred - other
        if wanted.name == UNBIASED:
            each = losses.unbiased(margins, wanted.noise, taught.probability, taught.margin)
        else:
            each = losses.soft(margins, taught.probability, taught.margin)
        centred = wanted.centring * losses.centring(preferred, other)
        summed = (taught.weight * (each + centred)).sum()
        whole = taught.weight.sum()
        loss = summed
        if wanted.name == ROBUST:
            mean = (taught.weight * centred).sum() / whole
            loss = losses.robust(each, wanted.beta, taught.weight) + mean
        elif self._compares_pairs:
            loss = summed / whole
        with torch.no_grad():
            right = (margins > 0).double() + 0.5 * (margins == 0).double()
            rewards = seen.rewards.double()
            found = [
                summed.double(),
                whole.double(),
                right.sum(),
                margins.double().sum(),
                rewards.sum() / 2,
                rewards.square().sum() / 2,
                torch.tensor(float(len(margins)), device=margins.device, dtype=torch.float64),
            ]
        return loss, torch.stack(found)

    def _of_goals(
        self, wanted: Contrastive, seen: Seen, texts: Sequence[Text], taught: "_Taught", step: int
    ) -> Tensor:
        assert seen.states is not None
        preferred, other = taught.sides(seen.states.float())
        shared = [common_prefix(texts[i].ids, texts[i + 1].ids) for i in range(0, len(texts), 2)]
        begins = torch.tensor(shared, device=seen.mask.device).repeat_interleave(2)
        places = torch.arange(seen.mask.shape[1], device=seen.mask.device)
        there = seen.mask.bool() & (places >= begins[:, None])
        preferred_there, other_there = taught.sides(there)
        drawn = torch.Generator().manual_seed(_seed_of(self.seed, step, 2, self.rank))
        return contrastive.goals(
            preferred,
            other,
            preferred_there,
            other_there,
            wanted.temperature,
            generator=drawn,
        )

    def _check_views(self, one: Seen, other: Seen) -> None:
        if not self.views_differ and torch.equal(one.features, other.features):
            raise Refusal(
                "Both views of a text are the same, so contrastive learning would do nothing: this "
                "architecture has no dropout; train an adapter (`lora`), which has its own."
            )
        self.views_differ = True

    def _prototypes(self, device: torch.device) -> list[tuple[str, nn.Parameter]]:
        wanted = self._contrasts
        if wanted is None or wanted.method != SWAV:
            return []
        drawn = torch.Generator().manual_seed(_seed_of(self.seed, 0, 3, 0))
        shape = (wanted.prototypes, self.learner.score.in_features)
        return [(PROTOTYPES, nn.Parameter(torch.randn(shape, generator=drawn).to(device)))]

    # --- Looking up -------------------------------------------------------------------------------

    def _look(self, step: int) -> Point:
        """Where the training stands: what was learnt from since the last look, and what is held
        out. Keeps the weights where the latter never fared better."""
        loss, weight, right, margin, reward, square, pairs = self.progress.gathered
        self.progress.gathered = [0.0] * len(GATHERED)
        mean = reward / pairs
        point = Point(
            step=step,
            epoch=step / self.steps_an_epoch,
            loss=loss / weight,
            accuracy=right / pairs,
            margin=margin / pairs,
            reward=mean,
            deviation=float(np.sqrt(max(square / pairs - mean**2, 0.0))),
        )
        if len(self.watched):
            point = self._judged(point)
        if not point.is_finite:
            raise Diverged(
                f"The training diverged: by step {step:,} of {self.total:,} rewards are no finite "
                f"numbers. A lower learning rate keeps them in bounds."
            )
        self.progress.curve.append(point)
        self._keep_best(point)
        return point

    def _judged(self, point: Point) -> Point:
        """With the loss by which it stops, and accuracy on the labels of what is held out and on
        trusted labels. A label that the recipe drops counts for neither, trusted ones aside."""
        margins = self.margins(self.watched)
        taught, trusted = self.lesson.targets.of(self.watched), self.lesson.trusted[self.watched]
        labels = np.where(taught.used, self.lesson.labels[self.watched], 0.0)
        by_trusted = self._stops_by_trusted
        return replace(
            point,
            held_out_loss=_log_loss(margins, trusted) if by_trusted else _loss_of(taught, margins),
            held_out_accuracy=_accuracy(margins, labels),
            trusted_accuracy=_accuracy(margins, trusted),
        )

    @cached_property
    def _stops_by_trusted(self) -> bool:
        return int((self.lesson.trusted[self.watched] != 0).sum()) >= FEWEST_TRUSTED

    def _keep_best(self, point: Point) -> None:
        """A loss is better where it is lower, and the first is the best so far."""
        if not self.recipe.optimiser.patience or point.held_out_loss is None:
            return
        if self.progress.best is None or point.held_out_loss < self.progress.best:
            self.progress.best, self.progress.best_step = point.held_out_loss, point.step
            self.progress.looks_since = 0
            if self.rank == 0:
                self.savepoints.save_best(self.named)
            self.accelerator.wait_for_everyone()
        else:
            self.progress.looks_since += 1

    def _is_patience_over(self) -> bool:
        patience = self.recipe.optimiser.patience
        return bool(patience) and self.progress.looks_since >= patience

    def margins(self, pairs: Indices) -> Floats:
        """Margins towards A of pairs, without dropout, (n,)."""
        self.learner.model.eval()
        found = torch.zeros(len(pairs), dtype=torch.float64, device=self.accelerator.device)
        own = np.arange(len(pairs))[self.rank :: self.world]
        with torch.no_grad():
            sizes = self.lesson.sizes[pairs[own]]
            for part in parts_of(own, sizes, token_budget=self.budget):
                with self._cast():
                    seen = self.learner.see(self.lesson.texts_of(pairs[part]))
                rewards = seen.rewards.double()
                found[torch.from_numpy(part).to(found.device)] = rewards[::2] - rewards[1::2]
        return np.asarray(self._summed(found).cpu().numpy())

    # --- Several processes, precision, chance -----------------------------------------------------

    def _summed(self, values: Tensor) -> Tensor:
        if self.world == 1:
            return values
        return self.accelerator.reduce(values, reduction="sum")

    def _first_says(self, answer: bool) -> bool:
        """The first process's answer, for all: they go on or stop together."""
        if self.world == 1:
            return answer
        asked = torch.tensor(float(answer and self.rank == 0), device=self.accelerator.device)
        return bool(self._summed(asked) > 0)

    def _cast(self) -> Any:
        return self.accelerator.autocast()

    def _draw_from(self, step: int, use: int, rank: int) -> None:
        torch.manual_seed(_seed_of(self.seed, step, use, rank))


@dataclass(frozen=True)
class _Taught:
    """What some pairs teach, on the device, (n,)."""

    prefers_a: Tensor
    probability: Tensor
    margin: Tensor
    weight: Tensor

    @classmethod
    def of(cls, lesson: Lesson, pairs: Indices, device: torch.device) -> "_Taught":
        own = lesson.targets.of(pairs)

        def sent(values: Any) -> Tensor:
            return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(device)

        return cls(
            prefers_a=sent(own.direction) > 0,
            probability=sent(own.probability),
            margin=sent(own.margin),
            weight=sent(own.weight),
        )

    def sides(self, of_texts: Tensor) -> tuple[Tensor, Tensor]:
        """What belongs to the preferred responses and to the others, of (2 n, ...) with A and B in
        turn."""
        a, b = of_texts[::2], of_texts[1::2]
        prefers_a = self.prefers_a.reshape(-1, *[1] * (a.dim() - 1))
        return torch.where(prefers_a, a, b), torch.where(prefers_a, b, a)


def _precision() -> str:
    return "bf16" if torch.cuda.is_available() else "no"


def _optimiser(named: Sequence[tuple[str, nn.Parameter]], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; norms and biases do not decay."""
    decays = [weight for _, weight in named if weight.dim() > 1]
    stays = [weight for _, weight in named if weight.dim() <= 1]
    groups = [
        {"params": decays, "weight_decay": recipe.optimiser.weight_decay},
        {"params": stays, "weight_decay": 0.0},
    ]
    rate = recipe.optimiser.learning_rate
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=rate)


def watched(candidates: Indices, trusted: Floats, seed: int) -> Indices:
    """Which of the held-out pairs every look judges by: those with a trusted label first. `trusted`
    is of all pairs, +1, -1 or 0 where unknown."""
    drawn = np.random.default_rng([seed, 4]).permutation(candidates)
    by_trust = drawn[np.argsort(trusted[drawn] == 0, kind="stable")]
    return np.sort(by_trust[:MOST_HELD_OUT])


def _accuracy(margins: Floats, labels: Floats) -> float | None:
    """The share of labels that the margins agree with, a tie of rewards counting half; None
    without labels."""
    said = labels != 0
    if not said.any():
        return None
    towards = margins[said] * labels[said]
    return float((towards > 0).mean() + 0.5 * (towards == 0).mean())


def _log_loss(margins: Floats, labels: Floats) -> float | None:
    said = labels != 0
    if not said.any():
        return None
    return float(np.logaddexp(0.0, -margins[said] * labels[said]).mean())


def _loss_of(taught: Targets, margins: Floats) -> float | None:
    """The mean log-loss of what pairs teach, by margins towards A; None where that is nothing."""
    kept = taught.used
    if not kept.any():
        return None
    towards, probability = (taught.direction * margins)[kept], taught.probability[kept]
    lost = probability * np.logaddexp(0.0, -towards)
    lost += (1.0 - probability) * np.logaddexp(0.0, towards)
    return float(np.average(lost, weights=taught.weight[kept]))


def _seed_of(seed: int, step: int, use: int, rank: int) -> int:
    drawn = np.random.SeedSequence([seed, step, use, rank]).generate_state(1, np.uint64)[0]
    return int(drawn) & SEEDS
