"""Write a snapshot for a trainer. The same snapshot and format give the same bytes, on every
machine and database.

Rows come in the order of the pairs' digests. A format leaves out what it cannot hold, and the
export says how much.
"""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Any

from django.core.files import File
from django.db.models import Prefetch

from annotations.models import (
    Decision,
    Export,
    Label,
    Occasion,
    Preference,
    Snapshot,
    SnapshotPair,
    Verdict,
)
from curator.lib import digests, work

PAGE = 500
LARGEST_MARGIN = 3.0
LEFT_OUT_DROPPED, LEFT_OUT_TIE, LEFT_OUT_UNLABELLED = "dropped", "ties", "without a label"

Line = dict[str, Any]


class LeftOut(Exception):
    """The format has no place for the pair."""


def write(row: Export) -> None:
    """Write the export's file and finish its row."""
    to_line, left_out, digest = LINES[row.format], Counter[str](), hashlib.sha256()
    count = 0
    with tempfile.TemporaryFile() as file:
        for page in _pages(row.snapshot, with_labels=row.format == Export.Format.JSONL):
            for frozen in page:
                try:
                    line = (
                        json.dumps(to_line(frozen), ensure_ascii=False, allow_nan=False).encode()
                        + b"\n"
                    )
                except LeftOut as reason:
                    left_out[str(reason)] += 1
                    continue
                file.write(line)
                digest.update(line)
                count += 1
            work.renew(row, rows=count, left_out=dict(left_out))
        name = _keep(row, file)
    work.finish(row, file=name, rows=count, left_out=dict(left_out), sha256=digest.hexdigest())


def file_name(row: Export) -> str:
    """What the file is called when it is downloaded."""
    snapshot = row.snapshot
    name = f"{snapshot.dataset.slug}-snapshot{snapshot.number}-{snapshot.short_digest}"
    return f"{name}.{row.format}.jsonl"


def trl_reward(frozen: SnapshotPair) -> Line:
    """TRL RewardTrainer, conversational with an explicit prompt, and a numeric margin on every row
    (TRL >= 0.24).

    The margin is the strength towards the chosen response over the snapshot's median absolute
    strength, within ±3; 0 where the pair was not scored. A flip changes its sign, and a kept label
    that the ensemble doubts has a negative one (arXiv 2401.06080, adaptive margin).
    """
    return {**trl_dpo(frozen), "margin": margin(frozen)}


def trl_dpo(frozen: SnapshotPair) -> Line:
    """TRL DPOTrainer: conversational with an explicit prompt."""
    chosen, rejected = _chosen_and_rejected(frozen)
    return {"prompt": frozen.pair.prompt, "chosen": chosen, "rejected": rejected}


def everything(frozen: SnapshotPair) -> Line:
    """All there is to know of the pair: an audit sidecar. The lines whose `preference` is a or b
    stand in the order of the trainers' files, line for line."""
    pair = frozen.pair
    labels: list[Label] = pair.labels_then  # type: ignore[attr-defined]  # prefetched by _pages
    line = {
        "id": pair.source_id,
        "digest": pair.digest,
        "group": pair.group,
        "prompt": pair.prompt,
        "response_a": pair.response_a,
        "response_b": pair.response_b,
        "source_preference": pair.source_preference or None,
        "preference": frozen.preference or None,
        "verdict": frozen.verdict or None,
        "decision": frozen.decision and _decision(frozen.decision.holding),
        "ensemble": {
            "strength_towards_a": frozen.strength,
            "spread": frozen.spread,
            "votes": frozen.votes,
            "flag": frozen.flag or None,
        },
        "labels": _labels(labels),
        "meta": pair.meta,
    }
    return {name: digests.portable(value) for name, value in line.items()}


def _decision(decision: Decision | None) -> Line | None:
    """What holds, whoever took something else back in between."""
    if decision is None:
        return None
    return {
        "verdict": decision.verdict or None,
        "label_probability": decision.label_probability,
        "actor": decision.actor,
        "reason": decision.reason,
        "evidence": decision.evidence,
        "at": decision.created_at.isoformat(),
    }


def _labels(labels: list[Label]) -> list[Line]:
    """In an order that no database's collation changes; one that was taken back says so."""
    superseded = {label.supersedes_id for label in labels}
    ordered = sorted(labels, key=lambda x: (x.annotator.kind, x.annotator.name, x.pk))
    return [
        {
            "annotator": label.annotator.name,
            "kind": label.annotator.kind,
            "label": label.preference,
            "strength": label.strength,
            "rationale": label.rationale,
            "superseded": label.pk in superseded,
            "meta": label.meta,
        }
        for label in ordered
    ]


LINES: dict[str, Callable[[SnapshotPair], Line]] = {
    Export.Format.TRL_REWARD: trl_reward,
    Export.Format.TRL_DPO: trl_dpo,
    Export.Format.JSONL: everything,
}


def margin(frozen: SnapshotPair) -> float:
    """The margin towards the preferred response, in units of the snapshot's median absolute
    strength."""
    scale = frozen.snapshot.margin_scale
    if frozen.strength is None or not scale:
        return 0.0
    towards = frozen.strength if frozen.preference == Preference.A else -frozen.strength
    bounded = max(-LARGEST_MARGIN, min(LARGEST_MARGIN, towards / scale))
    return round(bounded, 6) + 0.0  # no negative zero


def _chosen_and_rejected(frozen: SnapshotPair) -> tuple[Any, Any]:
    if frozen.verdict == Verdict.DROP:
        raise LeftOut(LEFT_OUT_DROPPED)
    if frozen.preference == Preference.TIE:
        raise LeftOut(LEFT_OUT_TIE)
    if not frozen.preference:
        raise LeftOut(LEFT_OUT_UNLABELLED)
    pair = frozen.pair
    a_chosen = frozen.preference == Preference.A
    return (pair.response_a, pair.response_b) if a_chosen else (pair.response_b, pair.response_a)


def _pages(snapshot: Snapshot, *, with_labels: bool) -> Iterator[list[SnapshotPair]]:
    """The snapshot's rows in the order of the pairs' digests, a page at a time."""
    rows = SnapshotPair.objects.filter(snapshot=snapshot).select_related(
        "pair", "decision__restores"
    )
    rows = rows.order_by("position")
    if with_labels:
        # neither repeats nor practice, which say something of the annotator, not of the pair
        asked = Label.objects.filter(occasion=Occasion.WORK)
        then = asked.filter(pk__lte=snapshot.last_label).select_related("annotator")
        rows = rows.prefetch_related(Prefetch("pair__labels", queryset=then, to_attr="labels_then"))
    for start in range(0, snapshot.pairs_count, PAGE):
        page = list(rows.filter(position__gt=start, position__lte=start + PAGE))
        for frozen in page:
            frozen.snapshot = snapshot
        yield page


def _keep(row: Export, file: IO[bytes]) -> str:
    storage = row.file.storage
    if row.file.name:
        storage.delete(row.file.name)
    file.seek(0)
    return storage.save(f"exports/{row.pk}-{file_name(row)}", File(file))
