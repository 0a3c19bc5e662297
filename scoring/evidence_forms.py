"""The forms of the page of evidence: how many labels to draw, and how many flips to plant."""

from django import forms

from scoring import sampling

MOST_PAIRS = 1_000_000


class SampleForm(forms.Form):
    size = forms.IntegerField(label="Labels to draw", min_value=1, max_value=MOST_PAIRS)
    seed = forms.IntegerField(
        required=False, min_value=0, max_value=sampling.MOST_SEEDS, help_text="of the chance"
    )


class MoreForm(forms.Form):
    more = forms.IntegerField(label="More labels", initial=100, min_value=1, max_value=MOST_PAIRS)


class AuditForm(forms.Form):
    """How many labels of a copy to flip: in percent, as shares are shown."""

    share = forms.FloatField(
        label="Labels to flip, in percent", initial=10, min_value=1, max_value=49
    )


class PlantForm(AuditForm):
    seed = forms.IntegerField(label="Seed", initial=0, min_value=0, max_value=sampling.MOST_SEEDS)
