"""Rows of a file as events of a pipeline."""

from pathlib import Path

import msgspec
import pytest

from enrichment.lab.rows import RowReader, time_ms
from enrichment.lab.tables import TableError
from enrichment.pipelines import load

encode = msgspec.json.Encoder().encode

CARDS = (
    "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD,TX_FRAUD_SCENARIO\n"
    "0,2018-04-01 00:00:31,596,3156,57.16,0,0\n"
    "1,2018-04-01 00:02:10,4961,3412,281.51,1,1\n"
)


def _rows(tmp_path: Path, content: str, pipeline: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "rows.csv"
    path.write_text(content)
    return list(RowReader(load(pipeline)).read(path, encode))


def test_columns_become_the_pipelines_fields(tmp_path: Path) -> None:
    """Columns are renamed, ids stay text, the time becomes milliseconds, numbers numbers."""
    first, second = _rows(tmp_path, CARDS, "cards")
    assert first.event == {
        "transaction_id": "0",
        "occurred_at": 1_522_540_831_000,
        "customer_id": "596",
        "terminal_id": "3156",
        "amount": 57.16,
        "is_fraud": 0,
        "scenario": 0,
    }
    assert first.decoded is not None
    assert first.decoded.label == 0.0
    assert second.decoded is not None
    assert second.decoded.label == 1.0


def test_a_file_for_another_pipeline_is_refused(tmp_path: Path) -> None:
    """A missing column is named, together with what the file gives."""
    with pytest.raises(TableError, match=r"needs amount, .*customer_id.*; the file gives a, b"):
        _rows(tmp_path, "a,b\n1,2\n", "cards")


def test_a_bad_cell_is_published_as_it_stands(tmp_path: Path) -> None:
    """A time that does not fit is left for the enricher's dead letter to explain."""
    bad = CARDS.replace("2018-04-01 00:02:10", "soon")
    _, row = _rows(tmp_path, bad, "cards")
    assert row.event["occurred_at"] == "soon"
    assert row.decoded is None


@pytest.mark.parametrize(
    ("value", "form", "wanted"),
    [("1289241911.72836", "unix_s", 1_289_241_911_728), ("5", "unix_ms", 5),
     ("2020-01-01T00:00:00Z", "rfc3339", "2020-01-01T00:00:00Z"), (None, "unix_s", None),
     ("01/02/2020", "%d/%m/%Y", 1_580_515_200_000), ("inf", "unix_s", "inf")],
)  # fmt: skip
def test_times_are_read_by_their_format(value: object, form: str, wanted: object) -> None:
    """Every format gives milliseconds, and what does not fit comes back as it was."""
    assert time_ms(value, form) == wanted
