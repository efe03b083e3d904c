"""Quix Streams' own windows: tumbling, over the events topic, per account events and amount.

Event time is the record's timestamp; a window goes to the target topic when it closes. That is less
than our window stage does: no links between entities, no graph, no candidates. Run in the
environment that `make peers` makes.
"""

import signal
import tempfile
from collections.abc import Sequence
from typing import Any

from quixstreams import Application
from quixstreams.dataframe.windows.aggregations import Count, Sum

from enrichment.lab.bench.peers.arguments import STREAM, Told
from enrichment.lab.bench.peers.quix_peer import new_application
from enrichment.pipelines import load


def application(told: Told) -> Application:
    """The application with its windows."""
    window = load(STREAM).window
    app = new_application(told, state_dir=tempfile.mkdtemp(prefix="quix-windows-"))
    read: dict[str, Any] = {"key_deserializer": "str", "value_deserializer": "json"}
    written: dict[str, Any] = {"key_serializer": "str", "value_serializer": "json"}
    stream = app.dataframe(app.topic(told.source, **read))
    windows = stream.tumbling_window(window.size_ms, grace_ms=window.lateness_ms)
    closed = windows.agg(events=Count(), amount=Sum("amount")).final()
    closed.to_topic(app.topic(told.target, **written))
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM."""
    app = application(Told.parse(__doc__, arguments))
    signal.signal(signal.SIGTERM, lambda *_: app.stop())
    app.run()


if __name__ == "__main__":
    main()
