"""Let the database itself refuse to change a fact, whoever asks: our code, a shell, another client.

Set after every migration, because SQLite builds an altered table anew and drops its triggers.
"""

from typing import Any

from django.apps import apps
from django.db import connections

from curator.lib.append_only import AppendOnly

SENTENCE = "facts are appended, never edited"
SQLITE = """
CREATE TRIGGER IF NOT EXISTS {table}_is_append_only BEFORE UPDATE ON {table}
BEGIN SELECT RAISE(ABORT, '{sentence}: {table}'); END
"""
POSTGRESQL_FUNCTION = """
CREATE OR REPLACE FUNCTION annotations_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '{sentence}: %', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$
"""
POSTGRESQL = """
CREATE OR REPLACE TRIGGER {table}_is_append_only BEFORE UPDATE ON {table}
FOR EACH ROW EXECUTE FUNCTION annotations_refuse_change()
"""


def set_guards(*, using: str, **_: Any) -> None:
    """Heard after `migrate`: every table of facts gets its trigger, if it lacks it."""
    connection = connections[using]
    models = [model for model in apps.get_models() if issubclass(model, AppendOnly)]
    there = connection.introspection.table_names()
    trigger = {"sqlite": SQLITE, "postgresql": POSTGRESQL}.get(connection.vendor)
    if trigger is None:
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(POSTGRESQL_FUNCTION.format(sentence=SENTENCE))
        for table in (model._meta.db_table for model in models):
            if table in there:
                cursor.execute(trigger.format(table=table, sentence=SENTENCE))
