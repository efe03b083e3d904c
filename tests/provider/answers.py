"""Kept answers in memory, as Redis keeps them: bytes by key, with what they were told to live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class MemoryAnswers:
    """A store that counts what it is asked; `away` it knows nothing and keeps nothing."""

    away: bool = False
    values: dict[str, bytes] = field(default_factory=dict)
    ttls_ms: dict[str, int] = field(default_factory=dict)
    looked_up: int = 0
    puts: int = 0

    def get(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return what is there."""
        self.looked_up += len(keys)
        return [None if self.away else self.values.get(key) for key in keys]

    def put(self, values: Mapping[str, bytes], ttl_ms: int) -> None:
        """Keep them."""
        self.puts += 1
        if self.away:
            return
        self.values.update(values)
        self.ttls_ms.update(dict.fromkeys(values, ttl_ms))
