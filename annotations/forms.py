"""The forms of this app's pages. They check what the user typed; the work is done elsewhere."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.text import slugify

from annotations.formats.layouts import AUTO, LAYOUTS
from annotations.models import Dataset, Export, Verdict

LAYOUT_CHOICES = [
    (AUTO, "detect from the content"),
    *((layout.name, layout.shown_name) for layout in LAYOUTS),
]
PERSONS_VERDICTS = [
    (v.value, v.label) for v in (Verdict.KEEP, Verdict.FLIP, Verdict.TIE, Verdict.DROP)
]


if TYPE_CHECKING:
    DatasetModelForm = forms.ModelForm[Dataset]
else:
    DatasetModelForm = forms.ModelForm  # takes no type argument at run time


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
