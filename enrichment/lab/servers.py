"""A real Kafka and a real Redis on loopback without containers, in one state folder.

`enrichment up` leaves them running for later commands; tests and the demo tie them to themselves.
What they hold survives `down` and `up`.
"""

import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from enrichment.lab.kafka_server import KafkaServer
from enrichment.lab.ports import free_port, holder, is_free
from enrichment.lab.redis_server import RedisServer
from enrichment.lab.server_process import ServerError, locked

__all__ = ["LocalServers", "ServerError", "ServerState", "ServerStatus", "free_port"]

KAFKA_PORT: Final = 19092  # not 9092: a Kafka of the machine's own may hold that
REDIS_PORT: Final = 16379
STATE_DIR: Final = Path(".state")
START_S: Final = 60.0  # under 4 s on a quiet machine, ten times that on a busy runner


class ServerState(StrEnum):
    """Whether a server can be used."""

    UP = "up"
    SILENT = "silent"  # its process runs and does not answer: starting, stopping or stuck
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """What can be said of one server from outside."""

    name: str
    state: ServerState
    address: str
    pid: int | None
    data: str
    log: str
    detail: str


class LocalServers:
    """A Kafka on `kafka_port` (its controller on the next) and a Redis on `redis_port`.

    `libs_dir` (default: in the state folder) holds Kafka's jars. `tied` servers end with the
    process that started them, `brief` ones are for a minute or two. Servers that run already keep
    the ports they were started on.
    """

    def __init__(
        self,
        state_dir: Path = STATE_DIR,
        *,
        kafka_port: int = KAFKA_PORT,
        redis_port: int = REDIS_PORT,
        libs_dir: Path | None = None,
        tied: bool = False,
        brief: bool = False,
    ) -> None:
        state = state_dir.resolve()  # a pid file is believed by absolute paths: see server_process
        self.state_dir = state
        self.kafka = KafkaServer(
            state_dir=state / "kafka",
            port=kafka_port,
            libs_dir=(libs_dir or state / "kafka" / "libs").resolve(),
            tied=tied,
            brief=brief,
        )
        self.redis = RedisServer(state_dir=state / "redis", port=redis_port, tied=tied)

    @classmethod
    def on_free_ports(
        cls, state_dir: Path, *, libs_dir: Path | None = None, brief: bool = True
    ) -> Self:
        """Servers for a test: free ports, and gone when the test process is.

        `brief` ones are at their best at once, others better after some minutes of load.
        """
        return cls(
            state_dir,
            kafka_port=free_port(span=2),
            redis_port=free_port(),
            libs_dir=libs_dir,
            tied=True,
            brief=brief,
        )

    @property
    def bootstrap(self) -> str:
        """Kafka's address for clients, "127.0.0.1:19092"."""
        return self.kafka.address

    @property
    def redis_url(self) -> str:
        """Redis's address for clients, "redis://127.0.0.1:16379/0"."""
        return f"redis://{self.redis.address}/0"

    def up(self, *, within_s: float = START_S) -> tuple[ServerStatus, ...]:
        """Both servers answering; ServerError, naming what to do, when one does not.

        Nothing is started before everything that can be checked was checked.
        """
        with locked(self.state_dir / "up.lock"):
            for server in (self.redis, self.kafka):
                found = server.process.running()
                if found is None:
                    server.check()
                elif found.port != server.port:
                    raise ServerError(
                        f"{server.process.name} already runs on port {found.port} (pid "
                        f"{found.pid}) and not on {server.port}: `enrichment down` first, or give "
                        f"`--{server.name}-port {found.port}`."
                    )
            self.redis.start(within_s=within_s)
            self.kafka.start(within_s=within_s)
        return self.status()

    def down(self) -> tuple[str, ...]:
        """The names of the servers that were running and now are not. Data stays."""
        if not self.state_dir.exists():
            return ()
        with locked(self.state_dir / "up.lock"):
            return tuple(
                server.name for server in (self.kafka, self.redis) if server.process.stop()
            )

    def status(self) -> tuple[ServerStatus, ...]:
        """Kafka's and Redis's status, asked of the servers and not of the pid files alone."""
        return (_status(self.kafka), _status(self.redis))

    def discard(self) -> None:
        """Servers stopped and their data gone; the whole folder, unless it holds the jars."""
        self.down()
        if not self.kafka.libs_dir.is_relative_to(self.state_dir):
            shutil.rmtree(self.state_dir, ignore_errors=True)
            return
        for server in (self.kafka, self.redis):
            shutil.rmtree(server.data_dir, ignore_errors=True)


def _status(server: KafkaServer | RedisServer) -> ServerStatus:
    found = server.process.running()
    if found is None:
        state = ServerState.DOWN
        free = is_free(server.port)
        detail = "" if free else f"port {server.port} is held by {holder(server.port)}"
    elif server.answers():
        state, detail = ServerState.UP, ""
    else:
        state, detail = ServerState.SILENT, f"it does not answer; see {server.log_path}"
    return ServerStatus(
        name=server.name,
        state=state,
        address=server.address,
        pid=found.pid if found else None,
        data=str(server.data_dir),
        log=str(server.log_path),
        detail=detail,
    )
