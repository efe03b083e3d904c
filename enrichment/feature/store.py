"""The layout of the feature cache in Redis, and the guard that keeps versions from going back.

`features:{pipeline}:{kind}:{id}:{group}` holds one JSON value whose first field is `version`.
`features:{pipeline}:projection` holds the number of partitions of the topic behind the cache, and
`features:{pipeline}:projection:{partition}` says `ready` while that partition is fully projected.
"""

import re
from collections.abc import Sequence
from typing import Final

READY: Final = b"ready"
REBUILDING: Final = b"rebuilding"
SHARD_KIND: Final = "shard"  # the heartbeat of a shard's window stage, cached like an entity
WRITES_MAX: Final = 500  # values per script call: Redis serves nobody else while a script runs

# Sets each key whose stored version is lower, and returns how many were set. The version is read
# by pattern because parsing JSON in Lua costs more than the write itself.
GUARD: Final = """
local written = 0
local ttl = ARGV[1]
for i, key in ipairs(KEYS) do
  local value = ARGV[i + 1]
  local stored = redis.call('GET', key)
  local old = stored and tonumber(string.match(stored, '^{"version":(%d+)'))
  if not old or tonumber(string.match(value, '^{"version":(%d+)')) > old then
    redis.call('SET', key, value, 'PX', ttl)
    written = written + 1
  end
end
return written
"""

_VERSIONED: Final = re.compile(rb'{"version":\d{1,16},')  # Lua counts in doubles: up to 2**53


def feature_key(pipeline: str, kind: str, id_: str, group: str) -> str:
    """The key of one group of one entity's features in Redis."""
    return f"features:{pipeline}:{kind}:{id_}:{group}"


def partitions_key(pipeline: str) -> str:
    """The key that holds how many partitions are projected."""
    return f"features:{pipeline}:projection"


def projection_key(pipeline: str, partition: int) -> str:
    """The key that says whether one partition is fully projected."""
    return f"features:{pipeline}:projection:{partition}"


def update_key(pipeline: str, kind: str, id_: str, group: str) -> str:
    """The key of the same features on `features.updates`."""
    return f"{pipeline}|{kind}|{id_}|{group}"


def is_versioned(value: bytes) -> bool:
    """Whether the guard can read the value's version: without one it would refuse a whole batch."""
    return _VERSIONED.match(value) is not None


def feature_key_of(update: bytes) -> str | None:
    """The Redis key for a message key of `features.updates`; None where it is not one.

    An id may contain the separator, the other parts never do.
    """
    try:
        parts: Sequence[str] = update.decode().split("|")
    except UnicodeDecodeError:
        return None
    if len(parts) < 4:
        return None
    return feature_key(parts[0], parts[1], "|".join(parts[2:-1]), parts[-1])
