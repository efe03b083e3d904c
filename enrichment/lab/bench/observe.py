"""One process watched from outside while it works: what it has committed, and what it used."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from enrichment.lab.bench.catalogue import BenchError

LOOK_S: Final = 0.01  # how often offsets are asked for: a small load, the same on every system
START_S: Final = 60.0  # to be imported, join its group and commit something
STALL_S: Final = 30.0  # without progress for so long, it will not make any
STOP_S: Final = 15.0
CALL_S: Final = 30.0
GONE_S: Final = 30.0  # a static member is given up after its session's 6 s
# What a broker answers for a group while it is still reading the topic that holds the offsets.
COORDINATOR_MOVES: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)


@dataclass(frozen=True, slots=True)
class Span:
    """Between which shares of a run's events a rate is taken: warm-up and stragglers left out."""

    start: float = 0.1
    end: float = 0.9


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment: seconds, events committed, CPU seconds used so far."""

    at_s: float
    done: int
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast a run went within its span, and what it took."""

    events_per_s: float
    cpu_s_per_million: float
    memory_peak_mib: float


def rate(looks: Sequence[Look], events: int, memory_peak_mib: float, span: Span) -> Rate:
    """The rate between the last look at or before the span and the first at or behind it.

    Looks that are too far apart make a run seem slower, never faster.
    """
    first = max((k for k in looks if k.done <= events * span.start), key=lambda k: k.at_s)
    last = min((k for k in looks if k.done >= events * span.end), key=lambda k: k.at_s)
    done = last.done - first.done
    return Rate(
        events_per_s=done / (last.at_s - first.at_s),
        cpu_s_per_million=(last.cpu_s - first.cpu_s) / done * 1e6,
        memory_peak_mib=memory_peak_mib,
    )


@contextlib.contextmanager
def process(
    command: Sequence[str], environment: Mapping[str, str], log: Path, stop_s: float = STOP_S
) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process of its own; ended when the block is. Its words go to `log`."""
    with log.open("wb") as said:
        running = subprocess.Popen(  # noqa: S603  # our own interpreter and modules
            [*tie(), *command],
            env={**_surroundings(), **environment},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(stop_s)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _surroundings() -> dict[str, str]:
    """Our environment without settings: what is measured has its own, whatever the caller's are."""
    return {name: text for name, text in os.environ.items() if not name.startswith("ENRICHMENT_")}


def tie() -> list[str]:
    """What goes before a command that is to end when we do, however that happens (Linux)."""
    return ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


class Group:
    """A consumer group's committed offsets: the one measure of progress that all systems share."""

    def __init__(self, admin: AdminClient, name: str) -> None:
        self._admin = admin
        self.name = name

    def committed(self) -> int:
        """Events committed on all partitions. Offsets start at 0 and have no gaps."""
        wanted = [ConsumerGroupTopicPartitions(self.name)]
        try:
            found = self._admin.list_consumer_group_offsets(wanted)[self.name].result(CALL_S)
        except KafkaException as error:
            if error.args[0].code() in COORDINATOR_MOVES:
                return 0
            raise
        return sum(max(0, each.offset) for each in found.topic_partitions)

    def forget(self) -> None:
        """Delete the group, so that whoever joins it next begins at the beginning.

        Waits for a static member that has ended to be given up by the broker, and for a broker
        that has just come up to know its groups.
        """
        give_up_s = time.monotonic() + GONE_S
        while True:
            try:
                self._admin.delete_consumer_groups([self.name])[self.name].result(CALL_S)
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.GROUP_ID_NOT_FOUND:
                    return
                wait = code == KafkaError.NON_EMPTY_GROUP or code in COORDINATOR_MOVES
                if not wait or time.monotonic() > give_up_s:
                    raise
                time.sleep(0.2)
            else:
                return


BY_DEFAULT: Final = Span()


@dataclass(frozen=True, slots=True)
class Expected:
    """How many events a process is to commit, and between which shares of them it is timed."""

    events: int
    span: Span = BY_DEFAULT


def watch(
    running: subprocess.Popen[bytes],
    group: Group,
    expected: Expected,
    tend: Callable[[], None],
    log: Path,
) -> Rate:
    """Look at the process until it has committed all events. Calls `tend` at each look.

    Raises BenchError where it ends or stalls before that.
    """
    events = expected.events
    looks = [Look(time.monotonic(), 0, cpu_s(running.pid))]
    moved_s = looks[0].at_s
    while looks[-1].done < events:
        tend()
        time.sleep(LOOK_S)
        done = group.committed()
        now_s = time.monotonic()
        if running.poll() is not None:
            raise BenchError(f"{group.name} ended at {done} of {events} events: {tail(log)}")
        looks.append(Look(now_s, done, cpu_s(running.pid)))
        if done > looks[-2].done:
            moved_s = now_s
        if now_s - moved_s > (STALL_S if done else START_S):
            raise BenchError(f"{group.name} stalls at {done} of {events} events: {tail(log)}")
    return rate(looks, events, memory_peak_mib(running.pid), expected.span)


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, in user and kernel mode, all threads."""
    # The name in parentheses may itself hold anything; fields are counted behind it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_peak_mib(pid: int) -> float:
    """The largest resident memory that a process has had, in MiB."""
    status: Any = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def memory_mib(pid: int) -> float:
    """The resident memory of a process now, in MiB."""
    status: Any = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def tail(log: Path) -> str:
    """The last words of a process, on one line."""
    return " ".join(log.read_text(errors="replace")[-500:].split()) or "it said nothing"


def tree(pid: int | None) -> list[int]:
    """A process and its descendants; nothing for None or one that has ended."""
    if pid is None:
        return []
    try:
        found = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(each for child in found for each in tree(child))]
