"""Journals: what clients of Kafka did and were told, as lines of JSON that survive their writer.

Each process appends lines to a file of its own, each line by one call, so that a `kill -9` leaves
whole lines. `history` holds them against each other; `recording` writes them.
"""

import os
import threading
from pathlib import Path
from typing import Final

import msgspec


class _Op(msgspec.Struct, frozen=True, kw_only=True):
    process: str


class Sent(_Op, frozen=True, kw_only=True, tag="sent"):
    """A record handed to a producer; whether it arrived is not known yet.

    `send` names this sending, `value` what was sent: the same content has the same value.
    `transaction` is empty outside of transactions; `value` is empty for a tombstone.
    """

    send: str
    topic: str
    partition: int
    key: str = ""
    value: str
    transaction: str = ""


class Acked(_Op, frozen=True, kw_only=True, tag="acked"):
    """The broker says that it holds the record at this offset."""

    send: str
    offset: int


class Ended(_Op, frozen=True, kw_only=True, tag="ended"):
    """The broker says how a transaction ended. One without this word may have ended either way."""

    transaction: str
    committed: bool


class Assigned(_Op, frozen=True, kw_only=True, tag="assigned"):
    """A reader begins to read a partition at an offset: a span begins."""

    topic: str
    partition: int
    start: int
    read_committed: bool


class Polled(_Op, frozen=True, kw_only=True, tag="polled"):
    """A reader was given a record."""

    topic: str
    partition: int
    offset: int
    key: str = ""
    value: str


class Reached(_Op, frozen=True, kw_only=True, tag="reached"):
    """A reader was told that nothing more lies before this offset."""

    topic: str
    partition: int
    position: int


Op = Sent | Acked | Ended | Assigned | Polled | Reached

SUFFIX: Final = ".journal"
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Op).decode


class Journal:
    """A file that threads of one process append ops to."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._lock = threading.Lock()

    def note(self, op: Op) -> None:
        """Append one op. When this returns the kernel has it, whatever becomes of the process."""
        line = _encode(op) + b"\n"
        with self._lock:
            assert os.write(self._fd, line) == len(line)

    def close(self) -> None:
        """Note nothing more."""
        os.close(self._fd)


def read_journals(folder: Path) -> list[Op]:
    """The ops of all journals of a folder, each file's in its order."""
    return [
        _decode(line)
        for path in sorted(folder.glob(f"*{SUFFIX}"))
        for line in path.read_bytes().splitlines()
    ]
