from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('annotations', '0012_dataset_calibration'),
    ]

    operations = [
        migrations.AddField(
            model_name='dataset',
            name='scores_being_written_by',
            field=models.CharField(blank=True, db_default='', default='', help_text='whose scores its standings are being given just now, such as run 7; else blank', max_length=40),
        ),
    ]
