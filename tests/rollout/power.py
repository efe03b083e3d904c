"""Simulated streams of scored events whose outcomes are known, and the evidence that they make.

`python -m tests.rollout.power` prints the gate's power: the size of a true difference against the
share of simulated streams in which the gate lets the path in, and the guard takes it out.

An event's heuristic score tells bad from good by one standard deviation. A ring path adds what it
makes of the event's ring: `signal` apart for bad ones, the noise of the model, which both ring
paths share (they solve the same models), and noise of its own (their shots). Bad events come in
rings, which are resampled whole, as evidence resamples them.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from enrichment.rollout.evidence import Evidence, Figure
from enrichment.rollout.looks import level_of
from tests.rollout.evidences import GATE, evidence

RING: Final = 5  # bad events that are tied, and resampled together
SIGNAL: Final = 1.5  # of the classical path, in standard deviations of the heuristic's score
SHARED: Final = 0.6  # standard deviation of the model's own noise

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One kind of stream: what quantum's scores are worth, and how the evidence is drawn."""

    # None: quantum's scores are random numbers. 0: the twin's equal but for its shots.
    signal: float | None
    # An oracle knows the outcomes.
    oracle: bool = False
    # Standard deviation of each ring path's own noise, its shots'.
    own: float = 0.1
    good_per_bad: int = 4
    resamples: int = 200


def looks(world: World, seed: int) -> Iterator[Evidence]:
    """The evidence at each of the gate's looks of one simulated stream."""
    rng = np.random.default_rng(seed)
    bad = max(GATE.looks)
    size = bad * (1 + world.good_per_bad)
    label = np.zeros(size, dtype=bool)
    label[:: 1 + world.good_per_bad] = True
    cluster = np.arange(size)
    cluster[label] = np.repeat(np.arange(bad // RING + 1), RING)[:bad] + size
    heuristic = label + rng.normal(size=size)
    shared = SHARED * rng.normal(size=size)
    classical = heuristic + SIGNAL * label + shared + world.own * rng.normal(size=size)
    if world.oracle:
        quantum = heuristic + 100.0 * label
    elif world.signal is None:
        quantum = rng.normal(size=size)
    else:
        quantum = heuristic + world.signal * label + shared + world.own * rng.normal(size=size)
    scores = {"heuristic": heuristic, "classical": classical, "quantum": quantum}
    for number, known in enumerate(GATE.looks, 1):
        seen = known * (1 + world.good_per_bad)
        drawn = _draws(rng, cluster[:seen], world.resamples)
        found = {
            path: _average_precision(score[:seen], label[:seen], drawn)
            for path, score in scores.items()
        }
        differences = {
            f"{one}-{other}": _figure(found[one] - found[other])
            for one, other in (
                ("quantum", "heuristic"),
                ("classical", "heuristic"),
                ("quantum", "classical"),
            )
        }
        yield evidence(look=number, bad=known, differences=differences)


def _draws(rng: np.random.Generator, cluster: NDArray[np.int64], resamples: int) -> Floats:
    """Weights of each row in each resample, shape (1 + resamples, rows); the first is the rows'."""
    names, code = np.unique(cluster, return_inverse=True)
    times = np.stack(
        [np.ones(len(names), dtype=np.int64)]
        + [
            np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
            for _ in range(resamples)
        ]
    )
    return times[:, code].astype(np.float64)


def _average_precision(score: Floats, label: NDArray[np.bool_], weights: Floats) -> Floats:
    """Average precision under each row of weights; scores have no ties."""
    order = np.argsort(-score)
    counted = weights[:, order]
    bad = counted * label[order]
    caught = np.cumsum(bad, axis=1)
    seen = np.maximum(np.cumsum(counted, axis=1), 1.0)
    result: Floats = (bad * caught / seen).sum(axis=1) / caught[:, -1]
    return result


def _figure(drawn: Floats) -> Figure:
    """A figure with the interval of a look, of draws whose first is the figure itself."""
    outside = (1 - level_of(GATE)) / 2
    low, high = np.quantile(drawn[1:], [outside, 1 - outside])
    return Figure(value=float(drawn[0]), low=float(low), high=float(high))


def true_difference(world: World) -> float:
    """Average precision, quantum's minus the twin's, the mean of 40 simulated streams."""
    few = replace(world, resamples=1)
    values = [
        found.differences["quantum-classical"].value
        for seed in range(40)
        for found in looks(few, 10_000 + seed)
        if found.look == len(GATE.looks)
    ]
    return float(np.mean([value for value in values if value is not None]))


def main(seeds: int) -> None:
    """Print the table of docs/gate.md."""
    from tests.rollout.deciding import asked_at, taken_out_at

    say = sys.stdout.write
    say(f"{seeds} simulated streams a row; looks {GATE.looks}, margin {GATE.margin}\n")
    say("| quantum | true difference | in by look 1 | 2 | 3 | taken out by look 3 |\n")
    say("|---|---|---|---|---|---|\n")
    worlds = {"random scores": World(signal=None, good_per_bad=19)} | {
        f"signal {signal:+.2f}": World(signal=SIGNAL + signal, good_per_bad=19)
        for signal in (-1.5, -0.6, -0.3, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2)
    }
    worlds |= {
        f"signal +0.00, own noise {own}": World(signal=SIGNAL, own=own, good_per_bad=19)
        for own in (0.2, 0.4)
    }
    for name, world in worlds.items():
        streams = [tuple(looks(world, seed)) for seed in range(seeds)]
        at = [asked_at(stream) for stream in streams]
        by = [sum(look is not None and look <= n for look in at) / seeds for n in (1, 2, 3)]
        gone = sum(taken_out_at(stream) is not None for stream in streams) / seeds
        shares = " | ".join(f"{share:.1%}" for share in (*by, gone))
        say(f"| {name} | {true_difference(world):+.4f} | {shares} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
