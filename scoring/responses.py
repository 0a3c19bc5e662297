"""Files of prompts with several responses each, sampled from a policy: read, checked, and kept for
recipes that meta-train on them and experiments that choose the best of them.

A row is {"prompt", "responses": […], "scores": […]}; prompt and responses are texts or lists of
messages, and a response may be an object with `text` and scores of its own.
"""

import gzip
import hashlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.db import IntegrityError, transaction

from annotations import permissions
from annotations.formats.containers import BadRow, Row, RowReader, UnreadableFile
from annotations.formats.parsed import RowError, check_storable, kind_of
from annotations.formats.trl import column_of
from annotations.models import Dataset
from curator.lib import digests
from curator.lib.refusals import Conflict, Refusal
from curator.models import User
from scoring.models import ResponseSet

Messages = Sequence[Any]  # each with a role and its content

FEWEST_RESPONSES = 2  # of a prompt
MOST_RESPONSES = 1024
SHOWN_PROBLEMS = 20


class BadResponses(Refusal):
    """A file holds no sampled responses, or there is no set of that name."""


@dataclass(frozen=True)
class Sampled:
    """A prompt and what a policy answered; None where a response has no score."""

    prompt: Messages
    responses: list[Messages]
    scores: list[float | None]

    @property
    def is_scored(self) -> bool:
        """Whether all its responses have a score."""
        return None not in self.scores

    def as_dict(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "responses": self.responses, "scores": self.scores}


@dataclass
class Report:
    """What became of the rows of a file."""

    read: int = 0
    kept: int = 0
    refused: int = 0
    scored: int = 0
    responses: int = 0
    problems: list[str] = field(default_factory=list)  # of the first rows that were refused

    def refuse(self, line: int, reason: str) -> None:
        self.refused += 1
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(f"Row {line}: {reason}")


def store(
    *, dataset: Dataset, file: IO[bytes], name: str, by: User | None
) -> tuple[ResponseSet, Report]:
    """Keep the rows of a file (JSON lines, JSON or Parquet, compressed or not) that are fit to be
    kept, and report on the others. Raises BadResponses where none is. `by` is None on the command
    line of the machine."""
    if by is not None:
        permissions.check_can_curate(by, dataset)
    row = ResponseSet(dataset=dataset, name=name.strip(), created_by=by)
    _check_name(row)
    report = Report()
    with tempfile.TemporaryFile() as kept:
        _copy(file, kept, report)
        if not report.kept:
            reason = f" {report.problems[0]}" if report.problems else ""
            raise BadResponses(f"No row of the file holds a prompt with responses.{reason}")
        kept.seek(0)
        row.digest = hashlib.file_digest(kept, "sha256").hexdigest()
        kept.seek(0)
        row.prompts, row.responses, row.scored = report.kept, report.responses, report.scored
        stored = f"responses/{dataset.pk}/{row.digest[:16]}.jsonl.gz"
        row.file.name = row.file.storage.save(stored, File(kept))
    try:
        with transaction.atomic():
            row.save()
    except Exception as error:
        row.file.storage.delete(row.file.name)
        if isinstance(error, IntegrityError):  # sent twice at once
            raise _is_taken(row) from error
        raise
    return row, report


def store_from(
    *, dataset: Dataset, path: Path, name: str, by: User | None
) -> tuple[ResponseSet, Report]:
    """`store` of a file on this machine. Raises BadResponses where there is none."""
    try:
        with path.open("rb") as file:
            return store(dataset=dataset, file=file, name=name, by=by)
    except OSError as error:
        raise BadResponses(f"{path} cannot be read: {error.strerror}.") from error


def called(dataset: Dataset, name: str) -> ResponseSet:
    """The set of the name. Raises BadResponses naming those there are."""
    row = dataset.response_sets.filter(name=name).first()
    if row is None:
        known = ", ".join(dataset.response_sets.values_list("name", flat=True))
        raise BadResponses(
            f"{dataset.slug} has no responses “{name}”; "
            + (f"there are: {known}." if known else "none were imported yet.")
        )
    return row


