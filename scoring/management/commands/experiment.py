"""`manage.py experiment SLUG --after N`: whether a cleaning or a recipe makes better models, on
pairs that they have not learnt from."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations import tagging
from annotations.datasets import dataset_called
from annotations.models import Dataset, Snapshot
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal
from curator.lib.work import Work
from scoring import launch, recipe_book, truths
from scoring import responses as sampled
from scoring.experiments import launching, planning, shown
from scoring.experiments.planning import ArmPlan, Design
from scoring.models import Arm, Experiment

SNAPSHOT = "snapshot:"


class Command(CuratorCommand):
    help = (
        "Train on labels before and after a cleaning, or by several recipes, and compare on pairs "
        "that were held out."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--name", default="", help="of the experiment; one is made up without")
        parser.add_argument(
            "--before", metavar="N", help="a snapshot; the labels as imported without"
        )
        parser.add_argument("--after", metavar="N", help="a snapshot, by its number or tag")
        parser.add_argument(
            "--arm",
            action="append",
            default=[],
            metavar="NAME=source|now|snapshot:N[@RECIPE]",
            help="another way to train; give it once for each",
        )
        parser.add_argument(
            "--recipe", default="", metavar="NAME|FILE", help="of arms that name none"
        )
        parser.add_argument("--seeds", type=int, default=5, help="trials of each arm")
        parser.add_argument("--folds", type=int, default=5, help="to which prompts are dealt")
        parser.add_argument("--members", type=int, default=launch.DEFAULT_MEMBERS)
        parser.add_argument("--backbone", default=launch.DEFAULT_BACKBONE)
        parser.add_argument(
            "--truth",
            metavar="FILE",
            help='trusted labels: JSON lines {"id": …, "flipped": true|false}; people\'s without',
        )
        parser.add_argument(
            "--evaluate-on", metavar="SLUG", help="another dataset, in place of held-out folds"
        )
        parser.add_argument(
            "--responses", metavar="NAME", help="scored responses, to choose the best of"
        )
        parser.add_argument(
            "--detach", action="store_true", help="leave it to the workers that are alive"
        )
        parser.add_argument(
            "--show", action="store_true", help="only print what the experiment --name has found"
        )

    def perform(self, *, dataset: str, **options: Any) -> Mapping[str, Any]:
        found = dataset_called(dataset)
        if options["show"]:
            return shown.report(_experiment_called(found, options["name"]))
        design = _design(found, **options)
        launching.check(design, by=None)
        if options["detach"]:
            return shown.report(launching.start(design, by=None))
        with self.workers("default", "scoring"):
            started = launching.start(design, by=None)
            # asked for again and again, and without what no reader is told of
            row = Experiment.objects.defer("truths").get(pk=started.pk)
            self.follow(row, lambda row: (shown.share_done(row), shown.in_words(row)))
        return shown.report(row)

    def report(self, found: Mapping[str, Any]) -> None:
        if not found["arms"]:
            self.stdout.write(f"experiment {found['experiment']}: {found['status']}")
            return
        for arm in found["arms"]:
            accuracy = ", ".join(
                f"{on} {_share(estimate)}" for on, estimate in arm["accuracy"].items()
            )
            self.stdout.write(f"{arm['name']}: accuracy on labels {accuracy}")
            self.stdout.write(
                f"  Brier {_number(arm['brier'])}, ECE {_number(arm['ece'])}, AUROC "
                f"{_number(arm['auroc'])}; {arm['seconds']:.0f} s"
            )
        self.stdout.write(found["verdict"])
        for each in found["failed"]:
            self.stdout.write(f"Failed: {each['arm']}, seed {each['seed']}: {each['problem']}")
        for warning in found["warnings"]:
            self.stdout.write(f"Note: {warning}")

    def conclude(self, found: Mapping[str, Any]) -> None:
        if found["status"] == Work.Status.FAILED:
            raise Refusal(found["problem"])


def _design(
    dataset: Dataset,
    *,
    name: str,
    before: str | None,
    after: str | None,
    arm: list[str],
    recipe: str,
    seeds: int,
    folds: int,
    members: int,
    backbone: str,
    truth: str | None,
    evaluate_on: str | None,
    responses: str | None,
    **options: Any,
) -> Design:
    plain = recipe_book.named(dataset, recipe) if recipe else planning.PLAIN
    arms = [_arm(dataset, written, recipe) for written in arm]
    if after is not None:
        usual = planning.before_and_after(
            _snapshot(dataset, before) if before is not None else None,
            _snapshot(dataset, after),
            plain,
        )
        arms = [*usual, *arms]
    elif before is not None or not arms:
        raise Refusal("Say which snapshot comes after the cleaning: --after N; or name arms.")
    return Design(
        dataset=dataset,
        name=name or _unused(dataset),
        arms=arms,
        backbone=backbone,
        seeds=seeds,
        folds=folds,
        members=members,
        truth=truths.read_truth(Path(truth)) if truth is not None else None,
        evaluated_on=dataset_called(evaluate_on) if evaluate_on is not None else None,
        responses=sampled.called(dataset, responses) if responses is not None else None,
    )


def _arm(dataset: Dataset, written: str, recipe: str) -> ArmPlan:
    """Raises Refusal where it is not written as it should be."""
    name, equals, rest = written.partition("=")
    labels, _, own = rest.partition("@")
    snapshot = None
    if labels.startswith(SNAPSHOT):
        labels, snapshot = Arm.Labels.SNAPSHOT, _snapshot(dataset, labels.removeprefix(SNAPSHOT))
    elif labels not in (Arm.Labels.SOURCE, Arm.Labels.NOW):
        equals = ""
    if not name or not equals:
        raise Refusal(
            f"An arm is written NAME=source, NAME=now or NAME=snapshot:N, and @RECIPE after it "
            f"where it has one of its own, not {written!r}."
        )
    chosen = own or recipe
    return ArmPlan(
        name.strip(),
        labels,
        snapshot,
        recipe_book.named(dataset, chosen) if chosen else planning.PLAIN,
    )


def _snapshot(dataset: Dataset, called: str) -> Snapshot:
    found = tagging.find(dataset, called)
    if found is None:
        numbers = dataset.snapshots.values_list("number", flat=True)[:10]
        known = ", ".join(map(str, numbers)) or "none: `manage.py snapshot` makes one"
        raise Refusal(f"{dataset.slug} has no snapshot {called!r}; there are: {known}.")
    return found


def _experiment_called(dataset: Dataset, name: str) -> Experiment:
    rows = dataset.experiments.defer("truths")
    found = rows.filter(name=name).first() if name else rows.first()
    if found is None:
        known = ", ".join(dataset.experiments.values_list("name", flat=True)[:10]) or "none yet"
        raise Refusal(f"{dataset.slug} has no experiment {name!r}; there are: {known}.")
    return found


def _unused(dataset: Dataset) -> str:
    number = dataset.experiments.count() + 1
    while dataset.experiments.filter(name=f"experiment {number}").exists():
        number += 1
    return f"experiment {number}"


def _share(of: Mapping[str, float] | None) -> str:
    if of is None:
        return "unknown"
    return f"{of['estimate']:.1%} ({of['low']:.1%}–{of['high']:.1%})"


def _number(of: Mapping[str, float] | None) -> str:
    return "unknown" if of is None else f"{of['estimate']:.3f} ({of['low']:.3f}–{of['high']:.3f})"
