"""From one enriched record to all that stands behind it, read from the topics.

Each part of the way is asked for where it must be: by offsets, by keys, and by the identity of a
close, which names its shard and so its partition.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from enrichment import __version__
from enrichment.enrich.rescore import rescored
from enrichment.lineage import in_force
from enrichment.lineage.batches import place_of, traced_batch
from enrichment.lineage.events import Found
from enrichment.lineage.features import kept_jobs, traced_features
from enrichment.lineage.gone import gone
from enrichment.lineage.traced_jobs import traced_job
from enrichment.lineage.tree import (
    Batch,
    InForce,
    Input,
    JobTraced,
    Lineage,
    Place,
    Plain,
    Rescored,
)
from enrichment.pipelines import Pipeline
from enrichment.records import Change, Enriched
from enrichment.rollout.instruct import standing
from enrichment.stream.framing import FRAME_BYTES, unframed
from enrichment.stream.headers import UnreadableHeadersError, header, headers_of
from enrichment.stream.slices import Reader
from enrichment.stream.topics import CHANGES, CONTROL

SCHEMA: Final = "ce_dataschema"

NOTHING: Final = msgspec.Raw(b"null")


def lineage(reader: Reader, pipeline: Pipeline, found: Found) -> Lineage:
    """Everything behind one enriched record. `pipeline` is that of now.

    Raises KafkaException and TimeoutError as the reader does, msgspec.MsgspecError on records that
    are none of ours.
    """
    record = found.record
    features = traced_features(reader, pipeline, record)
    job_ids = {used.job_id for used in record.features if used.job_id} | kept_jobs(features)
    jobs = _jobs(reader, job_ids, record.decided_at_ms)
    ids = {feature.micro_batch_id for feature in features if feature.micro_batch_id}
    ids |= {job.micro_batch_id for job in jobs.values()}
    batches: dict[str, Batch] = {id_: traced_batch(reader, pipeline, id_) for id_ in sorted(ids)}
    return Lineage(
        place=place_of(found.message),
        record=_plain(record),
        rescored=scored_again(pipeline, found),
        input=_input(reader, record),
        features=features,
        jobs=jobs,
        batches=batches,
        in_force=_in_force(reader, record),
        versions=_versions(pipeline, found, jobs.values()),
    )


def scored_again(pipeline: Pipeline, found: Found) -> Rescored:
    """Whether the record comes out of itself again; not asked of another pipeline file."""
    record = found.record
    needed = (record.pipeline_version, record.score_version)
    if needed != (pipeline.version, pipeline.score.version):
        return Rescored(
            same=None,
            detail=f"needs pipeline {record.pipeline_version} with table {record.score_version}; "
            f"given is {pipeline.version} with {pipeline.score.version}",
        )
    try:
        again = rescored(pipeline)(found.value)
    except msgspec.MsgspecError as error:
        return Rescored(same=False, detail=f"it cannot be scored again: {error}")
    if again == found.value:
        return Rescored(same=True, detail=f"{len(again):,} bytes equal")
    pairs = enumerate(zip(found.value, again, strict=False))
    at = next((n for n, (a, b) in pairs if a != b), min(len(found.value), len(again)))
    around = slice(max(0, at - 30), at + 30)
    recorded, now = (one[around].decode(errors="replace") for one in (found.value, again))
    return Rescored(
        same=False, detail=f"from byte {at}: recorded ...{recorded}..., now ...{now}..."
    )


def _plain(record: Enriched) -> Plain:
    """The record but for its event, and its features, which are told by themselves."""
    told: Plain = msgspec.json.decode(
        msgspec.json.encode(msgspec.structs.replace(record, event=NOTHING, features=()))
    )
    for name in ("event", "features"):
        told.pop(name)
    return told


def _input(reader: Reader, record: Enriched) -> Input:
    """The input record, by its place."""
    origin = record.origin
    place = Place(topic=origin.topic, partition=origin.partition, offset=origin.offset)
    message = None
    if origin.partition < reader.partitions(origin.topic):
        message = reader.at(origin.topic, origin.partition, origin.offset)
    if message is None:
        return Input(place=place, gone=gone(reader, origin.topic, origin.offset, origin.partition))
    return Input(place=place, bytes=len(message.value() or b""), written_ms=message.timestamp()[1])


def _jobs(reader: Reader, ids: Iterable[str], written_ms: int) -> dict[str, JobTraced]:
    """The jobs, their spot checks, and those whose samples they were given: one step further."""
    jobs = {id_: traced_job(reader, id_, written_ms=written_ms) for id_ in sorted(ids)}
    for job in tuple(jobs.values()):
        for other in (*job.checks, *job.kept_of):
            if other not in jobs:
                jobs[other] = traced_job(reader, other, written_ms=written_ms)
    return jobs


def _in_force(reader: Reader, record: Enriched) -> InForce:
    """What was in force: from the records of change, else from what still stands."""
    revision = record.rollout.revision if record.rollout is not None else ""
    if count := reader.partitions(CHANGES):
        decode = msgspec.json.Decoder(Change).decode
        spans = reader.spans(CHANGES, range(count))
        changes = [
            decode(unframed(value))
            for message in reader.read(CHANGES, spans)
            if (value := message.value()) is not None
        ]
        told = in_force.from_changes(changes, record.pipeline, record.decided_at_ms, revision)
        if told.told_by:
            return told
        note = f"{CHANGES} has nothing about this pipeline"
    else:
        note = f"there is no topic {CHANGES} here"
    if not (count := reader.partitions(CONTROL)):
        return InForce(
            told_by="", standing=(), revision=revision, derived_revision="", same=None, note=note
        )
    note += f": what of {CONTROL} was given by then and still stands"
    controls = standing(reader.kafka, count).controls.values()
    return in_force.from_control(controls, record.pipeline, record.decided_at_ms, revision, note)


def _versions(pipeline: Pipeline, found: Found, jobs: Iterable[JobTraced]) -> Plain:
    """Of everything that the record rests on, and of what shows it now."""
    runs = [job.answer["run"] for job in jobs if job.answer and job.answer.get("run")]
    answers = [job.answer for job in jobs if job.answer]
    sdks = {f"{name} {version}" for one in answers for name, version in one["sdk_versions"].items()}
    return {
        "enrichment": {
            "sampled": sorted({run["enrichment_version"] for run in runs}),
            "now": __version__,
        },
        "pipeline": {"recorded": found.record.pipeline_version, "now": pipeline.version},
        "score": {"recorded": found.record.score_version, "now": pipeline.score.version},
        "schema": _schema(found),
        "template": sorted({f"{run['template']} {run['template_version']}" for run in runs}),
        "sdk": sorted(sdks),
        "calibration": sorted({one["calibration_id"] for one in answers} - {""}),
    }


def _schema(found: Found) -> str:
    """The schema that the record names: by its header, or by the registry's id before it."""
    raw = found.message.value() or b""
    if raw != found.value:
        return f"registry id {int.from_bytes(raw[1:FRAME_BYTES], 'big')}"
    try:
        named = header(headers_of(found.message), SCHEMA)
    except UnreadableHeadersError:
        named = None
    return named.decode(errors="replace") if named else "schemas/enriched.json: it names none"
