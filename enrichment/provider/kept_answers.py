"""Answers that were paid for, as they are kept: under which key, in which form, and read back.

An entry is one problem's samples, packed to bits, and where they come from. Nothing that can be
computed from the bits is in it: energies and summary are computed anew, by the model of whoever
asks. Energies in it are without the model's offset, which the circuit does not depend on.

The form is MessagePack with a number of its own; what cannot be read, or is not what was asked for,
counts as not there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Final, Protocol

import msgspec
import numpy as np

from enrichment import __version__
from enrichment.circuit.angles import ising_scaled_angles
from enrichment.circuit.readout import Corrected
from enrichment.circuit.template import ising_circuit_hash
from enrichment.problem.ising import Floats
from enrichment.provider.answer import Drawn, Problem, sample_set
from enrichment.provider.contract import (
    SHOTS_MAX,
    Description,
    DeviceRun,
    Paid,
    SampleRequest,
    SampleSet,
)

FORM: Final = 1
"""The form of an entry, in its key: another form is another key, and old ones run out."""

ENTRY_MAX: Final = 65_536
"""Bytes: 10,000 shots of 20 variables are 25,000, and the rest of an entry about one thousand."""

TOLERANCE: Final = 1e-6
"""Within which figures computed twice from the same bits are the same."""


class AnswerStore(Protocol):
    """Where entries are. Whatever goes wrong there, nobody fails of it: it is as if none was kept.

    Both may take the time of a call: never called in the caller's thread.
    """

    def get(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return an entry for each key, None where there is none to be had."""
        ...

    def put(self, values: Mapping[str, bytes], ttl_ms: int) -> None:
        """Keep entries for so long, or not."""
        ...


class _Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A mean, as in `Corrected`; of one number or of one for each variable."""

    value: list[float]
    read: list[float]
    applied: bool
    error_read: float
    error_corrected: float


class _Run(msgspec.Struct, frozen=True, kw_only=True):
    """How the circuit was run, as in `DeviceRun`."""

    processor: str
    calibration_id: str
    qubits: tuple[str, ...]
    depth: int
    two_qubit_gates: int
    line_cost: float
    mean_energy: _Figure
    marginals: _Figure


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One kept answer: `bits` row by row, packed; `cost` is its share of what the job cost."""

    circuit_hash: str
    sampler: str
    shots: int
    size: int
    bits: bytes
    job_id: str
    provider_job_id: str
    calibration_id: str
    seed: int
    at_ms: int
    cost: float = 0.0
    run: _Run | None = None

    @property
    def paid(self) -> Paid:
        """Where the samples come from."""
        return Paid(
            job_id=self.job_id,
            provider_job_id=self.provider_job_id,
            calibration_id=self.calibration_id,
            seed=self.seed,
            at_ms=self.at_ms,
        )


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Entry).decode


def circuit_of(problem: Problem) -> str:
    """Return the hash of the circuit that a problem becomes."""
    angles = ising_scaled_angles(problem.model, problem.layers)
    return ising_circuit_hash(problem.model, *angles)


def key_of(
    described: Description, calibration_id: str, request: SampleRequest, circuit_hash: str
) -> str:
    """Return the key of one circuit's answer: all that its samples depend on, but how many.

    The circuit's hash covers model, template, layers and angles; beside it the provider as it is
    set up, the calibration, and the versions of what compiles circuits. A hash, so that no key of
    anybody's tells what a stream is about.
    """
    depends = {
        "provider": described.name,
        "conditions": dict(described.conditions),
        "versions": {**described.sdk_versions, "enrichment": __version__},
        "calibration": calibration_id,
        "template": [request.template, request.template_version, request.layers],
        "circuit": circuit_hash,
    }
    told = json.dumps(depends, sort_keys=True).encode()
    return f"kept:{FORM}:{blake2b(told, digest_size=16).hexdigest()}"


def is_sound(problem: Problem, answer: SampleSet) -> bool:
    """Return whether the answer is to the problem, and says of its bits what they say.

    The samples go through the same gate as any, and every figure has to come out as it is claimed:
    what a worker would refuse is not kept.
    """
    if answer.variables != problem.variables or answer.circuit_hash != circuit_of(problem):
        return False
    try:
        again = sample_set(problem, answer.sampler, Drawn(bits=answer.bits))
    except ValueError:
        return False
    ours, theirs = again.summary, answer.summary
    pairs = (
        (again.energies, answer.energies),
        (ours.membership, theirs.membership),
        (ours.low, theirs.low),
        (ours.high, theirs.high),
        (ours.best_energy, theirs.best_energy),
        (ours.mean_energy, theirs.mean_energy),
        (ours.entropy_bits, theirs.entropy_bits),
    )
    return all(
        np.shape(one) == np.shape(other) and np.allclose(one, other, rtol=0.0, atol=TOLERANCE)
        for one, other in pairs
    )


