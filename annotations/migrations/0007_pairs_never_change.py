from django.db import migrations


class Migration(migrations.Migration):
    """What changes of a pair is its standing's by now."""

    dependencies = [("annotations", "0006_fill_standings")]

    operations = [
        migrations.RemoveField(
            model_name='preferencepair',
            name='decision',
        ),
        migrations.RemoveField(
            model_name='preferencepair',
            name='people_a',
        ),
        migrations.RemoveField(
            model_name='preferencepair',
            name='people_b',
        ),
        migrations.RemoveField(
            model_name='preferencepair',
            name='people_both_bad',
        ),
        migrations.RemoveField(
            model_name='preferencepair',
            name='people_tie',
        ),
        migrations.RemoveField(
            model_name='preferencepair',
            name='review_priority',
        ),
        migrations.RemoveField(
            model_name='preferencepair',
            name='search_text',
        ),
        migrations.RemoveField(
            model_name='preferencepair',
            name='verdict',
        ),
    ]
