"""The budget counter's contract: in memory, in Redis and on a Redis Cluster it says the same."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from enrichment.feature.connection import open_cache
from enrichment.lab.redis_server import RedisServer
from enrichment.sample.budget import DAY_MS, BudgetAwayError, Claim, Limits
from enrichment.sample.counter import FIELDS_MAX, Counter, RedisCounter, Verdict
from tests.feature.deployments import cluster, running
from tests.sample.memory_counter import MemoryCounter

pytestmark = pytest.mark.servers

NO_LIMIT: Limits = (None, None, None)
DOCS = Path(__file__).resolve().parents[2] / "docs" / "budget.md"


def claim(micro: int, *, pipeline: str = "payments", provider: str = "ionq") -> Claim:
    """A claim that is not settled."""
    return Claim(pipeline=pipeline, provider=provider, micro=micro)


def settled(micro: int) -> Claim:
    """What it did cost."""
    return Claim(pipeline="payments", provider="ionq", micro=micro, settled=True)


@dataclass
class Kind:
    """One counter, and what may happen to its server."""

    counter: Counter
    today: int
    flush: Callable[[], object]
    # None where that is not tried: another run of the server, with what the last one had.
    restart: Callable[[], object] | None

    def build(self, claims: dict[str, Claim] | None = None, *, day: int | None = None) -> None:
        """Be there, with these claims."""
        day = self.today if day is None else day
        assert self.counter.begin(day, "builder")
        assert self.counter.write(day, "builder", claims or {})


@pytest.fixture(params=["memory", "redis", "cluster"])
def kind(request: pytest.FixtureRequest, tmp_path: Path, own_redis: RedisServer) -> Iterator[Kind]:
    """Each kind of counter, missing at first."""
    today = int(time.time() * 1000) // DAY_MS
    if request.param == "memory":
        memory = MemoryCounter(lambda: today, lambda: 0.0)
        yield Kind(
            counter=memory,
            today=today,
            flush=memory.flush,
            restart=lambda: memory.restart(memory.snapshot()),
        )
    elif request.param == "redis":
        cache = open_cache(f"redis://{own_redis.address}", 5.0)
        assert isinstance(cache, redis.Redis)

        def restart() -> None:
            own_redis.process.stop()  # in peace: its file has everything
            own_redis.start(within_s=20)
            cache.close()

        yield Kind(counter=RedisCounter(cache), today=today, flush=cache.flushall, restart=restart)
        cache.close()
    else:
        with running(cluster, tmp_path / "cluster") as deployment:
            nodes = open_cache(deployment.url, 5.0)
            flush = getattr(nodes, "flushall")  # noqa: B009  # a ClusterCache's
            yield Kind(counter=RedisCounter(nodes), today=today, flush=flush, restart=None)
            nodes.close()


def test_a_missing_counter_grants_nothing(kind: Kind) -> None:
    """Until it is built it says so to everybody, even to a claim of nothing under no limit."""
    assert kind.counter.reserve(kind.today, "a|1", claim(0), NO_LIMIT).verdict is Verdict.MISSING
    assert kind.counter.settle(kind.today, "a|1", settled(5)).verdict is Verdict.MISSING
    assert kind.counter.seen(kind.today, ("all",)) is None


def test_claims_are_granted_up_to_each_limit_and_counted_once(kind: Kind) -> None:
    """All, the pipeline and the provider each have their sum; a claim asked again adds nothing."""
    kind.build()
    limits: Limits = (100, 60, 50)

    def ask(name: str, what: Claim) -> tuple[Verdict, tuple[int, ...]]:
        said = kind.counter.reserve(kind.today, name, what, limits)
        return said.verdict, said.sums

    assert ask("a|1", claim(40)) == (Verdict.GRANTED, (40, 40, 40))
    assert ask("a|1", claim(40)) == (Verdict.GRANTED, (40, 40, 40))
    assert ask("b|1", claim(11)) == (Verdict.REFUSED, (40, 40, 40))  # the provider's
    assert ask("b|1", claim(10)) == (Verdict.GRANTED, (50, 50, 50))
    assert ask("c|1", claim(11, provider="google")) == (Verdict.REFUSED, (50, 50, 0))
    assert ask("d|1", claim(50, pipeline="cards", provider="google")) == (
        Verdict.GRANTED,
        (100, 50, 50),
    )
    assert ask("e|1", claim(1, pipeline="trust", provider="other")) == (
        Verdict.REFUSED,
        (100, 0, 0),
    )
    names = ("all", "pipeline:payments", "provider:ionq", "pipeline:nobody")
    assert kind.counter.seen(kind.today, names) == (100, 50, 50, 0, 3)


def test_a_settlement_is_final_and_counts_once(kind: Kind) -> None:
    """It replaces what was reserved; said again, or otherwise, or asked again, it stays."""
    kind.build()
    kind.counter.reserve(kind.today, "a|1", claim(40), (100, None, None))
    for micro in (15, 15, 90):
        assert kind.counter.settle(kind.today, "a|1", settled(micro)).sums == (15, 15, 15)
    said = kind.counter.reserve(kind.today, "a|1", claim(40), (100, None, None))
    assert (said.verdict, said.sums) == (Verdict.SETTLED, (15, 15, 15))
    # One that it never heard of counts from now on: it was paid.
    assert kind.counter.settle(kind.today, "b|1", settled(7)).sums == (22, 22, 22)
    assert kind.counter.reserve(kind.today, "c|1", claim(78), (100, None, None)).sums == (100,) * 3


def test_a_refusal_takes_nothing_out(kind: Kind) -> None:
    """A claim of the ledger that does not fit stays counted: it may have been granted before."""
    kind.build({"a|1": claim(60), "b|1": claim(60)})
    for name in ("a|1", "b|1", "a|1"):
        said = kind.counter.reserve(kind.today, name, claim(60), (100, None, None))
        assert (said.verdict, said.sums) == (Verdict.REFUSED, (120, 120, 120))
    kind.counter.settle(kind.today, "b|1", settled(0))
    said = kind.counter.reserve(kind.today, "a|1", claim(60), (100, None, None))
    assert (said.verdict, said.sums) == (Verdict.GRANTED, (60, 60, 60))


def test_large_amounts_are_exact(kind: Kind) -> None:
    """Sums of millionths up to a milliard are not rounded, and one more than the limit is more."""
    kind.build({f"{number}|1": claim(10**12 - 1) for number in range(999)})
    limit = 999 * (10**12 - 1) + 10**12
    said = kind.counter.reserve(kind.today, "x|1", claim(10**12), (limit - 1, None, None))
    assert said.verdict is Verdict.REFUSED
    said = kind.counter.reserve(kind.today, "x|1", claim(10**12), (limit, None, None))
    assert (said.verdict, said.sums[0]) == (Verdict.GRANTED, limit)


def test_only_who_began_while_it_was_missing_may_write(kind: Kind) -> None:
    """Not without a token, nor after somebody wrote; nobody begins while it is there or built."""
    assert not kind.counter.write(kind.today, "no token", {})
    assert kind.counter.begin(kind.today, "first")
    assert not kind.counter.begin(kind.today, "at the same time")
    assert kind.counter.write(kind.today, "first", {"a|1": claim(3)})
    assert not kind.counter.begin(kind.today, "second")
    assert not kind.counter.write(kind.today, "first", {})
    assert kind.counter.seen(kind.today, ("all",)) == (3, 1)


def test_a_flush_takes_the_tokens_too(kind: Kind) -> None:
    """What was read of the ledger before a flush is written by nobody after it."""
    assert kind.counter.begin(kind.today, "slow")
    kind.flush()
    assert not kind.counter.write(kind.today, "slow", {})
    kind.build({"a|1": claim(3)})
    kind.flush()
    assert not kind.counter.write(kind.today, "slow", {})
    assert not kind.counter.write(kind.today, "builder", {})
    assert kind.counter.reserve(kind.today, "a|1", claim(3), NO_LIMIT).verdict is Verdict.MISSING


def test_another_run_of_the_server_has_no_counter(kind: Kind) -> None:
    """A restart that brings all back may have lost the last of it: no counter, no token counts."""
    if kind.restart is None:
        pytest.skip("a node of a cluster is a server like the other")
    kind.build({"a|1": claim(3)})
    assert kind.counter.begin(kind.today + 1, "before")
    kind.restart()
    assert kind.counter.reserve(kind.today, "a|1", claim(3), NO_LIMIT).verdict is Verdict.MISSING
    assert kind.counter.seen(kind.today, ("all",)) is None
    assert not kind.counter.write(kind.today + 1, "before", {})
    kind.build({"a|1": claim(3), "b|1": claim(4)})
    assert kind.counter.seen(kind.today, ("all",)) == (7, 2)


def test_days_are_apart_and_near(kind: Kind) -> None:
    """A charge counts in its own day, over midnight; one of another week is a wrong clock's."""
    for day in (kind.today - 1, kind.today, kind.today + 1):
        kind.build(day=day)
        assert kind.counter.reserve(day, "a|1", claim(5), (5, 5, 5)).verdict is Verdict.GRANTED
    for day in (kind.today - 3, kind.today + 3):
        assert kind.counter.reserve(day, "b|1", claim(1), NO_LIMIT).verdict is Verdict.DAY


