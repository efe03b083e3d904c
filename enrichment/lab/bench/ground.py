"""What a benchmark of a stage stands on: servers and topics, events published, a cache filled."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import redis
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from enrichment.feature.store import READY, SHARD_KIND, feature_key, partitions_key, projection_key
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.publish import Publisher, publishing
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.servers import LocalServers
from enrichment.lab.simulate import Payment, ground_truth, simulate
from enrichment.records import FeatureUpdate, Source
from enrichment.stream.manifests import TopicManifest, load_manifests
from enrichment.stream.topic_admin import TopicAdmin
from enrichment.stream.topic_plan import differences
from enrichment.stream.topics import FEATURES, StreamTopics

PASSED: Final = f"{STREAM}.passed-through"
ANSWERED: Final = f"{STREAM}.answered-by-peers"  # what peers that do the same work produce
SEGMENT_BYTES: Final = 64 * 2**20
TOPICS_S: Final = 30.0  # a broker that has just come up is slow at first
WRITES_MAX: Final = 5_000  # values per MSET
# Event time is as dense as a stream that really came at about this rate: sparser, the hot path
# would write more digests than it does in life.
RATE_PER_S: Final = 50_000.0
# What one path says of one entity: reading it costs by its size, so it has all its figures.
ESTIMATE: Final = {
    "membership": 0.613, "membership_low": 0.582, "membership_high": 0.643, "in_best": 1.0,
    "in_best_energy": -3.125,
    "gibbs_marginal": 0.604, "entropy": 4.71, "optimum_energy": -3.125, "mean_energy": -1.8125,
    "near_optima": 3.0,
}  # fmt: skip


def manifests(options: BenchOptions) -> tuple[TopicManifest, ...]:
    """The project's topics, and two like the enriched topic for what peers produce.

    What a run produced is deleted after it. Small segments, or the disk would fill all the same.
    """
    outputs = (StreamTopics(STREAM).enriched, PASSED, ANSWERED)
    ours = load_manifests(options.topics_dir)
    enriched = next(m for m in ours if m.name == outputs[0])
    config = {
        **enriched.config,
        "segment.bytes": str(SEGMENT_BYTES),
        "file.delete.delay.ms": "1000",
    }
    others = (m for m in ours if m.name != outputs[0])
    return (*others, *(replace(enriched, name=name, config=config) for name in outputs))


@contextmanager
def servers(options: BenchOptions) -> Iterator[LocalServers]:
    """A Kafka with the project's topics and a Redis, on free ports, gone afterwards."""
    libs = options.state_dir / "kafka" / "libs"
    work = options.state_dir / f"bench-{time.time_ns()}"
    running = LocalServers.on_free_ports(work, libs_dir=libs, brief=False)
    try:
        running.up()
        wanted = manifests(options)
        admin = AdminClient({"bootstrap.servers": running.bootstrap, "log_level": 0})
        topics = TopicAdmin(admin, running.bootstrap, TOPICS_S)
        found = differences(wanted, topics.states(m.name for m in wanted))
        topics.carry_out(found, {m.name: m for m in wanted}, lambda _: None)
        topics.await_in_step(wanted)
        _await_coordinators(running.bootstrap)
        yield running
    finally:
        running.discard()


def _await_coordinators(bootstrap: str) -> None:
    """Wait until groups have coordinators: the topic of their offsets is made at the first request.

    Admin requests for a group must come after that. Before, they wait for ever, and librdkafka 2.16
    has crashed over them.
    """
    asking = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-first", "log_level": 0})
    give_up_s = time.monotonic() + TOPICS_S
    try:
        while True:
            try:
                asking.committed([TopicPartition(StreamTopics(STREAM).events, 0)], TOPICS_S)
            except KafkaException as error:
                if time.monotonic() > give_up_s:
                    raise BenchError(f"the broker has no group coordinator: {error}") from error
                time.sleep(0.1)
            else:
                return
    finally:
        asking.close()


def scenario(events: int, now_ms: int) -> SimulationSettings:
    """Simulated payments of the last seconds, `events` of them or a few more."""
    seconds = 1.02 * events / RATE_PER_S + 0.1
    start_ms = now_ms - int(seconds * 1000)
    return SimulationSettings(seed=1, seconds=seconds, rate_per_s=RATE_PER_S, start_ms=start_ms)


@dataclass(frozen=True, slots=True)
class Entities:
    """Who takes part in a scenario's payments: (kind, id) of each, and the shards."""

    known: frozenset[tuple[str, str]]
    shards: frozenset[str]


def published(
    settings: SimulationSettings, events: int, bootstrap: str, *, own_times: bool = False
) -> Entities:
    """The first `events` payments of the scenario are on the stream's topic when this returns.

    With `own_times` a record bears its payment's time, and not that of its publication.
    """
    client = {"bootstrap.servers": bootstrap, "log_level": 0}
    publisher = Publisher(Producer(publishing(client)))
    topic = StreamTopics(STREAM).events
    encode = msgspec.json.Encoder().encode
    known: set[tuple[str, str]] = set()
    shards: set[str] = set()
    for simulated in islice(simulate(settings), events):
        payment = simulated.payment
        known |= entities_of(payment)
        shards.add(payment.region)
        at_ms = payment.occurred_at if own_times else 0
        publisher.publish(topic, payment.account_id, encode(payment), timestamp_ms=at_ms)
        publisher.producer.poll(0)
    publisher.flush()
    if publisher.published < events:
        raise ValueError(f"the scenario holds {publisher.published} payments, not {events}")
    return Entities(frozenset(known), frozenset(shards))


