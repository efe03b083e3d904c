"""What goes to IonQ and what comes back: circuits in its format, samples out of its histograms.

One circuit a problem, all of them in one batch, in the gates of the ansatz, which IonQ takes as
they are (its `qis` gate set, all qubits coupled). Qubit k is variable k, and in IonQ's answers the
k-th *lowest* bit of a decimal number. The client's own reading of them folds numbers that have too
many bits and rounds counts that are none, so histograms are read here, and checked.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import cirq
import numpy as np
from cirq_ionq.serializer import SerializedProgram, Serializer
from numpy.typing import NDArray

from enrichment.circuit.angles import Angles, ising_scaled_angles
from enrichment.circuit.ansatz import qaoa_circuit
from enrichment.circuit.template import ising_circuit_hash
from enrichment.problem.ising import Bits
from enrichment.provider.answer import Drawn, Problem, generator, sample_set
from enrichment.provider.contract import SampleRequest, SampleSet
from enrichment.provider.jobs import problems_of

GATES: Final = ("h", "zz", "rz", "rx")

SIMULATOR: Final = "simulator"

TEXT_MAX: Final = 128
"""Characters of our id in a job's name and metadata: the console shows them in one line."""

SUM_TOLERANCE: Final = 1e-4
"""2^16 probabilities that were rounded at the ninth digit add up to within 3e-5 of 1."""

COUNT_TOLERANCE: Final = 0.01
"""Shots: a share that was rounded at the sixth digit, of 10,000 shots, is within it of a count."""

SEED_MAX: Final = 2**31 - 1
"""The noisy simulator takes a 32-bit seed."""


def job_name(job_id: str) -> str:
    """Return how a job is called at IonQ, so that people find it there: our id, or most of it."""
    if len(job_id) <= TEXT_MAX:
        return job_id
    return f"{job_id[: TEXT_MAX - 17]}-{sha256(job_id.encode()).hexdigest()[:16]}"


def program_of(request: SampleRequest, *, target: str, noise_model: str) -> SerializedProgram:
    """Return the request as one batch, its circuits in the order of its problems."""
    circuits: list[cirq.AbstractCircuit] = [
        qaoa_circuit(model, *_angles(problem), measure=False)
        for model, problem in zip(request.models, problems_of(request), strict=True)
    ]
    noise = {}
    if noise_model:
        noise = {"model": noise_model, "seed": int(_digest(request)[:8], 16) % SEED_MAX}
    program = Serializer().serialize_many_circuits(
        circuits,
        noise=noise,
        # What a device does unasked: then a share would be no share of shots any more.
        error_mitigation=None if target == SIMULATOR else {"debiasing": False},
    )
    # In place of the client's: measurements are all qubits in order, and many would not fit there.
    program.metadata = {"job": job_name(request.job_id), "circuits": _digest(request)}
    return program


def sets_of(
    request: SampleRequest, job: Mapping[str, Any], histograms: Any, *, target: str, exact: bool
) -> tuple[SampleSet, ...]:
    """Return the checked sample sets of a job's histograms; raises where they are not the answer.

    Histograms are counts as shares of the shots or, if `exact`, probabilities, from which shots
    are drawn here with the request's seeds.
    """
    _check_job(request, job, target)
    answers = _in_order(job, histograms)
    problems = problems_of(request)
    if len(answers) != len(problems):
        msg = f"{len(answers)} answers for {len(problems)} circuits"
        raise ValueError(msg)
    sets: list[SampleSet] = []
    for problem, histogram in zip(problems, answers, strict=True):
        states, shares = _read(histogram, problem.model.size)
        random = generator(problem, "ionq")
        if exact:
            shots = random.choice(states, size=problem.shots, p=shares / shares.sum())
        else:
            shots = random.permutation(_counted(states, shares, problem.shots))
        gammas, betas = _angles(problem)
        found = Drawn(
            bits=_bits(shots, problem.model.size),
            circuit_hash=ising_circuit_hash(problem.model, gammas, betas),
            gammas=gammas,
            betas=betas,
        )
        sets.append(sample_set(problem, "ionq", found))
    return tuple(sets)


