"""What the topics say of jobs: the ledger, one job's history, and all else that explains it."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import typer

from enrichment.cli.app import fail

if TYPE_CHECKING:
    from confluent_kafka import Message

    from enrichment.records import Job, JobEvent, JobOrder, MicroBatch
    from enrichment.sample.again import Recorded
    from enrichment.settings import Settings
    from enrichment.stream.slices import Reader

EXIT_UNKNOWN: Final = 2
READ_S: Final = 30.0
"""How long a topic may be silent before its end."""

T = TypeVar("T")


def ledger(settings: "Settings") -> "dict[str, Job]":
    """The newest entry of each job."""
    return {key: job for key, (_, job) in placed(settings).items()}


def job_and_partition(settings: "Settings", job_id: str) -> "tuple[Job, int]":
    """A job, and the number of the partitions in which it travels; ends the command without one."""
    jobs = placed(settings)
    if job_id not in jobs:
        no_such_job(job_id, jobs)
    partition, job = jobs[job_id]
    return job, partition


def no_such_job(job_id: str, known: Iterable[str]) -> NoReturn:
    """End the command with the nearest id that there is."""
    import difflib

    near = difflib.get_close_matches(job_id, list(known), n=1)
    hint = f"; the nearest is '{near[0]}'" if near else "; see `enrichment jobs list`"
    fail(f"there is no job '{job_id}' in the ledger{hint}", EXIT_UNKNOWN)


def history(settings: "Settings", job_id: str, partition: int) -> "tuple[JobEvent, ...]":
    """A job's transitions, in order."""
    from enrichment.records import JobEvent
    from enrichment.stream.topics import JOB_EVENTS

    where = [partition % partitions_of(settings, JOB_EVENTS)]
    return tuple(_decoded(settings, JOB_EVENTS, where, {job_id}, JobEvent))


def orders(settings: "Settings", job_id: str, partition: int) -> "tuple[JobOrder, ...]":
    """The orders about a job that the topic still has, in the order in which they are heard."""
    import msgspec

    from enrichment.records import JobOrder
    from enrichment.stream.framing import unframed
    from enrichment.stream.topics import ORDERS

    decode = _decoder(JobOrder)
    found = []
    for record in _scanned(settings, ORDERS, [partition % partitions_of(settings, ORDERS)]):
        if _key(record) == job_id:
            # Others publish here, too: the worker passes over what is no order, and says so.
            with contextlib.suppress(msgspec.DecodeError):
                found.append(decode(unframed(record.value() or b"")))
    return tuple(found)


def micro_batches(
    settings: "Settings", jobs: "Iterable[tuple[int, Job]]"
) -> "dict[str, MicroBatch]":
    """Job id -> the micro-batch of the job's content hash, where it is still there.

    `jobs` come with their partitions, which are read once, from their beginnings.
    """
    import msgspec

    from enrichment.records import MicroBatch
    from enrichment.stream.framing import unframed
    from enrichment.stream.topics import MICRO_BATCHES

    class Named(msgspec.Struct):
        micro_batch_id: str
        content_hash: str

    # A job and its spot check are of the same micro-batch.
    wanted: dict[tuple[str, str], list[str]] = {}
    for _, job in jobs:
        wanted.setdefault((job.micro_batch_id, job.content_hash), []).append(job.job_id)
    named, decode = _decoder(Named), _decoder(MicroBatch)
    found: dict[str, MicroBatch] = {}
    for record in _scanned(settings, MICRO_BATCHES, sorted({number for number, _ in jobs})):
        value = unframed(record.value() or b"")
        name = named(value)  # skips the problems, and is many times faster
        job_ids = wanted.get((name.micro_batch_id, name.content_hash))
        if job_ids is not None:
            found |= dict.fromkeys(job_ids, decode(value))
    return found


def recorded(settings: "Settings", job_id: str) -> "Recorded":
    """All that the topics know of a job; ends the command where it is not in the ledger."""
    from enrichment.lineage import jobs

    with reading(settings) as reader:
        try:
            found = jobs.recorded(reader, job_id)
        except ValueError:
            found = None
    return no_such_job(job_id, placed(settings)) if found is None else found


