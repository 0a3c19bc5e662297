"""Train heads with a hidden layer: all members of an ensemble at once, as one stack of parameters.

    reward = v . relu(W z + b) + u . z,  z = projected features, dropout on the hidden units

Each member goes downhill by AdamW in batches of its own bag, on the recipe's loss, and stops by
what lies outside its bag. Members share the pairs' features, which nobody copies; they share no
random numbers, so that who is trained along changes nothing. Stacks are (members, ...).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scoring.core import calibration, curves, sizes, strength
from scoring.core.curves import Point
from scoring.core.recipes import ROBUST, SWAV, UNBIASED, Contrastive, Recipe
from scoring.core.targets import Targets
from scoring.engine.heads import HiddenHead, Slices
from scoring.training import contrastive, losses
from scoring.training.diverging import check_loss
from scoring.training.heads import OnStep, Space, Trained, TrainingPairs, out_of_bag_loss
from scoring.training.metarm import ascended, difference_loss

Floats = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int32]
Members = npt.NDArray[np.int64]
OnLook = Callable[[Point], None]

COMPONENTS = sizes.COMPONENTS  # that are read
MOMENTUM, MEMORY, LEAST_ROOT = 0.9, 0.999, 1e-8  # of AdamW
DECAYING = ("inner", "outer")
FEWEST_TRUSTED = 50  # outside a bag, to stop by them and not by the labels
LEAST_SCALE = 1e-6
AT_ONCE = 1 << 22  # numbers that a pass over all pairs holds at a time
HEARD_EVERY = 50  # batches between two signs of life
FIGURES = (
    *("loss", "held_out_loss", "accuracy", "held_out_accuracy", "trusted_accuracy"),
    *("margin", "reward", "deviation"),
)
NOTHING: Rows = np.zeros(0, dtype=np.int32)
ORDER, DROPPED, SAMPLED, START = range(4)  # what a member draws, each from a stream of its own


def train(
    pairs: TrainingPairs,
    bag: Booleans,
    recipe: Recipe,
    *,
    space: Space,
    seed: int = 0,
    responses: Floats | None = None,
    trusted: Floats | None = None,
    on_step: OnStep | None = None,
    on_look: OnLook | None = None,
) -> Trained:
    """The heads for bags (n, members), as the recipe says.

    A member is kept as it was after the epoch with the least log-loss outside its bag, of what the
    pairs teach or, where enough of those outside have one, of their trusted labels (n,); it stops
    after `patience` epochs without a lesser one. With a patience of 0, or nothing outside the bag,
    it is kept as it is after the last epoch.

    `responses` (prompts, responses a prompt, components) are projected features of sampled
    responses, for a recipe with `meta`. Raises Diverged, and TooLarge before it begins.
    """
    sizes.check_step(recipe, members=bag.shape[1], pairs=len(bag))
    course = _Course.of(pairs, bag, recipe, responses=responses, trusted=trusted)
    draws = [_Draws(seed, member) for member in range(bag.shape[1])]
    stack = _Stack.started(course, draws)
    record = _Record(course)
    learning = np.arange(bag.shape[1])
    epochs, steps = recipe.optimiser.epochs, max(course.steps)
    for epoch in range(1, epochs + 1):

        def heard(step: int, before: int = (epoch - 1) * steps) -> None:
            if on_step is not None:
                on_step(before + step, epochs * steps)

        learnt = _epoch(stack, course, learning, draws, heard)
        record.look(epoch, learning, stack, learnt)
        if on_look is not None:
            on_look(record.points[-1])
        going_on = record.going_on(learning)
        if not going_on.any():
            break
        stack, learning = stack.of(going_on), learning[going_on]
    if on_step is not None:
        on_step(epochs * steps, epochs * steps)
    warning = curves.inflation(record.points, until=record.kept_at)
    return Trained(
        heads=[record.head(member, space) for member in range(bag.shape[1])],
        margins=record.margins,
        penalty=None,
        slices=Slices.none(),
        loss=record.out_of_bag_loss,
        curve=curves.thinned(record.points),
        warnings=[warning] if warning else [],
        area_margins=record.area_margins,
    )


@dataclass(frozen=True, eq=False)
class _Course:
    """What all members learn from: features (n, components) of both responses, what their pairs
    teach, and which rows are whose."""

    recipe: Recipe
    a: Tensor
    b: Tensor
    scale: float  # by which features are divided, so that a component's mean square is 1
    labels: Floats  # (n,): as they are
    direction: Tensor  # (n,)
    probability: Tensor
    margin: Tensor
    weight: Tensor  # mean 1 over the pairs that are used
    own: list[Rows]  # of each member, the used rows of its bag
    outside: Booleans  # (n, members): the used rows outside its bag
    trusted: Floats  # (n,): 0 where no label is trusted
    trusted_outside: Booleans  # (n, members)
    responses: Tensor | None  # (prompts, responses a prompt, components)

    @classmethod
    def of(
        cls,
        pairs: TrainingPairs,
        bag: Booleans,
        recipe: Recipe,
        *,
        responses: Floats | None,
        trusted: Floats | None,
    ) -> "_Course":
        if pairs.projected_a is None or pairs.projected_b is None:
            raise ValueError("heads with a hidden layer read the features of both responses")
        if recipe.meta is not None and responses is None:
            raise ValueError("MetaRM reads sampled responses")
        targets = pairs.targets or _plain(pairs.labels)
        used = targets.used
        weight = targets.weight / max(float(targets.weight[used].mean()), 1e-12)
        known = np.zeros(len(bag), dtype=np.float32) if trusted is None else trusted
        a, b = (
            torch.from_numpy(of)[:, :COMPONENTS] for of in (pairs.projected_a, pairs.projected_b)
        )
        size = math.hypot(*(float(torch.linalg.vector_norm(of)) for of in (a, b)))
        return cls(
            recipe=recipe,
            a=a,
            b=b,
            scale=max(size / math.sqrt(max(a.numel() + b.numel(), 1)), LEAST_SCALE),
            labels=pairs.labels,
            direction=_tensor(targets.direction),
            probability=_tensor(targets.probability),
            margin=_tensor(targets.margin),
            weight=_tensor(weight),
            own=[
                np.flatnonzero(bag[:, member] & used).astype(np.int32)
                for member in range(bag.shape[1])
            ],
            outside=~bag & used[:, None],
            trusted=known,
            trusted_outside=~bag & (known != 0)[:, None],
            responses=None if responses is None else torch.from_numpy(responses)[:, :, :COMPONENTS],
        )

    @property
    def components(self) -> int:
        return int(self.a.shape[1])

    @property
    def width(self) -> int:
        """Places in a batch."""
        return min(self.recipe.optimiser.batch, len(self.labels))

    @property
    def contrasts(self) -> Contrastive | None:
        """The contrastive loss, where it weighs anything."""
        wanted = self.recipe.contrastive
        return wanted if wanted is not None and wanted.weight > 0 else None

    @property
    def steps(self) -> list[int]:
        """How many batches each member's bag is."""
        return [math.ceil(len(own) / self.recipe.optimiser.batch) for own in self.own]


