"""What an audit by planted flips tells, in a sentence and as a table."""

from dataclasses import dataclass

from curator.templatetags.curator import percent
from scoring.core.audit import LIFT_SHARE
from scoring.models import Audit

TOLD_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Told:
    """An audit, and what its curves say at some shares reviewed: (share, ours, cleanlab's)."""

    row: Audit
    sentence: str
    rows: list[tuple[float, float, float]]


def told(audit: Audit) -> Told:
    """An audit that is done and has its curves."""
    curves = audit.result["curves"]
    ours, theirs = (
        {point["reviewed"]: point["found"] for point in curves[name]}
        for name in ("strength", "cleanlab")
    )
    rows = [(share, ours[share], theirs[share]) for share in TOLD_SHARES]
    return Told(audit, _sentence(audit, ours[LIFT_SHARE]), rows)


def _sentence(audit: Audit, found: float) -> str:
    return (
        f"Reviewing the weakest {percent(LIFT_SHARE)} of the labels finds {percent(found)} of the "
        f"planted flips: {audit.result['lift']:.1f} × as many as random review."
    )
