"""Who may do what: each role's least privilege on Kafka and on Redis, as data.

The manifests of Kafka users, the users of Redis and the tests that run stages under them all come
from here. What a role is not given here it is refused there: topics are shared by all pipelines but
for the five of a stream, so that a pipeline's users can read, there, what other pipelines wrote.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from enrichment.stream import topics
from enrichment.stream.topics import StreamTopics

READER_GROUP: Final = "enrichment.reader"
FOLLOWER_GROUP: Final = "enrichment.follower"
GUARD_GROUP: Final = "enrichment.guard"
CONTROL_WRITER: Final = "enrichment.control"
"""The transactional id that all writers of the control topic share: see `rollout.instruct`."""

SHARED: Final = (
    topics.DIGESTS,
    topics.MICRO_BATCHES,
    topics.JOBS,
    topics.JOB_EVENTS,
    topics.ORDERS,
    topics.FEATURES,
    topics.CASES,
    topics.CONTROL,
    topics.CHANGES,
    topics.REPLAYS,
    topics.HORIZONS,
)


class Role(Enum):
    """Who asks: a stage, or somebody around it."""

    ENRICH = "enrich"
    WINDOW = "window"
    SAMPLE = "sample"
    PROJECT = "project"
    GUARD = "guard"
    CONSOLE = "console"  # reads, and changes nothing
    OPERATOR = "operator"  # a person at the command line
    TOPICS = "topics"  # `enrichment topics apply`
    PUBLISHER = "publisher"  # whoever has the events
    OUTCOMES = "outcomes"  # whoever says what turned out
    CONSUMER = "consumer"  # whoever acts on answers


class Kind(Enum):
    """What a rule is about, as Kafka names it."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactionalId"
    CLUSTER = "cluster"


class Operation(Enum):
    """What may be done, as Kafka names it. Read and Write bring Describe with them."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    ALTER = "Alter"
    DESCRIBE = "Describe"
    ALTER_CONFIGS = "AlterConfigs"
    DESCRIBE_CONFIGS = "DescribeConfigs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One resource, or all whose names begin so, and what may be done with it."""

    kind: Kind
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What one role needs of Kafka. A name that ends in `*` stands for all that begin so."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    # Topics of which it must know how many partitions they have, and no more.
    describes: tuple[str, ...] = ()
    # Topics whose settings it asks for, as how long they keep what they hold.
    inspects: tuple[str, ...] = ()
    # Topics that it makes, widens and sets.
    tends: tuple[str, ...] = ()
    # Groups that it is a member of, and commits for.
    joins: tuple[str, ...] = ()
    # Groups that it names and never joins: librdkafka demands one of every consumer, and asks who
    # coordinates it.
    names: tuple[str, ...] = ()
    transactional_ids: tuple[str, ...] = ()
    # Whether it asks for the broker's own settings.
    cluster: bool = False

    def rules(self) -> tuple[Rule, ...]:
        """The same as rules, each resource once."""
        found: dict[tuple[Kind, str], list[Operation]] = {}
        for kind, name, operations in self._granted():
            found.setdefault((kind, name), []).extend(operations)
        return tuple(
            Rule(
                kind=kind,
                name=name.removesuffix("*"),
                operations=tuple(dict.fromkeys(operations)),
                prefixed=name.endswith("*"),
            )
            for (kind, name), operations in found.items()
        )

    def _granted(self) -> Iterator[tuple[Kind, str, tuple[Operation, ...]]]:
        tending = (
            Operation.CREATE,
            Operation.ALTER,
            Operation.DESCRIBE,
            Operation.ALTER_CONFIGS,
            Operation.DESCRIBE_CONFIGS,
        )
        for kind, names, operations in (
            (Kind.TOPIC, self.reads, (Operation.READ,)),
            (Kind.TOPIC, self.writes, (Operation.WRITE,)),
            (Kind.TOPIC, self.describes, (Operation.DESCRIBE,)),
            (Kind.TOPIC, self.inspects, (Operation.DESCRIBE_CONFIGS,)),
            (Kind.TOPIC, self.tends, tending),
            (Kind.GROUP, self.joins, (Operation.READ,)),
            (Kind.GROUP, self.names, (Operation.DESCRIBE,)),
            (Kind.TRANSACTIONAL_ID, self.transactional_ids, (Operation.WRITE,)),
        ):
            for name in names:
                yield kind, name, operations
        if self.cluster:
            yield Kind.CLUSTER, "kafka-cluster", (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS)


def access_of(role: Role, pipeline: str, *, calibrated: bool = False) -> Access:
    """What a role of that pipeline needs. `calibrated`: its sampler asks a device for its samples.

    Such a sampler says on the control topic when a device has been calibrated anew; no other
    sampler may write there.
    """
    stage = STAGES.get(role)
    if stage is not None:
        return stage(pipeline, calibrated)
    return PEOPLE[role](pipeline)


def user_of(role: Role, pipeline: str) -> str:
    """The name that a role of a pipeline bears to Kafka; a resource of Kubernetes may bear it."""
    return f"enrichment-{role.value}-{pipeline}".replace("_", "-").lower()


def _enrich(pipeline: str, _: bool) -> Access:
    own = StreamTopics(pipeline)
    return Access(
        reads=(own.events, topics.CONTROL, topics.CHANGES),
        writes=(own.enriched, own.reviews, own.dead_letters, topics.DIGESTS, topics.CHANGES),
        describes=(topics.FEATURES,),
        joins=(f"enrichment.enrich.{pipeline}",),
        names=(READER_GROUP, FOLLOWER_GROUP),
        transactional_ids=(f"enrichment.enrich.{pipeline}.*", f"enrichment.changes.{pipeline}"),
    )


