"""What the page of an experiment shows of its result, row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curator.lib import work
from curator.lib.work import Work
from scoring.core import recipes
from scoring.core.experiments import AGREEING, RAW, TRUSTED
from scoring.core.recipe_words import in_words
from scoring.models import Arm, Experiment, Trial

Values = Mapping[str, Any]
ALL_LABELS = {
    TRUSTED: "trusted labels",
    AGREEING: "labels on which both agree",
    RAW: "raw labels",
}


@dataclass(frozen=True)
class ArmProgress:
    """How far an arm is."""

    arm: Arm
    done: int
    trials: int
    failed: int
    running: int
    problems: list[str]  # each once

    @property
    def words(self) -> list[str]:
        """What its recipe does."""
        return in_words(recipes.parse(self.arm.recipe))


@dataclass(frozen=True)
class DifferenceRow:
    """An arm's accuracy minus that of the first, by labels."""

    arm: str
    against: str
    by_labels: list[Values | None] = field(default_factory=list)  # in the order of ALL_LABELS

    @property
    def on_trusted(self) -> Values | None:
        return self.by_labels[0]


@dataclass(frozen=True)
class BinRow:
    """Pairs of like strength, and the accuracy of each arm on them."""

    number: int
    low: float
    high: float
    pairs: int
    accuracies: list[Values | None]


def progress(experiment: Experiment) -> list[ArmProgress]:
    """How far each arm is, in their order."""
    trials: dict[int, list[Trial]] = {}
    rows = Trial.objects.filter(arm__experiment=experiment)
    for trial in rows.only("arm", "status", "problem"):
        trials.setdefault(trial.arm_id, []).append(trial)
    found = []
    for arm in experiment.arms.select_related("snapshot"):
        own = trials.get(arm.pk, [])
        states = [trial.status for trial in own]
        found.append(
            ArmProgress(
                arm=arm,
                done=states.count(Work.Status.DONE),
                trials=len(own),
                failed=states.count(Work.Status.FAILED),
                running=states.count(Work.Status.RUNNING),
                problems=list(dict.fromkeys(trial.problem for trial in own if trial.problem)),
            )
        )
    return found


def can_be_retried(experiment: Experiment) -> bool:
    """Whether there are trials to run again."""
    if experiment.status in work.OPEN:
        return False
    lost = (Work.Status.FAILED, Work.Status.CANCELLED)
    trials = Trial.objects.filter(arm__experiment=experiment, status__in=lost)
    return experiment.status != Work.Status.DONE or trials.exists()


def curves(experiment: Experiment) -> list[tuple[str, int, Sequence[Values]]]:
    """(arm, seed, points) of every trial that has a curve."""
    rows = Trial.objects.filter(arm__experiment=experiment).exclude(curve=[])
    return list(rows.order_by("arm__position", "seed").values_list("arm__name", "seed", "curve"))


def differences(report: Values) -> list[DifferenceRow]:
    """A row an arm, for the table beside the chart."""
    found: dict[str, DifferenceRow] = {}
    of = {(each["arm"], each["on"]): each for each in report["differences"]}
    for each in report["differences"]:
        row = DifferenceRow(each["arm"], each["against"])
        row.by_labels.extend(_known(of.get((each["arm"], on))) for on in ALL_LABELS)
        found[each["arm"]] = row
    return list(found.values())


def bins(report: Values) -> list[BinRow]:
    """A row for each range of strength; the ranges are the same for every arm."""
    arms: Sequence[Values] = report["arms"]
    if not arms:
        return []
    return [
        BinRow(
            number=number + 1,
            low=first["from"],
            high=first["to"],
            pairs=first["pairs"],
            accuracies=[arm["bins"][number]["accuracy"] for arm in arms],
        )
        for number, first in enumerate(arms[0]["bins"])
    ]


def _known(of: Values | None) -> Values | None:
    return None if of is None or of["estimate"] is None else of
