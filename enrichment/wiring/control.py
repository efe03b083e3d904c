"""What is in force, followed; and what is found changed at a start, put on record."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from enrichment.pipelines import Pipeline
from enrichment.settings import Settings
from enrichment.stream import topics
from enrichment.telemetry.log import logger
from enrichment.wiring.clients import framing_of, kafka_config, partition_count
from enrichment.wiring.clock import now_ms
from enrichment.wiring.errors import ConfigurationError, StageEndedError
from enrichment.wiring.money import price_per_shot

if TYPE_CHECKING:
    from enrichment.rollout.control import ControlState
    from enrichment.stream.follow import Follower


CONTROL_S = 60.0  # an open transaction may hide the end of a topic as long as it may last


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
