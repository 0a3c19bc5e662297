"""Training: the solution is the one that the formula names, and each member knows only its bag."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression

from scoring.core import calibration, strength
from scoring.core.bags import bags, in_bag
from scoring.engine import surface
from scoring.engine.heads import Head, Slices, rewards
from scoring.training import heads
from scoring.training.heads import Space, Trained, TrainingPairs

Floats = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.int64]

WIDTH = surface.COUNT + 11
MEMBERS = 4


class Made:
    """Pairs of random responses, of which a hidden direction prefers one; some responses stand
    in several pairs."""

    def __init__(
        self,
        count: int = 300,
        *,
        noise: float = 0.0,
        repeated: int = 0,
        slices: Slices | None = None,
        names: Sequence[str] = (),
        opposed: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        generator = np.random.default_rng(seed)
        pool = generator.normal(size=(2 * count, WIDTH)).astype(np.float32)
        self.which = np.arange(2 * count).reshape(count, 2)
        again = 1 + generator.permutation(count - 1)[:repeated]  # response 0, now as A, now as B
        self.which[again, again % 2] = 0
        self.slices = slices or Slices.none()
        self.names = [*names] or [""] * count
        self.keys_a, self.keys_b = (7 * self.which[:, side].astype(np.int64) for side in (0, 1))
        self.rows_a, self.rows_b = (pool[self.which[:, side]] for side in (0, 1))
        self.space = Space.of(np.concatenate([self.rows_a, self.rows_b]))
        a, b = self.space.project(self.rows_a), self.space.project(self.rows_b)
        towards_a = (a - b) @ generator.normal(size=WIDTH)
        towards_a *= np.where(np.isin(self.names, list(opposed)), -1.0, 1.0)
        wrong = generator.random(count) < noise
        labels = np.where((towards_a > 0) != wrong, 1.0, -1.0).astype(np.float32)
        several = [0] if repeated > 1 else []
        self.pairs = TrainingPairs(
            differences=a - b,
            norm=float((np.square(a).sum() + np.square(b).sum()) / (2 * count)),
            keys=np.array(several, dtype=np.int64),
            a=np.where(np.isin(self.which[:, 0], several), 0, len(several)).astype(np.int64),
            b=np.where(np.isin(self.which[:, 1], several), 0, len(several)).astype(np.int64),
            labels=labels,
            codes=self.slices.codes_of(self.names),
        )
        self.bag = in_bag([f"pair {i}" for i in range(count)], bags(MEMBERS, seed=seed))

    def train(self, *, labels: Floats | None = None, bag: Booleans | None = None) -> Trained:
        pairs = self.pairs if labels is None else replace(self.pairs, labels=labels)
        return heads.train(
            pairs,
            self.bag if bag is None else bag,
            space=self.space,
            slices=self.slices,
        )

    def margins_by_reward(self, trained: Trained) -> Floats:
        """The margins of the labels as scoring would compute them, from the stored heads alone."""
        codes = trained.slices.codes_of(self.names)
        a = rewards(trained.heads, self.rows_a, codes, self.keys_a)
        b = rewards(trained.heads, self.rows_b, codes, self.keys_b)
        return np.asarray((a - b) * self.pairs.labels[:, None])


def linear(trained: Trained) -> list[Head]:
    heads_of = [head for head in trained.heads if isinstance(head, Head)]
    assert len(heads_of) == len(trained.heads)
    return heads_of


def weights(trained: Trained) -> Floats:
    return np.stack([head.weights for head in linear(trained)])


def two_slices(count: int) -> tuple[Slices, list[str]]:
    codes = np.array([[0.5, -0.5], [-0.5, 0.5]], dtype=np.float32)
    return Slices(("jokes", "proofs"), codes), ["jokes", "proofs"] * (count // 2)


def out_of_bag_accuracy(made: Made, trained: Trained) -> float:
    unseen = np.where(made.bag, np.nan, trained.margins.astype(np.float64))
    return float(strength.accuracy(unseen).mean())


def test_what_can_be_learnt_is_learnt() -> None:
    made = Made(1000)
    assert out_of_bag_accuracy(made, made.train()) > 0.93


def test_what_cannot_be_learnt_is_not_pretended_to_be() -> None:
    made = Made(1000, noise=0.5)
    trained = made.train()
    assert 0.43 < out_of_bag_accuracy(made, trained) < 0.57
    assert trained.loss == pytest.approx(np.log(2.0), abs=0.01)


def test_wrong_labels_are_contradicted_by_those_who_have_not_seen_them() -> None:
    made = Made(1000)
    planted = np.random.default_rng(1).random(1000) < 0.1
    labels = np.where(planted, -made.pairs.labels, made.pairs.labels).astype(np.float32)
    unseen = np.where(made.bag, np.nan, made.train(labels=labels).margins.astype(np.float64))
    strengths = strength.preference_strength(unseen)
    assert (strengths[planted] < 0).mean() > 0.85
    assert (strengths[~planted] < 0).mean() < 0.15


def test_the_same_pairs_and_bags_give_the_same_heads() -> None:
    made = Made(repeated=20, noise=0.1)
    first, again = made.train(), made.train()
    assert [head.to_bytes() for head in first.heads] == [head.to_bytes() for head in again.heads]
    np.testing.assert_array_equal(first.margins, again.margins)


def test_flipping_every_label_negates_every_weight_and_keeps_the_margins() -> None:
    made = Made(noise=0.1, repeated=20)
    one, other = made.train(), made.train(labels=-made.pairs.labels)
    np.testing.assert_allclose(weights(other), -weights(one), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other.margins, one.margins, rtol=1e-4, atol=1e-4)
    for flipped, head in zip(linear(other), linear(one), strict=True):
        np.testing.assert_allclose(
            flipped.effects.values, -head.effects.values, rtol=1e-4, atol=1e-5
        )


def test_the_order_of_the_pairs_does_not_matter() -> None:
    made = Made(noise=0.1)
    order = np.random.default_rng(1).permutation(len(made.bag))
    shuffled = replace(
        made.pairs,
        differences=made.pairs.differences[order],
        labels=made.pairs.labels[order],
        a=made.pairs.a[order],
        b=made.pairs.b[order],
        codes=made.pairs.codes[order],
    )
    other = heads.train(shuffled, made.bag[order], space=made.space, slices=made.slices)
    np.testing.assert_allclose(weights(other), weights(made.train()), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("sliced", [False, True])
@pytest.mark.parametrize("repeated", [0, 40])
def test_stored_heads_give_the_margins_that_training_saw(sliced: bool, repeated: int) -> None:
    slices, names = two_slices(300)
    made = Made(
        noise=0.1,
        repeated=repeated,
        slices=slices if sliced else None,
        names=names if sliced else (),
        opposed=["jokes"],
    )
    trained = made.train()
    assert bool(trained.slices.names) == sliced
    assert all(len(head.effects.keys) == (1 if repeated else 0) for head in linear(trained))
    np.testing.assert_allclose(
        made.margins_by_reward(trained), trained.margins, rtol=1e-3, atol=1e-3
    )


def objective_weights(made: Made, member: int, penalty: float) -> Floats:
    """The minimum that the module's formula names, found by scikit-learn."""
    held = made.bag[:, member]
    x, y = made.pairs.differences[held].astype(np.float64), made.pairs.labels[held]
    mean_square = np.square(x).sum() / x.shape[1]  # the module's lambda is penalty * mean square
    other = LogisticRegression(
        C=4.0 / (penalty * mean_square), fit_intercept=False, tol=1e-10, max_iter=5000
    )
    return np.asarray(other.fit(x, y).coef_[0] @ made.space.directions.T, dtype=np.float32)


