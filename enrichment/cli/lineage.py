"""`enrichment lineage EVENT_ID`: from an enriched event to everything behind it."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from enrichment.cli.app import JsonOption, PipelineOption, fail, pipeline_or_fail, settings_of

if TYPE_CHECKING:
    from enrichment.lineage.events import Found, Search
    from enrichment.stream.slices import Reader

EXIT_UNKNOWN: Final = 2
EXIT_DIFFERENT: Final = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lineage")(lineage)


def lineage(  # noqa: PLR0913, PLR0917  # one for each option
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(help="The event's id.")],
    pipeline: PipelineOption = "payments",
    account: Annotated[
        str,
        typer.Option(
            help="The event's key, such as its account: one partition is searched, and not all."
        ),
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            help="Events published at or after: a time like 2026-11-25T03:00:00Z, or milliseconds "
            "since 1970."
        ),
    ] = "",
    until: Annotated[str, typer.Option(help="Events published before this.")] = "",
    all_: Annotated[
        bool,
        typer.Option(
            "--all", help="Every record of the event: the topic is searched to its beginning."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show everything that stands behind an enriched event, down to the offsets it was read from.

    The record, its input, every feature that the score saw, the job and the micro-batch of each,
    digests and input ranges, what was in force and who had said so, and the versions of all. Each
    thing that can be is held against what it came from: the record is scored again, the
    micro-batch derived again. What a topic's retention has removed is told as gone.

    The topic is searched from its end: a recent event is found at once, an old one sooner with
    --account or --since. Exit codes: 0 shown, 1 Kafka does not answer, 2 no such event, 3 something
    is not what it says it is.

    Examples:
      enrichment lineage e-4711

      enrichment lineage e-4711 --account acc-17 --json

      enrichment lineage e-4711 -p cards --since 2026-11-25T03:00:00Z --until 2026-11-25T04:00:00Z
    """
    import msgspec

    from enrichment.cli.jobs_read import reading
    from enrichment.cli.lineage_shown import print_lineage
    from enrichment.cli.progress import progress
    from enrichment.lineage.events import Search

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    search = Search(
        event_id=event_id,
        account=account,
        since_ms=_time("--since", since),
        until_ms=_time("--until", until),
    )
    started_s = time.monotonic()
    with (
        progress("reading topics", None) as advance,
        reading(settings, on_read=advance) as reader,
    ):
        try:
            found, other = _found(reader, definition.name, search, every=all_)
            found_s = time.monotonic() - started_s
            from enrichment.lineage.trace import lineage as traced

            shown = [traced(reader, definition, one) for one in found]
        except msgspec.MsgspecError as error:
            fail(f"a record on the way is none of ours: {error}")
    took_s = time.monotonic() - started_s
    if as_json:
        told: dict[str, Any] = {
            "event_id": event_id,
            "records": msgspec.to_builtins(shown),
            # Of those that were found on the way and are not shown.
            "further_records": other,
            "found_s": round(found_s, 3),
            "seconds": round(took_s, 3),
        }
        typer.echo(json.dumps(told, indent=2))
    else:
        for one in shown:
            print_lineage(one)
        more = f"; {other} older of the same id: --all" if other else ""
        typer.echo(f"found in {found_s:.2f} s, traced in {took_s - found_s:.2f} s{more}")
    if any(one.differs for one in shown):
        raise typer.Exit(EXIT_DIFFERENT)


def _found(
    reader: "Reader", pipeline: str, search: "Search", *, every: bool
) -> "tuple[list[Found], int]":
    """The event's records, the newest first, and how many older ones were seen and left out."""
    from enrichment.lineage.events import NoSuchTopicError, places, records_of
    from enrichment.stream.topics import StreamTopics

    topic = StreamTopics(pipeline).enriched
    found: list[Found] = []
    try:
        spans = places(reader, topic, search)
    except NoSuchTopicError as error:
        fail(str(error), EXIT_UNKNOWN)
    for chunk in records_of(reader, topic, spans, search.event_id):
        found += chunk
        if found and not every:
            break
    if not found:
        looked = sum(end - first for first, end in spans.values())
        kept = reader.retention_ms(topic)
        days = "" if kept is None or kept < 0 else f", which keeps {kept / 86_400_000:g} days"
        where = "these parts of " if search.account or search.since_ms or search.until_ms else ""
        fail(
            f"there is no event '{search.event_id}' in {where}{topic} ({looked:,} offsets{days}); "
            "if it was invalid: `enrichment dead-letters list`",
            EXIT_UNKNOWN,
        )
    return (found, 0) if every else (found[:1], len(found) - 1)


def _time(option: str, said: str) -> int:
    from enrichment.rollout.words import time_of

    try:
        return time_of(said, time.time_ns() // 1_000_000) if said else 0
    except ValueError as error:
        return fail(f"{option}: {error}", EXIT_UNKNOWN)
