"""The forms that confirm decisions on many pairs at once."""

from typing import Any

from django import forms

from annotations.conditions import Clause
from annotations.models import Verdict
from annotations.proposals import Bulk

LONGEST_REASON = 2000
LONGEST_SHOWN = 10_000
CHOICES = [
    (str(Verdict.KEEP), "keep the labels"),
    (str(Verdict.FLIP), "flip them"),
    (str(Verdict.TIE), "call the pairs ties"),
    (str(Verdict.SOFTEN), "soften the labels"),
    (str(Verdict.DROP), "drop the pairs"),
]


class ConfirmForm(forms.Form):
    """What was shown, sent back by the button that confirms it, and why it is done."""

    shown = forms.CharField(widget=forms.HiddenInput, max_length=LONGEST_SHOWN)
    reason = forms.CharField(
        max_length=LONGEST_REASON,
        required=False,
        help_text="For whoever asks later; it stands on the batch.",
    )


class UndoForm(forms.Form):
    """Why a batch is taken back."""

    reason = forms.CharField(max_length=LONGEST_REASON, required=False)


class BulkForm(forms.Form):
    """One verdict for all pairs of a filter."""

    verdict = forms.ChoiceField(choices=CHOICES, widget=forms.RadioSelect, label="Decide to")
    alpha = forms.FloatField(
        initial=0.1,
        min_value=0,
        max_value=0.4999,
        required=False,
        label="α, for “soften the labels”",
        help_text="The label then counts for 1 − α; below 0.5.",
        error_messages={"max_value": "α is below 0.5: beyond it, it would be a flip."},
    )
    overrules_people = forms.BooleanField(
        required=False,
        label="Also the pairs that people have decided",
        help_text="Otherwise they stay as they are.",
    )
    reason = forms.CharField(
        max_length=LONGEST_REASON,
        required=False,
        help_text="Every decision of the batch carries it.",
    )

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        is_softening = self.cleaned_data.get("verdict") == Verdict.SOFTEN
        if is_softening and self.cleaned_data.get("alpha") is None and "alpha" not in self.errors:
            self.add_error("alpha", "Say how far to soften: 0.1 is usual.")
        if not is_softening:
            self.errors.pop("alpha", None)  # nobody asks for it, and the page does not show it
        return cleaned

    def bulk(self, clauses: tuple[Clause, ...], *, seen: int | None = None) -> Bulk:
        """What the valid form asks for, of the pairs that meet the clauses."""
        verdict = self.cleaned_data["verdict"]
        alpha = self.cleaned_data.get("alpha")
        softened = (
            round(1.0 - alpha, 12) if verdict == Verdict.SOFTEN and alpha is not None else None
        )
        return Bulk(
            clauses=clauses,
            verdict=verdict,
            probability=softened,
            overrules_people=self.cleaned_data["overrules_people"],
            seen=seen,
        )
