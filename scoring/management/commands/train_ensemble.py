"""`manage.py train_ensemble SLUG --name NAME`: train the members of an ensemble on a dataset's
labels."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal
from scoring import launch, recipe_book
from scoring import responses as response_sets
from scoring.access import run_called
from scoring.models import TrainingRun


class Command(CuratorCommand):
    help = (
        "Train an ensemble of reward models by a recipe, each on its half of the pairs: heads on a "
        "frozen backbone unless the recipe says otherwise."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--name", required=True)
        parser.add_argument("--members", type=int, default=launch.DEFAULT_MEMBERS)
        parser.add_argument(
            "--backbone", default=launch.DEFAULT_BACKBONE, help="minilm, a folder or a hub id"
        )
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--bag-unit", default="pair", help="pair (default) or prompt")
        parser.add_argument(
            "--recipe",
            default="",
            metavar="NAME|FILE",
            help="how labels are treated and by which loss members learn: one of `recipes SLUG`, "
            "or a file in YAML or JSON",
        )
        parser.add_argument(
            "--run",
            type=int,
            metavar="ID",
            help="whose strengths and flags the recipe goes by (default: the current run)",
        )
        parser.add_argument(
            "--responses", default="", metavar="NAME", help="sampled responses to meta-train on"
        )

    def perform(
        self,
        *,
        dataset: str,
        name: str,
        members: int,
        backbone: str,
        seed: int,
        bag_unit: str,
        recipe: str,
        run: int | None,
        responses: str,
        **options: Any,
    ) -> Mapping[str, Any]:
        found = dataset_called(dataset)
        launch.check_training(dataset=found, name=name, members=members, bag_unit=bag_unit)
        by_recipe: dict[str, Any] = {}
        if recipe:
            by_recipe = {
                "recipe": recipe_book.named(found, recipe),
                "run": run_called(found, run) if run is not None else None,
                "responses": response_sets.called(found, responses) if responses else None,
            }
            launch.check_recipe(dataset=found, members=members, **by_recipe)
        elif run is not None or responses:
            raise Refusal("A run and responses are for a recipe: name one with --recipe.")
        with self.workers("default", "scoring"):
            training = launch.start_training(
                dataset=found,
                name=name,
                by=None,
                members=members,
                backbone=backbone,
                seed=seed,
                bag_unit=bag_unit,
                **by_recipe,
            )
            self.follow(training, describe)
        followed = training.ensemble.recipe
        return {
            "ensemble": name,
            "dataset": found.slug,
            "seconds": round(training.seconds or 0.0, 2),
            "labelled": training.summary.get("labelled"),
            "recipe": recipe_book.recipe_of(training.ensemble).name,
            "recipe_version": followed.get("training_version"),
            "run": followed.get("run"),
            "treated": training.summary.get("treated", {}),
            "warnings": training.summary.get("warnings", []),
            "members": [
                {
                    "name": member.name,
                    "out_of_bag_accuracy": round(member.out_of_bag_accuracy or 0.0, 4),
                    "seconds": round(member.seconds, 2),
                }
                for member in training.ensemble.members.all()
            ],
        }


def describe(run: TrainingRun) -> tuple[float, str]:
    if run.ensemble.is_fine_tuned:
        members = list(run.member_trainings.all())
        done = sum(member.is_over for member in members)
        return run.share_done, f"fine-tuning: {done} of {len(members)} members done"
    if run.steps_total:
        return (
            run.steps_done / run.steps_total,
            f"training: step {run.steps_done} of {run.steps_total}",
        )
    return run.share_done, f"reading: {run.pairs_done:,} of {run.pairs_total:,} pairs"
