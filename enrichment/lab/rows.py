"""From a file's rows to events: columns renamed and times read as the pipeline's file says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from enrichment.enrich.decode import Decoder
from enrichment.enrich.events import Event
from enrichment.lab.tables import TableError, number, read_rows
from enrichment.pipelines import Pipeline

_FAR_FUTURE_MS: Final = 253_402_300_799_999  # a file may be replayed before its time


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it is published, and as the enricher will read it (None where it is invalid)."""

    number: int
    event: dict[str, Any]
    decoded: Event | None


class RowReader:
    """Rows of one file as events of one pipeline. Raises TableError on a file that cannot be read.

    A value that does not fit is published as it stands, so that the enricher's dead letter says
    what is wrong with it.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._columns = pipeline.replay.columns
        self._time = pipeline.stream.time
        self._format = pipeline.replay.time_format
        self._texts = {pipeline.stream.id, pipeline.stream.key, self._time} | {
            pipeline.field(role) for role in pipeline.entities
        }
        self._needed = self._texts | {
            name for name in (pipeline.stream.amount, pipeline.window.shard) if name is not None
        }
        self._pipeline = pipeline

    def read(
        self,
        path: Path,
        encode: Callable[[dict[str, Any]], bytes],
        on_progress: Callable[[float], None] | None = None,
    ) -> Iterator[Row]:
        """The file's rows in order; `on_progress` gets the share of the file read so far."""
        # Sensitive values are hidden by the enricher: here they pass as they are.
        decoder = Decoder(self._pipeline, pseudonym=lambda text: text)
        for index, cells in enumerate(read_rows(path, on_progress)):
            event = {
                field: self._cell(field, value)
                for field, value in (
                    (self._columns.get(column, column), value) for column, value in cells.items()
                )
            }
            if index == 0:
                self._check(path, event)
            decoded = decoder.decode(encode(event), now_ms=_FAR_FUTURE_MS)
            yield Row(index, event, decoded if isinstance(decoded, Event) else None)

    def _check(self, path: Path, event: dict[str, Any]) -> None:
        """A file without a column that the pipeline needs holds nothing for it."""
        if missing := sorted(self._needed - event.keys()):
            found = ", ".join(event)
            raise TableError(
                f"{path}: pipeline '{self._pipeline.name}' needs {', '.join(missing)}; the file "
                f"gives {found}. Name its columns in [replay.columns]"
            )

    def _cell(self, field: str, value: Any) -> Any:
        """A cell as the event's value: ids as text, the time in milliseconds, numbers as such."""
        if field == self._time:
            return time_ms(value, self._format)
        if isinstance(value, str) and field not in self._texts:
            return number(value)
        return value


def time_ms(value: Any, time_format: str) -> Any:
    """Milliseconds since 1970; the value itself where it does not fit the format."""
    try:
        match time_format:
            case "unix_s":
                return round(float(value) * 1000)
            case "unix_ms":
                return int(value)
            case "rfc3339":
                return value
            case _:
                moment = datetime.strptime(value, time_format).replace(tzinfo=UTC)
                return round(moment.timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return value
