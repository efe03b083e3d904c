"""Those that look at the stages' topics and answer no event: the guard and the console."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException

from enrichment.pipelines import Pipeline
from enrichment.settings import Settings
from enrichment.stream import topics
from enrichment.telemetry.log import logger
from enrichment.wiring.clients import framing_of, kafka_config, open_redis, partition_count
from enrichment.wiring.clock import now_ms
from enrichment.wiring.control import follow_control
from enrichment.wiring.errors import ConfigurationError, StageEndedError
from enrichment.wiring.waiting import await_kafka, stop_on_signals

if TYPE_CHECKING:
    from enrichment.console.desk import Calling
    from enrichment.rollout.control import ControlState
    from enrichment.rollout.evidence import Evidence


CONSOLE_READ_S = 1.0  # a person waits, and readers behind them


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
