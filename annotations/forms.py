"""The forms of this app's pages. They check what the user typed; the work is done elsewhere."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils.http import urlencode
from django.utils.text import slugify

from annotations import keys, rounds
from annotations.adjudicating import RESOLUTIONS
from annotations.datasets import NotRules, check_aspects, check_every
from annotations.formats.golds import LONGEST_EXPLANATION
from annotations.formats.labels import LABELS
from annotations.formats.layouts import AUTO, LAYOUTS
from annotations.labelling import Answer, NotAnAnswer
from annotations.models import Dataset, Export, PreferencePair, Role, SkipReason, Verdict
from annotations.rendering import NOT_PLAIN, is_plain_name, plainly
from annotations.teams import Slice
from curator.models import User

LAYOUT_CHOICES = [
    (AUTO, "detect from the content"),
    *((layout.name, layout.shown_name) for layout in LAYOUTS),
    (LABELS, "labels of pairs that are there"),
]
PERSONS_VERDICTS = [
    (v.value, v.label) for v in (Verdict.KEEP, Verdict.FLIP, Verdict.TIE, Verdict.DROP)
]


Value = TypeVar("Value")

ASPECT_FIELD = "aspect:"  # and the aspect's name
LONGEST_KEY = 18  # digits, of which every database has room for any

GOLD_ANSWERS = [
    ("", "choose …"),
    ("a", "A is better"),
    ("b", "B is better"),
    ("tie", "a tie"),
    ("both_bad", "both bad"),
]


if TYPE_CHECKING:
    DatasetModelForm = forms.ModelForm[Dataset]
    UserField = forms.ModelMultipleChoiceField[User]
    AnyRowField = forms.ModelChoiceField[Any]
else:
    DatasetModelForm = forms.ModelForm  # takes no type argument at run time
    UserField = forms.ModelMultipleChoiceField
    AnyRowField = forms.ModelChoiceField


class DatasetForm(DatasetModelForm):
    slug = forms.CharField(
        required=False,
        max_length=60,
        help_text="In addresses and commands; made from the name if empty.",
    )

    class Meta:
        model = Dataset
        fields = ["name", "slug", "description", "guidelines"]
        widgets = {
            "description": forms.Textarea(attrs={"rows": 3}),
            "guidelines": forms.Textarea(attrs={"rows": 6}),
        }

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if not is_plain_name(name):
            raise forms.ValidationError(NOT_PLAIN)
        return name

    def clean_slug(self) -> str:
        return str(self.cleaned_data["slug"] or slugify(self.cleaned_data.get("name", ""))[:60])

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if not self.errors and not self.cleaned_data["slug"]:
            self.add_error(
                "slug", "No address can be made from this name: give one in small letters."
            )
        return cleaned


class ImportForm(forms.Form):
    file = forms.FileField(allow_empty_file=True)
    layout = forms.ChoiceField(choices=LAYOUT_CHOICES, initial=AUTO, label="Layout")


class DecisionForm(forms.Form):
    verdict = forms.ChoiceField(choices=PERSONS_VERDICTS)
    based_on = forms.IntegerField(required=False, min_value=1)
    reason = forms.CharField(required=False, max_length=2000)


class SnapshotForm(forms.Form):
    note = forms.CharField(required=False, max_length=300)


class ExportForm(forms.Form):
    format = forms.ChoiceField(choices=Export.Format.choices)


class AnswerForm(forms.Form):
    """An answer as a browser sends it. Whether it makes sense is asked where it is kept; here only
    its shape is read, so that a draft may be half of an answer."""

    choice = forms.CharField(required=False, max_length=20)
    strength = forms.IntegerField(required=False)
    rationale = forms.CharField(required=False)
    skip_reason = forms.ChoiceField(required=False, choices=SkipReason.choices)
    spans = forms.JSONField(required=False)
    seconds = forms.FloatField(required=False)
    based_on = forms.IntegerField(required=False)

    def comment(self) -> str:
        """What was remarked beside the answer and is not sent yet."""
        return str(self.data.get("comment", ""))

    def answer(self) -> Answer:
        """What can be read of it; a reason to skip makes it a skip."""
        self.full_clean()
        read = self.cleaned_data
        spans = read.get("spans")
        spans = spans if isinstance(spans, list) else []
        return Answer(
            choice="skip" if read.get("skip_reason") else read.get("choice") or "",
            strength=read.get("strength"),
            aspects=self._aspects(),
            rationale=read.get("rationale", ""),
            skip_reason=read.get("skip_reason", ""),
            spans=[one for one in spans if isinstance(one, dict)],
            seconds=read.get("seconds"),
        )

    def check(self) -> None:
        """Raises NotAnAnswer for marks that cannot be read: an answer is kept with them or not at
        all."""
        self.full_clean()
        spans = self.cleaned_data.get("spans") or []
        is_list = isinstance(spans, list) and all(isinstance(one, dict) for one in spans)
        if "spans" in self.errors or not is_list:
            raise NotAnAnswer(
                "The marks cannot be read: they are a list of objects in JSON, each with side, "
                "start, end and mark."
            )

    def based_on_label(self) -> int | None:
        return self.cleaned_data.get("based_on")

    def _aspects(self) -> dict[str, str]:
        """What was chosen for each aspect that the page asked about, by its name: the rules of the
        dataset may have changed since."""
        return {
            field.removeprefix(ASPECT_FIELD): str(chosen)
            for field, chosen in self.data.items()
            if field.startswith(ASPECT_FIELD) and chosen
        }


class KeysForm(forms.Form):
    """A key for each action. What is typed stays text, whatever it is."""

    def __init__(self, *arguments: Any, own: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        for action in keys.ACTIONS:
            self.fields[action.name] = forms.CharField(
                label=action.words,
                required=False,
                strip=False,
                max_length=8,
                initial=own[action.name],
                widget=forms.TextInput(
                    attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
                ),
            )

    def clean(self) -> dict[str, str]:
        chosen = {
            action.name: keys.normalised(self.cleaned_data.get(action.name, "").strip())
            for action in keys.ACTIONS
        }
        for name, sentence in keys.problems(chosen).items():
            if name not in self.errors:
                self.add_error(name, sentence)
        return chosen


class RulesForm(DatasetModelForm):
    """What annotators of a dataset are asked."""

    aspects = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One a line, such as helpful, honest, harmless. Annotators then also say which "
        "response is better in each.",
    )

    class Meta:
        model = Dataset
        fields = [
            *("guidelines", "aspects", "asks_strength", "requires_rationale"),
            *("gold_every", "repeat_every"),
        ]
        widgets = {"guidelines": forms.Textarea(attrs={"rows": 14})}
        labels = {
            "asks_strength": "Ask how much better: slightly, clearly, much",
            "requires_rationale": "Ask for a sentence that says why",
            "gold_every": "One gold pair in",
            "repeat_every": "One repeated pair in",
        }
        help_texts = {
            "guidelines": "In Markdown. Annotators have them beside every pair.",
            "asks_strength": "",
            "requires_rationale": "",
            "gold_every": "pairs, unannounced; 0 for none",
            "repeat_every": "pairs, with sides swapped; 0 for none",
        }

    def __init__(self, dataset: Dataset, data: QueryDict | None = None) -> None:
        shown = {"aspects": "\n".join(dataset.aspects)}
        super().__init__(data, instance=dataset, initial=shown)

    def clean_guidelines(self) -> str:
        return str(self.cleaned_data["guidelines"]).replace("\r\n", "\n")

    def clean_aspects(self) -> list[str]:
        lines = self.cleaned_data["aspects"].splitlines()
        names = [" ".join(line.split()) for line in lines if line.strip()]
        _checked_by(check_aspects, names)
        return names

    def clean_gold_every(self) -> int:
        return _checked_by(check_every, int(self.cleaned_data["gold_every"]))

    def clean_repeat_every(self) -> int:
        return _checked_by(check_every, int(self.cleaned_data["repeat_every"]))


def _checked_by(check: Callable[[Value], None], value: Value) -> Value:
    """The value, or the sentence with which the check refuses it beside its field."""
    try:
        check(value)
    except NotRules as refusal:
        raise forms.ValidationError(str(refusal)) from refusal
    return value


class PlaceForm(forms.Form):
    """Where in the queue of disputes the pair stood when it was shown."""

    place = forms.IntegerField(required=False, min_value=-(2**31), max_value=2**31 - 1)


class ResolutionForm(forms.Form):
    """A curator's word on a pair in dispute."""

    resolution = forms.ChoiceField(choices=[(one, one) for one in RESOLUTIONS])
    based_on = forms.IntegerField(required=False, min_value=1)
    seen = forms.IntegerField(required=False, min_value=0)
    reason = forms.CharField(required=False, max_length=2000)


