"""Changes of files and settings, which no record makes so: found when a stage starts, and recorded.

One transactional id for each pipeline: of several processes that start at once, whoever begins ends
what another has open, and only then reads what was recorded. So nothing is recorded twice.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from confluent_kafka import KafkaException
from msgspec.structs import replace

from enrichment.records import Change, ChangeKind
from enrichment.rollout.changes import kept, stood_at
from enrichment.rollout.control import in_force
from enrichment.rollout.instruct import pause_s, standing
from enrichment.stream.background import Background
from enrichment.stream.changes import message_of, missing, new_change_id, recorded
from enrichment.stream.framing import BARE, Framing
from enrichment.stream.reviews import UnwrittenError
from enrichment.stream.transaction import Outcome, TransactionalProducer
from enrichment.telemetry.log import logger

OPEN_S: Final = 10.0
TRIES_MAX: Final = 8  # processes of one pipeline that begin at once end each other's
ROUNDS_MAX: Final = 3  # a broker that starts with us; beyond, the next start finds it
PAUSE_S: Final = 5.0
STOP_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file or some settings say now: `text` as it is, to be held beside what was."""

    kind: ChangeKind
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """Which process of which pipeline has found it, and all that it looks at."""

    pipeline: str
    stage: str
    contents: Sequence[Content]
    # Of the control topic, which says what experiment is on.
    partitions: int = 1


def unlike(finder: Finder, changes: Sequence[Change]) -> list[Change]:
    """What is to be recorded, without id, time and experiment: nothing where all is as it was.

    Of the kinds that this process looks at: what was recorded and is not there any more, too.
    """
    kinds = {content.kind for content in finder.contents}
    own = [one for one in changes if one.pipeline == finder.pipeline and one.kind in kinds]
    stood = {subject: text for (_, subject), text in stood_at(own).items()}
    kind_of = {one.subject: one.kind for one in own}
    found = {
        one.subject: (one.kind, kept(one.text, sha256(one.text.encode()).hexdigest()))
        for one in finder.contents
    }
    found = {subject: (kind_of[subject], "") for subject in stood} | found
    return [
        Change(
            change_id="",
            pipeline=finder.pipeline,
            kind=kind,
            subject=subject,
            changed_at_ms=0,
            changed_by=f"enrichment {finder.stage}",
            reason=f"found at the start of {finder.stage}",
            before=stood.get(subject, ""),
            after=text,
        )
        for subject, (kind, text) in found.items()
        if text != stood.get(subject, "")
    ]


def notice(
    kafka: Mapping[str, Any], finder: Finder, framing: Framing, now_ms: Callable[[], int]
) -> list[Change]:
    """Record what is not as it was recorded last. What was recorded now.

    Raises KafkaException, TimeoutError, and UnwrittenError where others come between too often.
    """
    if not unlike(finder, recorded(kafka).changes):
        return []
    id_ = f"enrichment.changes.{finder.pipeline}"
    for tries in range(TRIES_MAX):
        if tries:
            time.sleep(pause_s(tries))
        writer = TransactionalProducer.open(dict(kafka), id_, timeout_s=OPEN_S)
        try:
            if why := missing(writer.producer):
                raise UnwrittenError(why)
            new = _dated(kafka, finder, unlike(finder, recorded(kafka).changes), now_ms())
            if not new:
                return []
            if writer.write([message_of(one, framing) for one in new]) is Outcome.COMMITTED:
                return new
        finally:
            writer.close()
    raise UnwrittenError(f"others came between {TRIES_MAX} times")


def _dated(
    kafka: Mapping[str, Any], finder: Finder, new: Sequence[Change], at_ms: int
) -> list[Change]:
    """The same with id, time, and the experiment that is on."""
    if not new:
        return []
    controls = standing(kafka, finder.partitions).controls.values()
    on = in_force(finder.pipeline, controls).experiment
    return [
        replace(
            one,
            change_id=new_change_id(at_ms),
            changed_at_ms=at_ms,
            experiment_id="" if on is None else on.experiment_id,
        )
        for one in new
    ]


class Noticing(Background):
    """A thread: `with Noticing(...)`. The stage does not wait for it, and runs without it."""

    def __init__(
        self,
        kafka: Mapping[str, Any],
        finder: Finder,
        framing: Framing = BARE,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        """Nothing is asked yet."""
        super().__init__("changes", stop_s=STOP_S)
        self._kafka, self._finder, self._framing, self._now_ms = kafka, finder, framing, now_ms

    def _run(self) -> None:
        """Notice once; where Kafka is in trouble, a few times."""
        for left in reversed(range(ROUNDS_MAX)):
            try:
                new = notice(self._kafka, self._finder, self._framing, self._now_ms)
            except (KafkaException, TimeoutError, UnwrittenError) as error:
                logger().warning(
                    "what has changed in files and settings is not on record",
                    error=str(error),
                    tries_left=left,
                )
                if left and not self._stop.wait(PAUSE_S):
                    continue
                return
            for one in new:
                logger().info(
                    "a change is on record",
                    change_id=one.change_id,
                    kind=one.kind.value,
                    subject=one.subject,
                )
            return
