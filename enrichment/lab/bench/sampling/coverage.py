"""Case `coverage`: how often `shot_interval` holds the membership of infinitely many shots.

The truth is known: the circuit's exact state gives every string's chance, and the best fifth of
that distribution, ties at its edge shared, the membership that shots only estimate. One experiment
is one circuit sampled once; each of its variables gives one interval.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from enrichment.circuit.angles import ising_scaled_angles
from enrichment.circuit.direct import final_state, sample
from enrichment.circuit.marginals import BEST_SHARE, shot_interval
from enrichment.lab.bench.catalogue import BenchOptions
from enrichment.lab.bench.planted import planted_ring
from enrichment.lab.bench.report import Row
from enrichment.lab.bench.sampling.child import one_core
from enrichment.problem.ising import Floats, Ising, all_energies, energies, ising

CIRCUITS: Final = 1_000
SIZES: Final = (8, 10, 12)
LAYERS: Final = (1, 2, 3)
SHOTS: Final = (1_000, 100)
"""The service's own number, and what a device may be asked for."""

LEVELS_DIGITS: Final = 9
"""Energies are equal in so many digits: sums of sixteenths and thetas differ in their last bits."""

INNER: Final = (0.05, 0.95)
BINS: Final = (0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 1.0)
INSIDE: Final = "(.05, .95)"

NOTES: Final = (
    (
        f"coverage: {CIRCUITS:,} circuits of planted rings, n = 8, 10, 12, p = 1, 2, 3 in turn; a "
        "run is a seed of the shots; true memberships from exact states"
    ),
    "the interval is for 95 %, of one variable by itself; bins are of the true membership",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiments:
    """The intervals of many circuits, an entry for each variable."""

    truth: Floats
    low: Floats
    high: Floats


def rows(options: BenchOptions) -> Iterator[Row]:
    """Measure, and yield coverage and width inside and by bins of the truth."""
    runs = 1 if options.quick else options.runs
    circuits = 60 if options.quick else CIRCUITS
    with one_core() as child:
        for shots in SHOTS:
            done = [child.call(experiments, circuits, shots, run) for run in range(runs)]
            options.say(f"coverage: {shots} shots, {runs} runs: done")
            yield from _rows_of(f"coverage, {shots:,} shots", done)


def _rows_of(case: str, done: list[Experiments]) -> Iterator[Row]:
    """The rows of one number of shots."""
    places = {INSIDE: INNER}
    places |= {
        f"[{low:g}, {high:g}{')' if high < 1.0 else ']'}": (low, high)
        for low, high in pairwise(BINS)
    }
    for name, (low, high) in places.items():
        coverage, width, count = [], [], []
        for one in done:
            if name == INSIDE:
                here = (one.truth > low) & (one.truth < high)
            else:
                # A bin takes its lower end, and the last one both.
                here = (one.truth >= low) & ((one.truth < high) | (high == 1.0))
            if here.any():
                held = (one.low <= one.truth) & (one.truth <= one.high)
                coverage.append(float(held[here].mean()))
                width.append(float((one.high - one.low)[here].mean()))
                count.append(float(here.sum()))
        if count:
            yield Row.of(case, name, "coverage", coverage, "share")
            yield Row.of(case, name, "width", width, "membership")
            yield Row.of(case, name, "intervals", count, "number")


def experiments(circuits: int, shots: int, run: int) -> Experiments:
    """In a child: one interval for each variable of so many circuits."""
    truths, lows, highs = [], [], []
    for number in range(circuits):
        form = ising(planted_ring(SIZES[number % len(SIZES)], number))
        layers = LAYERS[number // len(SIZES) % len(LAYERS)]
        angles = ising_scaled_angles(form, layers)
        truths.append(limit_membership(form, chances(form, final_state(form, *angles))))
        bits = sample(form, *angles, shots, np.random.default_rng([number, run, shots]))
        low, high = shot_interval(bits, energies(form, bits))
        lows.append(low)
        highs.append(high)
    return Experiments(
        truth=np.concatenate(truths), low=np.concatenate(lows), high=np.concatenate(highs)
    )


def chances(form: Ising, state: NDArray[np.complex64]) -> Floats:
    """Each string's probability, in the order of `all_energies`; a state has its bits reversed."""
    shape = (2,) * form.size
    turned = np.square(np.abs(state.astype(np.complex128))).reshape(shape).transpose()
    flat: Floats = turned.reshape(-1)
    chance: Floats = flat / flat.sum()
    return chance


def limit_membership(form: Ising, probabilities: Floats) -> Floats:
    """What `ring_membership` tends to with ever more shots, shape (n,): over the best fifth.

    Strings of one energy are all in, all out, or, at the edge, in by one common share.
    """
    levels = np.round(all_energies(form), LEVELS_DIGITS)
    _, level_of = np.unique(levels, return_inverse=True)
    of_level = np.bincount(level_of, probabilities)
    before = np.cumsum(of_level) - of_level
    let_in = np.clip((BEST_SHARE - before) / np.where(of_level > 0.0, of_level, 1.0), 0.0, 1.0)
    weights = probabilities * let_in[level_of]
    ones = [float(weights.reshape(-1, 2, 2**k)[:, 1].sum()) for k in range(form.size)]
    # Rounding may leave a one a little above 1, which no interval holds.
    return np.minimum(1.0, np.array(ones) / float(weights.sum()))
