"""What a fault is: a name, a world, and what is done to it.

A family of faults is one file with a tuple `FAULTS`, and one line in `catalogue.FAMILIES`. Who runs
them (`trial.run`) opens the world, waits until jobs flow, calls `do`, heals what the fault has left
behind, waits until all is done, and holds the history against the invariants.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.vendor import Manner

if TYPE_CHECKING:
    from tests.faults.world import Ground, World

Figures = Mapping[str, float]
"""What a trial has measured, by name: seconds end with `_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a trial's world is set up.

    `workers` are the instances that are there, started before `do` unless the fault is `cold`, and
    started again where they end; `deadline_ms` is the pipeline's; a fault that has
    jobs at the provider for a while sets `manner`. `every_s` is the time between two windows of
    a shard. `problems` is how many a micro-batch holds: above 64 an attempt is several orders.
    `kafka` and `redis` say where workers and projector find the servers, if not at the ground's.
    """

    provider: str = "vendor"
    workers: tuple[str, ...] = ("one",)
    deadline_ms: int = 30_000
    manner: Manner = field(default_factory=Manner)
    every_s: float = 0.4
    cold: bool = False
    problems: int = 1
    fresh_ms: int = 4_000
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way in which things go wrong.

    `what` says it in a line, `times` how often it is tried in the long form. `do` makes the trouble
    and returns what it has measured; it raises AssertionError where the trouble was not had.
    `ground` opens servers of the fault's own, where it hurts them: else all share one Kafka and one
    Redis.
    `without` says why it cannot be tried here, "" where it can.
    """

    name: str
    what: str
    do: Callable[["World"], Figures]
    terms: Terms = field(default_factory=Terms)
    times: int = 2
    heal_s: float = 30.0
    ground: "Callable[[Path], AbstractContextManager[Ground]] | None" = None
    without: Callable[[], str] = lambda: ""
