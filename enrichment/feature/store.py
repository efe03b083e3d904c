"""The layout of the feature cache in Redis, and the guard that keeps versions from going back.

`features:{pipeline}:{kind}:{id}:{group}` holds one JSON value whose first field is `version`.
`features:{pipeline}:projection` holds the number of partitions of the topic behind the cache, and
`features:{pipeline}:projection:{partition}` says `ready` while that partition is fully projected;
what else it may say (`rebuilding`, `behind`) is the projector's.
`features:{pipeline}:control` mirrors what is withdrawn, for readers that know Redis alone.
On a Redis Cluster a bucket stands behind the pipeline, in braces, so that all keys of a bucket are
in one slot: `features:payments:{41}:account:42:ring`. Marks of projection share one bucket.
"""

import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

READY: Final = b"ready"
REBUILDING: Final = b"rebuilding"
BEHIND: Final = b"behind"  # it was ready, and what has come since is being caught up with
SHARD_KIND: Final = "shard"  # the heartbeat of a shard's window stage, cached like an entity
WRITES_MAX: Final = 500  # values per script call: Redis serves nobody else while a script runs
# Slots that a pipeline's keys lie in: a batch is some sixty commands, not one for each key, and a
# cluster of up to about as many nodes still shares the work. Never change it: keys would be lost.
BUCKETS: Final = 64

# Sets each key whose stored version is lower, and returns how many were set. Of two values of one
# version, as a job gives that was tried again, the one computed later stands. Both are read by
# pattern because parsing JSON in Lua costs more than the write itself.
GUARD: Final = """
local written = 0
local ttl = ARGV[1]
for i, key in ipairs(KEYS) do
  local value = ARGV[i + 1]
  local stored = redis.call('GET', key)
  local old = stored and tonumber(string.match(stored, '^{"version":(%d+)'))
  local new = tonumber(string.match(value, '^{"version":(%d+)'))
  local later = not old or new > old
  if new == old then
    local was = tonumber(string.match(stored, ',"computed_at_ms":(%d+)')) or 0
    later = (tonumber(string.match(value, ',"computed_at_ms":(%d+)')) or 0) > was
  end
  if later then
    redis.call('SET', key, value, 'PX', ttl)
    written = written + 1
  end
end
return written
"""

GUARD_SHA: Final = hashlib.sha1(GUARD.encode(), usedforsecurity=False).hexdigest()

_VERSIONED: Final = re.compile(rb'{"version":(\d{1,16}),')  # Lua counts in doubles: up to 2**53

_COMPUTED: Final = re.compile(rb',"computed_at_ms":(\d{1,16})')

# A key of JSON bears bare quotes, which no text inside a value can: nothing else looks like this.
# Inside there are names of figures and numbers, and no brace.
_DIFFERENCES: Final = b',"differences":{'


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys of one pipeline. `cluster`: with a bucket each, for a Redis Cluster."""

    pipeline: str
    cluster: bool = False

    def feature(self, kind: str, id_: str, group: str) -> str:
        """The key of one group of one entity's features."""
        return self.entity(kind, id_) + group

    def entity(self, kind: str, id_: str) -> str:
        """What the keys of an entity's groups begin with: all but the group."""
        if self.cluster:
            bucket = zlib.crc32(f"{kind}:{id_}".encode()) % BUCKETS
            return f"features:{self.pipeline}:{{{bucket}}}:{kind}:{id_}:"
        return f"features:{self.pipeline}:{kind}:{id_}:"

    def entity_of(self, key: bytes) -> tuple[str, str] | None:
        """The (kind, id) whose features stand at that key; None for what is no entity's."""
        try:
            text = key.decode()
        except UnicodeDecodeError:
            return None
        prefix = f"features:{self.pipeline}:"
        if not text.startswith(prefix):
            return None
        parts = text.removeprefix(prefix).split(":")
        if self.cluster:
            parts = parts[1:]
        # An id may contain the separator, the other parts never do.
        return (parts[0], ":".join(parts[1:-1])) if len(parts) >= 3 else None

    def partitions(self) -> str:
        """The key that holds how many partitions are projected."""
        return f"features:{self.pipeline}:{_MARKS if self.cluster else ''}projection"

    def projection(self, partition: int) -> str:
        """The key that says whether one partition is fully projected."""
        return f"{self.partitions()}:{partition}"

    def control(self) -> str:
        """The key that mirrors what is in force on `enrichment.control` for this pipeline."""
        return f"features:{self.pipeline}:{_MARKS if self.cluster else ''}control"

    def feature_of(self, update: bytes) -> str | None:
        """The key for a message key of `features.updates`; None where it is none of this pipeline.

        An id may contain the separator, the other parts never do.
        """
        try:
            parts: Sequence[str] = update.decode().split("|")
        except UnicodeDecodeError:
            return None
        if len(parts) < 4 or parts[0] != self.pipeline:
            return None
        return self.feature(parts[1], "|".join(parts[2:-1]), parts[-1])


_MARKS: Final = f"{{{zlib.crc32(b'projection') % BUCKETS}}}:"


def feature_key(pipeline: str, kind: str, id_: str, group: str) -> str:
    """The key of one group of one entity's features, where there is no cluster."""
    return Layout(pipeline).feature(kind, id_, group)


def partitions_key(pipeline: str) -> str:
    """The key that holds how many partitions are projected, where there is no cluster."""
    return Layout(pipeline).partitions()


def projection_key(pipeline: str, partition: int) -> str:
    """The key that says whether one partition is fully projected, where there is no cluster."""
    return Layout(pipeline).projection(partition)


def update_key(pipeline: str, kind: str, id_: str, group: str) -> str:
    """The key of the same features on `features.updates`."""
    return f"{pipeline}|{kind}|{id_}|{group}"


def version_of(value: bytes) -> int | None:
    """The version as the guard reads it; None where there is none, which fails a whole batch."""
    found = _VERSIONED.match(value)
    return None if found is None else int(found[1])


def rank_of(value: bytes) -> tuple[int, int]:
    """What decides between two values of a key, as the guard has it: version, then when computed.

    (-1, 0) for what is no value.
    """
    version = version_of(value)
    if version is None:
        return (-1, 0)
    found = _COMPUTED.search(value)
    return (version, 0 if found is None else int(found[1]))


def without_differences(value: bytes) -> bytes:
    """The value as the cache holds it: what lineage alone reads (a fifth of it) is cut out."""
    start = value.rfind(_DIFFERENCES)
    if start < 0:
        return value
    return value[:start] + value[value.index(b"}", start) + 1 :]
