"""A thread beside a stage's loop, for as long as a context lasts: `with Something(...)`."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """Such a thread. What it does is `_run`, which ends soon after `_stop` is set.

    A daemon: whoever ends the stage waits `stop_s` for it and no longer.
    """

    def __init__(self, name: str, *, stop_s: float) -> None:
        """It is begun by the context."""
        self._stop = threading.Event()
        self._stop_s = stop_s
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(self._stop_s)

    @abstractmethod
    def _run(self) -> None:
        """Work until told to stop, or until there is no more to do. Raises nothing."""
