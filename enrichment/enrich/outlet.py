"""Where the outputs of a batch go: each to its topic, digests to the partitions of their shards."""

from collections.abc import Iterable
from typing import Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from enrichment.enrich.batch import Output, Outputs
from enrichment.records import Digest
from enrichment.stream.framing import BARE, Framing
from enrichment.stream.headers import cloud_event
from enrichment.stream.topics import DIGESTS, StreamTopics, partition_for, shard_key

FULL_S: Final = 30.0  # the longest that a full producer queue is waited for
POLL_S: Final = 0.05
FULL: Final = f"the producer's queue was full for {FULL_S:.0f} s: is the broker away?"
PROGRESS_MS: Final = 100  # how often a source's progress goes to shards that it showed nothing of


class QueueFullError(RuntimeError):
    """The producer's queue did not empty: nothing can be produced, and nothing may be lost."""


class Outlet:
    """Hands outputs to a producer. Nobody else produces with it."""

    def __init__(
        self,
        producer: Producer,
        stream: str,
        *,
        digest_partitions: int,
        transactional: bool,
        framing: Framing,
    ) -> None:
        self._producer = producer
        self._topics = StreamTopics(stream)
        self._digest_partitions = digest_partitions
        self._framing = framing
        self._encode = msgspec.json.Encoder().encode
        self._source = f"/enrichment/{stream}"
        self._progress_sent_ms: dict[int, int] = {}
        # What the broker refused since the last look: in a transaction, its commit says so.
        self.failed: list[str] = []
        self._on_delivery = None if transactional else self._delivered

    def put(self, outputs: Outputs, now_ms: int) -> None:
        """Queue every output of a batch. Raises QueueFullError, and KafkaException."""
        self._put(self._topics.enriched, outputs.enriched)
        self._put(self._topics.reviews, outputs.reviews)
        self._put(self._topics.dead_letters, outputs.dead_letters)
        told: set[tuple[int, int]] = set()
        for digest in outputs.digests:
            key = shard_key(digest.pipeline, digest.shard)
            target = partition_for(key, self._digest_partitions)
            self._put_digest(digest, target)
            told.add((digest.source_partition, target))
        self._put_progress(outputs.progress, told, now_ms)

    def forget(self) -> None:
        """Take it that nobody was told of any progress: a transaction was aborted."""
        self._progress_sent_ms.clear()
        self.failed.clear()

    def _put_progress(
        self, progress: Iterable[tuple[Digest, bool]], told: set[tuple[int, int]], now_ms: int
    ) -> None:
        """Tell the digest partitions that a source showed nothing of how far it has come.

        What a source stated itself goes out at once, what is merely known of it now and then.
        """
        for digest, stated in progress:
            source = digest.source_partition
            if not stated and now_ms - self._progress_sent_ms.get(source, 0) < PROGRESS_MS:
                continue
            self._progress_sent_ms[source] = now_ms
            for target in range(self._digest_partitions):
                # Who waits for a statement must not have to guess it from a digest of events.
                if stated or (source, target) not in told:
                    self._put_digest(digest, target)

    def _put_digest(self, digest: Digest, partition: int) -> None:
        id_ = f"{self._topics.events}/{digest.source_partition}/{digest.offset_last}"
        if digest.shard:
            id_ += f"/{digest.shard}/{digest.pane_start_ms}/{digest.part}"
        headers = cloud_event("digest", self._source, id_, digest.progress_ms)
        key = shard_key(digest.pipeline, digest.shard)
        self._put(DIGESTS, [Output(key, self._encode(digest), headers)], partition)

    def _put(self, topic: str, outputs: list[Output], partition: int = -1) -> None:
        """Queue records; when the queue is full, wait for room, since nothing may be lost."""
        framed = None if self._framing is BARE else self._framing.framed
        produce, delivered = self._producer.produce, self._on_delivery
        for output in outputs:
            value, headers = output.value, output.headers
            if framed is not None:
                value, headers = framed(topic, value, headers)
            waited_s = 0.0
            while True:
                try:
                    produce(
                        topic,
                        value,
                        output.key,
                        partition,
                        on_delivery=delivered,
                        timestamp=output.timestamp_ms,
                        headers=headers,
                    )
                except BufferError:
                    # Backpressure: nothing is consumed while this waits.
                    if waited_s >= FULL_S:
                        raise QueueFullError(FULL) from None
                    self._producer.poll(POLL_S)
                    waited_s += POLL_S
                else:
                    break

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.failed.append(str(error))
