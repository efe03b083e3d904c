"""Rows of a file of events: CSV, JSON lines or Parquet, plain or compressed.

The file's name says what it is: ``payments.csv``, ``payments.jsonl.zst``, ``payments.parquet``.
Rows come one by one and in the file's order; only Parquet inside a compressed file is unpacked
first, to a temporary file, because its index stands at its end.
"""

import bz2
import csv
import gzip
import io
import lzma
import math
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

Cell = str | int | float | bool | None
Row = dict[str, Cell]
Progress = Callable[[float], None]

PROGRESS_EVERY_ROWS: Final = 1_000
CELL_CHARACTERS_MAX: Final = 1 << 20  # a quote left open must not swallow the rest of the file
PARQUET_BATCH_ROWS: Final = 8_192
PACKED_BYTES: Final = 1 << 17  # read from a Zstandard file at once


class TableError(ValueError):
    """A file of rows that cannot be read: the message names the file and, where known, the line."""


class Zstandard(io.RawIOBase):
    """The content of a Zstandard file, frame after frame.

    The package's own reader takes a file that is cut off for one that ends there; this one raises
    EOFError, as those of the standard library do.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame: Any = None
        self._packed = b""
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        """Whether it can be read: it can."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, as far as one block reaches; 0 at the end of the last frame."""
        while not self._plain:
            if not self._packed:
                self._packed = self._raw.read(PACKED_BYTES)
            if not self._packed:
                if self._frame is not None:
                    message = "the last Zstandard frame is not complete"
                    raise EOFError(message)
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._plain = memoryview(self._frame.decompress(self._packed))
            self._packed = b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._plain))
        buffer[:size], self._plain = self._plain[:size], self._plain[size:]
        return size


UNPACK: Final[dict[str, Callable[[BinaryIO], BinaryIO]]] = {
    ".gz": lambda raw: cast("BinaryIO", gzip.GzipFile(fileobj=raw)),
    ".zst": lambda raw: cast("BinaryIO", io.BufferedReader(Zstandard(raw))),
    ".bz2": lambda raw: cast("BinaryIO", bz2.BZ2File(raw)),
    ".xz": lambda raw: cast("BinaryIO", lzma.LZMAFile(raw)),  # noqa: SIM115  # _opened closes it
}

# What a damaged or shortened compressed file raises while it is read.
DAMAGE: Final = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def read_rows(path: Path, on_progress: Progress | None = None) -> Iterator[Row]:
    """The rows of a file in their order, each a dictionary from column to cell.

    Cells of CSV are text, exactly as written, and None where empty: a type is the reader's to
    choose (see ``number``), since ``007`` may be an id. JSON and Parquet keep their types;
    Parquet's times become ISO 8601 text, its decimals floats. ``on_progress`` is told, every
    thousand rows and at the end, which share of the file has been read, from 0 to 1.
    An unknown extension, a missing or damaged file and a bad row raise TableError, the first two
    at once and not only when the first row is asked for.
    """
    kind, packing = _formats(path)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        message = f"{path} {what}"
        raise TableError(message)
    return _rows(path, kind, packing, on_progress or _no_one)


def number(text: str) -> int | float | str:
    """The number that a text is, or the text itself where it is none that can be written back.

    ``12`` and ``-3`` are integers, ``1.50`` and ``2e3`` floats; ``007``, ``+1``, ``nan``, ``1_000``
    and integers beyond 64 bits stay text.
    """
    digits = text[1:] if text.startswith("-") else text
    if not digits.isascii() or not digits[:1].isdigit():
        return text
    if digits.isdigit():
        plain = digits == "0" or not digits.startswith("0")
        # Checked by length first: int() refuses texts of thousands of digits with an error.
        return int(text) if plain and len(digits) < 20 and abs(int(text)) < 1 << 63 else text
    if "_" in digits or (digits.startswith("0") and digits[1:2].isdigit()):
        return text
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _no_one(_: float) -> None:
    """Progress that nobody watches."""


