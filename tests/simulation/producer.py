"""A producer of the simulated broker, and the stage's threads without a thread."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from tests.memory_kafka import MemoryProducer
from tests.simulation.broker import Broker
from tests.simulation.world import HungCall, Instance


class SimProducer(MemoryProducer):
    """A producer of the process that makes it."""

    def __init__(self, broker: Broker, process: Instance, config: dict[str, Any]) -> None:
        super().__init__(broker, process, config["transactional.id"])
        self._instance = process

    def init_transactions(self, timeout_s: float = 0) -> None:
        """Fence every earlier producer of the id; where that fails, it takes its time to."""
        try:
            self._instance.call(
                "init", lambda: super(SimProducer, self).init_transactions(timeout_s)
            )
        except BaseException:
            self._instance.world.pause(200)
            raise


class Inline(Executor):
    """Calls made at once, where the stage has a thread for each."""

    def __init__(self, _name: str) -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The call's future, which has come already, or is known never to come."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except HungCall:
            future.set_exception(TimeoutError())
        except BaseException as failure:  # noqa: BLE001  # told to whoever asks for the result
            future.set_exception(failure)
        return future
