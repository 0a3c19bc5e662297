"""The forms of this app's pages. They check what the user typed; the work is done elsewhere."""

from typing import Any

from django import forms
from django.conf import settings
from django.http import QueryDict

from annotations.models import Verdict
from scoring import comparing, exploring, launch
from scoring.models import Flag, Mode, ScoringRun

FLAG_CHOICES = [
    ("", "any flag"),
    *Flag.choices,
    (exploring.UNFLAGGED, "prefers neither"),
    (exploring.UNSCORED, "not scored yet"),
]
STATUS_CHOICES = [
    ("", "any status"),
    (exploring.UNDECIDED, "undecided"),
    *((v.value, v.label) for v in (Verdict.KEEP, Verdict.FLIP, Verdict.TIE, Verdict.DROP)),
]
ORDER_CHOICES = [(order.name, order.shown_name) for order in exploring.ORDERS.values()]


class ExploreForm(forms.Form):
    """Every field is optional; what is wrong is said beside the field and left out of the
    filter."""

    flag = forms.ChoiceField(choices=FLAG_CHOICES, required=False)
    status = forms.ChoiceField(choices=STATUS_CHOICES, required=False)
    text = forms.CharField(required=False, max_length=200)
    strength_from = forms.FloatField(required=False, label="Strength from")
    strength_to = forms.FloatField(required=False, label="Strength to")
    order = forms.ChoiceField(choices=ORDER_CHOICES, required=False)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        low, high = self.cleaned_data.get("strength_from"), self.cleaned_data.get("strength_to")
        if low is not None and high is not None and low > high:
            self.add_error("strength_to", f"Less than {low:g}.")
        return cleaned

    def filters(self) -> exploring.Filters:
        """The filter that the valid fields ask for."""
        self.full_clean()
        given = {
            name: value for name, value in self.cleaned_data.items() if value not in ("", None)
        }
        return exploring.Filters(**given)


class TrainingForm(forms.Form):
    name = forms.CharField(max_length=60)
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


class ScoringForm(forms.Form):
    mode = forms.ChoiceField(choices=Mode.choices, initial=Mode.OUT_OF_BAG)


class AuditForm(forms.Form):
    share = forms.FloatField(initial=0.1, min_value=0.01, max_value=0.49)


class ComparisonForm(forms.Form):
    """Another run to compare this one with; `choices` is empty where there is none."""

    def __init__(self, run: ScoringRun, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self.choices = [
            (other.pk, f"run {other.pk}: {other.ensemble.name}, {other.get_mode_display()}")
            for other in comparing.others(run)
        ]
        self.fields["with"] = forms.TypedChoiceField(coerce=int, choices=self.choices)
