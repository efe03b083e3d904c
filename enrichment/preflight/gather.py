"""Facts, gathered: every server is asked once, for so long and no longer, and may not answer."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from enrichment import __version__
from enrichment.feature.address import Kind
from enrichment.feature.connection import open_cache
from enrichment.pipelines import Pipeline, load, names
from enrichment.preflight import pins
from enrichment.preflight.facts import (
    OFFLINE,
    Cache,
    Circuit,
    Configured,
    Facts,
    Lack,
    Part,
    topic_names,
)
from enrichment.preflight.sampling import DEVICES, NO_CIRCUITS
from enrichment.profile import breaches
from enrichment.rollout import instruct
from enrichment.rollout.control import in_force
from enrichment.settings import Settings
from enrichment.stream import contract, topics
from enrichment.stream.manifests import ManifestError, load_manifests
from enrichment.stream.registry import RegistryError
from enrichment.stream.topic_admin import BrokerError, TopicAdmin
from enrichment.wiring.clients import kafka_config, open_registry, redis_address
from enrichment.wiring.clock import now_ms
from enrichment.wiring.errors import ConfigurationError
from enrichment.wiring.money import price_per_shot
from enrichment.wiring.waiting import LOGINS, brokers_of, is_refusal

KAFKA_S: Final = 5.0  # for each of some five calls; a broker that is there answers in milliseconds
REDIS_S: Final = 3.0
SCHEMAS: Final = Path("schemas")

Say = Callable[[str], None]
Found = dict[str, Any]


def facts_of(
    settings: Settings, pipeline: Pipeline, written: frozenset[str], *, offline: bool, say: Say
) -> Facts:
    """All that can be known now; `say` is told what is being asked, one thing after another."""
    facts = Facts(
        profile=settings.profile,
        pipeline=pipeline,
        now_ms=now_ms(),
        code_version=__version__,
        settings=_configured(settings),
        written=written,
        breaches=breaches(settings, pipeline),
    )
    say("manifests, schemas and versions")
    facts = replace(facts, versions=pins.versions(), **_manifests(settings, pipeline))
    facts = replace(facts, schema_problems=_schema_problems(settings))
    if offline:
        facts = replace(facts, lacks=dict.fromkeys(Part, Lack(why=OFFLINE)))
    else:
        say(f"Kafka at {settings.kafka_bootstrap}")
        facts = _with(facts, _kafka(settings, pipeline))
        say(f"Redis at {settings.redis_url.where}")
        facts = _with(facts, _redis(settings))
        say("the schema registry")
        facts = _with(facts, _registry(settings, pipeline))
    say("circuits")
    return replace(facts, circuit=_circuit(facts))


def _with(facts: Facts, found: Found) -> Facts:
    """Facts and what one server told, or why it did not."""
    lacks = {**facts.lacks, **found.pop("lacks", {})}
    return replace(facts, lacks=lacks, **found)


def _configured(settings: Settings) -> Configured:
    ready = set()
    if settings.google_project and settings.google_processor:
        ready.add("google")
    if settings.ionq_api_key is not None:
        ready.add("ionq")
    prices = {name: price_per_shot(settings, name) for name in DEVICES}
    return Configured(
        batch_ms_max=settings.batch_ms_max,
        read_timeout_ms=settings.read_timeout_ms,
        topics_dir=str(settings.topics_dir),
        has_registry=settings.schema_registry_url is not None,
        ready=frozenset(ready),
        prices={name: price for name, price in prices.items() if price},
        budget_day=settings.budget_day,
    )


def _manifests(settings: Settings, pipeline: Pipeline) -> Found:
    wanted = set(topic_names(pipeline.name))
    try:
        found = load_manifests(settings.topics_dir)
    except ManifestError as error:
        return {"manifests_fault": str(error)}
    return {"manifests": {each.name: each for each in found if each.name in wanted}}


def _schema_problems(settings: Settings) -> tuple[str, ...] | None:
    if not SCHEMAS.is_dir():
        return None
    try:
        files = contract.generated(
            map(load, names()), load_manifests(settings.topics_dir), __version__
        )
        problems = contract.differing(SCHEMAS, files) + contract.incompatible(SCHEMAS, files)
    except (ManifestError, contract.ContractError) as error:
        return (str(error),)
    return tuple(f"{each.file}: {each.detail}" for each in problems)


def _kafka(settings: Settings, pipeline: Pipeline) -> Found:
    """Topics, the broker's own settings, and what the control topic says."""
    # One line of ours says that nobody answers, not one of the client's for each attempt.
    kafka = kafka_config(settings, "preflight") | {"log_level": 0}
    admin = AdminClient(kafka)
    where = settings.kafka_bootstrap
    try:
        brokers = brokers_of(kafka, KAFKA_S)
        states = TopicAdmin(admin, where, KAFKA_S).states(topic_names(pipeline.name))
    except KafkaException as error:
        lack = Lack(
            why=f"Kafka at {where} does not answer within {KAFKA_S:.0f} s",
            todo="start a local one with `enrichment up`, or set ENRICHMENT_KAFKA_BOOTSTRAP",
        )
        if is_refusal(error):
            lack = Lack(
                why=f"Kafka at {where} does not let us in: {error.args[0].str()}",
                todo=f"look at {LOGINS['Kafka']}",
            )
        return {"lacks": {Part.KAFKA: lack, Part.CONTROL: lack}}
    except BrokerError as error:
        lack = Lack(why=str(error), todo="let its user describe topics and their configs")
        return {"lacks": {Part.KAFKA: lack, Part.CONTROL: lack}}
    found: Found = {"topics": states, "broker": _broker(admin, brokers)}
    if (control := states.get(topics.CONTROL)) is None:
        lack = Lack(
            why=f"there is no topic {topics.CONTROL}",
            todo=f"`enrichment topics apply {topics.CONTROL}`",
        )
        return found | {"lacks": {Part.CONTROL: lack}}
    try:
        standing = instruct.standing(kafka, control.partitions)
    except (KafkaException, TimeoutError) as error:
        lack = Lack(
            why=f"{topics.CONTROL} cannot be read: {error}", todo="look at the broker's log"
        )
        return found | {"lacks": {Part.CONTROL: lack}}
    made = {
        each.withdrawal.backend: each.withdrawal.calibrated_ms
        for each in standing.controls.values()
        if each.pipeline == pipeline.name and each.withdrawal and each.withdrawal.backend
    }
    return found | {
        "control": in_force(pipeline.name, standing.controls.values()),
        "malformed": standing.malformed,
        "calibrated_ms": made,
    }


