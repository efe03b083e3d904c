"""The one place that opens clients, configures logging and builds the stages from settings."""

import contextlib
import gc
import hashlib
import hmac
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import redis
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from enrichment.feature.address import Address
from enrichment.feature.cluster import ClusterCache
from enrichment.feature.connection import open_cache
from enrichment.feature.store import Layout
from enrichment.pipelines import Pipeline
from enrichment.pipelines.definition import STAGES_OF_CALLS
from enrichment.profile import Weight, breaches
from enrichment.settings import Delivery, Settings, Traces
from enrichment.stream import topics
from enrichment.stream.framing import BARE, Framing
from enrichment.telemetry.log import logger

if TYPE_CHECKING:
    from enrichment.console.desk import Calling
    from enrichment.feature.reads import TrackedReads
    from enrichment.provider.contract import Description, Provider
    from enrichment.provider.pool import Pool
    from enrichment.records import Control
    from enrichment.rollout.control import ControlState
    from enrichment.rollout.evidence import Evidence
    from enrichment.sample.budget import Allowance
    from enrichment.sample.calibration_watch import CalibrationWatch
    from enrichment.sample.counter import RedisCounter
    from enrichment.sample.teller import Teller
    from enrichment.stream.follow import Follower
    from enrichment.stream.registry import Registry
    from enrichment.telemetry.delivery import Destination

BACKOFF_FIRST_S = 0.5
CACHE_S = (
    2.0  # the longest that the hot path waits for its connection to the cache before it begins
)
CONSOLE_READ_S = 1.0  # a person waits, and readers behind them
COUNTER_S = 0.5  # one call of the budget's thread: nobody waits for it, and Redis may be busy
GC_OBJECTS = 20_000  # looked through in some 2 ms
CONTROL_S = 60.0  # an open transaction may hide the end of a topic as long as it may last
BACKOFF_MAX_S = 10.0  # an operator who fixes the server should not wait longer for us to notice
# Errors of a client that has found a broker and is not let in, or does not trust it.
REFUSALS = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001  # so named

# Server -> the settings that a refusal is about.
LOGINS = {
    "Kafka": "ENRICHMENT_KAFKA_SASL_USER and _PASSWORD, and the files of ENRICHMENT_KAFKA_SSL_*",
    "Redis": "the user in ENRICHMENT_REDIS_URL, and ENRICHMENT_REDIS_PASSWORD",
}


class ConfigurationError(ValueError):
    """Settings that do not fit together, said in one line that tells what to change."""


class StageEndedError(RuntimeError):
    """A stage that can go no further, though another start of it can, said in one line."""


def check_stages(pipeline: Pipeline, *stages: str) -> None:
    """Raise ConfigurationError where the pipeline has no such stage."""
    if pipeline.calls is None:
        return
    if strange := [stage for stage in stages if stage not in STAGES_OF_CALLS]:
        raise ConfigurationError(
            f"{pipeline.name} has no stage {strange[0]}: its micro-batches come from callers "
            f"([calls] in its file), to a console; its stages are {' and '.join(STAGES_OF_CALLS)}"
        )


def check_profile(settings: Settings, pipeline: Pipeline, *stages: str) -> None:
    """Warn of what the profile warns of. Raises ConfigurationError with all that it refuses.

    Of these stages, or of all where none is named.
    """
    found = breaches(settings, pipeline, *stages)
    for breach in found:
        if breach.weight is Weight.WARNED:
            logger().warning(breach.found, hint=breach.todo, rule=breach.rule)
    refused = [breach for breach in found if breach.weight is Weight.REFUSED]
    if refused:
        lines = "".join(f"\n  {breach.rule}: {breach.line}" for breach in refused)
        raise ConfigurationError(
            f"the profile {settings.profile.value} (ENRICHMENT_PROFILE) does not start with{lines}"
        )


