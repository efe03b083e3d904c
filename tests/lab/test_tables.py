"""Rows come out of every format and packing as they went in, and damage is named."""

import bz2
import datetime as dt
import gzip
import json
import lzma
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from enrichment.lab.tables import TableError, number, read_rows

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": lambda plain: plain,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
ROWS = [{"id": f"e{i}", "amount": i / 4, "rating": -i, "bad": i % 2 == 0} for i in range(2500)]
CSV = "id,amount\r\n" + "".join(f"e{i},{i / 4}\r\n" for i in range(2500))


def written(folder: Path, name: str, content: bytes) -> Path:
    """A file of the given name and content."""
    path = folder / name
    path.write_bytes(content)
    return path


def parquet(rows: list[dict[str, object]], folder: Path) -> bytes:
    """Rows as the bytes of a Parquet file."""
    path = folder / "scratch"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path.read_bytes()


@pytest.mark.parametrize("packing", PACK)
def test_csv_cells_are_text_in_every_packing(tmp_path: Path, packing: str) -> None:
    """CSV yields its cells as text, in order, plain or packed."""
    path = written(tmp_path, f"day.1.csv{packing}", PACK[packing](CSV.encode()))
    assert list(read_rows(path)) == [{"id": f"e{i}", "amount": f"{i / 4}"} for i in range(2500)]


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("kind", ["jsonl", "ndjson", "parquet"])
def test_typed_rows_survive_every_packing(tmp_path: Path, kind: str, packing: str) -> None:
    """JSON lines and Parquet keep text, numbers and booleans, plain or packed."""
    plain = (
        parquet([dict(row) for row in ROWS], tmp_path)
        if kind == "parquet"
        else "\n".join(json.dumps(row) for row in ROWS).encode()
    )
    path = written(tmp_path, f"rows.{kind}{packing}", PACK[packing](plain))
    assert list(read_rows(path)) == ROWS


def test_files_glued_together_are_read_to_the_end(tmp_path: Path) -> None:
    """Several packed members in one file are one content."""
    halves = CSV[:7000].encode(), CSV[7000:].encode()
    for packing in (".gz", ".zst", ".bz2", ".xz"):
        glued = b"".join(PACK[packing](half) for half in halves)
        assert len(list(read_rows(written(tmp_path, f"a.csv{packing}", glued)))) == 2500


def test_quoted_cells_may_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    """CSV's quoting, a byte order mark, empty cells and empty lines are understood."""
    content = '\ufeffname,note\r\n"a,b","say ""x""\r\ntwice"\r\n\r\nc,\r\n'.encode()
    assert list(read_rows(written(tmp_path, "a.csv", content))) == [
        {"name": "a,b", "note": 'say "x"\r\ntwice'},
        {"name": "c", "note": None},
    ]


