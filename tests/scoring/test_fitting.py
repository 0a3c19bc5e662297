"""Ensembles trained by a recipe: every preset for heads through its launch and its tasks, and what
cannot be followed is refused before or told after."""

from collections.abc import Mapping
from typing import Any

import pytest

from annotations import decisions
from annotations.models import Dataset, PreferencePair, Verdict
from curator.lib.refusals import Forbidden, Refusal
from curator.models import User
from scoring import device_tasks, launch, recipe_book, responses, tasks
from scoring.core import recipes
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import HIDDEN, LINEAR, Recipe, parse
from scoring.models import Mode, ResponseSet, ScoringRun, TrainingRun
from scoring.shards import NotEnoughPairs
from tests import factories

LINEAR_PRESETS = [name for name, preset in PRESETS.items() if preset.model.kind == LINEAR]
HIDDEN_PRESETS = [name for name, preset in PRESETS.items() if preset.model.kind == HIDDEN]


def recipe(*treatments: tuple[dict[str, Any], dict[str, Any]], **parts: Any) -> Recipe:
    stated = [{"when": when, "then": then} for when, then in treatments]
    return parse({"name": "mine", "treatments": stated, **parts})


@pytest.fixture
def samples(thirty: Dataset) -> ResponseSet:
    rows = [
        {"prompt": f"Question {n}?", "responses": [f"answer {n}, {k} words" for k in range(4)]}
        for n in range(6)
    ]
    file = factories.file_of([*rows, {"prompt": "Short?", "responses": ["a", "b"]}])
    return responses.store(dataset=thirty, file=file, name="samples", by=None)[0]


def trained(run: ScoringRun, by: Recipe, **options: Any) -> TrainingRun:
    ensemble = factories.trained(
        run.dataset, run.ensemble.backbone, name="by-recipe", recipe=by, **options
    )
    return TrainingRun.objects.get(ensemble=ensemble)


def failed(run: ScoringRun, by: Recipe) -> TrainingRun:
    """The training after a worker had to give it up."""
    training = launch.start_training(
        dataset=run.dataset,
        name="by-recipe",
        by=None,
        members=4,
        backbone=run.ensemble.backbone,
        recipe=by,
    )
    tasks.plan_training(run_id=training.pk)
    for shard in training.shards.all():
        device_tasks.embed_shard(shard_id=shard.pk)
    device_tasks.fit_ensemble(run_id=training.pk)
    training.refresh_from_db()
    assert training.status == TrainingRun.Status.FAILED
    return training


TREATED: Mapping[str, tuple[str, int]] = {
    "flip the lowest tenth": ("flipped", 3),
    "drop the lowest fifth": ("left_out", 6),
    "label smoothing": ("softened", 28),
    "calibrated labels": ("softened", 28),
    "adaptive margin": ("with_margin", 28),
    "flip + margin": ("with_margin", 28),
    "soft labels + margin on the strongest tenth": ("with_margin", 2),
    "graded": ("weighted", 1),
}


def graded(dataset: Dataset) -> None:
    """Somebody says of a pair how strongly."""
    pair = dataset.pairs.filter(source_preference="a").order_by("pk")[0]
    factories.said(factories.annotator(dataset, "ann"), pair, "a", strength=3)


@pytest.mark.parametrize("name", LINEAR_PRESETS)
def test_every_preset_of_linear_heads_is_followed(run: ScoringRun, name: str) -> None:
    graded(run.dataset)
    training = trained(run, PRESETS[name])
    ensemble = training.ensemble
    assert recipe_book.recipe_of(ensemble) == PRESETS[name]
    assert ensemble.recipe["run"] == (run.pk if PRESETS[name].needs_run else None)
    if name in TREATED:
        what, count = TREATED[name]
        assert training.summary["treated"][what] == count
    for member in ensemble.members.all():
        assert member.card["kind"] == "linear head on a frozen backbone"
        assert member.card["recipe"] == {
            "name": name,
            "version": None,
            "digest": recipes.digest(PRESETS[name]),
        }
        assert member.card["run"] == ensemble.recipe["run"]
        assert 0.0 <= (member.out_of_bag_accuracy or 0.0) <= 1.0
    scored = factories.scored(ensemble)
    assert scored.summary["labelled"] == 28


