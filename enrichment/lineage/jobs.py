"""What the topics still hold of one job: ledger, history, micro-batch, features, cases.

A job travels in the partition number of its shard, which its id names. Of each topic only what was
written since the job began is read: whoever changes the past writes after it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
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
    """All that the topics know of a job, or None where the ledger has no entry of it."""
    found = of_job(reader, job_id)
    return None if found is None else with_published(reader, [found])[0]


def of_job(reader: Reader, job_id: str) -> Recorded | None:
    """What the topics know of a job itself, without what it published.

    Two contents under the micro-batch's identity: the job is of the hash it bears.
    """
    job = ledger_entry(reader, job_id) if is_job_id(job_id) else None
    if job is None:
        return None
    batch = job.micro_batch
    if batch is None:
        found = [one for _, one in contents(reader, job.micro_batch_id)]
        same = [one for one in found if one.content_hash == job.content_hash]
        batch = next(iter(same or found), None)
    return Recorded(job=job, events=history(reader, job_id, _since_ms(job)), batch=batch)


def with_published(reader: Reader, jobs: Sequence[Recorded]) -> list[Recorded]:
    """The same with their features and cases: for all of them together each topic is read once."""
    features, cases = _features(reader, jobs), _cases(reader, jobs)
    return [
        replace(one, features=tuple(features[one.job.job_id]), cases=tuple(cases[one.job.job_id]))
        for one in jobs
    ]


def _since_ms(job: Job) -> int:
    return job.created_ms - SKEW_MS


def _features(reader: Reader, jobs: Sequence[Recorded]) -> dict[str, list[FeatureUpdate]]:
    """Each job's own updates that the topic still holds; a repetition replaces the one before."""
    keys = {
        f"{one.batch.pipeline}|{entity}|{id_}|{GROUP}"
        for one in jobs
        if one.batch is not None
        for problem in one.batch.problems
        for entity, id_ in (
            *((problem.entity, node) for node in problem.nodes),
            *((shared.entity, shared.id) for shared in problem.shared),
        )
    }
    count = reader.partitions(FEATURES)
    where = sorted({partition_for(key, count) for key in keys}) if count else []
    since_ms = min(_since_ms(one.job) for one in jobs)
    written = reader.read(FEATURES, reader.spans(FEATURES, where, since_ms))
    newest: dict[str, dict[tuple[str, str], FeatureUpdate]] = {one.job.job_id: {} for one in jobs}
    for update in _of_keys(written, keys, FeatureUpdate):
        if update.source is not None and (mine := newest.get(update.source.job_id)) is not None:
            mine[update.entity, update.id] = update
    return {job_id: list(mine.values()) for job_id, mine in newest.items()}


def _cases(reader: Reader, jobs: Sequence[Recorded]) -> dict[str, list[Case]]:
    """The cases that each job made or carried on, and no later one has since."""
    newest: dict[str, Case | None] = {}
    decode = msgspec.json.Decoder(Case).decode
    where = {part for one in jobs for part in partition_of(reader, CASES, one.job.job_id)}
    since_ms = min(_since_ms(one.job) for one in jobs)
    for record in reader.read(CASES, reader.spans(CASES, sorted(where), since_ms)):
        value = record.value()
        newest[key_of(record)] = None if value is None else decode(unframed(value))
    found: dict[str, list[Case]] = {one.job.job_id: [] for one in jobs}
    for case in newest.values():
        if case is not None and case.job_id in found:
            found[case.job_id].append(case)
    return found


def _of_keys(records: Iterable[Message], keys: set[str], kind: type[T]) -> Iterator[T]:
    """The records with one of the keys, decoded."""
    decode = msgspec.json.Decoder(kind).decode
    wanted = {key.encode() for key in keys}
    for record in records:
        # A topic holds a thousand times as many as are wanted: the others are not looked into.
        if record.key() in wanted and (value := record.value()) is not None:
            yield decode(unframed(value))
