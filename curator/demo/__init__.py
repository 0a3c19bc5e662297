"""The demo: a slice of real preference pairs under free licences, the people who try it, and the
steps to flags.

There are two datasets of the same pairs. `demo` has the labels as people gave them. In
`demo-planted` one label in ten is wrong on purpose, which only `planted_flips.jsonl` knows, so that
precision and recall of the flags can be shown.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotations import launch as annotations_launch
from annotations.datasets import create_dataset
from annotations.models import Dataset, Import, Membership, Role
from curator.demo import asking
from curator.lib.work import Work
from curator.models import User
from scoring import launch, truths
from scoring.models import Ensemble, ScoringRun, TrainingRun

FOLDER = Path(__file__).parent
PAIRS = FOLDER / "pairs.jsonl"
PLANTED = FOLDER / "planted_flips.jsonl"
ENSEMBLE = "heads"

LICENCES = (
    "Texts and labels: Tulu 1 human evaluation and PandaLM (Apache-2.0), LLMFAO (CC BY 4.0); "
    "see curator/demo/ATTRIBUTION.md."
)
GUIDELINES = (
    "Prefer the response that follows the instruction better. If both do, prefer the one that is "
    "correct, then the one "
    "that is clearer and no longer than it needs to be. Say tie where you would not mind which "
    "one you were given."
)


@dataclass(frozen=True)
class Person:
    """Somebody who tries the demo, and the page they begin on."""

    user: User
    role: str
    goes_to: str


@dataclass(frozen=True)
class Example:
    """One dataset of the demo."""

    slug: str
    name: str
    description: str
    is_planted: bool


EXAMPLES = (
    Example(
        "demo", "Demo", f"Real preference pairs with the labels that people gave. {LICENCES}", False
    ),
    Example(
        "demo-planted",
        "Demo with planted flips",
        f"The same pairs, but one label in ten is wrong on purpose, to see how many the flags "
        f"find. {LICENCES}",
        True,
    ),
)
PEOPLE = (
    ("olivia", Role.OWNER),
    ("casey", Role.CURATOR),
    ("anna", Role.ANNOTATOR),
    ("arun", Role.ANNOTATOR),
)


@dataclass(frozen=True)
class Step:
    """One step towards flags: how to start it (None: done before), how far it is, and what came
    out."""

    start: Callable[[], Work | None]
    describe: Callable[[Any], tuple[float, str]]
    outcome: Callable[[], str]


def make_people() -> list[Person]:
    """The datasets and their members, made where they are missing. Nobody gets a password."""
    people = []
    for username, role in PEOPLE:
        user, is_new = User.objects.get_or_create(
            username=username, defaults={"first_name": username.title()}
        )
        if is_new:
            user.set_unusable_password()
            user.save()
        begins = "label" if role == Role.ANNOTATOR else "review"
        goes_to = f"?next=/datasets/demo/{begins}/"
        people.append(Person(user, role, goes_to))
    for example in EXAMPLES:
        dataset = Dataset.objects.filter(slug=example.slug).first() or create_dataset(
            slug=example.slug,
            name=example.name,
            by=None,
            description=example.description,
            guidelines=GUIDELINES,
        )
        for person in people:
            Membership.objects.get_or_create(
                dataset=dataset, user=person.user, defaults={"role": person.role}
            )
    return people


def steps(example: Example, folder: Path) -> Iterator[Step]:
    """Import, train, score, ask annotators: each is given only when the one before is done."""
    dataset = Dataset.objects.get(slug=example.slug)
    yield Step(
        lambda: _import(dataset, example, folder), _describe_import, lambda: _imported(dataset)
    )
    yield Step(lambda: _train(dataset), _describe_training, lambda: _trained(dataset))
    yield Step(lambda: _score(dataset), _describe_scoring, lambda: _scored(dataset))
    if not example.is_planted:
        yield Step(lambda: asking.ask(dataset), asking.describe, lambda: asking.asked(dataset))


def figures(example: Example) -> dict[str, Any]:
    """What the demo found in the dataset."""
    dataset = Dataset.objects.get(slug=example.slug)
    run = ScoringRun.objects.current(dataset)
    assert run is not None
    found: dict[str, Any] = {
        "dataset": dataset.slug,
        "name": dataset.name,
        "run": run.pk,
        "pairs": run.pairs_total,
        "flags": run.summary["flags"],
        "noise_rate": run.summary["noise_rate"],
        "audit": None,
    }
    if example.is_planted:
        found["audit"] = {
            **truths.audit_against(run, PLANTED),
            "wrong": sum(truths.read_truth(PLANTED).values()),
        }
    return found


def _import(dataset: Dataset, example: Example, folder: Path) -> Import | None:
    if dataset.pairs.exists():
        return None
    path = _planted_copy(folder) if example.is_planted else PAIRS
    with path.open("rb") as file:
        return annotations_launch.start_import(
            dataset=dataset, file=file, name=path.name, layout="auto", by=None
        )


def _planted_copy(folder: Path) -> Path:
    """The pairs with the two responses of every planted flip exchanged under its label."""
    planted = {source_id for source_id, flipped in truths.read_truth(PLANTED).items() if flipped}
    path = folder / "pairs-with-planted-flips.jsonl"
    with PAIRS.open(encoding="utf-8") as source, path.open("w", encoding="utf-8") as target:
        for line in source:
            row = json.loads(line)
            if row["id"] in planted:
                row["response_a"], row["response_b"] = row["response_b"], row["response_a"]
            target.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def _train(dataset: Dataset) -> TrainingRun | None:
    if Ensemble.objects.filter(dataset=dataset, name=ENSEMBLE).exists():
        training = TrainingRun.objects.get(ensemble__dataset=dataset, ensemble__name=ENSEMBLE)
        if training.status in (Work.Status.FAILED, Work.Status.CANCELLED):
            launch.start_again(training, by=None)
        return None if training.status == Work.Status.DONE else training
    return launch.start_training(dataset=dataset, name=ENSEMBLE, by=None)


def _score(dataset: Dataset) -> ScoringRun | None:
    if ScoringRun.objects.current(dataset) is not None:
        return None
    waiting = dataset.scoring_runs.filter(
        status__in=[Work.Status.QUEUED, Work.Status.RUNNING]
    ).first()
    return waiting or launch.start_scoring(ensemble=dataset.ensembles.get(name=ENSEMBLE), by=None)


def _describe_import(row: Import) -> tuple[float, str]:
    return row.share_done, f"importing: {row.read:,} rows"


def _describe_training(row: TrainingRun) -> tuple[float, str]:
    if row.steps_total:
        return (
            row.steps_done / row.steps_total,
            f"training: step {row.steps_done} of {row.steps_total}",
        )
    return row.share_done, f"reading: {row.pairs_done:,} of {row.pairs_total:,} pairs"


def _describe_scoring(row: ScoringRun) -> tuple[float, str]:
    return row.share_done, f"scoring: {row.pairs_done:,} of {row.pairs_total:,} pairs"


def _imported(dataset: Dataset) -> str:
    row = dataset.imports.filter(status=Work.Status.DONE).first()
    assert row is not None
    return (
        f"{row.created:,} pairs imported ({row.duplicates} duplicates, {row.refused} rows "
        f"refused with a reason)"
    )


def _trained(dataset: Dataset) -> str:
    members = dataset.ensembles.get(name=ENSEMBLE).members.all()
    accuracies = [member.out_of_bag_accuracy or 0.0 for member in members]
    return (
        f"{len(members)} reward models trained, right on "
        f"{sum(accuracies) / len(accuracies):.0%} of the labels they had not seen"
    )


def _scored(dataset: Dataset) -> str:
    run = ScoringRun.objects.current(dataset)
    assert run is not None
    flags = run.summary["flags"]
    return (
        f"scored out-of-bag: {flags['flipped']} labels likely flipped, {flags['ambiguous']} "
        f"ambiguous"
    )
