"""`manage.py open_round SLUG --name NAME`: put pairs of a dataset to annotators."""

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

from annotations import filters, rounds
from annotations.datasets import dataset_called, user_called
from annotations.models import Round
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal
from scoring import launch, routing


class Command(CuratorCommand):
    help = "Put pairs of a dataset to annotators: all of them, or those that pass a filter."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--name", required=True)
        parser.add_argument("--labels", type=int, default=1, help="wanted of each pair")
        parser.add_argument(
            "--random-share",
            type=float,
            default=0.1,
            metavar="SHARE",
            help="of the pairs come at random places, whatever their priority",
        )
        parser.add_argument(
            "--flag",
            action="append",
            default=[],
            metavar="FLAG",
            help=f"only pairs with this flag; once for each: {', '.join(routing.FLAG_NAMES)}",
        )
        parser.add_argument("--status", default="", help=f"only {', '.join(routing.STATUSES)}")
        parser.add_argument("--text", default="", help="only pairs that contain it")
        parser.add_argument(
            "--annotators", default="", metavar="NAMES", help="whom it is for, as in ada,ben"
        )
        parser.add_argument(
            "--detach", action="store_true", help="let it fill in the background and return at once"
        )

    def perform(
        self,
        *,
        dataset: str,
        name: str,
        labels: int,
        random_share: float,
        flag: list[str],
        status: str,
        text: str,
        annotators: str,
        detach: bool,
        **options: Any,
    ) -> Mapping[str, Any]:
        wanted = filters.from_stored({"status": status, "text": text})
        if wanted.problems:
            raise Refusal(wanted.problems[0])
        row: dict[str, Any] = {
            "dataset": dataset_called(dataset),
            "name": name,
            "labels_per_pair": labels,
            "random_share": random_share,
            "annotators": [user_called(one) for one in annotators.replace(",", " ").split()],
        }
        start = partial(launch.start_round, by=None, filters=wanted, flags=flag, **row)
        if detach:
            return _found(start())
        rounds.check(**row)
        routing.check(row["dataset"], routing.as_stored(wanted, flag))
        with self.workers("default"):
            return _found(self.follow(start(), _state))


def _state(row: Round) -> tuple[float, str]:
    return (float(row.is_over), f"{row.pairs_count:,} pairs")


def _found(row: Round) -> Mapping[str, Any]:
    return {"round": row.pk, "name": row.name, "status": row.status, "pairs": row.pairs_count}