def _plain(labels: Floats) -> Targets:
    """Labels that are learnt as they are."""
    nothing = np.zeros(len(labels))
    return Targets(
        direction=np.where(labels < 0, -1.0, 1.0),
        probability=np.ones(len(labels)),
        margin=nothing,
        weight=(labels != 0).astype(np.float64),
        flipped=nothing.astype(np.bool_),
    )


def _tensor(values: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


class _Draws:
    """The random numbers of one member: streams of its own, by the seed and its number."""

    def __init__(self, seed: int, member: int) -> None:
        self._streams = [np.random.default_rng([seed, member, of]) for of in range(START + 1)]

    def start(self, *shape: int) -> Tensor:
        """Normal numbers, to start from."""
        return torch.from_numpy(self._streams[START].standard_normal(shape, dtype=np.float32))

    def batches(self, own: Rows, count: int) -> list[Rows]:
        """The rows in a new order, in batches of about equal size."""
        return np.array_split(self._streams[ORDER].permutation(own), count) if count else []

    def chances(self, into: Floats) -> None:
        """Fill it with numbers from 0 to 1, by which units are dropped."""
        self._streams[DROPPED].random(dtype=np.float32, out=into)

    def prompts(self, among: int, count: int) -> Rows:
        """Some of the prompts with sampled responses."""
        chosen = self._streams[SAMPLED].choice(among, size=count, replace=False)
        return chosen.astype(np.int32)


@dataclass(frozen=True, eq=False)
class _Stack:
    """The parameters of the members that still learn, and what AdamW knows of them. The hidden
    weights and u are one tensor, (members, components, hidden + 1), u last."""

    course: _Course
    parameters: dict[str, Tensor]
    momentum: dict[str, Tensor]
    memory: dict[str, Tensor]
    steps: Tensor  # (members,): how many each has taken

    @classmethod
    def started(cls, course: _Course, draws: list[_Draws]) -> "_Stack":
        hidden = course.recipe.model.hidden
        inner = torch.zeros(len(draws), course.components, hidden + 1)
        outer = torch.empty(len(draws), hidden)
        for member, own in enumerate(draws):
            inner[member, :, :hidden] = own.start(course.components, hidden)
            outer[member] = own.start(hidden)
        parameters = {
            "inner": inner / math.sqrt(course.components),
            "bias": torch.zeros(len(draws), 1, hidden),
            "outer": 0.1 * outer / math.sqrt(hidden),
        }
        contrasts = course.contrasts
        if contrasts is not None and contrasts.method == SWAV:
            parameters["prototypes"] = torch.stack(
                [own.start(contrasts.prototypes, hidden) for own in draws]
            )
        for parameter in parameters.values():
            parameter.requires_grad_()
        return cls(
            course,
            parameters,
            {name: torch.zeros_like(parameter) for name, parameter in parameters.items()},
            {name: torch.zeros_like(parameter) for name, parameter in parameters.items()},
            torch.zeros(len(draws)),
        )

    def of(self, kept: Booleans) -> "_Stack":
        """The stack of some of its members."""
        if kept.all():
            return self
        chosen = torch.from_numpy(kept)

        def some(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.detach()[chosen].clone() for name, tensor in tensors.items()}

        parameters = some(self.parameters)
        for parameter in parameters.values():
            parameter.requires_grad_()
        return _Stack(
            self.course, parameters, some(self.momentum), some(self.memory), self.steps[chosen]
        )

    def read(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What a response's features (members, n, components) become: hidden units (members, n,
        hidden), and u . z (members, n)."""
        found = torch.bmm(features, self.parameters["inner"]) / self.course.scale
        return torch.relu(found[..., :-1] + self.parameters["bias"]), found[..., -1]

    def rewards(self, units: Tensor, straight: Tensor) -> Tensor:
        """(members, n)"""
        return torch.bmm(units, self.parameters["outer"][:, :, None])[..., 0] + straight

    def rewards_of_all(self, features: Tensor) -> Floats:
        """Rewards (n, members) of features (n, components), by all members in one product."""
        inner, outer = self.parameters["inner"].detach(), self.parameters["outer"].detach()
        members, components, columns = inner.shape
        side_by_side = inner.permute(1, 0, 2).reshape(components, members * columns)
        bias = self.parameters["bias"].detach().reshape(1, members, columns - 1)
        found = np.empty((len(features), members), dtype=np.float32)
        at_once = max(1, AT_ONCE // (members * columns))
        for start in range(0, len(features), at_once):
            rows = features[start : start + at_once]
            read = (rows @ side_by_side).div_(self.course.scale).view(len(rows), members, columns)
            units = (read[..., :-1] + bias).relu_()
            rewards = torch.einsum("nmh,mh->nm", units, outer) + read[..., -1]
            found[start : start + at_once] = rewards.numpy()
        return found

    def step(self, slopes: dict[str, Tensor], rates: Tensor, resting: Tensor) -> None:
        """One step of AdamW for every member, at rates (members,), but for those that rest."""
        with torch.no_grad():
            kept = [
                (tensor, tensor[resting].clone())
                for tensors in (self.parameters, self.momentum, self.memory)
                for tensor in tensors.values()
                if bool(resting.any())
            ]
            self.steps.add_((~resting).float())
            for name, slope in slopes.items():
                self._move(name, slope, rates)
            for tensor, before in kept:
                tensor[resting] = before

    def _move(self, name: str, slope: Tensor, rates: Tensor) -> None:
        """Move one parameter of all members."""
        parameter, momentum, memory = (
            of[name] for of in (self.parameters, self.momentum, self.memory)
        )
        shape, taken = (-1, *[1] * (parameter.dim() - 1)), self.steps.clamp_min(1.0)
        momentum.lerp_(slope, 1.0 - MOMENTUM)
        memory.mul_(MEMORY).addcmul_(slope, slope, value=1.0 - MEMORY)
        if name in DECAYING:
            decay = self.course.recipe.optimiser.weight_decay
            parameter.mul_((1.0 - rates * decay).view(shape))
        root = memory.sqrt().div_((1.0 - MEMORY**taken).sqrt().view(shape)).add_(LEAST_ROOT)
        parameter.sub_((momentum * (rates / (1.0 - MOMENTUM**taken)).view(shape)).div_(root))


@dataclass(frozen=True, eq=False)
class _Batch:
    """A batch of each member, filled up to the same width: features (members, width, components) of
    both responses, what the pairs teach (members, width), and which of them are there."""

    a: Tensor
    b: Tensor
    direction: Tensor
    probability: Tensor
    margin: Tensor
    weight: Tensor
    counted: Tensor
    dropout: list[Tensor]  # a mask (members, 2 width, hidden) for each view; none where no dropout
    sampled: Tensor | None  # (members, prompts, responses a prompt, components)

    def mean(self, values: Tensor) -> Tensor:
        """The weighted mean (members,) over the pairs that are there."""
        return (values * self.weight).sum(1) / self.counted.sum(1).clamp_min(1)


@dataclass(frozen=True)
class _Learnt:
    """What an epoch found of each member while it learnt, (members,)."""

    start: npt.NDArray[np.float64]  # the loss of its first batch
    loss: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]


def _epoch(
    stack: _Stack,
    course: _Course,
    learning: Members,
    draws: list[_Draws],
    on_batch: Callable[[int], None],
) -> _Learnt:
    """Every member that still learns goes through its bag once."""
    own_draws = [draws[member] for member in learning]
    orders = [
        own.batches(course.own[member], course.steps[member])
        for own, member in zip(own_draws, learning, strict=True)
    ]
    start, lost, right, seen = (torch.zeros(len(learning)) for _ in range(4))
    for number in range(max(map(len, orders))):
        rows = [order[number] if number < len(order) else NOTHING for order in orders]
        batch = _batch(course, rows, own_draws)
        slopes, loss, margins = _slopes(stack, batch)
        there = batch.counted.sum(1)
        stack.step(slopes, _rates(course, learning, stack.steps), there == 0)
        start = loss if number == 0 else start
        lost += loss * there
        right += ((margins > 0) & batch.counted).sum(1)
        seen += there
        if (number + 1) % HEARD_EVERY == 0:
            on_batch(number + 1)
    seen.clamp_min_(1.0)
    return _Learnt(
        start=start.double().numpy(),
        loss=(lost / seen).double().numpy(),
        accuracy=(right / seen).double().numpy(),
    )


def _batch(course: _Course, rows: list[Rows], draws: list[_Draws]) -> _Batch:
    """The batch of these rows of each member, with what the members draw for it."""
    places = np.zeros((len(rows), course.width), dtype=np.int32)
    counted = np.zeros((len(rows), course.width), dtype=np.bool_)
    for member, own in enumerate(rows):
        places[member, : len(own)] = own
        counted[member, : len(own)] = True
    flat, shape = torch.from_numpy(places.reshape(-1)), places.shape

    def of(values: Tensor) -> Tensor:
        return values.index_select(0, flat).view(*shape, *values.shape[1:])

    there, who = torch.from_numpy(counted), np.asarray(counted.any(axis=1))
    return _Batch(
        a=of(course.a),
        b=of(course.b),
        direction=of(course.direction),
        probability=of(course.probability),
        margin=of(course.margin),
        weight=of(course.weight) * there,
        counted=there,
        dropout=_masks(course, who, draws),
        sampled=_sampled(course, who, draws),
    )


def _masks(course: _Course, there: Booleans, draws: list[_Draws]) -> list[Tensor]:
    """By what each view's hidden units are multiplied, as the members that are there draw it."""
    model = course.recipe.model
    views = 0 if model.dropout == 0.0 else 1 if course.contrasts is None else 2
    chances = np.ones((len(there), views, 2 * course.width, model.hidden), dtype=np.float32)
    if views:
        for member in np.flatnonzero(there):
            draws[member].chances(chances[member])
    masks = (torch.from_numpy(chances) >= model.dropout) / (1.0 - model.dropout)
    return list(masks.unbind(1))


def _sampled(course: _Course, there: Booleans, draws: list[_Draws]) -> Tensor | None:
    """Sampled responses to the prompts that the members draw; nothing without MetaRM."""
    meta, responses = course.recipe.meta, course.responses
    if meta is None or responses is None:
        return None
    prompts = np.zeros((len(there), min(meta.prompts, len(responses))), dtype=np.int32)
    for member in np.flatnonzero(there):
        prompts[member] = draws[member].prompts(len(responses), prompts.shape[1])
    return responses[torch.from_numpy(prompts), : meta.responses]


def _slopes(stack: _Stack, batch: _Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The gradient of the recipe's loss by the parameters; the members' losses of rewards
    (members,), and the margins (members, width) towards what the pairs teach."""
    meta, names = stack.course.recipe.meta, list(stack.parameters)
    own = [stack.parameters[name] for name in names]

    def learnt() -> tuple[dict[str, Tensor], Tensor, Tensor]:
        of_rewards, of_features, margins = _losses(stack, batch)
        slopes = torch.autograd.grad((of_rewards + of_features).sum(), own)
        return dict(zip(names, slopes, strict=True)), of_rewards.detach(), margins.detach()

    if meta is None or batch.sampled is None:
        return learnt()
    members, prompts, responses, components = batch.sampled.shape
    units, straight = stack.read(batch.sampled.reshape(members, prompts * responses, components))
    scores = stack.rewards(units, straight).view(members, prompts, responses)
    with ascended(own, difference_loss(scores).mean(1).sum(), meta.step):
        return learnt()


def _losses(stack: _Stack, batch: _Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The members' losses of rewards, over all views, and of features, (members,), and the margins
    (members, width) of the first view."""
    read = [stack.read(features) for features in (batch.a, batch.b)]
    units, straight = (torch.cat(of, dim=1) for of in zip(*read, strict=True))
    views = [units * mask for mask in batch.dropout] or [units]
    rewards = [stack.rewards(view, straight).chunk(2, dim=1) for view in views]
    margins = [batch.direction * (a - b) for a, b in rewards]
    found = [
        _of_rewards(stack.course.recipe, batch, own, a, b)
        for own, (a, b) in zip(margins, rewards, strict=True)
    ]
    of_rewards = torch.stack(found).mean(0)
    contrasts = stack.course.contrasts
    if contrasts is None:
        return of_rewards, torch.zeros_like(of_rewards), margins[0]
    sides = [view.chunk(2, dim=1) for view in views]
    first, second = (contrastive.samples(a, b, contrasts.on) for a, b in sides)
    between = contrastive.between_views(
        contrasts,
        first,
        second,
        prototypes=stack.parameters.get("prototypes"),
        counted=batch.counted.repeat(1, 2),
    )
    return of_rewards, contrasts.weight * between, margins[0]


def _of_rewards(recipe: Recipe, batch: _Batch, margins: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The members' losses (members,) of margins and rewards (members, width)."""
    loss = recipe.loss
    if loss.name == UNBIASED:
        each = losses.unbiased(margins, loss.noise, batch.probability, batch.margin)
    else:
        each = losses.soft(margins, batch.probability, batch.margin)
    if loss.name == ROBUST:
        found = losses.robust(each.T, loss.beta, batch.weight.T)
    else:
        found = batch.mean(each)
    return found + loss.centring * batch.mean(losses.centring(a, b)) if loss.centring else found


def _rates(course: _Course, learning: Members, taken: Tensor) -> Tensor:
    """The learning rates (members,) of the next step, after so many: they rise over the first steps
    and stay."""
    optimiser = course.recipe.optimiser
    totals = torch.tensor([float(course.steps[member]) for member in learning]) * optimiser.epochs
    rising = (totals * optimiser.warm_up).ceil().clamp_min(1.0)
    return optimiser.learning_rate * ((taken + 1.0) / rising).clamp_max(1.0)


class _Record:
    """What is kept of a training: the points of its curve, and each member at its best."""

    def __init__(self, course: _Course) -> None:
        count, members = course.outside.shape
        self.points: list[Point] = []
        self.kept_at = 0  # the last step after which a member was at its best
        self._course = course
        self._towards_a = np.zeros((count, members), dtype=np.float32)
        self._areas = np.zeros((count, members), dtype=np.float32)
        self._epochs = np.zeros(members)
        self._start = np.zeros(members)
        self._least = np.full(members, np.inf)
        self._since = np.zeros(members, dtype=np.int64)
        self._best: list[dict[str, Floats]] = [{} for _ in range(members)]
        self._figures = {name: np.full(members, np.nan) for name in FIGURES}

    @property
    def margins(self) -> Floats:
        """Margins (n, members) of the labels, by each member at its best."""
        return self._course.labels[:, None] * self._towards_a

    @property
    def out_of_bag_loss(self) -> float:
        """The ensemble's, of what the pairs teach; not a number where nothing is outside."""
        course, used = self._course, self._course.weight.numpy() > 0
        if not course.outside.any():
            return math.nan
        direction = course.direction.numpy()[used, None]
        return out_of_bag_loss(
            direction * self._towards_a[used],
            ~course.outside[used],
            probabilities=course.probability.numpy()[used].astype(np.float64),
        )

    @property
    def area_margins(self) -> Floats:
        """Margins (n, members) of the labels, each member's averaged over its epochs."""
        return np.asarray(self._areas / np.maximum(self._epochs, 1.0), dtype=np.float32)

    def look(self, epoch: int, learning: Members, stack: _Stack, learnt: _Learnt) -> None:
        """Judge the members that still learn after an epoch. Raises Diverged."""
        if epoch == 1:
            self._start = learnt.start
        for member, loss in zip(learning, learnt.loss, strict=True):
            where = f"in epoch {epoch} of member {member + 1}"
            check_loss(float(loss), float(self._start[member]), where=where)
        a, b = (stack.rewards_of_all(of) for of in (self._course.a, self._course.b))
        steps = int(stack.steps.max())
        for place, member in enumerate(learning):
            own_a, own_b = a[:, place].astype(np.float64), b[:, place].astype(np.float64)
            self._note(member, learnt.loss[place], learnt.accuracy[place], own_a, own_b)
            if self._is_better(member):
                self.kept_at = steps
                self._towards_a[:, member] = a[:, place] - b[:, place]
                self._best[member] = {
                    name: tensor[place].detach().numpy().copy()
                    for name, tensor in stack.parameters.items()
                }
        known = {name: values[np.isfinite(values)] for name, values in self._figures.items()}
        means = {name: float(own.mean()) if len(own) else None for name, own in known.items()}
        self.points.append(Point(step=steps, epoch=float(epoch), **means))

    def going_on(self, learning: Members) -> Booleans:
        """Which of those that still learn are to go on."""
        patience = self._course.recipe.optimiser.patience
        return np.asarray((self._since[learning] < patience) | (patience == 0))

    def head(self, member: int, space: Space) -> HiddenHead:
        """The member at its best, on the scaled features themselves."""
        best = self._best[member]
        inner = best["inner"] / np.float32(self._course.scale)
        weights = np.asarray(inner.T @ space.directions[:, : len(inner)].T, dtype=np.float32)
        return HiddenHead(
            scaling=space.scaling,
            weights=weights[:-1],
            bias=best["bias"][0],
            outputs=best["outer"],
            straight=weights[-1],
        )

    def _note(self, member: int, loss: float, accuracy: float, a: Doubles, b: Doubles) -> None:
        """Take down a member's figures, by its rewards (n,)."""
        course, towards_a = self._course, a - b
        margins = course.labels * towards_a
        preferring, outside = course.labels != 0, course.outside[:, member]
        trusted = course.trusted_outside[:, member]
        self._areas[:, member] += margins.astype(np.float32)
        self._epochs[member] += 1
        found = {
            "loss": loss,
            "accuracy": accuracy,
            "held_out_loss": self._held_out_loss(member, towards_a),
            "held_out_accuracy": _accuracy(margins[outside & preferring]),
            "trusted_accuracy": _accuracy((course.trusted * towards_a)[trusted]),
            "margin": margins[preferring].mean() if preferring.any() else np.nan,
            "reward": (a.mean() + b.mean()) / 2.0,
            "deviation": np.concatenate([a, b]).std(),
        }
        for name, value in found.items():
            self._figures[name][member] = value

    def _held_out_loss(self, member: int, towards_a: Doubles) -> float:
        """The mean log-loss outside the bag: of trusted labels where there are enough, else of what
        the pairs teach; not a number where nothing is outside."""
        course = self._course
        trusted, outside = course.trusted_outside[:, member], course.outside[:, member]
        if trusted.sum() >= FEWEST_TRUSTED:
            return float(-calibration.log_sigmoid((course.trusted * towards_a)[trusted]).mean())
        if not outside.any():
            return math.nan
        direction, probability, weight = (
            of.numpy()[outside] for of in (course.direction, course.probability, course.weight)
        )
        margins = direction * towards_a[outside]
        lost = -probability * calibration.log_sigmoid(margins)
        lost -= (1.0 - probability) * calibration.log_sigmoid(-margins)
        return float(np.average(lost, weights=weight))

    def _is_better(self, member: int) -> bool:
        """Whether the member is to be kept as it is now."""
        found = self._figures["held_out_loss"][member]
        if self._course.recipe.optimiser.patience == 0 or np.isnan(found):
            return True
        if found < self._least[member]:
            self._least[member], self._since[member] = found, 0
            return True
        self._since[member] += 1
        return False


def _accuracy(margins: Doubles) -> float:
    """The share above 0, ties counting half; not a number where there are none."""
    return float(strength.accuracy(margins[:, None])[0]) if len(margins) else math.nan
