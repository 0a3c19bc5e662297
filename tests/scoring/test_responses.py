"""Files of sampled responses: what is fit is kept, what is not is told."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from annotations.models import Dataset
from curator.lib.refusals import Conflict, Forbidden
from scoring import responses
from scoring.models import ResponseSet
from scoring.responses import BadResponses, Report
from tests import factories

PLAIN = {"prompt": "Why?", "responses": ["Because.", "No idea."]}


def stored(
    dataset: Dataset, *rows: Any, name: str = "samples", by: Any = None
) -> tuple[ResponseSet, Report]:
    return responses.store(dataset=dataset, file=factories.file_of(rows), name=name, by=by)


def test_texts_and_messages_are_kept_as_messages(dataset: Dataset) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    answers = [[{"role": "assistant", "content": "Yes"}], "No"]
    row, report = stored(dataset, PLAIN, {"prompt": talk, "responses": answers})
    assert (report.read, report.kept, report.refused) == (2, 2, 0)
    assert (row.prompts, row.responses, row.scored) == (2, 4, 0)
    first, second = responses.read(row)
    assert first.prompt == [{"role": "user", "content": "Why?"}]
    assert second.prompt == talk
    assert [each[-1]["content"] for each in second.responses] == ["Yes", "No"]
    assert second.scores == [None, None]


def test_scores_stand_in_the_row_or_with_each_response(dataset: Dataset) -> None:
    each = [
        {"model": "one", "text": "A", "scores": [{"score": 1}, {"score": 4}]},
        {"model": "two", "text": "B", "score": 7},
    ]
    row, _ = stored(
        dataset,
        {**PLAIN, "scores": [1, 2.5]},
        {"prompt": "Who?", "responses": each},
        {**PLAIN, "prompt": "When?", "scores": [None, 1]},
    )
    assert [found.scores for found in responses.read(row)] == [[1.0, 2.5], [2.5, 7.0], [None, 1.0]]
    assert row.scored == 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"responses": ["a", "b"]}, "`prompt` is missing"),
        ({"prompt": "Why?"}, "`responses` must be a list, not missing"),
        ({"prompt": "Why?", "responses": ["a"]}, "from 2 to 1024 responses, not 1"),
        ({"prompt": "Why?", "responses": ["a", None]}, "a response is missing"),
        ({"prompt": "Why?", "responses": ["a", 3]}, "must be a list of messages, not a number"),
        ({**PLAIN, "scores": [1]}, "`scores` must be a list of 2 numbers"),
        ({**PLAIN, "scores": [1, "2"]}, "a score must be a number, not text"),
        ("not a row", "not valid JSON"),
    ],
)
def test_a_row_that_is_not_fit_is_counted_and_told(
    dataset: Dataset, bad: object, reason: str
) -> None:
    _, report = stored(dataset, PLAIN, bad)
    assert (report.kept, report.refused) == (1, 1)
    assert report.problems[0].startswith("Row 2: ")
    assert reason in report.problems[0]
    with pytest.raises(BadResponses, match="No row of the file"):
        stored(dataset, bad if isinstance(bad, dict) else "{", name="other")


def test_a_compressed_file_is_read_and_the_same_rows_have_the_same_digest(
    dataset: Dataset,
) -> None:
    plain, _ = stored(dataset, PLAIN)
    packed = io.BytesIO(gzip.compress(json.dumps(PLAIN).encode()))
    again, _ = responses.store(dataset=dataset, file=packed, name="again", by=None)
    assert plain.digest == again.digest
    assert list(responses.read(plain)) == list(responses.read(again))


def test_a_name_is_given_once(dataset: Dataset) -> None:
    stored(dataset, PLAIN)
    with pytest.raises(Conflict, match="has responses called 'samples' already"):
        stored(dataset, PLAIN)
    with pytest.raises(BadResponses, match="cannot name responses"):
        stored(dataset, PLAIN, name=" ")


def test_a_file_that_is_sent_twice_at_once_is_kept_once(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, _ = stored(dataset, PLAIN)
    folder = Path(row.file.path).parent
    files = sorted(folder.iterdir())
    # the name was free when both looked
    monkeypatch.setattr(responses, "_check_name", lambda row: None)
    with pytest.raises(Conflict, match="has responses called 'samples' already"):
        stored(dataset, PLAIN)
    assert ResponseSet.objects.get() == row
    assert sorted(folder.iterdir()) == files


def test_a_set_is_found_by_its_name(dataset: Dataset) -> None:
    with pytest.raises(BadResponses, match="none were imported yet"):
        responses.called(dataset, "samples")
    row, _ = stored(dataset, PLAIN)
    assert responses.called(dataset, "samples") == row
    with pytest.raises(BadResponses, match="there are: samples"):
        responses.called(dataset, "others")


def test_a_stranger_stores_nothing(dataset: Dataset) -> None:
    with pytest.raises(Forbidden):
        stored(dataset, PLAIN, by=factories.user("stranger"))


def test_a_file_that_is_none_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    for content, reason in ((b"", "The file is empty"), (b"PK\x03\x04", "zip archive")):
        with pytest.raises(BadResponses, match=reason):
            responses.store(dataset=dataset, file=io.BytesIO(content), name="x", by=None)
    with pytest.raises(BadResponses, match="cannot be read: No such file"):
        responses.store_from(dataset=dataset, path=tmp_path / "none", name="x", by=None)
