"""Faust's own windows: a tumbling table over the events topic, per account events and amount.

Event time is the record's timestamp. When a window expires its value goes to the target topic. That
is less than our window stage does: no links between entities, no graph, no candidates.
"""

from collections.abc import Sequence
from typing import Any, Final

import faust
import msgspec

from enrichment.lab.bench.peers.arguments import STREAM, Told
from enrichment.lab.bench.peers.faust_peer import new_app
from enrichment.pipelines import load

PARTITIONS: Final = 4  # as the events topic has them
CLEANUP_S: Final = 1.0  # how often Faust looks for windows that have expired; 30 by default


class Payment(msgspec.Struct):
    """What a window needs of a payment."""

    account_id: str
    amount: float


def application(told: Told) -> Any:
    """The application with its agent and its table."""
    window = load(STREAM).window
    app = new_app(
        told,
        store="memory://",
        topic_replication_factor=1,
        topic_partitions=PARTITIONS,
        table_standby_replicas=0,
        table_cleanup_interval=CLEANUP_S,
    )
    raw = {"key_serializer": "raw", "value_serializer": "raw"}
    source, target = app.topic(told.source, **raw), app.topic(told.target, **raw)
    encode, decode = msgspec.json.encode, msgspec.json.Decoder(Payment).decode

    async def closed(key: Any, value: Any) -> None:
        account, _ = key
        await target.send(key=account.encode(), value=encode(value))

    size_s, late_s = window.size_ms / 1000, window.lateness_ms / 1000
    tallies = (
        app.Table(
            "windows", default=lambda: [0, 0.0], partitions=PARTITIONS, on_window_close=closed
        )
        .tumbling(size_s, expires=size_s + late_s)
        .relative_to_stream()
    )

    @app.agent(source)  # type: ignore[untyped-decorator]  # Faust has no types
    async def count(stream: Any) -> None:
        async for event in stream.events():
            payment = decode(event.value)
            events, amount = tallies[payment.account_id].value()
            tallies[payment.account_id] = [events + 1, amount + payment.amount]

    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM."""
    app = application(Told.parse(__doc__, arguments))
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    main()
