"""A new mule's first payment on a known ring device is scored with that device's features.

From payments to an answer through every stage, on real servers.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from enrichment.feature.connection import open_cache
from enrichment.feature.reader import FeatureReader, Features
from enrichment.lab.servers import LocalServers
from enrichment.records import Enriched, FeatureUsed, VerdictName
from enrichment.records import Path as ScorePath
from enrichment.stream.cases import read_cases
from enrichment.stream.topics import CASES, HORIZONS, JOB_EVENTS, JOBS, MICRO_BATCHES, ORDERS
from enrichment.wiring.clock import now_ms
from tests.integration.stages import Stream, eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(120)]

RING: Final = tuple(f"mule-{number}" for number in range(7))
DEVICE: Final = "ring-device"
SHARED: Final = (MICRO_BATCHES, JOBS, JOB_EVENTS, ORDERS, CASES, HORIZONS)


def payment(event_id: str, account: str, device: str, at_ms: int) -> dict[str, Any]:
    """One payment: the ring's go to its collector, anybody else's to a shop."""
    return {
        "event_id": event_id,
        "account_id": account,
        "device_id": device,
        "beneficiary_id": "collector" if account in RING else "shop",
        "region": "north",
        "amount": 180.0,
        "occurred_at": at_ms,
    }


@pytest.fixture
def stream(servers: LocalServers, tmp_path: Path) -> Iterator[Stream]:
    """A stream like payments that only this test knows, with all topics of its way."""
    one = Stream(
        tmp_path,
        like="payments",
        bootstrap=servers.bootstrap,
        redis_url=servers.redis_url,
        also=SHARED,
    )
    yield one
    one.close()


def publish(stream: Stream, *payments: dict[str, Any]) -> None:
    """Payments on the input topic."""
    stream.publish([json.dumps(one).encode() for one in payments])


def used(event: Enriched, role: str, group: str) -> FeatureUsed:
    """What the score of the event saw of one entity's group."""
    return next(one for one in event.features if (one.role, one.group) == (role, group))


def test_a_new_mules_first_payment_is_scored_with_the_ring_devices_features(
    stream: Stream, servers: LocalServers
) -> None:
    """Fresh features of the device, its job's id, and another score than anywhere else."""
    for stage in ("project", "sample", "window", "enrich"):
        # Where features decide, a read that a busy machine delays must not be given up.
        stream.start(stage, ENRICHMENT_READ_TIMEOUT_MS="1000")
    begun_ms = now_ms()
    publish(
        stream,
        *(
            payment(f"ring-{number}", account, DEVICE, begun_ms + number)
            for number, account in enumerate(RING * 3)
        ),
    )
    reader = FeatureReader(open_cache(servers.redis_url, 5.0), stream.pipeline)

    def device() -> Features:
        return reader.read("device", DEVICE, "ring")

    eventually("fresh features of the device", lambda: device().verdict.name is VerdictName.FRESH)
    known = device()
    assert known.source is not None

    at_ms = now_ms()
    publish(
        stream,
        payment("on-the-ring-device", "new-mule", DEVICE, at_ms),
        payment("elsewhere", "new-customer", "quiet-device", at_ms),
    )
    answers: dict[str, Enriched] = {}

    def both() -> bool:
        answers.update((one.event_id, one) for one in stream.enriched())
        return {"on-the-ring-device", "elsewhere"} <= answers.keys()

    eventually("both payments answered", both)
    mule, other = answers["on-the-ring-device"], answers["elsewhere"]

    saw = used(mule, "device", "ring")
    assert saw.id == DEVICE
    assert saw.verdict.name is VerdictName.FRESH
    assert saw.job_id == known.source.job_id
    assert saw.estimates["quantum"]["membership"] == known.estimate("quantum", "membership")
    assert used(mule, "account", "ring").verdict.name is VerdictName.MISSING
    assert used(other, "device", "ring").verdict.name is VerdictName.MISSING

    assert mule.path is ScorePath.QUANTUM
    assert mule.scores.served > other.scores.served
    assert "device_in_ring" in {reason.term for reason in mule.reasons}

    (case,) = read_cases({"bootstrap.servers": servers.bootstrap}, stream.name).values()
    # The new mule's own window may have made her a member by now.
    assert {member.id for member in case.members} - {"new-mule"} == set(RING)
    assert DEVICE in {tie.id for tie in case.evidence}
