"""Dead letters as the command line shows them: rows, records, and what became of a replay."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from enrichment.stream.dead_letters import Letter, Original
    from enrichment.stream.replay import Fate

EXIT_LEFT: Final = 3
SHOWN_BYTES_MAX: Final = 2_000  # of a payload, on a terminal


def light(letter: "Letter") -> "Letter":
    """The letter without what may be large."""
    import msgspec

    record = msgspec.structs.replace(letter.record, payload=None, headers=None, key_bytes=None)
    return replace(letter, record=record)


def row(letter: "Letter", done: set[str]) -> dict[str, Any]:
    """One letter as JSON and `show` have it."""
    record = letter.record
    return {
        "letter": letter.name,
        "failed_at": time_text(record.failed_at_ms),
        "reason": record.reason.value,
        "detail": record.detail,
        "origin": f"{record.topic}/{record.partition}/{record.offset}",
        "key": record.key,
        "size_bytes": record.size_bytes,
        "published_at": time_text(record.published_at_ms) if record.published_at_ms else None,
        "replay_of": letter.replay_of,
        "replayed": letter.name in done,
    }


def time_text(at_ms: int) -> str:
    """A time as RFC 3339 in UTC."""
    from enrichment.stream.headers import rfc3339

    return rfc3339(at_ms).decode()


def plain(original: "Original") -> dict[str, Any]:
    """A record as text; bytes that are none are shown with replacement characters."""

    def text(content: bytes | None) -> str | None:
        return None if content is None else content.decode(errors="replace")

    return {
        "from": original.source,
        "key": text(original.key),
        "headers": [[name, text(content)] for name, content in original.headers],
        "value": text(original.value),
    }


def print_original(original: "Original") -> None:
    """The record behind a letter, its value cut where it is long."""
    shown = plain(original)
    typer.echo(f"record         from the {shown['from']}")
    typer.echo(f"  key          {shown['key']}")
    for name, content in shown["headers"]:
        typer.echo(f"  header       {name}: {content}")
    value = shown["value"]
    cut = value is not None and len(value) > SHOWN_BYTES_MAX
    typer.echo(f"  value        {value[:SHOWN_BYTES_MAX] if cut else value}")
    if cut:
        typer.echo(f"  … {len(value)} characters in all: --json shows them")


def print_table(letters: "Iterable[Letter]", done: set[str]) -> None:
    """Letters as a table, numbered as `show` takes them."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("#", "letter", "failed at", "reason", "detail", "origin", "replayed")
    for number, letter in enumerate(letters, 1):
        record = letter.record
        table.add_row(
            str(number),
            f"{letter.partition}/{letter.offset}",
            time_text(record.failed_at_ms),
            record.reason.value,
            escape(record.detail[:80]),
            f"{record.partition}/{record.offset}",
            "yes" if letter.name in done else "",
        )
    if table.row_count:
        Console().print(table)


def print_fates(fates: "list[tuple[Letter, Fate]]", *, dry_run: bool, as_json: bool) -> None:
    """What became of each, a sum, and the exit code."""
    from enrichment.stream.replay import Fate

    counts = Counter(fate.value for _, fate in fates)
    if as_json:
        rows = [{"letter": letter.name, "fate": fate.value} for letter, fate in fates]
        typer.echo(json.dumps({"dry_run": dry_run, "counts": dict(counts), "letters": rows}))
    else:
        for letter, fate in fates:
            if dry_run or fate is not Fate.REPLAYED:
                would = "would be " if dry_run and fate is Fate.REPLAYED else ""
                typer.echo(f"{letter.name:<40} {would}{fate.value}")
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        typer.echo((said or "nothing to replay") + (" (dry run)" if dry_run else ""))
    if counts[Fate.GONE.value] or counts[Fate.UNREADABLE.value]:
        raise typer.Exit(EXIT_LEFT)
