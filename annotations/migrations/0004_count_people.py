from django.db import migrations, transaction
from django.db.models import Count, IntegerField, Max, Min, OuterRef, Subquery
from django.db.models.functions import Coalesce

STEP = 5_000  # ids of pairs


def count_people(apps, schema_editor):
    """Let every pair that people labelled say what they hold of it: a stretch in a transaction, so
    that no table is rewritten at once. Stopped on the way, it may simply run again."""
    PreferencePair = apps.get_model("annotations", "PreferencePair")
    Label = apps.get_model("annotations", "Label")
    by_people = Label.objects.filter(annotator__kind="human")
    said = by_people.filter(pair=OuterRef("pk"), successor=None, occasion="")

    def count(preference):
        rows = said.filter(preference=preference).order_by().values("pair")
        counted = Subquery(rows.annotate(count=Count("pk")).values("count"))
        return Coalesce(counted, 0, output_field=IntegerField())

    counts = {f"people_{name}": count(name) for name in ("a", "b", "tie", "both_bad")}
    ends = PreferencePair.objects.aggregate(first=Min("pk"), last=Max("pk"))
    for first in range(ends["first"] or 0, (ends["last"] or -1) + 1, STEP):
        end = first + STEP
        labelled = by_people.filter(pair_id__gte=first, pair_id__lt=end).values("pair_id")
        with transaction.atomic():
            pairs = PreferencePair.objects.filter(pk__in=labelled).order_by("pk")
            held = pairs.select_for_update(no_key=True).values_list("pk", flat=True)
            PreferencePair.objects.filter(pk__in=list(held)).update(**counts)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("annotations", "0003_labelling")]
    operations = [migrations.RunPython(count_people, migrations.RunPython.noop, elidable=True)]
