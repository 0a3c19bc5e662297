"""The forms of this app's pages. They check what the user typed; the work is done elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

from django import forms
from django.conf import settings
from django.db.models import QuerySet
from django.http import QueryDict

from annotations import conditions, filters, rounds
from annotations.fields import FIELDS, Field, Kind, Use, fields_for
from annotations.filters import Filter
from annotations.forms import (
    PERSONS_VERDICTS,
    BoundedKeys,
    DecisionForm,
    PersonField,
    RowField,
    members_of,
)
from annotations.models import Dataset
from curator.lib.work import Work
from curator.models import User
from scoring import comparing, launch, recipe_book
from scoring.core.options import SWITCH, Attention, EngineOptions
from scoring.core.recipes import Recipe
from scoring.models import (
    Checkpoint,
    Ensemble,
    Mode,
    Precision,
    ResponseSet,
    ScoreAt,
    ScoringRun,
)

ORDER_CHOICES = [(order.name, order.shown_name) for order in filters.ORDERS.values()]


ANY = "any"
SHOWN_FIELDS = ("flag", "status", "strength", "text")  # the others stand under “More filters”
GROUPS = {  # of those under “More filters”
    "Flag and strength": ("spread", "votes", "label_probability", "percentile"),
    "People and judges": (
        "people",
        "people_total",
        "people_for",
        "people_against",
        "people_tie",
        "people_both_bad",
        "ai_for",
        "ai_against",
        "annotator",
    ),
    "Text and source": (
        "source_preference",
        "checks",
        "origin",
        "topic",
        "turns",
        "characters",
        "longer",
        "import",
    ),
    "Decision": ("decided_by",),
    "Dates": ("decided", "imported"),
}
FORM_NAMES = {  # where the name of the field needs its sentence around it
    "votes": "Models that agree",
    "people": "What people say",
    "people_total": "People who judged",
    "annotator": "Labelled by",
    "characters": "Length",
    "longer": "Preferred longer by",
    "import": "Import number",
}
RANGES = (("_from", "from"), ("_to", "to"))


@dataclass(frozen=True)
class Asked:
    """One thing that can be asked for in a form: a field, or the two ends of a range."""

    name: str
    explanation: str
    fields: list[forms.BoundField]

    @property
    def is_range(self) -> bool:
        return len(self.fields) > 1


class FilterForm(forms.Form):
    """The filter of a list of pairs, to be changed: a field for everything that can be asked for,
    by the names that addresses have. What no field can show is `kept`."""

    def __init__(
        self, wanted: Filter, *, topics: Mapping[int, str] | None = None, ordered: bool = False
    ) -> None:
        query = QueryDict(wanted.as_query())
        self.kept: list[tuple[str, str]] = []
        self._topics = topics or {}
        initial: dict[str, str] = {}
        made: dict[str, forms.Field] = {}
        for asked in fields_for(Use.EXPLORE).values():
            for name, field in self._fields_of(asked):
                made[name] = field
                self._begin_with(name, field, query.getlist(name), initial)
        if ordered:
            usual = forms.Select(attrs={"data-usual": filters.DEFAULT_ORDER})
            made[filters.ORDER] = forms.ChoiceField(
                choices=ORDER_CHOICES, required=False, widget=usual
            )
            initial[filters.ORDER] = wanted.order
        super().__init__(initial=initial)
        self.fields.update(made)
        others = [name for name in query if name not in (*made, filters.ORDER)]
        self.kept += [(name, value) for name in others for value in query.getlist(name)]

    @property
    def more(self) -> list[forms.BoundField]:
        """The fields that are asked for less often."""
        shown = {
            name
            for asked in fields_for(Use.EXPLORE).values()
            if asked.name in SHOWN_FIELDS
            for name, _ in self._fields_of(asked)
        }
        return [self[name] for name in self.fields if name not in {*shown, filters.ORDER}]

    @property
    def groups(self) -> dict[str, list[Asked]]:
        """The same fields under headings, the two ends of a range together."""
        return {
            heading: [asked for name in names if (asked := self._asked(FIELDS[name])).fields]
            for heading, names in GROUPS.items()
        }

    @property
    def unseen(self) -> list[tuple[str, str]]:
        """What the filter asks for beyond the fields that are always shown."""
        more = [(field.name, self.initial[field.name]) for field in self.more if field.initial]
        return [*self.kept, *more]

    @property
    def asks_more(self) -> bool:
        """Whether the filter asks for one of those."""
        return any(field.name in self.initial for field in self.more)

    def _asked(self, asked: Field) -> Asked:
        names = [name for name, _ in self._fields_of(asked)]
        return Asked(_form_name(asked), asked.explanation, [self[name] for name in names])

    def _fields_of(self, asked: Field) -> Iterator[tuple[str, forms.Field]]:
        """The fields of the form for what is known of a pair, by their parameters."""
        label = _form_name(asked)
        name = filters.PARAMETERS.get(asked.name, asked.name)
        if asked.kind in (Kind.NUMBER, Kind.TIME):
            for ending, word in RANGES:
                yield name + ending, self._end(asked, f"{label} {word}", word)
        elif asked.choices or (asked.name == "topic" and self._topics):
            named = asked.choices or {str(each): name for each, name in self._topics.items()}
            choices = [("", ANY), *named.items()]
            yield name, forms.ChoiceField(choices=choices, required=False, label=label)
        elif asked.name != "similar_to":
            yield name, forms.CharField(required=False, max_length=conditions.LONGEST, label=label)

    def _end(self, asked: Field, label: str, word: str) -> forms.Field:
        if asked.kind is Kind.TIME:
            widget = forms.DateInput(attrs={"type": "date", "aria-label": label})
            return forms.DateField(required=False, label=label, widget=widget)
        number = forms.NumberInput(attrs={"placeholder": word, "aria-label": label})
        return forms.FloatField(required=False, label=label, widget=number)

    def _begin_with(
        self, name: str, field: forms.Field, given: Sequence[str], initial: dict[str, str]
    ) -> None:
        """Let the field show the values, or keep them where it cannot."""
        if not given:
            return
        known = dict(field.choices) if isinstance(field, forms.ChoiceField) else {}  # type: ignore[arg-type]  # no groups among them
        if isinstance(field, forms.ChoiceField) and all(value in known for value in given):
            initial[name] = ",".join(given)
            if len(given) > 1:
                together = " or ".join(str(known[value]) for value in given)
                field.choices = [*known.items(), (initial[name], together)]
        elif len(given) == 1 and not known and not _is_moment(field, given[0]):
            initial[name] = given[0]
        else:
            self.kept += [(name, value) for value in given]


def _form_name(asked: Field) -> str:
    """“Votes”, “Length”: how a form calls what can be asked for."""
    return FORM_NAMES.get(asked.name, asked.shown_name[0].upper() + asked.shown_name[1:])


def _is_moment(field: forms.Field, given: str) -> bool:
    """Whether a day is asked for and a time given."""
    return isinstance(field, forms.DateField) and "T" in given


FIRST, SECOND = "first", "second"


class ReviewForm(DecisionForm):
    """A verdict on the label, or, while the label is hidden, the response that is preferred."""

    verdict = forms.ChoiceField(
        required=False, choices=[*PERSONS_VERDICTS, ("a", "A better"), ("b", "B better")]
    )
    preferred = forms.ChoiceField(
        required=False, choices=[(FIRST, "first"), (SECOND, "second"), ("tie", "tie")]
    )
    blind = forms.BooleanField(required=False)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if bool(self.cleaned_data.get("verdict")) == bool(self.cleaned_data.get("preferred")):
            raise forms.ValidationError("Choose one verdict.")
        return cleaned


class RoundForm(forms.Form):
    """Who labels a slice of the dataset, and how often each pair."""

    name = forms.CharField(max_length=rounds.LONGEST_NAME)
    labels_per_pair = forms.IntegerField(
        initial=1,
        min_value=1,
        max_value=rounds.MOST_LABELS,
        label="Labels per pair",
        help_text="By as many people. Two or more show how far people agree.",
    )
    random_percent = forms.IntegerField(
        initial=10,
        min_value=0,
        max_value=100,
        label="Share at random, in %",
        help_text="The rest comes by priority, the most doubtful first. What is drawn at random "
        "speaks for the whole slice: it tells how many labels are wrong, not only how many of the "
        "doubtful ones.",
    )
    annotators = PersonField(
        queryset=User.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Only these people",
        help_text="Nobody chosen: everybody.",
    )

    def __init__(self, dataset: Dataset, data: QueryDict | None = None) -> None:
        name = f"Round {dataset.rounds.filter(pair=None).count() + 1}"
        super().__init__(data, initial={"name": name}, auto_id="round_%s")
        people: Any = self.fields["annotators"]  # a field of users, as declared above
        people.queryset = members_of(dataset)

    def values(self) -> dict[str, Any]:
        """What a round is started with."""
        given = dict(self.cleaned_data)
        share = given.pop("random_percent") / 100
        return {**given, "random_share": share}


class TrainingForm(forms.Form):
    """How an ensemble is trained; `cleaned_data` is what `launch.start_training` takes."""

    name = forms.CharField(max_length=60)
    recipe = forms.ChoiceField(
        required=False,
        help_text="What is done with labels, and by which loss members learn.",
    )
    run = RowField(
        queryset=ScoringRun.objects.none(),
        required=False,
        empty_label="the dataset's current one",
        label="Strengths and flags of run",
        help_text="For recipes that treat pairs by what a run found of them.",
    )
    responses = RowField(
        queryset=ResponseSet.objects.none(),
        required=False,
        empty_label="none",
        label="Sampled responses",
        help_text="For recipes that meta-train.",
    )
    members = forms.IntegerField(
        initial=launch.DEFAULT_MEMBERS,
        min_value=2,
        max_value=launch.MOST_MEMBERS,
        step_size=2,
        help_text="An even number: each couple shares the pairs between them.",
    )
    backbone = forms.ChoiceField(
        choices=[(name, name) for name in settings.BACKBONES],
        help_text="“minilm” comes with Curator; BACKBONES in the settings adds others.",
    )
    seed = forms.IntegerField(initial=0, min_value=0, max_value=2**31 - 1)
    bag_unit = forms.ChoiceField(
        choices=[
            ("pair", "pairs (finds more flips)"),
            ("prompt", "prompts (accuracy speaks of new prompts)"),
        ],
        label="Bags are halves of the",
    )

    def __init__(self, dataset: Dataset, data: QueryDict | None = None, **options: Any) -> None:
        super().__init__(data, **options)
        entries = recipe_book.entries(dataset)
        self.recipes = {entry.name: entry.recipe for entry in entries}
        chosen = cast("forms.ChoiceField", self.fields["recipe"])
        chosen.choices = recipe_book.grouped(self.recipes)
        chosen.initial = recipe_book.PLAIN
        querysets: dict[str, QuerySet[Any]] = {
            "run": ScoringRun.objects.finished().filter(dataset=dataset),
            "responses": dataset.response_sets.all(),
        }
        for name, queryset in querysets.items():
            cast("forms.ModelChoiceField[Any]", self.fields[name]).queryset = queryset

    def clean_recipe(self) -> Recipe | None:
        """The recipe that the name stands for."""
        return self.recipes.get(self.cleaned_data["recipe"])


if TYPE_CHECKING:
    CheckpointsField = forms.ModelMultipleChoiceField[Checkpoint]
else:
    CheckpointsField = forms.ModelMultipleChoiceField  # takes no type argument at run time


class MembersField(BoundedKeys, CheckpointsField):
    """Registered models to choose from, each with what it is."""

    def label_from_instance(self, obj: Checkpoint) -> str:
        architecture = obj.identity["architecture"].removesuffix("ForSequenceClassification")
        return f"{obj.name} ({architecture}, {obj.dtype})"


class AssemblyForm(forms.Form):
    """Which registered models, and which heads, make an ensemble of the dataset."""

    name = forms.CharField(max_length=60)
    checkpoints = MembersField(
        queryset=Checkpoint.objects.none(),
        widget=forms.CheckboxSelectMultiple,
        required=False,  # the refusal says more than “required”
        label="Registered models",
    )
    heads_of = forms.ModelChoiceField(
        queryset=Ensemble.objects.none(),
        required=False,
        empty_label="none: registered models alone",
        label="And the heads of",
    )

    def __init__(
        self,
        dataset: Dataset,
        data: QueryDict | None = None,
        *,
        among: QuerySet[Checkpoint],
    ) -> None:
        """`among` are the models that whoever assembles may use."""
        name = f"mixed-{dataset.ensembles.count() + 1}"
        super().__init__(data, initial={"name": name}, auto_id="assemble_%s")
        models: Any = self.fields["checkpoints"]
        models.queryset = among.filter(status=Work.Status.DONE).order_by("name")
        trained = dataset.ensembles.filter(training__status=Work.Status.DONE)
        heads: Any = self.fields["heads_of"]  # a ModelChoiceField, as declared above
        heads.queryset = trained


class CheckpointForm(forms.Form):
    """A reward model to register."""

    name = forms.CharField(max_length=60, help_text="Letters, digits, dots, hyphens and _.")
    reference = forms.CharField(
        max_length=300,
        label="Where it is",
        help_text=f"An id on the model hub, such as org/model, or a folder inside "
        f"{settings.CHECKPOINTS_FOLDER}.",
    )
    revision = forms.CharField(
        max_length=80, required=False, help_text="A commit or tag on the hub; none is the latest."
    )
    dtype = forms.ChoiceField(
        choices=Precision.choices,
        label="Precision",
        help_text="bfloat16 takes half of the memory; its scores are coarser.",
    )
    max_length = forms.IntegerField(
        min_value=0,
        max_value=2**31 - 1,
        required=False,
        label="Tokens it reads at most",
        help_text="Empty: its own limit.",
    )
    score_at = forms.ChoiceField(
        choices=[("", "not said"), *ScoreAt.choices],
        required=False,
        label="Score is read at",
        help_text="Needed only where the pad token also ends its texts: the test then asks for it.",
    )

    def clean_max_length(self) -> int:
        return self.cleaned_data["max_length"] or 0


SWITCHES = {
    "share_prefixes": ("Share prefixes", "What texts of one prompt begin with is read once."),
    "prune_last_layer": ("Prune the last layer", "Only scored tokens go all the way through it."),
    "share_trunks": ("Share trunks", "Layers that members have in common are run once."),
    "pack": ("Pack", "Decoders run without padding."),
    "sort_by_length": ("Sort by length", "Texts of like length share a batch."),
    "compile": ("Compile", "Slower to start, faster after."),
}
ENGINE_FIELDS = (*SWITCHES, "token_budget", "attention")


class ScoringForm(forms.Form):
    """How an ensemble is to score. What is left out of the engine's options is as by default."""

    mode = forms.ChoiceField(
        choices=Mode.choices,
        initial=Mode.OUT_OF_BAG,
        help_text="Out-of-bag asks, for each pair, only the members that were not trained on it: "
        "the way to find wrong labels. In-sample asks all of them, as the paper does; members then "
        "vouch for labels they have learnt by heart. Registered models saw none of the pairs and "
        "are asked of each in both modes.",
    )
    adaptive = forms.BooleanField(
        required=False,
        label="Adaptive: ask further members only while a pair’s flag is open",
        help_text="Of ten members, a pair then needs three or four, and 99 % of the likely flipped "
        "stay the same (measured on HH). It saves no time with heads, which share one pass of "
        "their backbone, and none with two members.",
    )
    token_budget = forms.IntegerField(
        min_value=0,
        max_value=2**31 - 1,
        required=False,
        initial=0,
        label="Tokens a batch",
        help_text="0 is what suits the device.",
    )
    attention = forms.ChoiceField(
        choices=[(name, name) for name in get_args(Attention)],
        required=False,
        help_text="“auto” is what the device does best.",
    )

    def __init__(self, data: QueryDict | None = None) -> None:
        super().__init__(data)
        defaults = EngineOptions().as_dict()
        for name, (label, help_text) in SWITCHES.items():
            self.fields[name] = forms.ChoiceField(
                choices=[(word, word) for word in SWITCH],
                initial="on" if defaults[name] else "off",
                required=False,
                label=label,
                help_text=help_text,
            )

    @property
    def engine_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in ENGINE_FIELDS]

    @property
    def has_engine_errors(self) -> bool:
        return any(name in self.errors for name in ENGINE_FIELDS)

    def options(self) -> EngineOptions:
        """The engine's options as the valid form has them."""
        given = {name: self.cleaned_data[name] for name in ENGINE_FIELDS}
        return EngineOptions.from_texts(
            {name: str(value) for name, value in given.items() if value not in ("", None)}
        )


class ComparisonForm(forms.Form):
    """Another run to compare this one with; `choices` is empty where there is none."""

    def __init__(self, run: ScoringRun, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self.choices = [
            (other.pk, f"run {other.pk}: {other.ensemble.name}, {other.get_mode_display()}")
            for other in comparing.others(run)
        ]
        self.fields["with"] = forms.TypedChoiceField(coerce=int, choices=self.choices)
