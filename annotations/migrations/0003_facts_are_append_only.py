"""Let the database itself refuse to change a fact, whoever asks: code, a shell, or another client.

A later migration that alters one of these tables makes SQLite build it anew, without the trigger:
repeat `guard` after it. A test looks for the triggers.
"""

from django.db import migrations

TABLES = (
    "annotations_label",
    "annotations_decision",
    "annotations_snapshot",
    "annotations_snapshotpair",
)
SENTENCE = "facts are appended, never edited"

POSTGRESQL_FUNCTION = f"""
CREATE OR REPLACE FUNCTION annotations_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '{SENTENCE}: %', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$
"""


def guard(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL_FUNCTION, params=None)  # its % is no placeholder
    for table in TABLES:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(
                f"CREATE TRIGGER {table}_is_append_only BEFORE UPDATE ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION annotations_refuse_change()"
            )
        elif schema_editor.connection.vendor == "sqlite":
            schema_editor.execute(
                f"CREATE TRIGGER {table}_is_append_only BEFORE UPDATE ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{SENTENCE}: {table}'); END"
            )


def unguard(apps, schema_editor):
    on_table = schema_editor.connection.vendor == "postgresql"
    for table in TABLES:
        where = f" ON {table}" if on_table else ""
        schema_editor.execute(f"DROP TRIGGER {table}_is_append_only{where}")
    if on_table:
        schema_editor.execute("DROP FUNCTION annotations_refuse_change()")


class Migration(migrations.Migration):
    dependencies = [("annotations", "0002_initial")]
    operations = [migrations.RunPython(guard, unguard)]
