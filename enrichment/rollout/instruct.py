"""Instructions to every process: written to `enrichment.control`, lifted, and read back.

Each goes with its record of change in one transaction. All writers share one transactional id: who
begins ends what another has left open, so that a writer that died never hides the kill switch from
those who read committed, and reads what stands without anybody coming between.
"""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from enrichment.records import Change, Control
from enrichment.rollout.changes import kind_of, kind_of_name, lets_less_in
from enrichment.rollout.control import MalformedControlError, control_key, in_force, parsed
from enrichment.stream.changes import message_of, missing, new_change_id
from enrichment.stream.framing import BARE, Framing, unframed
from enrichment.stream.headers import Headers, cloud_event
from enrichment.stream.to_end import read_to_end
from enrichment.stream.topics import CHANGES, CONTROL, partition_for
from enrichment.stream.transaction import Outcome, TransactionalProducer

READ_S: Final = 30.0
WRITE_S: Final = 10.0  # an operator waits for it
SOURCE: Final = "/enrichment/control"
TRANSACTIONAL_ID: Final = "enrichment.control"
TRIES_MAX: Final = 8
"""Two that begin at once end each other; a dozen of them are through after a few (tested)."""

AGAIN_S: Final = 0.5  # at most, before the second try: a write takes a tenth of a second


class OvertakenError(RuntimeError):
    """Something else stands by now than what the instruction was meant to take the place of."""


