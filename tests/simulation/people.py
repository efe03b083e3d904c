"""People around the stages, and what they publish."""

from typing import ClassVar, Final

import msgspec

from enrichment.records import Case, Outcome, OutcomeKind
from enrichment.records.order import JobOrder, OrderKind
from enrichment.stream.topics import CASES, ORDERS, StreamTopics, partition_for, shard_key
from tests.memory_kafka import Entry
from tests.sample.streams import PIPELINE
from tests.simulation.broker import Broker
from tests.simulation.checks import Checks
from tests.simulation.stage import Stage
from tests.simulation.world import Instance, World

_encode: Final = msgspec.json.Encoder().encode
decode_case: Final = msgspec.json.Decoder(Case).decode
decode_outcome: Final = msgspec.json.Decoder(Outcome).decode


class PeopleStage(Stage):
    """Analysts and operators: what they say of accounts and cases, and order about jobs."""

    TURNS_MS: ClassVar[tuple[int, ...]] = (200, 1_000, 3_000)

    def __init__(
        self, world: World, broker: Broker, checks: Checks, accounts: dict[str, tuple[str, ...]]
    ) -> None:
        super().__init__(world, "people")
        self._broker = broker
        self._checks = checks
        self._accounts = accounts
        self._count = 0

    def open(self, instance: Instance) -> None:
        """Nothing is remembered."""
        del instance

    def turn(self) -> None:
        """Say or order something, as long as there is trouble."""
        world = self.world
        if not world.troubled:
            return
        self._count += 1
        if world.chance(world.odds.ordered):
            self._order()
        else:
            self._say()

    def _say(self) -> None:
        world, draw = self.world, self.world.draw
        shard = draw.choice(sorted(self._accounts))
        outcome = Outcome(
            outcome_id=f"o{self._count}",
            event_id=f"e{draw.randrange(20)}",
            entity="account",
            id=draw.choice(self._accounts[shard]),
            shard=shard,
            kind=draw.choice(tuple(OutcomeKind)),
            decided_at_ms=world.now_ms - draw.randrange(5_000),
            case_id=self._some_case(shard) if world.chance(0.3) else "",
        )
        self._publish(StreamTopics(PIPELINE).outcomes, shard, "", outcome)

    def _order(self) -> None:
        """Order something about some job, and now and then say it twice."""
        world, draw = self.world, self.world.draw
        batches = [batch for _, _, batch in self._checks.batches]
        if not batches:
            return
        batch = draw.choice(batches)
        order = JobOrder(
            order_id=f"r{self._count}",
            pipeline=PIPELINE,
            job_id=batch.micro_batch_id,
            order=draw.choice((OrderKind.RETRY, OrderKind.RETRY, *OrderKind)),
            issued_at_ms=world.now_ms,
            issued_by="ada",
            reason="to see",
            shard=batch.shard,
            micro_batch=batch,
            quarantined=world.chance(0.5),
        )
        world.met[f"ordered: {order.order.value}"] += 1
        for _ in range(draw.choice((1, 1, 2))):
            self._publish(ORDERS, batch.shard, batch.micro_batch_id, order)

    def _publish(self, topic: str, shard: str, key: str, value: msgspec.Struct) -> None:
        """One record, in the partition of its shard."""
        partition = partition_for(shard_key(PIPELINE, shard), self._broker.topics[topic])
        entry = Entry(key.encode(), _encode(value), None, self.world.now_ms, None)
        assert self.instance is not None
        self.instance.call("publish", lambda: self._broker.append(topic, partition, entry))

    def _some_case(self, shard: str) -> str:
        """A case that is known of the shard, or "" where there is none."""
        newest = self._broker.newest(CASES).values()
        found = [case for case in map(decode_case, newest) if case.shard == shard]
        return self.world.draw.choice(found).case_id if found else ""
