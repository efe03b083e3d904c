"""What is no answer is a failure of the algorithm, and never a feature: each fault by itself.

Each goes through the whole worker, whose provider answers with it: the job is not tried again, the
fallback is what is published, and the reason is in the job's history.
"""

import pytest

from enrichment.provider.contract import Result
from enrichment.records import JobState
from enrichment.sample.estimate import answers_of
from enrichment.sample.fault import fault_of
from enrichment.stream.topics import FEATURES
from tests.sample.fakes import Bench
from tests.sample.faulty import FAULTS
from tests.sample.streams import batch, problem


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_result_goes_to_the_fallback_and_is_never_a_feature(name: str) -> None:
    """Asked once, told why, and every feature is the classical fallback's, of whole numbers."""
    fault, words = FAULTS[name]
    bench = Bench()
    bench.providers["qsim"].answers[:] = [fault]
    bench.send(batch(1, (problem(0), problem(1))))
    bench.turns(8)
    job = bench.topics.jobs()[bench.sent[0].micro_batch_id]
    assert (job.state, job.provider) == (JobState.FALLBACK_COMPLETE, "exact")
    assert len(bench.providers["qsim"].accepted) == 1
    (reason,) = (
        event.detail for event in bench.topics.events() if event.event == "ProviderGivenUp"
    )
    assert reason.startswith("qsim: algorithm: ")
    assert words in reason
    updates = bench.topics.features()
    assert len(updates) == 2 * 8
    for _, update in updates:
        assert update.source is not None
        assert update.source.backend == "exact"
        assert set(update.estimates) == {"classical"}
    assert all(b"null" not in (value or b"") for _, value in bench.topics.records[FEATURES])


def test_a_good_result_has_no_fault() -> None:
    """The same answer without anything wrong in it: quantum features, all of them finite."""
    bench = Bench()
    seen: list[str] = []

    def look(result: Result) -> Result:
        seen.append(fault_of((problem(0), problem(1)), answers_of(result), 100))
        return result

    bench.providers["qsim"].answers[:] = [look]
    bench.send(batch(1, (problem(0), problem(1))))
    bench.turns(8)
    assert seen == [""]
    assert all("quantum" in update.estimates for _, update in bench.topics.features())
