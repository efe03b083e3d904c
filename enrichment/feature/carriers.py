"""How a reader's questions reach Redis: plainly from any thread, or past a copy of what it read.

A carrier is asked for the values of keys, by a deadline on `time.monotonic`, and gives all of them
or raises redis.RedisError. A process that was forked makes connections of its own: two that read
from one would take each other's answers.
"""

import os
import threading
import time
from collections import deque
from typing import Any, Final, Protocol

import redis

from enrichment.feature.address import Address
from enrichment.feature.connection import CONNECT_S
from enrichment.feature.reads import Read, Session, TrackedReads, open_session

# Open connections that nobody uses just now: as many threads as a web server has by default.
IDLE_MAX: Final = 40
_ABSENT: Final[Any] = object()  # None is what is kept of a key that Redis does not have


class Carrier(Protocol):
    """What brings the values of keys."""

    def mget(self, keys: list[str], deadline_s: float) -> list[bytes | None]:
        """The values in the order of the keys, None where there is none."""

    def close(self) -> None:
        """Let go of all connections."""


class PooledReads:
    """Reads from any number of threads, each over a connection of its own while it lasts.

    Connects when it has to; that takes up to `CONNECT_S` beyond the deadline, since a timebox that
    is too short to connect in would never come to an answer.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: deque[Session] = deque()
        self._process = os.getpid()

    def mget(self, keys: list[str], deadline_s: float) -> list[bytes | None]:
        """The values; over another connection where the first was closed while nobody looked."""
        if self._process != os.getpid():
            self._idle, self._process = deque(), os.getpid()
        try:
            session = self._idle.pop()
        except IndexError:
            return self._read(self._opened(deadline_s), keys, deadline_s)
        try:
            return self._read(session, keys, deadline_s)
        except redis.ConnectionError:
            return self._read(self._opened(deadline_s), keys, deadline_s)

    def close(self) -> None:
        """Let go of the connections that nobody uses just now."""
        while self._idle:
            self._idle.pop().close()

    def _opened(self, deadline_s: float) -> Session:
        return open_session(self._address, deadline_s + CONNECT_S, track=False)

    def _read(self, session: Session, keys: list[str], deadline_s: float) -> list[bytes | None]:
        try:
            values = session.read(keys, deadline_s).values
            _require_all(values, keys)
        except BaseException:
            # Whatever happened: the next reply may be the answer to this question.
            session.close()
            raise
        if len(self._idle) < IDLE_MAX:
            self._idle.append(session)
        else:
            session.close()
        return values


class KeptReads:
    """Reads that ask only for what has changed, and otherwise answer from a copy of their own.

    The copy is never older than a read of everything: the server tells of changes before it answers
    the one small read that each call makes (see `reads`). Any thread may call; calls take turns.
    """

    def __init__(self, address: Address, timeout_s: float, keep_max: int) -> None:
        """`keep_max` values are kept, half as many as accounts whose `ring` is read."""
        self._address = address
        self._timeout_s = timeout_s
        self._keep_max = keep_max
        self._process = os.getpid()
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._reads: TrackedReads | None = None
        self._kept: dict[str, bytes | None] = {}

    def mget(self, keys: list[str], deadline_s: float) -> list[bytes | None]:
        """The values, each as it is kept or as it was just read."""
        if self._process != os.getpid():
            self._begin()
            self._process = os.getpid()
        if not self._lock.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
            raise redis.TimeoutError(f"{self._address}: others were still reading")
        try:
            return self._values(keys, deadline_s)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let go of the connection and of the copy."""
        with self._lock:
            self._kept.clear()
            if self._reads is not None:
                self._reads.close()
                self._reads = None

    def _values(self, keys: list[str], deadline_s: float) -> list[bytes | None]:
        if self._reads is None:
            self._reads = TrackedReads(self._address, self._timeout_s)
        reads, kept = self._reads, self._kept
        wanted = [key for key in keys if key not in kept] if reads.tracking else keys
        # One key at the least: its answer comes after word of every change before it.
        read = self._read(reads, wanted or keys[:1], deadline_s)
        values = [kept.get(key, _ABSENT) for key in keys]
        # Right for this call, and not for the next.
        read.forget_overtaken(kept)
        if _ABSENT in values:
            # Seldom any: what had changed, or all of it after a flush or over a new connection.
            again = [key for key, value in zip(keys, values, strict=True) if value is _ABSENT]
            read = self._read(reads, again, deadline_s)
            read.forget_overtaken(kept)
            found = dict(zip(again, read.values, strict=True))
            values = [
                found[key] if value is _ABSENT else value
                for key, value in zip(keys, values, strict=True)
            ]
        while len(kept) > self._keep_max:
            kept.pop(next(iter(kept)))  # what has been kept for longest
        return values

    def _read(self, reads: TrackedReads, asked: list[str], deadline_s: float) -> Read:
        """Ask for these, and keep them. Raises redis.TimeoutError where not all came."""
        read = reads.read(asked, deadline_s)
        read.forget_changed(self._kept)
        if len(read.values) < len(asked):
            read.forget_overtaken(self._kept)
        _require_all(read.values, asked)
        self._kept |= zip(asked, read.values, strict=True)
        return read


def _require_all(values: list[bytes | None], keys: list[str]) -> None:
    if len(values) < len(keys):
        raise redis.TimeoutError(f"{len(values)} of {len(keys)} values came in time")
