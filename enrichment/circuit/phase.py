"""How a model's phase exp(+i gamma E) is cut into diagonal gates of two or three qubits each.

All terms of E commute, so any grouping of them is the same operation. A dense model's pairs are
covered by triples, each a diagonal of eight entries that holds up to three couplings: 26 gates at
12 variables where there were 66, and fields cost nothing. A sparse model's pairs stay as they are.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from enrichment.problem.ising import Floats, Ising, coupling_matrix

DENSE: Final = 0.5
"""With more than this share of all pairs coupled, triples are fewer gates than pairs."""

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """E without its offset as a sum of small terms, and what is left of its fields.

    `places` has shape (blocks, w), the variables of each block; `energies` shape (blocks, 2^w), its
    term of E for each of its strings, the first variable's bit highest. `alone` are the variables
    that are in no block: their fields are gates of their own.
    """

    places: Places
    energies: Floats
    alone: tuple[int, ...]


def blocks(model: Ising) -> Blocks:
    """Return a model's blocks: triples where it is dense, else its pairs."""
    pairs = model.size * (model.size - 1) / 2
    if model.size >= 3 and len(model.couplings) > DENSE * pairs:
        return _triples(model)
    places = np.stack((model.rows, model.cols), axis=1)
    found, first = np.unique(places, return_index=True)
    terms = np.zeros((len(places), 3))
    terms[:, 0] = model.couplings
    _put_fields(terms[:, 1:], first, model.h[found])
    return Blocks(
        places=places,
        energies=terms @ _products(2),
        alone=tuple(np.setdiff1d(np.arange(model.size), found).tolist()),
    )


def _triples(model: Ising) -> Blocks:
    """Return the blocks of a model taken as complete; couplings that it lacks are zero."""
    cover = _cover(model.size)
    terms = np.zeros((len(cover.places), 6))
    terms[:, :3] = coupling_matrix(model)[cover.places[:, [0, 0, 1]], cover.places[:, [1, 2, 2]]]
    terms[:, :3] *= cover.owned
    _put_fields(terms[:, 3:], cover.first, model.h)
    return Blocks(places=cover.places, energies=terms @ _products(3), alone=())


def _put_fields(terms: Floats, first: Places, fields: Floats) -> None:
    """Put each variable's field where the variable first comes up, counted along the rows."""
    width = terms.shape[1]
    terms[first // width, first % width] = fields


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cover:
    """Triples that cover all pairs: which pairs each one counts, and where variables come first."""

    places: Places
    owned: Floats
    first: Places


@cache
def _cover(size: int) -> _Cover:
    """Return the triples of a complete graph, the same ones each time.

    Greedy: first the triples of which no pair is covered yet, then those of one, then the rest;
    each pair is counted in the first triple that has it.
    """
    left = set(combinations(range(size), 2))
    places: list[tuple[int, ...]] = []
    owned: list[list[float]] = []
    for wanted in (3, 2, 1):
        for triple in combinations(range(size), 3):
            new = [pair in left for pair in combinations(triple, 2)]
            if sum(new) == wanted:
                places.append(triple)
                owned.append([float(each) for each in new])
                left.difference_update(combinations(triple, 2))
    table = np.array(places, dtype=np.intp)
    _, first = np.unique(table, return_index=True)
    return _Cover(places=table, owned=np.array(owned), first=first)


@cache
def _products(width: int) -> Floats:
    """Return what each coupling and then each field is multiplied by, for every string of a block.

    Shape (pairs + width, 2^width): products of spins in the order of the pairs, then the spins.
    """
    spins = 2.0 * ((np.arange(2**width) >> np.arange(width - 1, -1, -1)[:, None]) & 1) - 1.0
    pairs = [spins[one] * spins[two] for one, two in combinations(range(width), 2)]
    return np.array([*pairs, *spins])
