"""A small Faust application on the window stage's driver: `python -m tests.integration.driver_app`.

Its events are text, and tell its books what to hold: from `hold x` on nothing is safe until
`release x` comes; after `widen` the notes are longer than a broker takes, until `narrow`. What it
sees is appended to a file, one JSON document a line.
"""

import logging
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import faust
import msgspec
from faust.types import TP
from mode.supervisors import CrashingSupervisor

from enrichment.window.driver import App, Consumer

SESSION_S: Final = 6  # the least that the broker takes
TOO_WIDE: Final = 5_000  # bytes of a note; the broker takes 4,096


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker is told, as JSON in its only argument."""

    bootstrap: str
    group: str
    topics: tuple[str, ...]
    name: str
    # The file to append to.
    said: str
    commit_s: float = 0.2
    # Between the assignment of partitions and the seek.
    delay_s: float = 0.0
    # How many offsets before the committed one a partition is read from.
    back: int = 0
    # Whether it heeds what releases: one that does not stays behind what others call safe.
    releases: bool = True


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the file."""

    # read, sought, leaving, or: asked elsewhere
    what: str
    topic: str = ""
    partition: int = -1
    offset: int = -1
    value: str = ""
    # Topic, partition and committed note of each partition that is assigned.
    assigned: tuple[tuple[str, int, str], ...] = ()


class Reader:
    """One worker, and its books: how far each of its partitions is read, and what is held there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._next: dict[TP, int] = {}
        self._held: dict[TP, dict[str, int]] = {}
        self._notes: dict[TP, str] = {}
        self._filler = ""
        self._generation = -1
        self._thread = threading.get_ident()
        self.app = App(
            settings.group,
            broker=f"kafka://{settings.bootstrap}",
            broker_client_id=settings.name,
            broker_session_timeout=SESSION_S,
            broker_heartbeat_interval=0.3,
            broker_commit_interval=settings.commit_s,
            consumer_auto_offset_reset="earliest",
            agent_supervisor=CrashingSupervisor,
            datadir=Path(tempfile.gettempdir()) / "enrichment-driver-app",
            store="memory://",
            stream_recovery_delay=settings.delay_s,
            stream_wait_empty=False,
            table_standby_replicas=0,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
        )
        self.app.install(self, lambda: self._say(Said(what="leaving")))
        for name in settings.topics:
            topic = self.app.topic(
                name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
            )
            self.app.agent(topic, name=name)(self._read)

    async def _read(self, stream: Any) -> None:
        async for event in stream.noack().events():
            self._take(event.message)

    def _take(self, message: Any) -> None:
        tp, value = message.tp, message.value.decode()
        self._say(
            Said(
                what="read",
                topic=tp.topic,
                partition=tp.partition,
                offset=message.offset,
                value=value,
            )
        )
        word, _, name = value.partition(" ")
        if word == "hold":
            self._held[tp][name] = message.offset
        elif word == "release" and self._settings.releases:
            self._held[tp].pop(name, None)
        elif word in ("widen", "narrow"):
            self._filler = "." * TOO_WIDE if word == "widen" else ""
        self._next[tp] = message.offset + 1

    def safe(self) -> dict[TP, tuple[int, str]]:
        """The oldest offset that is held, or where reading goes on; noted with it by whom."""
        if threading.get_ident() != self._thread:
            self._say(Said(what="asked elsewhere"))
        found = {}
        for tp, following in self._next.items():
            offset = min(self._held[tp].values(), default=following)
            found[tp] = (offset, f"{self._settings.name} {offset}{self._filler}")
        return found

    async def on_seek(self, consumer: Consumer) -> None:
        """Go on with what was held all along, and begin anew with the rest, as the stage does."""
        assigned = consumer.assignment()
        generation = self.app.consumer_generation_id
        unbroken = generation in (self._generation, self._generation + 1)
        self._generation = generation
        for tp in self._next.keys() - (assigned if unbroken else set()):
            del self._next[tp], self._held[tp], self._notes[tp]
        committed = await consumer.committed(assigned)
        for tp in assigned - self._next.keys():
            offset, note = committed.get(tp) or (-1, "")
            self._next[tp] = max(0, offset - self._settings.back)
            self._held[tp] = {}
            self._notes[tp] = note
        await consumer.seek_wait(dict(self._next))
        self._say(Said(what="sought", assigned=tuple(self._described(assigned))))

    def _described(self, assigned: Iterable[TP]) -> Iterable[tuple[str, int, str]]:
        return ((tp.topic, tp.partition, self._notes[tp]) for tp in sorted(assigned))

    def _say(self, said: Said) -> None:
        with Path(self._settings.said).open("ab") as lines:
            lines.write(msgspec.json.encode(said) + b"\n")


def main() -> None:
    """Run one worker until a signal ends it."""
    logging.basicConfig(level=logging.INFO)
    reader = Reader(msgspec.json.decode(sys.argv[1], type=Settings))
    worker = faust.Worker(
        reader.app, override_logging=False, redirect_stdouts=False, console_port=0, quiet=True
    )
    worker.spinner = None  # it draws on standard output even when told to be quiet
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
