"""Files of every container give the same rows, and a file that is no file of rows says so."""

import csv
import gzip
import io
import json
import lzma
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.formats import containers
from annotations.formats.containers import BadRow, Row, RowReader, UnreadableFile
from annotations.formats.reading import PairReader, ReadPair, Refused

NO_CAP = 1 << 40
MIB = 1024**2

Columns = dict[str, Any]

ROWS: list[Columns] = [
    {"id": "1", "prompt": 'Say "hi",\nplease', "response_a": "hi", "response_b": "nö, 不"},
    {"id": "2", "prompt": "Q\r\n\r\nmore", "response_a": '"', "response_b": "[not JSON"},
    {"id": "3", "prompt": " ", "response_a": "a,b;c\td", "response_b": "{}"},
]
ROW = json.dumps(ROWS[0])


class Stream(io.RawIOBase):
    """A file whose bytes are made as they are read."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self.parts = iter(parts)
        self.rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.rest = self.rest or next(self.parts, b"")
        data, self.rest = self.rest[: len(buffer)], self.rest[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def reading(data: bytes | Iterable[bytes], *, cap: int = NO_CAP) -> Iterator[Row | BadRow]:
    file = io.BytesIO(data) if isinstance(data, bytes) else io.BufferedReader(Stream(data))
    return RowReader(cast("io.BytesIO", file), cap=cap).rows()


def read(data: bytes | Iterable[bytes], *, cap: int = NO_CAP) -> list[Row | BadRow]:
    return list(reading(data, cap=cap))


def columns_of(data: bytes) -> list[Columns]:
    rows = read(data)
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.columns for row in rows if isinstance(row, Row)]


def outcomes(data: bytes | Iterable[bytes]) -> list[tuple[int, str]]:
    """Line and reason of each row; no reason for a row that was read."""
    return [(row.line, row.reason if isinstance(row, BadRow) else "") for row in read(data)]


def refusals(data: bytes) -> list[str]:
    """Why each row of pairs is refused."""
    read_rows = list(PairReader(io.BytesIO(data), cap=NO_CAP).pairs())
    assert all(isinstance(row, Refused) for row in read_rows), read_rows
    return [row.reason for row in read_rows if isinstance(row, Refused)]


def json_lines(rows: list[Columns]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def json_array(rows: list[Columns]) -> bytes:
    return json.dumps(rows, indent=2).encode()


def csv_table(rows: list[Columns]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def parquet(rows: list[Columns]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


def plain(data: bytes) -> bytes:
    return data


WRITERS = {"JSON lines": json_lines, "JSON": json_array, "CSV": csv_table, "Parquet": parquet}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": plain,
    ", gzip": gzip.compress,
    ", xz": lzma.compress,
}


# --- The same rows from every container


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("container", WRITERS)
def test_the_container_is_told_by_content_and_gives_the_rows(
    container: str, compression: str
) -> None:
    data = COMPRESSIONS[compression](WRITERS[container](ROWS))
    reader = RowReader(io.BytesIO(data), cap=NO_CAP)
    assert [row.columns for row in reader.rows() if isinstance(row, Row)] == ROWS
    assert reader.container == container + compression


@pytest.mark.parametrize("container", ["JSON lines", "JSON", "CSV"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_byte_order_mark_is_not_part_of_the_text(container: str, compression: str) -> None:
    data = b"\xef\xbb\xbf" + WRITERS[container](ROWS)
    assert columns_of(COMPRESSIONS[compression](data)) == ROWS


def test_a_file_compressed_in_several_parts_is_read_to_its_end() -> None:
    parts = b"".join(gzip.compress(json_lines([row])) for row in ROWS)
    assert columns_of(parts) == ROWS


def test_what_has_been_read_of_the_file_is_counted_before_decompression() -> None:
    data = gzip.compress(json_lines(ROWS * 100))
    reader = RowReader(io.BytesIO(data), cap=NO_CAP)
    assert len(list(reader.rows())) == 300
    assert reader.bytes_read == len(data)


def test_rows_are_numbered_by_line_in_json_lines_and_csv() -> None:
    blank_between = f"{ROW}\n\n  \n{ROW}".encode()
    assert outcomes(blank_between) == [(1, ""), (4, "")]
    over_two_lines = b'a,b\r\n1,"x\r\ny"\r\n\r\n2,z\r\n'
    assert [row.line for row in read(over_two_lines)] == [2, 5]


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT | st.sampled_from(['"', "\\", '\\"', "[{", "]}", ","]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    st.lists(st.dictionaries(ANY_TEXT, ANY_JSON, max_size=4), max_size=5),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(1, 40),
)
def test_an_array_of_any_objects_gives_these_objects_however_it_is_cut(
    rows: list[Columns], indent: int | None, is_ascii: bool, chunk: int
) -> None:
    data = json.dumps(rows, indent=indent, ensure_ascii=is_ascii).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(containers, "CHUNK", chunk)
        assert columns_of(data) == rows


@given(
    st.lists(
        st.fixed_dictionaries(
            {"x": st.text("ab \"',\r\n;", max_size=8), "y": st.text('c\n"', min_size=1)}
        ),
        min_size=1,
    )
)
def test_a_table_of_any_texts_gives_these_texts(rows: list[Columns]) -> None:
    assert columns_of(csv_table(rows)) == rows


# --- Cells that stand for structures


def test_a_table_keeps_messages_labels_and_meta_as_json() -> None:
    messages = [{"role": "user", "content": "Why?"}]
    labels = [{"annotator": "anna", "label": "a"}]
    row = {"prompt": messages, "labels": labels, "meta": {"lang": "en"}}
    [columns] = columns_of(csv_table([{key: json.dumps(value) for key, value in row.items()}]))
    assert columns == row


@pytest.mark.parametrize("cell", ["[1, 2]", '{"role": "user"}', "[]", "[[[", "{x}", "[NaN]"])
def test_a_text_that_only_looks_like_json_stays_text(cell: str) -> None:
    assert columns_of(csv_table([{"response_a": cell, "response_b": "x"}]))[0]["response_a"] == cell


def test_an_empty_cell_for_labels_means_none() -> None:
    assert columns_of(b"labels,meta,x\n, ,1\n") == [{"labels": None, "meta": None, "x": "1"}]


def test_parquet_types_that_json_lacks_become_text() -> None:
    row = {"at": datetime(2024, 5, 1, tzinfo=UTC), "cost": Decimal("1.50"), "raw": b"hi"}
    [columns] = columns_of(parquet([row]))
    assert columns == {"at": "2024-05-01 00:00:00+00:00", "cost": "1.50", "raw": "hi"}


def test_parquet_bytes_that_are_no_text_are_refused() -> None:
    rows = [{"prompt": "p", "response_a": b"\xff", "response_b": "y"}]
    assert "not valid Unicode" in refusals(parquet(rows))[0]


# --- Files without rows, or in another encoding


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("data", [b"", b"\n\n  \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
def test_a_file_without_text_is_called_empty(data: bytes, compression: str) -> None:
    with pytest.raises(UnreadableFile, match="The file is empty"):
        read(COMPRESSIONS[compression](data))


@pytest.mark.parametrize("data", [b"[]", b" [ \n ] \n", b"prompt,response_a,response_b\n"])
def test_a_container_without_rows_gives_none(data: bytes) -> None:
    assert read(data) == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("container", ["JSON lines", "JSON", "CSV"])
def test_utf_16_is_refused_with_advice(container: str, encoding: str) -> None:
    data = WRITERS[container](ROWS).decode().encode(encoding)
    with pytest.raises(UnreadableFile, match="save it as UTF-8"):
        read(data)


@pytest.mark.parametrize("container", ["JSON lines", "JSON", "CSV"])
def test_rows_in_latin_1_are_refused_one_by_one(container: str) -> None:
    row = {"prompt": "p", "response_a": "x", "response_b": "schön"}
    latin = {
        "JSON lines": json_lines([row]),
        "JSON": json.dumps([row], ensure_ascii=False).encode(),
        "CSV": csv_table([row]),
    }[container].replace("ö".encode(), b"\xf6")
    [reason] = refusals(latin)
    assert "UTF-8" in reason


def test_a_row_in_another_encoding_does_not_stop_the_next() -> None:
    data = b'{"a": "\xf6"}\n{"a": "fine"}\n'
    assert outcomes(data) == [(1, "not valid UTF-8 at byte 8 of the row"), (2, "")]


@pytest.mark.parametrize(
    "data", [b"hello\nworld\n", b"null", b"123", b"a,a\n1,2\n", b"a,\n1,2\n", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_file_of_rows_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableFile, match="neither JSON"):
        read(data)


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (b"PK\x03\x04rest", "zip archive: unpack it"),
        (b"\x28\xb5\x2f\xfdrest", "zstd: unpack it, or compress it with gzip"),
    ],
)
def test_archives_that_are_not_read_are_refused_with_advice(data: bytes, advice: str) -> None:
    with pytest.raises(UnreadableFile, match=advice):
        read(data)


# --- Files that are damaged


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("cut", [12, 40, -1, -9])
def test_a_compressed_file_that_is_cut_off_is_told_so(
    compress: Callable[[bytes], bytes], cut: int
) -> None:
    data = compress(json_lines([{"n": str(number) * 7} for number in range(500)]))
    with pytest.raises(UnreadableFile, match="cut off: it ends before its end mark"):
        read(data[:cut])


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_compressed_file_that_is_damaged_is_told_so(compress: Callable[[bytes], bytes]) -> None:
    data = bytearray(compress(json_lines([{"n": str(number) * 7} for number in range(500)])))
    for place in range(len(data) // 2, len(data) // 2 + 40):
        data[place] ^= 0x5A
    with pytest.raises(UnreadableFile, match=r"compressed file is damaged|cut off"):
        read(bytes(data))


def test_an_error_of_the_disk_is_not_called_damage() -> None:
    class Failing(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _buffer: Any) -> int:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        list(RowReader(io.BufferedReader(Failing()), cap=NO_CAP).rows())


@pytest.mark.parametrize(
    "data",
    [
        f"[{ROW}, {ROW}".encode(),
        f"[{ROW},\n{ROW},\n".encode(),
        f'[{ROW}, {ROW}, {{"a": "br'.encode(),
        f"[{ROW}, {ROW}, [[".encode(),
    ],
)
def test_an_array_that_breaks_off_gives_its_rows_and_then_says_where(data: bytes) -> None:
    rows = reading(data)
    assert isinstance(next(rows), Row)
    with pytest.raises(UnreadableFile, match=r"The JSON breaks off after row [12]\."):
        list(rows)


@pytest.mark.parametrize("end", ["] x", "}", "]]", f"]{ROW}"])
def test_what_follows_an_array_is_not_ignored(end: str) -> None:
    with pytest.raises(UnreadableFile, match="not one array: it errs at row 1"):
        read(f"[{ROW}{end}".encode())


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ("3", "not a JSON object"),
        ("[1, 2]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("{'a': 1}", "not valid JSON"),
        ("", "not valid JSON"),
        ("{} {}", "not valid JSON"),
        ('{"a": "line\nbreak"}', "not valid JSON"),
        ('{"a": NaN}', "not valid JSON: NaN is not a number in JSON"),
        ('{"a": -Infinity}', "-Infinity is not a number"),
        ('{"a": 1, "a": 2}', "an object names the same key twice"),
        ('{"a": {"b": 1, "b": 1}}', "an object names the same key twice"),
    ],
)
def test_an_element_that_is_no_row_does_not_stop_the_next(element: str, reason: str) -> None:
    first, second = read(f"[{element},{ROW}]".encode())
    assert isinstance(first, BadRow)
    assert reason in first.reason
    assert isinstance(second, Row)
    if element and "\n" not in element:  # a line is read as an element is
        assert read(f"{{}}\n{element}\n{ROW}".encode())[1] == BadRow(2, first.reason, first.text)


@pytest.mark.parametrize("cut", [4, 5, 8, 20, 300, -1, -4])
def test_a_parquet_file_that_is_cut_off_is_told_so(cut: int) -> None:
    data = parquet(ROWS * 50)[:cut]
    for each in (data, gzip.compress(data)):
        with pytest.raises(UnreadableFile, match="The Parquet file is damaged or cut off"):
            read(each)


def test_a_table_whose_quote_never_ends_says_where_it_began() -> None:
    with pytest.raises(UnreadableFile, match=r"broken at line 3: .*Is a quote missing"):
        read(b'a,b\n1,2\n3,"open\n5,6\n')


def test_a_table_row_of_another_length_does_not_stop_the_next() -> None:
    data = b"a,b\n1\n1,2,3\n1,2\n"
    assert outcomes(data) == [
        (2, "it has 1 cells where the header has 2"),
        (3, "it has 3 cells where the header has 2"),
        (4, ""),
    ]


@pytest.mark.parametrize("container", ["JSON lines", "JSON"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [('"\\ud800"', "lone surrogate"), ('"\\u0000"', "NUL"), ("1e999", "not finite")],
)
def test_what_json_may_spell_but_no_database_holds_is_refused(
    container: str, value: str, reason: str
) -> None:
    row = f'{{"prompt": "p", "response_a": "x", "response_b": "y", "note": {value}}}'
    data = row if container == "JSON lines" else f"[{row}]"
    assert reason in refusals(data.encode())[0]


# --- Files meant to exhaust the machine


def peak_while(do: Callable[[], object]) -> int:
    """The most memory held while it ran."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bomb(mebibytes: int, *, compressor: Any) -> bytes:
    """One endless-looking file in a few kilobytes."""
    parts = [compressor.compress(ROW.encode() + b"\n")]
    parts += [compressor.compress(b'{"a": 0}' + b" " * MIB + b"\n") for _ in range(mebibytes)]
    return b"".join(parts) + bytes(compressor.flush())