@contextlib.contextmanager
def reading(
    settings: "Settings", on_read: "Callable[[int], None]" = lambda _: None
) -> "Iterator[Reader]":
    """A reader of any topic; what goes wrong with it ends the command."""
    from confluent_kafka import KafkaException

    from enrichment.stream.slices import Reader
    from enrichment.wiring.clients import kafka_config

    try:
        with Reader(kafka_config(settings, "lineage"), on_read=on_read) as reader:
            yield reader
    except KafkaException as error:
        where, why = settings.kafka_bootstrap, error.args[0].str()
        fail(f"Kafka at {where} does not answer: {why}; `enrichment up` starts a local one")
    except TimeoutError as error:
        fail(f"{error}; is a transaction left open?")


def placed(settings: "Settings") -> "dict[str, tuple[int, Job]]":
    """Partition and newest entry of each job."""
    from enrichment.records import Job
    from enrichment.stream.topics import JOBS

    decode = _decoder(Job)
    jobs: dict[str, tuple[int, Job]] = {}
    for record in _scanned(settings, JOBS, range(partitions_of(settings, JOBS))):
        value = record.value()
        if value is None:
            jobs.pop(_key(record), None)
        elif (job := _readable(record, value, decode)) is not None:
            jobs[_key(record)] = (record.partition() or 0, job)
    return jobs


def _decoded(
    settings: "Settings", topic: str, partitions: Iterable[int], keys: set[str], kind: type[T]
) -> Iterator[T]:
    """The records of a topic with one of the keys."""
    decode = _decoder(kind)
    for record in _scanned(settings, topic, partitions):
        value = record.value()
        if value is not None and _key(record) in keys:
            found = _readable(record, value, decode)
            if found is not None:
                yield found


def _scanned(settings: "Settings", topic: str, partitions: Iterable[int]) -> "Iterator[Message]":
    """Every committed record of these partitions; ends the command where Kafka does not answer."""
    from confluent_kafka import KafkaException, TopicPartition

    from enrichment.stream.to_end import scan_to_end
    from enrichment.wiring.clients import kafka_config

    wanted = [TopicPartition(topic, number) for number in partitions]
    try:
        yield from scan_to_end(kafka_config(settings, "jobs"), wanted, READ_S)
    except KafkaException as error:
        fail(f"Kafka at {settings.kafka_bootstrap} does not answer: {error.args[0].str()}")
    except TimeoutError as error:
        fail(f"{topic} cannot be read to its end: {error}; is a transaction left open?")


def partitions_of(settings: "Settings", topic: str) -> int:
    """How many partitions a topic has; ends the command where there is none."""
    from confluent_kafka import KafkaException

    from enrichment.wiring.clients import partition_count
    from enrichment.wiring.errors import ConfigurationError

    try:
        return partition_count(settings, topic)
    except ConfigurationError as error:
        fail(str(error), EXIT_UNKNOWN)
    except KafkaException as error:
        where, why = settings.kafka_bootstrap, error.args[0].str()
        fail(f"Kafka at {where} does not answer: {why}; `enrichment up` starts a local one")


def _readable(record: "Message", value: bytes, decode: Callable[[bytes], T]) -> T | None:
    """What the record says, or None and a word: one that is broken keeps nobody from the others."""
    import msgspec

    from enrichment.stream.framing import unframed

    try:
        return decode(unframed(value))
    except (msgspec.DecodeError, ValueError) as error:
        where = f"{record.topic()}/{record.partition()}/{record.offset()}"
        typer.echo(f"{where} cannot be read and is left out: {error}", err=True)
        return None


def _decoder(kind: type[T]) -> Callable[[bytes], T]:
    import msgspec

    return msgspec.json.Decoder(kind).decode


def _key(record: "Message") -> str:
    return (record.key() or b"").decode()


def plain(record: Any) -> dict[str, Any]:
    """A record as JSON would have it, without the payload."""
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(record)
    found.pop("micro_batch", None)
    return found
