"""The entities of one shard's horizon, numbered, so that columns can be kept of them."""

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

# Numbers of entities, or of rows.
Numbers = NDArray[np.int64]

Cell = TypeVar("Cell", bound=np.generic)

SIZE_MIN: Final = 1_024  # of a column: small enough for a shard in which little happens


class Entity(NamedTuple):
    """One entity as the cache names it."""

    kind: str
    id: str


def grown(column: NDArray[Cell], size: int) -> NDArray[Cell]:
    """The column with room for so many, what is new being zero; doubled, so that it is seldom."""
    if size <= len(column):
        return column
    room = np.zeros(max(size, 2 * len(column)), column.dtype)
    room[: len(column)] = column
    return room


class Entities:
    """Numbers entities while they are held: by a tally of a slice, or by a tie.

    A number that nobody holds any more is still the entity's until it is released: whoever
    remembers things by number must forget them first.
    """

    def __init__(self, node_kind: str) -> None:
        self._node_kind = node_kind
        # Number -> entity; the last one of a number that was released.
        self.named: list[Entity] = []
        # Whether the entity is an account, a node of the graph: 1 or 0, by number.
        self.is_node = bytearray()
        self._holds = np.zeros(SIZE_MIN, np.int32)
        self._of_kind: dict[str, _OfKind] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        """One more than the largest number."""
        return len(self.named)

    def find(self, kind: str, id_: str) -> int | None:
        """The number of an entity that has one."""
        return self.of_kind(kind).get(id_)

    def of_kind(self, kind: str) -> dict[str, int]:
        """The numbers of one kind by id; asked for an unknown one by `[]`, it gives a new one."""
        found = self._of_kind.get(kind)
        if found is None:
            found = self._of_kind[kind] = _OfKind(self, kind)
        return found

    def numbers(self, kind: str, ids: Iterable[str]) -> Numbers:
        """The numbers of entities of one kind, known or new."""
        return np.array(list(map(self.of_kind(kind).__getitem__, ids)), np.int64)

    def hold(self, numbers: Numbers) -> None:
        """Hold each of these once more; none is in them twice."""
        self._holds[numbers] += 1

    def drop(self, numbers: Numbers) -> None:
        """Hold each of these once less; none is in them twice."""
        self._holds[numbers] -= 1

    def held(self, number: int) -> bool:
        """Whether anything still holds it."""
        return bool(self._holds[number])

    def release(self, numbers: Iterable[int]) -> list[int]:
        """Give up those of the numbers that nothing holds; which they were."""
        released = []
        for number in numbers:
            kind, id_ = self.named[number]
            numbered = self._of_kind[kind]
            if not self._holds[number] and numbered.get(id_) == number:
                del numbered[id_]
                released.append(number)
        self._free += released
        return released

    def new(self, kind: str, id_: str) -> int:
        """A number for an entity that has none."""
        if self._free:
            number = self._free.pop()
            self.named[number] = Entity(kind, id_)
        else:
            number = len(self.named)
            self.named.append(Entity(kind, id_))
            self.is_node.append(0)
            self._holds = grown(self._holds, number + 1)
        self.is_node[number] = kind == self._node_kind
        return number


class _OfKind(dict[str, int]):
    """Id -> number, of one kind."""

    __slots__ = ("_entities", "_kind")

    def __init__(self, entities: Entities, kind: str) -> None:
        super().__init__()
        self._entities = entities
        self._kind = kind

    def __missing__(self, id_: str) -> int:
        number = self[id_] = self._entities.new(self._kind, id_)
        return number
