"""A dimod sampler over a provider: the circuit for whoever has a model and no stream.

``CircuitSampler(provider)`` sends a model to any provider with the contract's shape; it is handed
one, and imports none. ``CircuitSampler()`` needs no provider: it runs `enrichment.circuit.direct`
(qsim) in the caller's own process, in one thread and holding the GIL, which suits a notebook or a
test. A service hands in a provider instead, whose work is done in processes of its own. Both give
the same samples for the same seed where that provider is qsim.

What is sampled is the model's QAOA circuit at `scaled_angles`. At these sizes classical methods
solve the same models as well: no advantage of a quantum circuit is claimed.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from operator import index
from typing import Any, Final
from uuid import uuid4
from zlib import crc32

import dimod
import numpy as np

from enrichment.circuit.angles import LAYERS_MAX, ising_scaled_angles
from enrichment.circuit.direct import sample as sample_directly
from enrichment.circuit.port import Drawn, Failed, Provider, Request, Solved
from enrichment.circuit.template import QAOA, QAOA_VERSION, ising_circuit_hash
from enrichment.problem.ising import Bits, Ising, ising, variables

DIRECT: Final = "qsim"
"""The name of the sampler when no provider is given; its seeds are those of the qsim provider."""

VARIABLES_MAX: Final = 20
"""Of the direct path, as of the contract: 16 MiB of amplitudes. A provider states its own bound."""

READS_MAX: Final = 10_000
"""As the contract's bound on shots, whatever samples."""

COEFFICIENT_MAX: Final = 1e6
"""As the contract's bound; quantised to 2^-30 a coefficient still fits a 64-bit integer."""

WITHIN_MS: Final = 60_000
"""How long a job may take unless the caller says otherwise: a device's queue may need more."""

PAUSE_MIN_S: Final = 0.001
PAUSE_MAX_S: Final = 0.05
"""Polls begin often, for simulators, and become seldom, for devices."""

HINTS: Final[Mapping[str, str]] = {
    "transient": "Nothing is wrong with the model: sample again.",
    "quota": "Sample again later, or with fewer reads.",
    "permission": "Check the provider's credentials and what they are allowed to do.",
    "validation": "Sampling again will not help: change the model or the arguments.",
    "algorithm": "This is a bug in the provider: report it with the model and the seed.",
    "cancelled": "Give it more time: within_ms.",
    "unknown": "The job may have run, and may be billed: look for it at the provider by its id "
    "before you sample again.",
}
"""What to do about a failure, by its kind."""


class SamplingError(RuntimeError):
    """A provider did not sample: `kind` is the contract's failure kind, `detail` what happened."""

    def __init__(self, name: str, kind: str, detail: str, *, job_id: str) -> None:
        """Say who failed, how, at which job, and what may be done about it."""
        self.kind = str(kind)
        self.detail = detail
        self.job_id = job_id
        hint = HINTS.get(self.kind, "")
        super().__init__(f"{name} failed ({self.kind}, job {job_id}): {detail}. {hint}".rstrip())