def kafka_config(settings: Settings, client_id: str) -> dict[str, Any]:
    """What every Kafka client of ours is told, login and certificates included."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap,
        "client.id": client_id,
        "log_level": 2,  # what goes wrong on the way is reported by us, in our own form
        **settings.kafka_security.librdkafka(),
    }


def serve_metrics(port: int, host: str = "127.0.0.1") -> None:
    """Let the counters be scraped by Prometheus: /metrics at that port of that address."""
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import start_http_server

    from enrichment.telemetry import exposition

    metrics.set_meter_provider(MeterProvider(metric_readers=[exposition.reader()]))
    start_http_server(port, addr=host)


@contextmanager
def exported_spans(settings: Settings, pipeline: Pipeline, stage: str) -> Iterator[None]:
    """Spans go where the settings say meanwhile, the last within seconds of the end.

    Without that nothing makes any. Raises ConfigurationError.
    """
    if settings.traces is Traces.NONE:
        yield
        return
    from enrichment.telemetry import spans

    to = spans.console() if settings.traces is Traces.CONSOLE else _collector()
    made = spans.provider(stage=stage, pipeline=pipeline.name, instance=settings.instance)
    spans.open_spans(to, made)
    try:
        yield
    finally:
        made.shutdown()


def check_spans(settings: Settings) -> None:
    """Raise ConfigurationError where spans cannot go where the settings say. Nothing is sent."""
    if settings.traces is Traces.OTLP:
        _collector().exporter.shutdown()


def _collector() -> "Destination":
    try:
        from enrichment.telemetry import otlp
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            f"ENRICHMENT_TRACES=otlp needs pip install 'enrichment[otlp]' ({missing.name})"
        ) from missing
    try:
        return otlp.collector(os.environ)
    except otlp.CollectorError as error:
        raise ConfigurationError(str(error)) from error


def redis_address(settings: Settings) -> Address:
    """Where the feature cache is, with its password."""
    address = settings.redis_url
    if settings.redis_password is not None:
        return address.with_password(settings.redis_password.get_secret_value())
    return address


def open_redis(settings: Settings, timeout_s: float) -> redis.Redis | ClusterCache:
    """A client of the feature cache whose every call ends within about `timeout_s`."""
    return open_cache(redis_address(settings), timeout_s)


def open_reads(settings: Settings) -> "TrackedReads":
    """The hot path's reads of the feature cache, within its timebox."""
    from enrichment.feature.reads import TrackedReads

    return TrackedReads(
        redis_address(settings), settings.read_timeout_ms / 1000, track=settings.cache_tracking
    )


def stop_on_signals() -> threading.Event:
    """An event that signals to end set, so that a loop can end between two batches."""
    stop = threading.Event()
    # SIGHUP: the terminal was closed, and what was started from it must not stay behind.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    return stop


def await_kafka(settings: Settings, stop: threading.Event) -> bool:
    """Wait until a broker answers; True, or False when told to stop first."""
    config = kafka_config(settings, "enrichment-probe")
    return _await("Kafka", settings.kafka_bootstrap, lambda: brokers_of(config, 3.0), stop)


def brokers_of(config: dict[str, Any], timeout_s: float) -> list[int]:
    """The brokers that there are, by number. Raises KafkaException: see `is_refusal`."""
    said: list[KafkaError] = []
    admin = AdminClient(config | {"error_cb": said.append})
    try:
        return list(admin.list_topics(timeout=timeout_s).brokers)
    except KafkaException as error:
        admin.poll(0)  # what the client has to say comes here: that it was refused, and why
        refusal = next((one for one in said if _refuses(one)), None)
        raise (error if refusal is None else KafkaException(refusal)) from error


def await_redis(settings: Settings, stop: threading.Event) -> bool:
    """Wait until Redis answers; True, or False when told to stop first."""
    where = settings.redis_url.where
    client = open_redis(settings, 3.0)
    try:
        return _await("Redis", where, client.ping, stop)
    finally:
        client.close()


def partition_count(settings: Settings, topic: str) -> int:
    """How many partitions a topic has. Raises ConfigurationError where it does not exist."""
    admin = AdminClient(kafka_config(settings, "enrichment-probe"))
    found = admin.list_topics(topic, timeout=10).topics[topic]
    if found.error is not None and found.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        who = settings.kafka_sasl_user or "whoever we are to it"
        raise ConfigurationError(
            f"Kafka at {settings.kafka_bootstrap} does not let {who} use the topic {topic}: "
            "`enrichment access kafka` says what each role needs"
        )
    if found.error is not None or not found.partitions:
        raise ConfigurationError(
            f"there is no topic {topic} at {settings.kafka_bootstrap}: `enrichment topics apply`"
        )
    return len(found.partitions)


