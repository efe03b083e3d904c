"""What is in force, mirrored in the feature cache for readers that know Redis alone.

The projector of the pipeline writes it: one value of JSON under `features:{pipeline}:control`.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import redis

from enrichment.rollout.control import ControlState, Withdrawals

PAUSE_S: Final = 0.05

_decoder: Final = msgspec.json.Decoder(ControlState)


class MirroredWithdrawals:
    """The withdrawals that the mirror says are in force, decoded only when it has changed."""

    def __init__(self) -> None:
        # Replaced as one: another thread never sees the one value's withdrawals beside the other.
        self._held: tuple[bytes | None, Withdrawals | None] = (None, None)

    def of(self, raw: bytes | None) -> Withdrawals | None:
        """Those of the value just read; None where there are none, or nothing was ever mirrored.

        Raises msgspec.DecodeError where somebody else wrote it.
        """
        held, withdrawals = self._held
        if raw != held:
            withdrawals = None if raw is None else _decoder.decode(raw).withdrawals
            self._held = (raw, withdrawals)
        return withdrawals


def mirrored_after_s(
    read: Callable[[], Any], wanted: ControlState, within_s: float
) -> float | None:
    """Seconds until what `read` finds says the same; None where it does not, or does not answer."""
    began_s = time.monotonic()
    while (waited_s := time.monotonic() - began_s) < within_s:
        try:
            raw = read()
            if raw is not None and _decoder.decode(raw) == wanted:
                return waited_s
        except (redis.RedisError, msgspec.DecodeError):
            return None
        time.sleep(PAUSE_S)
    return None
