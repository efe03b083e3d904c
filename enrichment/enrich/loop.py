"""The loop of the hot path: consume a batch, answer it, and commit outputs and offsets as one.

Exactly once: outputs, dead letters, digests and input offsets are one Kafka transaction. On any
abortable error it is aborted and the batch is read again; a fatal error ends the process, and
whoever supervises it starts another.

While one batch is committed, in a thread of its own, the next is consumed and answered; it is
produced when the commit is known to have gone through. At most one batch is under way, and what a
partition's next owner must see is committed before the partition is given up.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from itertools import chain
from typing import Final

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from enrichment.enrich.batch import Enricher, Record
from enrichment.enrich.clients import Clients, LoopConfig
from enrichment.enrich.outlet import Outlet, QueueFullError
from enrichment.enrich.positions import LostInstanceError, Positions
from enrichment.enrich.told import Levels, Told, given_up
from enrichment.stream.aside import Aside
from enrichment.stream.envelope import read_envelope
from enrichment.stream.errors import is_fatal
from enrichment.stream.framing import BARE, Framing
from enrichment.stream.headers import UnreadableHeadersError, headers_of
from enrichment.stream.topics import StreamTopics
from enrichment.stream.transaction import Outcome, TransactionalProducer
from enrichment.telemetry.log import logger

GATHER_S: Final = 0.001  # how late it may be noticed that a commit is done
COMMIT_S: Final = 30.0  # all the tries of all the calls of one commit take some 20 s
CLOSE_S: Final = 5.0  # nothing is lost where the group has to find out by itself that we have gone
CALL_S: Final = 10.0  # the longest that one call to the broker may take before the batch is dropped


class Loop:
    """One enricher process, from subscription to its orderly end."""

    def __init__(  # noqa: PLR0913  # a test replaces most of them
        self,
        enricher: Enricher,
        config: LoopConfig,
        now_ms: Callable[[], int],
        *,
        framing: Framing = BARE,
        clients: Clients | None = None,
        committer: Executor | None = None,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        """`clients` and `committer` are the broker's and a thread unless a test brings its own.

        `tidy` is called once a batch, while nothing waits for an answer of it.
        """
        self._enricher = enricher
        self._config = config
        self._now_ms = now_ms
        self._topic = StreamTopics(config.stream).events
        clients = clients or Clients.open(config)
        self._consumer, self._producer = clients.consumer, clients.producer
        self._positions = Positions(clients.consumer, clients.asker, self._topic)
        self._transactions = TransactionalProducer(self._producer) if config.exactly_once else None
        self._outlet = Outlet(
            self._producer,
            config.stream,
            digest_partitions=config.digest_partitions,
            transactional=config.exactly_once,
            framing=framing,
        )
        self._committer = committer or Aside("commit")
        self._tidy = tidy
        # The commit that is under way, True where it went through, and what is in it.
        self._commit: Future[bool] | None = None
        self._offsets: list[TopicPartition] = []
        self._under_way: list[Record] = []
        # The batch that has not been produced yet.
        self._at_hand: list[Record] = []
        # What the batch in it will tell, and what is told now and then.
        self._told: Told | None = None
        self._levels = Levels()
        # Both must be read again: a commit did not go through.
        self._dropped = False

    def run(self, stop: threading.Event) -> None:
        """Answer records until told to stop.

        Raises LostInstanceError where only another start can go on, and KafkaException on what
        cannot be mended.
        """
        try:
            self._consumer.subscribe(
                [self._topic],
                on_assign=self._positions.given,
                on_revoke=self._given_up,
                on_lost=self._given_up,
            )
            logger().info("enriching", topic=self._topic)
            while not stop.is_set():
                self._iterate()
            self._settle(last=True)
        finally:
            self._committer.shutdown()
            self._commit = None  # nothing is begun any more
            closing = threading.Thread(target=self._close, name="close", daemon=True)
            closing.start()
            closing.join(CLOSE_S)
            if self._transactions is not None:
                self._transactions.close()  # between two batches there is nothing to deliver
            else:
                self._producer.flush(CALL_S)

    def _close(self) -> None:
        """Leave the group, which may take longer than anybody waits."""
        self._consumer.close()
        self._positions.close()

    def _iterate(self) -> None:
        """One batch. What could not be committed is read again."""
        records, offsets = self._records(self._positions.checked(self._gathered()))
        self._at_hand = records
        if records and not self._dropped:
            told = Told.taken(records, self._now_ms())
            told.answered(self._enricher.process(records))
            # Producing has to wait for the commit before.
            if self._settle():
                told.mark("hold")
                self._send(told, offsets)
                self._tidy()
        elif self._commit is not None and self._commit.done():
            self._settle()
        if self._dropped:
            self._read_again()
        self._levels.tell(self._consumer, killed=self._enricher.killed)

    def _gathered(self) -> list[Message]:
        """What has come: while a commit was under way, and at most so long or so much as is told.

        A batch that is not full waits for the commit before, since it could not be produced
        earlier: what comes meanwhile goes with it.
        """
        most = self._config.batch_events_max
        messages: list[Message] = self._consumer.consume(most, self._config.batch_ms_max / 1000)
        while self._commit is not None and len(messages) < most and not self._commit.done():
            messages += self._consumer.consume(most - len(messages), GATHER_S)
        return messages

    def _records(self, messages: Sequence[Message]) -> tuple[list[Record], list[TopicPartition]]:
        """The records among these messages, and the offsets behind them."""
        records = []
        ends: dict[tuple[str, int], int] = {}
        for message in messages:
            if (error := message.error()) is not None:
                self._complain(error)
                continue
            record = record_of(message)
            ends[record.topic, record.partition] = record.offset + 1
            records.append(record)
        return records, [TopicPartition(*where, end) for where, end in ends.items()]

    def _send(self, told: Told, offsets: list[TopicPartition]) -> None:
        """Produce the answers, and begin to commit them with the offsets."""
        try:
            if self._transactions is not None:
                self._transactions.begin()
            self._outlet.put(told.outputs, self._now_ms())
        except QueueFullError as error:
            raise LostInstanceError(str(error)) from None
        except KafkaException as failure:
            if self._transactions is None:
                raise
            logger().warning("transaction aborted", error=str(failure.args[0]))
            self._take(self._transactions.give_up(failure))
            return
        told.mark("produce")
        group = self._consumer.consumer_group_metadata()
        self._offsets, self._told = offsets, told
        self._under_way, self._at_hand = self._at_hand, []
        self._commit = self._committer.submit(self._delivered, told, offsets, group)

    def _delivered(self, told: Told, offsets: list[TopicPartition], group: object) -> bool:
        """Have the broker take what was produced, in a transaction together with the offsets.

        Whether it did. Without a transaction the offsets are committed by the consumer's own
        thread, when this is done: in any other the call waits until records come (measured).
        """
        if self._transactions is not None:
            done = self._take(self._transactions.commit(offsets, group))
        else:
            unsent = self._producer.flush(CALL_S)
            done = not (unsent or self._outlet.failed)
            if not done:
                logger().warning("not delivered", unsent=unsent, errors=self._outlet.failed[:1])
                self._dropped = True
        told.mark("commit")  # here, since it may be noticed a while later
        return done

    def _take(self, outcome: Outcome) -> bool:
        """Whether a transaction went through. Raises LostInstanceError where nobody can tell."""
        if outcome is Outcome.LOST:
            raise LostInstanceError(
                f"another process runs as {self._config.instance}, or the broker lost our "
                "transaction: starting again reads what was committed"
            )
        self._dropped = self._dropped or outcome is not Outcome.COMMITTED
        return outcome is Outcome.COMMITTED

    def _settle(self, *, last: bool = False) -> bool:
        """Wait for the commit that is under way, if any; whether all is well.

        `last`: before partitions are given up, whose next owner reads what is committed.
        """
        commit, self._commit = self._commit, None
        if commit is None:
            return True
        try:
            done = commit.result(COMMIT_S)
        except TimeoutError:
            message = f"Kafka has not answered a commit for {COMMIT_S:.0f} s"
            raise LostInstanceError(f"{message}: starting again reads what was committed") from None
        told, self._told = self._told, None
        if not done:
            return False
        self._under_way = []
        if self._transactions is None:
            self._commit_offsets(last=last)
        if told is not None:
            told.tell(self._topic, self._config.group_id)
        return True

    def _commit_offsets(self, *, last: bool) -> None:
        """Commit without a transaction. What is not committed is but read again, by whomever."""
        try:
            self._consumer.commit(offsets=self._offsets, asynchronous=not last)
        except KafkaException as failure:
            error = failure.args[0]
            if is_fatal(error) or error.code() == KafkaError.FENCED_INSTANCE_ID:
                raise self._lost(error) from failure
            logger().warning("offsets not committed", error=str(error))

    def _given_up(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Partitions go to somebody else: commit what is under way, and keep nothing of theirs.

        Records may already have been taken from the client in the call that we are called from.
        """
        gone = {each.partition for each in partitions}
        logger().info("partitions given up", partitions=sorted(gone))
        self._settle(last=True)
        self._under_way = [each for each in self._under_way if each.partition not in gone]
        self._positions.given_up(gone)

    def _read_again(self) -> None:
        """Forget what was not committed, and go back to where it begins."""
        # One that has failed since it was begun must not be taken for the next batch's.
        self._settle()
        self._dropped = False
        given_up()
        self._enricher.forget()
        self._outlet.forget()
        again = chain(self._under_way, self._at_hand)
        self._under_way, self._at_hand = [], []
        self._positions.go_back(again)

    def _complain(self, error: KafkaError) -> None:
        """A consumer error that the client mends itself is logged; a fatal one ends the process."""
        if is_fatal(error):
            raise self._lost(error)
        logger().warning("the consumer reports", error=str(error))

    def _lost(self, error: KafkaError) -> LostInstanceError:
        return LostInstanceError(f"{error.str()}: is there another {self._config.instance}?")


def record_of(message: Message) -> Record:
    """What the hot path looks at of one message, opened where something surrounds the event."""
    value, headers = message.value(), None
    try:
        headers = headers_of(message)
    except UnreadableHeadersError as error:
        # The event is answered all the same: its partition would else never move on.
        logger().debug("read without its headers", offset=message.offset(), error=str(error))
    framed = value is not None and value[:1] == b"\0"
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        value,
        max(0, message.timestamp()[1]),
        headers,
        read_envelope(headers, value) if headers or framed else None,
    )