def _broker(admin: AdminClient, numbers: list[int]) -> Mapping[str, str]:
    """One broker's settings; nothing where it does not tell us, which an ACL may forbid."""
    if not numbers:
        return {}
    resource = ConfigResource(ResourceType.BROKER, str(numbers[0]))
    try:
        [future] = admin.describe_configs([resource], request_timeout=KAFKA_S).values()
        return {key: entry.value or "" for key, entry in future.result().items()}
    except KafkaException:
        return {}


def _redis(settings: Settings) -> Found:
    """What the server says of itself; of a cluster or of sentinels, one node."""
    address = redis_address(settings)
    if address.kind is Kind.CLUSTER:
        # Its nodes are set alike, or it is not well for other reasons.
        address = replace(address, kind=Kind.SERVER, hosts=address.hosts[:1])
    try:
        # Not a cluster: that was seen to above.
        client = cast("redis.Redis", open_cache(address, REDIS_S))
        try:
            info: dict[str, Any] = client.info("everything")
        finally:
            client.close()
    except redis.RedisError as error:
        denied = isinstance(error, redis.exceptions.NoPermissionError)
        where = settings.redis_url.where
        lack = Lack(
            why=f"Redis at {where} "
            + ("may not be asked" if denied else f"does not answer: {str(error).rstrip('.')}"),
            todo="let its user say INFO (`+info`), or ask with another one"
            if denied
            else "start a local one with `enrichment up`, or set ENRICHMENT_REDIS_URL",
        )
        return {"lacks": {Part.REDIS: lack}}
    cache = Cache(
        version=str(info.get("redis_version", "?")),
        eviction=str(info.get("maxmemory_policy", "an unknown policy")),
        memory_max_bytes=int(info.get("maxmemory", 0)),
        persistence=_persistence(info),
    )
    return {"cache": cache}


def _persistence(info: Mapping[str, Any]) -> str:
    if info.get("aof_enabled"):
        return "append-only file"
    saved = int(info.get("rdb_saves", 0)) or int(info.get("rdb_bgsave_in_progress", 0))
    return "snapshots" if saved else "no append-only file"


def _registry(settings: Settings, pipeline: Pipeline) -> Found:
    """Whether the schema of each topic that a stage writes is registered."""
    written = [
        name
        for name in topic_names(pipeline.name)
        if name not in {topics.StreamTopics(pipeline.name).events, topics.CHANGES, topics.REPLAYS}
    ]
    try:
        registry = open_registry(settings)
        if registry is None:
            return {}
        with registry:
            registry.resolve(written, {pipeline.name: pipeline})
    except ConfigurationError as error:
        lack = Lack(why=str(error), todo="look at ENRICHMENT_SCHEMA_REGISTRY_*")
        return {"lacks": {Part.REGISTRY: lack}}
    except RegistryError as error:
        return {"registry_fault": str(error)}
    return {}


def _circuit(facts: Facts) -> Circuit | None:
    """The largest circuit, as the provider that compiles deepest has it; None without one."""
    if all(name in NO_CIRCUITS for name in facts.asked):
        return None
    if find_spec("cirq") is None or find_spec("dimod") is None:
        return None
    from enrichment.preflight.circuits import largest

    problem, sampling = facts.pipeline.problem, facts.pipeline.sampling
    # IonQ's ions are all neighbours: circuits go there as they are, and theirs is the compiler.
    on_line = any(name in {"google", "virtual"} for name in facts.asked)
    return largest(problem.variables_max, sampling.layers, on_line=on_line)
