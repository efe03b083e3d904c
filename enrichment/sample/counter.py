"""The budget's counter in Redis: one hash per UTC day, which grants claims or is missing.

`budget:{20420}` holds the sums of each scope (`all`, `pipeline:<name>`, `provider:<name>`), a field
for each claim (`charge:<id>`, so that whatever is said twice counts once), and `run`: the run id of
the server on which it was built. A hash without `run`, or of another run, is missing; it may hold
the tokens (`reading:<token>`) of those who are reading the ledger to build it. One key, so that
what takes the counter (a flush, an eviction, somebody's DEL) takes the tokens too, and so that all
is in one slot of a cluster. Why that is enough is said in `budget.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any, Final, Protocol

import redis

from enrichment.feature.cluster import ClusterCache
from enrichment.feature.connection import Script
from enrichment.sample.budget import (
    DAYS_ASKED,
    BudgetAwayError,
    Claim,
    Limits,
    totals,
)

HELD_MS: Final = 4 * 86_400_000
"""How long a day's hash is kept: it may be built a day early and asked about a day late."""

STAGED_MS: Final = 60_000
"""How long a half-written counter may lie there: nobody writes for that long."""

READING_S: Final = 3
"""While somebody began to read the ledger so short a time ago, others do not begin as well. It
spares the servers only: nothing hangs on it, and any number may read at the same time."""

FIELDS_MAX: Final = 500
"""Fields per script call: Redis serves nobody else while a script runs, the hot path included."""


class Verdict(Enum):
    """What the counter says to a claim."""

    GRANTED = "granted"
    REFUSED = "refused"
    MISSING = "missing"
    # It was settled before: there is nothing left to grant.
    SETTLED = "settled"
    # The day is not one that anybody should be asking about: a clock is wrong.
    DAY = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A verdict, and the sums of the claim's scopes after it, in their order.

    A refused claim that was known before is still in them.
    """

    verdict: Verdict
    sums: tuple[int, ...] = ()


class Counter(Protocol):
    """What of the counter the teller uses. Every method may raise BudgetAwayError."""

    def reserve(self, day: int, charge_id: str, claim: Claim, limits: Limits) -> Counted:
        """Count a claim if all that is known is then within the limits."""
        ...

    def settle(self, day: int, charge_id: str, claim: Claim) -> Counted:
        """Let a claim count what it did cost, for good: GRANTED, SETTLED before, or MISSING."""
        ...

    def begin(self, day: int, token: str) -> bool:
        """Put down a token, to be written with; False where the counter is there, or soon may be.

        Before the ledger is read, and never after.
        """
        ...

    def write(self, day: int, token: str, claims: Mapping[str, Claim]) -> bool:
        """Be the counter of these claims, if the token is still there; whether it is now."""
        ...

    def seen(self, day: int, names: Sequence[str]) -> tuple[int, ...] | None:
        """The sums of these scopes, and last the number of claims; None where it is missing."""
        ...


# Older servers (6.2) let a script write after it has asked for something that differs from server
# to server only if its effects are what is replicated, as they are in any case from 7.0 on.
_PRELUDE: Final = """
if redis.replicate_commands then redis.replicate_commands() end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local now = tonumber(redis.call('TIME')[1])
local here = redis.call('HGET', KEYS[1], 'run') == run
local function claim(id)
  local value = redis.call('HGET', KEYS[1], id)
  if not value then return nil end
  local micro, settled = string.match(value, '^(%d+)|(%d)|')
  return tonumber(micro), settled == '1'
end
local function sums(from)
  local found = {}
  for i, scope in ipairs(from) do
    found[i] = tonumber(redis.call('HGET', KEYS[1], scope) or '0')
  end
  return found
end
"""

# ARGV: charge, amount, pipeline, provider, day, days that it may differ, three limits or ''.
_RESERVE: Final = (
    _PRELUDE
    + """
if math.abs(math.floor(now / 86400) - tonumber(ARGV[5])) > tonumber(ARGV[6]) then
  return {'day'}
end
if not here then return {'missing'} end
local id, micro = 'charge:' .. ARGV[1], tonumber(ARGV[2])
local names = {'all', 'pipeline:' .. ARGV[3], 'provider:' .. ARGV[4]}
local found = sums(names)
local known, settled = claim(id)
if settled then return {'settled', unpack(found)} end
local more = math.max(micro - (known or 0), 0)
for i = 1, 3 do
  local limit = ARGV[6 + i]
  if limit ~= '' and found[i] + more > tonumber(limit) then
    return {'refused', unpack(found)}
  end
end
if more > 0 then
  for i, scope in ipairs(names) do
    found[i] = redis.call('HINCRBY', KEYS[1], scope, more)
  end
  redis.call('HSET', KEYS[1], id, ARGV[2] .. '|0|' .. ARGV[3] .. '|' .. ARGV[4])
end
return {'granted', unpack(found)}
"""
)

# ARGV: charge, amount, pipeline, provider.
_SETTLE: Final = (
    _PRELUDE
    + """
