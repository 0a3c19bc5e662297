"""Files of any size to rows: JSON lines, JSON, CSV or Parquet, each optionally compressed, told
apart by content.

Rows come one at a time and memory does not grow with the file. What is wrong with one row becomes a
`BadRow` and the reading goes on; what is wrong with the file raises `UnreadableFile` with a
sentence for the user.
"""

import csv
import gzip
import io
import json
import lzma
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any, cast

import pyarrow
import pyarrow.parquet

LONGEST_LINE = 16 * 1024**2
CHUNK = 1 << 16
RATIO_FREE = 64 * 1024**2  # what a file may expand to before its ratio is looked at
HIGHEST_RATIO = 200
PARQUET_ROWS = 8  # at once: a dictionary makes a short file of long rows
GZIP, XZ, PARQUET, ZIP, ZSTD = (
    b"\x1f\x8b",
    b"\xfd7zXZ\x00",
    b"PAR1",
    b"PK\x03\x04",
    b"\x28\xb5\x2f\xfd",
)
UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# a whole string, a mark outside strings, or the quote of a string whose end is not read yet
JSON_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)


class UnreadableFile(ValueError):
    """The file as a whole cannot be read; the message says why."""


@dataclass(frozen=True)
class Row:
    """One row of a file: its line number (row number in JSON and Parquet) and its columns."""

    line: int
    columns: dict[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row that is not even a row."""

    line: int
    reason: str
    text: str = ""


class Counted(io.RawIOBase):
    """The raw file, counting what has been read of it: the import's progress."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class Decompressed(io.RawIOBase):
    """The decompressed bytes of a file, stopping at a bomb or at the cap."""

    def __init__(self, stream: IO[bytes], raw: Counted, *, cap: int, compressed: bool) -> None:
        self.stream, self.raw, self.cap, self.compressed = stream, raw, cap, compressed
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.stream.read(len(buffer))
        except EOFError as error:
            raise UnreadableFile(
                "The compressed file is cut off: it ends before its end mark. Fetch it again."
            ) from error
        except (OSError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
                raise
            raise UnreadableFile(f"The compressed file is damaged: {error}.") from error
        buffer[: len(data)] = data
        self.count += len(data)
        if self.count > self.cap:
            raise UnreadableFile(
                f"The file holds more than {self.cap / 1024**3:.3g} GiB of text: split it."
            )
        if (
            self.compressed
            and self.count > RATIO_FREE
            and self.count > HIGHEST_RATIO * max(self.raw.count, 1)
        ):
            raise UnreadableFile(
                f"The file expands more than {HIGHEST_RATIO}-fold: that is a decompression bomb, "
                f"not data."
            )
        return len(data)


class RowReader:
    """Reads one file. `container` says what it turned out to be, `bytes_read` how far into it we
    are."""

    def __init__(self, file: IO[bytes], *, cap: int) -> None:
        self._raw = Counted(file)
        self._file = file
        self._cap = cap
        self.container = ""

    @property
    def bytes_read(self) -> int:
        return self._raw.count

    def rows(self) -> Iterator[Row | BadRow]:
        """The rows in file order. Raises UnreadableFile."""
        with ExitStack() as stack:
            stream, compression = self._opened(stack)
            head = stream.peek(CHUNK)
            if head.startswith(PARQUET):
                self.container = "Parquet" + compression
                yield from _parquet_rows(self._seekable(stream, compression, stack), self._cap)
                return
            if head.startswith(UTF8_MARK):
                stream.read(len(UTF8_MARK))
                head = stream.peek(CHUNK)
            name, read = _text_reader(head)
            self.container = name + compression
            yield from read(stream)

    def _opened(self, stack: ExitStack) -> tuple[io.BufferedReader, str]:
        raw = io.BufferedReader(self._raw, CHUNK)
        head = raw.peek(len(XZ))
        if not head:
            raise UnreadableFile("The file is empty.")
        if head.startswith(ZIP):
            raise UnreadableFile("The file is a zip archive: unpack it and upload the file inside.")
        if head.startswith(ZSTD):
            raise UnreadableFile(
                "The file is compressed with zstd: unpack it, or compress it with gzip."
            )
        if head.startswith(GZIP):
            stream: Any = stack.enter_context(gzip.GzipFile(fileobj=raw))
            name = ", gzip"
        elif head.startswith(XZ):
            stream, name = stack.enter_context(lzma.LZMAFile(raw)), ", xz"
        else:
            stream, name = raw, ""
        bounded = Decompressed(stream, self._raw, cap=self._cap, compressed=bool(name))
        opened: Any = io.BufferedReader(bounded, CHUNK)
        if not opened.peek(1):
            raise UnreadableFile("The file is empty.")
        return opened, name

    def _seekable(self, stream: IO[bytes], compression: str, stack: ExitStack) -> IO[bytes]:
        """Parquet is read from its end: unpack it to disk where it is compressed as a whole."""
        if not compression:
            self._file.seek(0)
            return self._file
        unpacked = stack.enter_context(tempfile.TemporaryFile())
        while chunk := stream.read(CHUNK):
            unpacked.write(chunk)
        unpacked.seek(0)
        return cast("IO[bytes]", unpacked)


def _text_reader(head: bytes) -> tuple[str, Callable[[io.BufferedReader], Iterator[Row | BadRow]]]:
    """How to read a text file that begins like this."""
    if head.startswith(UTF16_MARKS) or b"\x00" in head[:4]:
        raise UnreadableFile("The file is not UTF-8 (it looks like UTF-16): save it as UTF-8.")
    start = head.lstrip()[:1]
    if not start:
        raise UnreadableFile("The file is empty.")
    if start == b"[":
        return "JSON", _json_rows
    if start == b"{":
        return "JSON lines", _json_lines
    return "CSV", _csv_rows


def _lines(stream: io.BufferedReader) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines without their ends; None for a line that is too long, which is skipped
    without being kept."""
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) <= LONGEST_LINE:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(CHUNK)
        yield number, None


def _json_lines(stream: io.BufferedReader) -> Iterator[Row | BadRow]:
    for number, line in _lines(stream):
        if line is None:
            yield BadRow(number, f"the line is longer than {LONGEST_LINE // 1024**2} MiB")
        elif line.strip():
            yield _json_row(number, line.strip())


def _json_row(number: int, line: bytes) -> Row | BadRow:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        reason = f"not valid UTF-8 at byte {error.start + 1} of the row"
        return BadRow(number, reason, line[:80].decode(errors="replace"))
    try:
        value = STRICT_JSON.decode(text)
    except RecursionError:
        return BadRow(number, "nested too deeply", text[:80])
    except ValueError as error:
        return BadRow(number, f"not valid JSON: {error}"[:300], text[:80])
    if not isinstance(value, dict):
        return BadRow(number, "not a JSON object", text[:80])
    return Row(number, value)


def _json_rows(stream: io.BufferedReader) -> Iterator[Row | BadRow]:
    for number, element in enumerate(_elements(stream), start=1):
        yield _json_row(number, element.strip())


def _elements(stream: io.BufferedReader) -> Iterator[bytes]:
    """The text of each element of a JSON array, without holding more than one.

    Only strings, brackets and commas are told apart here: what an element holds is parsed as a line
    of JSON lines is, so that both are as strict, and none can nest deeper than memory allows.
    """
    text, start, at, depth, count = b"", 0, 0, 0, 0
    while data := stream.read(max(CHUNK, len(text) // 4)):
        text, start, at = text[start:] + data, 0, at - start
        for token in JSON_MARK.finditer(text, at):
            mark, at = token[0], token.end()
            if mark in (b"[", b"{"):
                depth += 1
                start = at if depth == 1 else start
                continue
            if mark in (b"]", b"}"):
                depth -= 1
            if mark == b'"':
                at = token.start()
                break
            if depth == 0 or (depth == 1 and mark == b","):
                element = text[start : token.start()]
                if count or depth or element.strip():
                    count += 1
                    yield element
                start = at
            if depth == 0:
                if mark != b"]" or text[at:].strip() or stream.read(CHUNK).strip():
                    raise UnreadableFile(f"The JSON is not one array: it errs at row {count}.")
                return
        else:
            at = len(text)
        if len(text) - start > LONGEST_LINE:
            raise UnreadableFile(
                f"One row of the JSON array is longer than {LONGEST_LINE // 1024**2} MiB."
            )
    raise UnreadableFile(f"The JSON breaks off after row {count}.")


def _csv_rows(stream: io.BufferedReader) -> Iterator[Row | BadRow]:
    """Rows of a table with a header. Bytes that are not UTF-8 become lone surrogates, which the
    row check refuses."""
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(_csv_lines(stream), strict=True)
    try:
        header = [name.strip() for name in next(reader)]
    except (csv.Error, StopIteration) as error:
        raise UnreadableFile(
            f"The file is neither JSON, Parquet nor a CSV table: {error}"
        ) from error
    if len(header) < 2 or len(set(header)) != len(header) or not all(header):
        raise UnreadableFile(
            "The file is neither JSON nor Parquet, and its first line is not a CSV header."
        )
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UnreadableFile(
                f"The CSV is broken at line {line}: {error}. Is a quote missing?"
            ) from error
        if not cells:
            continue
        if len(cells) != len(header):
            yield BadRow(
                line,
                f"it has {len(cells)} cells where the header has {len(header)}",
                ",".join(cells)[:80],
            )
            continue
        yield Row(line, _from_cells(dict(zip(header, cells, strict=True))))


def _csv_lines(stream: io.BufferedReader) -> Iterator[str]:
    for number, line in _lines(stream):
        if line is None:
            raise UnreadableFile(
                f"Line {number} of the CSV is longer than {LONGEST_LINE // 1024**2} MiB."
            )
        yield line.decode(errors="surrogateescape")


def _from_cells(cells: dict[str, str]) -> dict[str, Any]:
    """A table keeps structures as JSON text: read messages, labels and meta as what they stand
    for."""
    return {name: _structure(name, cell) for name, cell in cells.items()}


def _structure(name: str, cell: str) -> Any:
    """What the cell spells, or the cell itself where it is but text that looks like JSON, as an
    answer in code may."""
    if name in ("labels", "meta") and not cell.strip():
        return None
    if cell.lstrip()[:1] not in ("[", "{"):
        return cell
    try:
        value = json.loads(cell, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return cell
    if name in ("labels", "meta"):
        return value
    is_messages = (
        bool(value)
        and isinstance(value, list)
        and all(isinstance(item, dict) and "role" in item for item in value)
    )
    return value if is_messages else cell


def _parquet_rows(file: IO[bytes], cap: int) -> Iterator[Row | BadRow]:
    number, decoded = 0, 0
    try:
        table = pyarrow.parquet.ParquetFile(file)
        for batch in table.iter_batches(batch_size=PARQUET_ROWS):
            decoded += batch.nbytes
            if batch.nbytes > PARQUET_ROWS * LONGEST_LINE:
                raise UnreadableFile(
                    f"A row after row {number} is longer than {LONGEST_LINE // 1024**2} MiB."
                )
            if decoded > cap:
                raise UnreadableFile(
                    f"The file holds more than {cap / 1024**3:.3g} GiB of text: split it."
                )
            for columns in batch.to_pylist():
                number += 1
                yield Row(number, _as_json(columns))
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            f"The Parquet file holds text that is not UTF-8 after row {number}."
        ) from error
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise UnreadableFile(
            f"The Parquet file is damaged or cut off after row {number}: {error}"[:300]
        ) from error


def _as_json(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns as JSON would hold them: times and decimals as text, bytes as the text they
    are."""
    value: dict[str, Any] = json.loads(json.dumps(columns, default=_as_text))
    return value


def _as_text(value: object) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object names the same key twice")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


STRICT_JSON = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
