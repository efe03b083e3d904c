"""Where those lie whom a close concerns: piece by piece, and then who is in none."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from enrichment.window import candidates, classical
from enrichment.window.candidates import Candidate, Piece
from enrichment.window.classical import Placement, Vicinity
from enrichment.window.horizon import Horizon
from enrichment.window.limits import Limits
from enrichment.window.neighbourhood import Neighbourhood

NOWHERE: Final = Placement()
DEGREES_MAX: Final = 1_024  # more, and hubs' placements are made anew
_LONE: Final = Placement(size=1)


class Placing:
    """The placements of one close, by number."""

    def __init__(
        self, horizon: Horizon, found: Neighbourhood, near: Vicinity, limits: Limits
    ) -> None:
        self.placements: dict[int, Placement] = {}
        self.gathered: list[Candidate] = []
        # Attribute -> the piece that it ties most of, and that piece's accounts.
        self.ties: dict[int, tuple[Candidate, dict[int, Placement]]] = {}
        self._horizon = horizon
        self._found = found
        self._near = near
        self._limits = limits
        self._bad = {account for account, distance in near.distances.items() if distance == 0}

    def place_lone(self, accounts: Iterable[int]) -> None:
        """Place those of the accounts that were explored and are tied to nobody."""
        lone = self._found.lone.intersection(accounts)
        if not self._near.known_bad.kinds:
            self.placements.update(dict.fromkeys(lone, _LONE))
            return
        for account in lone:
            self.placements[account] = self._beside(account, size=1)

    def place_pieces(self, pieces: list[Piece], around: Iterable[int]) -> list[Piece]:
        """Place the pieces in which any of these accounts lies; the other pieces."""
        named = self._horizon.entities.named
        names = {named[account].id for account in self._found.explored.intersection(around)}
        others = []
        for piece in pieces:
            if names.isdisjoint(piece):
                others.append(piece)
                continue
            one = candidates.candidate(self._horizon, self._found, piece, self._bad, self._limits)
            self.gathered.append(one)
            placed = classical.place_accounts(one, self._found, self._near)
            self.placements.update(placed)
            for attribute, members in one.shared.items():
                best = self.ties.get(attribute)
                if best is None or len(members) > len(best[0].shared[attribute]):
                    self.ties[attribute] = (one, placed)
        return others

    def place_others(self, entities: Iterable[int]) -> None:
        """Place those who are in no piece: attributes, and accounts without ties."""
        is_node, shared = self._horizon.entities.is_node, self._horizon.shared
        some_are_bad = bool(self._near.known_bad.kinds)
        for entity in entities:
            if is_node[entity]:
                self.placements[entity] = self._beside(entity, size=0)
            elif some_are_bad or entity in self.ties:
                self.placements[entity] = classical.place_attribute(
                    self._horizon, entity, self.ties.get(entity), self._near, self._limits
                )
            else:  # most by far
                self.placements[entity] = _used_by(len(shared.get(entity, ())))

    def _beside(self, account: int, size: int) -> Placement:
        name = self._horizon.entities.named[account].id
        rank = self._near.ranks.get(name, 0.0)
        return Placement(size=size, known_bad_near=self._near.near(name), bad_rank=rank)


@lru_cache(maxsize=DEGREES_MAX)
def _used_by(degree: int) -> Placement:
    """Where an attribute lies that ties nobody. One for all of a degree: soon compared."""
    return Placement(degree=degree)