def _counts(settings: Settings, names: tuple[str, ...]) -> set[int]:
    return {partition_count(settings, name) for name in names}


def open_registry(settings: Settings) -> "Registry | None":
    """The schema registry, where there is one. Raises ConfigurationError."""
    from enrichment.stream.registry import Registry, RegistryConfig, RegistryError

    if settings.schema_registry_url is None:
        return None
    password = settings.schema_registry_password
    ca = settings.schema_registry_ca
    config = RegistryConfig(
        url=settings.schema_registry_url,
        user=settings.schema_registry_user,
        password=None if password is None else password.get_secret_value(),
        ca=None if ca is None else str(ca),
    )
    try:
        return Registry.open(config)
    except RegistryError as error:
        raise ConfigurationError(str(error)) from error


def framing_of(settings: Settings, pipeline: Pipeline | None, *written: str) -> Framing:
    """What stands before the values of the topics that a stage writes: nothing without a registry.

    Raises ConfigurationError where a schema is not registered.
    """
    from enrichment.stream.registry import RegistryError

    registry = open_registry(settings)
    if registry is None:
        return BARE
    pipelines = {} if pipeline is None else {pipeline.name: pipeline}
    try:
        with registry:
            if topics.CONTROL in written:
                # Whoever instructs leaves a change; without its schema `instruct` says so, and lets
                # through what takes something out of use.
                with contextlib.suppress(RegistryError):
                    return registry.resolve((*written, topics.CHANGES), pipelines)
            return registry.resolve(written, pipelines)
    except RegistryError as error:
        raise ConfigurationError(str(error)) from error


def _await(what: str, where: str, probe: Callable[[], object], stop: threading.Event) -> bool:
    """Probe with exponential backoff and jitter, saying once per attempt that nobody answers."""
    delay_s = BACKOFF_FIRST_S
    while not stop.is_set():
        try:
            probe()
        except (KafkaException, redis.RedisError) as error:
            refused = is_refusal(error)
            logger().warning(
                f"{what} at {where} does not {'let us in' if refused else 'answer'}, trying again "
                f"in {delay_s:.1f} s",
                hint=f"look at {LOGINS[what]}"
                if refused
                else "start local servers with `enrichment up`, or set ENRICHMENT_"
                + ("KAFKA_BOOTSTRAP" if what == "Kafka" else "REDIS_URL"),
                error=str(error),
            )
            stop.wait(delay_s * random.uniform(0.8, 1.2))  # noqa: S311  # jitter, not a secret
            delay_s = min(2 * delay_s, BACKOFF_MAX_S)
        else:
            return True
    return False


def is_refusal(error: KafkaException | redis.RedisError) -> bool:
    """Whether a server answers, and it is its answer that is in the way."""
    if isinstance(error, KafkaException):
        return _refuses(error.args[0])
    return isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError)


def _refuses(error: KafkaError) -> bool:
    # What a broker makes of our certificate comes, by TLS 1.3, when the connection stands already:
    # for the client it is then one that was lost (seen, librdkafka 2.16).
    return error.code() in REFUSALS or "SSL alert" in error.str()


@contextmanager
def follow_control(
    settings: Settings, pipeline: Pipeline, stop: threading.Event
) -> "Iterator[Follower[ControlState]]":
    """What `enrichment.control` says of the pipeline, followed while the block runs.

    `.state` is current from the first line of the block on: a stage that did not know what is
    withdrawn would use it. Raises ConfigurationError where the topic does not exist, and
    StageEndedError where it cannot be read to its end; ends early where told to stop.
    """
    from enrichment.rollout.control import ControlFold
    from enrichment.stream.follow import Follower

    partition_count(settings, topics.CONTROL)
    client = kafka_config(settings, "control")
    with Follower(client, topics.CONTROL, lambda: ControlFold(pipeline.name)) as follower:
        give_up_s = time.monotonic() + CONTROL_S
        while not follower.await_ready(0.1) and not stop.is_set():
            if time.monotonic() > give_up_s:
                raise StageEndedError(
                    f"{topics.CONTROL} could not be read to its end in {CONTROL_S:.0f} s: without "
                    "it nobody knows what is withdrawn"
                )
        yield follower