def wall_clock_ms() -> int:
    """Return Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class CircuitSampler(dimod.Sampler):  # type: ignore[misc]  # dimod is not followed by mypy
    """A `dimod.Sampler` of QAOA circuits, on a provider or, without one, on qsim in this process.

    The provider stays the caller's: closing the sampler closes nothing. Labels never reach it: it
    gets the Ising form, with positions for labels.
    """

    def __init__(
        self, provider: Provider | None = None, *, now_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        """Sample on `provider`, whose deadlines are Unix time by `now_ms`."""
        self._provider = provider
        self._now_ms = now_ms

    @property
    def parameters(self) -> dict[str, list[str]]:
        """The keyword arguments of `sample`, each with the properties that bound it."""
        return {
            "num_reads": ["num_reads_max"],
            "layers": ["layers_max"],
            "seed": [],
            "within_ms": [],
        }

    @property
    def properties(self) -> dict[str, Any]:
        """What samples and its bounds; asks the provider, so they are those of now."""
        name, variables_max = self._who()
        return {
            "sampler": name,
            "variables_max": variables_max,
            "num_reads_max": READS_MAX,
            "layers_max": LAYERS_MAX,
            "template": QAOA,
            "template_version": QAOA_VERSION,
        }

    def sample(
        self,
        bqm: dimod.BinaryQuadraticModel,
        *,
        num_reads: int = 1000,
        layers: int = 2,
        seed: int | None = None,
        within_ms: int = WITHIN_MS,
    ) -> dimod.SampleSet:
        """Return `num_reads` samples of the circuit of `bqm`, SPIN or BINARY, in its vartype.

        Columns are in the order of the model's variables, rows are not aggregated, and energies are
        the model's own. `info` holds `sampler`, `template`, `template_version`, `layers`, `seed`
        (the one used, also where none was given), `circuit_hash`, `gammas` and `betas` (empty where
        no circuit was run: a classical provider, a model without variables), and `job_id` and
        `calibration_id` (empty without a provider). A model without variables has its offset for
        its energy, and is sent to nobody.

        `within_ms` bounds the wait for a provider, after which the job is cancelled; the direct
        path cannot be interrupted and does not look at it. Raises ValueError where model or
        arguments are out of bounds, TypeError on any other keyword, `SamplingError` where the
        provider fails.
        """
        used_seed = secrets.randbits(64) if seed is None else index(seed)
        num_reads, layers, within_ms = index(num_reads), index(layers), index(within_ms)
        _check(num_reads, layers, used_seed, within_ms)
        name, variables_max = self._who()
        form = ising(bqm)
        _check_model(form, name, variables_max)
        info: dict[str, Any] = {
            "sampler": name,
            "template": QAOA,
            "template_version": QAOA_VERSION,
            "layers": layers,
            "seed": used_seed,
            "circuit_hash": "",
            "gammas": (),
            "betas": (),
            "job_id": "",
            "calibration_id": "",
        }
        if form.size == 0:
            bits = np.zeros((num_reads, 0), dtype=np.uint8)
        elif self._provider is None:
            bits = _directly(form, info, num_reads)
        else:
            bits = self._through(self._provider, form, info, (num_reads, within_ms))
        values = bits.astype(np.int8)
        if bqm.vartype is dimod.SPIN:
            values = 2 * values - 1
        return dimod.SampleSet.from_samples_bqm(
            (values, list(variables(bqm))), bqm, info=info, sort_labels=False
        )

    def _who(self) -> tuple[str, int]:
        """Return the name of what samples, and the most variables that it takes."""
        if self._provider is None:
            return DIRECT, VARIABLES_MAX
        said = self._provider.describe()
        return said.name, said.qubits_max

    def _through(
        self, provider: Provider, form: Ising, info: dict[str, Any], limits: tuple[int, int]
    ) -> Bits:
        """Return the bits that the provider drew, and put what it says of them into `info`."""
        num_reads, within_ms = limits
        # A new id for each call: the same model and seed again are to be sampled again.
        job_id = f"circuit-sampler-{uuid4().hex}"
        name = info["sampler"]
        request = Request(
            job_id=job_id,
            models=(_nameless(form),),
            template=QAOA,
            template_version=QAOA_VERSION,
            layers=info["layers"],
            shots=num_reads,
            seeds=(info["seed"],),
            deadline_ms=self._now_ms() + within_ms,
        )
        accepted = provider.submit(request)
        if isinstance(accepted, Failed):
            raise SamplingError(name, accepted.kind, accepted.detail, job_id=job_id)
        try:
            answer = _answer(provider, job_id, within_ms)
        except BaseException:
            # Also a Ctrl-C: nobody would come back for the job, which may be billed.
            provider.cancel(job_id)
            raise
        if isinstance(answer, Failed):
            raise SamplingError(name, answer.kind, answer.detail, job_id=job_id)
        if answer is None:
            detail = f"no answer within {within_ms} ms"
            provider.cancel(job_id)
            raise SamplingError(name, "cancelled", detail, job_id=job_id)
        fault = _fault(answer, form, num_reads)
        if fault:
            raise SamplingError(name, "algorithm", fault, job_id=job_id)
        drawn = answer.sets[0]
        info |= {
            "sampler": drawn.sampler,
            "circuit_hash": drawn.circuit_hash,
            "gammas": tuple(drawn.gammas),
            "betas": tuple(drawn.betas),
            "job_id": job_id,
            "calibration_id": answer.calibration_id,
        }
        return drawn.bits


def _answer(provider: Provider, job_id: str, within_ms: int) -> Failed | Solved | None:
    """Return the job's terminal answer, or None where there is none in time."""
    until_s = time.monotonic() + within_ms / 1000
    pause_s = PAUSE_MIN_S
    while True:
        answer = provider.poll(job_id)
        if isinstance(answer, Failed | Solved):
            return answer
        left_s = until_s - time.monotonic()
        if left_s <= 0.0:
            return None
        time.sleep(min(pause_s, left_s))
        pause_s = min(2.0 * pause_s, PAUSE_MAX_S)


