"""A job that was given kept samples says so wherever it is read about, and teaches no pace."""

from dataclasses import replace

from enrichment.provider.contract import Paid, Result
from tests.sample.fakes import Bench
from tests.sample.streams import batch, problem

PAID = Paid(
    job_id="payments|eu|7|2|0",
    provider_job_id="there-1",
    calibration_id="c1",
    seed=5,
    at_ms=1_700_000_000_000,
)


def first_kept(result: Result) -> Result:
    """The answer with its first problem's samples those of an earlier job."""
    one, *rest = result.sets
    return replace(result, sets=(replace(one, kept=PAID), *rest), calibration_id="c2")


def all_kept(result: Result) -> Result:
    """The answer with nothing run for it."""
    sets = tuple(replace(one, kept=PAID) for one in result.sets)
    return replace(result, sets=sets, execution_ms=0.0)


def test_lineage_says_whose_samples_they_are() -> None:
    """The job's last event names the request, its id there, seed, time and calibration.

    Features bear the calibration that their samples were drawn under, and the job that drew them.
    """
    bench = Bench()
    bench.providers["qsim"].answers[:] = [first_kept]
    bench.send(batch(1, (problem(0), problem(1))))
    bench.turns(8)
    (told,) = (event.kept for event in bench.topics.events() if event.kept)
    (found,) = told.values()
    assert set(told) == {"p0"}
    assert (found.request_id, found.provider_job_id) == ("payments|eu|7|2|0", "there-1")
    assert (found.calibration_id, found.seed) == ("c1", 5)
    assert found.paid_at_ms == PAID.at_ms
    sources = {
        (source.problem_id, source.calibration_id, source.kept_job_id, source.job_id)
        for _, update in bench.topics.features()
        if (source := update.source) is not None
    }
    job_id = bench.sent[0].micro_batch_id
    assert sources == {("p0", "c1", "payments|eu|7", job_id), ("p1", "c2", "", job_id)}


def test_what_was_kept_says_nothing_of_the_pace() -> None:
    """A provider is as slow as the last time that it ran something."""
    bench = Bench()
    bench.providers["qsim"].answers[:] = [lambda result: result, all_kept, all_kept]
    bench.send(batch(1, (problem(0), problem(1))))
    bench.turns(8)
    chain = bench.worker._chain
    before = chain.shot_ms("qsim")
    assert before
    bench.send(batch(2, (problem(0), problem(1))), batch(3, (problem(0), problem(1))))
    bench.turns(8)
    assert len(bench.providers["qsim"].accepted) == 3
    assert chain.shot_ms("qsim") == before