def now_ms() -> int:
    """The wall clock, in milliseconds since 1970: handed to whoever needs the time."""
    return time.time_ns() // 1_000_000


def run_enrich(settings: Settings, pipeline: Pipeline) -> None:
    """Run the hot path until a signal ends it."""
    from enrichment.enrich.batch import Enricher
    from enrichment.enrich.clients import LoopConfig
    from enrichment.enrich.lookup import Lookup
    from enrichment.enrich.loop import Loop, LostInstanceError

    stop = stop_on_signals()
    if not await_kafka(settings, stop):
        return
    config = LoopConfig(
        stream=pipeline.name,
        client=kafka_config(settings, "enrich"),
        group_id=f"enrichment.enrich.{pipeline.name}",
        instance=_instance(settings, "enrich", pipeline),
        exactly_once=settings.delivery is Delivery.EXACTLY_ONCE,
        batch_events_max=settings.batch_events_max,
        batch_ms_max=settings.batch_ms_max,
        digest_partitions=partition_count(settings, topics.DIGESTS),
    )
    streams = topics.StreamTopics(pipeline.name)
    written = (streams.enriched, streams.reviews, streams.dead_letters, topics.DIGESTS)
    framing = framing_of(settings, pipeline, *written)
    pseudonym = _pseudonym(settings) if pipeline.stream.sensitive else None
    partitions = partition_count(settings, topics.FEATURES)
    reads = open_reads(settings)
    with (
        contextlib.closing(reads),
        follow_control(settings, pipeline, stop) as control,
        noticing(settings, pipeline, "enrich"),
    ):
        try:
            reads.connect(CACHE_S)  # so that no event waits for it
        except redis.RedisError as error:
            logger().warning("starting without the feature cache", error=str(error))
        layout = Layout(pipeline.name, cluster=settings.redis_url.is_cluster)
        lookup = Lookup(reads, layout, partitions, now_ms)
        enricher = Enricher(pipeline, lookup, now_ms, pseudonym, control=lambda: control.state)
        gc.disable()
        gc.freeze()
        try:
            Loop(enricher, config, now_ms, framing=framing, tidy=collect_young).run(stop)
        except LostInstanceError as error:
            raise StageEndedError(str(error)) from error


def noticing(
    settings: Settings, pipeline: Pipeline, stage: str
) -> "contextlib.AbstractContextManager[object]":
    """What records that files or settings have changed since a stage last started with them.

    Files by the hot path, which answers by them, and budgets by the sampler, which spends them.
    """
    from enrichment.pipelines.loader import TABLE_SUFFIX
    from enrichment.records import ChangeKind
    from enrichment.rollout.notice import Content, Finder, Noticing

    def kind(file: str) -> ChangeKind:
        return ChangeKind.SCORE_TABLE if file.endswith(TABLE_SUFFIX) else ChangeKind.PIPELINE

    contents = (
        [Content(kind=ChangeKind.BUDGET, subject="budget", text=budget_text(settings, pipeline))]
        if stage == "sample"
        else [
            Content(kind=kind(file), subject=file, text=text)
            for file, text in pipeline.files.items()
        ]
    )
    try:
        framing = framing_of(settings, pipeline, topics.CHANGES)
    except ConfigurationError as error:
        # A stage runs without it: nobody is served by one that does not start.
        logger().warning("changes of files and settings are not recorded", error=str(error))
        return contextlib.nullcontext()
    finder = Finder(pipeline=pipeline.name, stage=stage, contents=contents)
    return Noticing(kafka_config(settings, "changes"), finder, framing, now_ms=now_ms)


def budget_text(settings: Settings, pipeline: Pipeline) -> str:
    """All that says what may be spent, and what a shot is taken to cost, as JSON."""
    return json.dumps(
        {
            "pipeline_day": pipeline.budget.day,
            "day": settings.budget_day,
            "providers": settings.budget_providers,
            "price_per_shot": {name: price_per_shot(settings, name) for name in ("google", "ionq")},
        },
        sort_keys=True,
    )


