"""The provider over our own processes: one task a job, samples and twins in a single hop.

A sampler is a module of this room with ``draw(problem) -> Drawn``; deadlines and failures are the
same for all of them and live here, ids and what is kept in `enrichment.provider.jobs`.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import MappingProxyType
from typing import Final

import numpy as np

from enrichment.circuit import direct
from enrichment.problem.ising import Ising
from enrichment.provider import PROVIDERS
from enrichment.provider.answer import Drawn, Problem, sample_set
from enrichment.provider.contract import (
    CLASSICAL_EXACT_MAX,
    Description,
    Failure,
    FailureKind,
    SampleRequest,
    SampleSet,
)
from enrichment.provider.jobs import Done, Jobs, kind_of, problems_of, versions_of
from enrichment.provider.pool import Pool, stopping

SDKS: Final = ("cirq-core", "cirq-google", "qsimcirq", "dimod", "dwave-samplers", "numpy")

LIGHT: Final = ("qsim", "exact", "annealing", "random")
"""What every child loads, twins and fallbacks among it: a second of imports that they share."""

HEAVY: Final = ("virtual",)
"""What a child loads only where it is the pipeline's provider: cirq-google takes five seconds, a
half second's noise model follows, and a job that waits for them would spend its deadline."""

SIMULATOR: Final = "qsim"
"""What a device's samples are checked against: the same circuit, seed and shots without noise."""

SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {"qsim": direct.SETTINGS}
"""By sampler: what its samples depend on beside the class of machine, and can be set in code."""

FAILURES: Final[tuple[tuple[type[BaseException], FailureKind], ...]] = (
    (BrokenProcessPool, FailureKind.TRANSIENT),
    (MemoryError, FailureKind.TRANSIENT),
    (CancelledError, FailureKind.CANCELLED),
    (Exception, FailureKind.ALGORITHM),
)
"""What an exception means, the first that fits: a process that died may live the next time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """One job on its way to a child: `until_s` is the wall clock's deadline.

    Where `sampler` is empty only the twins are computed: the samples come from elsewhere.
    """

    sampler: str
    problems: tuple[Problem, ...]
    twins: tuple[str, ...]
    until_s: float
    calibration_id: str = ""
    # What the sampler's `draw` is told beside the problem, by name; twins are told nothing.
    options: Mapping[str, float] = field(default_factory=dict)


class Local(Jobs):
    """A provider whose work is done in a pool of our own processes; the pool is the caller's.

    A job runs to its end once a child has begun it, or to the problem at which its deadline
    passes: cancelling gives up the answer at once and the work only where it has not begun.
    """

    def __init__(
        self,
        name: str,
        pool: Pool,
        now_ms: Callable[[], int],
        *,
        variables_max: int,
        gate_set: tuple[str, ...] = (),
        calibration: tuple[str, int] = ("", 0),
    ) -> None:
        """Serve sampler `name` (a key of PROVIDERS) over `pool`.

        `calibration` is a device's: its id, and its Unix time in milliseconds.
        """
        super().__init__(name, now_ms, variables_max=variables_max)
        self._pool = pool
        self._gate_set = gate_set
        self._calibration = calibration
        # See `Work`. They are conditions of what is sampled.
        self._options: Mapping[str, float] = {}

    def describe(self) -> Description:
        """Return what this provider is; its queue is the pool's, at the pace of the last tasks."""
        return Description(
            name=self.name,
            qubits_max=self._variables_max,
            gate_set=self._gate_set,
            calibration_id=self._calibration[0],
            calibration_time_ms=self._calibration[1],
            queue_s=self._queue_s(),
            price_per_shot=0.0,
            idempotent_submission=True,
            sdk_versions=versions_of(*SDKS),
            conditions={
                "machine": direct.machine_class(),
                **SETTINGS.get(self.name, {}),
                **{name: f"{value:g}" for name, value in self._options.items()},
            },
            jobs_max=min(self.jobs_max, self._pool.in_flight_max),
        )

    def _begin(self, request: SampleRequest, until_s: float) -> "Future[Done | Failure] | Failure":
        """Hand the job to a child."""
        work = work_of(request, self.name, until_s, calibration_id=self._calibration[0])
        return self._pool.submit(solve, replace(work, options=self._options))

    def _failure_of(self, error: BaseException) -> Failure:
        """Return what an exception that came from a child means."""
        return failure_of(error)

    def _queue_s(self) -> float:
        """Return how long a new job would wait for a child."""
        return self._pool.in_flight * self._task_s / self._pool.workers


def failure_of(error: BaseException) -> Failure:
    """Return what an exception means, by FAILURES."""
    return Failure(kind=kind_of(error, FAILURES), detail=f"{type(error).__name__}: {error}")


def work_of(
    request: SampleRequest, sampler: str, until_s: float, *, calibration_id: str = ""
) -> Work:
    """Return a request as a child does it, each twin once."""
    return Work(
        sampler=sampler,
        problems=problems_of(request),
        twins=tuple(dict.fromkeys(request.twins)),
        until_s=until_s,
        calibration_id=calibration_id,
    )


def solve(work: Work) -> Done | Failure:
    """Run one job in a child: each problem's samples and twins, until the deadline or the end."""
    started_s = time.time()
    sets: list[SampleSet] = []
    twins: dict[str, list[SampleSet]] = {name: [] for name in work.twins}
    for position, problem in enumerate(work.problems):
        if stopping() or time.time() >= work.until_s:
            why = "the pool is closing" if stopping() else "deadline passed"
            detail = f"{why} after {position} of {len(work.problems)} problems"
            return Failure(kind=FailureKind.CANCELLED, detail=detail)
        try:
            if work.sampler:
                sets.append(_sample(work.sampler, problem, work.options))
            for name in work.twins:
                twins[name].append(_sample(_twin(name, problem.model), problem))
        except Exception as error:  # noqa: BLE001  # a failure is a value here, by the table
            failure = failure_of(error)
            return Failure(kind=failure.kind, detail=f"problem {position}: {failure.detail}")
    return Done(
        sets=tuple(sets),
        twins={name: tuple(answers) for name, answers in twins.items()},
        started_s=started_s,
        execution_ms=(time.time() - started_s) * 1000,
        calibration_id=work.calibration_id,
    )


def warm_up(provider: str = "") -> None:
    """Load and run local samplers once, on a model of two variables: those that `provider` needs.

    One whose work is not local needs no more than the light ones, for its twins.
    """
    model = Ising(
        h=np.array([0.0, 0.1]),
        rows=np.array([0]),
        cols=np.array([1]),
        couplings=np.array([-0.5]),
        offset=0.0,
    )
    problem = Problem(model=model, variables=(0, 1), layers=1, shots=2, seed=0)
    for name in (*LIGHT, *(name for name in HEAVY if name == provider)):
        _sample(name, problem)


def _twin(name: str, model: Ising) -> str:
    """Return the sampler behind a twin's name."""
    if name == "classical":
        return "exact" if model.size <= CLASSICAL_EXACT_MAX else "annealing"
    return SIMULATOR if name == "simulator" else name


def _sample(
    name: str, problem: Problem, options: Mapping[str, float] = MappingProxyType({})
) -> SampleSet:
    """Return one sampler's checked answer to one problem."""
    drawn: Drawn = import_module(PROVIDERS[name]).draw(problem, **options)
    return sample_set(problem, name, drawn)
