"""Where a feature cache is: one URL for a single server, a socket, sentinels or a cluster.

    redis://[user:password@]host[:6379][/db]              a single server
    rediss://...                                          the same over TLS
    unix://[user:password@]/path/to/redis.sock[?db=0]     a socket
    redis+sentinel://[user:password@]h1[:26379],h2/service[/db]
    redis+cluster://[user:password@]h1[:6379],h2
    rediss+sentinel://, rediss+cluster://                 the same over TLS

Query parameters: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (files), `ssl_check_hostname`
(`true`), `sentinel_username`, `sentinel_password`, `db`. What is not a plain letter or digit in a
name or password is percent-encoded. No password is ever shown, in no error either.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
EXAMPLE: Final = "redis://user:password@host:6379/0"
TRUE: Final = {"true", "1", "yes"}
FALSE: Final = {"false", "0", "no"}


class AddressError(ValueError):
    """A URL that leads to no feature cache, said without its secrets."""


class Kind(Enum):
    """What answers at the other end."""

    SERVER = "server"
    SOCKET = "socket"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES: Final = {
    "redis": (Kind.SERVER, False),
    "rediss": (Kind.SERVER, True),
    "unix": (Kind.SOCKET, False),
    "redis+sentinel": (Kind.SENTINEL, False),
    "rediss+sentinel": (Kind.SENTINEL, True),
    "redis+cluster": (Kind.CLUSTER, False),
    "rediss+cluster": (Kind.CLUSTER, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a server proves who it is, and how we do."""

    ca_file: str | None = None  # None: the system's authorities
    cert_file: str | None = None
    key_file: str | None = None
    check_hostname: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """An ACL user's name and password; a password alone is the default user's."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A parsed URL. `str()` shows it without any name or password."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    login: Login = Login()
    sentinel_login: Login = Login()
    tls: Tls | None = None

    @classmethod
    def parse(cls, url: str) -> "Address":
        """The address that a URL names. Raises AddressError, which says what to change."""
        try:
            parts = urlsplit(url)
        except ValueError:
            # urllib's own message may quote what stands between the brackets.
            raise AddressError(f"not a URL of the form {EXAMPLE}") from None
        if parts.scheme not in _SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
            # Not what was found: without a scheme, what stands there may be the password.
            raise AddressError(f"a cache's URL begins with one of {known}")
        if parts.fragment:
            raise AddressError("a URL holds no `#`: write it as %23 in a password")
        kind, tls = _SCHEMES[parts.scheme]
        login, _, netloc = parts.netloc.rpartition("@")
        options = _Options(parts.query)
        segments = [unquote(each) for each in parts.path.split("/")[1:] if each]
        service = segments.pop(0) if kind is Kind.SENTINEL and segments else ""
        if kind is Kind.SENTINEL and not service:
            raise AddressError("the sentinels' service is missing: ...host:26379/SERVICE/0")
        found = cls(
            kind=kind,
            hosts=() if kind is Kind.SOCKET else _hosts(netloc, kind),
            path=_path(netloc, parts.path) if kind is Kind.SOCKET else "",
            service=service,
            db=_db([] if kind is Kind.SOCKET else segments, options),
            login=_login(login),
            sentinel_login=options.sentinel_login(),
            tls=options.tls(used=tls),
        )
        options.refuse_others(sentinel=kind is Kind.SENTINEL, tls=tls)
        if kind is Kind.CLUSTER and found.db:
            raise AddressError("a Redis Cluster has one database only: leave out the last part")
        return found

    @property
    def is_cluster(self) -> bool:
        """Whether keys carry a bucket tag there."""
        return self.kind is Kind.CLUSTER

    @property
    def where(self) -> str:
        """The hosts, or the socket, alone."""
        return self.path or ",".join(shown(*host) for host in self.hosts)

    def with_password(self, password: str) -> "Address":
        """The same with a password that was kept apart from the URL."""
        return replace(self, login=replace(self.login, password=password))

    def __str__(self) -> str:
        if self.kind is Kind.SOCKET:
            return f"unix://{self.path}?db={self.db}"
        key = (self.kind, self.tls is not None)
        scheme = next(name for name, value in _SCHEMES.items() if value == key)
        service = f"/{self.service}" if self.service else ""
        return f"{scheme}://{self.where}{service}" + ("" if self.is_cluster else f"/{self.db}")


def shown(host: str, port: int) -> str:
    """A host and its port, as URLs write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Options:
    """The query parameters, each taken once; those that nobody took are refused."""

    def __init__(self, query: str) -> None:
        pairs = parse_qsl(query, keep_blank_values=True)
        self._given: Mapping[str, str] = dict(pairs)
        if len(self._given) < len(pairs):
            raise AddressError("a query parameter is given twice")

    def get(self, name: str) -> str | None:
        return self._given.get(name)

    def sentinel_login(self) -> Login:
        return Login(username=self.get("sentinel_username"), password=self.get("sentinel_password"))

    def tls(self, *, used: bool) -> Tls | None:
        if not used:
            return None
        check = (self.get("ssl_check_hostname") or "true").lower()
        if check not in TRUE | FALSE:
            raise AddressError("ssl_check_hostname is true or false")
        if self.get("ssl_keyfile") and not self.get("ssl_certfile"):
            raise AddressError("ssl_keyfile without ssl_certfile: give the certificate too")
        return Tls(
            ca_file=self.get("ssl_ca_certs"),
            cert_file=self.get("ssl_certfile"),
            key_file=self.get("ssl_keyfile"),
            check_hostname=check in TRUE,
        )

    def refuse_others(self, *, sentinel: bool, tls: bool) -> None:
        known = {"db"}
        if sentinel:
            known |= {"sentinel_username", "sentinel_password"}
        if tls:
            known |= {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
        if others := sorted(self._given.keys() - known):
            hint = " (TLS is asked for by rediss://)" if others[0].startswith("ssl_") else ""
            # Its name is not quoted: it may be the end of a password with a question mark in it.
            raise AddressError(
                f"a query parameter is unknown{hint}; known here: " + ", ".join(sorted(known))
            )


def _login(text: str) -> Login:
    if not text:
        return Login()
    username, colon, password = text.partition(":")
    return Login(username=unquote(username) or None, password=unquote(password) if colon else None)


def _hosts(netloc: str, kind: Kind) -> tuple[tuple[str, int], ...]:
    default = SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT
    hosts = tuple(_host(each, default) for each in netloc.split(","))
    if kind is Kind.SERVER and len(hosts) > 1:
        raise AddressError(
            "several hosts need redis+sentinel://h1,h2/SERVICE or redis+cluster://h1,h2"
        )
    return hosts


def _host(text: str, default: int) -> tuple[str, int]:
    # An address of IPv6 stands in brackets, since it has colons of its own.
    inside, bracket, rest = text.removeprefix("[").partition("]")
    host, port = (inside, rest.removeprefix(":")) if bracket else (text, "")
    if not bracket:
        host, _, port = text.partition(":")
    if not host:
        raise AddressError("a host is missing")
    try:
        host.encode("idna")
    except UnicodeError:
        raise AddressError("a host is no name that could be looked up") from None
    if not port:
        return unquote(host), default
    # Nothing of the text is quoted: a password with an @ or a / in it may be what stands here.
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise AddressError(
            "a port is a number from 1 to 65535; / : @ in a name or password are written as "
            "%2F %3A %40"
        )
    return unquote(host), int(port)


def _path(netloc: str, path: str) -> str:
    if netloc or not path.strip("/"):
        raise AddressError("a socket's URL has three slashes: unix:///path/to/redis.sock")
    return unquote(path)


def _db(segments: list[str], options: _Options) -> int:
    if len(segments) > 1:
        raise AddressError("too many parts after the host")
    text = segments[0] if segments else options.get("db") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise AddressError("the database is a number: ...host:6379/0")
    return int(text)
