"""A client of the feature cache that never stops asking, and notes what it was told."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import redis

from enrichment.feature.reader import FeatureReader
from enrichment.feature.store import Layout, version_of
from enrichment.pipelines import Pipeline
from tests.faults.invariants import Reading
from tests.faults.source import APART
from tests.integration.sampling import SHARDS

PERIOD_S: Final = 0.05
READ_S: Final = 5.0
READINGS_MAX: Final = 200_000  # an hour at six values a round

WANTED: Final = tuple(
    (kind, name.format(APART * index), "ring")
    for index in range(len(SHARDS))
    for kind, name in (("account", "acc-{:06d}"), ("device", "dev-{}"))
)
"""One account and one device of every shard."""


@dataclass(slots=True)
class Probe:
    """The thread; `readings` grow while it runs."""

    redis_url: str
    pipeline: Pipeline
    readings: list[Reading] = field(default_factory=list)
    failure: BaseException | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more. Raises what has ended it before."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        reader = FeatureReader(self.redis_url, self.pipeline)
        try:
            while not self._stop.wait(PERIOD_S) and len(self.readings) < READINGS_MAX:
                began_ms = time.time_ns() // 1_000_000
                found = reader.read_many(WANTED)
                ended_ms = time.time_ns() // 1_000_000
                self.readings += [
                    Reading(
                        key=f"{self.pipeline.name}|{one.kind}|{one.id}|{one.group}",
                        began_ms=began_ms,
                        ended_ms=ended_ms,
                        verdict=one.verdict.name.value,
                        version=one.version,
                        subgraph=one.subgraph,
                        computed_at_ms=one.computed_at_ms,
                    )
                    for one in found
                ]
        except BaseException as failure:  # noqa: BLE001  # raised by `stop`
            self.failure = failure
        finally:
            reader.close()


def cached(redis_url: str, pipeline: str, keys: Iterable[str]) -> dict[str, int]:
    """The versions that the cache holds of these keys of the topic; what it lacks is left out."""
    layout = Layout(pipeline)
    names = {layout.feature(*key.split("|")[1:]): key for key in keys}
    with redis.Redis.from_url(redis_url, socket_timeout=READ_S) as client:
        values = client.mget(list(names)) if names else []
    found = {}
    for key, value in zip(names.values(), values, strict=True):
        version = None if value is None else version_of(value)
        if version is not None:
            found[key] = version
    return found
