"""Who is tied to whom by what they share: many accounts at once, in columns.

Two accounts are adjacent by what they share: each attribute of degree d adds w / sqrt(d - 1), a
direct link adds w in each direction, w being the link's weight in the pipeline file, times an age
weight. The sum is clipped to 1 and quantised to sixteenths; what stays below `weight_min` is no
edge. Attributes and direct neighbours above `degree_max` are hubs, and tie nobody. Sums are of
integers, so that the same graph gives the same weights in whatever order it came.

Why the root: by 1 / (d - 1) a ring of ten on one device is tied by .11, less than two strangers who
happen to pay the same shop. On simulated streams with decoys the root and a floor of .35 keep 91 %
of the pairs within planted rings, and 1 % of those at a kiosk.
"""

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from enrichment.window.entities import Numbers
from enrichment.window.graph import DIRECT
from enrichment.window.horizon import Horizon
from enrichment.window.limits import SIXTEENTHS, Limits
from enrichment.window.pairs import packed, sorted_runs, unpacked

# A share is counted in units of 2**-32, an age weight in 2**-16.
_ONE: Final = 1 << 32
# Ties fade by half in half a horizon, in steps of an eighth: coarse, so that a subgraph in which
# nothing happens keeps its hash.
_AGE_STEPS: Final = 8
_AGE_WEIGHTS: Final = np.array([round(2**16 * 0.5 ** (n / 4)) for n in range(_AGE_STEPS + 1)])


class Projection:
    """Who is tied to whom by what they share, many accounts at once."""

    def __init__(self, horizon: Horizon, limits: Limits) -> None:
        # Attributes, and accounts with direct links, that tie nobody: those that were met.
        self.hubs: set[int] = set()
        self._horizon = horizon
        self._limits = limits
        # Attribute kind -> what sharing one weighs by how many do, in units of 2**-16.
        self._shares = {
            kind: [0, 0, *(_share(limits.weight[kind], degree) for degree in range(2, most + 1))]
            for kind, most in limits.degree_max.items()
            if kind != DIRECT
        }

    def neighbours(self, accounts: Sequence[int]) -> dict[int, dict[int, int]]:
        """The neighbours of each of these, with their weights in sixteenths, 1 to 16."""
        wanted = np.zeros(len(self._horizon.entities), np.bool_)
        wanted[accounts] = True
        parts = [*self._shared_pairs(accounts, wanted), *self._direct_pairs(accounts)]
        rows: dict[int, dict[int, int]] = {account: {} for account in accounts}
        if not any(len(pairs) for pairs, _ in parts):
            return rows
        pairs, shares = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        pairs, order, begins = sorted_runs(pairs)
        shares = np.add.reduceat(shares[order], begins)
        # Rounded to the nearest; what is below the least weight is no edge.
        strong = shares * SIXTEENTHS >= self._limits.sixteenths_min * _ONE - _ONE // 2
        pairs, shares = pairs[strong], shares[strong]
        weights = np.minimum(SIXTEENTHS, (shares * SIXTEENTHS + _ONE // 2) // _ONE)
        columns = (*unpacked(pairs), weights)
        for a, b, weight in zip(*(column.tolist() for column in columns), strict=True):
            if (row := rows.get(a)) is not None:
                row[b] = weight
            if (row := rows.get(b)) is not None:
                row[a] = weight
        return rows

    def _shared_pairs(
        self, accounts: Sequence[int], wanted: NDArray[np.bool_]
    ) -> Iterator[tuple[Numbers, Numbers]]:
        """Pairs of accounts, as one number each, and what one attribute gives them.

        The ties of an attribute stand one behind the other, each is paired with those behind it.
        """
        horizon = self._horizon
        shared, named = horizon.shared, horizon.entities.named
        shares: list[int] = []
        degrees: list[int] = []
        rows: list[int] = []
        for attribute in set[int]().union(*(shared.get(account, ()) for account in accounts)):
            members = shared[attribute]
            degree = len(members)
            if degree < 2:
                continue
            weighed = self._shares[named[attribute].kind]
            if degree >= len(weighed):
                self.hubs.add(attribute)
                continue
            shares.append(weighed[degree])
            degrees.append(degree)
            rows.extend(members.values())
        ties, degree_of = np.array(rows, np.int64), np.array(degrees, np.int64)
        aged = self._ages(ties) * np.repeat(np.array(shares, np.int64), degree_of)
        place = np.arange(len(ties))
        ends = np.repeat(np.cumsum(degree_of), degree_of)
        behind = ends - place - 1
        one = np.repeat(place, behind)
        other = np.arange(len(one)) + np.repeat(place + 1 + behind - np.cumsum(behind), behind)
        members_of = horizon.tie_a[ties]
        a, b = members_of[one], members_of[other]
        chosen = wanted[a] | wanted[b]
        # The weight of the one who was seen there longer ago, which is the lesser.
        yield _pairs(a[chosen], b[chosen]), np.minimum(aged[one], aged[other])[chosen]

    def _direct_pairs(self, accounts: Sequence[int]) -> Iterator[tuple[Numbers, Numbers]]:
        """The same of direct links, each way, unless one of the ends is a hub."""
        horizon = self._horizon
        if not horizon.outgoing:
            return
        most, degree_of = self._limits.degree_max[DIRECT], horizon.direct_degree
        ties: set[int] = set()
        for account in accounts:
            rows = (horizon.outgoing.get(account, {}), horizon.incoming.get(account, {}))
            if degree_of(account) > most:
                self.hubs.add(account)
                continue
            for row in rows:
                for other, tie in row.items():
                    if degree_of(other) > most:
                        self.hubs.add(other)
                    else:
                        ties.add(tie)
        chosen = np.array(sorted(ties), np.int64)
        share = round((_ONE >> 16) * self._limits.weight[DIRECT])
        yield _pairs(horizon.tie_a[chosen], horizon.tie_b[chosen]), self._ages(chosen) * share

    def _ages(self, ties: Numbers) -> Numbers:
        """The age weight of each tie, in units of 2**-16."""
        horizon_ms = self._limits.horizon_ms
        age_ms = self._horizon.now_ms - self._horizon.tie_newest_ms[ties]
        ages: Numbers = _AGE_WEIGHTS[(_AGE_STEPS * age_ms // horizon_ms).clip(0, _AGE_STEPS)]
        return ages


def _share(weight: float, degree: int) -> int:
    return round((_ONE >> 16) * weight / sqrt(degree - 1))


def _pairs(a: Numbers, b: Numbers) -> Numbers:
    """Each pair as one number, whichever comes first."""
    return packed(np.minimum(a, b), np.maximum(a, b))