@pytest.mark.parametrize("name", HIDDEN_PRESETS)
def test_every_preset_of_hidden_heads_is_followed(
    run: ScoringRun, samples: ResponseSet, name: str
) -> None:
    preset = PRESETS[name]
    training = trained(run, preset, responses=samples if preset.meta else None)
    member = training.ensemble.members.all()[0]
    assert member.card["kind"] == "head with a hidden layer on a frozen backbone"
    assert member.card["responses"] == (samples.pk if preset.meta else None)
    assert training.curve
    assert factories.scored(training.ensemble).summary["labelled"] == 28


def test_the_plain_recipe_trains_what_no_recipe_does(run: ScoringRun) -> None:
    by_recipe = trained(run, PRESETS["plain"]).ensemble.members.values_list("digest", flat=True)
    assert list(by_recipe) == list(run.ensemble.members.values_list("digest", flat=True))


def test_a_recipe_of_ones_own_is_kept_as_a_version(run: ScoringRun) -> None:
    mine = recipe(({"flag": "flipped"}, {"drop": True}))
    training = trained(run, mine)
    assert training.ensemble.recipe["training_version"] == 1
    assert recipe_book.called(run.dataset, "mine") == mine
    assert training.ensemble.members.all()[0].card["recipe"]["version"] == 1
    assert training.summary["treated"]["left_out"] == run.summary["flags"]["flipped"]


def test_a_treatment_that_meets_no_pair_is_told(run: ScoringRun) -> None:
    training = trained(run, recipe(({"strength_from": 1e6}, {"drop": True})))
    assert training.summary["warnings"] == [
        "Treatment 1 of the recipe met no pair and does nothing."
    ]


def test_ties_are_learnt_from_where_the_recipe_keeps_them(run: ScoringRun) -> None:
    training = trained(run, recipe(ties="half"))
    assert training.summary["labelled"] == 29
    assert training.summary["treated"]["softened"] == 1


def test_a_label_that_was_flipped_since_is_not_flipped_back(run: ScoringRun, casey: User) -> None:
    lowest = PreferencePair.objects.filter(scores__run=run).exclude(source_preference="tie")
    pair = lowest.filter(scores__flag__gt="").order_by("scores__strength")[0]
    decisions.decide(pair=pair, verdict=Verdict.FLIP, by=casey, based_on=None)
    training = trained(run, recipe(({"strength_below": -1e-9}, {"flip": True})))
    below = run.scores.filter(strength__lt=-1e-9).exclude(flag="").count()
    above = run.scores.filter(pair=pair, strength__gt=1e-9).count()
    assert training.summary["treated"]["flipped"] == below - 1 + above


def test_a_recipe_that_leaves_too_little_for_the_bags_is_told(run: ScoringRun) -> None:
    training = failed(run, recipe(({"percentile": [0, 0.9]}, {"drop": True})))
    assert "Too few pairs for the bags: of 2 pairs" in training.problem


def test_labels_that_all_prefer_one_side_are_told(dataset: Dataset, tiny_backbone: str) -> None:
    factories.pairs(dataset, 25)
    training = launch.start_training(
        dataset=dataset, name="heads", by=None, members=2, backbone=tiny_backbone
    )
    tasks.plan_training(run_id=training.pk)
    for shard in training.shards.all():
        device_tasks.embed_shard(shard_id=shard.pk)
    device_tasks.fit_ensemble(run_id=training.pk)
    training.refresh_from_db()
    assert "all labels prefer the same side" in training.problem


def test_pairs_that_were_decided_are_enough_where_the_source_said_nothing(
    dataset: Dataset, casey: User
) -> None:
    found = factories.pairs(dataset, 20, labels=[])
    with pytest.raises(NotEnoughPairs, match="has 0 pairs with a preference"):
        launch.check_training(dataset=dataset, name="heads", members=2, bag_unit="pair")
    for pair in found:
        decisions.decide(pair=pair, verdict=Verdict.PREFER_A, by=casey, based_on=None)
    launch.check_training(dataset=dataset, name="heads", members=2, bag_unit="pair")


