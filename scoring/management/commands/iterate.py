"""`manage.py iterate SLUG --name NAME`: give unlabelled pairs pseudo-labels, round by round."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from scoring import iterating, launch, recipe_book
from scoring.models import Iteration


class Command(CuratorCommand):
    help = (
        "Train on the labels that hold, label what the ensemble is sure of, and train again. The "
        "labels of each round are decisions by a policy, in a batch that `undo` takes back."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--name", required=True)
        parser.add_argument("--rounds", type=int, default=iterating.DEFAULT_ROUNDS)
        parser.add_argument(
            "--threshold",
            type=float,
            default=iterating.DEFAULT_THRESHOLD,
            help="of max(p, 1 - p), beyond which a pair is labelled",
        )
        parser.add_argument("--members", type=int, default=launch.DEFAULT_MEMBERS)
        parser.add_argument("--backbone", default=launch.DEFAULT_BACKBONE)
        parser.add_argument("--recipe", default="plain", help="a name, or a file")

    def perform(
        self,
        *,
        dataset: str,
        name: str,
        rounds: int,
        threshold: float,
        members: int,
        backbone: str,
        recipe: str,
        **options: Any,
    ) -> Mapping[str, Any]:
        found = dataset_called(dataset)
        chosen = recipe_book.named(found, recipe)
        iterating.check(dataset=found, name=name, rounds=rounds, threshold=threshold, recipe=chosen)
        with self.workers("default", "scoring"):
            row = iterating.start(
                dataset=found,
                name=name,
                by=None,
                rounds=rounds,
                threshold=threshold,
                members=members,
                backbone=backbone,
                recipe=chosen,
            )
            self.follow(row, describe)
        return iterating.as_dict(row)


def describe(row: Iteration) -> tuple[float, str]:
    done = row.rounds.filter(batch__isnull=False).count()
    labelled = sum(each.figures.get("labelled", 0) for each in row.rounds.all())
    return done / row.rounds_wanted, f"round {done + 1}: {labelled:,} pairs labelled so far"
