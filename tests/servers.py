"""The Kafka and the Redis of the tests: real, on free ports, gone with their folder afterwards."""

import atexit
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from enrichment.lab.servers import LocalServers

# Shared with `enrichment up`: in a fresh clone Maven runs once, whichever comes first.
LIBS_DIR: Final = Path(__file__).resolve().parents[1] / ".state" / "kafka" / "libs"


@contextlib.contextmanager
def running_servers(state_dir: Path) -> Iterator[LocalServers]:
    """Servers that answer while the block runs. A missing JDK is an error and never a skip."""
    servers = LocalServers.on_free_ports(state_dir, libs_dir=LIBS_DIR)
    # Three nets: the finally below, this one for an exit that runs no finalizer, and for a kill -9
    # the tie to this process.
    atexit.register(servers.discard)
    try:
        servers.up()
        yield servers
    finally:
        servers.discard()
        atexit.unregister(servers.discard)
