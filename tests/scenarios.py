"""A whole dataset for tests of pages: imported, trained, scored, frozen and exported."""

from dataclasses import dataclass

from annotations.models import Dataset, Export, Import, PreferencePair, Snapshot
from curator.models import User
from scoring import freezing
from scoring.models import Checkpoint, Ensemble, ScoringRun
from tests import factories


@dataclass(frozen=True)
class Scene:
    """A dataset at every stage at once, and one person of each kind."""

    dataset: Dataset
    owner: User
    curator: User
    annotator: User
    stranger: User
    imported: Import
    pair: PreferencePair
    ensemble: Ensemble
    run: ScoringRun
    checkpoint: Checkpoint
    snapshot: Snapshot
    export: Export


def scene(backbone: str) -> Scene:
    owner, curator, annotator, stranger = map(
        factories.user, ("olivia", "casey", "anna", "stranger")
    )
    into = factories.dataset("scene", owners=[owner], curators=[curator], annotators=[annotator])
    rows = [factories.row(number, label="b" if number % 5 == 0 else "a") for number in range(28)]
    done = factories.imported(into, [*rows, factories.row(28, label="tie"), "not a row"])
    ensemble = factories.trained(into, backbone)
    run = factories.scored(ensemble)
    snapshot = freezing.freeze(dataset=into, by=curator)
    return Scene(
        dataset=into,
        owner=owner,
        curator=curator,
        annotator=annotator,
        stranger=stranger,
        imported=done,
        pair=into.pairs.order_by("pk")[0],
        ensemble=ensemble,
        run=run,
        checkpoint=factories.checkpoint("tiny-llama"),
        snapshot=snapshot,
        export=factories.exported(snapshot, Export.Format.TRL_REWARD),
    )
