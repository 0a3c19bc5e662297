"""`manage.py evidence SLUG`: what people's verdicts on the sample say of all the labels."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal
from curator.templatetags.curator import interval
from scoring import sampled, sampling
from scoring.access import run_called

TABLES = ("noise_rate", "strata", "flags", "reviews_needed")


class Command(CuratorCommand):
    help = "How many labels are wrong, and how good the flags are, by the sample that was reviewed."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--run", type=int, metavar="ID", help="else the current one")

    def perform(self, *, dataset: str, run: int | None, **options: Any) -> Mapping[str, Any]:
        scored = run_called(dataset_called(dataset), run)
        sample = sampling.sample_of(scored)
        if sample is None:
            raise Refusal(
                f"No sample of run {scored.pk} was drawn yet: `manage.py sample {dataset}` does."
            )
        return sampled.as_dict(sampling.found(sample))

    def report(self, found: Mapping[str, Any]) -> None:
        super().report({name: value for name, value in found.items() if name not in TABLES})
        self.stdout.write(f"wrong labels: {interval(found['noise_rate'])}")
        for flag, shares in found["flags"].items():
            self.stdout.write(
                f"{flag}: {shares['reviewed']} of {shares['pairs']} reviewed, precision "
                f"{interval(shares['precision'])}, recall {interval(shares['recall'])}"
            )
        for half, count in found["reviews_needed"].items():
            self.stdout.write(f"± {float(half):.0%}: {count} more reviews")
