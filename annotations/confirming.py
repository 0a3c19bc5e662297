"""Start a batch that a curator has seen the effect of and confirmed: once, however often the button
is pressed."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from annotations import conditions, launch, permissions, policies
from annotations.models import Dataset, DecisionBatch
from annotations.proposals import Bulk, Preview, check_expected
from curator.lib.refusals import Refusal
from curator.models import User

SHOWN = {"counts", "people", "last_decision"}  # by every preview


class NotShown(Refusal):
    """Nobody can have seen what is confirmed here."""


@dataclass(frozen=True)
class Shown:
    """What the page showed: the counts, and the last batch there was by then."""

    expected: dict[str, Any]
    last_batch: int

    def as_text(self) -> str:
        return json.dumps({"expected": self.expected, "last_batch": self.last_batch})


def shown(dataset: Dataset, preview: Preview) -> Shown:
    """What the curator is about to confirm."""
    last = dataset.batches.first()
    return Shown(preview.expected, last.pk if last else 0)


def from_text(text: str) -> Shown:
    """What a browser sends back. Raises NotShown."""
    try:
        given = json.loads(text)
        last_batch, expected = given["last_batch"], check_expected(given["expected"])
        if type(last_batch) is not int or not 0 <= last_batch < 2**62:
            raise TypeError
        if not expected.keys() >= SHOWN:
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, Refusal) as error:
        raise NotShown("What you confirmed cannot be read: look at the preview again.") from error
    return Shown(expected, last_batch)


def apply_policy(
    *, dataset: Dataset, policy: policies.Policy, by: User, seen: Shown, reason: str
) -> DecisionBatch:
    """Apply the policy as it was shown. Raises Conflict as `launch.start_policy`."""
    digest = policies.digest(policy)

    def is_same(row: DecisionBatch) -> bool:
        return row.policy is not None and row.policy.digest == digest

    def start() -> DecisionBatch:
        return launch.start_policy(
            dataset=dataset, policy=policy, by=by, expected=seen.expected, reason=reason
        )

    return _once(dataset, by, seen, is_same, start)


def decide_in_bulk(
    *, dataset: Dataset, bulk: Bulk, by: User, seen: Shown, reason: str
) -> DecisionBatch:
    """Decide all pairs of the filter as it was shown. Raises Conflict as `launch.start_bulk`."""
    asked = (
        *(DecisionBatch.Kind.BULK, [conditions.as_json(clause) for clause in bulk.clauses]),
        *(bulk.verdict, bulk.probability, bulk.overrules_people),
    )

    def is_same(row: DecisionBatch) -> bool:
        said = (row.kind, row.filter, row.verdict, row.label_probability, row.overrules_people)
        return said == asked

    def start() -> DecisionBatch:
        return launch.start_bulk(
            dataset=dataset, bulk=bulk, by=by, expected=seen.expected, reason=reason
        )

    return _once(dataset, by, seen, is_same, start)


@transaction.atomic
def _once(
    dataset: Dataset,
    by: User,
    seen: Shown,
    is_same: Callable[[DecisionBatch], bool],
    start: Callable[[], DecisionBatch],
) -> DecisionBatch:
    """The batch that the same page has started already, or a new one."""
    permissions.check_can_curate(by, dataset)
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    since = dataset.batches.filter(created_by=by, pk__gt=seen.last_batch)
    for row in since.select_related("policy"):
        if row.expected == seen.expected and is_same(row):
            return row
    return start()