def read(row: ResponseSet) -> Iterator[Sampled]:
    """The prompts of a set, in the file's order."""
    with row.file.open("rb") as file, gzip.GzipFile(fileobj=file) as lines:
        for line in lines:
            yield Sampled(**json.loads(line))


def parse(columns: Mapping[str, Any]) -> Sampled:
    """A row of a file. Raises RowError."""
    check_storable(columns, name="row")
    prompt = column_of(columns.get("prompt"), name="prompt")
    if not prompt:
        raise RowError("`prompt` is missing")
    written = columns.get("responses")
    if not isinstance(written, list):
        raise RowError(f"`responses` must be a list, not {kind_of(written)}")
    if not FEWEST_RESPONSES <= len(written) <= MOST_RESPONSES:
        raise RowError(
            f"a prompt needs from {FEWEST_RESPONSES} to {MOST_RESPONSES} responses, not "
            f"{len(written)}"
        )
    return Sampled(
        prompt=[{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt,
        responses=[_response(each) for each in written],
        scores=_scores(columns.get("scores"), written),
    )


def _copy(file: IO[bytes], into: IO[bytes], report: Report) -> None:
    reader = RowReader(file, cap=settings.MAX_IMPORT_BYTES)
    try:
        # without name and time, so that the same rows are the same file
        with gzip.GzipFile(filename="", fileobj=into, mode="wb", mtime=0) as lines:
            for row in reader.rows():
                report.read += 1
                found = _parsed(row, report)
                if found is None:
                    continue
                lines.write(f"{digests.canonical_json(found.as_dict())}\n".encode())
                report.kept += 1
                report.responses += len(found.responses)
                report.scored += found.is_scored
    except UnreadableFile as error:
        raise BadResponses(str(error)) from error


def _parsed(row: Row | BadRow, report: Report) -> Sampled | None:
    if isinstance(row, BadRow):
        report.refuse(row.line, f"{row.reason}.")
        return None
    try:
        return parse(row.columns)
    except RowError as error:
        report.refuse(row.line, f"{error}.")
        return None


def _response(written: object) -> Messages:
    text = written.get("text") if isinstance(written, dict) else written
    found = column_of(text, name="responses")
    if found is None:
        raise RowError("a response is missing")
    if not found:
        raise RowError("a response has no message")
    return [{"role": "assistant", "content": found}] if isinstance(found, str) else found


def _scores(written: object, responses: list[Any]) -> list[float | None]:
    """The scores of the row, else those that the responses carry."""
    if written is None:
        return [_own_score(each) for each in responses]
    if not isinstance(written, list) or len(written) != len(responses):
        raise RowError(f"`scores` must be a list of {len(responses)} numbers, one a response")
    return [None if each is None else _number(each) for each in written]


def _own_score(response: object) -> float | None:
    """The response's own score: the mean of what its annotators gave it."""
    if not isinstance(response, dict):
        return None
    given = response.get("score")
    if given is not None:
        return _number(given)
    several = response.get("scores") or []
    if not isinstance(several, list) or not all(isinstance(each, dict) for each in several):
        raise RowError("`scores` of a response must be a list of objects with `score`")
    numbers = [_number(each.get("score")) for each in several if each.get("score") is not None]
    return math.fsum(numbers) / len(numbers) if numbers else None


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        return float(value)
    raise RowError(f"a score must be a number, not {kind_of(value)}")


def _check_name(row: ResponseSet) -> None:
    try:
        ResponseSet._meta.get_field("name").clean(row.name, None)
    except ValidationError as error:
        message = " ".join(error.messages)
        raise BadResponses(f"{row.name!r} cannot name responses: {message}") from error
    if ResponseSet.objects.filter(dataset=row.dataset, name=row.name).exists():
        raise _is_taken(row)


def _is_taken(row: ResponseSet) -> Conflict:
    return Conflict(
        f"{row.dataset.name} has responses called {row.name!r} already: choose another name."
    )
