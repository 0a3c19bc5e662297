"""`iterate` from the shell."""

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotations.models import Dataset
from tests import factories


def test_a_dataset_whose_pairs_all_have_labels_is_refused(dataset: Dataset) -> None:
    factories.imported(dataset, [factories.row(number) for number in range(30)])
    with pytest.raises(CommandError, match="nothing to give pseudo-labels to"):
        call_command("iterate", dataset.slug, name="pool")


def test_a_recipe_that_nobody_knows_is_refused_with_those_there_are(dataset: Dataset) -> None:
    with pytest.raises(CommandError, match="label smoothing"):
        call_command("iterate", dataset.slug, name="pool", recipe="nonsense")


def test_an_iteration_is_started_again_by_its_name(dataset: Dataset) -> None:
    with pytest.raises(CommandError, match="has no iteration 'pool'; there are: none yet"):
        call_command("iterate", dataset.slug, name="pool", again=True)
