"""Apache Kafka without a container: one KRaft node on loopback, from its jars."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from enrichment.lab.ports import LOOPBACK, is_free, listens, require_free
from enrichment.lab.server_process import Running, ServerError, ServerProcess, locked

if TYPE_CHECKING:
    from enrichment.lab.secured_kafka import Secured

POM: Final = Path(__file__).resolve().parents[2] / "deploy" / "local" / "pom.xml"
JAVA_MIN: Final = 17  # Kafka 4 brokers are compiled for it
RESOLVE_S: Final = 600  # 44 MB over a slow line
FORMAT_S: Final = 60
PROBE_S: Final = 2.0
HEAP: Final = "512m"  # the broker idles at some 320 MB; the page cache does the rest
PREREQUISITES: Final = "run `scripts/prerequisites`, which installs what is missing"

# One node: nothing is replicated, and nothing waits for others to join.
PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
log.dirs={data_dir}

# A mistyped topic is an error and not a new topic with one partition.
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# Internal topics with few partitions: 50 of each take seconds to create and thousands of files.
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=8
share.coordinator.state.topic.num.partitions=8

group.initial.rebalance.delay.ms=0
# A killed broker may register again only when its old session has run out: 9 s by default.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
message.max.bytes=1048588

# The cleaner's default of 128 MiB is a quarter of the heap.
log.cleaner.dedupe.buffer.size=33554432
num.network.threads=2
num.io.threads=4
"""

# Everybody on this machine may do everything.
OPEN: Final = """\
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}{proxied_listens}
advertised.listeners=PLAINTEXT://{host}:{port}{proxied_advertised}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
"""

LOGGING: Final = """\
<Configuration status="ERROR">
  <Appenders>
    <Console name="out" target="SYSTEM_OUT">
      <PatternLayout pattern="%d{yyyy-MM-dd HH:mm:ss,SSS} %p %m (%c{1})%n"/>
    </Console>
  </Appenders>
  <Loggers>
    <Root level="WARN"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxied:
    """A second listener, on `port`, whose clients are told that the broker is at `proxy_port`.

    A client that came through a proxy would else go past it with its second connection, to the
    address that the broker gives.
    """

    port: int
    proxy_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaServer:
    """One broker and controller in `state_dir`, on `port` and (controller) `port + 1`.

    `libs_dir` holds the jars and may be shared between state folders.
    """

    state_dir: Path
    port: int
    libs_dir: Path
    tied: bool = False
    # One that lives for a minute or two is better off with code that is compiled once and quickly:
    # the best code takes as long to come, and the processor from everybody else (measured: the p99
    # of a demo on two cores nearly halves).
    brief: bool = False
    # For clients that come through a proxy; nobody else is to use it.
    proxied: Proxied | None = None
    # Asks everybody who they are, and whether they may.
    secured: "Secured | None" = None

    name = "kafka"

    @property
    def process(self) -> ServerProcess:
        """Its process and files."""
        return ServerProcess(
            name="Kafka",
            pid_path=self.state_dir / "process.json",
            log_path=self.log_path,
            mark=str(self._properties_path),
            tied=self.tied,
        )

    @property
    def data_dir(self) -> Path:
        """Where the topics lie."""
        return self.state_dir / "data"

    @property
    def log_path(self) -> Path:
        """What the broker says: warnings and worse."""
        return self.state_dir / "broker.log"

    @property
    def address(self) -> str:
        """The bootstrap address: where it was started, else where it would be."""
        found = self.process.running()
        return f"{LOOPBACK}:{found.port if found else self.port}"

    @property
    def _properties_path(self) -> Path:
        return self.state_dir / "server.properties"

    def check(self) -> None:
        """Everything a start needs and can be told beforehand, or a ServerError."""
        require_java()
        require_free(self.port, server="Kafka", option="--kafka-port")
        require_free(self.port + 1, server="Kafka's controller", option="--kafka-port")
        if self.proxied is not None and not is_free(self.proxied.port):
            raise ServerError(f"port {self.proxied.port}, for clients behind a proxy, is taken")
        if self.secured is not None and not is_free(self.secured.mutual_port):
            raise ServerError(f"port {self.secured.mutual_port}, for certificates, is taken")

    def start(self, *, within_s: float) -> Running:
        """The broker, answering; ServerError when it does not within `within_s`. Idempotent."""
        found = self.process.running()
        if found:
            pid = found.pid
        else:
            self.check()
            java = require_java()
            jars = resolve_jars(self.libs_dir)
            self._write_files()
            if not (self.data_dir / "meta.properties").exists():
                self._format(java, jars)
            command = [*self._jvm(java, jars), "kafka.Kafka", str(self._properties_path)]
            pid = self.process.spawn(command, port=self.port)
        self.process.await_ready(pid, self.answers, within_s=within_s)
        return Running(pid=pid, port=found.port if found else self.port)

    def answers(self) -> bool:
        """Whether the broker serves metadata that names itself: only then can topics be made."""
        # A client that finds nobody keeps trying and logs each time: look at the port first.
        if not listens(int(self.address.rpartition(":")[2])):
            return False
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        # log_level 0: a refused connection is an answer here and not worth a line.
        told: dict[str, Any] = {"log_level": 0, "socket.timeout.ms": 2000}
        if self.secured is None:
            told["bootstrap.servers"] = self.address
        else:
            told |= self.secured.administrator()
        client = AdminClient(told)
        try:
            return bool(client.list_topics(timeout=PROBE_S).brokers)
        except KafkaException:
            return False

    def _write_files(self) -> None:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self._properties_path.write_text(
            PROPERTIES.format(
                host=LOOPBACK,
                controller_port=self.port + 1,
                data_dir=str(self.data_dir).replace("\\", "\\\\"),
            )
            + self._listening(),
            encoding="utf-8",
        )
        (self.state_dir / "log4j2.xml").write_text(LOGGING, encoding="utf-8")

    def _listening(self) -> str:
        """Where it listens, and what it asks of whoever comes there."""
        if self.secured is not None:
            return self.secured.properties(self.port, self.port + 1)
        proxied = self.proxied
        return OPEN.format(
            host=LOOPBACK,
            port=self.port,
            controller_port=self.port + 1,
            proxied_listens=f",PROXIED://{LOOPBACK}:{proxied.port}" if proxied else "",
            proxied_advertised=f",PROXIED://{LOOPBACK}:{proxied.proxy_port}" if proxied else "",
        )

    def _jvm(self, java: str, jars: Path) -> list[str]:
        return [
            java,
            "-Xms128m",
            f"-Xmx{HEAP}",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
            "-XX:+ExitOnOutOfMemoryError",
            *(["-XX:TieredStopAtLevel=1"] if self.brief else []),
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={self.state_dir / 'log4j2.xml'}",
            "-cp",
            f"{jars}/*",
        ]

    def _format(self, java: str, jars: Path) -> None:
        arguments = ["format", "-t", _cluster_id(), "-c", str(self._properties_path)]
        done = subprocess.run(  # noqa: S603  # our own java, our own arguments
            [*self._jvm(java, jars), "kafka.tools.StorageTool", *arguments, "--ignore-formatted"],
            capture_output=True,
            text=True,
            check=False,
            timeout=FORMAT_S,
        )
        if done.returncode != 0:
            raise ServerError(
                f"Kafka's folder {self.data_dir} could not be formatted:\n"
                f"{(done.stdout + done.stderr).strip()[-1500:]}"
            )


def require_java() -> str:
    """The path of a java of version 17 or newer: JAVA_HOME's, else the PATH's; else ServerError."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if java is None:
        where = f"in JAVA_HOME ({home})" if home else "on the PATH"
        raise ServerError(f"Kafka needs java {JAVA_MIN} or newer; none {where}: {PREREQUISITES}.")
    shown = subprocess.run(  # noqa: S603  # the java that was just found
        [java, "-version"], capture_output=True, text=True, check=False
    )
    said = shown.stderr + shown.stdout
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    if match is None:
        raise ServerError(f"{java} -version said something unexpected: {said.strip()[:300]!r}")
    if int(match[1]) < JAVA_MIN:
        raise ServerError(
            f"Kafka needs java {JAVA_MIN} or newer; {java} is {match[1]}: {PREREQUISITES}, "
            "or set JAVA_HOME to a newer one."
        )
    return java


