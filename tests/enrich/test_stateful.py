"""The loop against everything that a broker, a group and a machine can do to it, in any order.

The broker is in memory (`tests/memory_kafka.py`, which keeps the real one's contract); the loop is
the real one, in a thread that takes one batch at a time. After every step the committed answers are
those of the committed inputs, each once; when trouble ends, of all inputs.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final

import msgspec
import pytest
from confluent_kafka import KafkaException
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from enrichment.enrich.clients import Clients, LoopConfig
from enrichment.enrich.loop import Loop
from enrichment.enrich.positions import LostInstanceError
from enrichment.stream.topics import DIGESTS, StreamTopics
from tests.enrich.streams import PAYMENTS, enricher, payment
from tests.faults.answers import origin_of
from tests.feature.cached import NOW_MS
from tests.memory_kafka import (
    TROUBLES,
    Entry,
    KilledError,
    MemoryConsumer,
    MemoryKafka,
    MemoryProducer,
    Process,
    Received,
)

TOPICS: Final = StreamTopics("payments")
INPUTS: Final = 3  # partitions
SETTLED_AFTER: Final = 60  # rounds of all processes: a batch each, and what it takes to share
EXAMPLES: Final = int(os.environ.get("EXAMPLES", "60"))
NAMES: Final = ("one", "two")
MISHAPS: Final = (
    *TROUBLES,
    "session expires",
    "transactions expire",
    "other works",
    "other takes over",
    "double works",
)
CALLS: Final = ("produce", "offsets", "commit", "abort", "committed")


class Turnstile(threading.Event):
    """A stop event that lets its loop through once per `turn`."""

    def __init__(self) -> None:
        super().__init__()
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._passing = False

    def is_set(self) -> bool:
        """Asked by the loop between two batches: wait for the next turn."""
        if self._passing:
            self._back.release()
        self._passing = True
        self._go.acquire()
        return super().is_set()

    def turn(self) -> None:
        """Let it through, and wait until it is back, or at its end."""
        self._go.release()
        assert self._back.acquire(timeout=30)

    def leave(self) -> None:
        """The loop has come to its end."""
        self._back.release()


class Unhurried(Executor):
    """Does what it is told when somebody asks for the result, or whether it is there."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        """A future of it."""
        return Later(lambda: fn(*args))


class Later(Future[Any]):
    """Work that is done when it is asked for."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self._work: Callable[[], Any] | None = work

    def _do(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            try:
                self.set_result(work())
            except BaseException as failure:  # noqa: BLE001  # told to whoever asks
                self.set_exception(failure)

    def done(self) -> bool:
        """It is, once it has been asked for."""
        self._do()
        return super().done()

    def result(self, timeout: float | None = None) -> Any:
        """Do it first."""
        self._do()
        return super().result(timeout)


class Running:
    """One enricher process: its loop, and what it ended with."""

    def __init__(self, kafka: MemoryKafka, name: str, *, exactly_once: bool) -> None:
        self.name, self.process = name, Process()
        self.failure: BaseException | None = None
        self.ended = False
        producer = MemoryProducer(kafka, self.process, name if exactly_once else None, queue_max=7)
        if exactly_once:
            producer.init_transactions()
        config = LoopConfig(
            stream="payments", client={}, group_id="g", instance=name, exactly_once=exactly_once,
            batch_events_max=5, batch_ms_max=10, digest_partitions=2,
        )  # fmt: skip
        consumer = MemoryConsumer(kafka, self.process, name)
        clients = Clients(consumer, producer, consumer)
        self._loop = Loop(
            enricher(PAYMENTS), config, lambda: NOW_MS, clients=clients, committer=Unhurried()
        )
        self._turnstile = Turnstile()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        # Whether it is in the middle of a batch.
        self.busy = False

    def _run(self) -> None:
        try:
            self._loop.run(self._turnstile)
        except BaseException as failure:  # noqa: BLE001  # judged by whoever took the step
            self.failure = failure
        self.ended = True
        self._turnstile.leave()

    def step(self) -> None:
        """One batch. Afterwards it may have ended, for a reason that another start mends."""
        if self.ended or self.busy:
            return
        self.busy = True
        self._turnstile.turn()
        self.busy = False
        self.judge()

    def judge(self) -> None:
        """Raise what it ended with, unless that is what such a process should end with."""
        expected: tuple[type[BaseException], ...] = (KilledError, LostInstanceError)
        if self.process.troubled:
            # What cannot be mended by trying again may end it, whatever it is called.
            expected += (KafkaException,)
        if self.failure is not None and not isinstance(self.failure, expected):
            raise AssertionError("it should have gone on") from self.failure

    def stop(self) -> None:
        """SIGTERM."""
        if not self.ended and not self.busy:
            self._turnstile.set()
            self._turnstile.turn()
            self._thread.join(30)
            assert self.ended

    def kill(self) -> None:
        """Kill -9."""
        self.process.dead = True
        self.stop()


class Enriching(RuleBasedStateMachine):
    """Two instances, their restarts and doubles, and a broker in trouble."""

    exactly_once = True

    def __init__(self) -> None:
        super().__init__()
        self.kafka = MemoryKafka(
            {
                TOPICS.events: INPUTS,
                TOPICS.enriched: 2,
                TOPICS.reviews: 1,
                TOPICS.dead_letters: 1,
                DIGESTS: 2,
            }
        )
        self.running: dict[str, Running] = {}
        # Processes that run on although another has been started under their name.
        self.doubles: list[Running] = []
        self.published = 0

    def _start(self, name: str) -> None:
        self.running[name] = Running(self.kafka, name, exactly_once=self.exactly_once)

    def _publish(self, good: list[bool]) -> None:
        """Records arrive in all partitions, some of them malformed."""
        for valid in good:
            self.published += 1
            value = payment(event_id=f"e{self.published}") if valid else b"{"
            entry = Entry(b"k", value, None, NOW_MS, None)
            self.kafka.append(TOPICS.events, self.published % INPUTS, entry)

    @rule(
        name=st.sampled_from(NAMES),
        good=st.lists(st.booleans(), min_size=1, max_size=12),
        batches=st.integers(1, 4),
        mishap=st.none() | st.tuples(st.sampled_from(CALLS), st.sampled_from(MISHAPS)),
    )
    def work(
        self, name: str, good: list[bool], batches: int, mishap: tuple[str, str] | None
    ) -> None:
        """An instance answers, after a start where it does not run, and may meet a mishap."""
        self._publish(good)
        if name not in self.running or self.running[name].ended:
            self._start(name)
        if mishap is not None:
            self._prepare(name, *mishap)
        self._steps(name, batches)

    def _steps(self, name: str, batches: int) -> None:
        if name not in self.running or self.running[name].ended:
            self._start(name)
        for _ in range(batches):
            self.running[name].step()

    @rule(
        name=st.sampled_from(NAMES),
        how=st.sampled_from(["die", "terminate", "double", "session expires", "linger"]),
        calls=st.integers(0, 25),
    )
    def upset(self, name: str, how: str, calls: int) -> None:
        """Something happens to a process, some calls into its batch where it is killed."""
        running = self.running.get(name)
        if running is None or running.ended:
            return
        match how:
            case "die":
                running.process.calls_left = calls
                running.step()
                running.kill()
            case "terminate":
                running.stop()
                running.judge()
            case "double":
                self._double(name)
            case "session expires":
                self.kafka.remove(name)
            case "linger":
                # Those that were replaced go on, for as long as they can.
                for each in self.doubles:
                    each.step()

    def _double(self, name: str) -> None:
        """Another process starts under the name of one that runs on."""
        if (running := self.running.get(name)) is not None and not running.ended:
            self.doubles.append(running)
            self._start(name)

    def _prepare(self, name: str, call: str, mishap: str) -> None:
        """At a call of that name a call fails, or something happens to the world."""
        other = next(each for each in NAMES if each != name)
        events: dict[str, Callable[[], None]] = {
            "session expires": lambda: self.kafka.remove(name),
            "transactions expire": self.kafka.expire_transactions,
            "other works": lambda: self._steps(other, 2),
            "other takes over": lambda: self._replaced(name, other),
            "double works": lambda: self._replaced(name, name),
        }
        process = self.running[name].process
        if mishap in TROUBLES:
            process.prepare(call, mishap)
        else:
            process.meanwhile[call].append(events[mishap])

    def _replaced(self, name: str, by: str) -> None:
        """Somebody else answers for an instance, which does not know yet."""
        if name == by:
            self._double(name)
        else:
            self.kafka.remove(name)
        self._steps(by, 3)

    def settle(self) -> None:
        """Trouble ends, and one enricher is enough to answer everything."""
        self._end_all()
        for name in NAMES[1:]:
            self.kafka.remove(name)
        self.kafka.expire_transactions()
        self._start(NAMES[0])
        for _ in range(SETTLED_AFTER):
            self.running[NAMES[0]].step()
            if sum(self._answers().values()) >= self.published and self._committed_all():
                break
        assert self.running[NAMES[0]].failure is None
        assert set(self._answers()) == {
            (number, at)
            for number in range(INPUTS)
            for at in range(len(self.kafka.logs[TOPICS.events, number]))
        }

    @invariant()
    def answers_are_those_of_the_committed_inputs(self) -> None:
        """Each once; and digests count the enriched ones."""
        answers = self._answers()
        expected = {
            (number, at)
            for number in range(INPUTS)
            for at in range(self.kafka.offsets.get((TOPICS.events, number), 0))
        }
        if not self.exactly_once:
            assert expected <= set(answers)
            return
        assert answers == Counter(expected)
        counted: Counter[int] = Counter()
        for entry in self.kafka.committed(DIGESTS):
            digest = msgspec.json.decode(entry.value or b"")
            counted[digest["source_partition"]] += digest.get("events", 0)
        enriched = Counter(partition for partition, _ in self._origins(TOPICS.enriched))
        assert +counted == enriched

    def _origins(self, topic: str) -> list[tuple[int, int]]:
        return [
            origin_of(Received((topic, 0), 0, entry))[1:] for entry in self.kafka.committed(topic)
        ]

    def _answers(self) -> Counter[tuple[int, int]]:
        return Counter(self._origins(TOPICS.enriched) + self._origins(TOPICS.dead_letters))

    def _committed_all(self) -> bool:
        return all(
            self.kafka.offsets.get((TOPICS.events, number), 0)
            == len(self.kafka.logs[TOPICS.events, number])
            for number in range(INPUTS)
        )

    def _end_all(self) -> None:
        for running in [*self.running.values(), *self.doubles]:
            running.kill()
        self.doubles.clear()

    def teardown(self) -> None:
        """Every example ends in order."""
        self.settle()
        self.answers_are_those_of_the_committed_inputs()
        self._end_all()


class EnrichingAtLeastOnce(Enriching):
    """The same without transactions: nothing is lost."""

    exactly_once = False


@pytest.mark.parametrize("machine", [Enriching, EnrichingAtLeastOnce])
def test_any_order_of_events_answers_as_promised(machine: type[Enriching]) -> None:
    """Exactly once: the committed answers are the committed inputs. At least once: none is lost."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_session_that_ends_while_partitions_are_given_up_leaves_them_to_the_next() -> None:
    """Found by the machine: the next start of the name gets what the last one gave up."""
    machine = Enriching()
    machine.work(name="one", good=[False], batches=1, mishap=None)
    machine.work(name="one", good=[False], batches=1, mishap=None)
    machine.work(name="two", good=[False], batches=1, mishap=None)
    machine.work(name="one", good=[False], batches=1, mishap=("offsets", "session expires"))
    machine.teardown()
