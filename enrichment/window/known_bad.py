"""Who has been confirmed as bad, as far as was known at a given time."""

from dataclasses import dataclass, field
from typing import Final

from enrichment.records import Outcome
from enrichment.window.entities import Entity

ENTITIES_MAX: Final = 500_000  # some 200 MB; those heard of least lately are forgotten first


@dataclass(slots=True)
class _Record:
    """Event id -> (decided_at_ms, bad), in the order of arrival."""

    verdicts: dict[str, list[tuple[int, bool]]] = field(default_factory=dict)


class KnownBad:
    """Entities with a confirmed bad event that no later outcome about the same event cleared."""

    def __init__(self, entities_max: int = ENTITIES_MAX) -> None:
        self._entities_max = entities_max
        self._records: dict[Entity, _Record] = {}
        self.kinds: set[str] = set()

    def add(self, outcome: Outcome) -> bool:
        """Note one outcome; whether it may change who is known to be bad."""
        entity = Entity(outcome.entity, outcome.id)
        bad = outcome.kind.is_fraud
        record = self._records.pop(entity, None)
        if record is None:
            if not bad:
                return False  # cleared, and nobody had said otherwise
            record = _Record()
        self._records[entity] = record
        self.kinds.add(entity.kind)
        record.verdicts.setdefault(outcome.event_id, []).append((outcome.decided_at_ms, bad))
        if len(self._records) > self._entities_max:
            del self._records[next(iter(self._records))]
        return True

    def flagged(self, entity: Entity, as_of_ms: int) -> bool:
        """Whether the entity was known to be bad before that time."""
        record = self._records.get(entity)
        return record is not None and any(
            _latest(verdicts, as_of_ms) for verdicts in record.verdicts.values()
        )


def _latest(verdicts: list[tuple[int, bool]], as_of_ms: int) -> bool:
    """The last word about one event before that time; of two at once, the one that came later."""
    decided_at_ms, bad = -1, False
    for at_ms, verdict in verdicts:
        if decided_at_ms <= at_ms < as_of_ms:
            decided_at_ms, bad = at_ms, verdict
    return bad
