"""`manage.py recipes SLUG [--keep FILE] [--show NAME]`: the recipes that ensembles are
trained by."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from scoring import recipe_book
from scoring.recipe_book import Entry


class Command(CuratorCommand):
    help = "List the recipes of a dataset, show one, or keep a version of one from a file."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        one = parser.add_mutually_exclusive_group()
        one.add_argument("--keep", metavar="FILE", help="a recipe in YAML or JSON")
        one.add_argument("--show", metavar="NAME", help="all that the recipe says")

    def perform(
        self, *, dataset: str, keep: str | None, show: str | None, **options: Any
    ) -> Mapping[str, Any]:
        found = dataset_called(dataset)
        if keep is not None:
            recipe = recipe_book.from_file(Path(keep))
            row = recipe_book.keep(dataset=found, recipe=recipe, by=None)
            return {"dataset": found.slug, "recipe": recipe_book.as_json(Entry(recipe, row))}
        if show is not None:
            entry = recipe_book.entry_called(found, show)
            return {"dataset": found.slug, "recipe": recipe_book.as_json(entry)}
        entries = recipe_book.entries(found)
        return {"dataset": found.slug, "recipes": [recipe_book.as_json(each) for each in entries]}

    def report(self, found: Mapping[str, Any]) -> None:
        if "recipe" in found:
            written = dict(found["recipe"])
            self.stdout.write(f"# {_standing(written)}")
            names = ("digest", "is_preset", "version")
            kept = {key: value for key, value in written.items() if key not in names}
            self.stdout.write(recipe_book.as_text(recipe_book.given(kept)), ending="")
            return
        for each in found["recipes"]:
            self.stdout.write(
                f"{each['name']}: {each.get('note') or 'no note'} [{_standing(each)}]"
            )


def _standing(written: Mapping[str, Any]) -> str:
    """Where the recipe comes from."""
    version = written["version"]
    return f"version {version}" if version else "comes with Curator"
