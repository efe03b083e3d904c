"""What the gate demands to see done again: which records and jobs, and what counts as right."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from enrichment.lab.proofs import (
    RESCORED_MAX,
    bad_among,
    energies_right,
    looked_through,
    to_run_again,
)
from enrichment.problem import KINDS
from enrichment.problem.ising import ising
from enrichment.provider import exact
from enrichment.provider.answer import Problem as Asked
from enrichment.provider.answer import sample_set
from enrichment.records import Experiment, Job, JobState, MicroBatch, Path, Problem
from enrichment.records.micro_batch import Cause
from enrichment.sample.flight import flags_of

EXPERIMENT = Experiment(experiment_id="e1", started_ms=100, pipeline_version="p", score_version="s")


class Message:
    """An enriched record as the topic has it, as far as it is looked at."""

    def __init__(self, number: int, value: bytes) -> None:
        self._number, self._value = number, value

    def topic(self) -> str:
        """Where it stands."""
        return "payments.enriched"

    def partition(self) -> int:
        """Of that topic."""
        return 0

    def offset(self) -> int:
        """Its number."""
        return self._number

    def value(self) -> bytes:
        """What it says."""
        return self._value


def message(number: int, **fields: Any) -> Any:
    """One of the experiment, unless told otherwise."""
    told = {
        "event_id": f"e{number}",
        "decided_at_ms": 200,
        "pipeline_version": "p",
        "score_version": "s",
        "path": "heuristic",
    }
    return Message(number, msgspec.json.encode(told | fields))


def test_the_experiments_records_alone_are_drawn() -> None:
    """Decided since it began, by its file and its table; what cannot be read is drawn, too."""
    junk: Any = Message(4, b"junk")
    seen = looked_through(
        [
            message(0),
            message(1, decided_at_ms=99),
            message(2, pipeline_version="q"),
            message(3, score_version="t"),
            junk,
        ],
        EXPERIMENT,
        None,
    )
    assert [where for where, _ in seen.sample] == ["payments.enriched/0/0", "payments.enriched/0/4"]
    assert seen.canary == set()


def test_the_draw_is_even_bounded_and_the_same_again() -> None:
    """From the whole experiment and not from its beginning."""
    messages = [message(number) for number in range(5_000)]
    one, two = (looked_through(messages, EXPERIMENT, None).sample for _ in range(2))
    assert one == two
    assert len(one) == len(set(one)) == RESCORED_MAX
    offsets = [int(where.rsplit("/", 1)[1]) for where, _ in one]
    assert 2_000 < np.mean(offsets) < 3_000


def test_a_canary_has_seen_what_it_served_since_it_began() -> None:
    """Bad by the last word on each; what it did not serve does not count, nor what came before."""
    seen = looked_through(
        [
            message(0, path="quantum", decided_at_ms=300),
            message(1, path="quantum", decided_at_ms=300),
            message(2, path="quantum", decided_at_ms=299),
            message(3, path="classical", decided_at_ms=300),
            message(4, path="quantum", decided_at_ms=300),
        ],
        EXPERIMENT,
        (Path.QUANTUM, 300),
    )
    assert seen.canary == {"e0", "e1", "e4"}

    def said(event_id: str, kind: str, at_ms: int) -> bytes:
        told = {"outcome_id": "o", "event_id": event_id, "entity": "account", "id": "a"}
        return msgspec.json.encode(told | {"shard": "eu", "kind": kind, "decided_at_ms": at_ms})

    values = [
        said("e0", "confirmed_fraud", 5),
        said("e1", "cleared", 9),
        said("e1", "confirmed_fraud", 5),
        said("e2", "confirmed_fraud", 5),
        said("e4", "cleared", 5),
        said("e4", "analyst_fraud", 6),
        b"junk",
    ]
    assert bad_among(seen.canary, values) == 2


def job(**fields: Any) -> Job:
    """A job that a circuit has answered."""
    told: dict[str, Any] = {
        "job_id": "j",
        "pipeline": "payments",
        "shard": "eu",
        "micro_batch_id": "b",
        "state": JobState.SUCCEEDED,
        "attempt": 1,
        "created_ms": 200,
        "updated_ms": 200,
        "deadline_ms": 300,
        "provider": "qsim",
        "problems": 1,
    }
    return Job(**(told | fields))


def test_the_newest_jobs_of_the_path_are_run_again() -> None:
    """Of the experiment and this pipeline; of quantum those that a circuit has answered."""
    older, newer = job(job_id="a"), job(job_id="b", created_ms=201)
    others = [
        job(pipeline="cards"),
        job(state=JobState.FALLBACK_COMPLETE),
        job(check_of="a"),
        job(problems=0),
        job(created_ms=99),
    ]
    exactly = job(job_id="c", provider="exact")
    jobs = [older, *others, exactly, newer]
    assert to_run_again(jobs, "payments", Path.QUANTUM, EXPERIMENT) == [newer, older]
    assert to_run_again(jobs, "payments", Path.CLASSICAL, EXPERIMENT) == [newer, exactly, older]


@pytest.fixture
def solved() -> tuple[MicroBatch, Any]:
    """A triangle with a tail, and what the exact solver makes of it."""
    problem = Problem(
        problem_id="p0",
        entity="account",
        nodes=("a", "b", "c", "d"),
        weights=((0, 1, 16), (0, 2, 16), (1, 2, 16), (2, 3, 3)),
        subgraph="h",
        amount_minor=0,
    )
    batch = MicroBatch(
        micro_batch_id="b",
        pipeline="payments",
        shard="eu",
        window_start_ms=0,
        window_end_ms=1,
        sequence=0,
        watermark_ms=1,
        digest_offsets=(),
        cause=Cause.WATERMARK,
        closed_at_ms=1,
        events=1,
        problems=(problem,),
        content_hash="c",
    )
    model = KINDS["ring"](problem.nodes, problem.weights, flags_of(problem))
    asked = Asked(model=ising(model), variables=problem.nodes, layers=1, shots=100, seed=7)
    return batch, sample_set(asked, "exact", exact.draw(asked))


def test_energies_are_computed_again_by_the_model(solved: tuple[MicroBatch, Any]) -> None:
    """One energy that is not its string's, or a minimum that is beaten, is an error of ours."""
    batch, drawn = solved
    assert energies_right(batch, "ring", {"classical": (drawn,), "quantum": (drawn,)}) == (2, 2)
    wrong = drawn.energies.copy()
    wrong[3] += 1e-6
    assert energies_right(batch, "ring", {"quantum": (replace(drawn, energies=wrong),)}) == (0, 1)
    proved = replace(drawn, optimum_energy=float(drawn.energies.min()) + 0.5)
    assert energies_right(batch, "ring", {"classical": (proved,)}) == (0, 1)
