"""`manage.py compare_runs SLUG --runs A B`: how far two runs of a dataset agree."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations.datasets import dataset_called
from annotations.models import Dataset
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal
from scoring import comparing
from scoring.models import ScoringRun


class Command(CuratorCommand):
    help = "Rank correlation of strength and changes of flags between two runs of a dataset."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--runs", type=int, nargs=2, required=True, metavar=("A", "B"))

    def perform(self, *, dataset: str, runs: list[int], **options: Any) -> Mapping[str, Any]:
        found = dataset_called(dataset)
        a, b = (_run_of(found, pk) for pk in runs)
        return comparing.as_json(comparing.compare(a, b))

    def report(self, found: Mapping[str, Any]) -> None:
        tables = ("flipped", "transitions", "warning")
        super().report({name: value for name, value in found.items() if name not in tables})
        for name, value in found["flipped"].items():
            self.stdout.write(f"flipped, {name}: {value}")
        for flag, counts in found["transitions"].items():
            became = ", ".join(f"{count} {other}" for other, count in counts.items())
            self.stdout.write(f"{flag} in A, in B: {became}")
        if found["warning"]:
            self.stdout.write(f"warning: {found['warning']}")


def _run_of(dataset: Dataset, pk: int) -> ScoringRun:
    runs = dataset.scoring_runs.select_related("ensemble", "dataset")
    found = runs.filter(pk=pk).first()
    if found is None:
        known = ", ".join(str(pk) for pk in runs.values_list("pk", flat=True)[:10]) or "none"
        raise Refusal(f"{dataset.slug} has no run {pk}; it has: {known}.")
    return found
