"""The forms of the pages about training: sampled responses, experiments and rounds of
pseudo-labels. They check what the user typed; the work is done elsewhere."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from annotations.forms import RowField
from annotations.models import Dataset
from curator.lib.refusals import Refusal
from curator.models import User
from scoring import iterating, launch, recipe_book, truths
from scoring.core.recipes import Recipe
from scoring.experiments import planning
from scoring.experiments.planning import ArmPlan, Design
from scoring.models import Arm, Experiment, ResponseSet

if TYPE_CHECKING:
    Upload = UploadedFile[bytes]
else:
    Upload = UploadedFile  # takes no type argument at run time

SNAPSHOT = "snapshot:"
MOST_ROWS = planning.MOST_ARMS
FEWEST_ROWS = 2
LARGEST_TRUTH = 100_000_000  # bytes
BACKBONES = [(name, name) for name in settings.BACKBONES]


class ResponsesForm(forms.Form):
    """A file of prompts with several sampled responses each."""

    name = forms.CharField(max_length=120, help_text="Such as the policy they were sampled from.")
    file = forms.FileField(
        help_text="JSON lines, JSON or Parquet, also compressed.",
    )


class IterationForm(forms.Form):
    """Rounds of pseudo-labels; `cleaned_data` is what `iterating.start` takes."""

    name = forms.CharField(
        max_length=50, help_text="Its ensembles are called after it: pool-1, pool-2 …"
    )
    rounds = forms.IntegerField(
        initial=iterating.DEFAULT_ROUNDS,
        min_value=1,
        max_value=iterating.MOST_ROUNDS,
        help_text="It ends sooner where a round finds nothing more to label.",
    )
    threshold = forms.FloatField(
        initial=iterating.DEFAULT_THRESHOLD,
        min_value=0.5,
        max_value=0.999,
        help_text="A pair is labelled where the ensemble gives one response more than this "
        "probability.",
    )
    recipe = forms.ChoiceField(
        help_text="Only recipes that treat all pairs alike: the rounds have no run to go by."
    )
    members = forms.IntegerField(
        initial=launch.DEFAULT_MEMBERS, min_value=2, max_value=launch.MOST_MEMBERS, step_size=2
    )
    backbone = forms.ChoiceField(choices=BACKBONES)

    def __init__(self, dataset: Dataset, data: Mapping[str, Any] | None = None) -> None:
        begun = dataset.iterations.count()
        name = f"pool{begun + 1}" if begun else "pool"
        super().__init__(cast("Any", data), initial={"name": name})
        self.recipes = {
            entry.name: entry.recipe
            for entry in recipe_book.entries(dataset)
            if not entry.recipe.needs_run and entry.recipe.meta is None
        }
        chosen = cast("forms.ChoiceField", self.fields["recipe"])
        chosen.choices = recipe_book.grouped(self.recipes)
        chosen.initial = recipe_book.PLAIN

    def clean_recipe(self) -> Recipe:
        """The recipe that the name stands for."""
        return self.recipes[self.cleaned_data["recipe"]]


class ArmForm(forms.Form):
    """One way to train: a row of an experiment's form."""

    name = forms.CharField(max_length=planning.LONGEST_NAME)
    labels = forms.ChoiceField()
    recipe = forms.ChoiceField()

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        labels: list[tuple[str, str]],
        recipes: recipe_book.Choices,
        **options: Any,
    ) -> None:
        super().__init__(cast("Any", data), **options)
        for name, choices in (("labels", labels), ("recipe", recipes)):
            cast("forms.ChoiceField", self.fields[name]).choices = choices