def check_that_members_minimise_the_objective(penalty: float, *, within: float) -> None:
    made = Made(noise=0.1)
    trained = made.train()
    assert trained.penalty == penalty
    for member, head in enumerate(trained.heads):
        expected = objective_weights(made, member, penalty)
        np.testing.assert_allclose(head.weights[0], expected, atol=within * abs(expected).max())


@pytest.mark.parametrize("penalty", [3.0, 0.3, 0.03])
def test_a_member_becomes_penalised_logistic_regression_on_its_bag(
    penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "PENALTIES", (penalty,))
    monkeypatch.setattr(heads, "NEWTON_STEPS", 12)
    monkeypatch.setattr(heads, "GRADIENT_STEPS", 200)
    monkeypatch.setattr(heads, "TOLERANCE", 1e-6)
    check_that_members_minimise_the_objective(penalty, within=1e-4)


@pytest.mark.parametrize("penalty", heads.PENALTIES)
def test_the_few_steps_that_are_taken_come_close(
    penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "PENALTIES", (penalty,))
    check_that_members_minimise_the_objective(penalty, within=0.01)


def test_the_effect_of_a_response_is_penalised_as_a_feature_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An effect is one more column of the design, as loud as EFFECT_SHARE of a response's norm."""
    monkeypatch.setattr(heads, "PENALTIES", (0.3,))
    made = Made(noise=0.1, repeated=40)
    gain = np.sqrt(heads.EFFECT_SHARE * made.pairs.norm)
    column = gain * ((made.which[:, 0] == 0) * 1.0 - (made.which[:, 1] == 0))
    x = np.column_stack([made.pairs.differences, column]).astype(np.float64)
    held = made.bag[:, 0]
    ridge = 0.3 / 4.0 * np.square(made.pairs.differences[held]).sum() / WIDTH
    other = LogisticRegression(C=1.0 / ridge, fit_intercept=False, tol=1e-10, max_iter=5000)
    expected = gain * other.fit(x[held], made.pairs.labels[held]).coef_[0, -1]
    effects = linear(made.train())[0].effects
    assert effects.keys.tolist() == [0]
    assert abs(expected) > 0.01
    assert effects.values[0] == pytest.approx(expected, rel=0.02)


