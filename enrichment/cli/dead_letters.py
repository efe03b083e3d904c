"""`enrichment dead-letters list | show | replay`: what could not be enriched, and another try."""

import heapq
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from enrichment.cli.app import JsonOption, PipelineOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.changes_read import Recorder
from enrichment.cli.dead_letters_shown import (
    light,
    plain,
    print_fates,
    print_original,
    print_table,
    row,
)
from enrichment.cli.who import By, login

if TYPE_CHECKING:
    from enrichment.pipelines import Pipeline
    from enrichment.settings import Settings
    from enrichment.stream.dead_letters import Chosen, Letter, Letters, Original, Records
    from enrichment.stream.replay import Fate

EXIT_USAGE: Final = 2
LIMIT: Final = 1_000  # a replay of more should be meant
SPANS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

ReasonOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reason", help="Only with this reason, such as not_json; several times if need."
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", help="Only those of the last 30m, 2h or 7d, or since a time (RFC 3339)."
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    letters = typer.Typer(
        no_args_is_help=True, help="See what could not be enriched, and publish it again."
    )
    letters.command("list")(list_)
    letters.command("show")(show)
    letters.command("replay")(replay)
    app.add_typer(letters, name="dead-letters")


def list_(
    context: typer.Context,
    pipeline: PipelineOption = "payments",
    reason: ReasonOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest first.", min=1)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List a stream's dead letters, the newest first, and count all of them by reason.

    For example:

      enrichment dead-letters list --since 2h

      enrichment dead-letters list --reason not_json --reason too_deep --json
    """
    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    chosen = _chosen(reason, since)
    counts: Counter[str] = Counter()
    newest: list[tuple[int, str, Letter]] = []
    with _told(settings):
        letters = _letters(settings, definition)
        done = _done(settings)
        for letter in letters.read(chosen):
            counts[letter.record.reason.value] += 1
            # The payload is let go of: a list of a thousand may not take a gigabyte.
            entry = (letter.record.failed_at_ms, letter.name, light(letter))
            (heapq.heappush if len(newest) < limit else heapq.heappushpop)(newest, entry)
    shown = [letter for _, _, letter in sorted(newest, reverse=True)]
    if as_json:
        rows = [row(each, done) for each in shown]
        typer.echo(json.dumps({"counts": dict(sorted(counts.items())), "letters": rows}, indent=2))
        return
    print_table(shown, done)
    said = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    typer.echo(f"{counts.total()} dead letters: {said}" if counts else "no dead letters")
    if letters.foreign:
        typer.secho(f"{letters.foreign} records on the topic are no dead letters", err=True)


def show(
    context: typer.Context,
    letter: Annotated[
        str,
        typer.Argument(help="PARTITION/OFFSET or TOPIC/PARTITION/OFFSET; or 1 for the newest, …"),
    ],
    pipeline: PipelineOption = "payments",
    reveal: Annotated[
        bool,
        typer.Option(
            "--reveal", help="Show key, value and headers though the stream has sensitive fields."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter and the record behind it, from the letter or from its origin.

    For example:

      enrichment dead-letters show 3/17

      enrichment dead-letters show 1 --pipeline cards
    """
    from enrichment.stream.dead_letters import Records
    from enrichment.wiring.clients import kafka_config

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    hidden = bool(definition.stream.sensitive) and not reveal
    with _told(settings):
        records = Records(kafka_config(settings, "dead-letters"))
        try:
            found = _find(settings, definition, records, letter)
            original = None if hidden else _original(records, found)
        finally:
            records.close()
        done = _done(settings)
    shown = row(found, done) | {"record": None if original is None else plain(original)}
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
        return
    for name, value in shown.items():
        if name != "record" and value not in ("", None):
            typer.echo(f"{name:<14} {value}")
    if hidden:
        typer.echo("record         hidden: the stream has sensitive fields; --reveal shows it")
    elif original is None:
        typer.echo("record         gone: neither the letter nor its origin has it any more")
    else:
        print_original(original)


def replay(  # noqa: PLR0913, PLR0917  # one for each option
    context: typer.Context,
    letters: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LETTER]...", help="PARTITION/OFFSET, as `list` shows it."),
    ] = None,
    pipeline: PipelineOption = "payments",
    reason: ReasonOption = None,
    since: SinceOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many, the oldest first.", min=1)] = LIMIT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be replayed, and publish nothing.")
    ] = False,
    why: Annotated[str, typer.Option("--why", help="Why, for the record of changes.")] = "",
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Publish the records behind dead letters again: same partition, key, value and headers.

    Each letter is replayed once: record and mark are one transaction, and a second replay does
    nothing, whoever asks for it. A record that fails again is a new dead letter, which names the
    first and can be replayed in its turn. Only one replay of a stream runs at a time: a new one
    ends the one before. That it was done is on record: `enrichment changes list --kind replay`.

    Exit codes: 0 done, 1 on an error, 2 on wrong usage, 3 when a letter's record was gone, or
    its headers cannot be read.

    For example:

      enrichment dead-letters replay 3/17

      enrichment dead-letters replay --reason invalid_field --since 2h --dry-run
    """
    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    if not (letters or reason or since or everything):
        fail("which ones? name letters, or say --reason, --since or --all", EXIT_USAGE)
    if letters and (reason or since or everything):
        fail("name letters, or say --reason, --since or --all: not both", EXIT_USAGE)
    chosen = _chosen(reason, since)
    fates: list[tuple[Letter, Fate]] = []

    def told(letter: "Letter", fate: "Fate") -> None:
        fates.append((letter, fate))
        if not as_json and len(fates) % 100 == 0:
            typer.echo(f"{len(fates)} settled", err=True)

    with _told(settings):
        asked = _Asked(names=letters or [], chosen=chosen, limit=limit)
        if dry_run:
            _foretell(settings, definition, asked, told)
        else:
            recorder = Recorder(settings, by=by.strip() or login(), reason=why.strip())
            _replay(settings, definition, asked, told, recorder)
    print_fates(fates, dry_run=dry_run, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Which letters a replay is asked for: by name, or by what they have in common."""

    names: list[str]
    chosen: "Chosen"
    limit: int

    def as_json(self) -> str:
        """What was asked for, for the record of changes."""
        asked = {"letters": self.names} if self.names else self._filter()
        return json.dumps(asked | {"limit": self.limit})

    def _filter(self) -> dict[str, Any]:
        reasons = sorted(each.value for each in self.chosen.reasons)
        return {"reasons": reasons, "since_ms": self.chosen.since_ms}


