"""The hot path's reads: many values in one round trip, and what has changed since they were read.

Redis remembers which keys this connection has read, and writes the names of those that change into
the same connection (`CLIENT TRACKING` in its default mode). A reply thus comes after every change
before it: who keeps a copy of values, makes one read, however small, and lets go of what that read
says has changed, has what a read of everything would have given:

    wanted = [key for key in keys if key not in kept] if reads.tracking else keys
    read = reads.read([*marks, *wanted])        # one round trip, within the timebox
    read.forget_changed(kept)                   # first: what was kept and is so no longer
    kept |= ...what came, by key...
    again = [key for key in keys if key not in kept]    # seldom any: read those too, once
    ...use what is kept...
    read.forget_overtaken(kept)                 # last: right for this batch, not for the next

A reply that comes too late for one read is let go of before the next, over the same connection:
else one hiccup would cost everything that is kept. The connection is made on a thread of its own:
a server that hangs costs its readers a few timeboxes in all, and one that is away costs them
nothing, until it answers again.
"""

import contextlib
import threading
import time
from collections.abc import MutableMapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import redis

from enrichment.feature.address import Address
from enrichment.feature.routing import Fence, Router, mget
from enrichment.feature.wire import Command, Dialer, Wire

KEYS_MAX: Final = 2_000  # per MGET: about a millisecond of Redis' only thread
# Asked for before the first reply is read: the server buffers no more of our answers than of these.
IN_FLIGHT_MAX: Final = 32_000
# A connection whose replies are later than this is given up: so long a silence is no hiccup.
LATE_MAX_S: Final = 1.0
CONNECT_S: Final = 1.0  # an attempt on the connecting thread, for which no event waits
PAUSE_FIRST_S: Final = 0.05  # between attempts, doubled each time
PAUSE_MAX_S: Final = 1.0  # a server that is back should not wait longer for us to notice

Changed = frozenset[bytes] | None  # None: everything may have changed
T = TypeVar("T")


class Read(NamedTuple):
    """The values of one read, and what it says of values read before.

    `values`: in the order of the keys, None where there is none; fewer where time was up.
    `changed`: keys that changed before these values were read: let go of them, then keep these.
    `overtaken`: keys that changed after these values were read: use them, and then let go of them.
    Either is None where that is everything: a new connection, FLUSHALL, a failover.
    """

    values: list[bytes | None]
    changed: Changed
    overtaken: Changed

    def forget_changed(self, kept: MutableMapping[str, T]) -> None:
        """Let go of kept values that had changed: before these values are kept."""
        _forget(kept, self.changed)

    def forget_overtaken(self, kept: MutableMapping[str, T]) -> None:
        """Let go of kept values that have changed meanwhile: after these values were kept."""
        _forget(kept, self.overtaken)


def _forget(kept: MutableMapping[str, T], changed: Changed) -> None:
    if changed is None:
        kept.clear()
        return
    for key in changed:
        kept.pop(key.decode(), None)


class Session(Protocol):
    """Open connections to all that answers at one address."""

    @property
    def tracking(self) -> bool:
        """Whether it is told of changes."""

    def read(self, keys: Sequence[str], deadline_s: float) -> Read:
        """At most IN_FLIGHT_MAX values, of the first keys where the rest did not come in time.

        After an exception it must be closed, unless `merely_late`.
        """

    def merely_late(self) -> bool:
        """Whether what failed was a reply that is still to come, and soon."""

    def close(self) -> None:
        """Let go of the connections. Idempotent."""


