"""Dataset cards: what they say, and that what people typed stays text in Markdown and in YAML."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from annotations import cards, decisions, describing, rendering, snapshots
from annotations.cards import Card, Scored
from annotations.models import Annotator, Dataset, Verdict
from curator.lib.append_only import AppendOnlyError
from curator.lib.intervals import Estimate
from curator.models import User
from scoring import freezing
from tests import factories

SCORED = Scored(
    words="run 3",
    mode="out-of-bag",
    ensemble="heads",
    members=10,
    made_of="heads on minilm",
    accuracy=0.712,
    flag_names={"flipped": "likely flipped", "clear": "clear"},
    noise=["From the scores, 8.0% of the labels are wrong, 95 % interval 5.0% to 11.0%."],
)
CARD = Card(
    slug="pairs",
    name="Pairs",
    description="From Tulu, CC-BY-4.0.",
    number=2,
    digest="ab" * 32,
    frozen_on="2026-11-21",
    frozen_by="casey",
    note="",
    pairs=2000,
    prompts=1500,
    labelled=1900,
    verdicts={"": 1500, "keep": 200, "flip": 200, "drop": 100},
    preferences={"a": 950, "b": 850, "tie": 100, "": 100},
    origins=[("tulu", 1200), ("hh", 700)],
    flags={"flipped": 150, "clear": 1750, "": 100},
    by_people=300,
    by_people_in_bulk=40,
    policies=[cards.AppliedPolicy("conservative", "cd" * 32, 200)],
    labels={"people": 400},
    annotators={"people": 3},
    agreement=[cards.Agreement("Krippendorff's alpha", Estimate(0.61, 0.55, 0.67), 120)],
    checks=[cards.FoundByCheck("Empty", "A response is empty.", 4)],
    prefers_a=950,
    prefers_longer=1300,
    unequal=1900,
    unreviewed=50,
    scored=SCORED,
)
HOSTILE = [
    'x"\n---\nlicense: mit\n',
    "# heading\n\n[a link](https://evil.example)",
    "![picture](https://evil.example/x.png)",
    "<script>alert(1)</script>",
    "| a | b |\n| --- | --- |",
    "`code` **bold** _it_ ~~gone~~",
    "\\(x\\) and $$y$$",
    "===",
    "---",
    "- list\n1. numbers",
    "&lt;b&gt; &#42;",
    "\u202egnp.\u2066x",
    "a\x00b\x1b\u2028c\x85d\ufeff\ufffe",
    "{{ template }} {% x %}",
]


def front_matter(text: str) -> dict[str, Any]:
    """The keys of the front matter, as far as ours go: texts in JSON, plain words, lists."""
    _, matter, _ = text.split("---\n", 2)
    found: dict[str, Any] = {}
    key = ""
    for line in matter.splitlines():
        if line.startswith("- "):
            found[key].append(line[2:])
            continue
        key, _, value = line.partition(":")
        found[key] = (json.loads(value) if value.startswith(' "') else value.strip()) or []
    return found


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ .*$", cards.body(text), flags=re.MULTILINE)


def test_the_card_says_what_was_asked_of_it() -> None:
    text = cards.write(CARD)
    for words in (
        "2,000 preference pairs of 1,500 prompts",
        "| label flipped | 200 | 10.0% |",
        "| tulu | 1,200 | 60.0% |",
        "| others | 100 | 5.0% |",
        f"- conservative, digest `{'cd' * 32}`: 200 pairs",
        "0.61, 95 % interval 0.55 to 0.67, on 120 pairs",
        "8.0% of the labels are wrong",
        "| Empty | A response is empty. | 4 | 0.2% |",
        "longer one in 68% of the pairs",
        "50 likely flipped labels stand as they came",
        "arXiv:2401.06080",
        "pairs-snapshot2-abababababab.trl-reward.jsonl",
    ):
        assert words in text


def test_the_front_matter_is_what_the_hub_reads() -> None:
    assert front_matter(cards.write(CARD)) == {
        "pretty_name": "Pairs",
        "license": "cc-by-4.0",
        "task_categories": ["text-generation"],
        "size_categories": ["1K<n<10K"],
        "tags": ["preference", "reward-model", "rlhf", "dpo", "trl", "curator"],
    }


@pytest.mark.parametrize(
    ("rows", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**8, "n>10M")],
)
def test_sizes_are_called_as_on_the_hub(rows: int, category: str) -> None:
    assert cards.size_category(rows) == category


@pytest.mark.parametrize(
    ("description", "licence"),
    [
        ("", "unknown"),
        ("our own annotators, internal", "unknown"),
        ("Licence: Apache-2.0", "apache-2.0"),
        ("MIT", "mit"),
        ("permitted use, submit a form", "unknown"),
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
        ("MIT code, CC-BY-4.0 texts", "other"),
        ("CC-BY-4.0.1", "unknown"),
    ],
)
def test_a_licence_is_named_where_the_description_names_one(description: str, licence: str) -> None:
    assert cards.licence_in(description) == licence


@pytest.mark.parametrize("said", [*HOSTILE, "\n\n".join(HOSTILE)])
def test_what_people_typed_stays_text(said: str) -> None:
    plain = cards.write(CARD)
    scored = replace(SCORED, ensemble=said)
    policy = cards.AppliedPolicy(said, "cd" * 32, 1)
    text = cards.write(
        replace(
            CARD,
            name=said,
            description=f"{said} CC-BY-4.0",
            frozen_by=said,
            note=said,
            origins=[(said, 1)],
            policies=[policy],
            scored=scored,
        )
    )
    assert set(front_matter(text)) == set(front_matter(plain))
    assert front_matter(text)["tags"] == front_matter(plain)["tags"]
    assert len(headings(text)) == len(headings(plain))
    page = rendering.to_html(cards.body(text))
    assert page is not None
    for element in ("<script", "<a ", "<img", "<strong>", "<em>", "<s>", "<h1", "<math"):
        assert element not in page
    for mark in "\u202e\u2066\x00\x1b\u2028\x85":
        assert mark not in text
    assert page.count("<table>") == (rendering.to_html(cards.body(plain)) or "").count("<table>")


@given(name=st.text(min_size=1), description=st.text())
def test_no_name_breaks_the_front_matter(name: str, description: str) -> None:
    found = front_matter(cards.write(replace(CARD, name=name, description=description)))
    assert found["pretty_name"] == (cards.one_line(name) or [])
    assert set(found) == set(front_matter(cards.write(CARD)))


def test_files_written_later_are_added_to_the_end() -> None:
    text = cards.write(CARD)
    file = cards.File("pairs.trl-dpo.jsonl", 1800, {"dropped": 100}, "ef" * 32)
    assert cards.with_files(text, []) == text
    with_file = cards.with_files(text, [file])
    assert with_file.startswith(text)
    assert f"| `pairs.trl-dpo.jsonl` | 1,800 | 100 dropped | `{'ef' * 32}` |" in with_file


# --- Gathered from a dataset ----------------------------------------------------------------------


def test_a_snapshot_describes_itself(dataset: Dataset, casey: User) -> None:
    one, two, three, _ = factories.pairs(dataset, 4)
    factories.judged(dataset, {one.pk: (-1.0, "flipped"), two.pk: (1.0, "clear")})
    decisions.decide(pair=two, verdict=Verdict.FLIP, by=casey, based_on=None)
    for name in ("ben", "cleo"):
        ben = Annotator.objects.create(dataset=dataset, name=name, kind="human")
        factories.said(ben, three, "b")
    snapshot = freezing.freeze(dataset=dataset, by=casey)
    card = describing.describe(snapshot, None)
    assert (card.pairs, card.prompts, card.labelled, card.by_people) == (4, 4, 4, 1)
    assert (card.verdicts, card.flags) == (
        {"": 3, "flip": 1},
        {"flipped": 1, "clear": 1, "": 2},
    )
    assert (card.labels, card.annotators) == ({"people": 6}, {"people": 3})
    assert (card.unreviewed, card.prefers_a, card.prefers_longer) == (1, 4, 4)
    assert "likely flipped | 1 |" in snapshot.card.text


def test_a_card_is_written_once(dataset: Dataset, casey: User) -> None:
    factories.pairs(dataset, 2)
    snapshot = freezing.freeze(dataset=dataset, by=casey)
    written = snapshot.card
    Dataset.objects.filter(pk=dataset.pk).update(name="Renamed")
    assert freezing.freeze(dataset=dataset, by=casey).card == written
    assert describing.keep(snapshot, SCORED) == written
    written.text = "better than it is"
    with pytest.raises(AppendOnlyError):
        written.save()


def test_a_snapshot_of_old_gets_its_card_when_asked(dataset: Dataset, casey: User) -> None:
    factories.pairs(dataset, 2)
    snapshot = snapshots.freeze(dataset=dataset, by=casey)
    assert describing.of_snapshot(snapshot) is None
    freezing.write_card(snapshot)
    found = describing.of_snapshot(snapshot)
    assert found is not None
    assert "No ensemble of reward models has scored this snapshot." in found.text


def test_a_card_that_is_written_late_dates_what_is_not_frozen(
    dataset: Dataset, casey: User
) -> None:
    factories.pairs(dataset, 2)
    snapshot = snapshots.freeze(dataset=dataset, by=casey)
    assert "later than the snapshot" not in cards.write(describing.describe(snapshot, SCORED))
    snapshot.created_at -= timedelta(days=40)
    text = cards.write(describing.describe(snapshot, SCORED))
    dated = f"As of {timezone.now():%Y-%m-%d}, when this card was written, later than the snapshot"
    assert text.count(dated) == 3
    for heading in ("How far people agree", "How many labels are wrong", "What the texts tell"):
        assert f"## {heading}\n\n{dated}" in text
