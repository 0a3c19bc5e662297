"""Full-text search over pairs: FTS5 on SQLite, a GIN index over tsvector on PostgreSQL.

The words stand in a table of their own, `annotations_pairtext`, which the migrations make and no
model describes; it is derived from the pairs and is never read but to search. What is searched are
the words that `annotations.words` finds, so that both databases find the same pairs.
"""

from collections.abc import Sequence
from typing import Any

from django.db import connections, router
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from annotations.models import PairStanding
from annotations.words import Term, terms_of

ADDED = {
    "sqlite": "INSERT OR REPLACE INTO annotations_pairtext (rowid, words) {select}",
    "postgresql": "INSERT INTO annotations_pairtext (pair_id, document)"
    " SELECT pair_id, to_tsvector('simple', words) FROM ({select}) AS chosen (pair_id, words)"
    " ON CONFLICT (pair_id) DO UPDATE SET document = EXCLUDED.document",
}
FOUND = {
    "sqlite": "SELECT rowid FROM annotations_pairtext WHERE annotations_pairtext MATCH %s",
    "postgresql": "SELECT pair_id FROM annotations_pairtext WHERE document @@"
    " to_tsquery('simple', %s)",
}


def add(rows: QuerySet[Any, Any]) -> None:
    """Let the search know of pairs: a `values_list` query of ids and words, copied inside the
    database."""
    connection = connections[router.db_for_write(PairStanding)]
    select, parameters = rows.query.get_compiler(connection=connection).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(ADDED[connection.vendor].format(select=select), parameters)


def matching(text: str) -> RawSQL | list[int]:
    """The ids of the pairs that hold all words of the text, each from its beginning, to filter by;
    `"as a phrase"`, `-without`. Nothing where the text holds no word that is wanted."""
    terms = terms_of(text)
    if not any(wanted for wanted, _ in terms):
        return []
    vendor = connections[router.db_for_read(PairStanding)].vendor
    query = {"sqlite": _fts5, "postgresql": _tsquery}[vendor](terms)
    return RawSQL(FOUND[vendor], [query])  # noqa: S611 - a constant, and the query is a parameter


def _fts5(terms: Sequence[Term]) -> str:
    wanted = [_fts5_phrase(words) for is_wanted, words in terms if is_wanted]
    unwanted = [_fts5_phrase(words) for is_wanted, words in terms if not is_wanted]
    return " NOT ".join([f"({' AND '.join(wanted)})", *unwanted])


def _fts5_phrase(words: Sequence[str]) -> str:
    return f'"{" ".join(words)}"*'


def _tsquery(terms: Sequence[Term]) -> str:
    return " & ".join(("" if is_wanted else "!") + _tsphrase(words) for is_wanted, words in terms)


def _tsphrase(words: Sequence[str]) -> str:
    return "(" + " <-> ".join([*(f"'{word}'" for word in words[:-1]), f"'{words[-1]}':*"]) + ")"
