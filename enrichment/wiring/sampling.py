"""The sample stage, built from settings."""

import contextlib
import gc
import random

from enrichment.pipelines import Pipeline
from enrichment.settings import Settings
from enrichment.stream import topics
from enrichment.wiring.clients import framing_of, kafka_config, partition_count, partition_counts
from enrichment.wiring.clock import now_ms
from enrichment.wiring.control import follow_control, noticing
from enrichment.wiring.errors import ConfigurationError
from enrichment.wiring.money import check_budget, open_budget
from enrichment.wiring.providers import calibration_watch, noting_devices, opened_providers
from enrichment.wiring.stages import instance_name
from enrichment.wiring.waiting import await_kafka, stop_on_signals


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
                instance_name(settings, "sample", pipeline),
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
    if len({counts[each] for each in travelled} | partition_counts(settings, heard)) > 1:
        raise ConfigurationError(
            f"{', '.join((*travelled, *heard))} must have equally many partitions: "
            "`enrichment topics diff`"
        )
    return counts
