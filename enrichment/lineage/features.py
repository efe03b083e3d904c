"""The features that a score saw, each with the update it was read from, if that is still there."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from confluent_kafka import Message

from enrichment.lineage.batches import place_of
from enrichment.lineage.gone import gone
from enrichment.lineage.jobs import key_of
from enrichment.lineage.tree import FeatureTraced, is_used
from enrichment.pipelines import Pipeline
from enrichment.records import Enriched, FeatureUpdate, FeatureUsed
from enrichment.records.micro_batch import feature_version, micro_batch_id
from enrichment.stream.framing import unframed
from enrichment.stream.slices import Reader
from enrichment.stream.topics import FEATURES, partition_for

ALL: Final = "all"
"""The shard of a stream that is not divided into shards."""

Update = tuple[Message, FeatureUpdate]


def traced_features(
    reader: Reader, pipeline: Pipeline, record: Enriched
) -> tuple[FeatureTraced, ...]:
    """Each feature of the record, in its order."""
    wanted = {key_of_used(record.pipeline, used): used for used in record.features if used.version}
    updates = _updates(reader, wanted)
    absent = gone(reader, FEATURES) if len(updates) < len(wanted) else ""
    shard = shard_of_event(pipeline, record.event)
    return tuple(
        _traced(used, updates.get(key_of_used(record.pipeline, used)), shard, record, absent)
        for used in record.features
    )


def key_of_used(pipeline: str, used: FeatureUsed) -> str:
    """The key of the feature on the compacted topic."""
    return f"{pipeline}|{used.kind}|{used.id}|{used.group}"


def shard_of_event(pipeline: Pipeline, event: msgspec.Raw) -> str:
    """The shard that the event itself belongs to."""
    field = pipeline.window.shard
    if field is None:
        return ALL
    return str(msgspec.json.decode(event).get(field, ""))


def _updates(reader: Reader, wanted: Mapping[str, FeatureUsed]) -> dict[str, Update]:
    """Key -> the update that was used, else the newest there is of another."""
    count = reader.partitions(FEATURES)
    if not wanted or not count:
        return {}
    spans = reader.spans(FEATURES, sorted({partition_for(key, count) for key in wanted}))
    decode = msgspec.json.Decoder(FeatureUpdate).decode
    found: dict[str, Update] = {}
    settled: set[str] = set()
    keys = {key.encode() for key in wanted}
    for chunk in reader.newest_first(FEATURES, spans, lambda record: record.key() in keys):
        for message in chunk:
            key, value = key_of(message), message.value()
            if value is None or key in settled:
                continue
            update = decode(unframed(value))
            used = wanted[key]
            # One job writes it once, or again as the same: the newest is what readers have.
            if _is_it(used, update) or key not in found:
                found[key] = (message, update)
            # Versions only grow: what is older than the one that was used comes before it. Two
            # shards that share a device may each write it, under one version.
            if _is_it(used, update) or update.version < used.version:
                settled.add(key)
        if len(settled) == len(wanted):
            break
    return found


def _is_it(used: FeatureUsed, update: FeatureUpdate) -> bool:
    """Whether it is that version, and of the job that was used."""
    job_id = "" if update.source is None else update.source.job_id
    return update.version == used.version and used.job_id in ("", job_id)


def _traced(
    used: FeatureUsed, update: Update | None, shard: str, record: Enriched, absent: str
) -> FeatureTraced:
    plain = msgspec.to_builtins(used)
    if not used.version:
        return FeatureTraced(used=plain)
    start_ms, sequence = divmod(used.version, 1_000)
    # A sequence of 999 may stand for any later one; and the event's shard for another's.
    presumed = used.job_id or micro_batch_id(record.pipeline, shard, start_ms, sequence)
    assert feature_version(start_ms, sequence) == used.version  # noqa: S101  # its inverse
    if update is None:
        return FeatureTraced(used=plain, gone=absent, micro_batch_id=presumed)
    message, found = update
    if not _is_it(used, found):
        order = "newer" if found.version > used.version else "older"
        what = f"the {order} version {found.version}"
        if found.version == used.version and found.source is not None:
            what = f"the same version by job {found.source.job_id}"
        return FeatureTraced(
            used=plain,
            gone=f"replaced: {FEATURES} has {what}",
            micro_batch_id=presumed,
        )
    source = found.source
    return FeatureTraced(
        used=plain,
        same=is_used(used, found),
        place=place_of(message),
        computed_at_ms=found.computed_at_ms,
        source=None if source is None else msgspec.to_builtins(source),
        micro_batch_id=presumed if source is None else source.micro_batch_id,
    )


def kept_jobs(features: Sequence[FeatureTraced]) -> set[str]:
    """The earlier jobs whose samples the features rest on."""
    return {
        kept
        for feature in features
        if feature.source and (kept := feature.source.get("kept_job_id"))
    }
