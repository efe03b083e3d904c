"""Real Redis in every form that a URL may name: alone, over TLS, behind sentinels, as a cluster."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis

from enrichment.access import REDIS, redis_rules
from enrichment.lab.ports import LOOPBACK, free_port

READY_S: Final = 20.0
# Of any pipeline: a test's has a name of its own.
RULES: Final = {name: redis_rules(name, "*") for name in REDIS}


def eventually(what: str, holds: Callable[[], bool], within_s: float = READY_S) -> None:
    """Wait until it holds."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.02)


@dataclass(eq=False)
class Server:
    """One redis-server of our own, on a free port, gone with this process."""

    folder: Path
    options: dict[str, str] = field(default_factory=dict)
    sentinel: bool = False
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "Server":
        """Start, or start again on the same port; its log is beside its data."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        config = self.folder / "redis.conf"
        if not config.exists():
            options = {"port": str(self.port), "bind": LOOPBACK, "dir": f'"{self.folder}"'}
            if not self.sentinel:
                options |= {"save": '""', "appendonly": "no", "repl-diskless-sync-delay": "0"}
            lines = [f"{name} {value}" for name, value in (options | self.options).items()]
            config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        tie = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        command = [*tie, "redis-server", str(config), *(["--sentinel"] if self.sentinel else [])]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        if self not in _started:
            _started.append(self)
        return self

    def signal(self, number: signal.Signals) -> None:
        """Stop it, let it go on, or kill it."""
        assert self.process is not None
        self.process.send_signal(number)
        if number is signal.SIGKILL:
            self.process.wait()

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)

    def client(self, **options: Any) -> redis.Redis:
        """A client without TLS, as the default user."""
        return redis.Redis(LOOPBACK, self.port, socket_timeout=5, **options)

    def answers(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False


_started: Final[list[Server]] = []


@dataclass
class Deployment:
    """Servers behind one URL."""

    url: str
    servers: list[Server]
    sentinels: list[Server] = field(default_factory=list)
    # TLS material, by the name of the query parameter that asks for it.
    files: dict[str, Path] = field(default_factory=dict)


@contextlib.contextmanager
def running(make: Callable[[Path], Deployment], folder: Path) -> Iterator[Deployment]:
    """A deployment while the block runs, and none of its servers afterwards."""
    try:
        yield make(folder)
    finally:
        for server in [each for each in _started if each.folder.is_relative_to(folder)]:
            server.kill()
            _started.remove(server)


def users(server: redis.Redis) -> None:
    """An ACL user for each role, whose password needs escaping in a URL."""
    for name, rules in RULES.items():
        run: Any = server.execute_command
        run("ACL", "SETUSER", name, "on", ">p@ss/w:rd", *rules.split())


def single(folder: Path, **options: str) -> Deployment:
    """One server."""
    server = Server(folder, options).start()
    eventually("a server", server.answers)
    with server.client() as client:
        users(client)
    return Deployment(f"redis://{LOOPBACK}:{server.port}/0", [server])


def unix(folder: Path) -> Deployment:
    """One server that is reached through a socket in the file system."""
    path = Path(os.path.realpath(folder)) / "s"
    deployment = single(folder, unixsocket=str(path))
    deployment.url = f"unix://{path}"
    return deployment


def certificates(folder: Path) -> dict[str, Path]:
    """An authority, a server's certificate for 127.0.0.1, one for another host, and a client's."""
    folder.mkdir(parents=True, exist_ok=True)

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ca = ["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2"]
    openssl("req", "-x509", *key, *ca)
    for name, host in (("server", f"IP:{LOOPBACK}"), ("other", "DNS:elsewhere"), ("client", "")):
        openssl(
            "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"
        )
        (folder / "ext").write_text(f"subjectAltName={host}\n" if host else "", encoding="utf-8")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", f"{name}.crt",
        )  # fmt: skip
    return {path.name: path for path in folder.iterdir()}


def tls(folder: Path, *, server_certificate: str = "server") -> Deployment:
    """One server over TLS that asks for a client's certificate."""
    files = certificates(folder / "tls")
    port = free_port()
    server = Server(
        folder,
        {
            "tls-port": str(port),
            "tls-cert-file": str(files[f"{server_certificate}.crt"]),
            "tls-key-file": str(files[f"{server_certificate}.key"]),
            "tls-ca-cert-file": str(files["ca.crt"]),
            "tls-auth-clients": "yes",
        },
    ).start()
    eventually("a server over TLS", server.answers)
    url = (
        f"rediss://{LOOPBACK}:{port}/0?ssl_ca_certs={files['ca.crt']}"
        f"&ssl_certfile={files['client.crt']}&ssl_keyfile={files['client.key']}"
    )
    return Deployment(url, [server], files=files)


