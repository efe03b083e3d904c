"""What a benchmark of a stage stands on: servers and topics, events published, a cache filled."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

import msgspec
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from enrichment.feature.store import READY, feature_key, partitions_key, projection_key
from enrichment.lab.bench.catalogue import BenchOptions
from enrichment.lab.publish import Publisher, publishing
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.servers import LocalServers
from enrichment.lab.simulate import Payment, ground_truth, simulate
from enrichment.records import FeatureUpdate, Source
from enrichment.stream.manifests import TopicManifest, load_manifests
from enrichment.stream.topic_admin import TopicAdmin
from enrichment.stream.topic_plan import differences
from enrichment.stream.topics import FEATURES, StreamTopics

STREAM: Final = "payments"
PASSED: Final = "payments.passed-through"
TOPICS_S: Final = 30.0  # a broker that has just come up is slow at first
WRITES_MAX: Final = 5_000  # values per MSET
# Event time is as dense as a stream that really came at about this rate: sparser, the hot path
# would write more digests than it does in life.
RATE_PER_S: Final = 50_000.0
# What one path says of one entity: reading it costs by its size, so it has all its figures.
ESTIMATE: Final = {
    "membership": 0.613, "membership_low": 0.582, "membership_high": 0.643, "in_best": 1.0,
    "gibbs_marginal": 0.604, "entropy": 4.71, "optimum_energy": -3.125, "mean_energy": -1.8125,
    "near_optima": 3.0,
}  # fmt: skip


def manifests(options: BenchOptions) -> tuple[TopicManifest, ...]:
    """The project's topics, and one like the enriched topic for what is merely passed through."""
    ours = load_manifests(options.topics_dir)
    enriched = next(m for m in ours if m.name == StreamTopics(STREAM).enriched)
    return (*ours, replace(enriched, name=PASSED))


@contextmanager
def servers(options: BenchOptions) -> Iterator[LocalServers]:
    """A Kafka with the project's topics and a Redis, on free ports, gone afterwards."""
    libs = options.state_dir / "kafka" / "libs"
    work = options.state_dir / f"bench-{time.time_ns()}"
    running = LocalServers.on_free_ports(work, libs_dir=libs)
    try:
        running.up()
        wanted = manifests(options)
        admin = AdminClient({"bootstrap.servers": running.bootstrap, "log_level": 0})
        topics = TopicAdmin(admin, running.bootstrap, TOPICS_S)
        found = differences(wanted, topics.states(m.name for m in wanted))
        topics.carry_out(found, {m.name: m for m in wanted}, lambda _: None)
        topics.await_in_step(wanted)
        yield running
    finally:
        running.discard()


def scenario(events: int, now_ms: int) -> SimulationSettings:
    """Simulated payments of the last seconds, `events` of them or a few more."""
    seconds = 1.02 * events / RATE_PER_S + 0.1
    start_ms = now_ms - int(seconds * 1000)
    return SimulationSettings(seed=1, seconds=seconds, rate_per_s=RATE_PER_S, start_ms=start_ms)


def published(settings: SimulationSettings, events: int, bootstrap: str) -> list[Payment]:
    """The first `events` payments of the scenario, on the stream's topic when this returns."""
    client = {"bootstrap.servers": bootstrap, "log_level": 0}
    publisher = Publisher(Producer(publishing(client)))
    topic = StreamTopics(STREAM).events
    encode = msgspec.json.Encoder().encode
    payments: list[Payment] = []
    for simulated in simulate(settings):
        if len(payments) == events:
            break
        payment = simulated.payment
        payments.append(payment)
        publisher.publish(topic, payment.account_id, encode(payment))
        publisher.producer.poll(0)
    publisher.flush()
    if len(payments) < events:
        raise ValueError(f"the scenario holds {len(payments)} payments, {events} were wanted")
    return payments


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

    def fill(self, payments: list[Payment], settings: SimulationSettings, now_ms: int) -> None:
        """Features of every entity of the payments."""
        groups = _groups(settings)
        entities: dict[tuple[str, str], None] = {}
        for payment in payments:
            entities["account", payment.account_id] = None
            entities["device", payment.device_id] = None
            entities["beneficiary", payment.beneficiary_id] = None
        values: dict[str, bytes] = {}
        for kind, id_ in entities:
            values |= _features(kind, id_, groups.get((kind, id_), ""), now_ms)
            if len(values) >= WRITES_MAX:
                self.client.mset(values)
                values = {}
        values[partitions_key(STREAM)] = str(self.partitions).encode()
        for partition in range(self.partitions):
            values[projection_key(STREAM, partition)] = READY
        self.client.mset(values)
        self.beat({payment.region for payment in payments}, now_ms)

    def beat(self, shards: set[str], now_ms: int) -> None:
        """The heartbeats by which features stay fresh."""
        self.client.mset(
            {feature_key(STREAM, "shard", s, "graph"): _beat(s, now_ms) for s in shards}
        )


def _groups(settings: SimulationSettings) -> dict[tuple[str, str], str]:
    """The hash of the planted group of each entity that is in one, as of a subgraph."""
    truth = ground_truth(settings)
    groups: dict[tuple[str, str], str] = {}
    named = [(r.ring_id, r) for r in truth.rings] + [(d.decoy_id, d) for d in truth.decoys]
    for name, group in named:
        subgraph = _hash(name)
        groups |= {("account", id_): subgraph for id_ in group.members}
        groups |= {("device", id_): subgraph for id_ in group.devices}
        groups |= {("beneficiary", id_): subgraph for id_ in group.beneficiaries}
    return groups


def _features(kind: str, id_: str, subgraph: str, now_ms: int) -> dict[str, bytes]:
    """The entity's values in the cache by key, of the shape that the stages give them."""
    common: dict[str, Any] = {
        "version": now_ms * 1000, "pipeline": STREAM, "entity": kind, "id": id_,
        "subgraph": subgraph, "event_time_ms": now_ms, "computed_at_ms": now_ms,
    }  # fmt: skip
    batch = f"{STREAM}|north|{now_ms}|0"
    graph = FeatureUpdate(
        **common,
        group="graph",
        values={
            "events": 12.0, "amount": 843.5, "velocity_short": 1.0, "degree": 4.0, "size": 6.0,
            "density": 0.35, "core_number": 3.0, "known_bad_near": 0.0,
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
            estimates=dict.fromkeys(("quantum", "classical", "random"), ESTIMATE),
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


def _beat(shard: str, now_ms: int) -> bytes:
    """The heartbeat of a shard's window stage."""
    return msgspec.json.encode(
        FeatureUpdate(
            version=now_ms * 1000, pipeline=STREAM, entity="shard", id=shard, group="graph",
            subgraph="", event_time_ms=now_ms, computed_at_ms=now_ms,
        )
    )  # fmt: skip