class ExperimentForm(forms.Form):
    """Arms, and how they are compared. Rows of arms are added and taken away by buttons of the form
    itself, so that it works without scripts."""

    name = forms.CharField(max_length=planning.LONGEST_NAME)
    seeds = forms.IntegerField(
        initial=5,
        min_value=1,
        max_value=planning.MOST_SEEDS,
        help_text="Each arm is trained once a seed.",
    )
    folds = forms.IntegerField(
        initial=5,
        min_value=2,
        max_value=planning.MOST_FOLDS,
        help_text="Prompts are dealt to so many; seed number i is judged on fold i, which it never "
        "learns from.",
    )
    members = forms.IntegerField(
        initial=launch.DEFAULT_MEMBERS,
        min_value=2,
        max_value=planning.MOST_MEMBERS,
        step_size=2,
        help_text="Of each trial.",
    )
    backbone = forms.ChoiceField(choices=BACKBONES)
    trusted = forms.ChoiceField(
        choices=[
            (Experiment.Trusted.PEOPLE, "what people decided, gold answers and consensus"),
            (Experiment.Trusted.FILE, "a file that says which labels are flipped"),
        ],
        initial=Experiment.Trusted.PEOPLE,
        widget=forms.RadioSelect,
        label="Trusted labels",
    )
    truth = forms.FileField(
        required=False,
        label="The file",
        help_text='JSON lines {"id": the pair\'s id at its source, "flipped": true or false}.',
    )
    evaluate_on = forms.ModelChoiceField(
        queryset=Dataset.objects.none(),
        required=False,
        to_field_name="slug",
        empty_label="folds of this dataset that are held out",
        label="Judged on",
        help_text="Another dataset may not share a prompt with this one.",
    )
    responses = RowField(
        queryset=ResponseSet.objects.none(),
        required=False,
        empty_label="none",
        label="Sampled responses",
        help_text="With scores: to choose the best of n from. Recipes that meta-train need them "
        "too.",
    )

    def __init__(
        self,
        dataset: Dataset,
        by: User,
        data: Mapping[str, Any] | None = None,
        files: Any = None,
        *,
        arms: list[dict[str, str]] | None = None,
        **options: Any,
    ) -> None:
        """Bound to what was sent, or showing `initial` and rows of `arms`."""
        super().__init__(cast("Any", data), files, **options)
        self.dataset = dataset
        self.recipes = {entry.name: entry.recipe for entry in recipe_book.entries(dataset)}
        self.snapshots = {f"{SNAPSHOT}{row.number}": row for row in dataset.snapshots.all()[:100]}
        others = Dataset.objects.filter(
            memberships__in=by.memberships.filter(ended_at=None, role__in=("curator", "owner"))
        )
        cast(
            "forms.ModelChoiceField[Dataset]", self.fields["evaluate_on"]
        ).queryset = others.exclude(pk=dataset.pk).distinct()
        cast(
            "forms.ModelChoiceField[ResponseSet]", self.fields["responses"]
        ).queryset = dataset.response_sets.all()
        rows = arms if data is None or arms is not None else [None] * rows_sent(data)
        self.arms = [self._arm(data, position, row) for position, row in enumerate(rows or [])]

    def _arm(
        self, data: Mapping[str, Any] | None, position: int, row: dict[str, str] | None
    ) -> ArmForm:
        labels = [
            (Arm.Labels.SOURCE.value, "as imported"),
            (Arm.Labels.NOW.value, "as they stand now"),
            *((key, f"snapshot {of.number}") for key, of in self.snapshots.items()),
        ]
        recipes = {name: of for name, of in self.recipes.items() if of.model.is_head}
        shown = {"labels": Arm.Labels.SOURCE.value, "recipe": recipe_book.PLAIN} | (row or {})
        return ArmForm(
            data if row is None else None,
            labels=labels,
            recipes=recipe_book.grouped(recipes),
            prefix=f"arm-{position}",
            initial=shown,
        )

    @property
    def is_complete(self) -> bool:
        """Whether the form and all its rows can be read; problems stand beside them else."""
        rows = [arm.is_valid() for arm in self.arms]  # all of them, so that each says its own
        return self.is_valid() and all(rows)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("trusted") != Experiment.Trusted.FILE:
            return cleaned | {"truth": None}
        file: Upload | None = cleaned.get("truth")
        if file is None:
            if "truth" not in self.errors:
                self.add_error("truth", "Choose the file, or go by what people decided.")
            return cleaned
        try:
            return cleaned | {"truth": _truth_of(file)}
        except Refusal as refusal:
            self.add_error("truth", str(refusal))
            return cleaned

    def design(self) -> Design:
        """The experiment as it was asked for."""
        found = self.cleaned_data
        return Design(
            dataset=self.dataset,
            name=found["name"],
            arms=[self._plan(arm.cleaned_data) for arm in self.arms],
            backbone=found["backbone"],
            seeds=found["seeds"],
            folds=found["folds"],
            members=found["members"],
            truth=found["truth"],
            evaluated_on=found["evaluate_on"],
            responses=found["responses"],
        )

    def _plan(self, arm: Mapping[str, str]) -> ArmPlan:
        snapshot = self.snapshots.get(arm["labels"])
        labels = arm["labels"] if snapshot is None else Arm.Labels.SNAPSHOT.value
        return ArmPlan(arm["name"], labels, snapshot, self.recipes[arm["recipe"]])


def rows_sent(data: Mapping[str, Any]) -> int:
    """How many rows of arms the browser sent."""
    sent = str(data.get("arms", ""))
    count = int(sent) if sent.isdecimal() and len(sent) < 4 else FEWEST_ROWS
    return min(max(count, FEWEST_ROWS), MOST_ROWS)


def arms_sent(data: Mapping[str, Any], button: str) -> list[dict[str, str]]:
    """The rows as they were typed, after a button that adds one (`add`) or takes one away
    (`remove:2`)."""
    rows = [
        {name: str(data.get(f"arm-{row}-{name}", "")) for name in ("name", "labels", "recipe")}
        for row in range(rows_sent(data))
    ]
    if button == "add" and len(rows) < MOST_ROWS:
        return [*rows, {"name": ""}]
    row = button.removeprefix("remove:")
    if row.isdecimal() and len(row) < 4 and int(row) < len(rows) > FEWEST_ROWS:
        del rows[int(row)]
    return rows


def _truth_of(file: Upload) -> dict[str, bool]:
    """Raises BadTruth."""
    name = str(file.name)
    if (file.size or 0) > LARGEST_TRUTH:
        raise truths.BadTruth(f"{name} is larger than {LARGEST_TRUTH // 1_000_000} MB.")
    lines = (line.decode("utf-8", errors="replace") for line in file)
    return truths.truth_in(lines, name=name)
