"""The console served over HTTP until a signal ends it."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from enrichment.console.limits import CONNECTIONS_MAX, HEADERS_BYTES_MAX
from enrichment.telemetry.log import logger

KEEP_ALIVE_S = 10
GRACE_S = 3  # for pages that follow live, which would stay for ever
BACKLOG = 128


class _Server(uvicorn.Server):
    """A server that leaves signals to us: a stage that was told to stop ends with 0."""

    def __init__(self, config: uvicorn.Config, stop: threading.Event) -> None:
        super().__init__(config)
        self._told = stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Whether to end: asked ten times a second."""
        return self._told.is_set() or await super().on_tick(counter)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def serve(make_app: Callable[[], ASGIApp], listener: socket.socket, stop: threading.Event) -> None:
    """Serve until told to stop. `make_app` is called within the event loop."""
    asyncio.run(_serve(make_app, listener, stop))


async def _serve(
    make_app: Callable[[], ASGIApp], listener: socket.socket, stop: threading.Event
) -> None:
    config = uvicorn.Config(
        make_app(),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=HEADERS_BYTES_MAX,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    host, port = listener.getsockname()[:2]
    logger().info("the console is served", url=f"http://{host}:{port}/")
    await _Server(config, stop).serve(sockets=[listener])
