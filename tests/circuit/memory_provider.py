"""A provider in memory that answers as it was told to, for the sampler's bad days."""

import numpy as np

from enrichment.circuit.marginals import summarise
from enrichment.problem.ising import energies, ising
from enrichment.provider.contract import (
    Description,
    Failure,
    Handle,
    Result,
    Running,
    SampleRequest,
    SampleSet,
)

Answer = Failure | Running | BaseException | None


class MemoryProvider:
    """All ones, unless told otherwise; keeps what it was asked, and what was cancelled.

    `refusal` answers a submission; each of `script` answers a poll, or is raised by it, and None
    or the script's end is a result. `bits` and `circuit_hash` are what the result holds.
    """

    def __init__(
        self,
        *script: Answer,
        refusal: Failure | None = None,
        bits: np.ndarray | None = None,
        circuit_hash: str = "",
        sets: int = 1,
    ) -> None:
        """Remember the script."""
        self.script = list(script)
        self.refusal = refusal
        self.bits = bits
        self.circuit_hash = circuit_hash
        self.sets = sets
        self.requests: list[SampleRequest] = []
        self.cancelled: list[str] = []

    def submit(self, request: SampleRequest) -> Handle | Failure:
        """Accept, unless told to refuse."""
        self.requests.append(request)
        return self.refusal or Handle(job_id=request.job_id, provider_job_id="far-1")

    def poll(self, job_id: str) -> Running | Result | Failure:
        """Give the script's next answer, the last one for ever if it is a Running."""
        answer = self.script[0] if self.script else None
        if not (isinstance(answer, Running) and len(self.script) == 1):
            self.script = self.script[1:]
        if isinstance(answer, BaseException):
            raise answer
        return answer or self._result(job_id)

    def cancel(self, job_id: str) -> Failure | None:
        """Remember the job."""
        self.cancelled.append(job_id)
        return None

    def describe(self) -> Description:
        """Say that four qubits are all there is."""
        return Description(
            name="memory",
            qubits_max=4,
            gate_set=(),
            calibration_id="cal-7",
            calibration_time_ms=0,
            queue_s=0.0,
            price_per_shot=0.0,
            idempotent_submission=False,
            sdk_versions={},
        )

    def close(self) -> None:
        """Hold nothing."""

    def _result(self, job_id: str) -> Result:
        """Return the result of the last request."""
        request = self.requests[-1]
        form = ising(request.models[0])
        right = np.ones((request.shots, form.size), np.uint8)
        drawn = SampleSet(
            sampler="memory",
            variables=tuple(request.models[0].variables),
            bits=right if self.bits is None else self.bits,
            energies=energies(form, right),
            summary=summarise(right, energies(form, right)),
            seed=request.seeds[0],
            circuit_hash=self.circuit_hash,
        )
        return Result(
            job_id=job_id,
            provider="memory",
            provider_job_id="far-1",
            sets=(drawn,) * self.sets,
            calibration_id="cal-7",
        )
