"""One connection to one Redis that is told when what it has read changes (RESP3).

`CLIENT TRACKING ON` makes the server remember which keys this connection read, and write the names
of those that change into this very connection, at the time of the write. Whatever reply is read
here thus comes after every change before it. Every call has a deadline, on `time.monotonic`;
whoever sees one raise must close the wire, since replies would be out of step with questions.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, Final

import hiredis
import redis
from redis import exceptions

from enrichment.feature.address import Address, Kind, Login, Tls, shown

# A thousand values arrive in a few calls; more would be cold in the processor's cache.
RECEIVE_BYTES: Final = 256 * 1024
NAME: Final = "enrichment"  # as CLIENT LIST shows us

Command = Sequence[str | bytes | int]
Reply = Any  # bytes, int, None, a list of replies, or a redis.RedisError that stands for one

_NOT_YET: Final = object()
_ERRORS: Final[dict[str, type[redis.RedisError]]] = {
    "NOAUTH": exceptions.AuthenticationError,
    "WRONGPASS": exceptions.AuthenticationError,
    "NOPERM": exceptions.NoPermissionError,
    "NOSCRIPT": exceptions.NoScriptError,
    "LOADING": exceptions.BusyLoadingError,
    "READONLY": exceptions.ReadOnlyError,
}


def failure(text: str) -> redis.RedisError:
    """The exception that stands for an error reply; its text begins with the server's code."""
    return _ERRORS.get(text.partition(" ")[0], redis.ResponseError)(text)


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # of any length
    return packed


def _left_s(deadline_s: float) -> float:
    """What is left until the deadline; a timeout of 0 would mean not to block at all."""
    if (left_s := deadline_s - time.monotonic()) <= 0:
        raise TimeoutError
    return left_s