# --- What is refused at the door ------------------------------------------------------------------


def test_a_recipe_that_goes_by_strengths_needs_a_run(thirty: Dataset) -> None:
    with pytest.raises(Refusal, match="has not been scored"):
        launch.check_recipe(dataset=thirty, recipe=PRESETS["adaptive margin"])


def test_a_run_must_be_done_and_of_the_dataset(run: ScoringRun) -> None:
    wanted = PRESETS["adaptive margin"]
    other = factories.dataset("other")
    with pytest.raises(Refusal, match="scored another dataset"):
        launch.check_recipe(dataset=other, recipe=wanted, run=run)
    waiting = launch.start_scoring(ensemble=run.ensemble, by=None)
    with pytest.raises(Refusal, match=f"Run {waiting.pk} is queued: name a run that is done"):
        launch.check_recipe(dataset=run.dataset, recipe=wanted, run=waiting)
    assert launch.check_recipe(dataset=run.dataset, recipe=wanted) == run


def test_a_flag_that_the_run_lacks_is_named(run: ScoringRun) -> None:
    ScoringRun.objects.filter(pk=run.pk).update(summary={"flags": {"clear": 28, "flipped": 0}})
    with pytest.raises(Refusal, match=r"flagged flipped, and run .* has none: it has clear"):
        launch.check_recipe(
            dataset=run.dataset, recipe=recipe(({"flag": "flipped"}, {"drop": True}))
        )


def test_weights_by_grade_need_somebody_who_said_how_strongly(thirty: Dataset) -> None:
    with pytest.raises(Refusal, match=r"nobody has said so in .*: collect labels with a strength"):
        launch.check_recipe(dataset=thirty, recipe=PRESETS["graded"])
    graded(thirty)
    launch.check_recipe(dataset=thirty, recipe=PRESETS["graded"])


def test_an_in_sample_run_has_no_calibrated_probabilities(run: ScoringRun) -> None:
    in_sample = factories.scored(run.ensemble, mode=Mode.IN_SAMPLE)
    with pytest.raises(Refusal, match="only an out-of-bag run has"):
        launch.check_recipe(dataset=run.dataset, recipe=PRESETS["calibrated labels"], run=in_sample)


def test_who_meta_trains_needs_responses_and_who_does_not_has_no_use_for_them(
    thirty: Dataset, samples: ResponseSet
) -> None:
    with pytest.raises(Refusal, match="import_responses pairs FILE"):
        launch.check_recipe(dataset=thirty, recipe=PRESETS["MetaRM"])
    with pytest.raises(Refusal, match="makes no use of sampled responses"):
        launch.check_recipe(dataset=thirty, recipe=PRESETS["plain"], responses=samples)
    with pytest.raises(Refusal, match="are of another dataset"):
        launch.check_recipe(
            dataset=factories.dataset("other"), recipe=PRESETS["MetaRM"], responses=samples
        )


def test_heads_that_no_machine_holds_are_refused_before_they_begin(thirty: Dataset) -> None:
    wide = parse(
        {
            "name": "wide",
            "model": {"kind": HIDDEN, "hidden": 4096},
            "contrastive": {},
            "meta": {"prompts": 1024, "responses": 64},
        }
    )
    samples = ResponseSet(dataset=thirty)
    launch.check_recipe(dataset=thirty, recipe=wide, responses=samples)
    with pytest.raises(Refusal, match="with 100 members of 4,096 hidden units"):
        launch.check_recipe(dataset=thirty, recipe=wide, responses=samples, members=100)


def test_a_stranger_trains_nothing_and_keeps_no_recipe(thirty: Dataset) -> None:
    with pytest.raises(Forbidden):
        launch.start_training(
            dataset=thirty, name="heads", by=factories.user("stranger"), recipe=recipe()
        )
    assert not thirty.recipes.exists()