def _formats(path: Path) -> tuple[str, str]:
    """The row format and the packing that a file's name tells of: (".csv", ".gz")."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in UNPACK else ""
    kind = suffixes[-1] if suffixes else ""
    if kind not in READERS and kind != ".parquet":
        message = (
            f"{path}: the name does not say what the file holds; it must end in "
            f"{', '.join([*READERS, '.parquet'])}, alone or followed by {', '.join(UNPACK)}"
        )
        raise TableError(message)
    return kind, packing


@contextmanager
def _opened(path: Path, packing: str) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The file as stored, for its position, and its unpacked content."""
    with path.open("rb") as raw:
        content = UNPACK[packing](raw) if packing else raw
        try:
            yield raw, content
        finally:
            content.close()


def _rows(path: Path, kind: str, packing: str, on_progress: Progress) -> Iterator[Row]:
    size = max(path.stat().st_size, 1)
    with _opened(path, packing) as (raw, content):
        if kind == ".parquet":
            yield from _parquet(path, content, packing, on_progress)
            return
        for count, row in enumerate(READERS[kind](path, content), start=1):
            yield row
            if count % PROGRESS_EVERY_ROWS == 0:
                on_progress(min(raw.tell() / size, 1.0))
    on_progress(1.0)


def _lines(path: Path, content: BinaryIO) -> Iterator[str]:
    """Lines of text, their ends kept, with a TableError for bytes that are no UTF-8."""
    at = 0
    try:
        for at, line in enumerate(content, start=1):
            # A byte order mark is what spreadsheets put before the first column's name.
            yield line.decode("utf-8-sig" if at == 1 else "utf-8")
    except UnicodeDecodeError as error:
        message = f"{path}, line {at}: not UTF-8 ({error.reason} at byte {error.start})"
        raise TableError(message) from error
    except DAMAGE as error:
        message = f"{path}: damaged or cut off after line {at} ({error})"
        raise TableError(message) from error


def _csv(path: Path, content: BinaryIO) -> Iterator[Row]:
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    reader = csv.reader(_lines(path, content), strict=True)
    names: list[str] | None = None
    try:
        for cells in reader:
            if not cells:  # an empty line, commonly the last
                continue
            if names is None:
                names = _header(path, cells)
                continue
            if len(cells) != len(names):
                message = (
                    f"{path}, line {reader.line_num}: {len(cells)} cells where the header "
                    f"names {len(names)} columns"
                )
                raise TableError(message)
            yield {name: cell or None for name, cell in zip(names, cells, strict=True)}
    except csv.Error as error:
        message = f"{path}, line {reader.line_num}: {error}"
        raise TableError(message) from error
    if names is None:
        message = f"{path}: empty, without even a header"
        raise TableError(message)


def _header(path: Path, names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not all(names):
        wrong = f"names {', '.join(twice)} twice" if twice else "has a column without a name"
        message = f"{path}, line 1: the header {wrong}"
        raise TableError(message)
    return names


def _json_lines(path: Path, content: BinaryIO) -> Iterator[Row]:
    decode = msgspec.json.Decoder(dict[str, Cell]).decode
    for at, line in enumerate(_lines(path, content), start=1):
        if line.isspace():
            continue
        try:
            yield decode(line)
        except msgspec.MsgspecError as error:
            message = f"{path}, line {at}: {error}"
            raise TableError(message) from error


def _parquet(path: Path, content: BinaryIO, packing: str, on_progress: Progress) -> Iterator[Row]:
    with tempfile.TemporaryFile() as unpacked:
        try:
            if packing:
                shutil.copyfileobj(content, unpacked)
            table = pq.ParquetFile(unpacked if packing else content)
            total = max(table.metadata.num_rows, 1)
            done = 0
            for batch in table.iter_batches(PARQUET_BATCH_ROWS):
                for row in batch.to_pylist():
                    done += 1
                    yield {name: _cell(path, done, name, value) for name, value in row.items()}
                on_progress(done / total)
        except (pa.ArrowException, *DAMAGE) as error:
            message = f"{path}: not a Parquet file that can be read ({error})"
            raise TableError(message) from error
    on_progress(1.0)


def _cell(path: Path, at: int, name: str, value: Any) -> Cell:
    """One Parquet value as a cell."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    message = f"{path}, row {at}: column {name} holds a {type(value).__name__}, not a plain value"
    raise TableError(message)


READERS: Final[dict[str, Callable[[Path, BinaryIO], Iterator[Row]]]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
