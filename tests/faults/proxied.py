"""A Kafka and a Redis of one's own with a proxy before each: who goes through it can be cut off."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from enrichment.lab.kafka_server import Proxied
from enrichment.lab.ports import LOOPBACK, free_port
from enrichment.lab.servers import LocalServers
from tests.faults.proxy import Link, Proxies, proxies
from tests.servers import LIBS_DIR


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxiedServers:
    """The servers, and the links through which some clients see them."""

    servers: LocalServers
    proxies: Proxies
    kafka: Link
    redis: Link

    @property
    def redis_url(self) -> str:
        """Redis behind the proxy."""
        return f"redis://{self.redis.address}/0"


@contextmanager
def proxied_servers(folder: Path) -> Iterator[ProxiedServers]:
    """Servers and proxy while the block runs."""
    servers = LocalServers.on_free_ports(folder / "servers", libs_dir=LIBS_DIR)
    behind = Proxied(port=free_port(), proxy_port=free_port())
    servers.kafka = replace(servers.kafka, proxied=behind)
    with proxies(folder) as started:
        try:
            servers.up()
            yield ProxiedServers(
                servers=servers,
                proxies=started,
                kafka=started.link(f"{LOOPBACK}:{behind.port}", port=behind.proxy_port),
                redis=started.link(servers.redis.address),
            )
        finally:
            servers.discard()
