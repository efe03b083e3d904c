"""The neighbourhood of the accounts that a window touched, explored up to a bound."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from enrichment.window.horizon import Horizon
from enrichment.window.limits import Limits
from enrichment.window.projection import Projection

# Accounts beyond those touched, or as many as were touched: a giant component must not be walked.
EXPLORED_MAX: Final = 256

# How many accounts beside are projected at once for one that there is room for: with fewer, whom
# the last of them are tied to is worked out one by one.
AHEAD: Final = 2

# Account -> account -> sixteenths, symmetric.
Weights = dict[str, dict[str, int]]


@dataclass(slots=True)
class Neighbourhood:
    """What exploring found: the weights around every explored account, and the hubs met."""

    # Symmetric, of accounts that are tied to somebody. Those that were seen and not explored stand
    # in it by their explored neighbours.
    weights: Weights = field(default_factory=dict)
    # The explored ones of these, and of those that are tied to nobody: by number.
    explored: set[int] = field(default_factory=set)
    lone: set[int] = field(default_factory=set)
    hubs: set[int] = field(default_factory=set)

    def inner(self, horizon: Horizon) -> Weights:
        """The graph of the explored accounts alone, without those that are tied to nobody."""
        named = horizon.entities.named
        names = {named[number].id for number in self.explored}
        return {
            node: {other: w for other, w in self.weights[node].items() if other in names}
            for node in names
        }


def explore(
    horizon: Horizon,
    touched: Iterable[int],
    beside: Iterable[Iterable[int]],
    limits: Limits,
    explored_max: int = EXPLORED_MAX,
) -> Neighbourhood:
    """The touched accounts and those tied to them, level by level; then those beside.

    Beyond the touched ones that many are explored, or as many as were touched. Those beside come
    group by group, within one by name; each is explored with everybody whom it is tied to or not at
    all: half a subgraph would break it up. Accounts are given by number.
    """
    walk = _Walk(horizon, limits)
    named = horizon.entities.named
    start = {account for account in touched if horizon.tied(account)}
    room = max(explored_max, len(start))
    room -= len(walk.from_(start, len(start) + room)[0]) - len(start)
    for group in beside:
        if room <= 0:
            break
        left = sorted((one for one in group if one not in walk.explored), key=named.__getitem__)
        while room > 0 and left:
            some, left = [one for one in left[:room] if horizon.tied(one)], left[room:]
            walk.look_ahead(some, AHEAD * room)
            for account in some:
                if room > 0 and account not in walk.explored:
                    walked, whole = walk.from_({account}, room)
                    room -= len(walked)
                    if not whole:
                        walk.explored.difference_update(walked)
    return walk.found()


class _Walk:
    """Exploring, and what it has found so far. Accounts are known by number."""

    def __init__(self, horizon: Horizon, limits: Limits) -> None:
        self.explored: set[int] = set()
        self._horizon = horizon
        self._projection = Projection(horizon, limits)
        # Account -> neighbour -> sixteenths, of those that were projected.
        self._rows: dict[int, dict[int, int]] = {}

    def project(self, accounts: Iterable[int]) -> None:
        """Work out whom these are tied to, if that is not known yet."""
        if new := [account for account in accounts if account not in self._rows]:
            self._rows.update(self._projection.neighbours(new))

    def look_ahead(self, start: Iterable[int], room: int) -> None:
        """Project those accounts and whom they are tied to: level by level, many at once.

        About as many as there is room for; who is missing then is projected when it is his turn.
        """
        level = [account for account in start if account not in self._rows]
        while level and room > 0:
            room -= len(level)
            self.project(level)
            beyond = set[int]().union(*(self._rows[account] for account in level))
            level = [account for account in beyond if account not in self._rows]

    def from_(self, start: set[int], room: int) -> tuple[list[int], bool]:
        """Explore those accounts and whom they are tied to; who they were, and whether all."""
        named, walked = self._horizon.entities.named, list[int]()
        level, whole = list(start), True
        while level and whole:
            whole = len(walked) + len(level) <= room
            if not whole:  # who comes first must not depend on who has which number
                level.sort(key=named.__getitem__)
                level = level[: room - len(walked)]
            walked += level
            self.explored.update(level)
            self.project(level)
            beyond = set[int]().union(*(self._rows[account] for account in level))
            level = list(beyond - self.explored)
        return walked, whole

    def found(self) -> Neighbourhood:
        """By name what was found around the explored accounts."""
        found = Neighbourhood(hubs=self._projection.hubs)
        named, weights = self._horizon.entities.named, found.weights
        for account in self.explored:
            row = self._rows[account]
            if not row:
                found.lone.add(account)
                continue
            found.explored.add(account)
            name = named[account].id
            mine = weights.setdefault(name, {})
            for other, weight in row.items():
                mine[named[other].id] = weight
                if other not in self.explored:
                    weights.setdefault(named[other].id, {})[name] = weight
        return found