def test_a_counter_of_many_claims_is_written_whole(kind: Kind) -> None:
    """It is there with all of them, however many calls that takes."""
    kind.build({f"job|{number}": claim(2) for number in range(3 * FIELDS_MAX)})
    assert kind.counter.seen(kind.today, ("all",)) == (6 * FIELDS_MAX, 3 * FIELDS_MAX)


def test_no_answer_is_neither_yes_nor_no(own_redis: RedisServer) -> None:
    """Where Redis is away, or has no memory for a claim, the caller is told so."""
    today = int(time.time() * 1000) // DAY_MS
    cache = open_cache(f"redis://{own_redis.address}", 1.0)
    assert isinstance(cache, redis.Redis)
    counter = RedisCounter(cache)
    assert counter.begin(today, "t")
    assert counter.write(today, "t", {})
    cache.config_set("maxmemory", "1mb")
    with pytest.raises(BudgetAwayError, match="memory"):
        counter.reserve(today, "a|1", claim(5), NO_LIMIT)
    own_redis.process.stop()
    with pytest.raises(BudgetAwayError, match="does not answer"):
        counter.reserve(today, "a|1", claim(5), NO_LIMIT)
    cache.close()


def test_the_documented_acl_user_may_do_all_of_it(own_redis: RedisServer) -> None:
    """`docs/budget.md` gives the rules for the worker's user: enough, and only for its keys."""
    [rules] = re.findall(r"^~budget:\* .*$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    today = int(time.time() * 1000) // DAY_MS
    admin = redis.Redis.from_url(f"redis://{own_redis.address}")
    execute: Any = admin.execute_command
    execute("ACL", "SETUSER", "sample", "on", ">secret", *rules.split())
    cache = open_cache(f"redis://sample:secret@{own_redis.address}", 5.0)
    counter = RedisCounter(cache)
    assert counter.begin(today, "t")
    assert counter.write(today, "t", {"a|1": claim(3)})
    assert counter.reserve(today, "b|1", claim(4), NO_LIMIT).verdict is Verdict.GRANTED
    assert counter.settle(today, "b|1", settled(1)).sums[0] == 4
    assert counter.seen(today, ("all",)) == (4, 2)
    admin.hset(f"budget:{{{today}}}", "run", "another")
    assert counter.begin(today, "again")
    with pytest.raises(redis.RedisError):
        cache.get("features:payments:account:1:ring")
    cache.close()
    admin.close()
