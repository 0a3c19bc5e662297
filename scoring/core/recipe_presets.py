"""The recipes that come with Curator: one for each treatment of arXiv 2401.06080, and a few
beside."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from scoring.core.recipes import (
    CALIBRATED,
    DIFFERENCES,
    GRADE,
    HIDDEN,
    PAIRS,
    ROBUST,
    SIMCSE,
    STRENGTH,
    SWAV,
    UNBIASED,
    Recipe,
    parse,
)


def _preset(name: str, note: str, **parts: Any) -> Recipe:
    return parse({"name": name, "note": note, **parts})


def _when(**condition: Any) -> Mapping[str, Any]:
    return condition


_HIDDEN: Mapping[str, Any] = {"kind": HIDDEN}
_LOWEST, _STRONGEST = _when(percentile=[0, 0.1]), _when(percentile=[0.9, 1])
_CONTRADICTED = _when(strength_below=0)

PRESETS: Mapping[str, Recipe] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            _preset("plain", "Bradley–Terry on the labels as they are."),
            _preset(
                "flip the lowest tenth",
                "The tenth of the labels that the ensemble contradicts most is turned round.",
                treatments=[{"when": _LOWEST, "then": {"flip": True}}],
            ),
            _preset(
                "drop the lowest fifth",
                "The fifth of the labels that the ensemble contradicts most is left out.",
                treatments=[{"when": _when(percentile=[0, 0.2]), "then": {"drop": True}}],
            ),
            _preset(
                "label smoothing",
                "Every label is right with probability 0.9.",
                treatments=[{"when": {}, "then": {"alpha": 0.1}}],
            ),
            _preset(
                "soft labels",
                "Labels that the ensemble contradicts are right with probability 0.6.",
                treatments=[{"when": _CONTRADICTED, "then": {"alpha": 0.4}}],
            ),
            _preset(
                "calibrated labels",
                "Every label is as probable as the run found it to be.",
                treatments=[{"when": {}, "then": {"probability": CALIBRATED}}],
            ),
            _preset(
                "adaptive margin",
                "Each pair is asked for a margin of its own strength.",
                treatments=[{"when": {}, "then": {"margin": STRENGTH}}],
            ),
            _preset(
                "soft labels + margin",
                "Contradicted labels are smoothed, and each pair is asked for a margin of its "
                "strength.",
                treatments=[
                    {"when": _CONTRADICTED, "then": {"alpha": 0.4}},
                    {"when": {}, "then": {"margin": STRENGTH}},
                ],
            ),
            _preset(
                "flip + margin",
                "The lowest tenth is turned round, and each pair is asked for a margin of its "
                "strength.",
                treatments=[
                    {"when": _LOWEST, "then": {"flip": True}},
                    {"when": {}, "then": {"margin": STRENGTH}},
                ],
            ),
            _preset(
                "soft labels + margin on the strongest tenth",
                "Only the pairs that are easily overfitted are smoothed and asked for a margin.",
                treatments=[
                    {"when": _STRONGEST, "then": {"alpha": 0.1, "margin": STRENGTH}},
                ],
            ),
            _preset(
                "graded",
                "Pairs weigh as much as people said they prefer (scaled Bradley–Terry).",
                treatments=[{"when": {}, "then": {"weight": GRADE}}],
            ),
            _preset(
                "unbiased",
                "A loss whose mean does not change with a tenth of the labels flipped.",
                loss={"name": UNBIASED, "noise": 0.1},
            ),
            _preset(
                "robust",
                "Pairs that fit worst count least.",
                loss={"name": ROBUST, "beta": 1.0},
            ),
            _preset("hidden layer", "Heads with a hidden layer, plainly trained.", model=_HIDDEN),
            _preset(
                "centred",
                "Heads with a hidden layer whose rewards stay around 0.",
                model=_HIDDEN,
                loss={"centring": 0.01},
            ),
            _preset(
                "SimCSE on pairs",
                "Features of a response seen twice through dropout are pulled together.",
                model=_HIDDEN,
                contrastive={"method": SIMCSE, "on": PAIRS},
            ),
            _preset(
                "SimCSE on differences",
                "Differences of features seen twice through dropout are pulled together.",
                model=_HIDDEN,
                contrastive={"method": SIMCSE, "on": DIFFERENCES},
            ),
            _preset(
                "SwAV on pairs",
                "Two views of a response are assigned to the same of 50 prototypes.",
                model=_HIDDEN,
                contrastive={"method": SWAV, "on": PAIRS},
            ),
            _preset(
                "SwAV on differences",
                "Two views of a difference are assigned to the same of 20 prototypes.",
                model=_HIDDEN,
                contrastive={"method": SWAV, "on": DIFFERENCES},
            ),
            _preset(
                "MetaRM",
                "Steps are taken where the scores of sampled responses spread; needs a file of "
                "responses.",
                model=_HIDDEN,
                meta={"step": 0.1},
            ),
        )
    }
)
