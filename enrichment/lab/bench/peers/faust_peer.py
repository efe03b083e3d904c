"""Faust: one agent; an event at a time, or for the same work with Redis `take` for batches."""

import asyncio
import tempfile
from collections.abc import Sequence
from typing import Any, Final

import faust
from redis.asyncio import Redis

from enrichment.lab.bench.peers.arguments import COMMIT_S, STREAM, Told
from enrichment.lab.bench.peers.same_work import SameWork
from enrichment.records import Origin

TAKE_MAX: Final = 500  # more brings nothing: the agent itself is the limit by then


def new_app(told: Told, **more: Any) -> Any:
    """An application, its clients told what the other systems' are."""
    return faust.App(
        told.group,
        broker=f"kafka://{told.bootstrap}",
        datadir=tempfile.mkdtemp(prefix="faust-peer-"),
        web_enabled=False,
        topic_disable_leader=True,
        broker_commit_interval=COMMIT_S,
        producer_compression_type="lz4",
        producer_linger=0.001,
        consumer_auto_offset_reset="earliest",
        # Waiting for what is in flight hangs at SIGTERM (docs/decisions/digests.md).
        stream_wait_empty=False,
        **more,
    )


def application(told: Told) -> Any:
    """The application with its one agent."""
    app = new_app(told, key_serializer="raw", value_serializer="raw")
    source, target = app.topic(told.source), app.topic(told.target)
    if not told.redis_url:

        @app.agent(source)  # type: ignore[untyped-decorator]  # Faust has no types
        async def pass_on(stream: Any) -> None:
            async for event in stream.events():
                await target.send(key=event.key, value=event.value)

        return app
    work = SameWork.of(STREAM)
    cache = Redis.from_url(told.redis_url)

    @app.agent(source)  # type: ignore[untyped-decorator]  # Faust has no types
    async def enrich(stream: Any) -> None:
        async for batch in stream.take_events(TAKE_MAX, within=told.batch_ms / 1000):
            events = [work.event(each.value) for each in batch]
            wanted = work.wanted(events)
            found = work.found(wanted, await cache.mget(work.keys(wanted)))
            sent = []
            for each, event in zip(batch, events, strict=True):
                at = each.message
                origin = Origin(at.topic, at.partition, at.offset)
                value, headers = work.answer(event, found, origin)
                key = event.key.encode()
                sent.append(await target.send(key=key, value=value, headers=dict(headers)))
            # `take` acknowledges the batch when it is asked for the next: delivered or not.
            await asyncio.gather(*sent)

    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM."""
    app = application(Told.parse(__doc__, arguments))
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    main()
