"""What is withdrawn is told to readers that know Redis alone, with every read."""

from hashlib import blake2b
from typing import Any

import msgspec
import pytest
import redis

from enrichment.feature.mirror import MirroredWithdrawals, mirrored_after_s
from enrichment.feature.reader import FeatureReader
from enrichment.feature.store import Layout
from enrichment.records import (
    Compute,
    Experiment,
    Path,
    Rollout,
    Stage,
    Verdict,
    VerdictName,
)
from enrichment.rollout.control import Withdrawals, in_force
from tests.feature.cached import NOW_MS, MemoryCache, heartbeat, ring, update
from tests.rollout.controls import control

WITHDRAWN = Verdict(VerdictName.FALLBACK, "withdrawn")
HEARD = Verdict(VerdictName.FRESH, "shard_heard")
UNCHANGED = Verdict(VerdictName.FRESH, "subgraph_unchanged")
JOB = control("withdraw.job.j1", job_id="j1")
PAST = control("withdraw.until", until_ms=NOW_MS)


@pytest.fixture
def cache() -> MemoryCache:
    """An account whose ring the job j1 computed."""
    return MemoryCache(
        heartbeat(), update("account", "42", "graph"), ring("account", "42", 0.8, version=7)
    )


def test_a_withdrawn_value_is_not_handed_out(cache: MemoryCache) -> None:
    """By job the ring alone, by time both groups; as soon as it is lifted they are back."""
    reader = FeatureReader(cache.client, "payments", clock_ns=lambda: NOW_MS * 1_000_000)
    wanted = [("account", "42", "ring"), ("account", "42", "graph")]
    for controls, expected in (
        ((), [UNCHANGED, HEARD]),
        ((JOB,), [WITHDRAWN, HEARD]),
        ((JOB, PAST), [WITHDRAWN, WITHDRAWN]),
        ((control("x", until_ms=NOW_MS - 1),), [UNCHANGED, HEARD]),
        ((control("x", pipeline="cards", everything=True),), [UNCHANGED, HEARD]),
        ((control("x", pipeline="*", everything=True),), [WITHDRAWN, WITHDRAWN]),
        ((), [UNCHANGED, HEARD]),
    ):
        cache.withdraw(*controls)
        found = reader.read_many(wanted)
        assert [each.verdict for each in found] == expected
        for each in found:
            assert each.usable is (each.verdict != WITHDRAWN)
            assert bool(each.estimates) is (each.verdict == UNCHANGED)


def test_a_read_takes_no_more_trips(cache: MemoryCache) -> None:
    """The mirror comes with the values, and so do heartbeats: one read, whatever is in force."""
    reader = FeatureReader(cache.client, "payments", clock_ns=lambda: NOW_MS * 1_000_000)
    reader.read("account", "42", "ring")
    cache.withdraw(JOB)
    before = cache.reads
    reader.read("account", "42", "ring")
    assert cache.reads == before + 1


def test_a_mirror_is_decoded_once() -> None:
    """While it says the same the very object comes back; who wrote something else is found out."""
    told = MirroredWithdrawals()
    assert told.of(None) is None
    raw = msgspec.json.encode(in_force("payments", [JOB]))
    first = told.of(raw)
    assert first is not None
    assert told.of(bytes(bytearray(raw))) is first
    assert told.of(msgspec.json.encode(in_force("payments", []))) is None
    with pytest.raises(msgspec.DecodeError):
        told.of(b"junk")


def test_the_wait_for_the_mirror_is_bounded() -> None:
    """It ends when the mirror agrees, when there is no answer, and when the time is over."""
    wanted = in_force("payments", [JOB])
    answers: list[Any] = [None, b"{}", msgspec.json.encode(wanted)]

    def read() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    answers[1] = msgspec.json.encode(in_force("payments", []))
    after_s = mirrored_after_s(read, wanted, 5.0)
    assert after_s is not None
    assert after_s < 5
    answers = [redis.ConnectionError()]
    assert mirrored_after_s(read, wanted, 5.0) is None
    assert mirrored_after_s(lambda: None, wanted, 0.2) is None


def test_on_a_cluster_it_lies_beside_the_marks() -> None:
    """In the slot of the marks of projection: one command brings both."""
    cluster = Layout("payments", cluster=True)
    assert Layout("payments").control() == "features:payments:control"
    assert cluster.control().partition("}")[0] == cluster.partitions().partition("}")[0]


class Former(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was mirrored before rollouts were: the reader of an older version knows only this."""

    pipeline: str
    revision: str = ""
    withdrawals: Withdrawals | None = None
    serve: str = ""


def test_older_and_newer_readers_understand_each_other() -> None:
    """An older one passes over what it does not know; a newer one misses nothing that is needed."""
    canary = Rollout(path=Path.QUANTUM, stage=Stage.CANARY, share=0.1)
    experiment = Experiment(
        experiment_id="x1", started_ms=1, pipeline_version="p", score_version="s"
    )
    now = in_force(
        "payments",
        [
            JOB,
            control("serve", serve="classical"),
            control("rollout.quantum", rollout=canary),
            control("compute", compute=Compute(provider="exact")),
            control("experiment", experiment=experiment),
        ],
    )
    read = msgspec.json.decode(msgspec.json.encode(now), type=Former)
    assert (read.withdrawals, read.serve, read.revision) == (
        now.withdrawals,
        "classical",
        now.revision,
    )
    plain = in_force("payments", [JOB, control("serve", serve="classical")])
    former = Former(
        pipeline="payments",
        revision=plain.revision,
        withdrawals=plain.withdrawals,
        serve="classical",
    )
    assert msgspec.json.encode(former) == msgspec.json.encode(plain)
    told = msgspec.json.encode([plain.withdrawals, plain.serve])  # as an older one makes it
    assert plain.revision == blake2b(told, digest_size=8).hexdigest()
    assert MirroredWithdrawals().of(msgspec.json.encode(now)) == now.withdrawals