def gzip_bomb(mebibytes: int) -> bytes:
    return bomb(mebibytes, compressor=zlib.compressobj(6, wbits=31))


def test_a_decompression_bomb_is_stopped_and_not_held() -> None:
    data = gzip_bomb(200)
    assert len(data) < MIB

    def read_it() -> None:
        with pytest.raises(UnreadableFile, match="decompression bomb"):
            for _ in reading(data):
                pass

    assert peak_while(read_it) < 20 * MIB


def test_an_xz_bomb_is_stopped() -> None:
    data = bomb(80, compressor=lzma.LZMACompressor(preset=0))
    with pytest.raises(UnreadableFile, match="decompression bomb"):
        read(data)


def test_a_compressed_parquet_bomb_is_stopped_while_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(containers, "RATIO_FREE", MIB)
    with pytest.raises(UnreadableFile, match="decompression bomb"):
        read(gzip.compress(b"PAR1" + bytes(4 * MIB)))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("container", WRITERS)
def test_a_file_that_holds_more_than_the_cap_is_refused(container: str, compression: str) -> None:
    rows = [{"id": str(number), "text": f"{number}" * 50} for number in range(3000)]
    data = COMPRESSIONS[compression](WRITERS[container](rows))
    with pytest.raises(UnreadableFile, match="GiB of text: split it"):
        read(data, cap=100_000)


