"""`manage.py agreement SLUG`: how far annotators agree, how each answers, what their labels come
to."""

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from annotations import answers, exploring, filters, teams
from annotations.datasets import dataset_called
from annotations.filters import Filter
from annotations.quality import HABITS, Figures
from annotations.teams import PARTS, VOTERS, Slice, Team
from curator.command import CuratorCommand
from curator.lib.intervals import Estimate
from curator.lib.refusals import Refusal
from scoring import consensus
from scoring.models import ScoringRun
from scoring.routing import FLAG_NAMES, STATUSES


class Command(CuratorCommand):
    help = "Agreement of the annotators of a dataset, each one's figures, and the consensus."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--flag", default="", help=", ".join(FLAG_NAMES))
        parser.add_argument("--status", default="", help=", ".join((*STATUSES, "drop")))
        parser.add_argument("--text", default="", help="that prompt or responses contain")
        parser.add_argument(
            "--pairs", default="", help=f"only those that are: {', '.join(filter(None, PARTS))}"
        )
        parser.add_argument("--round", type=int, help="only the pairs of this round")
        parser.add_argument("--voters", default="people", help=", ".join(VOTERS))

    def perform(
        self,
        *,
        dataset: str,
        flag: str,
        status: str,
        text: str,
        pairs: str,
        round: int | None,
        voters: str,
        **options: Any,
    ) -> Mapping[str, Any]:
        found = dataset_called(dataset)
        _check("flag", flag, ("", *FLAG_NAMES))
        _check("status", status, ("", *STATUSES, "drop"))
        _check("pairs", pairs, PARTS)
        _check("voters", voters, tuple(VOTERS))
        if round is not None and not found.rounds.filter(pk=round).exists():
            raise Refusal(f"{dataset} has no round {round}.")
        run = ScoringRun.objects.current(found)
        if flag and run is None:
            raise Refusal(f"{found.name} is not scored yet, so no pair has a flag.")
        part = Slice(pairs, round, text, voters)
        given = answers.load(found, pairs=part.pairs(found), kinds=VOTERS[voters])
        if flag or status:
            given = answers.among(given, exploring.pair_ids(found, _wanted(flag, status)))
        team = teams.compute(found, given)
        return {
            "dataset": found.slug,
            **team_as_json(team),
            "consensus": consensus.as_json(consensus.find(found, given, run)),
        }

    def report(self, found: Mapping[str, Any]) -> None:
        self.stdout.write(
            f"{found['labels']:,} labels on {found['pairs']:,} pairs, {found['shared']:,} of them "
            f"labelled by two or more."
        )
        for measure in found["agreement"]:
            self.stdout.write(f"{measure['title']}: {_shown(measure)} {measure['reading']}")
        told = [one for one in found["annotators"] if one["remarks"]]
        for one in told:
            self.stdout.write(
                f"{one['name']}, {one['labels']:,} labels: {'; '.join(one['remarks'])}"
            )
        self.stdout.write(
            f"Of {len(found['annotators']) - len(told):,} annotators nothing stands out."
        )
        for way in found["consensus"]["ways"]:
            self.stdout.write(
                f"{way['name']}: {way['settled']:,} settled, {way['open']:,} open, "
                f"{way['against_source']:,} against the source"
            )
        if not found["consensus"]["has_converged"]:
            self.stdout.write(
                "How far each annotator can be relied on had not settled when the search for it "
                "was broken off: take the weighed consensus with care."
            )


def team_as_json(team: Team) -> dict[str, Any]:
    """The figures, with the keys that scripts rely on."""
    return {
        "pairs": team.pairs,
        "shared": team.shared,
        "labels": team.labels,
        "agreement": [
            {
                "title": measure.title,
                **_estimate(measure.agreement.figure),
                "pairs": measure.agreement.units,
                "reading": measure.reading,
            }
            for measure in team.measures
        ],
        "annotators": [_annotator(of) for of in team.annotators],
    }


def _annotator(of: Figures) -> dict[str, Any]:
    shares = {}
    for habit in HABITS:
        shown = of.beside_fair(habit)
        shares[habit.name] = {
            **_estimate(shown.share.estimate),
            "count": shown.share.count,
            "fair": shown.fair,
        }
    return {
        "name": of.voter.name,
        "kind": of.voter.kind,
        "labels": of.labels,
        "seconds": of.seconds,
        **shares,
        "remarks": of.remarks,
    }


def _estimate(found: Estimate | None) -> dict[str, float | None]:
    if found is None:
        return {"estimate": None, "low": None, "high": None}
    return {"estimate": found.estimate, "low": found.low, "high": found.high}


def _shown(measure: Mapping[str, Any]) -> str:
    if measure["estimate"] is None:
        return "–."
    return f"{measure['estimate']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})."


def _wanted(flag: str, status: str) -> Filter:
    return filters.from_stored({"flags": [flag] if flag else [], "status": status})


def _check(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        choices = ", ".join(filter(None, known))
        raise Refusal(f"--{name} {value!r} is not known: choose {choices}.")
