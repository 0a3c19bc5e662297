"""Heads with a hidden layer: each member on its own, whoever is trained along; what recipes ask
for; and when a training ends."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from scoring.core import curves, strength
from scoring.core.bags import bags, in_bag
from scoring.core.curves import Point
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import Recipe, parse
from scoring.core.targets import Targets
from scoring.engine import surface
from scoring.engine.heads import HiddenHead, Slices, rewards
from scoring.training import hidden, teaching
from scoring.training.diverging import Diverged
from scoring.training.heads import Space, Trained, TrainingPairs

Floats = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]

WIDTH = surface.COUNT + 11
MEMBERS = 4


def recipe(**parts: Any) -> Recipe:
    """A recipe of heads with a small hidden layer that learn in a few epochs."""
    model = {"kind": "hidden", "hidden": 16, **parts.pop("model", {})}
    optimiser = {"epochs": 6, "learning_rate": 0.01, **parts.pop("optimiser", {})}
    return parse({"name": "ours", "model": model, "optimiser": optimiser, **parts})


class Made:
    """Pairs of random responses, of which the one with the larger reward is preferred; the reward
    is linear in the features, or bent."""

    def __init__(
        self, count: int = 300, *, noise: float = 0.0, bent: bool = False, seed: int = 0
    ) -> None:
        generator = np.random.default_rng(seed)
        self.rows_a, self.rows_b = (
            generator.normal(size=(count, WIDTH)).astype(np.float32) for _ in range(2)
        )
        self.space = Space.of(np.concatenate([self.rows_a, self.rows_b]))
        a, b = self.space.project(self.rows_a), self.space.project(self.rows_b)
        direction = generator.normal(size=WIDTH)
        values = [of @ direction for of in (a, b)]
        towards_a = np.abs(values[0]) - np.abs(values[1]) if bent else values[0] - values[1]
        self.wrong = generator.random(count) < noise
        labels = np.where((towards_a > 0) != self.wrong, 1.0, -1.0).astype(np.float32)
        self.pairs = TrainingPairs(
            differences=a - b,
            norm=float((np.square(a).sum() + np.square(b).sum()) / (2 * count)),
            keys=np.zeros(0, dtype=np.int64),
            a=np.zeros(count, dtype=np.int64),
            b=np.zeros(count, dtype=np.int64),
            labels=labels,
            codes=np.zeros((count, 0), dtype=np.float32),
            projected_a=a,
            projected_b=b,
        )
        self.bag = in_bag([f"pair {i}" for i in range(count)], bags(MEMBERS, seed=seed))
        self.responses = self.space.project(
            generator.normal(size=(12 * 4, WIDTH)).astype(np.float32)
        ).reshape(12, 4, -1)

    def teaching(self, **targets: Any) -> TrainingPairs:
        """The pairs, teaching something else than their labels."""
        count = len(self.pairs.labels)
        plain = Targets(
            direction=np.where(self.pairs.labels < 0, -1.0, 1.0),
            probability=np.ones(count),
            margin=np.zeros(count),
            weight=np.ones(count),
            flipped=np.zeros(count, dtype=np.bool_),
        )
        return replace(self.pairs, targets=replace(plain, **targets))

    def train(
        self,
        how: Recipe | None = None,
        *,
        pairs: TrainingPairs | None = None,
        bag: Booleans | None = None,
        **rest: Any,
    ) -> Trained:
        return hidden.train(
            pairs or self.pairs,
            self.bag if bag is None else bag,
            how or recipe(),
            space=self.space,
            **rest,
        )


def outside(made: Made, trained: Trained) -> float:
    """Mean accuracy of the members on the labels outside their bags."""
    unseen = np.where(made.bag, np.nan, trained.margins.astype(np.float64))
    return float(strength.accuracy(unseen).mean())


def stored(trained: Trained) -> list[bytes]:
    return [head.to_bytes() for head in trained.heads]


def assert_same_heads(some: Trained, others: Trained) -> None:
    for one, other in zip(some.heads, others.heads, strict=False):
        assert isinstance(one, HiddenHead)
        assert isinstance(other, HiddenHead)
        for name in ("weights", "bias", "outputs", "straight"):
            np.testing.assert_allclose(
                getattr(one, name), getattr(other, name), rtol=1e-3, atol=1e-5
            )


def test_what_can_be_learnt_is_learnt() -> None:
    made = Made(1000)
    assert outside(made, made.train()) > 0.9


def test_a_hidden_layer_learns_what_no_linear_head_can() -> None:
    made = Made(2000, bent=True)
    wide = recipe(model={"hidden": 64}, optimiser={"epochs": 40, "weight_decay": 0.01})
    linear = teaching.teach(
        made.pairs, made.bag, PRESETS["plain"], space=made.space, slices=Slices.none()
    )
    assert outside(made, linear) < 0.6
    assert outside(made, made.train(wide)) > 0.75


def test_the_same_pairs_bags_and_seed_give_the_same_heads() -> None:
    made = Made(noise=0.1)
    first, again, other = made.train(), made.train(), made.train(seed=1)
    assert stored(first) == stored(again)
    np.testing.assert_array_equal(first.margins, again.margins)
    assert stored(first) != stored(other)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"contrastive": {"method": "simcse"}},
        {"contrastive": {"method": "swav", "prototypes": 4}},
        {"meta": {"step": 0.5, "prompts": 3}},
        {"loss": {"name": "robust"}},
    ],
    ids=["plain", "SimCSE", "SwAV", "MetaRM", "robust"],
)
def test_who_is_trained_along_changes_nothing(parts: Mapping[str, Any]) -> None:
    made = Made(noise=0.2)
    uneven = made.bag.copy()
    uneven[:100, 1] = False  # whose batches are fewer than the others'
    how = recipe(**parts, optimiser={"batch": 32, "patience": 1, "epochs": 4})
    together, two, alone = (
        made.train(how, bag=uneven[:, :members], responses=made.responses)
        for members in (MEMBERS, 2, 1)
    )
    assert_same_heads(two, together)
    assert_same_heads(alone, together)
    np.testing.assert_allclose(two.margins, together.margins[:, :2], rtol=1e-3, atol=1e-4)


def test_stored_heads_give_the_margins_that_training_saw() -> None:
    made = Made(noise=0.1)
    trained = made.train()
    nothing = np.zeros((len(made.bag), 0), dtype=np.float32)
    keys = np.zeros(len(made.bag), dtype=np.int64)
    a, b = (rewards(trained.heads, rows, nothing, keys) for rows in (made.rows_a, made.rows_b))
    np.testing.assert_allclose(
        (a - b) * made.pairs.labels[:, None], trained.margins, rtol=1e-3, atol=1e-3
    )


def test_a_member_knows_only_its_bag() -> None:
    made = Made(noise=0.1)
    patient = recipe(optimiser={"patience": 0, "epochs": 2})
    changed = made.pairs.labels * np.where(made.bag[:, 0], 1.0, -1.0)
    other = replace(made.pairs, labels=changed.astype(np.float32))
    one, same = made.train(patient), made.train(patient, pairs=other)
    assert stored(one)[0] == stored(same)[0]
    assert stored(one)[1] != stored(same)[1]


def test_pairs_that_weigh_nothing_are_not_learnt() -> None:
    made = Made(noise=0.3)
    right = made.teaching(weight=np.where(made.wrong, 0.0, 1.0))
    left_out = made.train(pairs=right)
    bag = made.bag & ~made.wrong[:, None]
    assert_same_heads(
        made.train(recipe(optimiser={"patience": 0}), pairs=right),
        made.train(recipe(optimiser={"patience": 0}), bag=bag),
    )
    assert len(left_out.heads) == MEMBERS


def test_turning_the_wrong_labels_round_teaches_the_truth() -> None:
    made = Made(1000, noise=0.4)
    turned = np.where(made.wrong, -made.pairs.labels, made.pairs.labels).astype(np.float64)
    taught = made.train(pairs=made.teaching(direction=turned, flipped=made.wrong))
    unseen = np.where(made.bag, np.nan, taught.margins.astype(np.float64))
    # margins are of the labels as they are: of the wrong ones negative
    assert float(strength.accuracy(unseen[made.wrong]).mean()) < 0.15
    assert float(strength.accuracy(unseen[~made.wrong]).mean()) > 0.85


def test_a_pair_and_its_mirror_image_teach_the_same() -> None:
    made = Made(noise=0.1)
    margin = np.random.default_rng(1).normal(size=len(made.bag))
    one = made.train(pairs=made.teaching(margin=margin))
    flipped = made.teaching(
        direction=-made.teaching().targets.direction,  # type: ignore[union-attr]
        probability=np.zeros(len(made.bag)),
        margin=-margin,
    )
    np.testing.assert_allclose(made.train(pairs=flipped).margins, one.margins, rtol=1e-2, atol=1e-3)


def test_a_margin_that_is_asked_for_is_widened_to() -> None:
    made = Made()
    long = recipe(optimiser={"patience": 0, "epochs": 10})
    asked = made.train(long, pairs=made.teaching(margin=np.full(len(made.bag), 5.0)))
    assert asked.margins.mean() > made.train(long).margins.mean() + 1.0


@pytest.mark.parametrize(
    "loss",
    [{"name": "unbiased", "noise": 0.0}, {"name": "robust", "beta": 1e6}],
    ids=["no noise", "hardly robust"],
)
def test_losses_at_their_limits_are_plain_training(loss: Mapping[str, Any]) -> None:
    made = Made(noise=0.1)
    gentle = {"learning_rate": 0.001, "epochs": 2}
    np.testing.assert_allclose(
        made.train(recipe(loss=loss, optimiser=gentle)).margins,
        made.train(recipe(optimiser=gentle)).margins,
        rtol=0.05,
        atol=0.02,
    )


def test_smoothed_labels_keep_margins_small() -> None:
    made = Made()
    long = recipe(optimiser={"patience": 0, "epochs": 15})
    smoothed = made.train(long, pairs=made.teaching(probability=np.full(len(made.bag), 0.7)))
    assert np.abs(smoothed.margins).mean() < 0.6 * np.abs(made.train(long).margins).mean()


def test_centred_rewards_stay_around_0() -> None:
    made = Made()
    long = {"patience": 0, "epochs": 10}
    free = made.train(recipe(optimiser=long)).curve[-1]
    centred = made.train(recipe(optimiser=long, loss={"centring": 1.0})).curve[-1]
    assert free.reward is not None
    assert centred.reward is not None
    assert abs(centred.reward) < 0.1
    assert abs(free.reward) > abs(centred.reward)


@pytest.mark.parametrize("on", ["pairs", "differences"])
@pytest.mark.parametrize("method", ["simcse", "swav"])
def test_contrastive_learning_changes_what_is_seen_and_still_learns(method: str, on: str) -> None:
    made = Made(600)
    wanted = {"method": method, "on": on, "prototypes": 5}
    contrasted = made.train(recipe(contrastive=wanted))
    assert outside(made, contrasted) > 0.8
    assert stored(contrasted) != stored(made.train())


def test_a_contrastive_loss_that_weighs_nothing_is_plain_training_to_the_bit() -> None:
    made = Made(noise=0.1)
    for method in ("simcse", "swav"):
        weightless = recipe(contrastive={"method": method, "weight": 0})
        assert stored(made.train(weightless)) == stored(made.train())


def test_an_ascent_of_no_length_is_plain_training_to_the_bit() -> None:
    made = Made(noise=0.1)
    still = made.train(recipe(meta={"step": 0}), responses=made.responses)
    assert stored(still) == stored(made.train())


def test_metarm_spreads_the_scores_of_sampled_responses() -> None:
    made = Made(noise=0.1)
    patient = {"patience": 0, "epochs": 3}

    def spread(trained: Trained) -> float:
        heads = [head for head in trained.heads if isinstance(head, HiddenHead)]
        back = made.responses.reshape(48, -1) @ made.space.directions.T
        found = []
        for head in heads:
            units = np.maximum(back @ head.weights.T + head.bias, 0.0)
            scores = (units @ head.outputs + back @ head.straight).reshape(12, 4)
            found.append(scores.std(axis=1).mean() / scores.std())
        return float(np.mean(found))

    plain = made.train(recipe(optimiser=patient))
    meta = made.train(
        recipe(optimiser=patient, meta={"step": 20.0, "prompts": 12}), responses=made.responses
    )
    assert stored(plain) != stored(meta)
    assert spread(meta) != pytest.approx(spread(plain), rel=1e-6)


def test_metarm_without_responses_is_no_training() -> None:
    with pytest.raises(ValueError, match="sampled responses"):
        Made().train(recipe(meta={"step": 0.1}))


def test_without_the_features_of_both_responses_there_is_no_training() -> None:
    made = Made()
    with pytest.raises(ValueError, match="features of both responses"):
        made.train(pairs=replace(made.pairs, projected_a=None))


def test_a_member_stops_by_what_is_outside_its_bag_and_is_kept_at_its_best() -> None:
    made = Made(200, noise=0.3)
    eager = recipe(optimiser={"epochs": 60, "patience": 2}, model={"hidden": 32})
    looks: list[Point] = []
    trained = made.train(eager, on_look=looks.append)
    assert len(looks) < 60
    assert trained.curve == looks
    patient = made.train(replace(eager, optimiser=replace(eager.optimiser, patience=0)))
    assert len(patient.curve) == 60
    assert trained.loss < patient.loss
    assert patient.curve[-1].held_out_loss is not None
    best = min(point.held_out_loss for point in patient.curve if point.held_out_loss is not None)
    assert patient.curve[-1].held_out_loss > best


def test_rewards_are_watched_up_to_the_epoch_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[int | None] = []

    def inflation(points: Sequence[Point], *, until: int | None = None) -> str:
        watched.append(until)
        return "Rewards inflate."

    monkeypatch.setattr(curves, "inflation", inflation)
    made = Made(200, noise=0.3)
    trained = made.train(recipe(optimiser={"epochs": 60, "patience": 2}, model={"hidden": 32}))
    assert trained.warnings == ["Rewards inflate."]
    # who stops last has seen two epochs without a better one
    assert watched == [trained.curve[-3].step]


def test_trusted_labels_decide_when_to_stop_where_there_are_enough() -> None:
    made = Made(400, noise=0.3)
    truth = np.where(made.wrong, -made.pairs.labels, made.pairs.labels)
    few = np.zeros_like(truth)
    few[:20] = truth[:20]
    by_labels, by_few = made.train(), made.train(trusted=few)
    by_truth = made.train(trusted=truth)
    assert stored(by_few) == stored(by_labels)
    assert all(point.trusted_accuracy is None for point in by_labels.curve)
    assert by_truth.curve[0].trusted_accuracy is not None
    assert by_truth.curve[0].held_out_loss != by_labels.curve[0].held_out_loss
    accuracies = [point.trusted_accuracy or 0.0 for point in by_truth.curve]
    assert max(accuracies) > max(point.held_out_accuracy or 0.0 for point in by_truth.curve)


def test_a_bag_of_everything_is_trained_to_the_last_epoch() -> None:
    made = Made()
    trained = made.train(recipe(optimiser={"epochs": 5}), bag=np.ones_like(made.bag[:, :2]))
    assert len(trained.curve) == 5
    assert trained.curve[-1].held_out_loss is None
    assert trained.curve[-1].held_out_accuracy is None


def test_an_empty_bag_teaches_nothing_and_breaks_nothing() -> None:
    made = Made()
    bag = made.bag.copy()
    bag[:, 1] = False
    trained = made.train(bag=bag)
    assert_same_heads(replace(trained, heads=trained.heads[:1]), made.train())
    assert bool(np.isfinite(trained.margins).all())


def test_a_member_that_diverges_is_named_with_its_epoch() -> None:
    made = Made(noise=0.3)
    wild = recipe(optimiser={"learning_rate": 10.0, "warm_up": 0.0})
    with pytest.raises(Diverged, match=r"epoch \d+ of member \d.*lower learning rate"):
        made.train(wild)


def test_margins_over_epochs_are_those_of_the_epochs() -> None:
    made = Made(noise=0.1)
    once = made.train(recipe(optimiser={"epochs": 1}))
    assert once.area_margins is not None
    np.testing.assert_allclose(once.area_margins, once.margins, rtol=1e-6)
    several = made.train(recipe(optimiser={"patience": 0, "epochs": 8}))
    assert several.area_margins is not None
    assert np.abs(several.area_margins).mean() < np.abs(several.margins).mean()


def test_a_curve_has_a_point_an_epoch_and_steps_are_heard_to_the_end() -> None:
    made = Made(noise=0.1)
    heard: list[tuple[int, int]] = []
    trained = made.train(
        recipe(optimiser={"patience": 0, "batch": 2, "epochs": 3}),
        on_step=lambda done, total: heard.append((done, total)),
    )
    assert [point.epoch for point in trained.curve] == [1.0, 2.0, 3.0]
    assert all(point.is_finite for point in trained.curve)
    assert [point.step for point in trained.curve] == sorted(point.step for point in trained.curve)
    assert heard == sorted(heard)
    assert len(heard) > 3
    assert heard[-1][0] == heard[-1][1]
    losses = [point.loss for point in trained.curve if point.loss is not None]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "name", [name for name, of in PRESETS.items() if of.model.kind == "hidden"]
)
def test_every_preset_with_a_hidden_layer_is_taught(name: str) -> None:
    made = Made(200)
    trained = teaching.teach(
        made.pairs,
        made.bag,
        PRESETS[name],
        space=made.space,
        slices=Slices.none(),
        responses=made.responses,
    )
    assert outside(made, trained) > 0.6
    assert trained.penalty is None
