"""Pairs of numbers as one number each, so that columns of them are sorted and added up at once."""

from typing import Final

import numpy as np

from enrichment.window.entities import Numbers

_HALF: Final = 32  # the first in the upper half: pairs sort by it, and then by the second


def packed(first: Numbers, second: Numbers) -> Numbers:
    """Each pair as one number; numbers lie in [0, 2**31)."""
    pairs: Numbers = first << _HALF | second
    return pairs


def unpacked(pairs: Numbers) -> tuple[Numbers, Numbers]:
    """The first and the second of each pair."""
    return pairs >> _HALF, pairs & (1 << _HALF) - 1


def sorted_runs(pairs: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Each pair once, in order; the order of the rows, and where in it each pair begins.

    What `np.add.reduceat` and its like want, to add up the rows of each pair; not of no rows.
    """
    order = np.argsort(pairs, kind="stable")
    pairs = pairs[order]
    begins = np.flatnonzero(np.concatenate(([True], pairs[1:] != pairs[:-1])))
    return pairs[begins], order, begins
