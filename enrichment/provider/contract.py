"""The narrow contract of whatever samples: no Cirq or protobuf type in it.

A provider takes a request under a job id *that we choose*, never blocks the caller's thread, and
answers with values: failures too are values, of a few kinds that say what may be done about them.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

import dimod
import numpy as np
from numpy.typing import NDArray

from enrichment.circuit.angles import LAYERS_MAX
from enrichment.circuit.marginals import BITS_MAX, Summary
from enrichment.circuit.readout import Corrected
from enrichment.circuit.template import TEMPLATES
from enrichment.problem.ising import Bits, Floats

VARIABLES_MAX: Final = 20
"""16 MiB of complex128 amplitudes, and 2^20 energies for the exact twin."""

STRING_MAX: Final = BITS_MAX
"""What a classical sampler may be asked: strings are counted as 64-bit integers."""

PROBLEMS_MAX: Final = 64
"""The problems of one micro-batch: a tenth of a second of one core at n = 12."""

SHOTS_MAX: Final = 10_000
"""Beyond, a job's answer would pass 100 MiB, and no figure gains from more shots."""

COEFFICIENT_MAX: Final = 1e6
"""A coefficient in energy units; quantised to 2^-30 it still fits a 64-bit integer."""

TWINS: Final = ("classical", "exact", "annealing", "random", "simulator")
"""What may be asked for beside the samples: `classical` is exact up to CLASSICAL_EXACT_MAX,
`simulator` the request's own circuit without noise."""

CLASSICAL_EXACT_MAX: Final = 16
"""Up to here the classical twin is the exact solution, above it simulated annealing."""


class FailureKind(StrEnum):
    """What a failure allows: transient and quota may be retried in the deadline, the rest never."""

    TRANSIENT = "transient"
    """The provider was away, a worker process died: the same request may be sent again."""
    QUOTA = "quota"
    """A limit is reached, ours or the provider's: later may do."""
    PERMISSION = "permission"
    VALIDATION = "validation"
    """The request can never be served as it is."""
    ALGORITHM = "algorithm"
    """The answer is not one (shape, shots, order, NaN), or the solver raised: a bug."""
    CANCELLED = "cancelled"
    """Given up by us: cancelled, or its deadline has passed."""
    UNKNOWN = "unknown"
    """The provider may or may not have accepted or run it; never repeated blindly."""


LATER: Final = (FailureKind.TRANSIENT, FailureKind.QUOTA)
"""What may pass by itself."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleRequest:
    """One job: up to PROBLEMS_MAX models to be sampled under one id, with one deadline.

    `seeds` holds one 64-bit seed per model; `deadline_ms` is Unix time; `layers` is the ansatz's
    depth (ignored by classical samplers); `twins` names classical samplers whose answers come back
    beside the samples, in the same hop.
    """

    job_id: str
    models: tuple[dimod.BinaryQuadraticModel, ...]
    template: str
    template_version: int
    layers: int
    shots: int
    seeds: tuple[int, ...]
    deadline_ms: int
    twins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceRun:
    """How one problem's circuit was run on a device, virtual or real.

    `qubits[k]` is the qubit that held variable k at the measurement; `depth` counts moments, the
    measurement among them, and `two_qubit_gates` native ones, both after compilation; `line_cost`
    is that of `enrichment.circuit.lines`. `mean_energy` and `marginals` say whether the readout's
    errors were taken out of them; the sample set's own figures are always as read.
    """

    processor: str
    calibration_id: str
    qubits: tuple[str, ...]
    depth: int
    two_qubit_gates: int
    line_cost: float
    mean_energy: Corrected[float]
    marginals: Corrected[Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """The earlier request whose samples these are, kept since: when it was paid for, and as what.

    `seed` is what that request asked for, though a device knows none.
    """

    job_id: str
    provider_job_id: str
    calibration_id: str
    seed: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleSet:
    """The samples of one model: `bits` of shape (shots, n), columns in the model's variable order.

    `energies`, shape (shots,), and `summary` are computed from the bits, never taken from a
    provider. `marginals`, shape (n,), are the exact Gibbs marginals P(x_i = 1) at `temperature` (in
    energy units), and `optimum_energy` the proven minimum: both only from the exact solver. The
    circuit hash and the angles are only there where a circuit was run, `device_run` where that was
    on a device. `kept` is set where nothing was run, because an earlier request had the same
    circuit: samples of the same distribution, but the same ones, and no new evidence.
    """

    sampler: str
    variables: tuple[Hashable, ...]
    bits: Bits
    energies: Floats
    summary: Summary
    seed: int
    marginals: Floats | None = None
    temperature: float | None = None
    optimum_energy: float | None = None
    circuit_hash: str = ""
    gammas: tuple[float, ...] = ()
    betas: tuple[float, ...] = ()
    device_run: DeviceRun | None = None
    kept: Paid | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """A job's answer: one sample set per model, in the request's order; the same for each twin.

    Ids, calibration, times and cost are of what was run for this job; where all samples are kept
    ones, `provider_job_id` names the jobs that were, and times and cost are 0.
    """

    job_id: str
    provider: str
    provider_job_id: str
    sets: tuple[SampleSet, ...]
    twins: Mapping[str, tuple[SampleSet, ...]] = field(default_factory=dict)
    calibration_id: str = ""
    queue_ms: float = 0.0
    execution_ms: float = 0.0
    cost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A job's failure, as a value: what may be done about it, and what happened, for people."""

    kind: FailureKind
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """An accepted submission; `attached` where the job was already known and nothing new began."""

    job_id: str
    provider_job_id: str
    attached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A job that is neither done nor failed; `queue_s` estimates its wait, 0 once it runs."""

    job_id: str
    queue_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a provider says of itself now; a simulator has no calibration ("" and 0) and no price.

    `qubits_max` bounds the variables of one model; `queue_s` estimates the wait of a new job.
    `conditions` are what samples depend on beside request, seed and SDKs, where that is known.
    """

    name: str
    qubits_max: int
    gate_set: tuple[str, ...]
    calibration_id: str
    calibration_time_ms: int
    queue_s: float
    price_per_shot: float
    idempotent_submission: bool
    sdk_versions: Mapping[str, str]
    conditions: Mapping[str, str] = field(default_factory=dict)
    # How many jobs of one caller it has room for at once.
    jobs_max: int = 32


