"""Loopback ports: which are free, and who holds one that is not."""

import secrets
import socket
from collections import deque
from pathlib import Path
from typing import Final

from enrichment.lab.server_process import ServerError

LOOPBACK: Final = "127.0.0.1"
# Below Linux's ephemeral range (32768-60999): a client that keeps reconnecting to a port *inside*
# it may be given that very port as its own, connect to itself, and keep the server from returning.
FREE_LOW: Final = 20_000
FREE_HIGH: Final = 32_000
ATTEMPTS_MAX: Final = 200
GIVEN_MAX: Final = 1_000  # a twelfth of them: what was given longer ago is used, or never will be
LISTENING: Final = "0A"  # TCP_LISTEN in /proc/net/tcp


_given: Final[deque[int]] = deque(maxlen=GIVEN_MAX)
"""What this process was given lately, and may not listen on yet."""


def free_port(span: int = 1) -> int:
    """A port such that it and the `span - 1` after it are free now. Free is not reserved.

    A process is not given one twice: a server with three ports asks for all before it starts.
    """
    for _ in range(ATTEMPTS_MAX):
        port = FREE_LOW + secrets.randbelow(FREE_HIGH - FREE_LOW - span)
        ports = range(port, port + span)
        if not any(each in _given for each in ports) and all(map(is_free, ports)):
            _given.extend(ports)
            return port
    raise ServerError(
        f"no {span} free ports side by side between {FREE_LOW} and {FREE_HIGH} "
        f"in {ATTEMPTS_MAX} attempts: end what listens there"
    )


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger in TIME_WAIT do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """Whether anything accepts connections there. It does not bind: a server may be about to."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def require_free(port: int, *, server: str, option: str) -> None:
    """Nothing when the port is free; ServerError naming its holder and the way out when not."""
    if is_free(port):
        return
    raise ServerError(
        f"port {port}, which {server} needs, is taken by {holder(port)}. "
        f"End that process, or give another port: `enrichment up {option} N`."
    )


def holder(port: int) -> str:
    """Who listens on a port, as well as it can be told: "pid 42 (redis-server)"."""
    inodes = _listening_inodes(port)
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = str(fd.readlink())
            if target.removeprefix("socket:[").removesuffix("]") in inodes:
                process = fd.parent.parent
                name = (process / "comm").read_text(encoding="utf-8").strip()
                return f"pid {process.name} ({name})"
        except OSError:  # ended meanwhile, or another user's
            continue
    return "another process (of another user, or of another container)"


def _listening_inodes(port: int) -> frozenset[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for row in table.read_text(encoding="ascii").splitlines()[1:]:
            columns = row.split()
            if columns[3] == LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(columns[9])
    return frozenset(inodes)