def collect_young() -> None:
    """Look for cycles in what has been made since the last time, and never again in what is kept.

    What the hot path knows of its entities is millions of objects without cycles. The collector,
    left to itself, walked them all now and then: half a second without an answer (measured).
    """
    if gc.get_count()[0] >= GC_OBJECTS:
        gc.collect(0)
        gc.freeze()


def run_window(settings: Settings, pipeline: Pipeline) -> None:
    """Run the window stage until a signal ends it. Exits the process."""
    from enrichment.window.agents import WindowConfig, run

    stop = stop_on_signals()
    if not await_kafka(settings, stop):
        return
    streams = topics.StreamTopics(pipeline.name)
    digests = partition_count(settings, topics.DIGESTS)
    for other in (topics.MICRO_BATCHES, topics.HORIZONS, streams.outcomes):
        if (found := partition_count(settings, other)) != digests:
            raise ConfigurationError(
                f"{other} has {found} partitions and {topics.DIGESTS} has {digests}: a shard keeps "
                "its partition number, so make them equal"
            )
    config = WindowConfig(
        bootstrap=settings.kafka_bootstrap,
        security=settings.kafka_security,
        feature_partitions=partition_count(settings, topics.FEATURES),
        source_partitions=partition_count(settings, streams.events),
        framing=framing_of(
            settings, pipeline, topics.MICRO_BATCHES, topics.FEATURES, topics.HORIZONS
        ),
    )
    run(pipeline, config, now_ms)


def run_project(settings: Settings, pipeline: Pipeline) -> None:
    """Run the projector until a signal ends it."""
    from enrichment.feature.projector import Projector, ProjectorConfig

    stop = stop_on_signals()
    if not (await_kafka(settings, stop) and await_redis(settings, stop)):
        return
    config = ProjectorConfig(
        pipeline=pipeline.name,
        client=kafka_config(settings, "project"),
        group_id=f"enrichment.project.{pipeline.name}",
        instance=_instance(settings, "project", pipeline),
        ttl_ms=2 * pipeline.features.stale_ms,
        fresh_ms=pipeline.features.fresh_ms,
    )
    try:
        with follow_control(settings, pipeline, stop) as control:
            Projector(open_redis(settings, 5.0), config, lambda: control.state).run(stop)
    except KafkaException as error:
        reason = f"{error.args[0].str()}: is there another {config.instance}?"
        raise StageEndedError(reason) from error


def run_guard(settings: Settings, pipeline: Pipeline) -> None:
    """Run the guard until a signal ends it."""
    from enrichment.rollout import instruct
    from enrichment.rollout.guard import Guard, Ports
    from enrichment.rollout.policy import Demotion, Policy, demoted

    stop = stop_on_signals()
    if not await_kafka(settings, stop):
        return
    kafka, count = kafka_config(settings, "guard"), partition_count(settings, topics.CONTROL)
    partition_count(settings, topics.JOB_EVENTS)
    framing = framing_of(settings, pipeline, topics.CONTROL)

    def demote(demotion: Demotion) -> None:
        control = demoted(pipeline.name, demotion, now_ms())
        written = instruct.instruct(kafka, control, count, framing)
        if written.unrecorded:
            logger().warning("a change is not on record", key=written.key, why=written.unrecorded)

    with follow_control(settings, pipeline, stop) as control:
        ports = Ports(
            control=lambda: control.state,
            evidence=lambda: evidence_now(settings, pipeline, control.state),
            demote=demote,
        )
        try:
            Guard(Policy(pipeline), ports, now_ms).run(kafka, stop)
        except KafkaException as error:
            raise StageEndedError(error.args[0].str()) from error


def evidence_now(
    settings: Settings, pipeline: Pipeline, state: "ControlState"
) -> "Evidence | None":
    """What the running experiment shows as of now, once its first look has been reached.

    Raises GatherError, KafkaException, TimeoutError.
    """
    from enrichment.rollout.gather import experimented, gather

    if state.experiment is None:
        return None
    kafka, of = kafka_config(settings, "evidence"), experimented(state.experiment)
    gathered = gather(kafka, pipeline, of, now_ms=now_ms())
    return gathered.at(0) if gathered.reached_ms else None


