"""Enrichers as processes that are killed, stopped, resumed and started again, and what is owned."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from enrichment.lab.publish import Pace, Publisher, publishing
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.simulate import Simulated, timeline
from enrichment.lab.spoil import Spoiled
from tests.integration.stages import Stage, Stream, eventually

STARTED: Final = '"event": "enriching"'
BAD_SHARE: Final = 0.02
SESSION_S: Final = 6.0  # enrich.loop's session timeout


class Enrichers:
    """Enricher processes by instance name."""

    def __init__(self, stream: Stream, **environment: str) -> None:
        self._stream = stream
        self._environment = environment
        self.running: dict[str, Stage] = {}
        # How many ended by themselves: only who was fenced may.
        self.fenced = 0

    def start(self, name: str) -> Stage:
        """One more start of that instance."""
        stage = self._stream.start("enrich", ENRICHMENT_INSTANCE=name, **self._environment)
        self.running[name] = stage
        return stage

    def kill(self, name: str) -> float:
        """Kill -9; when it was done, by the monotonic clock."""
        stage = self.running.pop(name)
        stage.process.kill()
        now_s = time.monotonic()
        stage.process.wait(10)
        return now_s

    def terminate(self, name: str) -> float:
        """SIGTERM, which it must heed with exit code 0; how long that took, in seconds."""
        started_s = time.monotonic()
        stage = self.running.pop(name)
        # One that is still loading modules knows nothing of signals yet, and has done nothing.
        heeded = {0} if STARTED in stage.said() else {0, -signal.SIGTERM}
        assert stage.end() in heeded, stage.said()
        return time.monotonic() - started_s

    def suspend(self, name: str, seconds: float) -> None:
        """SIGSTOP, and after that time SIGCONT."""
        pid = self.running[name].process.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    def tend(self) -> None:
        """Start again who found itself fenced. Any other end of a process is an error."""
        for name, stage in list(self.running.items()):
            if (code := stage.process.poll()) is None:
                continue
            last = stage.said().splitlines()[-1]
            assert code == 1, stage.said()
            assert last.startswith("error: "), stage.said()
            self.fenced += 1
            self.start(name)

    def owned(self, name: str) -> list[int]:
        """The input partitions that the group has assigned to that instance."""
        return owned(self._stream, name)

    def await_shared(self, *names: str) -> None:
        """Wait until each of them owns partitions, and all are owned."""

        def shared() -> bool:
            owned = [self.owned(name) for name in names]
            return all(owned) and sum(map(len, owned)) == 4

        eventually(f"{names} share the partitions", shared)


def owned(stream: Stream, name: str) -> list[int]:
    """The input partitions that the group has assigned to that instance."""
    admin = AdminClient({"bootstrap.servers": stream.bootstrap, "log_level": 2})
    group = f"enrichment.enrich.{stream.name}"
    description = admin.describe_consumer_groups([group])[group].result(10)
    instance = f"enrichment.enrich.{stream.name}.{name}"
    return sorted(
        each.partition
        for member in description.members
        if member.group_instance_id == instance and member.assignment is not None
        for each in member.assignment.topic_partitions
    )


class Publishing:
    """A thread that publishes simulated payments, malformed ones among them, at a steady rate."""

    def __init__(self, stream: Stream, events: int, rate_per_s: float, seed: int) -> None:
        seconds = events / (rate_per_s * (1 + BAD_SHARE)) * 1.1 + 1.0
        self._settings = SimulationSettings(
            seed=seed,
            seconds=seconds,
            rate_per_s=rate_per_s,
            start_ms=time.time_ns() // 1_000_000 - int(seconds * 1000),
            bad_share=BAD_SHARE,
        )
        self._topic = stream.topics.events
        self._events, self._pace = events, rate_per_s
        self._publisher = Publisher(Producer(publishing({"bootstrap.servers": stream.bootstrap})))
        self.spoiled = 0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="publishing", daemon=True)
        self._thread.start()

    @property
    def published(self) -> int:
        """How many records were handed to the producer so far."""
        return self._publisher.published

    @property
    def going(self) -> bool:
        """Whether more will come."""
        return self._thread.is_alive()

    def finish(self) -> None:
        """Wait for the last record. Raises what ended it early."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        assert self.published == self._events

    def _run(self) -> None:
        try:
            pace = Pace(self._pace)
            for key, value in self._records():
                self._publisher.publish(self._topic, key, value)
                if self.published % 20 == 0:
                    pace.wait(self.published)
                    self._publisher.producer.poll(0)
                if self.published == self._events:
                    break
            self._publisher.flush()
        except BaseException as failure:  # noqa: BLE001  # raised again by `finish`
            self._failure = failure

    def _records(self) -> Iterator[tuple[str, bytes]]:
        encode = msgspec.json.Encoder().encode
        for _, each in timeline(self._settings):
            if isinstance(each, Simulated):
                yield each.payment.account_id, encode(each.payment)
            elif isinstance(each, Spoiled):
                self.spoiled += 1
                yield each.key, each.value


Fault = Callable[[Enrichers, random.Random], float]


def _any(enrichers: Enrichers, draw: random.Random) -> str:
    return draw.choice(sorted(enrichers.running))


def killed(enrichers: Enrichers, draw: random.Random) -> float:
    """Kill -9, and a start under the same name half a second later."""
    name = _any(enrichers, draw)
    at_s = enrichers.kill(name)
    time.sleep(0.5)
    enrichers.start(name)
    return at_s


def left(enrichers: Enrichers, draw: random.Random) -> float:
    """Kill -9, and no other start for longer than the session lasts: others take over."""
    name = _any(enrichers, draw)
    at_s = enrichers.kill(name)
    time.sleep(SESSION_S + draw.uniform(2.0, 5.0))
    enrichers.start(name)
    return at_s


def suspended(enrichers: Enrichers, draw: random.Random) -> float:
    """A zombie: it stands still for longer than its session lasts, then goes on."""
    at_s = time.monotonic()
    enrichers.suspend(_any(enrichers, draw), SESSION_S + draw.uniform(2.0, 5.0))
    return at_s


def terminated(enrichers: Enrichers, draw: random.Random) -> float:
    """SIGTERM in the middle of the work, and another start."""
    name = _any(enrichers, draw)
    at_s = time.monotonic()
    enrichers.terminate(name)
    enrichers.start(name)
    return at_s


def joined(enrichers: Enrichers, draw: random.Random) -> float:
    """A third one joins, and leaves again where it had joined before."""
    at_s = time.monotonic()
    if "2" in enrichers.running and len(enrichers.running) > 2:
        enrichers.terminate("2")
    else:
        enrichers.start("2")
    time.sleep(draw.uniform(0.5, 2.0))
    return at_s


FAULTS: Final[dict[str, Fault]] = {
    each.__name__: each for each in (killed, left, suspended, terminated, joined)
}
KILLS: Final = ("killed", "left")


def plan(kills: int, draw: random.Random, *, patient: bool) -> list[str]:
    """The faults of one run in a random order; `patient` ones outlast the session as well.

    The first is a kill in any case, so that a run which is cut short has had one.
    """
    rest = ["killed"] * (kills - 1) + ["terminated", "joined"] * max(1, kills // 8)
    if patient:
        away = max(1, kills // 5)
        rest = rest[away:] + ["left"] * away + ["suspended"] * away
    draw.shuffle(rest)
    return ["killed", *rest]
