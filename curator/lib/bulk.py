"""Many rows at once: copies inside the database, which Python never sees, and what its planner has
to know of them."""

import json
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models, router
from django.db.models.expressions import RawSQL


def insert_from_select(
    model: type[models.Model], columns: list[str], rows: models.QuerySet[Any, Any]
) -> int:
    """INSERT INTO the model's `columns` (field names) the rows of a `values_list` query in the same
    order.

    Returns how many rows were inserted. Constraints are the database's to keep; there are no
    defaults, so name every column that has no database default.
    """
    connection = connections[router.db_for_write(model)]
    quote = connection.ops.quote_name
    fields = {field.name: str(field.column) for field in model._meta.concrete_fields}
    into = ", ".join(quote(fields[name]) for name in columns)
    select, parameters = rows.query.get_compiler(connection=connection).as_sql()
    table = quote(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({into}) {select}", parameters)
        return int(cursor.rowcount)


def among(ids: Iterable[int]) -> RawSQL:
    """The ids, to filter by (`pk__in=among(ids)`): one parameter however many they are."""
    if connections[router.db_for_write(models.Model)].vendor == "postgresql":
        return RawSQL("SELECT unnest(%s::bigint[])", [list(ids)])
    return RawSQL("SELECT value FROM json_each(%s)", [json.dumps(list(ids))])


def asked_once(ids: models.QuerySet[Any, Any]) -> RawSQL | models.QuerySet[Any, Any]:
    """The ids of a `values` query, to filter by: found first, and on their own.

    Where PostgreSQL joins the query instead and takes its rows for fewer than they are, it goes
    through the others again for each of them.
    """
    connection = connections[router.db_for_read(ids.model)]
    if connection.vendor != "postgresql":
        return ids  # asked once anyhow
    try:
        select, parameters = ids.query.get_compiler(connection=connection).as_sql()
    except EmptyResultSet:
        return ids.none()
    return RawSQL(f"SELECT unnest(ARRAY({select}))", parameters)  # noqa: S611 - as Django has it


def refresh_statistics(*kinds: type[models.Model]) -> None:
    """Let PostgreSQL count the rows of these tables now.

    A table that is filled and emptied again is often vacuumed while it is empty. From then on,
    however many rows it holds, it is planned for as if it had one, and joins over it take the
    square of their number, until autovacuum comes by. SQLite plans by its indexes alone.
    """
    for kind in kinds:
        connection = connections[router.db_for_write(kind)]
        if connection.vendor != "postgresql":
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {connection.ops.quote_name(kind._meta.db_table)}")
