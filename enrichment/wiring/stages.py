"""The stages on an event's way, built from settings."""

import contextlib
import gc
import hashlib
import hmac
from collections.abc import Callable

import redis
from confluent_kafka import KafkaException

from enrichment.feature.store import Layout
from enrichment.pipelines import Pipeline
from enrichment.pipelines.definition import STAGES_OF_CALLS
from enrichment.profile import Weight, breaches
from enrichment.settings import Delivery, Settings
from enrichment.stream import topics
from enrichment.telemetry.log import logger
from enrichment.wiring.clients import (
    CACHE_S,
    framing_of,
    kafka_config,
    open_reads,
    open_redis,
    partition_count,
)
from enrichment.wiring.clock import now_ms
from enrichment.wiring.control import follow_control, noticing
from enrichment.wiring.errors import ConfigurationError, StageEndedError
from enrichment.wiring.waiting import await_kafka, await_redis, stop_on_signals

GC_OBJECTS = 20_000  # looked through in some 2 ms


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


def run_enrich(settings: Settings, pipeline: Pipeline) -> None:
    """Run the hot path until a signal ends it."""
    from enrichment.enrich.batch import Enricher
    from enrichment.enrich.clients import LoopConfig
    from enrichment.enrich.lookup import Lookup
    from enrichment.enrich.loop import Loop
    from enrichment.enrich.positions import LostInstanceError

    stop = stop_on_signals()
    if not await_kafka(settings, stop):
        return
    config = LoopConfig(
        stream=pipeline.name,
        client=kafka_config(settings, "enrich"),
        group_id=f"enrichment.enrich.{pipeline.name}",
        instance=instance_name(settings, "enrich", pipeline),
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
        instance=instance_name(settings, "project", pipeline),
        ttl_ms=2 * pipeline.features.stale_ms,
        fresh_ms=pipeline.features.fresh_ms,
    )
    try:
        with follow_control(settings, pipeline, stop) as control:
            Projector(open_redis(settings, 5.0), config, lambda: control.state).run(stop)
    except KafkaException as error:
        reason = f"{error.args[0].str()}: is there another {config.instance}?"
        raise StageEndedError(reason) from error


def instance_name(settings: Settings, stage: str, pipeline: Pipeline) -> str:
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
