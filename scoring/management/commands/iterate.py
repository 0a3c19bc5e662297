"""`manage.py iterate SLUG --name NAME`: give unlabelled pairs pseudo-labels, round by round."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations.datasets import dataset_called
from annotations.models import Dataset
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal
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
        parser.add_argument(
            "--again", action="store_true", help="go on with the one of the name, which failed"
        )

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
        again: bool,
        **options: Any,
    ) -> Mapping[str, Any]:
        found = dataset_called(dataset)
        if again:
            row = _called(found, name)
            with self.workers("default", "scoring"):
                iterating.start_again(row, by=None)
                self._wait(row)
            return iterating.as_dict(row)
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
            self._wait(row)
        return iterating.as_dict(row)

    def _wait(self, row: Iteration) -> None:
        try:
            self.follow(row, describe)
        except Refusal as refusal:
            raise Refusal(
                f"{refusal} `iterate {row.dataset.slug} --name {row.name} --again` goes on from "
                f"there."
            ) from refusal


def _called(dataset: Dataset, name: str) -> Iteration:
    row = dataset.iterations.select_related("dataset").filter(name=name).first()
    if row is None:
        known = ", ".join(dataset.iterations.values_list("name", flat=True)[:10]) or "none yet"
        raise Refusal(f"{dataset.slug} has no iteration {name!r}; there are: {known}.")
    return row


def describe(row: Iteration) -> tuple[float, str]:
    done = row.rounds.filter(batch__isnull=False).count()
    labelled = sum(each.figures.get("labelled", 0) for each in row.rounds.all())
    return done / row.rounds_wanted, f"round {done + 1}: {labelled:,} pairs labelled so far"