def _foretell(
    settings: "Settings",
    pipeline: "Pipeline",
    asked: _Asked,
    told: "Callable[[Letter, Fate], None]",
) -> None:
    """Tell what would become of what is asked for."""
    from enrichment.stream.dead_letters import Records
    from enrichment.stream.replay import judge
    from enrichment.stream.topics import REPLAYS
    from enrichment.wiring.clients import kafka_config, partition_count

    partition_count(settings, REPLAYS)  # a clear word where it does not exist
    records = Records(kafka_config(settings, "dead-letters"))
    try:
        done = _done(settings)
        for letter in _asked_for(settings, pipeline, records, asked):
            told(letter, judge(letter, done, records)[0])
    finally:
        records.close()


def _replay(
    settings: "Settings",
    pipeline: "Pipeline",
    asked: _Asked,
    told: "Callable[[Letter, Fate], None]",
    recorder: Recorder,
) -> None:
    """Replay what is asked for."""
    from enrichment.records import ChangeKind
    from enrichment.stream.dead_letters import Records
    from enrichment.stream.replay import ReplayConfig, Replayer
    from enrichment.stream.topics import CHANGES, REPLAYS, StreamTopics
    from enrichment.wiring.clients import framing_of, kafka_config, partition_count
    from enrichment.wiring.clock import now_ms

    kafka = kafka_config(settings, "dead-letters")
    for topic in (REPLAYS, CHANGES):
        partition_count(settings, topic)  # a clear word where it does not exist
    change = recorder.change(
        ChangeKind.REPLAY, pipeline.name, "dead-letters", after=asked.as_json()
    )
    config = ReplayConfig(
        kafka=kafka,
        stream=pipeline.name,
        events=StreamTopics(pipeline.name).events,
        by=change.changed_by,
        framing=framing_of(settings, pipeline, REPLAYS, CHANGES),
        change=change,
    )
    records = Records(kafka)
    try:
        replayer = Replayer.open(config, records, now_ms)
        try:
            replayer.replay(_asked_for(settings, pipeline, records, asked), told)
        finally:
            replayer.close()
    finally:
        records.close()