def packed(problem: Problem, answer: SampleSet, paid: Paid, cost: float) -> bytes | None:
    """Return a sound answer as an entry, or None where it is too large to be one."""
    shots, size = answer.bits.shape
    entry = Entry(
        circuit_hash=answer.circuit_hash,
        sampler=answer.sampler,
        shots=shots,
        size=size,
        bits=np.packbits(answer.bits).tobytes(),
        job_id=paid.job_id,
        provider_job_id=paid.provider_job_id,
        calibration_id=paid.calibration_id,
        seed=paid.seed,
        at_ms=paid.at_ms,
        cost=cost,
        run=_packed_run(answer.device_run, problem.model.offset),
    )
    raw = _encode(entry)
    return raw if len(raw) <= ENTRY_MAX else None


def entry_of(raw: bytes | None, problem: Problem, circuit_hash: str) -> Entry | None:
    """Return the entry if it answers the problem, with as many shots as are wanted or more."""
    if raw is None or len(raw) > ENTRY_MAX:
        return None
    try:
        entry = _decode(raw)
    except msgspec.MsgspecError:
        return None
    run, size = entry.run, problem.model.size
    fits = (
        entry.circuit_hash == circuit_hash
        and entry.size == size
        and problem.shots <= entry.shots <= SHOTS_MAX
        and len(entry.bits) == -(-entry.shots * size // 8)
        and 0 <= entry.seed < 2**64
        and (run is None or _fits(run, size))
    )
    return entry if fits else None


def unpacked(entry: Entry, problem: Problem, *, own: bool) -> SampleSet:
    """Return the sample set of a fitting entry, the first of its shots: they are in no order.

    `own` where the request asks again for what was paid under its own id: nothing is kept then.
    """
    bits = np.unpackbits(np.frombuffer(entry.bits, np.uint8), count=entry.shots * entry.size)
    gammas, betas = ising_scaled_angles(problem.model, problem.layers)
    found = Drawn(
        bits=bits.reshape(entry.shots, entry.size)[: problem.shots],
        circuit_hash=entry.circuit_hash,
        gammas=gammas,
        betas=betas,
        device_run=_unpacked_run(entry.run, problem.model.offset),
    )
    checked = sample_set(problem, entry.sampler, found)
    return checked if own else replace(checked, kept=entry.paid)


def _packed_run(run: DeviceRun | None, offset: float) -> _Run | None:
    if run is None:
        return None
    energy, marginals = run.mean_energy, run.marginals
    return _Run(
        processor=run.processor,
        calibration_id=run.calibration_id,
        qubits=run.qubits,
        depth=run.depth,
        two_qubit_gates=run.two_qubit_gates,
        line_cost=run.line_cost,
        mean_energy=_Figure(
            value=[energy.value - offset],
            read=[energy.read - offset],
            applied=energy.applied,
            error_read=energy.error_read,
            error_corrected=energy.error_corrected,
        ),
        marginals=_Figure(
            value=marginals.value.tolist(),
            read=marginals.read.tolist(),
            applied=marginals.applied,
            error_read=marginals.error_read,
            error_corrected=marginals.error_corrected,
        ),
    )


def _fits(run: _Run, size: int) -> bool:
    """Return whether a run is one of so many variables, its figures numbers."""
    energy, marginals = run.mean_energy, run.marginals
    lengths = [len(figure) for figure in (run.qubits, marginals.value, marginals.read)]
    figures = [*energy.value, *energy.read, *marginals.value, *marginals.read]
    return (
        lengths == [size] * 3
        and len(energy.value) == len(energy.read) == 1
        and bool(np.isfinite(figures).all())
    )


def _unpacked_run(run: _Run | None, offset: float) -> DeviceRun | None:
    if run is None:
        return None
    energy, marginals = run.mean_energy, run.marginals
    value: Floats = np.array(marginals.value)
    read: Floats = np.array(marginals.read)
    return DeviceRun(
        processor=run.processor,
        calibration_id=run.calibration_id,
        qubits=run.qubits,
        depth=run.depth,
        two_qubit_gates=run.two_qubit_gates,
        line_cost=run.line_cost,
        mean_energy=Corrected(
            value=energy.value[0] + offset,
            read=energy.read[0] + offset,
            applied=energy.applied,
            error_read=energy.error_read,
            error_corrected=energy.error_corrected,
        ),
        marginals=Corrected(
            value=value,
            read=read,
            applied=marginals.applied,
            error_read=marginals.error_read,
            error_corrected=marginals.error_corrected,
        ),
    )