class GoldForm(forms.Form):
    """What is right of a pair."""

    preference = forms.ChoiceField(choices=GOLD_ANSWERS, label="What is right")
    explanation = forms.CharField(
        required=False,
        max_length=LONGEST_EXPLANATION,
        widget=forms.Textarea(attrs={"rows": 2}),
        label="Why",
    )
    is_practice = forms.BooleanField(required=False, label="For practice, with feedback")


class GoldFileForm(forms.Form):
    file = forms.FileField(allow_empty_file=True)
    practice = forms.BooleanField(required=False, label="For practice, where a row does not say")


class BoundedKeys(forms.Field):
    """Choices of rows by key: one that no table can hold names none, as one that is not there."""

    def clean(self, value: Any) -> Any:
        keys = value if isinstance(value, list | tuple) else [value]
        if any(len(str(key)) > LONGEST_KEY for key in keys):
            raise forms.ValidationError("Choose from what is there.")
        return super().clean(value)


class RowField(BoundedKeys, AnyRowField):
    """A row to choose by its key."""


class PersonField(BoundedKeys, UserField):
    """A member of the dataset to choose."""

    def label_from_instance(self, obj: User) -> str:
        return plainly(obj.shown_name)


class SecondOpinionForm(forms.Form):
    """Who is asked for one more label of a pair, among those who have said nothing of it; nobody
    chosen: whoever comes first."""

    annotators = PersonField(
        queryset=User.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Only these people",
    )

    def __init__(self, pair: PreferencePair, data: QueryDict | None = None) -> None:
        super().__init__(data, auto_id="ask_%s")
        people: Any = self.fields["annotators"]  # a field of users, as declared above
        people.queryset = rounds.who_can_label(pair)


