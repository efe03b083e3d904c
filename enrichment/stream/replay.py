"""Dead letters' records published again, each once: record and mark are one transaction.

That a replay was begun is a change, in the transaction of the first of them.

All replays of one stream share a transactional id. Whoever opens it fences everybody before him and
aborts what they left open; only then does he read the marks, so that none can come behind his back.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Self

import msgspec
from confluent_kafka import TopicPartition

from enrichment.records import Change, Replay
from enrichment.stream.changes import message_of
from enrichment.stream.dead_letters import Letter, Original, Records
from enrichment.stream.framing import BARE, Framing
from enrichment.stream.headers import REPLAY_OF, UnreadableHeadersError, cloud_event
from enrichment.stream.to_end import scan_to_end
from enrichment.stream.topics import REPLAYS
from enrichment.stream.transaction import Message, Outcome, TransactionalProducer

CHUNK_LETTERS: Final = 100  # a transaction; with a kilobyte each it takes milliseconds
CHUNK_BYTES: Final = 8 * 1024 * 1024
TRIES_MAX: Final = 3
OPEN_S: Final = 30.0
SILENCE_S: Final = 30.0


class Fate(Enum):
    """What became of one letter."""

    REPLAYED = "replayed"
    ALREADY = "already replayed"
    GONE = "its record is gone"
    UNREADABLE = "its headers cannot be read"
    PROGRESS = "a statement of progress, and no event"


class ReplayError(RuntimeError):
    """A replay that could not go on, said in one line. What was done stays done, once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """One stream's replays: its Kafka, who says so, and where records go."""

    kafka: dict[str, Any]
    stream: str
    events: str
    by: str = ""
    framing: Framing = BARE
    # What is put on record with the first records that are published again, if any are.
    change: Change | None = None


class Replayer:
    """The one who may replay a stream's dead letters, until somebody else becomes it."""

    def __init__(
        self,
        config: ReplayConfig,
        records: Records,
        producer: TransactionalProducer,
        now_ms: Callable[[], int],
    ) -> None:
        """`producer` has fenced all others: only now are the marks all there."""
        self._config = config
        self._records = records
        self._producer = producer
        self._now_ms = now_ms
        self._done = replayed(config.kafka)
        self._unsaid = [] if config.change is None else [message_of(config.change, config.framing)]
        self._encode = msgspec.json.Encoder().encode

    @classmethod
    def open(cls, config: ReplayConfig, records: Records, now_ms: Callable[[], int]) -> Self:
        """Fence every other replay of the stream, then read what they did.

        Raises KafkaException, TimeoutError.
        """
        producer = TransactionalProducer.open(
            config.kafka, f"enrichment.replay.{config.stream}", timeout_s=OPEN_S
        )
        return cls(config, records, producer, now_ms)

    def replay(self, letters: Iterable[Letter], told: Callable[[Letter, Fate], None]) -> None:
        """Publish the records of these letters again, calling `told` once each is settled.

        Raises ReplayError where another replay has begun, and KafkaException.
        """
        chunk: list[tuple[Letter, Original]] = []
        size = 0
        for letter in letters:
            # The mark of one chunk is that of all that follow: a letter may be named twice.
            fate, original = judge(letter, self._done, self._records)
            if original is None:
                told(letter, fate)
                continue
            self._done.add(letter.name)
            chunk.append((letter, original))
            size += len(original.value or b"")
            if len(chunk) >= CHUNK_LETTERS or size >= CHUNK_BYTES:
                self._write(chunk, told)
                chunk, size = [], 0
        if chunk:
            self._write(chunk, told)

    def close(self) -> None:
        """Let go of the connection; what is open is aborted."""
        self._producer.close()

    def _write(
        self, chunk: Sequence[tuple[Letter, Original]], told: Callable[[Letter, Fate], None]
    ) -> None:
        """One transaction: every record of the chunk, and its mark."""
        at_ms = self._now_ms()
        messages = [
            *self._unsaid,
            *(
                message
                for letter, original in chunk
                for message in (self._again(letter, original), self._mark(letter, at_ms))
            ),
        ]
        for _ in range(TRIES_MAX):
            outcome = self._producer.write(messages)
            if outcome is Outcome.COMMITTED:
                self._unsaid = []
                for letter, _original in chunk:
                    told(letter, Fate.REPLAYED)
                return
            if outcome is Outcome.LOST:
                raise ReplayError(
                    "another replay of this stream has begun, or the broker did not say how ours "
                    "ended: run it again, nothing is published twice"
                )
        raise ReplayError(f"the broker aborted the transaction {TRIES_MAX} times: run it again")

    def _again(self, letter: Letter, original: Original) -> Message:
        """The record as it was, with a mark in a header. Its timestamp is that of now.

        An old one could fall under the topic's retention before anybody has read it.
        """
        headers: Any = [pair for pair in original.headers if pair[0] != REPLAY_OF]
        return Message(
            topic=self._config.events,
            partition=letter.record.partition,
            key=original.key,
            value=original.value,
            headers=[*headers, (REPLAY_OF, letter.name.encode())],
        )

    def _mark(self, letter: Letter, at_ms: int) -> Message:
        record = Replay(
            pipeline=self._config.stream,
            dead_letter=letter.name,
            topic=self._config.events,
            partition=letter.record.partition,
            replayed_at_ms=at_ms,
            replayed_by=self._config.by,
        )
        source = f"/enrichment/replay/{self._config.stream}"
        value, headers = self._config.framing.framed(
            REPLAYS, self._encode(record), cloud_event("replay", source, letter.name, at_ms)
        )
        return Message(
            topic=REPLAYS, partition=0, key=letter.name.encode(), value=value, headers=headers
        )


def judge(letter: Letter, done: set[str], records: Records) -> tuple[Fate, Original | None]:
    """What is to become of a letter, and its record where that is to be published."""
    if letter.name in done:
        return Fate.ALREADY, None
    try:
        original = records.original(letter)
    except UnreadableHeadersError:
        return Fate.UNREADABLE, None
    if original is None:
        return Fate.GONE, None
    if original.is_progress:
        return Fate.PROGRESS, None
    return Fate.REPLAYED, original


def replayed(kafka: dict[str, Any]) -> set[str]:
    """The names of all letters whose records were published again."""
    marks = scan_to_end(kafka, [TopicPartition(REPLAYS, 0)], SILENCE_S)
    return {(mark.key() or b"").decode(errors="replace") for mark in marks}
