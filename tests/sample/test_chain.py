"""Which provider is asked, and which is left alone."""

import msgspec

from enrichment.provider.contract import FailureKind
from enrichment.records import Job
from enrichment.sample.chain import BROKEN_AFTER, OPEN_MS, OPEN_MS_MAX, PROBE_MS, Chain
from tests.sample.entries import job as entry
from tests.sample.fakes import START_MS, Clock, ScriptedProvider


def at(provider: str, chosen: str = "", check_of: str = "") -> Job:
    """A job of one problem, at a provider."""
    return msgspec.structs.replace(
        entry("a", "payments"),
        provider=provider,
        chosen=chosen,
        check_of=check_of,
        shots=100,
        problems=1,
    )


class Given:
    """A chain of two scripted providers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.providers = {
            name: ScriptedProvider(name=name, clock=self.clock) for name in ("qpu", "exact")
        }
        self.chain = Chain(("qpu", "exact", "qpu"), lambda name: self.providers[name])

    def unfit(self, name: str = "qpu", left_ms: int = 1_000, check_of: str = "") -> str:
        """Why the provider is not to be asked for a job of 100 shots of one problem."""
        job = at(name, chosen=name if check_of else "", check_of=check_of)
        return self.chain.unfit(job, left_ms=left_ms, now_ms=self.clock.now_ms)

    def answered(self, execution_ms: float) -> None:
        """The chosen provider answers."""
        self.chain.answered("qpu", units=100, execution_ms=execution_ms, now_ms=self.clock.now_ms)

    def failed(self, kind: FailureKind = FailureKind.TRANSIENT, times: int = BROKEN_AFTER) -> None:
        """It fails."""
        for _ in range(times):
            self.chain.failed("qpu", kind, self.clock.now_ms)


def test_the_chain_has_an_order_and_an_end() -> None:
    """Each name once; a provider of another day's chain was its first."""
    chain = Given().chain
    assert chain.names(at("qpu")) == ("qpu", "exact")
    assert (chain.following(at("qpu")), chain.following(at("exact"))) == ("exact", None)
    assert chain.following(at("ionq")) == "exact"
    assert chain.is_fallback(at("exact"))
    assert not chain.is_fallback(at("qpu"))


def test_a_job_keeps_the_chain_that_it_was_begun_with() -> None:
    """What was chosen for it, then the file's fallbacks; what is chosen may be one of these."""
    chain = Given().chain
    assert chain.names(at("ionq", chosen="ionq")) == ("ionq", "exact", "qpu")
    assert chain.names(at("exact", chosen="exact")) == ("exact", "qpu")
    assert not chain.is_fallback(at("exact", chosen="exact"))
    assert chain.is_fallback(at("exact", chosen="ionq"))


def test_a_spot_check_has_no_fallback_and_is_judged_all_the_same() -> None:
    """Its provider is the chain; a broken one is left alone though it is the last."""
    given = Given()
    check = at("exact", chosen="exact", check_of="b")
    assert given.chain.names(check) == ("exact",)
    assert given.chain.following(check) is None
    for _ in range(BROKEN_AFTER):
        given.chain.failed("exact", FailureKind.TRANSIENT, given.clock.now_ms)
    assert given.unfit("exact") == ""
    assert "left alone" in given.unfit("exact", check_of="b")


def test_a_provider_that_fails_again_and_again_is_left_alone_and_probed() -> None:
    """Five failures open its breaker; after five seconds one job is a probe, and no second."""
    given = Given()
    given.failed(times=BROKEN_AFTER - 1)
    assert given.unfit() == ""
    given.failed(times=1)
    assert "left alone" in given.unfit()
    given.clock.now_ms += OPEN_MS
    assert given.unfit() == ""
    assert "left alone" in given.unfit()
    given.answered(1.0)
    assert given.unfit() == given.unfit() == ""


def test_a_failed_probe_waits_longer_and_not_for_ever() -> None:
    """Each doubles the wait, up to a minute."""
    given = Given()
    given.failed()
    for _ in range(8):
        given.clock.now_ms += OPEN_MS_MAX
        assert given.unfit() == ""
        given.failed(times=1)
    given.clock.now_ms += OPEN_MS_MAX - 1
    assert given.unfit()
    given.clock.now_ms += 1
    assert given.unfit() == ""


def test_what_is_our_own_doing_breaks_no_provider() -> None:
    """Quotas, cancellations and requests that are wrong say nothing of the provider's health."""
    given = Given()
    for kind in (FailureKind.QUOTA, FailureKind.CANCELLED, FailureKind.VALIDATION):
        given.failed(kind, times=20)
    assert given.unfit() == ""


def test_the_last_of_the_chain_is_always_asked() -> None:
    """Broken or late: there is nobody else."""
    given = Given()
    for _ in range(20):
        given.chain.failed("exact", FailureKind.TRANSIENT, START_MS)
    given.providers["exact"].queue_s = 3_600.0
    assert given.unfit("exact") == ""


def test_a_queue_longer_than_the_time_left_is_not_joined() -> None:
    """However often it is asked: the provider itself says that it would be too late."""
    given = Given()
    given.providers["qpu"].queue_s = 1.5
    for _ in range(5):
        assert "its queue of 1500 ms" in given.unfit()
        given.clock.now_ms += PROBE_MS
    assert given.unfit(left_ms=1_500) == ""


def test_a_run_longer_than_the_time_left_is_not_begun_but_now_and_then() -> None:
    """The pace is our own figure: one job in ten seconds finds out whether it still holds."""
    given = Given()
    given.answered(1_200.0)
    assert "a run of 1200 ms" in given.unfit()
    given.clock.now_ms += PROBE_MS
    assert given.unfit() == ""
    assert given.unfit() != ""
    for _ in range(20):
        given.answered(10.0)
    assert given.unfit() == ""


def test_what_is_not_answered_by_its_deadline_counts_as_a_failure() -> None:
    """A provider that is never in time is as good as one that is away."""
    given = Given()
    for _ in range(BROKEN_AFTER):
        given.chain.overdue("qpu", given.clock.now_ms)
    assert "left alone" in given.unfit()