def run_console(settings: Settings, pipeline: Pipeline, argument: str) -> None:
    """Serve the console until a signal ends it. `argument` is what commands call the pipeline."""
    import secrets

    from enrichment.console.access import Access
    from enrichment.console.app import application
    from enrichment.console.commands import Commands
    from enrichment.console.desk import Clocks, Desk, Ports
    from enrichment.console.history import history, micro_batch
    from enrichment.console.serve import listening, serve
    from enrichment.console.watch import watching
    from enrichment.feature.reader import FeatureReader

    stop = stop_on_signals()
    where = f"{settings.console_host}:{settings.console_port}"
    try:
        listener = listening(settings.console_host, settings.console_port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {where}: {error.strerror}; set ENRICHMENT_CONSOLE_HOST or "
            "ENRICHMENT_CONSOLE_PORT"
        ) from error
    token = settings.console_token
    kafka = kafka_config(settings, "console")
    cache = open_redis(settings, CONSOLE_READ_S)
    with (
        listener,
        contextlib.closing(cache),
        open_calling(settings, pipeline) as calling,
        watching(kafka, pipeline.name) as known,
    ):

        def app() -> Any:
            ports = Ports(
                features=FeatureReader(cache, pipeline),
                history=lambda job: history(kafka, job),
                micro_batch=lambda job: micro_batch(kafka, job),
                calling=calling,
                commands=Commands(),
                stopping=stop.is_set,
            )
            access = Access(
                None if token is None else token.get_secret_value(),
                new_secret=lambda: secrets.token_urlsafe(32),
            )
            clocks = Clocks(now_ms=now_ms, now_s=time.monotonic)
            desk = Desk(pipeline, argument, known, ports, access, clocks)
            return application(desk, settings.console_hosts)

        serve(app, listener, stop)


@contextmanager
def open_calling(settings: Settings, pipeline: Pipeline) -> "Iterator[Calling | None]":
    """What takes calls of a pipeline of calls; None for another's. Raises ConfigurationError."""
    import secrets

    from enrichment.console.desk import Calling
    from enrichment.console.sending import Sender

    if pipeline.calls is None:
        yield None
        return
    framing = framing_of(settings, pipeline, topics.MICRO_BATCHES)
    with contextlib.closing(Sender(kafka_config(settings, "calls"), framing)) as sender:
        # Keyed shards begin otherwise: a drawn one is nobody's key.
        yield Calling(publish=sender.publish, new_shard=lambda: f"r-{secrets.token_hex(16)}")


def run_sample(settings: Settings, pipeline: Pipeline) -> None:
    """Run the sampler until a signal ends it; its children end with it."""
    from enrichment.provider import open_pool
    from enrichment.provider.pool import Pool
    from enrichment.sample import stage
    from enrichment.sample.ledger import Ledger
    from enrichment.sample.outbox import Addresses
    from enrichment.sample.worker import Worker

    check_budget(settings, pipeline)
    stop = stop_on_signals()
    # Circuits load while Kafka is awaited. Fallbacks have a process of their own, started when the
    # first is needed: whatever keeps the chosen provider from answering must not keep them.
    chosen = pipeline.sampling.provider
    pool = open_pool(workers=settings.sampler_processes, provider=chosen)
    spare = Pool(workers=1)
    try:
        if not await_kafka(settings, stop):
            return
        counts = _sampling_counts(settings, pipeline)
        with (
            follow_control(settings, pipeline, stop) as control,
            opened_providers(settings, pipeline, pool, spare) as opened,
            contextlib.closing(open_budget(settings, pipeline)) as budget,
        ):
            provider, devices = noting_devices(opened, pipeline)
            worker = Worker(
                pipeline,
                provider,
                budget,
                now_ms=now_ms,
                draw=random.random,
                control=lambda: control.state,
            )
            while pool.in_flight and not stop.wait(0.02):
                pass  # a job that waits for imports spends its deadline on them
            ledger = Ledger(
                kafka_config(settings, "sample"),
                pipeline.name,
                _instance(settings, "sample", pipeline),
                on_assigned=worker.adopt,
                on_revoked=worker.drop,
                stopping=stop.is_set,
            )
            to = Addresses(
                pipeline=pipeline.name,
                partitions=counts,
                framing=framing_of(settings, pipeline, *counts),
            )
            gc.freeze()  # what was loaded lives as long as the process
            with (
                calibration_watch(settings, pipeline, devices),
                noticing(settings, pipeline, "sample"),
            ):
                stage.run(ledger, worker, to, stop.is_set)
    finally:
        pool.close()
        spare.close()


