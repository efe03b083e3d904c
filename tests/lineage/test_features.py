"""Which update of the compacted topic a feature was read from."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from enrichment.lineage.features import traced_features
from enrichment.pipelines import load
from enrichment.records import (
    Decision,
    Enriched,
    FeatureUpdate,
    FeatureUsed,
    Level,
    Origin,
    Path,
    Scores,
    Source,
    Verdict,
    VerdictName,
)

FRESH = Verdict(VerdictName.FRESH, "subgraph_unchanged")
VERSION = 1_700_000_000_000_000
EAST, WEST = (f"payments|{shard}|1700000000000|0" for shard in ("east", "west"))


class Record:
    """One update on the topic, as a client gives it."""

    def __init__(self, offset: int, update: FeatureUpdate) -> None:
        self._offset, self._value = offset, msgspec.json.encode(update)

    def topic(self) -> str:
        """Where it stands."""
        return "features.updates"

    def partition(self) -> int:
        """Which."""
        return 0

    def offset(self) -> int:
        """Where in it."""
        return self._offset

    def key(self) -> bytes:
        """The device's."""
        return b"payments|device|d-1|ring"

    def value(self) -> bytes:
        """The update, written."""
        return self._value


class Topic:
    """A reader of one partition that holds these updates, the oldest first."""

    def __init__(self, *updates: FeatureUpdate) -> None:
        self._records = [Record(offset, update) for offset, update in enumerate(updates)]

    def partitions(self, _: str) -> int:
        """One."""
        return 1

    def retention_ms(self, _: str) -> None:
        """For good."""
        return

    def spans(self, *_: object) -> Mapping[int, tuple[int, int]]:
        """All of it."""
        return {0: (0, len(self._records))}

    def newest_first(self, _: str, __: object, wanted: Any) -> Iterator[list[Record]]:
        """One chunk of everything."""
        yield [record for record in reversed(self._records) if wanted(record)]


def update(job_id: str, version: int = VERSION) -> FeatureUpdate:
    """The ring of a device, by that job."""
    return FeatureUpdate(
        version=version, pipeline="payments", entity="device", id="d-1", group="ring",
        subgraph=job_id, event_time_ms=1, computed_at_ms=1, values={"size": 3.0},
        source=Source(backend="qsim", micro_batch_id=job_id, job_id=job_id),
    )  # fmt: skip


def record(job_id: str) -> Enriched:
    """An event that saw the ring of that job."""
    used = FeatureUsed(
        role="device", kind="device", id="d-1", group="ring", verdict=FRESH, version=VERSION,
        subgraph=job_id, job_id=job_id, values={"size": 3.0},
    )  # fmt: skip
    return Enriched(
        event_id="p-1", pipeline="payments", origin=Origin("payments.events", 0, 0),
        occurred_at_ms=1, decided_at_ms=2, event=msgspec.Raw(b'{"region":"east"}'), verdict=FRESH,
        path=Path.CLASSICAL, scores=Scores(served=1.0, heuristic=1.0), level=Level.NORMAL,
        decision=Decision.APPROVE, reasons=(), features=(used,), pipeline_version="v",
        score_version="s",
    )  # fmt: skip


@pytest.mark.parametrize("job_id", [EAST, WEST])
def test_of_two_shards_that_share_a_device_the_jobs_own_update_is_found(job_id: str) -> None:
    """Their windows begin at one time, and give one version: the job tells them apart."""
    reader: Any = Topic(update(EAST, VERSION - 1), update(EAST), update(WEST))
    [traced] = traced_features(reader, load("payments"), record(job_id))
    assert traced.source is not None
    assert traced.source["job_id"] == job_id
    assert traced.same


def test_what_another_shard_has_replaced_is_gone_and_no_difference() -> None:
    """The topic is compacted: the update that was used may be away, and nobody has cheated."""
    reader: Any = Topic(update(WEST))
    [traced] = traced_features(reader, load("payments"), record(EAST))
    assert traced.same is None
    assert traced.gone == f"replaced: features.updates has the same version by job {WEST}"
