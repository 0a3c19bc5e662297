from typing import TYPE_CHECKING

import pytest

from annotations.models import Dataset
from scoring.models import Ensemble, ScoringRun
from tests import factories

if TYPE_CHECKING:
    from tests.scoring.oracle import Shelf


@pytest.fixture
def thirty(dataset: Dataset) -> Dataset:
    """Thirty pairs, all but two of them with a preference; every fifth label is wrong."""
    rows = [factories.row(number, label="b" if number % 5 == 0 else "a") for number in range(28)]
    rows += [factories.row(28, label="tie"), factories.row(29, labels=[])]
    factories.imported(dataset, rows)
    return dataset


@pytest.fixture
def ensemble(thirty: Dataset, tiny_backbone: str) -> Ensemble:
    return factories.trained(thirty, tiny_backbone)


@pytest.fixture
def run(ensemble: Ensemble) -> ScoringRun:
    return factories.scored(ensemble)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> "Shelf":
    """Tiny reward models, made and loaded as they are asked for."""
    from tests.scoring.oracle import Shelf  # noqa: PLC0415 - loads torch

    return Shelf(tmp_path_factory.mktemp("models"))
