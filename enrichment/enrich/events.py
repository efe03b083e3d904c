"""Events as the hot path works on them: in columns, one sequence per field. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a stage needs of one event."""

    id: str
    key: str
    occurred_at_ms: int
    amount_minor: int
    shard: str
    # Role -> id; a role that this event lacks is absent.
    entities: dict[str, str]
    numbers: dict[str, float]
    label: float | None
    payload: bytes


@dataclass(slots=True, kw_only=True)
class Events:
    """What a stage needs of some events, field by field; amounts in minor units, times in ms."""

    # Where each event stood among the values that were decoded.
    rows: list[int]
    ids: Sequence[str]
    keys: Sequence[str]
    occurred_at_ms: Sequence[int]
    amounts_minor: Sequence[int]
    shards: Sequence[str]
    # Role -> ids, None for an event that lacks the role.
    entities: dict[str, Sequence[str | None]]
    # Numeric fields that score terms or aggregates read.
    numbers: dict[str, Sequence[float]]
    # 1 for a bad event, 0 for a good one, None where the stream has no label in it.
    labels: Sequence[float | None]
    # The event's JSON as it leaves the enricher.
    payloads: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Event:
        """One event of these."""
        return Event(
            id=self.ids[index],
            key=self.keys[index],
            occurred_at_ms=self.occurred_at_ms[index],
            amount_minor=self.amounts_minor[index],
            shard=self.shards[index],
            entities={
                role: id_ for role, ids in self.entities.items() if (id_ := ids[index]) is not None
            },
            numbers={name: numbers[index] for name, numbers in self.numbers.items()},
            label=self.labels[index],
            payload=self.payloads[index],
        )

    def only(self, indices: Sequence[int]) -> "Events":
        """Those of the events."""

        def some(column: Sequence[Any]) -> list[Any]:
            return [column[index] for index in indices]

        return Events(
            rows=some(self.rows),
            ids=some(self.ids),
            keys=some(self.keys),
            occurred_at_ms=some(self.occurred_at_ms),
            amounts_minor=some(self.amounts_minor),
            shards=some(self.shards),
            entities={role: some(ids) for role, ids in self.entities.items()},
            numbers={name: some(numbers) for name, numbers in self.numbers.items()},
            labels=some(self.labels),
            payloads=some(self.payloads),
        )
