"""The recipes of a dataset: versions that were kept, the presets that come with Curator, and those
that stand in files.

A version is a row that never changes; the same recipe under the same name is one row.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from django.db import transaction

from annotations import permissions
from annotations.models import Dataset
from curator.lib.refusals import Refusal
from curator.models import User
from scoring.core import recipe_words, recipes
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import BadRecipe, Recipe
from scoring.models import Ensemble, TrainingRecipe

Choices = list[tuple[str, list[tuple[str, str]]]]  # groups, and names in each

PLAIN = "plain"
ENDINGS = (".json", ".yaml", ".yml")
LARGEST_FILE = 20_000  # bytes


class NoSuchRecipe(Refusal):
    """There is no recipe of that name, or what was given is none."""


@dataclass(frozen=True)
class Entry:
    """A recipe under its name: the latest version that was kept, or a preset that was never."""

    recipe: Recipe
    row: TrainingRecipe | None

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def digest(self) -> str:
        return recipes.digest(self.recipe)

    @property
    def is_preset(self) -> bool:
        """Whether it is what comes with Curator, unchanged."""
        return is_preset(self.recipe)

    @property
    def words(self) -> list[str]:
        """What it does, in sentences."""
        return recipe_words.in_words(self.recipe)

    @property
    def needs(self) -> list[str]:
        """What must be there before it can be followed."""
        return recipe_words.needs(self.recipe)


def read(row: TrainingRecipe) -> Recipe:
    """The recipe of a kept version."""
    return recipes.parse({"name": row.name, **row.content})


def is_preset(recipe: Recipe) -> bool:
    """Whether the recipe is what comes with Curator under its name, whatever its note says."""
    preset = PRESETS.get(recipe.name)
    return preset is not None and recipes.digest(preset) == recipes.digest(recipe)


def given(written: object) -> Recipe:
    """The recipe that a person or program has written. Raises NoSuchRecipe with all that is
    wrong."""
    try:
        return recipes.parse(written)
    except BadRecipe as error:
        raise NoSuchRecipe(f"This is no recipe: {error}") from error


def from_text(text: str) -> Recipe:
    """The recipe in YAML or JSON, of which YAML is a superset. Raises NoSuchRecipe."""
    return given(written_in(text))


def problems_in(text: str) -> list[str]:
    """A sentence for everything that is wrong with a recipe in YAML or JSON; none where it can be
    followed."""
    try:
        recipes.parse(written_in(text))
    except BadRecipe as error:
        return list(error.problems)
    except NoSuchRecipe as refusal:
        return [str(refusal)]
    return []


def written_in(text: str) -> object:
    """What the YAML or JSON says, whether it is a recipe or not. Raises NoSuchRecipe."""
    if len(text) > LARGEST_FILE:
        raise NoSuchRecipe(f"A recipe is written in at most {LARGEST_FILE:,} characters.")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, of fewer words
    except yaml.YAMLError as error:
        raise NoSuchRecipe(f"This is neither YAML nor JSON: {_on_one_line(error)}.") from error
    except (ValueError, RecursionError) as error:
        raise NoSuchRecipe(f"This is neither YAML nor JSON: {error}.") from error


def from_file(path: Path) -> Recipe:
    """The recipe in a file. Raises NoSuchRecipe."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise NoSuchRecipe(f"{path.name} is larger than a recipe ({LARGEST_FILE:,} bytes).")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise NoSuchRecipe(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise NoSuchRecipe(f"{path.name} is not text in UTF-8.") from error
    return from_text(text)


def named(dataset: Dataset, name_or_file: str) -> Recipe:
    """The recipe that the command line names: a file by its ending, else one that is known. Raises
    NoSuchRecipe."""
    if name_or_file.endswith(ENDINGS):
        return from_file(Path(name_or_file))
    return called(dataset, name_or_file)