def members_of(dataset: Dataset) -> QuerySet[User]:
    """Who may be asked to label pairs of the dataset, by name."""
    active = User.objects.filter(memberships__dataset=dataset, memberships__ended_at=None)
    return active.filter(is_active=True).order_by("username")


class InviteForm(forms.Form):
    username = forms.CharField(
        max_length=150,
        help_text="What they sign in with, or already do.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        ),
    )
    full_name = forms.CharField(
        required=False, max_length=150, label="Full name", help_text="As others see them."
    )
    role = forms.ChoiceField(choices=Role.choices, initial=Role.ANNOTATOR)


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


class SliceForm(forms.Form):
    """Which pairs of the dataset, and whose labels of them. What is wrong is left out."""

    part = forms.ChoiceField(
        required=False,
        label="Pairs",
        choices=[
            ("", "all that are labelled"),
            ("dispute", "in dispute"),
            ("undecided", "undecided"),
            ("decided", "decided"),
        ],
    )
    round = forms.TypedChoiceField(required=False, coerce=int, empty_value=None)
    text = forms.CharField(required=False, max_length=200, label="Containing")
    voters = forms.ChoiceField(
        required=False,
        label="Labels of",
        choices=[
            ("people", "people"),
            ("ai", "people and AI judges"),
            ("all", "everybody, the source too"),
        ],
    )

    def __init__(self, dataset: Dataset, data: QueryDict) -> None:
        super().__init__(data)
        named = list(dataset.rounds.filter(pair=None).values_list("pk", "name"))
        rounds: Any = self.fields["round"]  # a TypedChoiceField, as declared above
        rounds.choices = [("", "any round"), *named]
        if not named:
            del self.fields["round"]

    def slice(self) -> Slice:
        """The slice that the valid fields ask for."""
        self.full_clean()
        read = self.cleaned_data
        return Slice(
            part=read.get("part", ""),
            round_id=read.get("round"),
            text=read.get("text", ""),
            voters=read.get("voters") or "people",
        )

    @property
    def question(self) -> str:
        """The slice as a query string."""
        return urlencode({name: value for name, value in self.cleaned_data.items() if value})
