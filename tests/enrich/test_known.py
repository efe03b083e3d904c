"""What is known of entities: kept, it gives what reading it all again would give; and no more."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from enrichment.enrich import known
from enrichment.enrich.batch import Enricher
from enrichment.enrich.features import AGE_STEP_MS, FeaturePlan
from enrichment.enrich.lookup import Lookup
from enrichment.feature.store import Layout
from enrichment.pipelines import Pipeline
from enrichment.records import Enriched, FeatureUpdate, Verdict, VerdictName
from enrichment.rollout.control import ControlState, Withdrawals
from tests.enrich.streams import PAYMENTS, RATING, TRUST, enriched, event, payment, records
from tests.feature.cached import NOW_MS, PARTITIONS, MemoryCache, heartbeat, ring, update


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        """The time that it stands at."""
        return self.now_ms


def enricher_of(
    cache: MemoryCache,
    clock: Callable[[], int],
    pipeline: Pipeline = PAYMENTS,
    control: Callable[[], ControlState] | None = None,
) -> Enricher:
    """An enricher over that cache."""
    lookup = Lookup(cache, Layout(pipeline.name), PARTITIONS, clock)
    return Enricher(pipeline, lookup, clock, control=control)


def answer(enricher: Enricher, **changes: Any) -> Enriched:
    """The answer to one payment of account a1."""
    [output] = enricher.process(records(payment(**changes))).enriched
    return enriched(output)


def of_account(found: Enriched, group: str = "ring") -> Verdict:
    """The verdict on the account's group."""
    [used] = [each for each in found.features if (each.role, each.group) == ("account", group)]
    return used.verdict


VERSIONS = st.integers(1, 9)
AGES_MS = st.sampled_from([-5_000, -500, 0, 10_000, 29_000, 31_000, 3_600_000, 90_000_000])
IDS = st.sampled_from([("account", "a1"), ("account", "a2"), ("device", "d1")])
STEPS = st.one_of(
    st.tuples(st.just("graph"), IDS, st.sampled_from(["s1", "s2", ""]), AGES_MS, VERSIONS),
    st.tuples(st.just("ring"), IDS, st.floats(0, 1), AGES_MS, VERSIONS),
    st.tuples(st.just("beat"), st.sampled_from(["eu", "us"]), AGES_MS),
    st.tuples(st.just("rebuild"), IDS, st.sampled_from(["graph", "ring"])),
    st.tuples(st.just("ready")),
    st.tuples(st.just("forget")),
    st.tuples(st.just("pass"), st.sampled_from([1, 900, 20_000, 31_000, 86_400_000])),
    st.tuples(st.just("withdraw"), st.sampled_from(["j1", "j2", None])),
    st.tuples(st.just("ask"), st.sampled_from(["a1", "a2", "a3"]), st.sampled_from(["eu", "us"])),
)


