"""Digests that are made without enrichers are those that enrichers would have written."""

from collections import Counter

import msgspec
import pytest

from enrichment.lab.bench import window_cost
from enrichment.lab.bench.digest_stream import PARTITIONS, Tick, enrichers_for, ticks
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.simulate import simulate
from enrichment.pipelines import load
from enrichment.records import Digest
from enrichment.stream.topics import partition_for, shard_key

SPEC = load("payments")
STREAM = SimulationSettings(
    seed=5, seconds=3, rate_per_s=400, accounts=80, rings=1, start_ms=1_790_000_000_000
)


def digests(made: list[Tick]) -> list[Digest]:
    """What all records say."""
    decode = msgspec.json.Decoder(Digest).decode
    return [decode(record.value) for tick in made for record in tick.records]


def test_each_payment_is_counted_once() -> None:
    """By shard, and by account: as the payments themselves say."""
    payments = [simulated.payment for simulated in simulate(STREAM)]
    made = list(ticks(STREAM, SPEC))
    assert sum(tick.events for tick in made) == len(payments)
    shards: Counter[str] = Counter()
    accounts: Counter[str] = Counter()
    for one in digests(made):
        shards[one.shard] += one.events
        if tallies := one.tally_columns.get("account"):
            accounts.update(dict(zip(tallies.ids, tallies.events, strict=True)))
    del shards[""]  # words of progress
    assert shards == Counter(payment.region for payment in payments)
    assert accounts == Counter(payment.account_id for payment in payments)


def test_records_go_where_the_hot_path_sends_them() -> None:
    """A shard's digests to its partition; and nothing is told before it has happened."""
    for tick in ticks(STREAM, SPEC):
        for record, one in zip(tick.records, digests([tick]), strict=True):
            if one.shard:
                key = shard_key(SPEC.name, one.shard)
                assert (record.key, record.partition) == (key, partition_for(key, PARTITIONS))
            assert one.progress_ms <= tick.at_ms


@pytest.mark.parametrize(("rate", "enrichers"), [(500, 1), (30_000, 1), (30_001, 2), (10**6, 4)])
def test_enrichers_are_as_many_as_the_rate_needs(rate: int, enrichers: int) -> None:
    """One for thirty thousand events a second, and no more than there are partitions."""
    assert enrichers_for(rate) == enrichers


def test_a_cost_is_that_of_each_part() -> None:
    """As many figures as parts, each of some microseconds."""
    found = window_cost.microseconds_per_event([], list(ticks(STREAM, SPEC)), SPEC, 3)
    assert len(found) == 3
    assert all(1 < each < 10_000 for each in found)
