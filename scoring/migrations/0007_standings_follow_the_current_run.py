"""What standings take from their dataset's current run, where that ended before there were
standings. Those that carry a run already are left alone, so that it is harmless to repeat."""

from django.db import migrations
from django.db.models import Case, F, OuterRef, Subquery, Value, When

BATCH = 1000
FIGURES = ("strength", "spread", "votes", "label_probability", "percentile")


def hand_over(apps, schema_editor):
    Dataset = apps.get_model("annotations", "Dataset")
    for dataset in Dataset.objects.order_by("pk"):
        run = _current(apps, dataset)
        if run is not None:
            _fill(apps, dataset, run)


def _current(apps, dataset):
    """The latest run that is done, an out-of-bag one where there is any."""
    done = apps.get_model("scoring", "ScoringRun").objects.filter(dataset=dataset, status="done")
    in_sample = Case(When(mode="out-of-bag", then=0), default=1)
    return done.order_by(in_sample, "-pk").first()


def _fill(apps, dataset, run):
    PairScore = apps.get_model("scoring", "PairScore")
    standings = apps.get_model("annotations", "PairStanding").objects.filter(
        dataset=dataset, run_id=None
    )
    last = 0
    while True:
        some = PairScore.objects.filter(run=run, pair__gt=last).order_by("pair")
        ids = list(some.values_list("pair", flat=True)[:BATCH])
        if not ids:
            return
        last = ids[-1]
        standings.filter(pk__in=ids).update(**_figures(PairScore, run))


def _figures(PairScore, run):
    """No figures where there is no label for them to speak for."""
    scores = PairScore.objects.filter(run=run, pair=OuterRef("pk"))
    flagged = scores.exclude(flag="").annotate(priority=-F("strength"))
    found = {name: Subquery(flagged.values(name)[:1]) for name in FIGURES}
    return found | {
        "run_id": Value(run.pk),
        "flag": Subquery(scores.values("flag")[:1]),
        "review_priority": Subquery(flagged.values("priority")[:1]),
    }


class Migration(migrations.Migration):
    dependencies = [
        ("annotations", "0006_fill_standings"),
        ("scoring", "0006_calibrationuse"),
    ]

    operations = [migrations.RunPython(hand_over, migrations.RunPython.noop)]
