"""What can be seen of a running service from its topics alone: counted, not assumed."""

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from enrichment.records import Case, JobState
from enrichment.stream.framing import unframed
from enrichment.stream.headers import PROGRESS, UnreadableHeadersError, header, headers_of
from enrichment.stream.topics import CASES, JOBS, MICRO_BATCHES, StreamTopics

BATCH_MAX: Final = 1_000
WAIT_S: Final = 0.1
QUANTUM_BACKENDS: Final = frozenset({"qsim", "virtual", "google", "ionq"})


class _Verdict(msgspec.Struct, frozen=True):
    name: str


class _Origin(msgspec.Struct, frozen=True):
    partition: int
    offset: int


class _Scores(msgspec.Struct, frozen=True):
    served: float
    heuristic: float
    classical: float | None = None
    quantum: float | None = None


class _Enriched(msgspec.Struct, frozen=True):
    """What is looked at of an enriched record; the rest is not even parsed."""

    event_id: str
    origin: _Origin
    verdict: _Verdict
    path: str
    scores: _Scores


class _Closed(msgspec.Struct, frozen=True):
    micro_batch_id: str
    events: int
    problems: tuple[msgspec.Raw, ...] = ()


class _Job(msgspec.Struct, frozen=True):
    job_id: str
    state: JobState
    provider: str = ""
    problems: int = 0


@dataclass(slots=True)
class Seen:
    """Everything seen so far. Inputs are named by partition and offset, answers by their origin."""

    inputs: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    answers: dict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    enriched: int = 0
    dead_letters: int = 0
    latencies_ms: list[int] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    paths: Counter[str] = field(default_factory=Counter)
    # Event id -> (served, heuristic, classical, quantum), lesser paths standing in for unknown.
    scores: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    micro_batches: dict[str, tuple[int, int]] = field(default_factory=dict)
    jobs: dict[str, _Job] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    last_case: Case | None = None

    @property
    def published(self) -> int:
        """Records on the input topic."""
        return sum(map(len, self.inputs.values()))

    @property
    def lost(self) -> int:
        """Inputs without any answer."""
        return sum(
            len(offsets - self.answers[partition].keys())
            for partition, offsets in list(self.inputs.items())
        )

    @property
    def duplicated(self) -> int:
        """Answers beyond the first to the same input."""
        return sum(
            count - 1 for answers in list(self.answers.values()) for count in answers.values()
        )

    @property
    def windowed(self) -> int:
        """Events in closed windows."""
        return sum(events for events, _ in self.micro_batches.values())

    @property
    def problems(self) -> int:
        """Candidate subgraphs handed to the sampler."""
        return sum(problems for _, problems in self.micro_batches.values())

    def jobs_by_state(self) -> dict[str, int]:
        """How many jobs stand where."""
        return dict(Counter(job.state.value for job in list(self.jobs.values())))

    def quantum_jobs_succeeded(self) -> int:
        """Jobs that a circuit solved, of those that had anything to solve."""
        return sum(
            job.state is JobState.SUCCEEDED
            and job.problems > 0
            and job.provider in QUANTUM_BACKENDS
            for job in list(self.jobs.values())
        )

    def unfinished_jobs(self) -> int:
        """Micro-batches whose job has not ended, or not begun."""
        ended = {JobState.SUCCEEDED, JobState.FAILED, JobState.TIMED_OUT}
        ended.add(JobState.FALLBACK_COMPLETE)
        done = {job.job_id for job in list(self.jobs.values()) if job.state in ended}
        return len(self.micro_batches.keys() - done)


class Watcher:
    """A committed reader of one stream's topics from their beginning, in a thread of its own."""

    def __init__(self, client: dict[str, Any], pipeline: str) -> None:
        self.seen = Seen()
        self.failure: str | None = None
        self._prefix = f"{pipeline}|".encode()
        topics = StreamTopics(pipeline)
        self._consumer = Consumer(
            client
            | {
                "group.id": "enrichment.watch",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
            }
        )
        self._takes = {
            topics.events: self._take_input,
            topics.enriched: self._take_enriched,
            topics.dead_letters: self._take_dead_letter,
            MICRO_BATCHES: self._take_micro_batch,
            JOBS: self._take_job,
            CASES: self._take_case,
        }
        known = self._consumer.list_topics(timeout=10).topics
        self._consumer.assign(
            [TopicPartition(topic, p, 0) for topic in self._takes for p in known[topic].partitions]
        )
        self._enriched = msgspec.json.Decoder(_Enriched)
        self._origin = msgspec.json.Decoder(_Origin)
        self._closed = msgspec.json.Decoder(_Closed)
        self._job = msgspec.json.Decoder(_Job)
        self._case = msgspec.json.Decoder(Case)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End reading; what was seen stays."""
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                first = self._consumer.poll(WAIT_S)
                if first is None:
                    continue
                # What has arrived with it: waiting for more would count as latency.
                messages = [first, *self._consumer.consume(BATCH_MAX, 0)]
                now_ms = time.time_ns() // 1_000_000
                for message in messages:
                    self._take(message, now_ms)
        except (KafkaException, msgspec.MsgspecError) as error:
            self.failure = str(error)
        finally:
            self._consumer.close()

    def _take(self, message: Message, now_ms: int) -> None:
        if (error := message.error()) is not None:
            if error.fatal():
                raise KafkaException(error)
            return
        self._takes[message.topic()](message, now_ms)

    def _take_input(self, message: Message, _now_ms: int) -> None:
        try:
            progress = header(headers_of(message), PROGRESS)
        except UnreadableHeadersError:
            progress = None
        if progress is None:
            self.seen.inputs[message.partition()].add(message.offset())

    def _take_enriched(self, message: Message, now_ms: int) -> None:
        seen = self.seen
        record = self._enriched.decode(unframed(message.value()))
        seen.answers[record.origin.partition][record.origin.offset] += 1
        seen.enriched += 1
        # An answer bears the timestamp of its input: the time of publishing.
        seen.latencies_ms.append(now_ms - message.timestamp()[1])
        seen.verdicts[record.verdict.name] += 1
        seen.paths[record.path] += 1
        scores = record.scores
        classical = scores.heuristic if scores.classical is None else scores.classical
        quantum = classical if scores.quantum is None else scores.quantum
        seen.scores[record.event_id] = (scores.served, scores.heuristic, classical, quantum)

    def _take_dead_letter(self, message: Message, _now_ms: int) -> None:
        origin = self._origin.decode(unframed(message.value()))
        self.seen.answers[origin.partition][origin.offset] += 1
        self.seen.dead_letters += 1

    def _take_micro_batch(self, message: Message, _now_ms: int) -> None:
        if self._ours(message):
            closed = self._closed.decode(unframed(message.value()))
            self.seen.micro_batches[closed.micro_batch_id] = (closed.events, len(closed.problems))

    def _take_job(self, message: Message, _now_ms: int) -> None:
        if self._ours(message):
            job = self._job.decode(unframed(message.value()))
            self.seen.jobs[job.job_id] = job

    def _take_case(self, message: Message, _now_ms: int) -> None:
        if self._ours(message):
            case = self._case.decode(unframed(message.value()))
            self.seen.cases[case.case_id] = self.seen.last_case = case

    def _ours(self, message: Message) -> bool:
        key = message.key()
        return message.value() is not None and key is not None and key.startswith(self._prefix)