def test_parquet_times_and_decimals_become_plain(tmp_path: Path) -> None:
    """Times become ISO 8601 text (UTC where no zone is given), decimals floats."""
    at = dt.datetime(2018, 4, 1, 0, 0, 31)  # noqa: DTZ001  # the zone is what is tested
    rows: list[dict[str, object]] = [
        {"at": at, "zoned": at.replace(tzinfo=dt.UTC), "day": at.date(), "x": Decimal("1.5")}
    ]
    path = written(tmp_path, "a.parquet", parquet(rows, tmp_path))
    text = "2018-04-01T00:00:31+00:00"
    assert list(read_rows(path)) == [{"at": text, "zoned": text, "day": "2018-04-01", "x": 1.5}]


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_progress_rises_to_one(tmp_path: Path, kind: str, packing: str) -> None:
    """The share read never falls and ends at one."""
    plain = CSV.encode() if kind == "csv" else parquet([dict(row) for row in ROWS], tmp_path)
    shares: list[float] = []
    rows = read_rows(written(tmp_path, f"a.{kind}{packing}", PACK[packing](plain)), shares.append)
    assert sum(1 for _ in rows) == 2500
    assert len(shares) > 1
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == 1


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", b"", r"must end in \.csv, \.jsonl, \.ndjson, \.parquet"),
        ("a.gz", b"", "does not say what the file holds"),
        ("a.csv", b"", "empty, without even a header"),
        ("a.csv", b"x,y\n1,2\n3\n", "line 3: 1 cells where the header names 2"),
        ("a.csv", b"x,y\n1,2,3\n", "line 2: 3 cells"),
        ("a.csv", b"x,x\n1,2\n", "line 1: the header names x twice"),
        ("a.csv", b"x,\n1,2\n", "line 1: the header has a column without a name"),
        ("a.csv", b'x\n1\n"2\n', "line 3: unexpected end of data"),
        ("a.csv", b"x\n1\n\xff\n", r"line 3: not UTF-8"),
        ("a.csv.gz", b"x\n1\n", "damaged or cut off after line 0"),
        ("a.csv.zst", b"x\n1\n", "damaged or cut off after line 0"),
        ("a.jsonl", b'{"x":1}\n\n{"x":\n', "line 3: "),
        ("a.jsonl", b'{"x":1}\n[1]\n', "line 2: "),
        ("a.jsonl", b'{"x":{"y":1}}\n', "line 1: "),
        ("a.jsonl", b'{"x":NaN}\n', "line 1: "),
        ("a.parquet", b"x\n1\n", "not a Parquet file"),
    ],
)
def test_bad_files_are_named_with_the_line(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    """What cannot be read raises an error with the file and, where there is one, the line."""
    with pytest.raises(TableError, match=complaint) as raised:
        list(read_rows(written(tmp_path, name, content)))
    assert name in str(raised.value)


@pytest.mark.parametrize("packing", [".gz", ".zst", ".bz2", ".xz"])
def test_a_file_cut_off_is_not_taken_for_a_shorter_one(tmp_path: Path, packing: str) -> None:
    """The rows of a truncated file end in an error, never quietly."""
    path = written(tmp_path, f"a.csv{packing}", PACK[packing](CSV.encode())[:-20])
    with pytest.raises(TableError, match="damaged or cut off after line"):
        list(read_rows(path))


def test_rows_before_a_bad_one_are_delivered(tmp_path: Path) -> None:
    """A bad line costs nothing of what stood before it."""
    rows = read_rows(written(tmp_path, "a.csv", b"x,y\n1,2\n3\n"))
    assert next(rows) == {"x": "1", "y": "2"}
    with pytest.raises(TableError):
        next(rows)


def test_a_missing_file_is_told_at_once(tmp_path: Path) -> None:
    """A missing file or a folder raises at the call, not at the first row."""
    with pytest.raises(TableError, match="does not exist"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TableError, match="is a directory"):
        read_rows(tmp_path / "folder.csv")


def test_a_nested_parquet_value_is_refused(tmp_path: Path) -> None:
    """A list or bytes is no cell: the row and column are named."""
    path = written(tmp_path, "a.parquet", parquet([{"x": 1, "y": [1, 2]}], tmp_path))
    with pytest.raises(TableError, match="row 1: column y holds a list"):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("-3", -3), ("0", 0), ("1.50", 1.5), ("2e3", 2000.0), ("-0.5", -0.5)],
)
def test_numbers_are_recognised(text: str, value: float) -> None:
    """Plain integers and decimals become numbers of their own type."""
    assert number(text) == value
    assert type(number(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["007", "00.5", "+1", "", "-", "nan", "inf", "1_000", "1e999", "٣", "1.2.3", "9" * 5000]
)
def test_what_only_looks_like_a_number_stays_text(text: str) -> None:
    """Ids with leading zeros and other lookalikes stay as they are written."""
    assert number(text) == text


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_integer_comes_back(value: int) -> None:
    """Any 64-bit integer is read from its own text."""
    assert number(str(value)) == value


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    """No text raises, and a number can always be written as it was read."""
    found = number(text)
    assert found == (text if isinstance(found, str) else type(found)(text))
