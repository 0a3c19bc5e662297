"""Audit an ensemble: plant known flips in a copy of the labels, train and score anew, and see what
the flags find.

The dataset is not touched, and neither is the ensemble. Runs on the device; the embeddings are
cached already.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from curator.lib import work
from scoring import embedding, fitting, recipe_book
from scoring.core import audit, label_quality
from scoring.core.bags import in_bag
from scoring.core.flags import FLIPPED
from scoring.core.judging import judge
from scoring.labels import labelled_pairs
from scoring.models import Audit, Mode, rule_of
from scoring.training.heads import TrainingPairs
from scoring.training.teaching import teach
from scoring.truths import as_json, points

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


def run(row: Audit) -> None:
    """Carry the audit out and store its figures. Members are trained by the ensemble's recipe but
    for its treatments, which go by what labels without planted flips have said."""
    ensemble = row.run.ensemble
    recipe = replace(recipe_book.recipe_of(ensemble), treatments=(), keeps_ties=False, meta=None)
    backbone = embedding.backbone_of(ensemble)
    labelled = labelled_pairs(ensemble.dataset)
    pairs, space, slices = fitting.prepare(labelled, backbone, row, model=recipe.model)
    planted = audit.plant(len(labelled.ids), row.share, np.random.default_rng(row.seed))
    own_bags = fitting.bags_of(ensemble)
    bag = in_bag(fitting.units_of(labelled, own_bags), own_bags)
    labels = np.where(planted, -pairs.labels, pairs.labels).astype(np.float32)
    flipped = TrainingPairs(**{**vars(pairs), "labels": labels})
    trained = teach(
        flipped,
        bag,
        recipe,
        space=space,
        slices=slices,
        seed=ensemble.recipe["seed"],
        on_step=lambda done, total: work.renew(row),
    )
    work.finish(row, result=_judge(row, trained.margins, bag, planted))


def _judge(row: Audit, margins: Floats, bag: Booleans, planted: Booleans) -> dict[str, Any]:
    """The figures of flags made as the run makes them; margins and bag (n, m), planted (n,)."""
    asked = margins.astype(np.float64)
    if row.run.mode == Mode.OUT_OF_BAG:
        asked = np.where(bag, np.nan, asked)
    judged = judge(asked, rule_of(row.run))
    result = audit.audit(-judged.strengths, planted, judged.flagging.flags == FLIPPED)
    return {
        "pairs": len(planted),
        "planted_flips": int(planted.sum()),
        "accuracy": judged.accuracy,
        "cut_by": judged.flagging.cut_by,
        **as_json(result),
        **_compared(row, judged.strengths, asked, planted),
    }


def _compared(row: Audit, strengths: Doubles, asked: Doubles, planted: Booleans) -> dict[str, Any]:
    """Curves to draw, and what cleanlab finds on the same margins (n, m).

    A and B are given to it at random: which response is called A says nothing.
    """
    probabilities = label_quality.members_probability(asked)
    suspicion = -label_quality.self_confidence(probabilities)
    says_a = np.random.default_rng([row.seed, 1]).random(len(planted)) < 0.5
    issues = label_quality.confident_issues(probabilities, says_a)
    rankings = {"strength": -strengths, "cleanlab": suspicion}
    curves = {
        name: points(audit.review_curve(ranking, planted, audit.SMOOTH_SHARES))
        for name, ranking in rankings.items()
    }
    curves["random"] = points(audit.random_curve(audit.SMOOTH_SHARES))
    return {"curves": curves, "cleanlab": as_json(audit.audit(suspicion, planted, issues))}
