"""The hot path's loop in a thread of the test's own: for what a process cannot be made to do."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from enrichment.enrich.batch import Enricher, Outputs, Record
from enrichment.enrich.clients import Clients, LoopConfig
from enrichment.enrich.lookup import Lookup
from enrichment.enrich.loop import Loop
from enrichment.feature.store import Layout
from enrichment.wiring.clock import now_ms
from tests.enrich.streams import payment
from tests.feature.cached import PARTITIONS, MemoryCache
from tests.integration.stages import Stream

DIGEST_PARTITIONS = 4


def config(stream: Stream, instance: str, **changes: Any) -> LoopConfig:
    """The configuration that the wiring would make, with some of it changed."""
    fields: dict[str, Any] = {
        "stream": stream.name,
        "client": {"bootstrap.servers": stream.bootstrap, "log_level": 2},
        "group_id": f"enrichment.enrich.{stream.name}",
        "instance": f"enrichment.enrich.{stream.name}.{instance}",
        "exactly_once": True,
        "batch_events_max": 100,
        "batch_ms_max": 10,
        "digest_partitions": DIGEST_PARTITIONS,
    }
    return LoopConfig(**fields | changes)


def good(count: int) -> list[bytes | None]:
    """Valid payments of now."""
    return [payment(event_id=f"e{number}", occurred_at=now_ms()) for number in range(count)]


class Hesitant(Enricher):
    """An enricher that does something before it answers a batch."""

    before: Callable[[Sequence[Record]], None] = staticmethod(lambda _: None)

    def process(self, records: Sequence[Record]) -> Outputs:
        """As its parent, a little later."""
        self.before(records)
        return super().process(records)


def hesitant(stream: Stream, before: Callable[[Sequence[Record]], None]) -> Hesitant:
    """An enricher of the stream, over an empty cache, that calls `before` for each batch."""
    cache = MemoryCache(pipeline=stream.name)
    lookup = Lookup(cache, Layout(stream.name), PARTITIONS, now_ms)
    enricher = Hesitant(stream.pipeline, lookup, now_ms)
    enricher.before = before
    return enricher


@dataclass
class Running:
    """One loop in its thread; `end` stops it, and raises what it died of."""

    enricher: Enricher
    config: LoopConfig
    clients: Clients | None = None
    failure: BaseException | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name=self.config.instance, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            Loop(self.enricher, self.config, now_ms, clients=self.clients).run(self.stop)
        except BaseException as failure:  # noqa: BLE001  # for whoever ends it
            self.failure = failure

    def end(self, within_s: float = 20.0) -> float:
        """Stop it; how long that took, in seconds."""
        started_s = time.monotonic()
        self.stop.set()
        self.thread.join(within_s)
        assert not self.thread.is_alive()
        if self.failure is not None:
            raise self.failure
        return time.monotonic() - started_s