def test_highly_repetitive_but_small_data_is_no_bomb() -> None:
    data = gzip.compress(json_lines(ROWS[:1] * 20_000))
    assert len(columns_of(data)) == 20_000


def long_line(mebibytes: int) -> Iterator[bytes]:
    yield b'{"prompt": "'
    for _ in range(mebibytes):
        yield b"x" * MIB
    yield f'"}}\n{ROW}\n'.encode()


def test_a_line_of_200_mb_is_refused_but_not_held_and_the_next_is_read() -> None:
    found: list[tuple[int, str]] = []
    peak = peak_while(lambda: found.extend(outcomes(long_line(200))))
    assert found == [(1, "the line is longer than 16 MiB"), (2, "")]
    assert peak < 80 * MIB


@pytest.mark.parametrize("start", [b"[" + b'{"a": "', b"[" + b"[1,", b"[ "])
def test_an_element_of_200_mb_is_refused_and_not_held(start: bytes) -> None:
    def endless() -> Iterator[bytes]:
        yield start
        for _ in range(200):
            yield b" " * MIB

    def read_it() -> None:
        with pytest.raises(UnreadableFile, match="One row of the JSON array is longer than 16 MiB"):
            read(endless())

    assert peak_while(read_it) < 80 * MIB


@pytest.mark.parametrize("start", [b'a,b\n1,"', b"a,b\n1,", b"a,"])
def test_a_table_line_of_200_mb_is_refused_and_not_held(start: bytes) -> None:
    def endless() -> Iterator[bytes]:
        yield start
        for _ in range(200):
            yield b"x" * MIB

    def read_it() -> None:
        with pytest.raises(UnreadableFile, match="of the CSV is longer than 16 MiB"):
            read(endless())

    assert peak_while(read_it) < 80 * MIB


