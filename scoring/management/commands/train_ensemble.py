"""`manage.py train_ensemble SLUG --name NAME`: train the members of an ensemble on a dataset's
labels."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from scoring import launch
from scoring.models import TrainingRun


class Command(CuratorCommand):
    help = (
        "Train an ensemble of reward-model heads on a frozen backbone, each on its half of the "
        "pairs."
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

    def perform(
        self,
        *,
        dataset: str,
        name: str,
        members: int,
        backbone: str,
        seed: int,
        bag_unit: str,
        **options: Any,
    ) -> Mapping[str, Any]:
        found = dataset_called(dataset)
        launch.check_training(dataset=found, name=name, members=members, bag_unit=bag_unit)
        with self.workers("default", "scoring"):
            run = launch.start_training(
                dataset=found,
                name=name,
                by=None,
                members=members,
                backbone=backbone,
                seed=seed,
                bag_unit=bag_unit,
            )
            self.follow(run, describe)
        return {
            "ensemble": name,
            "dataset": found.slug,
            "seconds": round(run.seconds or 0.0, 2),
            "labelled": run.summary["labelled"],
            "members": [
                {
                    "name": member.name,
                    "out_of_bag_accuracy": round(member.out_of_bag_accuracy or 0.0, 4),
                    "seconds": round(member.seconds, 2),
                }
                for member in run.ensemble.members.all()
            ],
        }


def describe(run: TrainingRun) -> tuple[float, str]:
    if run.steps_total:
        return (
            run.steps_done / run.steps_total,
            f"training: step {run.steps_done} of {run.steps_total}",
        )
    return run.share_done, f"reading: {run.pairs_done:,} of {run.pairs_total:,} pairs"
