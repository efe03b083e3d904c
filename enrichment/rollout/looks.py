"""Looks: the fixed times at which evidence counts for the gate, and what was known by then. Pure.

An event *matures* `matured_ms` after its decision. From then on it is counted, as bad where the
last word on it that is known says fraud, and else as good; before, it is not, whatever has been
said. Were frauds counted as soon as they are known and the rest once they are old, the newest part
of the stream would be all fraud, and every figure too good.

A look is reached at the first millisecond at which so many of the matured events are bad. What
counts are facts of the log (decided, written), so that a look is the same whoever computes it, and
however much has become known since. An outcome that clears an event takes it out of the count, and
a look that was reached before stands.
"""

from collections.abc import Sequence

import numpy as np

from enrichment.pipelines.rollout import Gate
from enrichment.rollout.join import DECLINED, Rows
from enrichment.rollout.metrics import Bools, Ints


def labels(rows: Rows, until_ms: int) -> Bools:
    """Which events are bad by the last word on them that is known by then."""
    bad = np.zeros(len(rows), dtype=np.bool_)
    for row, said in rows.words.items():
        known = [word for known_ms, word in said if known_ms <= until_ms]
        bad[row] = bool(known) and max(known)[1]
    return bad


def matured(rows: Rows, until_ms: int, matured_ms: int) -> Bools:
    """Which events are old enough by then."""
    old: Bools = rows.decided_at_ms + matured_ms <= until_ms
    return old


def reached_ms(rows: Rows, looks: Sequence[int], matured_ms: int) -> list[int]:
    """When each look was reached, as far as they have been: the number of matured bad events.

    What was declined is not among them: nobody learns what it would have been.
    """
    at_ms: list[int] = []
    change: list[int] = []
    declined = rows.flagged(DECLINED)
    for row, said in rows.words.items():
        if declined[row]:
            continue
        from_ms = int(rows.decided_at_ms[row]) + matured_ms
        for moment, step in _steps(said, from_ms):
            at_ms.append(moment)
            change.append(step)
    if not at_ms:
        return []
    moments, inverse = np.unique(np.array(at_ms, dtype=np.int64), return_inverse=True)
    counted = np.cumsum(np.bincount(inverse, weights=change).astype(np.int64))
    highest = np.maximum.accumulate(counted)
    first = np.searchsorted(highest, np.array(looks))
    return [int(moments[place]) for place in first if place < len(moments)]


def level_of(gate: Gate) -> float:
    """Each interval's level, so that all looks together keep the gate's confidence (Bonferroni)."""
    return 1.0 - (1.0 - gate.confidence) / len(gate.looks)


def known_by(times_ms: Ints, until_ms: int) -> int:
    """How many of the sorted times are not after that one."""
    return int(np.searchsorted(times_ms, until_ms, side="right"))


def _steps(said: Sequence[tuple[int, tuple[int, bool]]], from_ms: int) -> list[tuple[int, int]]:
    """When an event that is counted from then on becomes bad (+1), and good again (-1)."""
    steps: list[tuple[int, int]] = []
    last, was_bad = (-1, False), False
    for known_ms, word in said:
        last = max(last, word)
        if last[1] is not was_bad:
            was_bad = last[1]
            # What was said before it was counted takes itself back at one and the same moment.
            steps.append((max(known_ms, from_ms), 1 if was_bad else -1))
    return steps
