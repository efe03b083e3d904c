"""What the topics still hold of one job: ledger, history, micro-batch, features, cases.

A job travels in the partition number of its shard, which its id names. Of each topic only what was
written since the job began is read: whoever changes the past writes after it.
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import msgspec
from confluent_kafka import Message

from enrichment.records import Case, FeatureUpdate, Job, JobEvent, MicroBatch
from enrichment.sample.again import Recorded
from enrichment.sample.estimate import GROUP
from enrichment.stream.framing import unframed
from enrichment.stream.slices import Reader
from enrichment.stream.topics import (
    CASES,
    FEATURES,
    JOB_EVENTS,
    JOBS,
    MICRO_BATCHES,
    partition_for,
    shard_key,
)

SKEW_MS: Final = 600_000
"""Ten minutes: how far apart the clocks of two machines that write to topics may be at most."""

CHECK: Final = "|check"
"""What follows a job's id in that of its spot check."""

T = TypeVar("T")


def key_of(record: Message) -> str:
    """A record's key as text."""
    return (record.key() or b"").decode(errors="replace")


def checked_id(job_id: str) -> str:
    """The id of the job that this one is a spot check of, or its own."""
    return job_id.removesuffix(CHECK)


def shard_of(job_id: str) -> str:
    """What decides in which partition a job travels. Raises ValueError for what is no job's id."""
    parts = checked_id(job_id).split("|")
    if len(parts) < 4 or not (parts[-1].isdecimal() and parts[-2].lstrip("-").isdecimal()):
        raise ValueError(f"'{job_id}' is no job's id: PIPELINE|SHARD|WINDOW|NUMBER")
    return shard_key(parts[0], "|".join(parts[1:-2]))


def is_job_id(text: str) -> bool:
    """Whether it is what a job is called."""
    try:
        shard_of(text)
    except ValueError:
        return False
    return True


def partition_of(reader: Reader, topic: str, job_id: str) -> list[int]:
    """The partition that the job's records travel in; none where there is no such topic."""
    count = reader.partitions(topic)
    return [partition_for(shard_of(job_id), count)] if count else []


def ledger_entry(reader: Reader, job_id: str) -> Job | None:
    """The job's newest entry, or None: finished jobs leave the ledger after a while."""
    spans = reader.spans(JOBS, partition_of(reader, JOBS, job_id))
    found = reader.newest(JOBS, spans, lambda record: key_of(record) == job_id)
    value = None if found is None else found.value()
    return None if value is None else msgspec.json.decode(unframed(value), type=Job)


def history(reader: Reader, job_id: str, since_ms: int) -> tuple[JobEvent, ...]:
    """The job's transitions in order."""
    spans = reader.spans(JOB_EVENTS, partition_of(reader, JOB_EVENTS, job_id), since_ms)
    return tuple(_of_keys(reader.read(JOB_EVENTS, spans), {job_id}, JobEvent))


def contents(reader: Reader, micro_batch_id: str) -> list[tuple[Message, MicroBatch]]:
    """Every record of that identity, in order: the first counts, another content is a conflict."""
    if not is_job_id(micro_batch_id):
        return []
    named = msgspec.json.encode(micro_batch_id)
    decode = msgspec.json.Decoder(MicroBatch).decode

    def batch_of(record: Message) -> MicroBatch | None:
        # Decoding one takes longer than to see that it is another.
        value = record.value() or b""
        if named not in value:
            return None
        batch = decode(unframed(value))
        return batch if batch.micro_batch_id == micro_batch_id else None

    where = partition_of(reader, MICRO_BATCHES, micro_batch_id)
    spans = reader.spans(MICRO_BATCHES, where)
    newest = reader.newest(MICRO_BATCHES, spans, lambda record: batch_of(record) is not None)
    if newest is None:
        return []
    batch = batch_of(newest)
    assert batch is not None  # noqa: S101  # it was wanted
    # Whatever else bears the identity was written since the window closed.
    before = reader.spans(MICRO_BATCHES, where, batch.closed_at_ms - SKEW_MS)
    part = {number: (first, newest.offset() or 0) for number, (first, _) in before.items()}
    earlier = [
        (record, one)
        for record in reader.read(MICRO_BATCHES, part)
        if (one := batch_of(record)) is not None
    ]
    return [*earlier, (newest, batch)]


def recorded(reader: Reader, job_id: str) -> Recorded | None:
    """All that the topics know of a job, or None where the ledger has no entry of it.

    Two contents under the micro-batch's identity: the job is of the hash it bears.
    """
    job = ledger_entry(reader, job_id) if is_job_id(job_id) else None
    if job is None:
        return None
    since_ms = job.created_ms - SKEW_MS
    batch = job.micro_batch
    if batch is None:
        found = [one for _, one in contents(reader, job.micro_batch_id)]
        same = [one for one in found if one.content_hash == job.content_hash]
        batch = next(iter(same or found), None)
    return Recorded(
        job=job,
        events=history(reader, job_id, since_ms),
        batch=batch,
        features=() if batch is None else tuple(_features(reader, job_id, batch, since_ms)),
        cases=tuple(_cases(reader, job_id, since_ms)),
    )


def _features(reader: Reader, job_id: str, batch: MicroBatch, since_ms: int) -> list[FeatureUpdate]:
    """The job's own updates that the topic still holds; a repetition replaces the one before."""
    keys = {
        f"{batch.pipeline}|{entity}|{id_}|{GROUP}"
        for problem in batch.problems
        for entity, id_ in (
            *((problem.entity, node) for node in problem.nodes),
            *((shared.entity, shared.id) for shared in problem.shared),
        )
    }
    count = reader.partitions(FEATURES)
    where = sorted({partition_for(key, count) for key in keys}) if count else []
    written = reader.read(FEATURES, reader.spans(FEATURES, where, since_ms))
    newest = {
        (update.entity, update.id): update
        for update in _of_keys(written, keys, FeatureUpdate)
        if update.source is not None and update.source.job_id == job_id
    }
    return list(newest.values())


def _cases(reader: Reader, job_id: str, since_ms: int) -> list[Case]:
    """The cases that the job made or carried on, and no later one has since."""
    newest: dict[str, Case | None] = {}
    decode = msgspec.json.Decoder(Case).decode
    spans = reader.spans(CASES, partition_of(reader, CASES, job_id), since_ms)
    for record in reader.read(CASES, spans):
        value = record.value()
        newest[key_of(record)] = None if value is None else decode(unframed(value))
    return [case for case in newest.values() if case is not None and case.job_id == job_id]


def _of_keys(records: Iterable[Message], keys: set[str], kind: type[T]) -> Iterator[T]:
    """The records with one of the keys, decoded."""
    decode = msgspec.json.Decoder(kind).decode
    for record in records:
        value = record.value()
        if value is not None and key_of(record) in keys:
            yield decode(unframed(value))
