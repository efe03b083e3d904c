"""What may go wrong behind the hot path, brought about and ended: the cases of `isolation`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from confluent_kafka.admin import AdminClient

from enrichment.lab.bench import observe
from enrichment.lab.bench.answering import Answering
from enrichment.lab.bench.catalogue import BenchError
from enrichment.lab.bench.observe import Group, cpu_s, tree
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.bench.systems import enrich_environment
from enrichment.lab.processes import StageProcesses, make_yield
from enrichment.lab.servers import START_S
from enrichment.settings import Delivery

# Long enough to import its libraries and begin, short enough to do nothing else but that.
CRASH_EVERY_S: Final = 3.0
SAMPLES_S: Final = 60.0
NAP_S: Final = 0.05
SETTLE_S: Final = 2.0


class Trouble(Protocol):
    """One case. `begin` and `end` in turn; `meanwhile` is called often in between."""

    # Begun anew for each window, at its start: what the first seconds do belongs to the case.
    each_window: bool

    def beside(self) -> AbstractContextManager[StageProcesses | None]:
        """What runs in all windows of the case: it is no part of the trouble."""

    def begin(self) -> None:
        """Bring it about."""

    def meanwhile(self) -> None:
        """Keep it going."""

    def end(self) -> None:
        """Back to how it was, whether or not it had begun."""

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds used so far by what it has started, by stage."""


class Sampler:
    """The sample stage as `enrichment run` starts it, never idle. The window stage runs anyway."""

    each_window = False

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        servers = answering.servers
        self._environment = enrich_environment(servers, Delivery.EXACTLY_ONCE)
        self._group = Group(
            AdminClient({"bootstrap.servers": servers.bootstrap, "log_level": 0}),
            f"enrichment.sample.{STREAM}",
        )
        self._stack = contextlib.ExitStack()
        self._stages: StageProcesses | None = None
        # Of sampler processes that were killed.
        self._spent_s = 0.0

    def beside(self) -> AbstractContextManager[StageProcesses]:
        """The window stage, whose micro-batches a sampler that is absent leaves lying."""
        return self._started(("window",))

    def begin(self) -> None:
        """It runs, and takes micro-batches."""
        self._spent_s = 0.0
        before = self._group.committed()
        bootstrap = self._answering.servers.bootstrap
        command = [
            sys.executable, "-m", "enrichment.lab.bench.micro_batches", "--bootstrap", bootstrap
        ]  # fmt: skip
        log = self._answering.path("micro-batches.log")
        self._stack.enter_context(observe.process(command, {}, log))
        self._stages = self._stack.enter_context(self._started(("sample",)))
        give_up_s = time.monotonic() + SAMPLES_S
        while self._group.committed() <= before:
            if time.monotonic() > give_up_s:
                raise BenchError(f"the sampler takes no micro-batch: {observe.tail(log)}")
            self._answering.wait(NAP_S)
        self._answering.wait(SETTLE_S)

    def meanwhile(self) -> None:
        """Nothing: it is busy by itself."""

    def end(self) -> None:
        """It is gone."""
        self._stack.close()
        self._stages = None

    def cpu_s(self) -> dict[str, float]:
        """Its CPU seconds, children's included."""
        return {"sample": tree_cpu_s(self.pid("sample")) + self._spent_s}

    def pid(self, stage: str) -> int | None:
        """The stage's process, None where it does not run."""
        return None if self._stages is None else self._stages.pid(stage)

    def _started(self, stages: tuple[str, ...]) -> StageProcesses:
        folder = self._answering.servers.state_dir / "stages"
        return StageProcesses(stages, STREAM, environment=self._environment, log_folder=folder)


class HungSampler(Sampler):
    """The same, but stopped dead in the middle of its work."""

    def begin(self) -> None:
        """Let it work, then SIGSTOP it and its children."""
        super().begin()
        self._signal(signal.SIGSTOP)
        self._answering.wait(SETTLE_S)

    def end(self) -> None:
        """Let it go on, so that it can end."""
        self._signal(signal.SIGCONT)
        super().end()

    def _signal(self, number: signal.Signals) -> None:
        for pid in tree(self.pid("sample")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class CrashingSampler(Sampler):
    """The same, but killed and started again over and over."""

    def __init__(self, answering: Answering) -> None:
        super().__init__(answering)
        self._sampler: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0

    def begin(self) -> None:
        """It runs; from now on it is killed every few seconds."""
        super().begin()
        self._crash()

    def meanwhile(self) -> None:
        """Kill it where it is time."""
        if time.monotonic() - self._started_s > CRASH_EVERY_S:
            self._crash()

    def end(self) -> None:
        """No further start."""
        if self._sampler is not None:
            self._sampler.kill()
            self._sampler.wait()
            self._sampler = None
        super().end()

    def pid(self, stage: str) -> int | None:
        """Of the sampler: its newest process."""
        if stage == "sample" and self._sampler is not None:
            return self._sampler.pid
        return super().pid(stage)

    def _crash(self) -> None:
        """Kill -9, and start another at once, yielding as `enrichment run` has it yield."""
        killed = self.pid("sample")
        self._spent_s += tree_cpu_s(killed)
        if killed is not None:
            os.kill(killed, signal.SIGKILL)
        if self._sampler is not None:
            self._sampler.wait()
        log = self._answering.servers.state_dir / "stages" / "crashing.log"
        command = [sys.executable, "-m", "enrichment", "sample", "--pipeline", STREAM]
        with log.open("ab") as said:
            self._sampler = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [*observe.tie(), *command],
                env={**os.environ, **self._environment}, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip
        make_yield("sample", self._sampler.pid)
        self._started_s = time.monotonic()


class HungRedis:
    """Redis stopped dead: it takes connections and commands, and answers nothing."""

    each_window = True

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._pid = 0

    def beside(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()

    def begin(self) -> None:
        """SIGSTOP."""
        running = self._answering.servers.redis.process.running()
        if running is None:
            raise BenchError("Redis is not running")
        self._pid = running.pid
        os.kill(self._pid, signal.SIGSTOP)

    def meanwhile(self) -> None:
        """Nothing: it hangs by itself."""

    def end(self) -> None:
        """SIGCONT; and the features are heard of again."""
        if self._pid:
            os.kill(self._pid, signal.SIGCONT)
            self._pid = 0
            self._answering.beat(now=True)

    def cpu_s(self) -> dict[str, float]:
        """Nothing was started."""
        return {}


class DeadRedis(HungRedis):
    """Redis killed: nobody takes a connection."""

    def begin(self) -> None:
        """SIGKILL."""
        self._answering.servers.redis.process.kill()
        self._pid = -1

    def end(self) -> None:
        """Start it again, and fill it."""
        if self._pid:
            self._answering.servers.redis.start(within_s=START_S)
            self._answering.fill()
            self._pid = 0


CASES: Final[dict[str, Callable[[Answering], Trouble]]] = {
    "sampler-saturated": Sampler,
    "sampler-hung": HungSampler,
    "sampler-crashing": CrashingSampler,
    "redis-hung": HungRedis,
    "redis-dead": DeadRedis,
}


def tree_cpu_s(pid: int | None) -> float:
    """CPU seconds of a process and its living descendants."""
    spent = 0.0
    for each in tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            spent += cpu_s(each)
    return spent