def _check_job(request: SampleRequest, job: Mapping[str, Any], target: str) -> None:
    """Raise ValueError where the job is not the request's: circuits, shots, backend, qubits."""
    metadata = job.get("metadata") or {}
    shots = job.get("shots", metadata.get("shots"))
    qubits = (job.get("stats") or {}).get("qubits")
    size = max(model.num_variables for model in request.models)
    faults = (
        (metadata.get("circuits") != _digest(request), "an answer to other circuits"),
        (int(shots) != request.shots, f"{shots} shots for {request.shots}"),
        (not str(job.get("backend")).startswith(target), f"run on {job.get('backend')}"),
        (qubits is not None and int(qubits) < size, f"{qubits} qubits for {size} variables"),
    )
    for wrong, text in faults:
        if wrong:
            raise ValueError(text)


def _in_order(job: Mapping[str, Any], histograms: Any) -> list[Any]:
    """Return a batch's histograms in the order of its circuits.

    They come under their own jobs' ids, which is an order only as long as nobody reorders an
    object's keys: where the job names its children they have to agree.
    """
    if not isinstance(histograms, dict):
        msg = f"histograms by job were expected: {type(histograms).__name__}"
        raise TypeError(msg)
    children = job.get("child_job_ids")
    if children is not None and list(children) != list(histograms):
        msg = f"answers of {list(histograms)[:3]}..., children {list(children)[:3]}..."
        raise ValueError(msg)
    return list(histograms.values())


def _read(histogram: Any, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return a histogram's states and their shares; raises where it is no distribution."""
    if not isinstance(histogram, dict) or not all(str(key).isdecimal() for key in histogram):
        msg = f"not a histogram: {str(histogram)[:80]}"
        raise ValueError(msg)
    states = [int(key) for key in histogram]
    shares = [float(value) for value in histogram.values()]
    if len(set(states)) != len(states) or not all(state < 2**size for state in states):
        msg = f"states are not distinct numbers of {size} bits: {states[:5]}..."
        raise ValueError(msg)
    # NaN fails every comparison, so "all within" and not "any beyond".
    if not all(0.0 <= share <= 1.0 + SUM_TOLERANCE for share in shares):
        msg = f"shares are not numbers from 0 to 1: {shares[:5]}..."
        raise ValueError(msg)
    if abs(sum(shares) - 1.0) > SUM_TOLERANCE:
        msg = f"shares add up to {sum(shares)}"
        raise ValueError(msg)
    return np.array(states, dtype=np.int64), np.array(shares)


def _counted(
    states: NDArray[np.int64], shares: NDArray[np.float64], shots: int
) -> NDArray[np.int64]:
    """Return the shots that were counted, in the order of the states."""
    counts = np.rint(shares * shots)
    if np.abs(shares * shots - counts).max() > COUNT_TOLERANCE or counts.sum() != shots:
        msg = f"shares are not counts of {shots} shots: {counts.sum():g} of them"
        raise ValueError(msg)
    return np.repeat(states, counts.astype(np.int64))


def _bits(states: NDArray[np.int64], size: int) -> Bits:
    """Return states as bits, variable 0 the lowest."""
    return ((states[:, None] >> np.arange(size)) & 1).astype(np.uint8)


def _angles(problem: Problem) -> Angles:
    """Return a problem's angles."""
    return ising_scaled_angles(problem.model, problem.layers)


def _digest(request: SampleRequest) -> str:
    """Return a hash of all that decides the samples: circuits, shots and seeds, in their order."""
    hashed = sha256(",".join(f"{number:d}" for number in (request.shots, *request.seeds)).encode())
    for problem in problems_of(request):
        hashed.update(ising_circuit_hash(problem.model, *_angles(problem)).encode())
    return hashed.hexdigest()[:32]