def test_a_cell_that_never_ends_is_refused_and_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "LONGEST_LINE", MIB)
    lines = (b"x" * 1000 + b"\n" for _ in range(20_000))
    with pytest.raises(UnreadableFile, match="broken at line 2: field larger than field limit"):
        read([b'a,b\n1,"', *lines])


@pytest.mark.parametrize(("opening", "depth"), [("[", 10_000), ("[", 50_000), ('{"a":', 10_000)])
@pytest.mark.parametrize("column", ["prompt", "id", "labels"])
@pytest.mark.parametrize("container", ["JSON lines", "JSON"])
def test_nesting_however_deep_is_refused_and_the_next_row_is_read(
    container: str, column: str, opening: str, depth: int
) -> None:
    closing = "]" if opening == "[" else "}"
    deep = f'{{"{column}": {opening * depth}1{closing * depth}, "response_b": "y"}}'
    fine = json.dumps({"prompt": "p", "response_a": "x", "response_b": "y"})
    data = f"{deep}\n{fine}\n" if container == "JSON lines" else f"[{deep},{fine}]"
    rows: list[ReadPair | Refused] = []
    reader = PairReader(io.BytesIO(data.encode()), cap=NO_CAP)
    peak = peak_while(lambda: rows.extend(reader.pairs()))
    assert isinstance(rows[0], Refused)
    assert rows[0].reason == "nested too deeply"
    assert isinstance(rows[1], ReadPair)
    assert peak < 40 * MIB


