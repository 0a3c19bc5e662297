"""`manage.py score SLUG --ensemble NAME`: score a dataset with an ensemble and wait for the
flags."""

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

from annotations.datasets import dataset_called
from curator import presence
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal
from scoring import assembling, launch, summaries
from scoring.core.options import EngineOptions
from scoring.models import Mode


class Command(CuratorCommand):
    help = (
        "Score every pair of a dataset with an ensemble and flag the labels that are likely wrong."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--ensemble", required=True, metavar="NAME")
        parser.add_argument("--mode", default=Mode.OUT_OF_BAG, help=" or ".join(Mode.values))
        parser.add_argument(
            "--adaptive",
            action="store_true",
            help="ask members in waves, each only of pairs whose flag is still open",
        )
        parser.add_argument(
            "--engine",
            action="append",
            default=[],
            metavar="OPTION=VALUE",
            help="an option of the engine, such as share_prefixes=off; once for each",
        )
        parser.add_argument(
            "--detach", action="store_true", help="launch the run and return at once"
        )

    def perform(
        self,
        *,
        dataset: str,
        ensemble: str,
        mode: str,
        adaptive: bool,
        engine: list[str],
        detach: bool,
        **options: Any,
    ) -> Mapping[str, Any]:
        found = dataset_called(dataset)
        using = assembling.ensemble_called(found, ensemble)
        launch.check_scoring(using, mode)
        start = partial(
            launch.start_scoring,
            ensemble=using,
            by=None,
            mode=mode,
            adaptive=adaptive,
            options=_options(engine),
        )
        if detach:
            run = start()
            if not presence.alive("scoring"):
                self.say("It waits: no scoring worker is alive. `manage.py dev` starts one.")
            return {"run": run.pk, "mode": run.mode, "status": run.status}
        with self.workers("default", "scoring"):
            run = start()
            self.follow(
                run,
                lambda run: (run.share_done, f"{run.pairs_done:,} of {run.pairs_total:,} pairs"),
            )
        if run.problem:
            self.say(run.problem)
        return summaries.of_run(run)


def _named(option: str) -> tuple[str, str]:
    name, _, value = option.partition("=")
    return name, value


def _options(given: list[str]) -> EngineOptions:
    try:
        return EngineOptions.from_texts(dict(_named(one) for one in given))
    except ValueError as error:
        raise Refusal(str(error)) from error
