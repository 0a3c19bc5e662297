"""`manage.py register_model NAME PATH_OR_HUB_ID`: add a reward model that others have trained."""

import argparse
from collections.abc import Mapping
from typing import Any

from curator.command import CuratorCommand
from scoring import launch
from scoring.models import Checkpoint, Precision, ScoreAt

CHOSEN = ("name", "reference", "revision", "dtype", "max_length", "score_at")


class Command(CuratorCommand):
    help = (
        "Register a reward model: a one-logit sequence classifier, safetensors only, from a folder "
        "or the model hub. A worker loads it and tests that its scores do not depend on batching."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("reference", metavar="PATH_OR_HUB_ID")
        parser.add_argument("--revision", default="", help="on the hub")
        parser.add_argument(
            "--dtype", default=Precision.FLOAT32, help=" or ".join(Precision.values)
        )
        parser.add_argument(
            "--max-length", type=int, default=0, help="tokens; the model's own limit if not given"
        )
        parser.add_argument(
            "--score-at",
            default="",
            help=f"{' or '.join(ScoreAt.values)}: where the pad token also ends texts",
        )

    def perform(self, *, json: bool, **options: Any) -> Mapping[str, Any]:
        wanted = {name: options[name] for name in CHOSEN}
        launch.check_registration(**wanted)
        with self.workers("scoring"):
            checkpoint = launch.start_registration(by=None, **wanted)
            self.follow(checkpoint, lambda row: (0.0, "loading and testing"))
        return summary_of(checkpoint)

    def report(self, found: Mapping[str, Any]) -> None:
        super().report({name: value for name, value in found.items() if name != "self_test"})
        test = found["self_test"]
        self.stdout.write(f"self-test, at most {test['tolerance']:.2g} apart:")
        for check in test["checks"]:
            verdict = "agrees" if check["passed"] else "DIFFERS"
            self.stdout.write(f"  {verdict:8} {_distance(check):>9}  {check['name']}")


def summary_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What was registered, with the keys that scripts rely on."""
    return {
        "model": checkpoint.name,
        "digest": checkpoint.digest,
        **{
            name: checkpoint.identity[name]
            for name in ("architecture", "parameters", "dtype", "max_length", "score_at")
        },
        "self_test": checkpoint.self_test,
    }


def _distance(check: dict[str, Any]) -> str:
    return "no score" if check["largest"] is None else f"{check['largest']:.2g}"
