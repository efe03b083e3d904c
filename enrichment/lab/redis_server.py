"""Redis without a container: one server on loopback that keeps an append-only file."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enrichment.lab.kafka_server import PREREQUISITES
from enrichment.lab.ports import LOOPBACK, require_free
from enrichment.lab.server_process import Running, ServerError, ServerProcess

VERSION_MIN: Final = (6, 2)  # the first that can leave its command line alone (set-proc-title)
PROBE_S: Final = 2.0

CONFIG: Final = """\
bind {host}
port {port}
dir "{data_dir}"
daemonize no
# Its command line stays as it was given: that is how `down` knows the process for ours.
set-proc-title no
appendonly yes
appendfsync everysec
save ""
# The feature cache must never lose a key silently.
maxmemory-policy noeviction
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """One Redis in `state_dir`, on `port`."""

    state_dir: Path
    port: int
    tied: bool = False

    name = "redis"

    @property
    def process(self) -> ServerProcess:
        """Its process and files."""
        return ServerProcess(
            name="Redis",
            pid_path=self.state_dir / "process.json",
            log_path=self.log_path,
            mark=str(self._config_path),
            tied=self.tied,
        )

    @property
    def data_dir(self) -> Path:
        """Where the append-only file lies."""
        return self.state_dir / "data"

    @property
    def log_path(self) -> Path:
        """What the server says."""
        return self.state_dir / "redis.log"

    @property
    def address(self) -> str:
        """Its address: where it was started, else where it would be."""
        found = self.process.running()
        return f"{LOOPBACK}:{found.port if found else self.port}"

    @property
    def _config_path(self) -> Path:
        return self.state_dir / "redis.conf"

    def check(self) -> None:
        """Everything a start needs and can be told beforehand, or a ServerError."""
        require_redis()
        require_free(self.port, server="Redis", option="--redis-port")

    def start(self, *, within_s: float) -> Running:
        """The server, answering; ServerError when it does not within `within_s`. Idempotent."""
        found = self.process.running()
        if found:
            pid = found.pid
        else:
            self.check()
            self.data_dir.mkdir(parents=True, exist_ok=True)
            quoted = str(self.data_dir).replace("\\", "\\\\").replace('"', '\\"')
            self._config_path.write_text(
                CONFIG.format(host=LOOPBACK, port=self.port, data_dir=quoted), encoding="utf-8"
            )
            pid = self.process.spawn([require_redis(), str(self._config_path)], port=self.port)
        self.process.await_ready(pid, self.answers, within_s=within_s)
        return Running(pid=pid, port=found.port if found else self.port)

    def answers(self) -> bool:
        """Whether it answers PING; while it still loads its file it does not."""
        import redis

        host, _, port = self.address.rpartition(":")
        with redis.Redis(host=host, port=int(port), socket_timeout=PROBE_S) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


def require_redis() -> str:
    """The path of a redis-server of version 6.2 or newer, else ServerError."""
    server = shutil.which("redis-server")
    if server is None:
        raise ServerError(f"redis-server is not on the PATH: {PREREQUISITES}.")
    said = subprocess.run(  # noqa: S603  # the redis-server that was just found
        [server, "--version"], capture_output=True, text=True, check=False
    ).stdout
    match = re.search(r"v=(\d+)\.(\d+)", said)
    if match is None:
        raise ServerError(f"{server} --version said something unexpected: {said.strip()[:300]!r}")
    if (int(match[1]), int(match[2])) < VERSION_MIN:
        wanted = ".".join(map(str, VERSION_MIN))
        raise ServerError(
            f"Redis {wanted} or newer is needed; {server} is {match[1]}.{match[2]}: install a "
            "newer one from your system's packages or from redis.io."
        )
    return server
