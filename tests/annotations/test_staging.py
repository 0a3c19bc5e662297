"""What is staged is known to the database's planner before it is joined over."""

import pytest
from django.db import connection

from annotations.models import StagedLabel, StagedPair
from tests import factories

pytestmark = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="only PostgreSQL plans by counts of rows"
)


def rows_planned_for(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE relname = %s", [table])
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_tables_that_were_vacuumed_empty_are_not_planned_for_as_empty() -> None:
    """Deleting what an import of 2,000 pairs had staged took half an hour, because the tables had
    been vacuumed after the import before it."""
    into = factories.dataset("staged")
    tables = [kind._meta.db_table for kind in (StagedPair, StagedLabel)]
    factories.pairs(into, 3)
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"VACUUM ANALYZE {table}")
    assert [rows_planned_for(table) for table in tables] == [0, 0]
    done = factories.imported(into, [factories.row(number) for number in range(3, 43)])
    assert done.created == 40
    assert [rows_planned_for(table) for table in tables] == [40, 40]
