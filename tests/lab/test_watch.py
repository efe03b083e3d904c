"""What a watcher counts: lost, doubled, finished."""

from collections import Counter

from enrichment.lab.watch import Seen, _Job
from enrichment.records import JobState


def test_an_input_without_an_answer_is_lost() -> None:
    """Inputs are named by partition and offset, so that repeated event ids hide nothing."""
    seen = Seen()
    seen.inputs[0] |= {1, 2, 3}
    seen.answers[0] = Counter({1: 1, 3: 1})
    assert (seen.published, seen.lost, seen.duplicated) == (3, 1, 0)


def test_a_second_answer_is_a_double() -> None:
    """Each answer beyond the first to one input counts."""
    seen = Seen()
    seen.inputs[2] |= {7}
    seen.answers[2] = Counter({7: 3})
    assert (seen.lost, seen.duplicated) == (0, 2)


def test_a_micro_batch_without_an_ended_job_is_unfinished() -> None:
    """A job that is missing from the ledger is as unfinished as one that is still pending."""
    seen = Seen()
    seen.micro_batches = {"a": (10, 1), "b": (10, 0), "c": (10, 2)}
    seen.jobs = {
        "a": _Job("a", JobState.SUCCEEDED, "qsim", 1),
        "b": _Job("b", JobState.PENDING),
    }
    assert seen.unfinished_jobs() == 2
    assert seen.quantum_jobs_succeeded() == 1
    assert seen.windowed == 30
    assert seen.problems == 3
