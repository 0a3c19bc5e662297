"""Experiments: planned, run on real heads, and brought together."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotations import decisions
from annotations.models import Dataset, GoldPair, PreferencePair, Snapshot, Verdict
from curator.lib.refusals import Conflict, Refusal
from curator.lib.work import Work
from curator.models import User
from scoring import access as scoring_access
from scoring import device_tasks, freezing, responses, tasks
from scoring.core import recipes
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import Meta
from scoring.engine.heads import Effects, Head, HiddenHead, Slices, rewards
from scoring.experiments import best_of, kept, launching, material, planning, shown, steps, trusted
from scoring.experiments.planning import ArmPlan, Design
from scoring.models import Arm, Checkpoint, Experiment, Trial
from scoring.training import hidden
from scoring.training.heads import Space
from tests import factories

COUNT = 90
RAW = ArmPlan("raw labels", Arm.Labels.SOURCE)
WRONG = {number for number in range(COUNT) if number % 3 == 0}


def rows(count: int = COUNT, *, prefix: str = "pair", wrong: set[int] = WRONG) -> list[Any]:
    """Good answers are long, bad ones short, on either side; a third of the labels are wrong."""
    made = []
    for number in range(count):
        row = factories.row(number, id=f"{prefix}-{number}", prompt=f"{prefix} question {number}?")
        better = "a"
        if number % 2:
            row["response_a"], row["response_b"] = row["response_b"], row["response_a"]
            better = "b"
        label = {"a": "b", "b": "a"}[better] if number in wrong else better
        row["labels"][0]["label"] = label
        made.append(row)
    return made


def truth(count: int = COUNT, *, prefix: str = "pair", wrong: set[int] = WRONG) -> dict[str, bool]:
    return {f"{prefix}-{number}": number in wrong for number in range(count)}


@pytest.fixture
def noisy(dataset: Dataset) -> Dataset:
    factories.imported(dataset, rows())
    return dataset


@pytest.fixture
def cleaned(noisy: Dataset, casey: User) -> Snapshot:
    """Every wrong label has been turned by a person."""
    for pair in noisy.pairs.all():
        if int(pair.source_id.rpartition("-")[2]) in WRONG:
            decisions.decide(pair=pair, verdict=Verdict.FLIP, by=casey, based_on=None)
    return freezing.freeze(dataset=noisy, by=casey)


def after(snapshot: Snapshot) -> ArmPlan:
    return ArmPlan("cleaned", Arm.Labels.SNAPSHOT, snapshot)


class Designer:
    """Designs small experiments on a tiny backbone."""

    def __init__(self, backbone: str) -> None:
        self.backbone = backbone

    def __call__(self, dataset: Dataset, arms: Sequence[ArmPlan], **changes: Any) -> Design:
        fields: dict[str, Any] = {
            "name": "cleaning",
            "backbone": self.backbone,
            "seeds": 2,
            "folds": 3,
            "members": 2,
            "truth": truth(),
        }
        return Design(dataset=dataset, arms=list(arms), **{**fields, **changes})


@pytest.fixture
def design(tiny_backbone: str) -> Designer:
    return Designer(tiny_backbone)


def worked_off(experiment: Experiment) -> Experiment:
    """What the workers do until the experiment is over."""
    trials = Trial.objects.filter(arm__experiment=experiment, status=Work.Status.QUEUED)
    for trial_id in trials.order_by("pk").values_list("pk", flat=True):
        device_tasks.run_trial(trial_id=trial_id)
    tasks.finish_experiment(experiment_id=experiment.pk)
    experiment.refresh_from_db()
    return experiment


def test_cleaned_labels_beat_raw_ones_on_trusted_labels(
    cleaned: Snapshot, design: Designer
) -> None:
    wanted = design(cleaned.dataset, [RAW, after(cleaned)], seeds=3)
    experiment = worked_off(launching.start(wanted, by=None))
    assert experiment.status == Work.Status.DONE, experiment.problem
    found = shown.report(experiment)
    raw, clean = found["arms"]
    assert found["pairs"] == {"raw": COUNT, "trusted": COUNT, "agreeing": COUNT - len(WRONG)}
    assert clean["accuracy"]["trusted"]["estimate"] > 0.95
    assert clean["accuracy"]["raw"]["estimate"] < 0.75
    of = {(each["arm"], each["on"]): each for each in found["differences"]}
    assert set(of) == {("cleaned", on) for on in ("raw", "trusted", "agreeing")}
    assert of["cleaned", "trusted"]["estimate"] == pytest.approx(
        clean["accuracy"]["trusted"]["estimate"] - raw["accuracy"]["trusted"]["estimate"]
    )
    assert clean["brier"]["estimate"] < raw["brier"]["estimate"]
    assert "rewards fitting their noise" in found["warnings"][0]
    assert found["verdict"].startswith("On trusted labels, ")
    assert json.loads(json.dumps(found)) == found


def test_the_same_arm_twice_shows_no_difference_at_all(noisy: Dataset, design: Designer) -> None:
    twin = ArmPlan("raw labels again", Arm.Labels.SOURCE)
    experiment = worked_off(launching.start(design(noisy, [RAW, twin]), by=None))
    found = shown.report(experiment)
    for difference in found["differences"]:
        assert (difference["estimate"], difference["low"], difference["high"]) == (0.0, 0.0, 0.0)
    assert "no difference to raw labels can be told for raw labels again" in found["verdict"]


def test_recipes_go_by_strengths_that_are_measured_inside_each_trial(
    noisy: Dataset, design: Designer
) -> None:
    """The dataset has no scoring run at all, and yet every treatment can be followed."""
    names = ("flip the lowest tenth", "soft labels + margin", "calibrated labels", "robust")
    arms = [RAW, *(ArmPlan(name, Arm.Labels.SOURCE, recipe=PRESETS[name]) for name in names)]
    experiment = worked_off(launching.start(design(noisy, arms, seeds=1), by=None))
    assert experiment.status == Work.Status.DONE, experiment.problem
    found = {arm["name"]: arm for arm in shown.report(experiment)["arms"]}
    learnt = found["raw labels"]["treated"]["learnt_from"]
    assert found["flip the lowest tenth"]["treated"]["flipped"] == pytest.approx(learnt / 10, abs=1)
    assert found["soft labels + margin"]["treated"]["softened"] > 0
    assert found["calibrated labels"]["treated"]["softened"] == learnt
    assert any("compared with the first" in each for each in experiment.result["warnings"])


def test_a_head_with_a_hidden_layer_may_be_an_arm(noisy: Dataset, design: Designer) -> None:
    hidden = ArmPlan("hidden layer", Arm.Labels.SOURCE, recipe=PRESETS["hidden layer"])
    experiment = worked_off(launching.start(design(noisy, [RAW, hidden], seeds=1), by=None))
    assert experiment.status == Work.Status.DONE, experiment.problem
    assert experiment.result["failed"] == []
    assert Trial.objects.get(arm__name="hidden layer").curve


def test_held_out_labels_reach_no_training(noisy: Dataset, design: Designer) -> None:
    """With every label of the held-out fold turned round, the trial says the same of its pairs."""
    strengths = PRESETS["soft labels + margin"]
    arms = [RAW, ArmPlan("by strength", Arm.Labels.SOURCE, recipe=strengths)]
    first = worked_off(launching.start(design(noisy, arms, seeds=1), by=None))
    other = {"a": "b", "b": "a"}
    for pair in noisy.pairs.all():
        if planning.is_held_out(first, pair.group, 0):
            PreferencePair.objects.filter(pk=pair.pk).update(
                source_preference=other[pair.source_preference]
            )
    again = design(noisy, arms, seeds=1, name="turned")
    second = worked_off(launching.start(again, by=None))
    margins = [
        [
            bytes(trial.margins or b"")
            for trial in Trial.objects.filter(arm__experiment=of).order_by("pk")
        ]
        for of in (first, second)
    ]
    assert margins[0] == margins[1]


def test_every_arm_is_asked_of_the_same_pairs_and_every_prompt_in_one_fold(
    noisy: Dataset, design: Designer
) -> None:
    twin = ArmPlan("twin", Arm.Labels.SOURCE)
    experiment = worked_off(launching.start(design(noisy, [RAW, twin], seeds=3), by=None))
    asked: dict[int, set[bytes]] = {}
    for trial in Trial.objects.filter(arm__experiment=experiment):
        asked.setdefault(trial.fold, set()).add(bytes(trial.pair_ids or b""))
    assert all(len(of) == 1 for of in asked.values())
    ids = np.concatenate([np.frombuffer(next(iter(of)), dtype=np.int64) for of in asked.values()])
    assert sorted(ids.tolist()) == sorted(noisy.pairs.values_list("pk", flat=True))


def test_labels_as_they_hold_now_are_those_of_the_beginning(
    noisy: Dataset, casey: User, design: Designer
) -> None:
    arms = [RAW, ArmPlan("now", Arm.Labels.NOW)]
    experiment = launching.start(design(noisy, arms, seeds=1), by=None)
    for pair in noisy.pairs.all()[:20]:
        decisions.decide(pair=pair, verdict=Verdict.FLIP, by=casey, based_on=None)
    worked_off(experiment)
    for difference in experiment.result["differences"]:
        assert difference["estimate"] == 0.0


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_pairs_that_are_imported_later_are_neither_learnt_nor_judged(
    noisy: Dataset, casey: User, design: Designer, is_elsewhere: bool
) -> None:
    changes = dict[str, Any]()
    other = factories.dataset("other", curators=[casey])
    if is_elsewhere:
        factories.imported(other, rows(40, prefix="other", wrong=set()))
        changes = {"evaluated_on": other, "truth": truth(40, prefix="other", wrong=set())}
    arms = [RAW, ArmPlan("now", Arm.Labels.NOW)]
    experiment = launching.start(design(noisy, arms, seeds=1, **changes), by=None)
    first, _ = Trial.objects.filter(arm__experiment=experiment)
    device_tasks.run_trial(trial_id=first.pk)
    factories.imported(noisy, rows(40, prefix="late"))
    factories.imported(other, rows(40, prefix="late"))  # prompts that would overlap
    worked_off(experiment)
    assert experiment.status == Work.Status.DONE, experiment.problem
    assert experiment.result["failed"] == []
    one, two = (bytes(of.pair_ids or b"") for of in Trial.objects.all())
    assert one == two
    for difference in experiment.result["differences"]:
        assert difference["estimate"] == 0.0
    Trial.objects.update(status=Work.Status.QUEUED)
    found = material.of(Trial.objects.get(arm__name="now"))
    assert found.ids.max() <= experiment.last_pair
    assert found.judged.max() <= experiment.last_pair


def test_an_experiment_is_judged_on_another_dataset(
    noisy: Dataset, casey: User, design: Designer
) -> None:
    other = factories.dataset("other", curators=[casey])
    factories.imported(other, rows(40, prefix="other", wrong=set()))
    twin = ArmPlan("twin", Arm.Labels.SOURCE)
    wanted = design(
        noisy, [RAW, twin], evaluated_on=other, truth=truth(40, prefix="other", wrong=set())
    )
    experiment = worked_off(launching.start(wanted, by=casey))
    assert experiment.result["pairs"] == {"raw": 40, "trusted": 40, "agreeing": 40}
    learnt = experiment.result["arms"][0]["treated"]["learnt_from"]
    assert learnt == COUNT


def test_prompts_that_were_learnt_from_judge_nothing(
    noisy: Dataset, casey: User, design: Designer
) -> None:
    other = factories.dataset("other", curators=[casey])
    shared = [factories.row(1, id="new", prompt="pair question 4?", response_a="Something else.")]
    factories.imported(other, [*rows(40, prefix="other", wrong=set()), *shared])
    wanted = design(noisy, [RAW, ArmPlan("twin", Arm.Labels.SOURCE)], evaluated_on=other)
    with pytest.raises(Refusal, match=r"share 1 prompt \(1 pairs\), such as “pair question 4\?”"):
        launching.check(wanted, by=None)


def test_scored_responses_tell_how_good_the_best_of_n_is(
    noisy: Dataset, tmp_path: Any, design: Designer
) -> None:
    lines = [
        {
            "prompt": f"Elsewhere {number}?",
            "responses": [f"no {number}", f"A good and helpful answer, number {number}, in full."],
            "scores": [1.0, 5.0],
        }
        for number in range(6)
    ]
    path = tmp_path / "sampled.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    given, _ = responses.store_from(dataset=noisy, path=path, name="sampled", by=None)
    wanted = design(noisy, [RAW, ArmPlan("twin", Arm.Labels.SOURCE)], responses=given, seeds=1)
    experiment = worked_off(launching.start(wanted, by=None))
    best = experiment.result["arms"][0]["best_of_n"]
    assert (best["prompts"], best["random"], best["best"]) == (6, 3.0, 5.0)
    assert best["random"] <= best["chosen"]["estimate"] <= 5.0
    assert experiment.result["arms"][1]["best_of_n"]["difference"]["estimate"] == 0.0


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_no_arm_is_judged_on_prompts_that_another_has_meta_trained_on(
    noisy: Dataset, casey: User, tmp_path: Path, design: Designer, is_elsewhere: bool
) -> None:
    count, changes = 24, dict[str, Any]()
    path = tmp_path / "sampled.jsonl"
    path.write_text("".join(f"{json.dumps(sampled(number))}\n" for number in range(count)))
    given, _ = responses.store_from(dataset=noisy, path=path, name="sampled", by=None)
    if is_elsewhere:
        other = factories.dataset("other", curators=[casey])
        factories.imported(other, rows(40, prefix="sampled", wrong=set()))
        changes = {"evaluated_on": other, "truth": truth(40, prefix="sampled", wrong=set())}
    meta = ArmPlan("MetaRM", Arm.Labels.SOURCE, recipe=PRESETS["MetaRM"])
    wanted = design(noisy, [RAW, meta], responses=given, seeds=3, **changes)
    judged: list[int] = []
    for trial in Trial.objects.filter(arm__experiment=launching.start(wanted, by=None)):
        answers = best_of.answers_of(trial, material.of(trial))
        assert answers is not None
        taught = best_of.to_meta_train_on(answers, Meta(responses=2), "sampled")
        learnt = {row.tobytes() for row in taught.reshape(-1, taught.shape[-1])}
        asked = {
            answers.projected[answers.of(prompt).start].tobytes() for prompt in answers.to_judge
        }
        assert learnt
        assert asked
        assert not learnt & asked
        judged += answers.to_judge
        if is_elsewhere:
            assert set(range(8)) <= set(answers.to_judge)
    assert set(judged) == set(range(count))


def sampled(number: int) -> dict[str, Any]:
    """A prompt with two scored responses; the first eight are asked in another dataset too."""
    prompt = f"sampled question {number}?" if number < 8 else f"Elsewhere {number}?"
    said = [f"no {number}", f"A good and helpful answer, number {number}, in full."]
    return {"prompt": prompt, "responses": said, "scores": [1.0, 5.0]}


def test_a_trial_that_fails_leaves_the_rest_to_be_shown_and_can_be_tried_again(
    noisy: Dataset, casey: User, design: Designer
) -> None:
    few = freeze_few(noisy, casey)
    arms = [RAW, ArmPlan("twin", Arm.Labels.SOURCE), ArmPlan("few", Arm.Labels.SNAPSHOT, few)]
    experiment = worked_off(launching.start(design(noisy, arms, seeds=1), by=None))
    assert experiment.status == Work.Status.DONE
    assert [arm["name"] for arm in experiment.result["arms"]] == ["raw labels", "twin"]
    (failed,) = experiment.result["failed"]
    assert failed["arm"] == "few"
    assert "pairs to learn from" in failed["problem"]
    launching.start_again(experiment, by=casey)
    experiment.refresh_from_db()
    assert experiment.status == Work.Status.QUEUED
    waiting = Trial.objects.filter(arm__experiment=experiment, status=Work.Status.QUEUED)
    assert [trial.arm.name for trial in waiting] == ["few"]


def freeze_few(dataset: Dataset, by: User) -> Snapshot:
    """All labels but a handful are dropped."""
    for pair in dataset.pairs.order_by("pk")[8:]:
        decisions.decide(pair=pair, verdict=Verdict.DROP, by=by, based_on=None)
    return freezing.freeze(dataset=dataset, by=by)


def test_without_the_first_arm_there_is_nothing_to_compare_with(
    noisy: Dataset, casey: User, design: Designer
) -> None:
    few = ArmPlan("few", Arm.Labels.SNAPSHOT, freeze_few(noisy, casey))
    experiment = worked_off(launching.start(design(noisy, [few, RAW], seeds=1), by=None))
    assert experiment.status == Work.Status.FAILED
    assert experiment.problem.startswith("There is nothing to compare with: no trial of the arm")


def test_a_worker_keeps_what_trials_share_no_longer_than_trials_wait(
    noisy: Dataset, design: Designer
) -> None:
    by_strength = ArmPlan("flipped", Arm.Labels.SOURCE, recipe=PRESETS["flip the lowest tenth"])
    experiment = launching.start(design(noisy, [RAW, by_strength], seeds=1), by=None)
    last, first = Trial.objects.filter(arm__experiment=experiment).order_by("arm__position")
    device_tasks.run_trial(trial_id=first.pk)
    assert {name[0] for name in of_all_kinds()} == {experiment.pk}
    assert len(of_all_kinds()) == 2  # the fold's features, and how strong its labels are
    kept.forget()
    assert of_all_kinds() == []
    device_tasks.run_trial(trial_id=last.pk)
    assert of_all_kinds() == []


def of_all_kinds() -> list[Any]:
    return [name for each in kept.Kept.everywhere for name in each.found]


def test_of_the_features_for_hidden_layers_only_those_are_kept_that_they_read(
    noisy: Dataset, design: Designer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hidden, "COMPONENTS", 4)
    arm = ArmPlan("hidden layer", Arm.Labels.SOURCE, recipe=PRESETS["hidden layer"])
    experiment = launching.start(design(noisy, [RAW, arm], seeds=1), by=None)
    worked_off(experiment)
    assert experiment.result["failed"] == []
    Trial.objects.update(status=Work.Status.QUEUED)
    found = material.of(Trial.objects.get(arm__name="hidden layer"))
    assert found.both is not None
    assert [side.shape[1] for side in found.both] == [4, 4]
    assert found.differences[:, :4] == pytest.approx(found.both[0] - found.both[1], abs=1e-5)


def test_truths_and_margins_are_read_only_for_the_result(
    noisy: Dataset, casey: User, design: Designer
) -> None:
    """There is one for every pair, and progress is asked for all the time."""
    twin = ArmPlan("twin", Arm.Labels.SOURCE)
    experiment = launching.start(design(noisy, [RAW, twin], seeds=1), by=None)
    first, second = Trial.objects.filter(arm__experiment=experiment)
    device_tasks.run_trial(trial_id=first.pk)
    long_ago = experiment.queued_at.replace(year=2020)
    Experiment.objects.update(queued_at=long_ago)
    with CaptureQueriesContext(connection) as asked:
        scoring_access.experiment_to_watch(casey, noisy.slug, experiment.pk)
        steps.after_trial(first.pk)
        steps.sweep()
        device_tasks.run_trial(trial_id=second.pk)  # the features of its fold are kept
    assert "truths" not in " ".join(each["sql"] for each in asked)
    Trial.objects.filter(pk=second.pk).update(status=Work.Status.QUEUED)
    with CaptureQueriesContext(connection) as asked:
        tasks.finish_experiment(experiment_id=experiment.pk)
    assert "margins" not in " ".join(each["sql"] for each in asked)


def test_an_experiment_of_too_many_margins_is_refused(
    noisy: Dataset, design: Designer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = design(noisy, [RAW, ArmPlan("twin", Arm.Labels.SOURCE)])
    monkeypatch.setattr(planning, "MOST_MARGINS", 200)
    with pytest.raises(Refusal, match="judged on about 60 pairs, are 240 margins"):
        launching.check(wanted, by=None)


def test_a_cancelled_experiment_is_left_alone_by_workers(
    noisy: Dataset, casey: User, design: Designer
) -> None:
    twin = ArmPlan("twin", Arm.Labels.SOURCE)
    experiment = launching.start(design(noisy, [RAW, twin]), by=casey)
    launching.cancel(experiment, by=casey)
    worked_off(experiment)
    assert experiment.status == Work.Status.CANCELLED
    assert not Trial.objects.filter(margins__isnull=False).exists()
    with pytest.raises(Refusal, match="queued or running"):
        launching.cancel(experiment, by=casey)


def test_the_end_waits_for_the_last_trial(noisy: Dataset, design: Designer) -> None:
    twin = ArmPlan("twin", Arm.Labels.SOURCE)
    experiment = launching.start(design(noisy, [RAW, twin], seeds=1), by=None)
    tasks.finish_experiment(experiment_id=experiment.pk)
    experiment.refresh_from_db()
    assert not experiment.is_over
    assert shown.share_done(experiment) == 0.0
    worked_off(experiment)
    assert shown.share_done(experiment) == 1.0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": 0}, "1 to 50 seeds"),
        ({"folds": 1}, "2 to 20 folds"),
        ({"members": 3}, "even number of members"),
        ({"members": 200}, "at most 100 members"),
        (
            {"arms": [RAW, *(ArmPlan(name, "source") for name in "abcdef")], "seeds": 50},
            "7 arms with 50 seeds each are 350 trials, and an experiment has at most 240",
        ),
        ({"arms": [RAW]}, "compares 2 to 12 arms, not 1"),
        ({"arms": [RAW, RAW]}, "Two arms are called 'raw labels'"),
        ({"arms": [RAW, ArmPlan("x", "guesses")]}, "takes labels from 'guesses'"),
        ({"arms": [RAW, ArmPlan("x", Arm.Labels.SNAPSHOT)]}, "Say which snapshot"),
        ({"arms": [RAW, ArmPlan(" ", Arm.Labels.SOURCE)]}, "An arm needs a name"),
        ({"name": " "}, "needs a name"),
        ({"truth": {"pair-1": True}}, "has [01] trusted pairs in the folds .* at least 30"),
        ({"truth": {"nowhere": True}}, "None of the ids in the file"),
        ({"truth": None}, "has 0 trusted pairs"),
        (
            {"arms": [RAW, ArmPlan("m", Arm.Labels.SOURCE, recipe=PRESETS["MetaRM"])]},
            "name a set of responses",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    noisy: Dataset, changes: dict[str, Any], sentence: str, design: Designer
) -> None:
    wanted = design(noisy, [RAW, ArmPlan("twin", Arm.Labels.SOURCE)])
    with pytest.raises(Refusal, match=sentence):
        launching.start(Design(**{**vars(wanted), **changes}), by=None)
    assert not Experiment.objects.exists()


def test_whole_models_are_no_arms_yet(noisy: Dataset, design: Designer) -> None:
    lora = recipes.parse({"name": "lora", "model": {"kind": "lora", "base": "org/model"}})
    arms = [RAW, ArmPlan("lora", Arm.Labels.SOURCE, recipe=lora)]
    with pytest.raises(Refusal, match="model of kind `lora`; experiments compare heads"):
        launching.check(design(noisy, arms), by=None)


def test_a_name_is_taken_once_and_strangers_start_nothing(noisy: Dataset, design: Designer) -> None:
    wanted = design(noisy, [RAW, ArmPlan("twin", Arm.Labels.SOURCE)])
    launching.start(wanted, by=None)
    with pytest.raises(Conflict, match="has an experiment called 'cleaning' already"):
        launching.check(wanted, by=None)
    with pytest.raises(Refusal, match="Only curators and owners"):
        launching.start(wanted, by=factories.user("stranger"))


def test_an_experiment_that_is_sent_twice_at_once_is_begun_once(
    noisy: Dataset, design: Designer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = design(noisy, [RAW, ArmPlan("twin", Arm.Labels.SOURCE)])
    found = planning.check(wanted)
    first = launching.start(wanted, by=None)
    # the name was free when both looked
    monkeypatch.setattr(planning, "check", lambda design: found)
    with pytest.raises(Conflict, match="has an experiment called 'cleaning' already"):
        launching.start(wanted, by=None)
    assert Experiment.objects.get() == first


def test_people_are_trusted_by_decision_then_gold_then_consensus(
    noisy: Dataset, casey: User
) -> None:
    anna, ben = (factories.annotator(noisy, name) for name in ("ann", "ben"))
    decided, gold, agreed, alone = noisy.pairs.order_by("pk")[:4]
    for pair in (decided, gold, agreed):
        factories.said(anna, pair, "b")
        factories.said(ben, pair, "b")
    factories.said(anna, alone, "b")
    for pair in (decided, gold):
        GoldPair.objects.create(pair=pair, dataset=noisy, preference="tie")
    decisions.decide(pair=decided, verdict=Verdict.FLIP, by=casey, based_on=None)
    found = trusted.of_people(noisy)
    decided_for = -1 if decided.source_preference == "a" else 1
    assert found.truths == {decided.pk: decided_for, gold.pk: 0, agreed.pk: -1}
    assert found.sources == {
        "decided by people": 1,
        "gold answers": 1,
        "consensus of people": 1,
    }


def test_trusted_pairs_that_were_chosen_for_their_flag_are_told_of(noisy: Dataset) -> None:
    flagged = [pair.pk for pair in noisy.pairs.order_by("pk")[:9]]
    noisy.standings.update(flag="clear")
    noisy.standings.filter(pk__in=flagged).update(flag="flipped")
    everything = dict.fromkeys(noisy.pairs.values_list("pk", flat=True), 1)
    assert trusted.chosen_for_their_flag(noisy, everything) == []
    (warning,) = trusted.chosen_for_their_flag(noisy, dict.fromkeys(flagged, 1))
    assert "100% of the trusted pairs are flagged as likely flipped, and 10%" in warning


def test_a_policy_that_went_by_models_which_know_the_held_out_pairs_is_told_of(
    noisy: Dataset, casey: User, design: Designer
) -> None:
    """Who decided by hand knows nothing of held-out labels, and another dataset's pairs are new."""
    factories.scored(factories.trained(noisy, design.backbone))
    first = noisy.pairs.order_by("pk")[0]
    decisions.decide(pair=first, verdict=Verdict.FLIP, by=casey, based_on=None)
    by_hand = ArmPlan("by hand", Arm.Labels.NOW)
    assert launching.start(design(noisy, [RAW, by_hand]), by=None).warnings == []
    count = sum(factories.applied(noisy, "paper-flip-bottom-10").counts.values())
    cleaned = freezing.freeze(dataset=noisy, by=casey)
    arms = [RAW, ArmPlan("by policy", Arm.Labels.SNAPSHOT, cleaned)]
    (warning,) = launching.start(design(noisy, arms, name="again"), by=None).warnings
    assert warning.startswith(f"Policies decided {count} labels of by policy by scores of models")
    other = factories.dataset("other", curators=[casey])
    factories.imported(other, rows(40, prefix="other", wrong=set()))
    answers = truth(40, prefix="other", wrong=set())
    elsewhere = design(noisy, arms, name="elsewhere", evaluated_on=other, truth=answers)
    assert launching.start(elsewhere, by=None).warnings == []