def sentinel(folder: Path) -> Deployment:
    """A primary, a replica and three sentinels that give a primary up after half a second."""
    primary = Server(folder / "a").start()
    replica = Server(folder / "b", {"replicaof": f"{LOOPBACK} {primary.port}"}).start()
    for server in (primary, replica):
        eventually("a server", server.answers)
    monitor = {
        "sentinel monitor": f"payments {LOOPBACK} {primary.port} 2",
        "sentinel down-after-milliseconds": "payments 500",
        "sentinel failover-timeout": "payments 3000",
    }
    sentinels = [
        Server(folder / f"s{number}", monitor, sentinel=True).start() for number in range(3)
    ]
    deployment = Deployment(
        "redis+sentinel://"
        + ",".join(f"{LOOPBACK}:{each.port}" for each in sentinels)
        + "/payments/0",
        [primary, replica],
        sentinels,
    )

    def known(each: Server) -> bool:
        with each.client(decode_responses=True) as client:
            state: Any = client.execute_command("SENTINEL", "MASTER", "payments")
        pairs = (
            state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
        )
        return (int(pairs["num-slaves"]), int(pairs["num-other-sentinels"])) == (1, 2)

    for each in sentinels:
        eventually("a sentinel", each.answers)
        eventually("sentinels know each other", lambda each=each: known(each))  # type: ignore[misc]
    return deployment


def tls_cluster(folder: Path) -> Deployment:
    """A cluster whose nodes talk to each other and to us over TLS."""
    files = certificates(folder / "tls")
    options = {
        "tls-cluster": "yes",
        "tls-cert-file": str(files["server.crt"]),
        "tls-key-file": str(files["server.key"]),
        "tls-ca-cert-file": str(files["ca.crt"]),
    }
    made = cluster(folder, **options)
    hosts = ",".join(f"{LOOPBACK}:{each.options['tls-port']}" for each in made.servers)
    material = f"ssl_certfile={files['client.crt']}&ssl_keyfile={files['client.key']}"
    made.url = f"rediss+cluster://{hosts}?ssl_ca_certs={files['ca.crt']}&{material}"
    return made


def cluster(folder: Path, **more: str) -> Deployment:
    """Primaries that share the slots evenly, in the order of `servers`."""
    options = {"cluster-enabled": "yes", "cluster-node-timeout": "1000"} | more
    nodes = 3
    servers = []
    for number in range(nodes):
        extra = {"cluster-port": str(free_port())}
        if more:
            extra["tls-port"] = str(free_port())
        servers.append(Server(folder / str(number), options | extra).start())
    for number, server in enumerate(servers):
        eventually("a node", server.answers)
        with server.client() as client:
            users(client)
            first, last = 16_384 * number // nodes, 16_384 * (number + 1) // nodes - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                first_node = servers[0].options
                port = first_node.get("tls-port", servers[0].port)
                client.execute_command(
                    "CLUSTER", "MEET", LOOPBACK, port, first_node["cluster-port"]
                )

    def ready(server: Server) -> bool:
        with server.client() as client:
            info: Any = client.execute_command("CLUSTER", "INFO")
            known: Any = client.execute_command("CLUSTER", "NODES")
        return b"cluster_state:ok" in info and known.count(b" connected ") == nodes

    for server in servers:
        eventually("a cluster", lambda server=server: ready(server))  # type: ignore[misc]
    return Deployment(
        "redis+cluster://" + ",".join(f"{LOOPBACK}:{each.port}" for each in servers), servers
    )


def add_replica(deployment: Deployment, folder: Path) -> Server:
    """A replica of the first node of a cluster, in step with it."""
    primary = deployment.servers[0]
    options = primary.options | {"cluster-port": str(free_port())}
    replica = Server(folder, options).start()
    eventually("a replica", replica.answers)
    with replica.client() as client, primary.client() as its:
        run: Any = client.execute_command
        name: Any = its.execute_command("CLUSTER", "MYID")
        run("CLUSTER", "MEET", LOOPBACK, primary.port, primary.options["cluster-port"])

        def follows() -> bool:
            try:
                return bool(run("CLUSTER", "REPLICATE", name))
            except redis.ResponseError:
                return False  # it has not heard of the node yet

        eventually("a replica knows its primary", follows)
        eventually("it is in step", lambda: client.info()["master_link_status"] == "up")

        def known(server: Server) -> bool:
            with server.client() as other:
                nodes: Any = other.execute_command("CLUSTER", "NODES")
            return b"slave " + name in nodes

        for server in deployment.servers:
            eventually("all know it", lambda server=server: known(server))  # type: ignore[misc]
    return replica
