"""Audit an ensemble: plant known flips in a copy of the labels, train and score anew, and see what
the flags find.

The dataset is not touched, and neither is the ensemble. Runs on the device; the embeddings are
cached already.
"""

from typing import Any

import numpy as np

from curator.lib import work
from scoring import fitting
from scoring.core import audit, calibration, strength
from scoring.core.flags import FLIPPED, FlagRule, flag, flag_by_percentile
from scoring.engine import backbones
from scoring.models import Audit, Mode
from scoring.training.bags import in_bag
from scoring.training.heads import TrainingPairs, train
from scoring.truths import as_json


def run(row: Audit) -> None:
    """Carry the audit out and store its figures."""
    ensemble = row.run.ensemble
    backbone = backbones.load(ensemble.backbone)
    labelled = fitting.labelled_pairs(ensemble.dataset)
    pairs, space, slices = fitting.prepare(labelled, backbone, row)
    planted = audit.plant(len(labelled.ids), row.share, np.random.default_rng(row.seed))
    own_bags = fitting.bags_of(ensemble)
    bag = in_bag(fitting.units_of(labelled, own_bags), own_bags)
    labels = np.where(planted, -pairs.labels, pairs.labels).astype(np.float32)
    flipped = TrainingPairs(**{**vars(pairs), "labels": labels})
    trained = train(
        flipped, bag, space=space, slices=slices, on_step=lambda done, total: work.renew(row)
    )
    work.finish(row, result=_judge(row, trained.margins, bag, planted))


def _judge(row: Audit, margins: Any, bag: Any, planted: Any) -> dict[str, Any]:
    """The figures of flags made by the run's own mode and rule on the planted labels."""
    asked = margins.astype(np.float64)
    if row.run.mode == Mode.OUT_OF_BAG:
        asked = np.where(bag, np.nan, asked)
    standard = strength.standardise(asked, strength.member_scales(asked))
    strengths = strength.preference_strength(standard)
    accuracy = float(strength.accuracy(strengths[:, None])[0])
    result: dict[str, Any] = {
        "pairs": len(planted),
        "planted_flips": int(planted.sum()),
        "accuracy": accuracy,
    }
    if row.run.mode == Mode.OUT_OF_BAG:
        rule = FlagRule.from_dict(row.run.rule)
        noise = calibration.noise_rate(strengths)
        probabilities = calibration.label_probability(strengths, calibration.fit_slope(strengths))
        flagging = flag(
            strengths,
            strength.votes(standard),
            probabilities,
            accuracy=accuracy,
            noise=noise,
            rule=rule,
        )
    else:
        flagging = flag_by_percentile(strengths)
    figures = as_json(audit.audit(-strengths, planted, flagging.flags == FLIPPED))
    return {**result, "cut_by": flagging.cut_by, **figures}
