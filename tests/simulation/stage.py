"""One place where a process runs: started, turned round, killed or told to stop, started again."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final

from tests.simulation.world import Instance, KilledError, World, running

RESTARTS_MS: Final = (100, 1_000, 3_000, 8_000)


class Stage(ABC):
    """One place where a process runs, start after start."""

    # Between two turns; a stage that waits for something waits as long as any of these.
    TURNS_MS: ClassVar[tuple[int, ...]] = (20, 100, 300)

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.instance: Instance | None = None
        # Whether it is started again when it has ended.
        self.wanted = True
        self.skew_ms = 0
        self.pause_ms = 0

    @property
    def alive(self) -> bool:
        """Whether there is a process now."""
        return self.instance is not None and not self.instance.dead

    @abstractmethod
    def open(self, instance: Instance) -> None:
        """Start: everything before the first turn."""

    @abstractmethod
    def turn(self) -> None:
        """Once round the process's loop."""

    def close(self) -> None:  # noqa: B027  # most have nothing to do when they are told to stop
        """End in order."""

    def start(self) -> None:
        """Start a process, unless there is one, or none is wanted."""
        if self.alive or not self.wanted:
            return
        self.instance = instance = Instance(self.world, self.name)
        instance.skew_ms = self.skew_ms
        self.world.note(self.name, "starts")
        self._within(instance, lambda: self.open(instance))

    def stop(self) -> None:
        """Tell the process to stop, as SIGTERM does; it hears of it between two turns."""
        instance = self.instance
        if instance is None or instance.dead or instance.silent_ms is not None:
            return
        if self.world.running is instance:
            return
        self.world.note(self.name, "is told to stop")

        def end() -> None:
            self.close()
            instance.kill()
            raise KilledError

        self.instance = None
        self._within(instance, end)

    def _within(self, instance: Instance, what: Callable[[], None]) -> None:
        """Run the process's code; then comes its next turn, or its end."""
        try:
            with running(self.world, instance):
                what()
        except KilledError:
            self.world.at(self.world.draw.choice(RESTARTS_MS), self.start)
            return
        pause_ms, self.pause_ms = self.pause_ms or self.world.draw.choice(self.TURNS_MS), 0
        self.world.at(pause_ms, lambda: self._next(instance))

    def _next(self, instance: Instance) -> None:
        if instance is not self.instance:
            return
        if instance.dead:
            self.world.at(self.world.draw.choice(RESTARTS_MS), self.start)
        else:
            self._within(instance, self.turn)
