"""`manage.py audit SLUG --run ID --truth FILE | --plant 0.1`: how well the flags find labels
known to be wrong."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from scoring import launch, truths
from scoring.access import run_called

TO_DRAW = ("curve", "curves", "cleanlab", "precision_at")  # of which JSON has more than lines


class Command(CuratorCommand):
    help = (
        "Precision, recall, AUROC and average precision of a run's flags against known truth "
        "or planted flips."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--run", type=int, required=True, metavar="ID")
        known = parser.add_mutually_exclusive_group(required=True)
        known.add_argument(
            "--truth", metavar="FILE", help='JSON lines {"id": …, "flipped": true|false}'
        )
        known.add_argument(
            "--plant", type=float, metavar="SHARE", help="the share of labels to flip in a copy"
        )
        parser.add_argument("--seed", type=int, default=0, help="of the planted flips")

    def perform(
        self,
        *,
        dataset: str,
        run: int,
        truth: str | None,
        plant: float | None,
        seed: int,
        **options: Any,
    ) -> Mapping[str, Any]:
        scored = run_called(dataset_called(dataset), run)
        if truth is not None:
            return {"run": run, "mode": scored.mode, **truths.audit_against(scored, Path(truth))}
        launch.check_audit(scored, plant or 0.0)
        with self.workers("scoring"):
            audit = launch.start_audit(run=scored, by=None, share=plant or 0.0, seed=seed)
            self.follow(audit, lambda audit: (0.0, "planting, training and scoring"))
        return {
            "run": run,
            "mode": scored.mode,
            "planted": audit.share,
            "seed": seed,
            **audit.result,
        }

    def report(self, found: Mapping[str, Any]) -> None:
        super().report({name: value for name, value in found.items() if name not in TO_DRAW})
        for point in found["curve"]:
            self.stdout.write(
                f"reviewing the weakest {point['reviewed']:.0%} finds {point['found']:.0%}"
            )
