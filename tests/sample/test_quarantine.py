"""A job that ends its workers is set aside and the innocent are not; failures have a shape."""

import pytest

from enrichment.provider.contract import Failure, FailureKind, Handle, SampleRequest
from enrichment.records import JobState, MicroBatch
from enrichment.sample.quarantine import ADOPTIONS_MAX, SUSPECT_AT, hopeless, shape_of
from tests.sample.fakes import Bench, ScriptedProvider
from tests.sample.streams import batch, problem

CHAIN = ("qsim", "exact", "annealing")
V, A, T = FailureKind.VALIDATION, FailureKind.ALGORITHM, FailureKind.TRANSIENT


class WorkerKilledError(Exception):
    """The process is gone."""


class Deadly(ScriptedProvider):
    """A provider whose client takes the worker along at one job, or at every `nth` other."""

    victim: str

    def submit(self, request: SampleRequest) -> Handle | Failure:
        """Kill at the job."""
        if request.job_id.startswith(self.victim):
            raise WorkerKilledError
        return ScriptedProvider.submit(self, request)


def deadly(victim: MicroBatch, *batches: MicroBatch) -> tuple[Bench, int]:
    """A bench that has lived through the victim, and how many workers that took."""
    bench = Bench()
    killer = Deadly(name="qsim", clock=bench.clock)
    killer.victim = victim.micro_batch_id
    bench.providers = {**bench.providers, "qsim": killer}
    bench.restart()
    bench.send(*batches)
    killed = 0
    for _ in range(400):
        try:
            bench.turn(10)
        except WorkerKilledError:
            killed += 1
            assert killed < 50, "it goes on and on"
            bench.restart()
    return bench, killed


@pytest.mark.parametrize("place", [0, 4, 11])
def test_a_job_that_ends_its_workers_is_quarantined_and_the_others_are_done(place: int) -> None:
    """Wherever it stands among the jobs of its shard and another: it alone is set aside."""
    batches = [
        batch(number, (problem(0, seed=number),), shard="eu" if number % 3 else "us")
        for number in range(12)
    ]
    bench, killed = deadly(batches[place], *batches)
    jobs = bench.topics.jobs()
    assert {one for one, job in jobs.items() if job.quarantined} == {batches[place].micro_batch_id}
    states = [jobs[one.micro_batch_id].state for one in batches]
    assert states.pop(place) is JobState.FAILED
    assert set(states) == {JobState.SUCCEEDED}
    assert killed == ADOPTIONS_MAX + 1
    detail = jobs[batches[place].micro_batch_id].detail
    assert detail == f"found unfinished {ADOPTIONS_MAX} times, last as pending"


def test_two_that_end_their_workers_are_both_found() -> None:
    """One after the other: the count of each goes on while it is at work."""
    batches = [batch(number, (problem(0, seed=number),)) for number in range(6)]
    bench = Bench()
    killer = Deadly(name="qsim", clock=bench.clock)
    bench.providers = {**bench.providers, "qsim": killer}
    bench.restart()
    bench.send(*batches)
    wanted = {batches[1].micro_batch_id, batches[4].micro_batch_id}
    for _ in range(400):
        jobs = bench.topics.jobs()
        open_ = [one for one in sorted(wanted) if one not in jobs or not jobs[one].quarantined]
        killer.victim = open_[0] if open_ else "nobody"
        try:
            bench.turn(10)
        except WorkerKilledError:
            bench.restart()
    jobs = bench.topics.jobs()
    assert {one for one, job in jobs.items() if job.quarantined} == wanted
    assert [job.state for job in jobs.values()].count(JobState.SUCCEEDED) == 4


def test_a_job_that_has_lived_through_a_rollout_is_no_suspect() -> None:
    """A few adoptions are taken up at once, together."""
    bench = Bench()
    bench.providers["qsim"].holds = True
    bench.send(*(batch(number, (problem(0),)) for number in range(4)))
    bench.turns(40)
    for adopted, at_work in ((SUSPECT_AT, 4), (1, 1)):
        for _ in range(adopted):
            before = len(bench.topics.events())
            bench.restart()
            bench.turns(40)
        told = [event.event for event in bench.topics.events()[before:]]
        assert told.count("ProviderAccepted") == at_work
    bench.providers["qsim"].holds = False
    bench.turns(40)
    assert {job.state for job in bench.topics.jobs().values()} == {JobState.SUCCEEDED}


@pytest.mark.parametrize(
    ("failures", "hopeless_"),
    [
        ({"qsim": V, "exact": V, "annealing": A}, True),
        ({"qsim": V, "exact": T, "annealing": A}, False),
        ({"qsim": V, "exact": V}, False),
        ({}, False),
    ],
)
def test_only_what_fails_for_good_everywhere_is_hopeless(
    failures: dict[str, FailureKind], hopeless_: bool
) -> None:
    """One provider that was away, or of which nothing is known: it may do well tomorrow."""
    assert hopeless(CHAIN, failures) is hopeless_


@pytest.mark.parametrize(("kind", "quarantined"), [(V, True), (A, True), (T, False)])
def test_a_job_that_no_provider_can_do_is_quarantined(kind: FailureKind, quarantined: bool) -> None:
    """Refused for good by the whole chain: failed, and set aside where it lies in the job."""
    bench = Bench()
    for provider in bench.providers.values():
        provider.refusals[:] = [Failure(kind=kind, detail="12 variables are too many")] * 20
    bench.send(batch(1, (problem(0),)))
    bench.turns(200, ms=200)
    (job,) = bench.topics.jobs().values()
    assert (job.state, job.quarantined) == (JobState.FAILED, quarantined)
    assert "12 variables are too many" in job.detail


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("qsim: algorithm: p0: 12 of 100", "qsim: algorithm: p7: 3 of 1000"),
        (
            "ionq: transient: job 3f0a1c9e-aa12-4bd0 is away",
            "ionq: transient: job 9912ab77 is away",
        ),
        ("x: unknown: 'payments|eu|1|0' is lost", "x: unknown: 'payments|us|22|1' is lost"),
        ("x: no payments|eu|1700000002000|0", "x: no cards|all|17|3"),
        ("took 1.5e-3 s", "took 27 s"),
    ],
)
def test_failures_that_differ_in_ids_and_numbers_have_one_shape(one: str, other: str) -> None:
    """So that a thousand of them are one line."""
    assert shape_of(one) == shape_of(other)


def test_failures_of_other_providers_or_kinds_have_other_shapes() -> None:
    """Provider, kind and the words stay."""
    details = [
        "qsim: transient: away",
        "ionq: transient: away",
        "qsim: quota: away",
        "no faces added",
    ]
    assert len({shape_of(detail) for detail in details}) == 4
    assert shape_of("no faces added") == "no faces added"
