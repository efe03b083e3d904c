"""The hot path at work under an open-loop load, its answers read as they are committed.

What `latency` and `isolation` stand on: processes, the cache kept fresh, and looks at who used the
processor meanwhile.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import redis
from confluent_kafka.admin import AdminClient

from enrichment.lab.bench import ground, observe
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.observe import Group
from enrichment.lab.bench.open_loop import FLUSH_S
from enrichment.lab.bench.outputs import Outputs
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.bench.systems import enrich_command, enrich_environment
from enrichment.lab.servers import LocalServers
from enrichment.settings import Delivery
from enrichment.stream.topics import StreamTopics

PAYMENTS: Final = 20_000  # distinct ones, published over and over
BEAT_S: Final = 2.0
BEAT_TIMEOUT_S: Final = 0.2
START_S: Final = 60.0
NAP_S: Final = 0.02
DRAIN_S: Final = 60.0


class Answering:
    """Servers that are up, their cache filled, and the processes that are run on them."""

    def __init__(
        self, servers: LocalServers, options: BenchOptions, *, all_in_rings: bool = False
    ) -> None:
        """`all_in_rings`: every event has ring features, not only those of planted groups."""
        self.servers = servers
        self._all_in_rings = all_in_rings
        self.topics = StreamTopics(STREAM)
        self.group = Group(
            AdminClient({"bootstrap.servers": servers.bootstrap, "log_level": 0}),
            f"enrichment.enrich.{STREAM}",
        )
        self.group.forget()
        self._options = options
        self.outputs = Outputs(servers.bootstrap)
        self._payments = servers.state_dir / "payments.jsonl"
        self._beaten_s = 0.0
        self._count = 0
        self._running: subprocess.Popen[bytes] | None = None
        self._said = servers.state_dir / "nothing"
        settings = ground.scenario(PAYMENTS, ground.now_ms())
        self._settings = settings
        self._entities = ground.written(settings, PAYMENTS, self._payments)
        self.fill()

    def fill(self) -> None:
        """Every entity's features in the cache, computed just now."""
        cache = ground.Cache.open(self.servers.redis_url, self._options)
        cache.fill(self._entities, self._settings, ground.now_ms(), all_in_rings=self._all_in_rings)
        cache.client.close()
        # Beats must not wait for a Redis that is made to hang.
        self._cache = ground.Cache(
            redis.Redis.from_url(
                self.servers.redis_url,
                socket_timeout=BEAT_TIMEOUT_S,
                socket_connect_timeout=BEAT_TIMEOUT_S,
            ),
            cache.partitions,
        )

    def beat(self, *, now: bool = False) -> None:
        """Keep features fresh; call it now and then. Where Redis is away they age, as in life."""
        if not now and time.monotonic() - self._beaten_s < BEAT_S:
            return
        self._beaten_s = time.monotonic()
        with contextlib.suppress(redis.RedisError):
            self._cache.beat(self._entities.shards, ground.now_ms())

    def wait(self, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Let time pass, features kept fresh."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self.beat()
            meanwhile()
            time.sleep(min(NAP_S, left_s))

    @contextlib.contextmanager
    def enricher(self, delivery: Delivery, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """`enrichment enrich`, from the end of what was published before; with settings of ours."""
        command = enrich_command()
        environment = enrich_environment(self.servers, delivery) | environment
        log = self._log("enrich")
        with observe.process(command, environment, log) as running:
            self._running, self._said = running, log
            yield running

    def await_answers(self) -> None:
        """Wait until the enricher, just started, has committed something of what is published."""
        before = self.group.committed()
        give_up_s = time.monotonic() + START_S
        while self.group.committed() <= before:
            self.check()
            if time.monotonic() > give_up_s:
                raise BenchError(f"the enricher answers nothing: {observe.tail(self._said)}")
            self.wait(0.1)

    def check(self) -> None:
        """Raise BenchError where the enricher has ended."""
        if self._running is None or self._running.poll() is not None:
            raise BenchError(f"the enricher ended: {observe.tail(self._said)}")

    @contextlib.contextmanager
    def publisher(
        self, rate: float, seconds: float, out: Path
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The open-loop publisher; afterwards `out` says how late it was itself."""
        log = self._log("publisher")
        command = [
            sys.executable, "-m", "enrichment.lab.bench.open_loop",
            "--bootstrap", self.servers.bootstrap, "--topic", self.topics.events,
            "--payments", str(self._payments), "--rate", str(rate), "--seconds", str(seconds),
            "--out", str(out),
        ]  # fmt: skip
        with observe.process(command, {}, log, FLUSH_S) as running:
            yield running
        if not out.exists():
            raise BenchError(f"the publisher failed: {observe.tail(log)}")

    @contextlib.contextmanager
    def reader(self, out: Path) -> Iterator[subprocess.Popen[bytes]]:
        """The reader of committed answers, reading when this yields; `out` is there afterwards."""
        log = self._log("reader")
        command = [
            sys.executable, "-m", "enrichment.lab.bench.committed_reader",
            "--bootstrap", self.servers.bootstrap, "--topic", self.topics.enriched,
            "--out", str(out),
        ]  # fmt: skip
        with observe.process(command, {}, log) as running:
            give_up_s = time.monotonic() + START_S
            while "ready" not in log.read_text():
                if running.poll() is not None or time.monotonic() > give_up_s:
                    raise BenchError(f"the reader did not start: {observe.tail(log)}")
                time.sleep(NAP_S)
            yield running
        if not out.exists():
            raise BenchError(f"the reader left nothing: {observe.tail(log)}")

    def drain(self) -> None:
        """Wait until everything that was published has been answered and committed."""
        wanted = sum(end.offset for end in self.outputs.ends(self.topics.events))
        give_up_s = time.monotonic() + DRAIN_S
        while self.group.committed() < wanted:
            self.check()
            if time.monotonic() > give_up_s:
                raise BenchError(f"the hot path is {DRAIN_S:.0f} s behind what was published")
            self.wait(NAP_S)

    def delete_outputs(self) -> None:
        """Nothing is left of what was answered so far."""
        self.outputs.delete(self.topics.enriched)

    def path(self, name: str) -> Path:
        """A new file's path."""
        self._count += 1
        return self.servers.state_dir / f"{self._count}-{name}"

    def _log(self, name: str) -> Path:
        return self.path(f"{name}.log")
