"""The proxy of the faults: what a cut lets pass and what it does not, before and after healing."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from enrichment.lab.ports import LOOPBACK
from tests.faults.proxy import BOTH, MISSING, Cut, Link, Proxies, Way, available, proxies
from tests.integration.stages import eventually

pytestmark = pytest.mark.skipif(not available(), reason=MISSING)

QUIET_S: Final = 0.3  # a byte on loopback takes less than a thousandth of it


class Echo:
    """A server that says back what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self._listener = socket.create_server((LOOPBACK, 0))
        self.address = f"{LOOPBACK}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        # A link that is cut may end it in the middle.
        with connection, suppress(ConnectionError):
            while said := connection.recv(100):
                self.heard += said
                connection.sendall(said)


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server."""
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def link(echo: Echo, tmp_path: Path) -> Iterator[Link]:
    """A link to the server."""
    with proxies(tmp_path) as started:
        yield _link(started, echo)


def _link(started: Proxies, echo: Echo) -> Link:
    return started.link(echo.address)


def connect(link: Link) -> socket.socket:
    """A client behind the link, which has been answered once."""
    client = socket.create_connection((LOOPBACK, link.port), timeout=5)
    client.sendall(b"0")
    assert client.recv(10) == b"0"
    client.settimeout(QUIET_S)
    return client


def silent(client: socket.socket) -> bool:
    """Whether nothing comes, the connection being open."""
    try:
        client.recv(10)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize("by", Cut)
def test_cut_to_the_server_it_hears_nothing(link: Link, echo: Echo, by: Cut) -> None:
    """Neither on an old connection nor on a new one."""
    with connect(link) as client:
        link.cut(Way.TO_SERVER, by=by)
        client.sendall(b"1")
        assert silent(client)
        with socket.create_connection((LOOPBACK, link.port), timeout=5) as second:
            second.settimeout(QUIET_S)
            second.sendall(b"2")
            assert silent(second)
        assert echo.heard == b"0"


@pytest.mark.parametrize("by", Cut)
def test_cut_to_the_client_the_server_hears_and_its_answer_does_not_come(
    link: Link, echo: Echo, by: Cut
) -> None:
    """The request takes effect, and its sender cannot know."""
    with connect(link) as client:
        link.cut(Way.TO_CLIENT, by=by)
        client.sendall(b"1")
        eventually("the server hears", lambda: echo.heard == b"01", within_s=5)
        assert silent(client)


def test_cut_both_ways_nothing_passes(link: Link, echo: Echo) -> None:
    """Neither way."""
    with connect(link) as client:
        link.cut(*BOTH)
        client.sendall(b"1")
        assert silent(client)
        assert echo.heard == b"0"


def test_what_was_lost_stays_lost(link: Link, echo: Echo) -> None:
    """Healed, the connection that lost bytes is closed, and another one works."""
    with connect(link) as client:
        link.cut(Way.TO_SERVER)
        client.sendall(b"1")
        assert silent(client)
        link.heal()
        assert client.recv(10) == b""
        connect(link).close()
        assert echo.heard == b"00"


def test_what_was_delayed_arrives_at_healing(link: Link, echo: Echo) -> None:
    """On the same connection, whole and in order."""
    with connect(link) as client:
        link.cut(Way.TO_SERVER, by=Cut.DELAY)
        for byte in (b"1", b"2", b"3"):
            client.sendall(byte)
            assert silent(client)
        assert echo.heard == b"0"
        link.heal()
        eventually("it arrives", lambda: echo.heard == b"0123", within_s=5)