if not here then return {'missing'} end
local id = 'charge:' .. ARGV[1]
local names = {'all', 'pipeline:' .. ARGV[3], 'provider:' .. ARGV[4]}
local known, settled = claim(id)
if settled then return {'settled', unpack(sums(names))} end
local found = {}
for i, scope in ipairs(names) do
  found[i] = redis.call('HINCRBY', KEYS[1], scope, tonumber(ARGV[2]) - (known or 0))
end
redis.call('HSET', KEYS[1], id, ARGV[2] .. '|1|' .. ARGV[3] .. '|' .. ARGV[4])
return {'granted', unpack(found)}
"""
)

# ARGV: token, seconds in which a second reader waits, milliseconds that the hash is kept.
# The token bears the run: after a restart that brought it back, it is no token any more.
_BEGIN: Final = (
    _PRELUDE
    + """
if here then return 0 end
if redis.call('HEXISTS', KEYS[1], 'run') == 1 then redis.call('DEL', KEYS[1]) end
local last = tonumber(redis.call('HGET', KEYS[1], 'read_s') or '0')
if math.abs(now - last) < tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'reading:' .. ARGV[1], run, 'read_s', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
)

# ARGV: milliseconds that it may lie there, then names and values.
_STAGE: Final = """
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""

# KEYS: the day's, what was staged. ARGV: token, how many fields, milliseconds that it is kept.
_WRITE: Final = (
    _PRELUDE
    + """
if here or redis.call('HGET', KEYS[1], 'reading:' .. ARGV[1]) ~= run then return 0 end
if redis.call('HLEN', KEYS[2]) ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], 'run', run)
redis.call('RENAME', KEYS[2], KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
)

# ARGV: names of sums.
_SEEN: Final = (
    _PRELUDE
    + """
if not here then return false end
local found = sums(ARGV)
local fields = redis.call('HKEYS', KEYS[1])
local claims = 0
for _, name in ipairs(fields) do
  if string.sub(name, 1, 7) == 'charge:' then claims = claims + 1 end
end
found[#found + 1] = claims
return found
"""
)


class RedisCounter:
    """The counter in a Redis of either kind, for one thread."""

    def __init__(self, cache: "redis.Redis | ClusterCache") -> None:
        """Let `cache` try nothing twice: what it does not answer is asked again by the caller."""
        self._reserve = Script(cache, _RESERVE)
        self._settle = Script(cache, _SETTLE)
        self._begin = Script(cache, _BEGIN)
        self._stage = Script(cache, _STAGE)
        self._write = Script(cache, _WRITE)
        self._seen = Script(cache, _SEEN)

    def reserve(self, day: int, charge_id: str, claim: Claim, limits: Limits) -> Counted:
        """See Counter."""
        bounds = ["" if limit is None else limit for limit in limits]
        what = (charge_id, claim.micro, claim.pipeline, claim.provider, day, DAYS_ASKED, *bounds)
        return _counted(_run(self._reserve, [_key(day)], what))

    def settle(self, day: int, charge_id: str, claim: Claim) -> Counted:
        """See Counter."""
        what = (charge_id, claim.micro, claim.pipeline, claim.provider)
        return _counted(_run(self._settle, [_key(day)], what))

    def begin(self, day: int, token: str) -> bool:
        """See Counter."""
        return bool(_run(self._begin, [_key(day)], (token, READING_S, HELD_MS)))

    def write(self, day: int, token: str, claims: Mapping[str, Claim]) -> bool:
        """See Counter. Staged in parts, and then put in its place as a whole."""
        staged = f"{_key(day)}:{token}"
        fields: dict[str, str | int] = dict(totals(claims.values()))
        for charge_id, claim in claims.items():
            fields[f"charge:{charge_id}"] = (
                f"{claim.micro}|{int(claim.settled)}|{claim.pipeline}|{claim.provider}"
            )
        for part in _parts(fields):
            _run(self._stage, [staged], (STAGED_MS, *part))
        return bool(_run(self._write, [_key(day), staged], (token, len(fields), HELD_MS)))

    def seen(self, day: int, names: Sequence[str]) -> tuple[int, ...] | None:
        """See Counter."""
        found = _run(self._seen, [_key(day)], tuple(names))
        return None if found is None else tuple(int(total) for total in found)


def _key(day: int) -> str:
    return f"budget:{{{day}}}"


def _parts(fields: Mapping[str, str | int]) -> Iterator[list[str | int]]:
    """Names and values in turn, at most so many at a time."""
    left = iter(fields.items())
    while part := list(islice(left, FIELDS_MAX)):
        yield [word for pair in part for word in pair]


def _run(script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
    try:
        return script(keys, arguments)
    except redis.RedisError as error:
        raise BudgetAwayError(f"the budget's counter does not answer: {error}") from error


def _counted(reply: Any) -> Counted:
    verdict, *sums = reply
    return Counted(verdict=Verdict(verdict.decode()), sums=tuple(int(total) for total in sums))
