"""What every test may ask for: real servers, started once or freshly."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from enrichment.lab.ports import free_port
from enrichment.lab.redis_server import RedisServer
from enrichment.lab.servers import LocalServers
from tests.integration.stages import Stream
from tests.servers import running_servers


def pytest_configure() -> None:
    """SIGTERM, with which a CI job ends what takes too long, runs the finalizers as Ctrl-C does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    # How long a draw takes says something of the machine, not of the code: servers and processes
    # of other tests share it, and the first text of a fresh checkout builds Unicode's tables.
    settings.register_profile(
        "shared-machine", suppress_health_check=[HealthCheck.too_slow], deadline=None
    )
    settings.load_profile("shared-machine")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command under test configures logging to where it is captured, and that is closed then."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServers]:
    """A Kafka (`.bootstrap`) and a Redis (`.redis_url`) that all tests of the session share.

    Use names of your own for topics and keys; do not stop them: that is `fresh_servers`' part.
    """
    with running_servers(tmp_path_factory.mktemp("servers")) as shared:
        yield shared


@pytest.fixture
def fresh_servers(tmp_path: Path) -> Iterator[Callable[[], LocalServers]]:
    """A factory of servers that only this test knows: to stop, kill and start again.

    `.kafka.process.kill()` crashes the broker, `.up()` brings it back with its data.
    """
    with contextlib.ExitStack() as stack:
        started = 0

        def start() -> LocalServers:
            nonlocal started
            started += 1
            return stack.enter_context(running_servers(tmp_path / f"servers-{started}"))

        yield start


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that only this test knows: it may be flushed and killed."""
    server = RedisServer(state_dir=tmp_path / "redis", port=free_port(), tied=True)
    server.start(within_s=20)
    yield server
    server.process.stop()


@pytest.fixture
def stream(servers: LocalServers, tmp_path: Path) -> Iterator[Stream]:
    """A stream like payments; what was started on it is ended."""
    made = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    yield made
    made.close()