@pytest.mark.parametrize("depth", [100, 500, 900])
@pytest.mark.parametrize("container", ["JSON lines", "JSON", "CSV"])
def test_nesting_that_the_parser_still_takes_is_refused(container: str, depth: int) -> None:
    deep = [{"role": "user", "content": json.loads("[" * depth + "]" * depth)}]
    row = {"prompt": deep, "response_a": "x", "response_b": "y"}
    table = csv_table([{**row, "prompt": json.dumps(deep)}])
    data = {"JSON lines": json_lines([row]), "JSON": json_array([row]), "CSV": table}[container]
    assert refusals(data) == ["`row` is nested deeper than 64 levels"]


def test_a_table_with_a_bottomless_cell_keeps_it_as_text() -> None:
    deep = "[" * 10_000
    [reason] = refusals(csv_table([{"response_a": "x", "response_b": "y", "labels": deep}]))
    assert reason == "`prompt` is missing"


# --- What the report of a refused row repeats


def test_a_refusal_repeats_only_the_beginning_of_the_row() -> None:
    row = {"id": "7", "prompt": "p" * 500, "response_a": "x", "response_b": "x"}
    [refused] = PairReader(io.BytesIO(json_lines([row])), cap=NO_CAP).pairs()
    assert isinstance(refused, Refused)
    assert (refused.line, refused.source_id, refused.excerpt) == (1, "7", "p" * 80)


def test_a_refusal_is_short_whatever_the_row_says() -> None:
    row = {"prompt": "p", "response_a": "x", "response_b": "y"}
    labels = [{"annotator": "anna", "label": "x" * 100_000}]
    [reason] = refusals(json_lines([{**row, "labels": labels}]))
    assert len(reason) < 1000


def test_what_a_refusal_repeats_can_be_written_as_utf_8() -> None:
    row = {"id": "\ud800\x00", "prompt": "\udfff\x00", "response_a": "x", "response_b": "y"}
    [refused] = PairReader(io.BytesIO(json.dumps(row).encode()), cap=NO_CAP).pairs()
    assert isinstance(refused, Refused)
    text = refused.source_id + refused.excerpt + refused.reason
    assert "\x00" not in text.encode().decode()
