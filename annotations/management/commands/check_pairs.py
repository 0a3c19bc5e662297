"""`manage.py check_pairs SLUG`: check the pairs of a dataset anew."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from annotations import checking
from annotations.datasets import dataset_called
from curator.command import CuratorCommand

EVERY = 50_000  # pairs between two lines on stderr


class Command(CuratorCommand):
    help = (
        "Check the texts of all pairs and look for contradictions among those of one prompt, as "
        "imports do; for pairs that were imported before there were checks."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug", help="the dataset")

    def perform(self, *, slug: str, **options: Any) -> Mapping[str, Any]:
        dataset = dataset_called(slug)
        changed = self._through("texts", checking.pairs_of(dataset), step=checking.BATCH)
        changed += self._through("prompts", checking.prompts_of(dataset), step=checking.PROMPTS)
        return {
            "dataset": dataset.slug,
            "pairs": dataset.standings.count(),
            "changed": changed,
            "checks": checking.count(dataset),
        }

    def _through(self, what: str, steps: Iterator[int], *, step: int) -> int:
        """Go through the steps, with a line now and then; how many pairs have changed."""
        changed = 0
        for number, count in enumerate(steps, start=1):
            changed += count
            if number * step % EVERY == 0:
                self.say(f"{number * step:,} {what} checked.")
        return changed
