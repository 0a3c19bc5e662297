"""The standing of every pair that there is, from the pair as it stood; the words of the search; and
what holds again by each undo. In batches, and harmless to repeat.
"""

import re

from django.db import migrations, models

BATCH = 500
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
FTS5 = (
    "CREATE VIRTUAL TABLE annotations_pairtext USING fts5("
    "words, content='', contentless_delete=1, tokenize=\"unicode61 remove_diacritics 0\")"
)
COLUMNS = ("verdict", "review_priority", "people_a", "people_b", "people_tie", "people_both_bad")
TSVECTOR = (
    "CREATE TABLE annotations_pairtext (pair_id bigint PRIMARY KEY, document tsvector NOT NULL)",
    "CREATE INDEX annotations_pairtext_document ON annotations_pairtext USING gin (document)",
)
ADD = {
    "sqlite": "INSERT OR REPLACE INTO annotations_pairtext (rowid, words) VALUES (%s, %s)",
    "postgresql": "INSERT INTO annotations_pairtext (pair_id, document)"
    " VALUES (%s, to_tsvector('simple', %s))"
    " ON CONFLICT (pair_id) DO UPDATE SET document = EXCLUDED.document",
}


def make_search(apps, schema_editor):
    statements = TSVECTOR if schema_editor.connection.vendor == "postgresql" else (FTS5,)
    for statement in statements:
        schema_editor.execute(statement)


def drop_search(apps, schema_editor):
    schema_editor.execute("DROP TABLE annotations_pairtext")


def fill(apps, schema_editor):
    Pair = apps.get_model("annotations", "PreferencePair")
    last = 0
    while True:
        pairs = Pair.objects.filter(pk__gt=last).select_related("imported_in", "decision")
        batch = list(pairs.order_by("pk")[:BATCH])
        if not batch:
            return
        last = batch[-1].pk
        _fill(apps, schema_editor.connection, batch)


def _fill(apps, connection, batch):
    Standing = apps.get_model("annotations", "PairStanding")
    ai = _ai_counts(apps, batch)
    rows = [_standing(Standing, pair, ai) for pair in batch]
    Standing.objects.bulk_create(rows, ignore_conflicts=True)
    with connection.cursor() as cursor:
        words = [(pair.pk, " ".join(WORD.findall(pair.search_text[:200_000]))) for pair in batch]
        cursor.executemany(ADD[connection.vendor], words)


def _standing(Standing, pair, ai):
    a, b = _characters(pair.response_a), _characters(pair.response_b)
    said = [str(pair.meta.get(name) or "").strip() for name in ("source", "subset")]
    return Standing(
        pair=pair,
        dataset_id=pair.dataset_id,
        imported_in_id=pair.imported_in_id,
        source_preference=pair.source_preference,
        origin=(" / ".join(filter(None, said)) or pair.imported_in.file_name)[:80],
        turns=len(pair.prompt),
        characters=_characters(pair.prompt) + a + b,
        longer_a=a - b,
        decision_id=pair.decision_id,
        decided_by="person" if pair.verdict else "",
        decided_at=pair.decision.created_at if pair.verdict and pair.decision else None,
        ai_a=ai.get((pair.pk, "a"), 0),
        ai_b=ai.get((pair.pk, "b"), 0),
        **{name: getattr(pair, name) for name in COLUMNS},
    )


def _ai_counts(apps, batch):
    Label = apps.get_model("annotations", "Label")
    said = Label.objects.filter(
        pair__in=batch, annotator__kind="ai", successor=None, occasion="", preference__in=["a", "b"]
    )
    rows = said.order_by().values_list("pair", "preference").annotate(count=models.Count("pk"))
    return {(pair, side): count for pair, side, count in rows}


def _characters(messages):
    return sum(len(message["content"]) for message in messages)


def name_what_undos_restore(apps, schema_editor):
    """Facts are not edited; this says of them what they always said, in a column that is new."""
    Decision = apps.get_model("annotations", "Decision")
    guarded = schema_editor.connection.vendor == "postgresql"
    if guarded:
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        schema_editor.execute("ALTER TABLE annotations_decision DISABLE TRIGGER USER")
    undos = models.QuerySet(Decision).filter(undoes__isnull=False).select_related(
        "undoes__supersedes"
    )
    for undo in undos.order_by("pk"):
        before = undo.undoes.supersedes
        if before is not None and before.undoes_id is not None:
            before = models.QuerySet(Decision).get(pk=before.pk).restores
        models.QuerySet(Decision).filter(pk=undo.pk).update(restores=before)
    if guarded:
        schema_editor.execute("ALTER TABLE annotations_decision ENABLE TRIGGER USER")


class Migration(migrations.Migration):
    dependencies = [("annotations", "0005_standings")]

    operations = [
        migrations.RunPython(make_search, drop_search),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunPython(name_what_undos_restore, migrations.RunPython.noop),
    ]
