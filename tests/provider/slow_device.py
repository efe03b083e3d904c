"""A device that takes its time, as a subclass of `Remote`: accepted at once, answered much later.

Nothing is behind it, no socket and no circuit, so that what is measured or counted is ours.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np

from enrichment.circuit.angles import ising_scaled_angles
from enrichment.circuit.readout import corrected_marginals, corrected_mean_energy
from enrichment.circuit.template import ising_circuit_hash
from enrichment.provider.answer import Drawn, Problem, sample_set
from enrichment.provider.contract import (
    VARIABLES_MAX,
    Description,
    DeviceRun,
    Failure,
    FailureKind,
    SampleRequest,
)
from enrichment.provider.jobs import Done, problems_of
from enrichment.provider.pool import Pool
from enrichment.provider.remote import Remote, Run

PRICE: Final = 0.01

SENT_MAX: Final = 16
"""Requests kept for a test to look at: the fake must not be what grows."""


class SlowDevice(Remote[Run]):
    """Answers random strings once `open` is set; counts what it was asked for.

    `run_under` is the calibration that jobs run under, where it is another than `calibration_id`,
    which is what it says of itself.
    """

    attaches = True

    def __init__(self, pool: Pool, now_ms: Callable[[], int], *, answering: bool = True) -> None:
        """Serve as `google`, whose name is as good as any."""
        super().__init__("google", pool, now_ms, Run, variables_max=VARIABLES_MAX)
        self.open = threading.Event()
        if answering:
            self.open.set()
        self.calibration_id = "c1"
        self.run_under: str | None = None
        self.conditions = {"processor": "slow"}
        self.versions = {"slow": "1"}
        self.spoil: Callable[[Done], Done] | None = None
        self.sent: deque[SampleRequest] = deque(maxlen=SENT_MAX)
        self.accepted = 0
        self.fetched = 0
        self.told: list[str] = []

    def describe(self) -> Description:
        """Say what it is."""
        return Description(
            name=self.name,
            qubits_max=self._variables_max,
            gate_set=("cz",),
            calibration_id=self.calibration_id,
            calibration_time_ms=1,
            queue_s=self._queue_s(),
            price_per_shot=PRICE,
            idempotent_submission=self.attaches,
            sdk_versions=self.versions,
            conditions=self.conditions,
            jobs_max=self.jobs_max,
        )

    def _failure_of(self, error: BaseException) -> Failure:
        return Failure(kind=FailureKind.ALGORITHM, detail=repr(error))

    def _queue_s(self) -> float:
        return 60.0

    def _advance(self, run: Run) -> Done | None:
        request = run.request
        if not run.accepted:
            self.sent.append(request)
            self.accepted += 1
            run.remote_id = f"slow-{self.accepted}"
            return None
        if not self.open.is_set():
            return None
        self.fetched += 1
        under = self.calibration_id if self.run_under is None else self.run_under
        done = Done(
            sets=tuple(
                sample_set(problem, self.name, self.drawn(problem, under))
                for problem in problems_of(request)
            ),
            twins={},
            started_s=time.time(),
            execution_ms=1.0,
            provider_job_id=run.remote_id,
            calibration_id=under,
            cost=PRICE * request.shots * len(request.models),
        )
        return self.spoil(done) if self.spoil is not None else done

    def drawn(self, problem: Problem, calibration_id: str) -> Drawn:
        """Return random strings, others each time: a device knows no seed."""
        random, size = np.random.default_rng(), problem.model.size
        bits = random.integers(0, 2, (problem.shots, size), dtype=np.uint8)
        gammas, betas = ising_scaled_angles(problem.model, problem.layers)
        run = DeviceRun(
            processor="slow",
            calibration_id=calibration_id,
            qubits=tuple(f"q{number}" for number in range(size)),
            depth=7,
            two_qubit_gates=3,
            line_cost=0.5,
            mean_energy=corrected_mean_energy(problem.model, bits, None),
            marginals=corrected_marginals(bits, None),
        )
        return Drawn(
            bits=bits,
            circuit_hash=ising_circuit_hash(problem.model, gammas, betas),
            gammas=gammas,
            betas=betas,
            device_run=run,
        )

    def _tell(self, run: Run) -> None:
        self.told.append(run.request.job_id)