class Provider(Protocol):
    """Whatever samples. No method blocks for longer than a local hand-over takes."""

    def submit(self, request: SampleRequest) -> Handle | Failure:
        """Start a job, or attach to the one that runs or has succeeded under its id."""
        ...

    def poll(self, job_id: str) -> Running | Result | Failure:
        """Return how the job stands; a terminal answer may be fetched again for a while."""
        ...

    def cancel(self, job_id: str) -> Failure | None:
        """Give the job up: None where it was known and is not succeeded, else why not."""
        ...

    def describe(self) -> Description:
        """Return what the provider is, and how busy."""
        ...

    def close(self) -> None:
        """Let go of what the provider holds; open jobs are given up."""
        ...


def refusal(request: SampleRequest, *, variables_max: int, now_ms: int) -> Failure | None:
    """Return why no provider with this bound could serve the request, or None: the first fault."""
    fault = _shape_fault(request) or _model_fault(request, variables_max)
    if fault:
        return Failure(kind=FailureKind.VALIDATION, detail=fault)
    if request.deadline_ms <= now_ms:
        late_ms = now_ms - request.deadline_ms
        return Failure(kind=FailureKind.CANCELLED, detail=f"deadline passed {late_ms} ms ago")
    return None


def _shape_fault(request: SampleRequest) -> str:
    """Return what is wrong with the request's numbers, or ""."""
    count = len(request.models)
    unknown = [twin for twin in request.twins if twin not in TWINS]
    faults = (
        (not request.job_id, "job_id is empty"),
        (not 1 <= count <= PROBLEMS_MAX, f"models must be 1 to {PROBLEMS_MAX}: {count}"),
        (len(request.seeds) != count, f"one seed per model: {len(request.seeds)} for {count}"),
        (
            not all(0 <= seed < 2**64 for seed in request.seeds),
            "seeds must be unsigned 64-bit integers",
        ),
        (
            not 1 <= request.shots <= SHOTS_MAX,
            f"shots must be 1 to {SHOTS_MAX}: {request.shots}",
        ),
        (
            not 1 <= request.layers <= LAYERS_MAX,
            f"layers must be 1 to {LAYERS_MAX}: {request.layers}",
        ),
        (
            (request.template, request.template_version) not in TEMPLATES,
            f"unknown template {request.template!r} version {request.template_version}",
        ),
        (bool(unknown), f"unknown twins {unknown}: known are {list(TWINS)}"),
    )
    return next((text for wrong, text in faults if wrong), "")


def _model_fault(request: SampleRequest, variables_max: int) -> str:
    """Return what is wrong with the first model that cannot be sampled, or ""."""
    for position, model in enumerate(request.models):
        size = model.num_variables
        if not 1 <= size <= variables_max:
            return f"model {position}: variables must be 1 to {variables_max}: {size}"
        for twin in ("exact", "simulator"):
            if twin in request.twins and size > VARIABLES_MAX:
                return f"model {position}: the {twin} twin takes at most {VARIABLES_MAX}: {size}"
        vectors = model.to_numpy_vectors()
        values: NDArray[np.float64] = np.concatenate(
            (vectors.linear_biases, vectors.quadratic.biases, [float(vectors.offset)])
        )
        # NaN fails every comparison, so "all within" and not "any beyond".
        if not bool((np.abs(values) <= COEFFICIENT_MAX).all()):
            return f"model {position}: a coefficient is not finite or beyond {COEFFICIENT_MAX:g}"
    return ""
