"""How often each client may ask: a bucket of tokens for each, in bounded memory. Pure."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    """Tokens left when it was last asked."""

    tokens: float
    at_s: float


class Limiter:
    """Buckets by client, each filling at `per_s` up to `burst`.

    `clients_max` are remembered: whoever has been away longest is forgotten, and begins full again.
    """

    def __init__(self, per_s: float, burst: float, clients_max: int) -> None:
        self._per_s, self._burst, self._clients_max = per_s, burst, clients_max
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """0, and a token is taken; or how many seconds until there is one."""
        bucket = self._buckets.pop(client, None) or _Bucket(self._burst, now_s)
        # A clock that is set back fills nothing, and takes nothing away.
        filled = bucket.tokens + max(0.0, now_s - bucket.at_s) * self._per_s
        bucket.tokens, bucket.at_s = min(self._burst, filled), now_s
        self._buckets[client] = bucket
        if len(self._buckets) > self._clients_max:
            self._buckets.popitem(last=False)
        if bucket.tokens >= 1.0:
            bucket.tokens -= 1.0
            return 0.0
        return (1.0 - bucket.tokens) / self._per_s