def resolve_jars(libs_dir: Path, *, pom: Path = POM) -> Path:
    """`libs_dir`, holding the jars of `pom`: Maven brings them once per version of it."""
    if not pom.exists():
        raise ServerError(
            f"{pom} is missing: local servers start from a clone of the repository. "
            "Installed elsewhere, use `docker compose up` or give the roles your own servers."
        )
    wanted = hashlib.sha256(pom.read_bytes()).hexdigest()
    stamp = libs_dir / ".pom-sha256"
    with locked(libs_dir.with_name(libs_dir.name + ".lock")):
        if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
            return libs_dir
        maven = shutil.which("mvn")
        if maven is None:
            raise ServerError(f"mvn, which brings Kafka's jars, is not there: {PREREQUISITES}.")
        partial = libs_dir.with_name(libs_dir.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _maven(maven, pom, partial)
        (partial / stamp.name).write_text(wanted, encoding="ascii")
        shutil.rmtree(libs_dir, ignore_errors=True)
        partial.rename(libs_dir)
    return libs_dir


def _maven(maven: str, pom: Path, out: Path) -> None:
    command = [maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
    try:
        done = subprocess.run(  # noqa: S603  # the mvn that was just found
            [*command, "-DincludeScope=runtime", f"-DoutputDirectory={out}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=RESOLVE_S,
        )
    except subprocess.TimeoutExpired as slow:
        raise ServerError(
            f"Maven did not bring Kafka's jars within {RESOLVE_S} s: check the network, run again."
        ) from slow
    if done.returncode != 0:
        raise ServerError(
            "Maven could not bring Kafka's jars: check the network (or the mirror in "
            f"~/.m2/settings.xml) and run again.\n{(done.stdout + done.stderr).strip()[-1500:]}"
        )


def _cluster_id() -> str:
    # Kafka's own form of a UUID; one that begins with a dash would be read as an option.
    while True:
        name = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not name.startswith("-"):
            return name