def _sampling_counts(settings: Settings, pipeline: Pipeline) -> dict[str, int]:
    """How many partitions the topics have that the sample stage writes, and reads as its own.

    Raises ConfigurationError where those that a shard's records travel through are not equal.
    """
    written = (topics.JOBS, topics.CASES, topics.FEATURES, topics.JOB_EVENTS)
    counts = {each: partition_count(settings, each) for each in (topics.MICRO_BATCHES, *written)}
    travelled = (topics.MICRO_BATCHES, topics.JOBS, topics.CASES)
    heard = (topics.StreamTopics(pipeline.name).outcomes, topics.ORDERS)
    if len({counts[each] for each in travelled} | _counts(settings, heard)) > 1:
        raise ConfigurationError(
            f"{', '.join((*travelled, *heard))} must have equally many partitions: "
            "`enrichment topics diff`"
        )
    return counts


Describe = Callable[[], "Description"]


def noting_devices(
    opened: Callable[[str], "Provider"], pipeline: Pipeline
) -> "tuple[Callable[[str], Provider], list[Describe]]":
    """The same providers, and those with a calibration: of the chain, and any opened later."""
    from enrichment.provider import CALIBRATED

    noted: set[str] = set()
    devices: list[Describe] = []

    def provider(name: str) -> "Provider":
        made = opened(name)
        if name in CALIBRATED and name not in noted:
            noted.add(name)
            devices.append(made.describe)
        return made

    for name in pipeline.sampling.chain:
        if name in CALIBRATED:
            provider(name)
    return provider, devices


def calibration_watch(
    settings: Settings, pipeline: Pipeline, devices: "list[Describe]"
) -> "CalibrationWatch":
    """What says on `enrichment.control` when one of the devices is calibrated; there may be more.

    No broker is asked while there is none.
    """
    from enrichment.rollout import instruct
    from enrichment.sample.calibration_watch import CalibrationWatch

    kafka = kafka_config(settings, "calibrations")

    @cache
    def count() -> int:
        return partition_count(settings, topics.CONTROL)

    def write(control: "Control", former: "Control | None") -> bool:
        try:
            framing = framing_of(settings, pipeline, topics.CONTROL)
            written = instruct.instruct(kafka, control, count(), framing, in_place_of=former)
        except instruct.OvertakenError:
            return False
        if written.unrecorded:
            logger().warning("a change is not on record", key=written.key, why=written.unrecorded)
        return True

    return CalibrationWatch(
        pipeline.name,
        devices,
        lambda: instruct.standing(kafka, count()).controls,
        write,
        now_ms=now_ms,
    )


def price_per_shot(settings: Settings, provider: str) -> float:
    """What a provider asks for a shot, as the settings say; nothing where they do not."""
    prices = {"google": settings.google_price_per_shot, "ionq": settings.ionq_price_per_shot}
    return prices.get(provider, 0.0)


def check_budget(settings: Settings, pipeline: Pipeline) -> None:
    """Raise ConfigurationError where the pipeline names a provider that it may not pay."""
    for name in pipeline.sampling.chain:
        price = price_per_shot(settings, name)
        if price and not pipeline.budget.day:
            raise ConfigurationError(
                f"{pipeline.name}: provider {name} costs {price} a shot and the pipeline may spend "
                "nothing: say in its file, under [budget], what it may spend in a `day`"
            )


def allowance_of(settings: Settings, *pipelines: Pipeline) -> "Allowance":
    """What may be spent in a day, as the settings and the pipelines' files say."""
    from enrichment.sample.budget import Allowance

    return Allowance.of(
        {pipeline.name: pipeline.budget.day for pipeline in pipelines},
        day=settings.budget_day,
        providers=settings.budget_providers,
    )


def open_counter(settings: Settings) -> "RedisCounter":
    """The budget's counter; it connects when it is first asked."""
    from enrichment.sample.counter import RedisCounter

    return RedisCounter(open_redis(settings, COUNTER_S))


