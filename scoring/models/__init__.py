"""The reward-model ensemble: its members, the runs that train and apply it, the recipes and
experiments around it, and what they leave."""

from scoring.models.desk import (
    DatasetFigures,
    PairPlace,
    TopicMap,
)
from scoring.models.ensembles import (
    Checkpoint,
    Ensemble,
    RewardModel,
)
from scoring.models.evidence import (
    Audit,
    CalibrationUse,
    Recalibration,
    ReviewSample,
    SampledPair,
)
from scoring.models.experiments import (
    Arm,
    Experiment,
    Trial,
)
from scoring.models.iterations import (
    Iteration,
    IterationRound,
)
from scoring.models.recipes import (
    ResponseSet,
    TrainingRecipe,
)
from scoring.models.runs import (
    MemberTraining,
    PairScore,
    Run,
    ScoringRun,
    ScoringShard,
    Shard,
    TrainingRun,
    TrainingShard,
    rule_of,
)
from scoring.models.words import (
    ENSEMBLE_NAME,
    VALID_NAME,
    Flag,
    Mode,
    Precision,
    ScoreAt,
)

__all__ = [
    "ENSEMBLE_NAME",
    "VALID_NAME",
    "Arm",
    "Audit",
    "CalibrationUse",
    "Checkpoint",
    "DatasetFigures",
    "Ensemble",
    "Experiment",
    "Flag",
    "Iteration",
    "IterationRound",
    "MemberTraining",
    "Mode",
    "PairPlace",
    "PairScore",
    "Precision",
    "Recalibration",
    "ResponseSet",
    "ReviewSample",
    "RewardModel",
    "Run",
    "SampledPair",
    "ScoreAt",
    "ScoringRun",
    "ScoringShard",
    "Shard",
    "TopicMap",
    "TrainingRecipe",
    "TrainingRun",
    "TrainingShard",
    "Trial",
    "rule_of",
]
