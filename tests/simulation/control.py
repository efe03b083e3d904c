"""What `enrichment.control` says of providers in a simulated world, and from when on.

Drawn apart from all else, so that the rest of a seed's world is what it is without it.
"""

from bisect import bisect
from dataclasses import dataclass
from random import Random
from typing import Final, Self

from enrichment.records import Compute
from enrichment.rollout.control import ControlState
from tests.sample.streams import PIPELINE
from tests.simulation.world import World

NAMES: Final = ("", "qsim", "google", "ionq", "exact", "nowhere")
"""What computes: the file's provider, one that no chain of this world may name, or nobody."""

SILENT: Final = 0.4
"""How often nothing is said at all, as in most pipelines."""

CHANGES_MAX: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """States, each from a time on: the same for every worker, whatever its own clock shows."""

    world: World
    since_ms: tuple[int, ...]
    states: tuple[ControlState, ...]

    @classmethod
    def of(cls, world: World, seed: int) -> Self:
        """What is said in the world of that seed."""
        draw = Random(f"control {seed}")
        changes = 0 if draw.random() < SILENT else draw.randint(1, CHANGES_MAX)
        since = sorted(draw.randint(1, 30_000) for _ in range(changes))
        states = [_state(draw) for _ in range(changes)]
        return cls(
            world=world,
            since_ms=tuple(world.now_ms + after_ms for after_ms in since),
            states=(ControlState(pipeline=PIPELINE), *states),
        )

    def __call__(self) -> ControlState:
        """What is in force now."""
        return self.states[bisect(self.since_ms, self.world.now_ms)]


def _state(draw: Random) -> ControlState:
    provider, check = draw.choice(NAMES), draw.choice(NAMES)
    if not provider and not check:
        return ControlState(pipeline=PIPELINE)
    every = draw.choice((1, 1, 3)) if check else 0
    compute = Compute(provider=provider, check_provider=check, check_every=every)
    return ControlState(pipeline=PIPELINE, compute=compute)