def open_budget(settings: Settings, pipeline: Pipeline) -> "Teller":
    """The budget that a worker asks, its thread started; nobody is asked before money is."""
    from enrichment.sample.spending import ledger_of
    from enrichment.sample.teller import Teller

    return Teller(
        open_counter(settings),
        ledger_of(kafka_config(settings, "budget")),
        allowance_of(settings, pipeline),
        clock_s=time.monotonic,
    ).start()


@contextlib.contextmanager
def opened_providers(
    settings: Settings, pipeline: Pipeline, pool: "Pool", spare: "Pool"
) -> Iterator[Callable[[str], "Provider"]]:
    """Each provider by name, opened once: the file's over `pool`, its fallbacks over `spare`.

    One that only `enrichment.control` names has a process of its own: a spot check of half a minute
    must hold up neither jobs nor their fallbacks.

    At the end all are closed: where nobody else could fetch a job, it is cancelled then. Raises
    ValueError, of `provider(name)`, for one that is unknown or not configured.
    """
    from enrichment.provider import is_device, open_provider

    options = provider_options(settings)

    with contextlib.ExitStack() as stack:

        @cache
        def provider(name: str) -> "Provider":
            place = _place(name, pipeline, pool, spare)
            opened = open_provider(name, place, now_ms=now_ms, options=options.get(name))
            if place not in (pool, spare):
                stack.callback(place.close)
                place.start()
            if settings.kept_answers_s and is_device(name, options.get(name, {})):
                opened = keep_answers(settings, opened, place, stack)
            stack.callback(opened.close)
            return opened

        yield provider


def _place(name: str, pipeline: Pipeline, pool: "Pool", spare: "Pool") -> "Pool":
    """The processes that a provider's work is done in; new ones are not started yet."""
    from functools import partial

    from enrichment.provider.local import warm_up
    from enrichment.provider.pool import Pool

    if name == pipeline.sampling.provider:
        return pool
    if pool is spare or name in pipeline.sampling.chain:
        return spare
    return Pool(workers=1, warm_up=partial(warm_up, name))


def provider_options(settings: Settings) -> dict[str, dict[str, Any]]:
    """What the settings say of providers, by name; most need nothing."""
    return {
        "google": {
            "project_id": settings.google_project,
            "processor_id": settings.google_processor,
            "run_name": settings.google_run_name,
            "device_config_name": settings.google_device_config,
            "price_per_shot": price_per_shot(settings, "google"),
        },
        "ionq": {
            "api_key": settings.ionq_api_key.get_secret_value() if settings.ionq_api_key else "",
            "url": settings.ionq_url,
            "target": settings.ionq_target,
            "noise_model": settings.ionq_noise_model,
            "price_per_shot": price_per_shot(settings, "ionq"),
        },
        "virtual": {"noise_scale": settings.virtual_noise_scale},
    }


def keep_answers(
    settings: Settings, device: "Provider", pool: "Pool", stack: contextlib.ExitStack
) -> "Provider":
    """The provider, its answers kept beside the feature cache, over a client of their own."""
    from enrichment.provider.jobs import Jobs
    from enrichment.provider.kept import Kept
    from enrichment.provider.kept_store import TIMEBOX_S, RedisAnswers

    client = stack.enter_context(contextlib.closing(open_redis(settings, TIMEBOX_S)))
    if not isinstance(device, Jobs):
        raise TypeError(f"not a provider of ours: {device}")
    kept_ms = 1000 * settings.kept_answers_s
    return Kept(device, RedisAnswers(client), pool, now_ms, kept_ms=kept_ms)


def _instance(settings: Settings, stage: str, pipeline: Pipeline) -> str:
    """A name that the next start of the same instance bears again."""
    return f"enrichment.{stage}.{pipeline.name}.{settings.instance}"


def _pseudonym(settings: Settings) -> Callable[[str], str]:
    """The keyed hash that stands for sensitive values."""
    if settings.pseudonym_key is None:
        raise ConfigurationError(
            "this pipeline has sensitive fields: set ENRICHMENT_PSEUDONYM_KEY to a secret of at "
            "least 16 characters, the same for every process"
        )
    key = settings.pseudonym_key.get_secret_value().encode()
    return lambda text: hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]