def test_a_policy_that_went_by_whole_models_which_were_trained_here_is_told_of(
    noisy: Dataset, design: Designer
) -> None:
    """What was fine-tuned on the dataset is a registered model, like one that knows none of it."""
    ensemble = factories.trained(noisy, design.backbone)
    factories.scored(ensemble)
    model = Checkpoint.objects.create(name="tuned", reference="tuned", dtype="float32")
    ensemble.members.update(file="", checkpoint=model)
    count = sum(factories.applied(noisy, "paper-flip-bottom-10").counts.values())
    arms = [RAW, ArmPlan("by policy", Arm.Labels.NOW)]
    (warning,) = planning.plan(design(noisy, arms), by=None).warnings
    assert warning.startswith(f"Policies decided {count} labels of by policy")
    ensemble.members.update(bag={})
    assert planning.plan(design(noisy, arms, name="not learnt"), by=None).warnings == []


def test_many_trusted_pairs_are_asked_for_in_one_parameter(
    noisy: Dataset, design: Designer
) -> None:
    """A database takes so many parameters a query and no more."""
    most = 0

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal most
        most = max(most, len(params or ()))
        return execute(sql, params, many, context)

    wanted = design(noisy, [RAW, ArmPlan("twin", Arm.Labels.SOURCE)])
    with connection.execute_wrapper(count):
        found = launching.check(wanted, by=None)
    assert len(found.truths) > 30
    assert 0 < most < 30


