"""The fixed problems that samplers are compared on: planted rings with decoys, hashed.

They come from simulated streams: payments of the lab's scenarios, windowed by the window stage's
own code with a size cap too high to bind, and each ring's last candidate subgraph cut to n accounts
around the ring. Beside its members an instance so holds those who are tied to them most: families,
clubs, payers of one payee, chance. How it is cut knows the truth, as no service does: it is here to
compare samplers on one and the same problems, not to say how many rings would be found.

They are kept in a file, so that they stay what they are when the window stage changes. This module,
run by `python -m`, makes them anew, and INSTANCES_HASH then has to change with them.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

import dimod
import msgspec
from msgspec.structs import replace

from enrichment.circuit.template import ising_circuit_hash
from enrichment.lab.bench.digest_stream import ticks
from enrichment.lab.bench.rings import BATCH_MS, START_MS, STRENGTHS, VARIABLES_LIFTED, closes
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.simulate import ground_truth
from enrichment.pipelines import load
from enrichment.problem import KINDS, ring
from enrichment.problem.ising import ising
from enrichment.records import Problem, Shared

PATH: Final = Path(__file__).with_name("instances.json")

INSTANCES_HASH: Final = "aa66d0f55250d2804b37a53e6316c6f0"
"""Of all instances' coefficients, in the file's order: see `hash_of`."""

COUNTS: Final[Mapping[int, int]] = {6: 24, 8: 48, 10: 24, 12: 96, 16: 48, 20: 24}
"""Size -> how many: most at 12, which is what the service solves; few where a circuit is slow."""

INSIDE_MIN: Final = 3
"""Members and others that an instance holds at least: of fewer no ranking could be told."""

SEEDS: Final = range(1, 9)
"""Of the simulated streams, each at all of STRENGTHS: more than enough for COUNTS."""

Weights = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One ring problem whose truth is known: `members` are the positions that are in the ring."""

    size: int
    weights: Weights
    members: tuple[int, ...]
    # Of the stream: the share of the members' payments that go through the ring.
    ring_strength: float
    seed: int

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names for the positions."""
        return tuple(f"a{position:02d}" for position in range(self.size))

    @property
    def labels(self) -> list[bool]:
        """Whether each position is in the ring."""
        return [position in self.members for position in range(self.size)]

    def model(self) -> dimod.BinaryQuadraticModel:
        """The ring problem's model."""
        return KINDS["ring"](self.nodes, self.weights, ())

    def sparse_model(self) -> dimod.BinaryQuadraticModel:
        """The same with theta at zero: only those who are linked are coupled.

        No ring problem is so sparse, since theta couples every pair; problems of another kind are.
        """
        return ring(self.nodes, self.weights, (), theta=0.0)

    def problem(self, problem_id: str) -> Problem:
        """The problem as a micro-batch holds it, a device tying the ring."""
        tie = Shared(
            entity="device",
            id=f"d-{problem_id}",
            members=self.members,
            events=9,
            amount_minor=9_000,
        )
        return Problem(
            problem_id=problem_id,
            subgraph=f"s-{problem_id}",
            entity="account",
            nodes=tuple(f"{problem_id}-{node}" for node in self.nodes),
            weights=self.weights,
            shared=(tie,),
            amount_minor=12_000,
            first_seen_ms=1,
            last_seen_ms=2,
        )


@cache
def instances(size: int) -> tuple[Instance, ...]:
    """The fixed instances of that size. Raises ValueError where the file is not the hashed one."""
    every = msgspec.json.decode(PATH.read_bytes(), type=tuple[Instance, ...])
    found = hash_of(every)
    if found != INSTANCES_HASH:
        raise ValueError(f"the instances' hash is {found}, not {INSTANCES_HASH}")
    return tuple(each for each in every if each.size == size)


