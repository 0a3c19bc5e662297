"""What a run says of one pair, in the form that people read and that decisions keep."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

from annotations.models import Preference, PreferencePair
from scoring.models import Flag, Mode, PairScore, ScoringRun

PLOT_WIDTH = 100.0
PLOT_EDGE = 4.0


@dataclass(frozen=True)
class Dot:
    """One member's standardised margin, and where it stands on a strip from 0 to 100."""

    member: str
    margin: float
    x: float
    row: int


@dataclass(frozen=True)
class Evidence:
    """A pair's score in a run."""

    run: ScoringRun
    score: PairScore
    # how likely the label is right, as it is shown: the run's own figure, or the one in its place
    label_probability: float | None = None
    calibration: str = ""  # whose figure that is; empty for the run's own

    @cached_property
    def margins(self) -> list[tuple[int, float]]:
        """Position and standardised margin of every member that was asked."""
        scales = self.run.member_scales
        return [
            (position, margin / scales[position])
            for position, margin in enumerate(self.score.margins)
            if margin is not None
        ]

    @cached_property
    def reach(self) -> float:
        """How far the strip of dots goes to either side."""
        return max(2.5, *(abs(margin) for _, margin in self.margins)) if self.margins else 2.5

    @cached_property
    def dots(self) -> list[Dot]:
        placed: list[Dot] = []
        for position, margin in sorted(self.margins, key=lambda item: item[1]):
            x = self.place(margin)
            row = 1 + placed[-1].row if placed and x - placed[-1].x < PLOT_EDGE else 0
            placed.append(Dot(f"member {position + 1}", margin, x, row % 3))
        return placed

    def place(self, margin: float) -> float:
        """Where a margin stands on the strip."""
        return PLOT_EDGE + (PLOT_WIDTH - 2 * PLOT_EDGE) * (margin + self.reach) / (2 * self.reach)

    @property
    def strength_x(self) -> float:
        return self.place(self.score.strength or 0.0)

    @property
    def zero_x(self) -> float:
        return self.place(0.0)

    @property
    def asked(self) -> int:
        return len(self.margins)

    @property
    def against(self) -> int:
        """How many members prefer the response that the label rejects."""
        return sum(margin < 0 for _, margin in self.margins)

    def preferring(self, side: str) -> int:
        """How many members prefer response `a` or `b`."""
        towards_a = self.score.pair.source_preference != Preference.B  # what a margin speaks for
        for_it = sum(margin > 0 for _, margin in self.margins)
        return for_it if towards_a == (side == Preference.A) else self.against

    @property
    def ends(self) -> tuple[str, str]:
        """What the two ends of the strip of dots stand for."""
        if not self.score.pair.has_preference:
            return "prefer B", "prefer A"
        return "against the label", "for it"

    @property
    def sentence(self) -> str:
        """Why the pair carries its flag."""
        score = self.score
        if not score.flag:
            return "The source prefers neither response, so there is no label to doubt."
        seen = "that never saw this pair " if self.run.mode == Mode.OUT_OF_BAG else ""
        agreeing = self.asked - self.against
        share = score.percentile or 0.0
        if score.flag == Flag.FLIPPED:
            rank = f"among the weakest {_top(share)} of the labels"
            if share == 0:
                rank = "no label is weaker"
            return f"{self.against} of {self.asked} models {seen}prefer the other response; {rank}."
        if score.flag == Flag.AMBIGUOUS:
            return (
                f"{agreeing} of {self.asked} models {seen}agree with the label, by too little "
                f"to tell."
            )
        if score.flag == Flag.STRONG:
            return (
                f"{agreeing} of {self.asked} models {seen}agree; among the strongest "
                f"{_top(1 - share)} of the labels."
            )
        return f"{agreeing} of {self.asked} models {seen}agree with the label."

    def as_dict(self) -> dict[str, Any]:
        """The figures a decision rests on."""
        score = self.score
        return {
            "run": self.run.pk,
            "ensemble": self.run.ensemble.name,
            "mode": self.run.mode,
            "flag": score.flag,
            "strength": score.strength,
            "spread": score.spread,
            "votes": score.votes,
            "label_probability": self.label_probability,
            **({"calibration": self.calibration} if self.calibration else {}),
        }


def evidence_for(pair: PreferencePair, run: ScoringRun | None) -> Evidence | None:
    """What the run says of the pair; None where it was not scored in it."""
    if run is None:
        return None
    score = PairScore.objects.filter(run=run, pair=pair).first()
    if score is None:
        return None
    score.pair = pair  # known, so that it is not fetched again
    calibration = pair.dataset.calibration
    if calibration and pair.standing.run_id == run.pk:
        return Evidence(run, score, pair.standing.label_probability, calibration)
    return Evidence(run, score, score.label_probability)


def _top(share: float) -> str:
    """0.012 -> 2 %: the smallest whole percentage that holds the share."""
    return f"{max(ceil(100 * share), 1)}\u202f%"
