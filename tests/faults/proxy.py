"""Toxiproxy between a client and a server: the network, to be cut one way or both, and healed.

It works on streams and not on packets, so a cut is one of two things, neither quite a network's:

- `Cut.LOSS`: bytes vanish; healing closes the connections that it hit, since what is gone is gone.
- `Cut.DELAY`: bytes are held and arrive at healing, as those do that TCP sends again: a request
  that its sender has given up long ago takes effect then.

New connections are accepted during a cut and stay silent, and with LOSS the end of a connection is
passed on even the cut way; a network would do neither.
"""

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Final

from enrichment.lab.ports import LOOPBACK, free_port, listens
from enrichment.lab.server_process import ServerProcess

TOXIPROXY: Final = Path(__file__).resolve().parents[2] / ".tools" / "bin" / "toxiproxy"
MISSING: Final = "no Toxiproxy: `make toxiproxy` builds it where there is a go"
START_S: Final = 10.0
CALL_S: Final = 5.0
FOR_EVER_MS: Final = 86_400_000  # a day: longer than any cut


class Way(Enum):
    """Where bytes flow, in Toxiproxy's words."""

    TO_SERVER = "upstream"
    TO_CLIENT = "downstream"


BOTH: Final = (Way.TO_SERVER, Way.TO_CLIENT)


class Cut(Enum):
    """What becomes of the bytes: Toxiproxy's toxic, and its only attribute."""

    LOSS = ("timeout", {"timeout": 0})
    DELAY = ("latency", {"latency": FOR_EVER_MS})


def available() -> bool:
    """Whether it has been built."""
    return os.access(TOXIPROXY, os.X_OK)


class Link:
    """One port in front of one server."""

    def __init__(self, api: str, name: str, port: int) -> None:
        self._toxics = f"{api}/proxies/{name}/toxics"
        self.port = port
        self._cut: list[str] = []

    @property
    def address(self) -> str:
        """Where clients go in place of the server."""
        return f"{LOOPBACK}:{self.port}"

    def cut(self, *ways: Way, by: Cut = Cut.LOSS) -> None:
        """Let nothing pass these ways, on connections old and new."""
        toxic, attributes = by.value
        for way in ways:
            name = f"{toxic}-{way.value}"
            body = {
                "name": name,
                "type": toxic,
                "stream": way.value,
                "toxicity": 1.0,
                "attributes": attributes,
            }
            _call("POST", self._toxics, body)
            self._cut.append(name)

    def heal(self) -> None:
        """Let everything pass again."""
        while self._cut:
            _call("DELETE", f"{self._toxics}/{self._cut.pop()}")


class Proxies:
    """One Toxiproxy process and its links."""

    def __init__(self, port: int) -> None:
        self._api = f"http://{LOOPBACK}:{port}"
        self._links = 0

    def link(self, server: str, *, port: int | None = None) -> Link:
        """A link to the server at that address, at a free port or at this one."""
        self._links += 1
        name, at = f"link-{self._links}", port or free_port()
        body = {"name": name, "listen": f"{LOOPBACK}:{at}", "upstream": server, "enabled": True}
        _call("POST", f"{self._api}/proxies", body)
        return Link(self._api, name, at)


@contextmanager
def proxies(folder: Path) -> Iterator[Proxies]:
    """Toxiproxy while the block runs; it ends with this process, too."""
    folder.mkdir(parents=True, exist_ok=True)
    port, config = free_port(), folder / "toxiproxy.json"
    config.write_text("[]", encoding="utf-8")
    process = ServerProcess(
        name="Toxiproxy",
        pid_path=folder / "toxiproxy.process.json",
        log_path=folder / "toxiproxy.log",
        mark=str(config),
        tied=True,
    )
    options = ["-host", LOOPBACK, "-port", str(port), "-config", str(config)]
    pid = process.spawn([str(TOXIPROXY), *options], port=port)
    try:
        process.await_ready(pid, lambda: listens(port), within_s=START_S)
        yield Proxies(port)
    finally:
        process.stop()


def _call(method: str, url: str, body: object = None) -> None:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)  # noqa: S310  # our own, on loopback
    with urllib.request.urlopen(request, timeout=CALL_S):  # noqa: S310
        pass