def test_trials_that_nobody_took_up_are_rung_for(
    noisy: Dataset, monkeypatch: pytest.MonkeyPatch, design: Designer
) -> None:
    twin = ArmPlan("twin", Arm.Labels.SOURCE)
    experiment = launching.start(design(noisy, [RAW, twin], seeds=1), by=None)
    rung: list[tuple[str, dict[str, int]]] = []

    def ring(task: str, **of: int) -> bool:
        rung.append((task, of))
        return True

    monkeypatch.setattr(steps, "ring", ring)
    monkeypatch.setattr(steps, "is_quiet", lambda queue: True)
    trials = Trial.objects.filter(arm__experiment=experiment)
    steps.sweep()
    assert rung == []  # they have only just been queued
    long_ago = experiment.queued_at.replace(year=2020)
    trials.update(queued_at=long_ago)
    Experiment.objects.update(queued_at=long_ago)
    steps.sweep()
    assert rung == [(steps.RUN_TRIAL, {"trial_id": trial.pk}) for trial in trials.order_by("pk")]
    rung.clear()
    trials.update(status=Work.Status.DONE)
    steps.sweep()
    assert rung == [(steps.FINISH_EXPERIMENT, {"experiment_id": experiment.pk})]


@pytest.mark.parametrize("kind", ["linear", "hidden"])
def test_rewards_of_projected_features_are_those_of_the_features(kind: str) -> None:
    """Features of a small backbone, and weights that lie in the space that heads are trained in."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 40)).astype(np.float32)
    space = Space.of(rows)
    in_space = rng.normal(size=(6, space.directions.shape[1])).astype(np.float32)
    weights = in_space @ space.directions.T
    if kind == "linear":
        head: Head | HiddenHead = Head(
            space.scaling,
            weights[:1],
            Slices.none(),
            Effects(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)),
        )
    else:
        bias, outputs = rng.normal(size=(2, 5)).astype(np.float32)
        head = HiddenHead(space.scaling, weights[:5], bias, outputs, weights[5])
    codes, keys = np.zeros((80, 0), dtype=np.float32), np.zeros(80, dtype=np.int64)
    expected = rewards([head], rows, codes, keys)[:, 0]
    found = best_of.rewards(head, space.project(rows), space.directions)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


# --- What a recipe asks for -----------------------------------------------------------------------


def test_a_treatment_that_meets_no_pair_of_a_trial_is_told(
    noisy: Dataset, design: Designer
) -> None:
    idle = {"when": {"strength_from": 1e6}, "then": {"drop": True}}
    recipe = recipes.parse({"name": "idle", "treatments": [idle]})
    arms = [RAW, ArmPlan("idle", Arm.Labels.SOURCE, recipe=recipe)]
    experiment = worked_off(launching.start(design(noisy, arms), by=None))
    told = "Treatment 1 of the recipe met no pair and does nothing."
    assert [
        trial.figures["warnings"]
        for trial in Trial.objects.filter(arm__experiment=experiment).order_by("pk")
    ] == [[], [told], [], [told]]
    assert f"idle: {told}" in shown.report(experiment)["warnings"]


def test_weights_by_grade_need_somebody_who_said_how_strongly(
    noisy: Dataset, design: Designer
) -> None:
    graded = design(noisy, [RAW, ArmPlan("graded", Arm.Labels.SOURCE, recipe=PRESETS["graded"])])
    with pytest.raises(Refusal, match="nobody has said so"):
        planning.check(graded)
    pair = noisy.pairs.get(source_id="pair-1")
    said = str(pair.source_preference)
    factories.said(factories.annotator(noisy, "ann"), pair, said, strength=3)
    planning.check(graded)


def test_heads_that_no_machine_holds_are_refused_before_they_begin(
    noisy: Dataset, design: Designer
) -> None:
    wide = recipes.parse(
        {
            "name": "wide",
            "model": {"kind": "hidden", "hidden": 4096},
            "meta": {"prompts": 1024, "responses": 64},
        }
    )
    arms = [RAW, ArmPlan("wide", Arm.Labels.SOURCE, recipe=wide)]
    with pytest.raises(Refusal, match="with 100 members of 4,096 hidden units"):
        planning.check(design(noisy, arms, members=100))