def _window(pipeline: str, _: bool) -> Access:
    own = StreamTopics(pipeline)
    return Access(
        reads=(topics.DIGESTS, own.outcomes, topics.HORIZONS, topics.MICRO_BATCHES),
        writes=(topics.FEATURES, topics.MICRO_BATCHES, topics.HORIZONS),
        describes=(own.events,),
        joins=(f"enrichment.window.{pipeline}",),
    )


def _sample(pipeline: str, calibrated: bool) -> Access:
    own = StreamTopics(pipeline)
    heard = (topics.ORDERS, own.outcomes, topics.CONTROL, topics.CHANGES)
    told = (topics.FEATURES, topics.JOB_EVENTS, topics.CHANGES)
    ids = (f"enrichment.sample.{pipeline}.*", f"enrichment.changes.{pipeline}")
    return Access(
        reads=(topics.MICRO_BATCHES, topics.JOBS, topics.CASES, *heard),
        writes=(topics.JOBS, topics.CASES, *told, *((topics.CONTROL,) if calibrated else ())),
        joins=(f"enrichment.sample.{pipeline}",),
        names=(READER_GROUP, FOLLOWER_GROUP),
        transactional_ids=(*ids, *((CONTROL_WRITER,) if calibrated else ())),
    )


def _project(pipeline: str, _: bool) -> Access:
    return Access(
        reads=(topics.FEATURES, topics.CONTROL),
        joins=(f"enrichment.project.{pipeline}",),
        names=(FOLLOWER_GROUP,),
    )


def _guard(pipeline: str, _: bool) -> Access:
    own = StreamTopics(pipeline)
    evidence = (own.enriched, own.outcomes, topics.MICRO_BATCHES, topics.CASES)
    return Access(
        reads=(topics.JOB_EVENTS, topics.CONTROL, *evidence),
        writes=(topics.CONTROL, topics.CHANGES),
        names=(GUARD_GROUP, READER_GROUP, FOLLOWER_GROUP),
        transactional_ids=(CONTROL_WRITER,),
    )


def _all_of(pipeline: str) -> tuple[str, ...]:
    own = StreamTopics(pipeline)
    return (own.events, own.enriched, own.dead_letters, own.outcomes, own.reviews, *SHARED)


def _console(pipeline: str) -> Access:
    everything = _all_of(pipeline)
    return Access(reads=everything, inspects=everything, names=("enrichment.*",), cluster=True)


def _operator(pipeline: str) -> Access:
    everything, own = _all_of(pipeline), StreamTopics(pipeline)
    instructions = (topics.CONTROL, topics.CHANGES, topics.ORDERS, topics.REPLAYS)
    return Access(
        reads=everything,
        # Events, since dead letters are published there again.
        writes=(*instructions, own.outcomes, own.events),
        inspects=everything,
        names=("enrichment.*",),
        transactional_ids=(CONTROL_WRITER, f"enrichment.replay.{pipeline}"),
        cluster=True,
    )


def _topics(pipeline: str) -> Access:
    return Access(tends=_all_of(pipeline))


def _publisher(pipeline: str) -> Access:
    return Access(writes=(StreamTopics(pipeline).events,))


def _outcomes(pipeline: str) -> Access:
    return Access(writes=(StreamTopics(pipeline).outcomes,))


def _consumer(pipeline: str) -> Access:
    own = StreamTopics(pipeline)
    # Groups of its own, under a name that no stage's begins with.
    return Access(reads=(own.enriched, own.reviews, topics.CASES), joins=(f"{pipeline}.*",))


STAGES: Final = {
    Role.ENRICH: _enrich,
    Role.WINDOW: _window,
    Role.SAMPLE: _sample,
    Role.PROJECT: _project,
    Role.GUARD: _guard,
}

PEOPLE: Final = {
    Role.CONSOLE: _console,
    Role.OPERATOR: _operator,
    Role.TOPICS: _topics,
    Role.PUBLISHER: _publisher,
    Role.OUTCOMES: _outcomes,
    Role.CONSUMER: _consumer,
}

# A script's own commands are asked of the user who runs it, too.
_SCRIPTS: Final = "+evalsha +eval +script|load"
_COUNTER: Final = "+info +time +hget +hset +hexists +hincrby +hkeys +hlen +del +pexpire +rename"

REDIS: Final = {
    "enrich": (
        "~features:{pipeline}:*",
        "+mget +ping +client|tracking +cluster|slots +cluster|nodes",
    ),
    "project": (
        "~features:{pipeline}:*",
        f"+mget +ping +get +set +del {_SCRIPTS} +cluster|slots",
    ),
    # The budget's counter, and answers of devices that are kept: no feature.
    "sample": (
        "~budget:* ~kept:*",
        f"+mget +set {_SCRIPTS} {_COUNTER} +cluster|slots",
    ),
    "operator": (
        "~features:{pipeline}:* ~budget:*",
        f"+mget +get +ping {_SCRIPTS} +info +time +hget +hkeys +cluster|slots",
    ),
    "reader": ("~features:{pipeline}:*", "+mget +cluster|slots"),
}
"""User of Redis -> the keys that it may touch, and the commands that it may give."""


def redis_rules(user: str, pipeline: str) -> str:
    """The rules of a user of Redis, as ACL SETUSER and an ACL file write them."""
    keys, commands = REDIS[user]
    return f"{keys.format(pipeline=pipeline)} {commands}"
