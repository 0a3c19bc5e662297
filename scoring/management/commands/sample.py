"""`manage.py sample SLUG [--size N]`: draw labels at random, to be reviewed."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from scoring import sampling
from scoring.access import run_called


class Command(CuratorCommand):
    help = "Draw labels of a run at random, from every range of strength, to audit its flags by."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--run", type=int, metavar="ID", help="else the current one")
        parser.add_argument(
            "--size",
            type=int,
            default=sampling.SUGGESTED,
            metavar="N",
            help="that the sample shall have; one that was drawn grows to it",
        )
        parser.add_argument("--seed", type=int, default=0, help="of the chance, at the first draw")

    def perform(
        self, *, dataset: str, run: int | None, size: int, seed: int, **options: Any
    ) -> Mapping[str, Any]:
        sample = sampling.draw(run_called(dataset_called(dataset), run), size, seed=seed)
        return {
            "sample": sample.pk,
            "run": sample.run_id,
            "size": sample.size,
            "seed": sample.seed,
            "waiting": sampling.left(sample),
        }
