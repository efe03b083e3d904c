"""Faust's Kafka transport, with the bookkeeping taken out of its hands.

Faust's own acknowledgements lose held events and stall behind transaction markers. So nothing is
ever acknowledged: streams are read with `noack()`, and what gets committed is what the books call
safe, with a note in the commit's metadata. Consumers read committed records only, and
partitions of equal numbers go to one worker. Faust's producer is not used.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import faust
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as BrokerPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from enrichment.stream.security import Security, SecurityProtocol
from enrichment.telemetry.log import logger

# How long the broker may hold a fetch open. aiokafka has one fetch under way per broker, and what
# another partition gets meanwhile waits for it: this is that wait.
FETCH_WAIT_MS: Final = 20


class Books(Protocol):
    """What the application knows of its input: how far it is safe, and what to note with that."""

    def safe(self) -> dict[TP, tuple[int, str]]:
        """Per partition the offset from which a restart must read, and a note of at most 4 kB."""

    async def on_seek(self, consumer: "Consumer") -> None:
        """Called with partitions assigned, perhaps none, and flow suspended; perhaps twice."""


class Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust is not typed
    """The thread in which aiokafka's consumer lives."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust reads committed records only together with its own exactly-once.
        consumer._isolation_level = "read_committed"  # noqa: SLF001  # no setting reaches it
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001  # Faust says 1,500
        # Round robin would part a shard's digests from its outcomes.
        consumer._partition_assignment_strategy = [RangePartitionAssignor]  # noqa: SLF001
        return consumer

    async def on_thread_stop(self) -> None:
        """Stop the consumer; a fetch that waits for a broker that is away is cancelled."""
        with contextlib.suppress(asyncio.CancelledError):
            await super().on_thread_stop()

    async def committed(self, tps: Iterable[TP]) -> dict[TP, OffsetAndMetadata]:
        """What is committed for those partitions, notes included."""
        consumer = self._ensure_consumer()
        partitions = [BrokerPartition(tp.topic, tp.partition) for tp in tps]
        fetch = consumer._coordinator.fetch_committed_offsets  # noqa: SLF001  # keeps the note
        found = await self.call_thread(fetch, partitions)
        return {TP(tp.topic, tp.partition): entry for tp, entry in found.items()}

    def end_of(self, tp: TP) -> int | None:
        """Where committed records end, as the last fetch told; None where that is not known.

        Read beside the thread that changes it: each object is looked at once.
        """
        if (consumer := self._consumer) is None:
            return None
        # What is public asserts that the partition is still assigned.
        subscription = consumer._subscription.subscription  # noqa: SLF001  # see above
        assignment = None if subscription is None else subscription.assignment
        partition = BrokerPartition(tp.topic, tp.partition)
        state = None if assignment is None else assignment.state_value(partition)
        return None if state is None else state.lso

    async def commit_noted(self, entries: Mapping[TP, OffsetAndMetadata], generation: int) -> bool:
        """Commit these as a member of that generation; whether it was done."""
        return bool(await self.call_thread(self._commit_noted, entries, generation))

    async def _commit_noted(self, entries: Mapping[TP, OffsetAndMetadata], generation: int) -> bool:
        consumer = self._ensure_consumer()
        if consumer._coordinator.generation != generation:  # noqa: SLF001  # nothing public says it
            # Assigned, and not sought yet: of a partition that somebody else had meanwhile, the
            # books still say what was safe before, and that would undo the other's commits.
            return False
        assigned = self.assignment()
        commit = {
            BrokerPartition(tp.topic, tp.partition): entry
            for tp, entry in entries.items()
            if tp in assigned
        }
        try:
            if commit:
                await consumer.commit(commit)
        except (CommitFailedError, IllegalStateError, KafkaError) as error:
            # The partition is somebody else's by now, or the broker is away: what was not
            # committed is read again, and nothing is published twice for it.
            logger().warning("offsets not committed", error=repr(error))
            return False
        return True


class Consumer(driver.Consumer):  # type: ignore[misc]  # Faust is not typed
    """The consumer that commits what the books call safe."""

    # The generation of the group whose partitions the books know; no other is committed in.
    _known_generation: int | None = None

    def _new_consumer_thread(self) -> Thread:
        return Thread(self, loop=self.loop, beacon=self.beacon)

    async def committed(self, tps: Iterable[TP]) -> dict[TP, OffsetAndMetadata]:
        """What is committed for those partitions, notes included."""
        found: dict[TP, OffsetAndMetadata] = await self._thread.committed(tps)
        return found

    def end_of(self, tp: TP) -> int | None:
        """Where committed records end, as the last fetch told; None where that is not known."""
        end: int | None = self._thread.end_of(tp)
        return end

    async def _add_gap(self, *args: Any) -> None:
        """Nothing: gaps matter to acknowledgements alone."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> list[TP]:  # noqa: ARG002
        return list(self.app.books.safe())

    def _new_offset(self, tp: TP) -> int | None:
        found = self.app.books.safe().get(tp)
        return None if found is None else int(found[0])

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # The books are asked here, in the loop that changes them: the consumer's thread would see
        # them half changed.
        safe = self.app.books.safe()
        entries = {tp: OffsetAndMetadata(*safe[tp]) for tp in offsets if tp in safe}
        done: bool = await self._thread.commit_noted(entries, self._known_generation)
        return done

    async def _commit_offsets(self, offsets: Mapping[TP, int], **options: Any) -> bool:
        done = bool(await super()._commit_offsets(offsets, **options))
        if not done:
            # Faust takes what failed for committed, and would wait until the offset moves on.
            for tp in offsets:
                self._committed_offset.pop(tp, None)
        return done

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Partitions are assigned; where they are none, this is the last step."""
        await super().on_partitions_assigned(assigned, generation_id)
        if not assigned:
            # Faust seeks nothing then, and the books would go on with what somebody else has now.
            await self.app.books.on_seek(self)

    async def perform_seek(self) -> None:
        """The last step before flow resumes after a rebalance."""
        generation = self.app.consumer_generation_id
        await super().perform_seek()
        await self.app.books.on_seek(self)
        self._known_generation = generation


class Transport(driver.Transport):  # type: ignore[misc]  # Faust is not typed
    """The transport made of them."""

    Consumer = Consumer


def credentials(security: Security) -> Any:
    """What Faust is to say to the broker, and to ask of it; None where nothing is protected.

    Raises OSError, ssl.SSLError for files of no use.
    """
    if security.protocol is SecurityProtocol.PLAINTEXT:
        return None
    if security.protocol is SecurityProtocol.SSL:
        return faust.SSLCredentials(security.context())
    return faust.SASLCredentials(
        username=security.user,
        password=security.password,
        ssl_context=security.context(),
        mechanism=security.mechanism.value,
    )


class App(faust.App):  # type: ignore[misc]  # Faust is not typed
    """A Faust application whose commits follow its books."""

    books: Books
    # Called as soon as the application is to stop.
    leaving: Callable[[], None]

    def install(self, books: Books, leaving: Callable[[], None]) -> None:
        """Set the books and the transport: before the first topic is named."""
        self.books = books
        self.leaving = leaving
        self.transport = Transport(self.conf.broker_consumer, self)

    async def on_stop(self) -> None:
        """Say so, and stop as Faust does."""
        self.leaving()
        await super().on_stop()