def test_a_member_does_not_know_the_labels_outside_its_bag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one penalty there is nothing left that the members choose together."""
    monkeypatch.setattr(heads, "PENALTIES", (1.0,))
    monkeypatch.setattr(heads, "TOLERANCE", 0.0)
    made = Made(noise=0.1, repeated=20)
    trained = made.train()
    labels = np.where(made.bag[:, 0], made.pairs.labels, -made.pairs.labels)
    other = made.train(labels=labels)
    np.testing.assert_allclose(weights(other)[0], weights(trained)[0], rtol=1e-5, atol=1e-6)
    effects = [linear(one)[0].effects.values for one in (trained, other)]
    np.testing.assert_allclose(effects[1], effects[0], rtol=1e-5)
    assert np.abs(weights(other)[1] + weights(trained)[1]).max() < 1e-4  # it saw only those


def test_the_penalty_is_the_one_whose_out_of_bag_loss_is_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Made(noise=0.2)
    chosen = made.train()
    losses = {}
    for penalty in heads.PENALTIES:
        with monkeypatch.context() as patch:
            patch.setattr(heads, "PENALTIES", (penalty,))
            losses[penalty] = made.train().loss
    assert min(losses, key=lambda penalty: losses[penalty]) == chosen.penalty
    assert chosen.loss == pytest.approx(min(losses.values()), rel=1e-3)
    assert chosen.loss == heads.out_of_bag_loss(chosen.margins, made.bag)


def test_the_loss_is_of_the_labels_that_a_member_has_not_seen() -> None:
    margins = np.array([[9.0, -1.0], [1.0, 9.0], [2.0, 9.0], [9.0, 3.0]], dtype=np.float32)
    bag = np.array([[True, False], [False, True], [False, True], [True, False]])
    unseen = np.array([-1.0 / np.sqrt(5.0), 1.0 / np.sqrt(2.5), 2.0 / np.sqrt(2.5), 3 / np.sqrt(5)])
    slope = calibration.fit_slope(unseen)
    expected = -np.log(calibration.label_probability(unseen, slope)).mean()
    assert heads.out_of_bag_loss(margins, bag) == pytest.approx(expected, rel=1e-6)


def test_slices_that_want_opposite_things_get_weights_of_their_own() -> None:
    slices, names = two_slices(600)
    made = Made(600, slices=slices, names=names, opposed=["jokes"])
    trained = made.train()
    assert trained.slices == slices
    assert weights(trained).shape == (MEMBERS, 3, WIDTH)
    assert out_of_bag_accuracy(made, trained) > 0.8


def test_slices_that_want_the_same_share_their_weights() -> None:
    slices, names = two_slices(600)
    trained = Made(600, noise=0.2, slices=slices, names=names).train()
    assert trained.slices.names == ()
    assert weights(trained).shape == (MEMBERS, 1, WIDTH)


@pytest.mark.parametrize("sliced", [False, True])
def test_training_says_how_far_it_is(sliced: bool) -> None:
    slices, names = two_slices(300) if sliced else (Slices.none(), [])
    made, heard = Made(slices=slices, names=names), []

    def hear(done: int, total: int) -> None:
        heard.append((done, total))

    heads.train(made.pairs, made.bag, space=made.space, slices=made.slices, on_step=hear)
    total = heads.NEWTON_STEPS * (2 if sliced else 1)
    assert heard == [(step, total) for step in range(1, total + 1)]


def test_a_member_whose_bag_is_empty_learns_nothing_and_disturbs_nobody() -> None:
    """One prompt group alone falls into one half of each split."""
    made = Made(noise=0.1)
    bag = np.zeros((300, 2), dtype=np.bool_)
    bag[:, 0] = True
    trained = made.train(bag=bag)
    np.testing.assert_array_equal(weights(trained)[1], 0.0)
    assert np.isfinite(trained.margins).all()
    assert np.isfinite(trained.loss)
    assert float(strength.accuracy(trained.margins.astype(np.float64))[0]) > 0.8


def test_pairs_whose_responses_look_alike_teach_nothing_but_do_no_harm() -> None:
    made = Made()
    alike = replace(made.pairs, differences=np.zeros_like(made.pairs.differences))
    trained = heads.train(alike, made.bag, space=made.space, slices=made.slices)
    np.testing.assert_array_equal(weights(trained), 0.0)


def test_a_space_without_limit_loses_nothing_and_a_smaller_one_keeps_the_main_directions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(0)
    flat = generator.normal(size=(200, 3)) @ generator.normal(size=(3, WIDTH))
    rows = flat.astype(np.float32)
    for components in (512, 3):
        monkeypatch.setattr(heads, "COMPONENTS", components)
        space = Space.of(rows)
        projected = space.project(rows)
        assert projected.shape == (200, min(components, WIDTH))
        distances = [
            np.linalg.norm(of[:50, None] - of[None, :50], axis=-1)
            for of in (projected, space.scaling.apply(rows))
        ]
        np.testing.assert_allclose(distances[0], distances[1], rtol=0.01, atol=0.5)