class ServerSession:
    """A session with one server: itself, or the primary that sentinels named."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        # Replies to come, those to earlier reads first, and since when; None while all is sent.
        self._owed = 0
        self._owed_since_s: float | None = None

    @property
    def tracking(self) -> bool:
        """Whether the server tells what changes."""
        return self._wire.tracking

    def close(self) -> None:
        """Let go of the connection. Idempotent."""
        self._wire.close()

    def read(self, keys: Sequence[str], deadline_s: float) -> Read:
        """MGETs, all sent before the first reply is read."""
        while self._owed:
            self._receive(deadline_s)  # too late: its read was answered without it
        commands: list[Command] = [
            ("MGET", *keys[start : start + KEYS_MAX]) for start in range(0, len(keys), KEYS_MAX)
        ] or [("PING",)]
        self._owed_since_s = None
        self._wire.send(commands, deadline_s)
        self._owed, self._owed_since_s = len(commands), time.monotonic()
        values = _values(self._receive(deadline_s))
        changed = self._wire.take_invalidated()
        with contextlib.suppress(redis.TimeoutError):  # what has come is of use
            while self._owed:
                values += _values(self._receive(deadline_s))
        return Read(values if keys else [], changed, self._wire.take_invalidated())

    def merely_late(self) -> bool:
        """Whether replies are owed, and not for long."""
        since_s = self._owed_since_s
        return self._owed > 0 and since_s is not None and time.monotonic() < since_s + LATE_MAX_S

    def _receive(self, deadline_s: float) -> Any:
        reply = self._wire.receive(deadline_s)
        self._owed -= 1
        return reply


def _values(reply: Any) -> Any:
    if isinstance(reply, redis.RedisError):
        raise reply
    return reply


class ClusterSession:
    """A session with every primary of a cluster."""

    def __init__(self, router: Router, deadline_s: float) -> None:
        self._router = router
        self._known: dict[Wire, tuple[str, ...]] = {}
        # Without the fence's command it could not be told whether a node still has its slots.
        replies = [wire.ask([Fence.COMMAND], deadline_s)[0] for wire in router.wires.values()]
        self._fenced = not any(isinstance(reply, redis.RedisError) for reply in replies)

    @property
    def tracking(self) -> bool:
        """Whether every node tells what changes, and which slots it has."""
        return self._fenced and self._router.tracking

    def close(self) -> None:
        """Let go of all connections. Idempotent."""
        self._router.close()

    def merely_late(self) -> bool:
        """False: which of the nodes owes what is not kept."""
        return False

    def read(self, keys: Sequence[str], deadline_s: float) -> Read:
        """MGETs by slot, sent to all nodes before the first reply is read."""
        router, found = self._router, list[bytes | None]([None] * len(keys))
        router.moved = False
        fence = Fence(self._known) if self.tracking else None
        for call, values in router.execute(router.calls(mget, keys), deadline_s, fence):
            for place, value in zip(call.places, values, strict=True):
                found[place] = value
        if fence is None:
            for wire in router.wires.values():
                wire.take_invalidated()  # nobody may rely on it, and it must not grow
            return Read(found, None, None)
        if fence.moved and not router.moved:
            router.refresh(deadline_s)
        overtaken: set[bytes] = set()
        for wire in router.wires.values():
            if (late := wire.take_invalidated()) is None:
                return Read(found, None, None)
            overtaken |= late
        if router.moved or fence.moved:
            self._known = {wire: said for wire, said in self._known.items() if self._has(wire)}
            return Read(found, None, None)
        return Read(
            found, None if fence.flushed else frozenset(fence.invalidated), frozenset(overtaken)
        )

    def _has(self, wire: Wire) -> bool:
        return wire in self._router.wires.values()


def open_session(address: Address, deadline_s: float, *, track: bool = True) -> Session:
    """A session with whatever answers there. Raises redis.RedisError."""
    if not address.is_cluster:
        return ServerSession(Dialer(address, track=track).dial(deadline_s))
    router = Router(address, track=track)
    try:
        router.connect(deadline_s)
        return ClusterSession(router, deadline_s)
    except BaseException:
        router.close()
        raise


class _Opening:
    """A session on its way: opened on a thread of its own, tried again until it is there."""

    def __init__(self, address: Address, connect_s: float, *, track: bool) -> None:
        self._address = address
        self._connect_s = connect_s
        self._track = track
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._tried = threading.Event()
        self._session: Session | None = None
        self.error: redis.RedisError | None = None
        threading.Thread(target=self._run, name="feature-cache-connect", daemon=True).start()

    def _run(self) -> None:
        pause_s = PAUSE_FIRST_S
        while not self._ended.is_set():
            try:
                deadline_s = time.monotonic() + self._connect_s
                session = open_session(self._address, deadline_s, track=self._track)
            except redis.RedisError as error:
                self.error = error
                self._tried.set()
                self._ended.wait(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
                continue
            with self._lock:
                if self._ended.is_set():
                    session.close()
                self._session = session
                self._ended.set()
            self._tried.set()

    def take(self, wait_s: float) -> Session | None:
        """The session if it is there, or comes with the first attempt within `wait_s`."""
        if wait_s > 0:
            self._tried.wait(wait_s)
        with self._lock:
            session, self._session = self._session, None
            return session

    def await_open(self, within_s: float) -> bool:
        """Whether it came, with any attempt."""
        return self._ended.wait(within_s)

    def give_up(self) -> None:
        """Try no longer; a session that nobody took is closed."""
        with self._lock:
            self._ended.set()
            if self._session is not None:
                self._session.close()


class TrackedReads:
    """Reads of many keys in one round trip, and which values read earlier have changed since.

    For one thread. A read of which nothing is answered within `timeout_s` raises
    redis.TimeoutError; a cluster's nodes must all have answered. The connection is kept where the
    answer may still come, else let go, and another made.
    """

    def __init__(
        self,
        address: Address,
        timeout_s: float,
        *,
        connect_s: float = CONNECT_S,
        track: bool = True,
    ) -> None:
        """Connects at once, on a thread of its own; `connect` waits for it.

        Not to `track` is for what stands between us and Redis and does not pass its words on.
        """
        self._address = address
        self._track = track
        self._timeout_s = timeout_s
        self._connect_s = connect_s
        self._session: Session | None = None
        self._new = True  # nothing was read over this session yet
        self._opening: _Opening | None = _Opening(address, connect_s, track=track)
        self._patient = True

    @property
    def tracking(self) -> bool:
        """Whether changes are told. Where not, every read must be complete."""
        return self._session is not None and self._session.tracking

    @property
    def connected(self) -> bool:
        """Whether the last read left a connection. If not, the next may raise at once."""
        return self._session is not None

    def connect(self, within_s: float) -> None:
        """Wait for the connection, so that no event does. Raises redis.ConnectionError."""
        opening = self._opening
        if opening is not None and not opening.await_open(within_s):
            why = f": {opening.error}" if opening.error else " yet"
            raise redis.ConnectionError(f"no connection to {self._address}{why}")

    def close(self) -> None:
        """Let go of the connection and of any attempt at one."""
        self._lose()
        if self._opening is not None:
            self._opening.give_up()
            self._opening = None

    def read(self, keys: Sequence[str], deadline_s: float | None = None) -> Read:
        """The values of these keys, or of the first of them, and what has changed.

        Without keys it still asks what has changed. `deadline_s`, on `time.monotonic`, may be
        sooner than the timeout. Raises redis.RedisError.
        """
        if deadline_s is None:
            deadline_s = time.monotonic() + self._timeout_s
        if self._session is not None:
            try:
                return self._read(self._session, keys, deadline_s)
            except redis.ConnectionError:
                pass  # closed while nobody looked, or by a failover: there may be time for another
        return self._read(self._connected(deadline_s), keys, deadline_s)

    def _read(self, session: Session, keys: Sequence[str], deadline_s: float) -> Read:
        try:
            read = session.read(keys[:IN_FLIGHT_MAX], deadline_s)
            for start in range(IN_FLIGHT_MAX, len(keys), IN_FLIGHT_MAX):
                if len(read.values) < start:
                    break
                more = session.read(keys[start : start + IN_FLIGHT_MAX], deadline_s)
                late = _both(_both(read.overtaken, more.changed), more.overtaken)
                read = Read(read.values + more.values, read.changed, late)
        except redis.TimeoutError:
            if not session.merely_late():
                self._lose()
            raise
        except BaseException:
            # Whatever happened: the next reply may be the answer to this question.
            self._lose()
            raise
        if not session.tracking:
            return Read(read.values, None, None)
        if self._new:
            self._new = False
            return read._replace(changed=None)
        return read

    def _connected(self, deadline_s: float) -> Session:
        if self._opening is None:
            self._opening = _Opening(self._address, self._connect_s, track=self._track)
            self._patient = True
        # Whoever has waited for the first attempt need not wait for those that follow.
        wait_s = deadline_s - time.monotonic() if self._patient else 0.0
        self._patient = False
        session = self._opening.take(wait_s)
        if session is None:
            error = self._opening.error
            if error is None:
                raise redis.TimeoutError(f"{self._address}: not connected in time, still trying")
            raise redis.ConnectionError(f"{self._address}: still trying to connect: {error}")
        self._opening = None
        self._session, self._new = session, True
        return session

    def _lose(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def _both(first: Changed, second: Changed) -> Changed:
    return None if first is None or second is None else first | second
