"""The policies of a dataset: versions that were kept, and the presets that come with Curator.

A version is a row that never changes; the same rules under the same name are one row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from annotations import permissions, policies
from annotations.models import Dataset, Policy
from annotations.policies import PRESETS, BadPolicy
from curator.lib.refusals import Refusal
from curator.models import User


class NoSuchPolicy(Refusal):
    """There is no policy of that name, or what was given is none."""


@dataclass(frozen=True)
class Entry:
    """A policy under its name: the latest version that was kept, or a preset that was never."""

    policy: policies.Policy
    row: Policy | None

    @property
    def name(self) -> str:
        return self.policy.name

    @property
    def digest(self) -> str:
        return policies.digest(self.policy)

    @property
    def is_preset(self) -> bool:
        """Whether it is what comes with Curator, unchanged."""
        preset = PRESETS.get(self.name)
        return preset is not None and policies.digest(preset) == self.digest


def read(row: Policy) -> policies.Policy:
    """The rules of a kept version."""
    return policies.parse({"name": row.name, "note": row.note, "rules": row.rules})


def given(written: object) -> policies.Policy:
    """The policy that a person or program has written as JSON. Raises NoSuchPolicy with all that is
    wrong."""
    try:
        return policies.parse(written)
    except BadPolicy as error:
        raise NoSuchPolicy(f"This is no policy: {error}") from error


@transaction.atomic
def keep(*, dataset: Dataset, policy: policies.Policy, by: User | None) -> Policy:
    """Keep a version of the policy, or return the row that it has already where no other came since
    under its name. `by` is None on the command line of the machine."""
    if by is not None:
        permissions.check_can_curate(by, dataset)
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    digest = policies.digest(policy)
    latest = dataset.policies.filter(name=policy.name).order_by("-pk").first()
    if latest is not None and (latest.digest, latest.note) == (digest, policy.note):
        return latest
    return Policy.objects.create(
        dataset=dataset,
        name=policy.name,
        rules=policies.as_json(policy)["rules"],
        digest=digest,
        note=policy.note,
        created_by=by,
    )


def entries(dataset: Dataset) -> list[Entry]:
    """The latest version of each policy that was kept, the newest first, then the presets of which
    none was."""
    latest: dict[str, Policy] = {}
    for row in dataset.policies.order_by("pk"):
        latest.pop(row.name, None)
        latest[row.name] = row
    kept = [Entry(read(row), row) for row in reversed(latest.values())]
    return kept + [Entry(preset, None) for name, preset in PRESETS.items() if name not in latest]


def versions(dataset: Dataset, name: str) -> list[Policy]:
    """All that was kept under the name, the newest first."""
    return list(dataset.policies.filter(name=name).order_by("-pk"))


def called(dataset: Dataset, name: str) -> policies.Policy:
    """The latest policy of the name, or the preset. Raises NoSuchPolicy naming those there are."""
    row = dataset.policies.filter(name=name).order_by("-pk").first()
    if row is not None:
        return read(row)
    if name in PRESETS:
        return PRESETS[name]
    known = ", ".join(entry.name for entry in entries(dataset))
    raise NoSuchPolicy(f"{dataset.slug} has no policy “{name}”; there are: {known}.")


def as_json(entry: Entry) -> Mapping[str, Any]:
    """The policy with its digest, for programs."""
    return {
        **policies.as_json(entry.policy),
        "digest": entry.digest,
        "is_preset": entry.is_preset,
        "version": entry.row.pk if entry.row else None,
    }
