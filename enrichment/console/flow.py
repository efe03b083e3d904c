"""The flow of a pipeline by its offsets: rates and lags between two readings. Pure.

Offsets are what a broker can be asked for without reading a record. On topics that are written in
transactions they count markers, too: an end that moves by 100 is at most 100 records. What enrich
has answered is exact: it is how far the group has come on the input topic, whose producers need no
transactions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from enrichment.console.limits import HISTORY_POINTS

STAGES: Final = ("enrich", "window", "sample", "project")
HELD: Final = "window"
"""Its committed offset is the oldest digest of its horizon: what lies behind is held, not late."""

PLAIN: Final = "enrich"
"""Whose topic is written by others, without transactions."""

MARKER: Final = 1
"""Behind the last record of a transaction stands its marker, which nobody commits past: one offset
of lag in a partition is that, far sooner than a record, which waits for no second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All offsets of one moment. `committed` is by stage, then by partition of what it reads."""

    at_s: float
    # Topic -> partition -> end.
    ends: Mapping[str, Mapping[int, int]]
    committed: Mapping[str, Mapping[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFlow:
    """One stage: where it reads, how fast it goes on, and what lies before it.

    `lag` is None where nothing is committed, or for the window stage, whose is `held`.
    """

    stage: str
    reads: str
    per_s: float | None
    lag: int | None = None
    held: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Rates and lags as of one reading; `history` are the rates of input and answers, by reading.

    `topics` are ends' moves a second; None where there is no such topic, or no earlier reading.
    """

    at_s: float = 0.0
    topics: Mapping[str, float | None] = field(default_factory=dict)
    ends: Mapping[str, int] = field(default_factory=dict)
    stages: tuple[StageFlow, ...] = ()
    history: tuple[tuple[float, float], ...] = ()


def flow_of(
    before: Reading | None, now: Reading, reads: Mapping[str, str], past: Flow | None
) -> Flow:
    """What two readings amount to. `reads` is stage -> topic; `past` is the flow of before."""
    topics = {
        topic: _per_s(None if before is None else before.ends.get(topic), ends, before, now)
        for topic, ends in now.ends.items()
    }
    stages = tuple(
        _stage(stage, topic, before, now) for stage, topic in reads.items() if stage in STAGES
    )
    history = () if past is None else past.history
    came_in = topics.get(reads["enrich"])
    answered = next((one.per_s for one in stages if one.stage == "enrich"), None)
    if came_in is not None:
        history = (*history, (came_in, answered or 0.0))[-HISTORY_POINTS:]
    return Flow(
        at_s=now.at_s,
        topics=topics,
        ends={topic: sum(ends.values()) for topic, ends in now.ends.items()},
        stages=stages,
        history=history,
    )


def _stage(stage: str, topic: str, before: Reading | None, now: Reading) -> StageFlow:
    ends, committed = now.ends.get(topic, {}), now.committed.get(stage, {})
    former = None if before is None else before.committed.get(stage)
    behind = [end - committed[number] for number, end in ends.items() if number in committed]
    lag = sum(each for each in behind if each > (0 if stage == PLAIN else MARKER))
    return StageFlow(
        stage=stage,
        reads=topic,
        per_s=_per_s(former, committed, before, now) if committed else None,
        lag=lag if committed and stage != HELD else None,
        held=lag if committed and stage == HELD else None,
    )


def _per_s(
    former: Mapping[int, int] | None,
    latter: Mapping[int, int],
    before: Reading | None,
    now: Reading,
) -> float | None:
    """How fast offsets moved, of the partitions that both know; a topic made anew moves by 0."""
    if before is None or not former or now.at_s <= before.at_s:
        return None
    moved = sum(max(0, at - former[number]) for number, at in latter.items() if number in former)
    return moved / (now.at_s - before.at_s)