@transaction.atomic
def keep(*, dataset: Dataset, recipe: Recipe, by: User | None) -> TrainingRecipe:
    """Keep a version of the recipe, or return the row that it has already where no other came since
    under its name. `by` is None on the command line of the machine."""
    if by is not None:
        permissions.check_can_curate(by, dataset)
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    content = {key: value for key, value in recipes.as_json(recipe).items() if key != "name"}
    latest = dataset.recipes.filter(name=recipe.name).order_by("-version").first()
    if latest is not None and latest.content == content:
        return latest
    return TrainingRecipe.objects.create(
        dataset=dataset,
        name=recipe.name,
        version=latest.version + 1 if latest else 1,
        content=content,
        digest=recipes.digest(recipe),
        created_by=by,
    )


def version_of(*, dataset: Dataset, recipe: Recipe, by: User | None) -> int | None:
    """The version that a recipe is followed as: it is kept where it is none of the presets; None
    for one as it comes with Curator."""
    if is_preset(recipe):
        return None
    return keep(dataset=dataset, recipe=recipe, by=by).version


def entries(dataset: Dataset) -> list[Entry]:
    """The latest version of each recipe that was kept, the newest first, then the presets of which
    none was."""
    latest: dict[str, TrainingRecipe] = {}
    for row in dataset.recipes.order_by("pk"):
        latest.pop(row.name, None)
        latest[row.name] = row
    kept = [Entry(read(row), row) for row in reversed(latest.values())]
    return kept + [Entry(preset, None) for name, preset in PRESETS.items() if name not in latest]


def grouped(known: Mapping[str, Recipe]) -> Choices:
    """Recipes to choose from, under the groups that they are offered in."""
    groups: dict[str, list[tuple[str, str]]] = {name: [] for name in recipe_words.GROUPS}
    for name, recipe in known.items():
        groups[recipe_words.group_of(recipe)].append((name, name))
    return [(group, names) for group, names in groups.items() if names]


def versions(dataset: Dataset, name: str) -> list[TrainingRecipe]:
    """All that was kept under the name, the newest first."""
    return list(dataset.recipes.filter(name=name).order_by("-version"))


def entry_called(dataset: Dataset, name: str) -> Entry:
    """The latest recipe of the name, or the preset. Raises NoSuchRecipe naming those there are."""
    row = dataset.recipes.filter(name=name).order_by("-version").first()
    if row is not None:
        return Entry(read(row), row)
    if name in PRESETS:
        return Entry(PRESETS[name], None)
    known = ", ".join(entry.name for entry in entries(dataset))
    raise NoSuchRecipe(f"{dataset.slug} has no recipe “{name}”; there are: {known}.")


def called(dataset: Dataset, name: str) -> Recipe:
    """The recipe alone. Raises NoSuchRecipe."""
    return entry_called(dataset, name).recipe


def recipe_of(ensemble: Ensemble) -> Recipe:
    """The recipe that an ensemble is trained by; the plain one where it was given none."""
    written = ensemble.recipe.get("training")
    return recipes.parse(written) if written else PRESETS[PLAIN]


def as_json(entry: Entry) -> Mapping[str, Any]:
    """The recipe with its digest, for programs."""
    return {
        **recipes.as_json(entry.recipe),
        "digest": entry.digest,
        "is_preset": entry.is_preset,
        "version": entry.row.version if entry.row else None,
    }


def as_text(recipe: Recipe) -> str:
    """The recipe as YAML, to be changed and read again."""
    return yaml.dump(
        json.loads(json.dumps(recipes.as_json(recipe))),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
    )


def _on_one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())


class _Loader(yaml.SafeLoader):
    """Reads what JSON can say, as YAML 1.2 does: `on` is a word and `1e-4` a number. Aliases, with
    which a short text stands for an endless one, are refused, and so is a key that comes twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read in recipes")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        said: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # no key that anybody knows, as is found below
            if key.value in said:
                raise yaml.YAMLError(f"`{key.value[:60]}` is said twice")
            said.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def whole_number(self, node: yaml.ScalarNode) -> int:
        """Decimal, whatever it begins with: 010 is ten."""
        return int(self.construct_scalar(node))


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back: a word that any of both versions of YAML takes for a number
    or a truth value stands in quotes."""


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole_number)

_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
):
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
