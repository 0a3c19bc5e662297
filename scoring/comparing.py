"""Compare two scoring runs of one dataset: what they find of the same labels, which labels changed
their flag, and what differs in how the runs were made."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annotations.models import PreferencePair
from curator.lib.refusals import Refusal
from curator.lib.work import Work
from scoring.core import comparison
from scoring.core.comparison import Comparison
from scoring.core.strength import percentile
from scoring.models import PairScore, ScoringRun
from scoring.querysets import ScoringRunQuerySet

Scores = npt.NDArray[np.void]  # records of SCORE
Floats = npt.NDArray[np.float64]

SCORE = np.dtype([("pair", np.int64), ("strength", np.float64), ("flag", "<U9")])
BATCH = 5000
MOST_MOVED = 50


class NotComparable(Refusal):
    """The two runs say nothing of each other."""


@dataclass(frozen=True)
class ComparedRuns:
    """Two runs and what they find of the labels that both judged; scores and percentiles are (n,),
    in the order of the pairs' ids."""

    a: ScoringRun
    b: ScoringRun
    figures: Comparison
    scores_a: Scores
    scores_b: Scores

    @property
    def warning(self) -> str:
        """What must be known before the figures are read; empty where there is nothing."""
        if self.a.mode == self.b.mode:
            return ""
        return (
            f"Run {self.a.pk} is {self.a.mode} and run {self.b.pk} {self.b.mode}: in-sample, "
            f"models vouch for labels that they were trained on, and flags follow ranks alone. So "
            f"part of what differs here is the mode."
        )

    @property
    def percentiles_a(self) -> Floats:
        return percentile(self.scores_a["strength"])

    @property
    def percentiles_b(self) -> Floats:
        return percentile(self.scores_b["strength"])


@dataclass(frozen=True)
class MovedPair:
    """A pair of which the flag changed; percentiles are among the labels that both runs judged."""

    pair: PreferencePair
    flag_a: str
    flag_b: str
    strength_a: float
    strength_b: float
    percentile_a: float
    percentile_b: float


@dataclass(frozen=True)
class Difference:
    """Something in which the making of two runs differs; None where a run does not have it."""

    name: str
    a: object
    b: object


def others(run: ScoringRun) -> ScoringRunQuerySet:
    """The runs that this one can be compared with, the latest first."""
    done = ScoringRun.objects.finished().filter(dataset=run.dataset_id)
    return done.exclude(pk=run.pk).select_related("ensemble").order_by("-pk")


def compare(a: ScoringRun, b: ScoringRun) -> ComparedRuns:
    """Compare what two runs find of the labels that both judged; a pair without a preference has no
    label. Raises NotComparable."""
    _check_comparable(a, b)
    all_a, all_b = _scores_of(a), _scores_of(b)
    _, in_a, in_b = np.intersect1d(
        all_a["pair"], all_b["pair"], assume_unique=True, return_indices=True
    )
    if not len(in_a):
        raise NotComparable(
            f"Run {a.pk} and run {b.pk} have no flagged pair in common: there is nothing to "
            f"compare."
        )
    scores_a, scores_b = all_a[in_a], all_b[in_b]
    figures = comparison.compare(
        scores_a["strength"],
        scores_b["strength"],
        scores_a["flag"],
        scores_b["flag"],
        only_a=len(all_a) - len(scores_a),
        only_b=len(all_b) - len(scores_b),
    )
    return ComparedRuns(a, b, figures, scores_a, scores_b)


def most_moved(compared: ComparedRuns) -> list[MovedPair]:
    """The pairs whose flag changed, those first whose percentile changed most."""
    a, b = compared.scores_a, compared.scores_b
    percentiles_a, percentiles_b = compared.percentiles_a, compared.percentiles_b
    changed = np.flatnonzero(a["flag"] != b["flag"])
    distance = np.abs(percentiles_b - percentiles_a)[changed]
    index = changed[np.argsort(-distance, kind="stable")[:MOST_MOVED]]
    pairs = PreferencePair.objects.only("prompt").in_bulk(a["pair"][index].tolist())
    return [
        MovedPair(
            pair=pairs[int(a["pair"][i])],
            flag_a=str(a["flag"][i]),
            flag_b=str(b["flag"][i]),
            strength_a=float(a["strength"][i]),
            strength_b=float(b["strength"][i]),
            percentile_a=float(percentiles_a[i]),
            percentile_b=float(percentiles_b[i]),
        )
        for i in index
    ]


def differences(a: ScoringRun, b: ScoringRun) -> list[Difference]:
    """What differs in how the runs were made."""
    made_a, made_b = _making_of(a), _making_of(b)
    names = dict.fromkeys([*made_a, *made_b])
    found = (Difference(name, made_a.get(name), made_b.get(name)) for name in names)
    return [difference for difference in found if difference.a != difference.b]


def as_json(compared: ComparedRuns) -> dict[str, object]:
    """The figures with the keys that scripts rely on."""
    figures = compared.figures
    flipped = figures.flipped
    return {
        "run_a": compared.a.pk,
        "run_b": compared.b.pk,
        "pairs": figures.pairs,
        "only_a": figures.only_a,
        "only_b": figures.only_b,
        "spearman": figures.spearman,
        "percentile_change": figures.percentile_change,
        "flag_agreement": figures.flag_agreement,
        "flipped": {
            "a": flipped.a,
            "b": flipped.b,
            "both": flipped.both,
            "jaccard": flipped.jaccard,
            "kept": flipped.kept,
            "known": flipped.known,
        },
        "transitions": figures.transitions,
        "warning": compared.warning,
    }


def _check_comparable(a: ScoringRun, b: ScoringRun) -> None:
    if a.dataset_id != b.dataset_id:
        raise NotComparable(
            f"Run {a.pk} is of {a.dataset.slug} and run {b.pk} of {b.dataset.slug}: only runs of "
            f"one dataset can be compared."
        )
    for run in (a, b):
        if run.status != Work.Status.DONE:
            raise NotComparable(
                f"Run {run.pk} is {run.get_status_display()}: only runs that are done can be "
                f"compared."
            )


def _scores_of(run: ScoringRun) -> Scores:
    """What the run says of every label, in the order of the pairs' ids, streamed."""
    scores = PairScore.objects.of(run).exclude(flag="").order_by("pair_id")
    values = scores.values_list("pair_id", "strength", "flag")
    return np.fromiter(values.iterator(BATCH), dtype=SCORE)


def _making_of(run: ScoringRun) -> dict[str, object]:
    """What a run's figures follow from, beside the pairs."""
    ensemble = run.ensemble
    return {
        "mode": run.get_mode_display(),
        "ensemble": ensemble.name,
        "members": ensemble.members_count,
        "backbone": ensemble.backbone,
        "backbone digest": ensemble.backbone_digest[:16],
        **{f"recipe: {name}": value for name, value in ensemble.recipe.items()},
        "adaptive": run.is_adaptive,
        **{f"member {row['name']}": row["digest"][:16] for row in run.members_record},
        **{f"engine: {name}": value for name, value in run.engine.items()},
        **{f"threshold: {name}": value for name, value in run.rule.items()},
        **{f"environment: {name}": value for name, value in run.environment.items()},
    }