def written(settings: SimulationSettings, events: int, path: Path) -> Entities:
    """The first `events` payments of the scenario as lines of JSON in a file."""
    encode = msgspec.json.Encoder().encode
    known: set[tuple[str, str]] = set()
    shards: set[str] = set()
    with path.open("wb") as lines:
        for simulated in islice(simulate(settings), events):
            known |= entities_of(simulated.payment)
            shards.add(simulated.payment.region)
            lines.write(encode(simulated.payment) + b"\n")
    return Entities(frozenset(known), frozenset(shards))


def entities_of(payment: Payment) -> set[tuple[str, str]]:
    """The (kind, id) of whoever takes part in a payment."""
    return {
        ("account", payment.account_id),
        ("device", payment.device_id),
        ("beneficiary", payment.beneficiary_id),
    }


@dataclass(frozen=True, slots=True)
class Cache:
    """The feature cache as the window and sample stages leave it behind a stream.

    Every entity has the group `graph`; members of planted groups also have `ring`, computed from
    the subgraph that `graph` shows: fresh as long as `beat` is called.
    """

    client: redis.Redis
    partitions: int

    @classmethod
    def open(cls, url: str, options: BenchOptions) -> "Cache":
        """The cache at that URL, for as many partitions as the updates' topic has."""
        count = next(m.partitions for m in manifests(options) if m.name == FEATURES)
        return cls(redis.Redis.from_url(url), count)

    def fill(
        self,
        entities: Entities,
        settings: SimulationSettings,
        now_ms: int,
        *,
        all_in_rings: bool = False,
    ) -> None:
        """Features of every entity; with `all_in_rings` rings of each, too."""
        planted = groups(settings)
        if all_in_rings:
            planted = {entity: _hash(entity[1]) for entity in entities.known}
        values: dict[str, bytes] = {}
        for kind, id_ in entities.known:
            values |= features(kind, id_, planted.get((kind, id_), ""), now_ms)
            if len(values) >= WRITES_MAX:
                self.client.mset(values)
                values = {}
        values[partitions_key(STREAM)] = str(self.partitions).encode()
        for partition in range(self.partitions):
            values[projection_key(STREAM, partition)] = READY
        self.client.mset(values)
        self.beat(entities.shards, now_ms)

    def beat(self, shards: Iterable[str], now_ms: int) -> None:
        """The heartbeats by which features stay fresh."""
        self.client.mset({beat_key(shard): beat_value(shard, now_ms) for shard in shards})


def groups(settings: SimulationSettings) -> dict[tuple[str, str], str]:
    """The hash of the planted group of each entity that is in one, as of a subgraph."""
    truth = ground_truth(settings)
    found: dict[tuple[str, str], str] = {}
    named = [(r.ring_id, r) for r in truth.rings] + [(d.decoy_id, d) for d in truth.decoys]
    for name, group in named:
        subgraph = _hash(name)
        found |= {("account", id_): subgraph for id_ in group.members}
        found |= {("device", id_): subgraph for id_ in group.devices}
        found |= {("beneficiary", id_): subgraph for id_ in group.beneficiaries}
    return found


def features(kind: str, id_: str, subgraph: str, now_ms: int) -> dict[str, bytes]:
    """The entity's values in the cache by key, of the shape that the stages give them."""
    common: dict[str, Any] = {
        "version": now_ms * 1000, "pipeline": STREAM, "entity": kind, "id": id_,
        "subgraph": subgraph, "event_time_ms": now_ms, "computed_at_ms": now_ms,
    }  # fmt: skip
    batch = f"{STREAM}|north|{now_ms}|0"
    # As unlike each other as small subgraphs are: what is equal the hot path works out once.
    draw = int(_hash(id_), 16)
    density, core_number = round(0.1 + draw % 90 / 100, 2), float(1 + draw // 90 % 6)
    membership = draw // 540 % 1000 / 1000
    graph = FeatureUpdate(
        **common,
        group="graph",
        values={
            "events": 12.0, "amount": 843.5, "velocity_short": 1.0, "degree": 4.0, "size": 6.0,
            "density": density, "core_number": core_number, "known_bad_near": 0.0,
            "subgraph_since_ms": float(now_ms),
        },
        source=Source(backend="window", micro_batch_id=batch),
    )  # fmt: skip
    encode = msgspec.json.encode
    values = {feature_key(STREAM, kind, id_, "graph"): encode(graph)}
    if subgraph:
        ring = FeatureUpdate(
            **common,
            group="ring",
            values={"size": 6.0, "density": 0.35, "energy_best": -3.125, "amount": 843.5},
            estimates=dict.fromkeys(
                ("quantum", "classical", "random"), ESTIMATE | {"membership": membership}
            ),
            source=Source(
                backend="qsim", micro_batch_id=batch, job_id=_hash(batch), problem_id="p-0",
                circuit_hash=_hash("circuit"), shots=1_000, seed=7,
            ),
        )  # fmt: skip
        values[feature_key(STREAM, kind, id_, "ring")] = encode(ring)
    return values


def _hash(text: str) -> str:
    """A hash as long as those of subgraphs, circuits and jobs."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def beat_key(shard: str) -> str:
    """Where a shard's heartbeat is found."""
    return feature_key(STREAM, SHARD_KIND, shard, "graph")


def beat_value(shard: str, now_ms: int) -> bytes:
    """The heartbeat of a shard's window stage."""
    return msgspec.json.encode(
        FeatureUpdate(
            version=now_ms * 1000, pipeline=STREAM, entity="shard", id=shard, group="graph",
            subgraph="", event_time_ms=now_ms, computed_at_ms=now_ms,
        )
    )  # fmt: skip


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000
