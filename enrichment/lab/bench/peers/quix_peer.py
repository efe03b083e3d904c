"""Quix Streams: a StreamingDataFrame, record by record, as its documentation writes one.

Run in the environment that `make peers` makes: it needs an older confluent-kafka than we do.
"""

import signal
from collections.abc import Sequence
from typing import Any, Final

import redis
from quixstreams import Application
from quixstreams.context import message_context

from enrichment.lab.bench.peers.arguments import COMMIT_S, STREAM, Told
from enrichment.lab.bench.peers.same_work import SameWork
from enrichment.records import Origin
from enrichment.stream.headers import Headers

POLL_S: Final = 0.1


def new_application(told: Told, **more: Any) -> Application:
    """An application, its clients told what the other systems' are."""
    return Application(
        broker_address=told.bootstrap,
        consumer_group=told.group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once" if told.exactly_once else "at-least-once",
        commit_interval=COMMIT_S,
        consumer_poll_timeout=POLL_S,
        consumer_extra_config={"fetch.wait.max.ms": 100, "fetch.queue.backoff.ms": 5},
        producer_extra_config={
            "compression.type": "lz4",
            "queue.buffering.max.messages": 200_000,
        },
        loglevel="WARNING",
        **more,
    )


def application(told: Told) -> Application:
    """The application that passes events on, or enriches them."""
    app = new_application(told, auto_create_topics=False)
    raw: dict[str, Any] = {"key_deserializer": "bytes", "value_deserializer": "bytes"}
    written: dict[str, Any] = {"key_serializer": "bytes", "value_serializer": "bytes"}
    stream = app.dataframe(app.topic(told.source, **raw))
    if told.redis_url:
        stream = enriched(stream, told.redis_url)
    stream.to_topic(app.topic(told.target, **written))
    return app


def enriched(stream: Any, redis_url: str) -> Any:
    """The stream with the hot path's work done on each record: one MGET for each."""
    work = SameWork.of(STREAM)
    mget = redis.Redis.from_url(redis_url).mget

    def enrich(value: bytes) -> tuple[bytes, Headers]:
        event = work.event(value)
        wanted = work.wanted([event])
        at = message_context()
        origin = Origin(at.topic, at.partition, at.offset)
        return work.answer(event, work.found(wanted, mget(work.keys(wanted))), origin)

    stream = stream.apply(enrich).set_headers(lambda answer, *_: answer[1])
    return stream.apply(lambda answer: answer[0])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM."""
    app = application(Told.parse(__doc__, arguments))
    signal.signal(signal.SIGTERM, lambda *_: app.stop())
    app.run()


if __name__ == "__main__":
    main()