def _directly(form: Ising, info: dict[str, Any], num_reads: int) -> Bits:
    """Return bits drawn by qsim in this process, and put the circuit's name into `info`."""
    gammas, betas = ising_scaled_angles(form, info["layers"])
    # The stream of the qsim provider for this seed: with it or without, the samples are the same.
    random = np.random.default_rng([info["seed"], crc32(DIRECT.encode())])
    bits = sample_directly(form, gammas, betas, num_reads, random)
    info |= {
        "circuit_hash": ising_circuit_hash(form, gammas, betas),
        "gammas": gammas,
        "betas": betas,
    }
    return bits


def _nameless(form: Ising) -> dimod.BinaryQuadraticModel:
    """Return the model with positions for labels: any will do, and none leaves the process."""
    return dimod.BinaryQuadraticModel.from_numpy_vectors(
        form.h, (form.rows, form.cols, form.couplings), form.offset, dimod.SPIN
    )


def _check(num_reads: int, layers: int, seed: int, within_ms: int) -> None:
    """Raise ValueError, with what was given, where an argument is out of its bounds."""
    faults = (
        (not 1 <= num_reads <= READS_MAX, f"num_reads must be 1 to {READS_MAX}: {num_reads}"),
        (not 1 <= layers <= LAYERS_MAX, f"layers must be 1 to {LAYERS_MAX}: {layers}"),
        (not 0 <= seed < 2**64, f"seed must be an unsigned 64-bit integer: {seed}"),
        (within_ms < 1, f"within_ms must be at least 1: {within_ms}"),
    )
    for wrong, text in faults:
        if wrong:
            raise ValueError(text)


def _check_model(form: Ising, name: str, variables_max: int) -> None:
    """Raise ValueError where the model is too large or has a coefficient that is no number."""
    if form.size > variables_max:
        msg = (
            f"{name} takes models of at most {variables_max} variables: {form.size}. "
            "Split the model, or hand in a provider that takes more"
        )
        raise ValueError(msg)
    values = np.concatenate((form.h, form.couplings, [form.offset]))
    # NaN fails every comparison, so "all within" and not "any beyond".
    if not bool((np.abs(values) <= COEFFICIENT_MAX).all()):
        msg = f"a coefficient of the Ising form is not finite or beyond {COEFFICIENT_MAX:g}"
        raise ValueError(msg)


def _fault(answer: Solved, form: Ising, num_reads: int) -> str:
    """Return why the answer is not samples of this model, or ""."""
    if len(answer.sets) != 1:
        return f"{len(answer.sets)} sample sets for one model"
    drawn: Drawn = answer.sets[0]
    wanted = (num_reads, form.size)
    if drawn.bits.shape != wanted or not ((drawn.bits == 0) | (drawn.bits == 1)).all():
        return f"bits must be 0 or 1, of shape {wanted}: {drawn.bits.dtype} {drawn.bits.shape}"
    if drawn.circuit_hash and drawn.circuit_hash != ising_circuit_hash(
        form, drawn.gammas, drawn.betas
    ):
        return f"circuit {drawn.circuit_hash} is not this model's at the stated angles"
    return ""
