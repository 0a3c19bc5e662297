"""`manage.py assemble_ensemble SLUG --name NAME --model A --model B`: an ensemble of registered
models."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from scoring import assembling, launch
from scoring.models import Checkpoint


class Command(CuratorCommand):
    help = "Put an ensemble together from registered models and, if wanted, trained heads."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--name", required=True)
        parser.add_argument(
            "--model",
            action="append",
            default=[],
            dest="models",
            metavar="NAME",
            help="a registered model; once for each",
        )
        parser.add_argument("--heads-of", default="", metavar="ENSEMBLE")

    def perform(
        self, *, dataset: str, name: str, models: list[str], heads_of: str, **options: Any
    ) -> Mapping[str, Any]:
        found = dataset_called(dataset)
        known = Checkpoint.objects.all()
        ensemble = launch.assemble(
            dataset=found,
            name=name,
            by=None,
            checkpoints=[assembling.checkpoint_called(model, known) for model in models],
            heads_of=assembling.ensemble_called(found, heads_of) if heads_of else None,
        )
        return {
            "ensemble": ensemble.name,
            "dataset": found.slug,
            "members": [{"name": member.name} for member in ensemble.members.all()],
        }
