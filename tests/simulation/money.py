"""The budget's counter as a worker reaches it, and the ledger as its reader finds it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from enrichment.sample.budget import BudgetAwayError, Claim, Limits
from enrichment.sample.counter import Counted
from tests.sample.memory_counter import MemoryCounter
from tests.simulation.broker import Broker
from tests.simulation.world import Instance

T = TypeVar("T")


class Till:
    """A Counter: the one in memory, over a line on which answers get lost."""

    def __init__(self, counter: MemoryCounter, process: Instance) -> None:
        self._counter = counter
        self._process = process

    def reserve(self, day: int, charge_id: str, claim: Claim, limits: Limits) -> Counted:
        """See Counter."""
        return self._ask(lambda: self._counter.reserve(day, charge_id, claim, limits))

    def settle(self, day: int, charge_id: str, claim: Claim) -> Counted:
        """See Counter."""
        return self._ask(lambda: self._counter.settle(day, charge_id, claim))

    def begin(self, day: int, token: str) -> bool:
        """See Counter."""
        return self._ask(lambda: self._counter.begin(day, token))

    def write(self, day: int, token: str, claims: Mapping[str, Claim]) -> bool:
        """See Counter."""
        return self._ask(lambda: self._counter.write(day, token, claims))

    def seen(self, day: int, names: Sequence[str]) -> tuple[int, ...] | None:
        """See Counter."""
        return self._ask(lambda: self._counter.seen(day, names))

    def _ask(self, effect: Callable[[], T]) -> T:
        world = self._process.world

        def answered() -> T:
            lost = world.troubled and world.chance(world.odds.lost / 4)
            if lost and world.chance(0.5):
                raise BudgetAwayError("the counter does not answer")
            found = effect()
            if lost:
                raise BudgetAwayError("the counter's answer is lost")
            return found

        found: T = self._process.call("count", answered)
        return found


class Admin:
    """An AdminClient, as the reader of the ledger uses it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def list_topics(self, topic: str, timeout: float = 0) -> Any:
        """How many partitions the topic has."""
        del timeout
        return _Topics({topic: _Topic(self._broker.topics[topic])})


class _Topics:
    def __init__(self, topics: dict[str, "_Topic"]) -> None:
        self.topics = topics


class _Topic:
    error = None

    def __init__(self, partitions: int) -> None:
        self.partitions = range(partitions)
