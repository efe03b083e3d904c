"""A call's timebox holds for the whole of it, against a server that is never quite silent."""

import socket
import time
from collections.abc import Iterator

import pytest

from tests.feature.readers import Way, awaited, awaited_kept, blocking, blocking_kept
from tests.feature.scripted import GREETING, Scripted

TIMEOUT_MS = 100
SLACK_S = 1.0  # a machine that others keep busy; the server would go on for thirty seconds


@pytest.fixture
def trickling() -> Iterator[Scripted]:
    """A Redis whose answer to MGET comes a byte at a time, sooner than any one wait gives up."""

    def answer(command: bytes, connection: socket.socket) -> None:
        if command == b"HELLO":
            connection.sendall(GREETING)
        elif command == b"MGET":
            for byte in b"*2\r\n$999\r\n" + 999 * b"x":
                if server.closing.wait(0.03):
                    return
                connection.sendall(bytes([byte]))
        else:
            connection.sendall(b"+OK\r\n")

    server = Scripted(answer)
    yield server
    server.close()


@pytest.mark.parametrize(
    "way", [blocking, awaited, blocking_kept, awaited_kept], ids=lambda way: way.__name__
)
def test_a_trickle_of_bytes_keeps_nobody(trickling: Scripted, way: Way) -> None:
    """Each byte comes in time, and the answer never would: the verdict does."""
    with way(f"redis://127.0.0.1:{trickling.port}/0", timeout_ms=TIMEOUT_MS) as reads:
        began_s = time.monotonic()
        found = reads.one("account", "42", "ring")
        took_s = time.monotonic() - began_s
    assert found.verdict.reason == "cache_unavailable"
    assert took_s + 0.01 >= TIMEOUT_MS / 1_000
    assert took_s < 2 * TIMEOUT_MS / 1_000 + SLACK_S
