"""One seed from its beginning to its end, with everything real taken out of the stages' hands."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

import structlog

from enrichment.feature import projector
from enrichment.sample import flight, hearing, ledger, sending, spending, worker
from enrichment.stream import to_end, transaction
from tests.simulation.broker import Broker
from tests.simulation.consumer import SimConsumer
from tests.simulation.money import Admin
from tests.simulation.producer import Inline, SimProducer
from tests.simulation.whole import REQUEST_PROBLEMS, Whole
from tests.simulation.world import Instance, World

OPEN: Final = 6
"""Open jobs of one worker, so that it has enough of them at times."""

RESUMED: Final = 3
"""Left jobs that are taken up in one turn."""

ROUND_RECORDS: Final = 10
"""Records of one of the projector's rounds, so that what is being rebuilt is seen half-way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of one seed. `failure` is what must never happen and has, or ""."""

    seed: int
    failure: str
    trace_hash: str
    steps: int
    met: Counter[str]
    lines: list[str]


def run(seed: int, *, telling: bool = False, trouble_ms: int | None = None) -> Report:
    """Live through one seed: see `Whole`."""
    whole = Whole(seed, telling=telling, trouble_ms=trouble_ms)
    failure = ""
    with without_servers(whole.world, whole.broker):
        try:
            whole.live()
        except Exception as error:  # noqa: BLE001  # whatever it is, the seed that gives it is found
            failure = f"{type(error).__name__}: {error}"
            whole.world.note("world", failure)
    return Report(
        seed=seed,
        failure=failure,
        trace_hash=whole.world.trace_hash,
        steps=whole.world.steps,
        met=whole.world.met,
        lines=whole.world.lines,
    )


@contextmanager
def without_servers(world: World, broker: Broker) -> Iterator[None]:
    """Clients of the world's own wherever stages would open real ones, and no logs."""

    def process() -> Instance:
        assert world.running is not None
        return world.running

    def consumer(config: dict[str, Any]) -> SimConsumer:
        return SimConsumer(broker, process(), config)

    def producer(config: dict[str, Any]) -> SimProducer:
        return SimProducer(broker, process(), config)

    logs = structlog.get_config()
    with ExitStack() as stack:
        for module in (ledger, hearing, to_end, projector):
            stack.enter_context(patch.object(module, "Consumer", consumer))
        stack.enter_context(patch.object(spending, "AdminClient", lambda _: Admin(broker)))
        stack.enter_context(patch.object(transaction, "Producer", producer))
        stack.enter_context(patch.object(transaction, "Aside", Inline))
        stack.enter_context(patch.object(projector, "BATCH_MAX", ROUND_RECORDS))
        stack.enter_context(patch.object(worker, "OPEN_MAX", OPEN))
        stack.enter_context(patch.object(worker, "RESUMED_MAX", RESUMED))
        for module in (flight, sending):
            stack.enter_context(patch.object(module, "PROBLEMS_MAX", REQUEST_PROBLEMS))
        stack.callback(lambda: structlog.configure(**logs))
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        yield