class UnrecordedError(RuntimeError):
    """An instruction that lets something in and whose change cannot be recorded, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Where an instruction stands on the topic, and its change on that of changes."""

    key: str
    partition: int
    offset: int
    change_id: str = ""
    # Why there is no change: what lets less in goes through without one. "" where there is.
    unrecorded: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the topic holds: valid records by key, and what is wrong with others."""

    controls: dict[str, Control] = field(default_factory=dict)
    malformed: dict[str, str] = field(default_factory=dict)


def standing(kafka: Mapping[str, Any], partitions: int) -> Standing:
    """The newest record of each key. Raises KafkaException, or TimeoutError where no end comes."""
    wanted = [TopicPartition(CONTROL, number) for number in range(partitions)]
    found = Standing()
    for record in read_to_end(kafka, wanted, READ_S):
        raw, value = record.key() or b"", record.value()
        key_bytes = raw.encode() if isinstance(raw, str) else raw
        value_bytes = value.encode() if isinstance(value, str) else value
        key = key_bytes.decode(errors="replace")
        found.controls.pop(key, None)
        found.malformed.pop(key, None)
        if value_bytes is None:
            continue
        try:
            found.controls[key] = parsed(key_bytes, unframed(value_bytes))
        except MalformedControlError as error:
            found.malformed[key] = str(error)
    return found


def instruct(
    kafka: Mapping[str, Any],
    control: Control,
    partitions: int,
    framing: Framing = BARE,
    *,
    in_place_of: Control | EllipsisType | None = ...,
) -> Written:
    """Put an instruction in force, and its change on record.

    `in_place_of` is what must stand under its key until then, None for nothing; by default it takes
    the place of anything. Raises KafkaException where it is not known to be written, OvertakenError
    where something else stands, and UnrecordedError where its change cannot be recorded and it lets
    something in.
    """
    key = control_key(control.pipeline, control.name)
    value = msgspec.json.encode(control)
    parsed(key.encode(), value)  # nobody would follow what this refuses
    at_ms = control.issued_at_ms
    headers = cloud_event("control", SOURCE, f"{key}|{at_ms}", at_ms)
    framed, headers = framing.framed(CONTROL, value, headers)
    told = _Told(
        key=key,
        value=framed,
        headers=headers,
        control=control,
        at_ms=at_ms,
        by=control.issued_by,
        reason=control.reason,
        in_place_of=in_place_of,
    )
    return _write(kafka, told, partitions, framing)


def lift(
    kafka: Mapping[str, Any],
    key: str,
    partitions: int,
    *,
    by: str,
    reason: str,
    framing: Framing = BARE,
) -> Written:
    """End what stands under the key. Who and why are headers, for a tombstone has no value.

    Raises as `instruct` does: what is lifted lets something in.
    """
    told = _Told(
        key=key,
        value=None,
        headers=[("enrichment-by", by.encode()), ("enrichment-reason", reason.encode())],
        control=None,
        at_ms=time.time_ns() // 1_000_000,
        by=by,
        reason=reason,
    )
    return _write(kafka, told, partitions, framing)


def pause_s(tries: int) -> float:
    """How long whoever was ended by another waits: drawn, and longer the oftener it happens."""
    return random.uniform(0, AGAIN_S * tries)  # noqa: S311  # jitter, not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """One record for the control topic, and who says it, when and why."""

    key: str
    value: bytes | None
    headers: Headers
    control: Control | None
    at_ms: int
    by: str
    reason: str
    in_place_of: Control | EllipsisType | None = ...


def _write(kafka: Mapping[str, Any], told: _Told, partitions: int, framing: Framing) -> Written:
    """Write until it is known to be written: another writer may come between, a few times."""
    written: Written | None = None
    for left in reversed(range(TRIES_MAX)):
        writer = TransactionalProducer.open(dict(kafka), TRANSACTIONAL_ID, timeout_s=WRITE_S)
        try:
            # Whoever wrote before has been fenced, and whoever comes now fences us: what is read
            # here is what stands until our commit.
            found = standing(kafka, partitions)
            if written is not None and found.controls.get(told.key) == told.control:
                return written  # the commit of before had gone through
            if told.in_place_of is not ... and found.controls.get(told.key) != told.in_place_of:
                raise OvertakenError(f"something else stands under {told.key} by now")
            written, outcome = _try(
                writer, told, found, partition_for(told.key, partitions), framing
            )
        finally:
            writer.close()
        if outcome is Outcome.COMMITTED:
            return written
        if left:
            time.sleep(pause_s(TRIES_MAX - left))
    raise KafkaException(
        KafkaError(
            KafkaError._TIMED_OUT,  # noqa: SLF001  # so named
            f"other writers came between {TRIES_MAX} times: nothing was written, try again",
        )
    )


def _try(
    writer: TransactionalProducer, told: _Told, found: Standing, partition: int, framing: Framing
) -> tuple[Written, Outcome]:
    """One transaction: the instruction and its change. What came of it."""
    change = _change(told, found)
    why = _unrecordable(writer, framing)
    if why:
        stood = found.controls.get(told.key)
        if told.control is None or not lets_less_in(told.control, stood):
            raise UnrecordedError(f"nothing was written, for it could not be recorded: {why}")
    offsets: list[int] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            offsets.append(message.offset() or 0)

    try:
        writer.begin()
        writer.producer.produce(
            CONTROL,
            told.value,
            told.key,
            partition,
            on_delivery=delivered,
            headers=list(told.headers),
        )
        if not why:
            writer.produce(message_of(change, framing))
    except KafkaException as error:
        outcome = writer.give_up(error)
    else:
        outcome = writer.commit()
    written = Written(
        key=told.key,
        partition=partition,
        offset=offsets[0] if offsets else 0,
        change_id="" if why else change.change_id,
        unrecorded=why,
    )
    return written, outcome


def _unrecordable(writer: TransactionalProducer, framing: Framing) -> str:
    """Why a change cannot be recorded, or ""."""
    try:
        framing.prefix(CHANGES)
    except KeyError:
        return f"the registry knows no schema of {CHANGES}: `enrichment topics apply`"
    return missing(writer.producer)


def _change(told: _Told, found: Standing) -> Change:
    """What the instruction changes, as what stands has it."""
    pipeline, _, name = told.key.partition("|")
    stood, control = found.controls.get(told.key), told.control
    on = control or stood
    before = "" if stood is None else msgspec.json.encode(stood).decode()
    if told.key in found.malformed:
        before = msgspec.json.encode({"malformed": found.malformed[told.key]}).decode()
    # An experiment's own end and beginning are part of it.
    experiment = None if on is None else on.experiment
    if experiment is None:
        experiment = in_force(pipeline, found.controls.values()).experiment
    rollout = None if control is None else control.rollout
    return Change(
        change_id=new_change_id(told.at_ms),
        pipeline=pipeline,
        kind=kind_of_name(name) if on is None else kind_of(on),
        subject=name,
        changed_at_ms=told.at_ms,
        changed_by=told.by,
        reason=told.reason,
        before=before,
        after="" if control is None else msgspec.json.encode(control).decode(),
        experiment_id="" if experiment is None else experiment.experiment_id,
        evidence_id="" if rollout is None else rollout.evidence_id,
        override=False if rollout is None else rollout.override,
    )
