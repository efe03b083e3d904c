"""Enriched records scored again from themselves, and compared byte for byte."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import msgspec
from confluent_kafka import Message

from enrichment.pipelines import Pipeline
from enrichment.stream.framing import unframed

SHOWN_MAX: Final = 5  # mismatches that are kept to be shown: the first tell what is wrong
AROUND: Final = 40  # bytes to each side of the first difference
REPORT_EVERY: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One record that came out differently."""

    # topic/partition/offset, or file:line.
    where: str
    event_id: str
    # The first byte that differs, and what stands around it; -1 where it could not be scored.
    at_byte: int
    recorded: str
    rescored: str


@dataclass(slots=True)
class Verified:
    """What came of it."""

    compared: int = 0
    mismatched: int = 0
    # Records of another score table or pipeline file: (score version, pipeline version) -> count.
    others: dict[tuple[str, str], int] = field(default_factory=dict)
    shown: list[Mismatch] = field(default_factory=list)

    @property
    def read(self) -> int:
        """Every record that was looked at."""
        return self.compared + sum(self.others.values())


class _Versions(msgspec.Struct, frozen=True):
    """What tells by which table a record was scored; the rest is not even parsed."""

    event_id: str
    pipeline_version: str
    score_version: str


def verify(
    pipeline: Pipeline,
    again: Callable[[bytes], bytes],
    records: Iterable[tuple[str, bytes]],
    *,
    events_max: int | None = None,
    on_progress: Callable[[Verified], None] = lambda _: None,
) -> Verified:
    """Score records (where, value) again. What another table scored is counted apart.

    A record that is none of this pipeline's, or cannot be read, is a mismatch.
    """
    ours = (pipeline.score.version, pipeline.version)
    decode = msgspec.json.Decoder(_Versions).decode
    done = Verified()
    for number, (where, value) in enumerate(islice(records, events_max), 1):
        event_id = ""
        try:
            record = decode(value)
            event_id = record.event_id
            versions = (record.score_version, record.pipeline_version)
            if versions != ours:
                done.others[versions] = done.others.get(versions, 0) + 1
                continue
            rescored = again(value)
        except msgspec.DecodeError as error:
            done.compared += 1
            _note(done, Mismatch(
                where=where, event_id=event_id, at_byte=-1, recorded="", rescored=str(error)
            ))  # fmt: skip
            continue
        done.compared += 1
        if rescored != value:
            _note(done, _difference(where, event_id, value, rescored))
        if number % REPORT_EVERY == 0:
            on_progress(done)
    on_progress(done)
    return done


def _note(done: Verified, mismatch: Mismatch) -> None:
    done.mismatched += 1
    if len(done.shown) < SHOWN_MAX:
        done.shown.append(mismatch)


def _difference(where: str, event_id: str, recorded: bytes, rescored: bytes) -> Mismatch:
    shorter = min(len(recorded), len(rescored))
    at = next((n for n in range(shorter) if recorded[n] != rescored[n]), shorter)
    around = slice(max(0, at - AROUND), at + AROUND)
    return Mismatch(
        where=where,
        event_id=event_id,
        at_byte=at,
        recorded=recorded[around].decode(errors="replace"),
        rescored=rescored[around].decode(errors="replace"),
    )


def of_messages(messages: Iterable[Message]) -> Iterator[tuple[str, bytes]]:
    """Records of a topic with their places."""
    for message in messages:
        if (value := message.value()) is not None:
            yield f"{message.topic()}/{message.partition()}/{message.offset()}", unframed(value)
