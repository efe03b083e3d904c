"""One seed, one clock, one thread: what happens next in a simulated world, and to whom.

Everything that a process does goes through `Instance.call`, and there it may die, stand still, or
meet a failure. A process that stands still does so in the middle of its call: the rest of the world
goes on inside, as long as that lasts, and what it finds afterwards is what a paused process finds.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from random import Random
from typing import Any, Final

from confluent_kafka import KafkaException

from tests.memory_kafka import TROUBLES, KilledError, Process
from tests.simulation.odds import Odds

START_MS: Final = 1_700_000_000_000

DEPTH_MAX: Final = 4
"""Processes that stand still one inside the other: deeper ones are as good as any of these."""

# What calls may fail with; what is not named here never fails, only dies or stands still.
FAILURES: Final[dict[str, tuple[str, ...]]] = {
    "init": ("slow", "gone"),
    "offsets": ("abortable", "slow", "unanswered", "gone"),
    "commit": ("abortable", "slow", "unanswered", "gone", "unknown", "forgotten", "hung"),
    "abort": ("slow", "unanswered", "gone"),
}


class Violation(AssertionError):  # noqa: N818  # what happened, as a check names it
    """Something that must never happen has."""


class HungCall(BaseException):  # not an error: the call never comes back
    """A call of the client that does not return."""


@dataclass(slots=True, eq=False)
class World:
    """The clock, what is to happen at which time, and the one source of chance."""

    seed: int
    odds: Odds
    draw: Random
    # Keep the lines of the trace, and not only their hash.
    telling: bool = False
    now_ms: int = START_MS
    troubled: bool = True
    lines: list[str] = field(default_factory=list)
    # How often what has happened: a check that never had anything to check proves nothing.
    met: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    # Whose code runs now; nobody's between two turns.
    running: "Instance | None" = None
    # Called whenever time has passed.
    on_time: list[Callable[[int], None]] = field(default_factory=list)
    _hash: Any = field(default_factory=lambda: blake2b(digest_size=16))
    _due: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _count: Iterator[int] = field(default_factory=count)
    _depth: int = 0

    @property
    def trace_hash(self) -> str:
        """What names this very course of events."""
        return str(self._hash.hexdigest())

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        line = f"{self.now_ms - START_MS:>7} {who:<10} {what}"
        self._hash.update(line.encode())
        if self.telling:
            self.lines.append(line)

    def at(self, delay_ms: int, what: Callable[[], None]) -> None:
        """Let something happen after that time."""
        heapq.heappush(self._due, (self.now_ms + delay_ms, next(self._count), what))

    def chance(self, share: float) -> bool:
        """Whether something of that probability happens now."""
        return share > 0 and self.draw.random() < share

    def run(self, for_ms: int, until: Callable[[], bool] | None = None) -> bool:
        """Let that much time pass, or as much as `until` wants; whether it was satisfied."""
        end_ms = self.now_ms + for_ms
        while self._due and self._due[0][0] <= end_ms:
            due_ms, _, what = heapq.heappop(self._due)
            self._pass(due_ms)
            self.steps += 1
            what()
            if until is not None and until():
                return True
        self._pass(end_ms)
        return until is None or until()

    def pause(self, for_ms: int) -> None:
        """Let the others go on while whoever runs now waits; too deep inside, only time passes."""
        if self._depth >= DEPTH_MAX:
            return
        running, self.running = self.running, None
        self._depth += 1
        try:
            self.run(for_ms)
        finally:
            self._depth -= 1
            self.running = running

    def _pass(self, until_ms: int) -> None:
        if until_ms > self.now_ms:
            self.now_ms = until_ms
            for told in self.on_time:
                told(until_ms)


class Instance(Process):
    """One start of one process: from its first call to its end, wherever that is."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__()
        self.world = world
        self.name = name
        # Since when nobody has heard from it: it is dead, or stands still.
        self.silent_ms: int | None = None
        # How far its clock is from the world's.
        self.skew_ms = 0
        # Calls whose effect is there and whose answer is lost: asked again, they fail no other way.
        self._unsure: set[str] = set()

    def now_ms(self) -> int:
        """The time by its own clock."""
        return self.world.now_ms + self.skew_ms

    def kill(self) -> None:
        """End it at once, wherever it is."""
        if not self.dead:
            self.dead = True
            self.silent_ms = self.world.now_ms
            self.world.met["processes killed"] += 1
            self.world.note(self.name, "killed")

    def call(self, name: str, effect: Callable[[], Any]) -> Any:
        """Make a call, or meet what awaits it."""
        world = self.world
        if world.troubled:
            self._trouble(name)
        if self.dead:
            raise KilledError
        if self.troubles[name]:
            trouble = self.troubles[name].popleft()
            world.note(self.name, f"{name}: {trouble}")
            world.met[f"{name}: {trouble}"] += 1
            if trouble == "hung":
                raise HungCall
            error, takes_effect, _ = TROUBLES[trouble]
            if takes_effect:
                effect()
                self._unsure.add(name)
            raise KafkaException(error)
        result = effect()
        self._unsure.discard(name)
        if world.troubled and name in LASTING and world.chance(world.odds.stop):
            self._stand_still_or_die(name)
        return result

    def _trouble(self, name: str) -> None:
        world = self.world
        odds = world.odds
        if world.chance(odds.stop):
            self._stand_still_or_die(name)
        if name not in FAILURES or self.troubles[name] or name in self._unsure:
            return
        if world.chance(odds.fail):
            trouble = world.draw.choice(FAILURES[name])
            often = 1 if trouble in {"forgotten", "hung"} else TROUBLES[trouble][2]
            self.troubles[name].extend([trouble] * often)

    def _stand_still_or_die(self, name: str) -> None:
        world = self.world
        if world.chance(world.odds.deadly):
            world.note(self.name, f"dies at {name}")
            self.kill()
            raise KilledError
        self.stand_still(world.draw.choice(world.odds.pauses_ms), name)

    def stand_still(self, for_ms: int, where: str) -> None:
        """Do nothing for that long, while everything else goes on."""
        self.world.note(self.name, f"stands still at {where} for {for_ms} ms")
        self.world.met["processes stood still"] += 1
        if self.silent_ms is None:
            self.silent_ms = self.world.now_ms
        self.world.pause(for_ms)
        if self.dead:
            raise KilledError
        self.silent_ms = None
        self.world.note(self.name, "goes on")


LASTING: Final = frozenset({"commit", "submit", "cancel", "poll", "set", "publish"})
"""Calls behind which a process may die or stand still, too: what they did is done."""


@contextmanager
def running(world: World, instance: Instance) -> Iterator[None]:
    """Whose code runs inside."""
    before, world.running = world.running, instance
    try:
        yield
    finally:
        world.running = before


__all__ = ["HungCall", "Instance", "KilledError", "Violation", "World", "running"]