class Wire:
    """An open connection. `invalidated` collects what the server said has changed."""

    def __init__(self, link: socket.socket, where: str) -> None:
        self.where = where
        self.tracking = False
        self.role = ""  # "master" or "replica", where the server says so
        self._socket = link
        self._reader = hiredis.Reader(
            notEnoughData=_NOT_YET,
            replyError=failure,
            protocolError=redis.InvalidResponse,
        )
        self._buffer = bytearray(RECEIVE_BYTES)
        self._invalidated: set[bytes] = set()
        self._flushed = False

    def __del__(self) -> None:
        self.close()  # as clients of redis-py do, for a reader that is simply dropped

    def close(self) -> None:
        """Let go of the connection. Idempotent."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def send(self, commands: Sequence[Command], deadline_s: float) -> None:
        """Send commands in one go; each will be answered by one `receive`."""
        data = b"".join(_packed(command) for command in commands)
        try:
            self._socket.settimeout(_left_s(deadline_s))
            self._socket.sendall(data)
        except TimeoutError:
            raise redis.TimeoutError(f"{self.where} takes no commands in time") from None
        except OSError as error:
            raise redis.ConnectionError(f"{self.where} is gone: {error}") from error

    def receive(self, deadline_s: float) -> Reply:
        """The next reply; pushes before it are noted. An error reply is returned, not raised."""
        while True:
            reply = self._reader.gets()
            if reply is _NOT_YET:
                self._feed(deadline_s)
            elif isinstance(reply, hiredis.PushNotification):
                self._note(reply)
            else:
                return reply

    def ask(self, commands: Sequence[Command], deadline_s: float) -> list[Reply]:
        """The replies to some commands, sent together."""
        self.send(commands, deadline_s)
        return [self.receive(deadline_s) for _ in commands]

    def take_invalidated(self) -> frozenset[bytes] | None:
        """Keys that have changed since this was last asked, as far as read; None: all of them."""
        if self._flushed:
            self._flushed = False
            self._invalidated.clear()
            return None
        if not self._invalidated:
            return frozenset()
        taken = frozenset(self._invalidated)
        self._invalidated.clear()
        return taken

    def _note(self, push: list[Any]) -> None:
        if push[0] == b"invalidate":
            if push[1] is None:  # FLUSHALL, FLUSHDB
                self._flushed = True
            else:
                self._invalidated.update(push[1])

    def _feed(self, deadline_s: float) -> None:
        try:
            self._socket.settimeout(_left_s(deadline_s))
            count = self._socket.recv_into(self._buffer)
        except TimeoutError:
            raise redis.TimeoutError(f"{self.where} does not answer in time") from None
        except OSError as error:
            raise redis.ConnectionError(f"{self.where} is gone: {error}") from error
        if not count:
            raise redis.ConnectionError(f"{self.where} has closed the connection")
        self._reader.feed(self._buffer, 0, count)  # type: ignore[arg-type]  # any buffer will do


class Dialer:
    """Opens wires to the servers of one address, each logged in and with its database chosen."""

    def __init__(self, address: Address, *, track: bool) -> None:
        """`track`: ask for invalidations. A wire's `tracking` says whether they were granted."""
        self._address = address
        self._track = track
        self._tls = None if address.tls is None else tls_context(address.tls)

    def dial(self, deadline_s: float) -> Wire:
        """A wire to the server, or to the primary that the sentinels name now."""
        if self._address.kind is Kind.SENTINEL:
            wire = self.dial_host(*self._primary(deadline_s), deadline_s)
            if wire.role != "master":
                wire.close()
                raise redis.ConnectionError(f"{wire.where} is not the primary, or not yet")
            return wire
        if self._address.kind is Kind.SOCKET:
            return self._greeted(self._path_link(deadline_s), self._address.path, deadline_s)
        return self.dial_host(*self._address.hosts[0], deadline_s)

    def dial_host(self, host: str, port: int, deadline_s: float) -> Wire:
        """A wire to one server, of a cluster perhaps."""
        where = shown(host, port)
        return self._greeted(self._link(host, port, deadline_s), where, deadline_s)

    def _primary(self, deadline_s: float) -> tuple[str, int]:
        """The primary, from the first sentinel that knows it."""
        said = []
        for number, (host, port) in enumerate(self._address.hosts):
            # A sentinel that hangs leaves the others their share of the time.
            now_s = time.monotonic()
            share_s = (deadline_s - now_s) / (len(self._address.hosts) - number)
            try:
                return self._named_by(host, port, now_s + share_s)
            except redis.RedisError as error:
                said.append(str(error))
        raise redis.ConnectionError(
            f"no sentinel names the primary of {self._address.service!r}: " + "; ".join(said)
        )

    def _named_by(self, host: str, port: int, deadline_s: float) -> tuple[str, int]:
        where = f"sentinel {shown(host, port)}"
        wire = Wire(self._link(host, port, deadline_s), where)
        try:
            login = auth(self._address.sentinel_login)
            asked = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
            *before, found = wire.ask([*login, asked], deadline_s)
        finally:
            wire.close()
        for reply in (*before, found):
            if isinstance(reply, redis.RedisError):
                raise type(reply)(f"{where}: {reply}")
        if found is None:
            raise redis.ConnectionError(f"{where} knows no {self._address.service!r}")
        return found[0].decode(), int(found[1])

    def _link(self, host: str, port: int, deadline_s: float) -> socket.socket:
        where = shown(host, port)
        try:
            link = socket.create_connection((host, port), _left_s(deadline_s))
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls is None:
                return link
            # Shakes hands within the timeout of the socket, and closes it where that fails.
            return self._tls.wrap_socket(link, server_hostname=host)
        except TimeoutError:
            raise redis.TimeoutError(f"{where} takes no connection in time") from None
        except ssl.SSLError as error:
            raise redis.ConnectionError(f"{where} is not trusted: {error}") from error
        except OSError as error:
            raise redis.ConnectionError(f"{where} takes no connection: {error}") from error

    def _path_link(self, deadline_s: float) -> socket.socket:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.settimeout(max(deadline_s - time.monotonic(), 0.001))
            link.connect(self._address.path)
        except OSError as error:
            link.close()
            raise redis.ConnectionError(
                f"{self._address.path} takes no connection: {error}"
            ) from error
        return link

    def _greeted(self, link: socket.socket, where: str, deadline_s: float) -> Wire:
        wire = Wire(link, where)
        try:
            self._greet(wire, deadline_s)
        except BaseException:
            wire.close()
            raise
        return wire

    def _greet(self, wire: Wire, deadline_s: float) -> None:
        """Log in, choose the database and ask for invalidations, in one round trip."""
        login, db = self._address.login, self._address.db
        hello: list[str | int] = ["HELLO", 3]
        if login.password is not None:
            hello += ["AUTH", login.username or "default", login.password]
        hello += ["SETNAME", NAME]
        rest: list[Command] = [("SELECT", db)] if db else []
        if self._track:
            rest.append(("CLIENT", "TRACKING", "ON"))
        greeting, *replies = wire.ask([hello, *rest], deadline_s)
        if isinstance(greeting, redis.RedisError):
            if isinstance(greeting, exceptions.AuthenticationError | exceptions.BusyLoadingError):
                raise type(greeting)(f"{wire.where}: {greeting}")
            # Before Redis 6, and in some proxies, there is no HELLO: then nothing is pushed either.
            replies = wire.ask([*auth(login), *rest], deadline_s)[len(auth(login)) :]
        else:
            wire.role = greeting[b"role"].decode()
        if db and isinstance(replies[0], redis.RedisError):
            raise type(replies[0])(f"{wire.where}: {replies[0]}")
        # An error means that the server, or this user's rules, do not grant it.
        wire.tracking = self._track and replies[-1] == b"OK"


def auth(login: Login) -> list[Command]:
    """The commands that log in: none where nothing is known."""
    if login.password is None:
        return []
    if login.username is None:
        return [("AUTH", login.password)]
    return [("AUTH", login.username, login.password)]


def tls_context(tls: Tls) -> ssl.SSLContext:
    """What a server must prove. Raises redis.ConnectionError where a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = tls.check_hostname
        if tls.cert_file is not None:
            # A password for the key is never asked for on a terminal that nobody watches.
            context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        files = [each for each in (tls.ca_file, tls.cert_file, tls.key_file) if each]
        raise redis.ConnectionError(
            f"cannot be used for TLS ({error}): {', '.join(files)}"
        ) from error
    return context