@given(steps=st.lists(STEPS, max_size=40), halves=st.sampled_from([2, 100_000]))
def test_what_is_kept_gives_what_a_complete_read_gives(
    steps: list[tuple[Any, ...]], halves: int
) -> None:
    """Whatever changes, is withdrawn, rebuilt or forgotten, and however time goes: the same bytes.

    Also where hardly anything fits the memory. Against an enricher that reads everything anew.
    """
    clock, cache = Clock(), MemoryCache()
    state = [ControlState(pipeline="payments")]
    keeping = enricher_of(cache, clock, control=lambda: state[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "ENTITIES_MAX", halves)
        for step in [*steps, ("ask", "a1", "eu"), ("ask", "a2", "us")]:
            if step[0] == "ask":
                value = payment(account_id=step[1], region=step[2], occurred_at=clock.now_ms)
                anew = MemoryCache()
                anew.held, anew.tracking = cache.held, False
                forgetful = enricher_of(anew, clock, control=lambda: state[0])
                outputs = [each.process(records(value)) for each in (keeping, forgetful)]
                assert outputs[0].enriched == outputs[1].enriched
            else:
                take(step, cache, clock, state)


def take(
    step: tuple[Any, ...], cache: MemoryCache, clock: Clock, state: list[ControlState]
) -> None:
    """Let something happen to the cache, the time or what is in force."""
    match step:
        case "graph", (kind, id_), subgraph, age_ms, version:
            at_ms = clock.now_ms - age_ms
            values = {"density": 0.5, "subgraph_since_ms": at_ms}
            cache.put(
                update(kind, id_, "graph", subgraph=subgraph, at_ms=at_ms, version=version,
                       values=values)
            )  # fmt: skip
        case "ring", (kind, id_), membership, age_ms, version:
            at_ms = clock.now_ms - age_ms
            cache.put(ring(kind, id_, membership, at_ms=at_ms, version=version))
        case "beat", shard, age_ms:
            cache.put(heartbeat(shard, clock.now_ms - age_ms))
        case "rebuild", (kind, id_), group:
            cache.rebuild(kind, id_, group)
        case ("ready",):
            cache.ready()
        case ("forget",):
            cache.changed = None  # a new connection: anything may have changed
        case "pass", span_ms:
            clock.now_ms += span_ms
        case "withdraw", job:
            gone = None if job is None else Withdrawals(jobs={job: 2**52})
            state[0] = ControlState(pipeline="payments", revision=str(job), withdrawals=gone)


def known_account(**fields: Any) -> tuple[FeatureUpdate, ...]:
    """An account in a subgraph that was sampled, in a shard that is heard."""
    return heartbeat(), update("account", "a1", "graph", **fields), ring("account", "a1", 0.8)


def test_what_is_known_is_not_read_again() -> None:
    """The second batch asks for markers and heartbeats alone, until the cache tells of a change."""
    asked: list[list[str]] = []

    class Listening(MemoryCache):
        def mget(self, keys: Any) -> list[bytes | None]:
            asked.append(list(keys))
            return super().mget(keys)

    cache = Listening(*known_account())
    enricher = enricher_of(cache, Clock())
    answer(enricher)
    answer(enricher)
    assert len(asked[1]) == PARTITIONS + 1
    cache.put(update("account", "a1", "graph", subgraph="s2", version=2))
    found = answer(enricher)
    assert of_account(found) == Verdict(VerdictName.STALE, "subgraph_changed")
    # One read to hear of it, another for what it was.
    assert len(asked) == 4
    assert {key for key in asked[3] if "a1" in key} == {
        "features:payments:account:a1:graph", "features:payments:account:a1:ring"
    }  # fmt: skip


def test_with_the_cache_away_what_was_known_is_stale_at_best() -> None:
    """It decays by how long ago it was known to hold, and is let go of in the end."""
    clock, cache = Clock(), MemoryCache(*known_account())
    enricher = enricher_of(cache, clock)
    fresh = answer(enricher)
    assert of_account(fresh).name is VerdictName.FRESH
    cache.failure = redis.TimeoutError("slow")
    first = answer(enricher)
    assert of_account(first) == Verdict(VerdictName.STALE, "last_known")
    assert first.scores.quantum == pytest.approx(fresh.scores.quantum, abs=0.01)
    clock.now_ms += PAYMENTS.features.half_life_ms
    later = answer(enricher)
    [used] = [each for each in later.features if (each.role, each.group) == ("account", "ring")]
    assert used.estimates["quantum"]["membership"] == pytest.approx(0.4)
    clock.now_ms += PAYMENTS.features.stale_ms
    assert of_account(answer(enricher)) == Verdict(VerdictName.FALLBACK, "cache_unavailable")
    assert of_account(answer(enricher, account_id="a9")).reason == "cache_unavailable"


def test_what_a_read_did_not_come_to_is_seen_as_if_the_cache_were_away() -> None:
    """The rest is as usual; it is read with the next batch, and has then no trace of it."""
    cache = MemoryCache(*known_account(), update("account", "a2", "graph"))
    for tracking in (True, False):
        cache.tracking, cache.in_time, cache.changed = tracking, None, None
        enricher = enricher_of(cache, Clock())
        fresh = answer(enricher)
        cache.put(update("account", "a1", "graph", subgraph="s2", version=2))
        cache.in_time = PARTITIONS + 1  # the marks and the shard
        late = answer(enricher)
        assert of_account(late) == Verdict(VerdictName.STALE, "last_known")
        assert of_account(answer(enricher, account_id="a2"), "graph").reason == "cache_unavailable"
        cache.in_time = None
        assert of_account(answer(enricher)).reason == "subgraph_changed"
        cache.put(update("account", "a1", "graph"))
        assert answer(enricher) == fresh


def test_an_entity_is_known_whole_or_not_at_all() -> None:
    """A read that came to one of its groups but not to the other has not read it."""
    cache = MemoryCache(*known_account())
    enricher = enricher_of(cache, Clock())
    cache.in_time = PARTITIONS + 2
    assert of_account(answer(enricher), "graph").reason == "cache_unavailable"
    cache.in_time = None
    assert of_account(answer(enricher), "graph").name is VerdictName.FRESH


@given(since_ms=st.integers(0, 3 * AGE_STEP_MS), later_ms=st.integers(0, 2 * AGE_STEP_MS))
def test_ages_are_told_in_steps(since_ms: int, later_ms: int) -> None:
    """With the cache away, an age is never less than it is, and more by less than a step."""
    clock, cache = Clock(), MemoryCache(*known_account())
    enricher = enricher_of(cache, clock)
    answer(enricher)
    cache.failure = redis.TimeoutError("slow")
    for passed_ms in (since_ms, later_ms):
        clock.now_ms += passed_ms
        ages_ms = {each.age_ms for each in answer(enricher).features if each.role == "account"}
        [age_ms] = ages_ms
        assert 0 <= age_ms - (clock.now_ms - NOW_MS) < AGE_STEP_MS


def test_what_may_have_changed_is_as_old_as_the_last_word_that_it_had_not() -> None:
    """After a new connection whatever was not read again counts from when it last was known."""
    clock, cache = Clock(), MemoryCache(*known_account())
    enricher = enricher_of(cache, clock)
    answer(enricher)
    clock.now_ms += 10_000
    answer(enricher, account_id="a2")  # a1 is not said to have changed
    clock.now_ms += 10_000
    cache.changed = None
    answer(enricher, account_id="a2")
    cache.failure = redis.TimeoutError("slow")
    clock.now_ms += 10_000
    ages_ms = {each.age_ms for each in answer(enricher).features if each.role == "account"}
    assert ages_ms == {20_000}


def test_an_outage_takes_no_view_per_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stale is judged once a step, not once for each event: an outage slows nothing."""
    judged: list[str] = []
    features = FeaturePlan.features

    def counted(self: FeaturePlan, role: str, *rest: Any) -> Any:
        judged.append(role)
        return features(self, role, *rest)

    monkeypatch.setattr(FeaturePlan, "features", counted)
    clock, cache = Clock(), MemoryCache(*known_account())
    enricher = enricher_of(cache, clock)
    answer(enricher)
    once = len(judged)
    cache.failure = redis.TimeoutError("slow")
    clock.now_ms += 1
    for _ in range(AGE_STEP_MS - 1):
        answer(enricher)
        clock.now_ms += 1
    assert len(judged) == 2 * once


def test_a_cache_that_is_back_is_believed_again() -> None:
    """After an outage everything is read before it is called fresh: it may have changed."""
    clock, cache = Clock(), MemoryCache(*known_account())
    enricher = enricher_of(cache, clock)
    answer(enricher)
    cache.failure = redis.ConnectionError("gone")
    cache.put(update("account", "a1", "graph", subgraph="s2", version=2))
    answer(enricher)
    cache.failure, cache.changed = None, None
    assert of_account(answer(enricher)).reason == "subgraph_changed"


def test_a_withdrawal_is_in_force_with_the_next_batch() -> None:
    """And lifted with the one after that."""
    cache, state = MemoryCache(*known_account()), [ControlState(pipeline="payments")]
    enricher = enricher_of(cache, Clock(), control=lambda: state[0])
    assert of_account(answer(enricher)).name is VerdictName.FRESH
    gone = Withdrawals(jobs={"j1": NOW_MS})
    state[0] = ControlState(pipeline="payments", revision="1", withdrawals=gone)
    assert of_account(answer(enricher)) == Verdict(VerdictName.FALLBACK, "withdrawn")
    state[0] = ControlState(pipeline="payments")
    assert of_account(answer(enricher)).name is VerdictName.FRESH


def test_by_event_time_an_entity_is_judged_anew_for_each_event() -> None:
    """In a replay two events of one batch may see the same value fresh and too old."""
    at_ms = RATING["time"]
    shared: dict[str, Any] = {"pipeline": "trust", "shard": "all", "at_ms": at_ms}
    cache = MemoryCache(
        heartbeat("all", at_ms, "trust"),
        update("user", "2", "graph", **shared),
        ring("user", "2", 0.7, **shared),
        pipeline="trust",
    )
    enricher = enricher_of(cache, Clock(), TRUST)
    late_ms = at_ms + TRUST.features.stale_ms + TRUST.features.fresh_ms
    values = [event(RATING, time=time) for time in (at_ms, late_ms, at_ms)]
    outputs = enricher.process(records(*values)).enriched
    names = [enriched(output).verdict.name for output in outputs]
    assert names == [VerdictName.FRESH, VerdictName.FALLBACK, VerdictName.FRESH]
    assert [msgspec.json.decode(output.value)["event_id"] for output in outputs] == ["r1"] * 3
