"""The windows of a stream derived again from its topics: see `window.replay`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from confluent_kafka import Message, TopicPartition

from enrichment.pipelines import Pipeline
from enrichment.records import Digest, MicroBatch, Outcome
from enrichment.stream.framing import unframed
from enrichment.stream.to_end import read_to_end, scan_to_end
from enrichment.stream.topics import DIGESTS, MICRO_BATCHES, StreamTopics, shard_key
from enrichment.window.replay import Compared, Finding, Replay

READ_S: Final = 60.0  # an open transaction may hide the end of a topic as long as it may last
SHOWN_MAX: Final = 20  # closes that are named: the first tell what is wrong
REPORT_EVERY: Final = 500


@dataclass(slots=True)
class Replayed:
    """What came of it, over all partitions."""

    closes: int = 0
    same: int = 0
    different: int = 0
    incomplete: int = 0
    # Identities that stand in the log more than once with different contents.
    conflicts: int = 0
    # Of those with the same content, the ones whose problems came out differently.
    other_problems: int = 0
    digests: int = 0
    shown: list[Compared] = field(default_factory=list)

    def note(self, one: Compared) -> None:
        """Count one close."""
        self.closes += 1
        self.same += one.finding is Finding.SAME
        self.different += one.finding is Finding.DIFFERENT
        self.incomplete += one.finding is Finding.INCOMPLETE
        self.other_problems += one.same_problems is False
        if one.finding is Finding.DIFFERENT and len(self.shown) < SHOWN_MAX:
            self.shown.append(one)


def replay_windows(
    kafka: Mapping[str, Any],
    pipeline: Pipeline,
    partitions: int,
    *,
    from_ms: int,
    to_ms: int,
    on_progress: Callable[[Replayed], None] = lambda _: None,
) -> Replayed:
    """Derive the micro-batches of windows that start in [from_ms, to_ms) again.

    Digests before `from_ms` are read too, as far as they are there: the graph knew them. Raises
    KafkaException, TimeoutError where a topic does not end, msgspec.MsgspecError on records that
    are none of ours.
    """
    done = Replayed()
    for number in range(partitions):
        for one in _replayed(kafka, pipeline, number, done, on_progress):
            if from_ms <= one.micro_batch.window_start_ms < to_ms:
                done.note(one)
    on_progress(done)
    return done


def _replayed(
    kafka: Mapping[str, Any],
    pipeline: Pipeline,
    number: int,
    done: Replayed,
    on_progress: Callable[[Replayed], None],
) -> Iterator[Compared]:
    """The closes of one partition, compared in the order of the log."""
    closes = [
        msgspec.json.decode(unframed(message.value() or b""), type=MicroBatch)
        for message in _own(
            pipeline, read_to_end(kafka, [TopicPartition(MICRO_BATCHES, number)], READ_S)
        )
    ]
    decode = msgspec.json.Decoder(Digest).decode
    hashes: dict[str, str] = {}
    for batch in closes:
        first = hashes.setdefault(batch.micro_batch_id, batch.content_hash)
        done.conflicts += first != batch.content_hash
    replay: Replay | None = None
    digests = scan_to_end(kafka, [TopicPartition(DIGESTS, number)], READ_S)
    for message in digests:
        offset = message.offset() or 0
        if replay is None:
            replay = Replay(pipeline, number, start=offset, closes=closes)
            outcomes = TopicPartition(StreamTopics(pipeline.name).outcomes, number)
            for outcome in read_to_end(kafka, [outcomes], READ_S):
                replay.learn(msgspec.json.decode(unframed(outcome.value() or b""), type=Outcome))
        if not (message.key() or b"").startswith(shard_key(pipeline.name, "").encode()):
            replay.skip(offset)
            continue
        replay.read(decode(unframed(message.value() or b"")), offset, message.timestamp()[1])
        yield from replay.compared
        replay.compared.clear()
        done.digests += 1
        if done.digests % REPORT_EVERY == 0:
            on_progress(done)
    replay = replay or Replay(pipeline, number, start=0, closes=closes)
    replay.finish()
    yield from replay.compared


def _own(pipeline: Pipeline, messages: list[Message]) -> Iterator[Message]:
    prefix = shard_key(pipeline.name, "").encode()
    return (message for message in messages if (message.key() or b"").startswith(prefix))