def hash_of(every: Iterable[Instance]) -> str:
    """32 hex digits of the coefficients, quantised as a circuit's are, and of who is a member."""
    digest = sha256()
    for each in every:
        form = ising(each.model())
        digest.update(f"{ising_circuit_hash(form, (), ())}{each.members}".encode())
    return digest.hexdigest()[:32]


def made(settings: SimulationSettings, sizes: Iterable[int]) -> Iterator[Instance]:
    """The instances that one stream gives: of each size and ring the last, if there is one."""
    pipeline = load("payments")
    wide = replace(pipeline, problem=replace(pipeline.problem, variables_max=VARIABLES_LIFTED))
    ring_of = {
        account: ring.ring_id for ring in ground_truth(settings).rings for account in ring.members
    }
    last: dict[str, Problem] = {}
    for close in closes(ticks(settings, pipeline, batch_ms=BATCH_MS), wide):
        for problem in close.micro_batch.problems:
            together = Counter(ring_of[node] for node in problem.nodes if node in ring_of)
            last |= {name: problem for name, count in together.items() if count >= INSIDE_MIN}
    for size in sizes:
        for name, problem in sorted(last.items()):
            members = [at for at, node in enumerate(problem.nodes) if ring_of.get(node) == name]
            kept = cut(problem.weights, members, len(problem.nodes), size)
            place = {at: position for position, at in enumerate(kept)}
            # Whoever is in another ring is a member of a ring as well.
            inside = tuple(place[at] for at in kept if problem.nodes[at] in ring_of)
            if len(kept) < size or min(len(inside), size - len(inside)) < INSIDE_MIN:
                continue
            yield Instance(
                size=size,
                weights=tuple(
                    (place[i], place[j], weight)
                    for i, j, weight in problem.weights
                    if i in place and j in place
                ),
                members=inside,
                ring_strength=settings.ring_strength,
                seed=settings.seed,
            )


def cut(weights: Weights, members: Sequence[int], count: int, size: int) -> list[int]:
    """The ring, without its last where it fills all, and who is tied most to what is there.

    Positions ascending; fewer than `size` where no more are tied.
    """
    ties: dict[int, dict[int, int]] = {at: {} for at in range(count)}
    for i, j, weight in weights:
        ties[i][j] = ties[j][i] = weight
    kept = set(members[: size - INSIDE_MIN])
    left = set(range(count)) - set(members)
    while left and len(kept) < size:
        tied = {at: sum(ties[at].get(other, 0) for other in kept) for at in left}
        best = max(sorted(left), key=lambda at: tied[at])
        if not tied[best]:
            break
        kept.add(best)
        left.discard(best)
    return sorted(kept)


def scenarios() -> Iterator[SimulationSettings]:
    """The streams that the file is made from: four minutes, more rings than usual."""
    for seed in SEEDS:
        for strength in STRENGTHS:
            yield SimulationSettings(
                seed=seed,
                seconds=240,
                rate_per_s=500,
                start_ms=START_MS,
                rings=60,
                ring_strength=strength,
            )


def make() -> list[Instance]:
    """COUNTS instances of each size, strengths and seeds in turn, no model twice."""
    of_size: dict[int, list[Instance]] = {size: [] for size in COUNTS}
    seen: set[str] = set()
    for settings in scenarios():
        for instance in made(settings, COUNTS):
            name = ising_circuit_hash(ising(instance.model()), (), ())
            if name not in seen:
                seen.add(name)
                of_size[instance.size].append(instance)
    chosen: list[Instance] = []
    for size, count in COUNTS.items():
        found = of_size[size]
        if len(found) < count:
            raise ValueError(f"{len(found)} instances of {size} accounts, wanted {count}")
        # Spread over all streams, not the first few.
        chosen += [found[len(found) * at // count] for at in range(count)]
    return chosen


if __name__ == "__main__":
    every = make()
    PATH.write_bytes(b"[" + b",\n".join(msgspec.json.encode(each) for each in every) + b"]\n")
    sys.stdout.write(f"{hash_of(every)}\n")
