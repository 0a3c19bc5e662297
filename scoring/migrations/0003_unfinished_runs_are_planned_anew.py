from django.db import migrations

OVER = ("done",)


def plan_anew(apps, schema_editor):
    """Shards had no members of their own before: what was not done is planned again."""
    training, scoring = apps.get_model("scoring", "TrainingRun"), apps.get_model("scoring", "ScoringRun")
    training.objects.filter(planned_at__isnull=False).update(plan_is_complete=True)
    scoring.objects.filter(status__in=OVER).update(plan_is_complete=True)
    unfinished = scoring.objects.exclude(status__in=OVER)
    apps.get_model("scoring", "ScoringShard").objects.filter(run__in=unfinished).delete()
    unfinished.update(planned_at=None, pairs_total=0)


class Migration(migrations.Migration):
    dependencies = [("scoring", "0002_registered_checkpoints_and_member_shards")]

    operations = [migrations.RunPython(plan_anew, migrations.RunPython.noop, elidable=True)]