def _asked_for(
    settings: "Settings", pipeline: "Pipeline", records: "Records", asked: _Asked
) -> "Iterator[Letter]":
    """The letters, the oldest first, whole and one at a time."""
    if asked.names:
        yield from [_find(settings, pipeline, records, name) for name in asked.names]
        return
    oldest = heapq.nsmallest(
        asked.limit,
        (light(each) for each in _letters(settings, pipeline).read(asked.chosen)),
        key=_age,
    )
    for each in oldest:
        letter = records.letter(each.topic, each.partition, each.offset)
        if letter is not None:  # else its retention ended a moment ago
            yield letter


def _age(letter: "Letter") -> tuple[int, str]:
    return letter.record.failed_at_ms, letter.name


@contextmanager
def _told(settings: "Settings") -> Iterator[None]:
    """Errors of Kafka and of the configuration as one line each."""
    from confluent_kafka import KafkaException

    from enrichment.stream.replay import ReplayError
    from enrichment.wiring.errors import ConfigurationError

    try:
        yield
    except ConfigurationError as error:
        fail(str(error), EXIT_USAGE)
    except (ReplayError, TimeoutError) as error:
        fail(str(error))
    except KafkaException as error:
        fail(f"Kafka at {settings.kafka_bootstrap}: {error.args[0].str()}")


def _letters(settings: "Settings", pipeline: "Pipeline") -> "Letters":
    from enrichment.stream.dead_letters import Letters
    from enrichment.stream.topics import StreamTopics
    from enrichment.wiring.clients import kafka_config, partition_count

    topic = StreamTopics(pipeline.name).dead_letters
    count = partition_count(settings, topic)
    return Letters(kafka_config(settings, "dead-letters"), topic, count)


def _done(settings: "Settings") -> set[str]:
    """The letters that were replayed; none where nothing ever was."""
    from enrichment.stream.replay import replayed
    from enrichment.stream.topics import REPLAYS
    from enrichment.wiring.clients import kafka_config, partition_count
    from enrichment.wiring.errors import ConfigurationError

    try:
        partition_count(settings, REPLAYS)
    except ConfigurationError:
        return set()
    return replayed(kafka_config(settings, "dead-letters"))


def _find(settings: "Settings", pipeline: "Pipeline", records: "Records", name: str) -> "Letter":
    """The letter of that name, or exit code 2."""
    from enrichment.stream.dead_letters import Chosen
    from enrichment.stream.topics import StreamTopics

    topic = StreamTopics(pipeline.name).dead_letters
    if name.isdecimal():
        number = int(name)
        newest = heapq.nlargest(
            number,
            (light(each) for each in _letters(settings, pipeline).read(Chosen())),
            key=_age,
        )
        if not 0 < number <= len(newest):
            fail(f"there is no dead letter number {name} on {topic}", EXIT_USAGE)
        found = newest[number - 1]
        name = found.name
    parts = name.removeprefix(f"{topic}/").split("/")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        fail(f"'{name}': wanted PARTITION/OFFSET of {topic}, such as 0/17", EXIT_USAGE)
    letter: Letter | None = records.letter(topic, int(parts[0]), int(parts[1]))
    if letter is None:
        fail(f"there is no dead letter {topic}/{'/'.join(parts)}", EXIT_USAGE)
    return letter


def _original(records: "Records", letter: "Letter") -> "Original | None":
    """The record behind a letter; exit code 1 where it is there and cannot be read."""
    from enrichment.stream.headers import UnreadableHeadersError

    try:
        return records.original(letter)
    except UnreadableHeadersError as error:
        where = f"{letter.record.topic}/{letter.record.partition}/{letter.record.offset}"
        fail(f"{where} cannot be shown: {error}")


def _chosen(reasons: list[str] | None, since: str | None) -> "Chosen":
    """What the filters mean, or exit code 2."""
    from enrichment.records import DeadLetterReason
    from enrichment.stream.dead_letters import Chosen

    known = [each.value for each in DeadLetterReason]
    for name in reasons or ():
        if name not in known:
            fail(f"there is no reason '{name}'; reasons: {', '.join(known)}", EXIT_USAGE)
    return Chosen(
        reasons=frozenset(DeadLetterReason(name) for name in reasons or ()),
        since_ms=0 if since is None else _since_ms(since),
    )


def _since_ms(text: str) -> int:
    """A span before now, or a time, as milliseconds since 1970; or exit code 2."""
    if span := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return time.time_ns() // 1_000_000 - int(span[1]) * SPANS_MS[span[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        fail(f"--since '{text}': wanted 30m, 2h, 7d, or a time with its offset", EXIT_USAGE)
    return round(moment.timestamp() * 1000)
