"""The fast way to sample a QAOA circuit on qsim: straight to its C++ circuit, no Cirq in between.

It runs the circuit of `enrichment.circuit.ansatz` (proved equal by test) at several times the
speed, since of the ordinary way's time most is Python: building, translating, unpacking bits. The
phase is diagonal, so its gates may be taken together: `enrichment.circuit.phase`.

To know: qsim's sampler holds the GIL throughout, so this belongs in a worker process; samples come
back sorted by string, so they are shuffled here; two threads collapse under contention, so there
is one. The same seed gives the same samples for the same qsim, fuse setting and machine class.
"""

import importlib.util
import platform
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.machinery import ExtensionFileLoader
from math import pi
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from enrichment.circuit.phase import blocks
from enrichment.problem.ising import Bits, Ising, strings_of

FUSE_SMALL: Final = 2
FUSE_LARGE: Final = 3
FUSE_LARGE_FROM: Final = 16
"""Fused gates of 2 qubits are fastest up to 12 variables, of 3 from 16; 4 changes the results."""

SETTINGS: Final[Mapping[str, str]] = {
    "fuse": f"{FUSE_SMALL}, from {FUSE_LARGE_FROM} variables on {FUSE_LARGE}",
    "threads": "1",
}
"""What samples depend on beside circuit, seed and qsim's version, in words for a job's record."""

SEED_MAX: Final = 2**31 - 1
"""qsim takes a 32-bit seed."""


def sample(
    model: Ising,
    gammas: Sequence[float],
    betas: Sequence[float],
    shots: int,
    random: np.random.Generator,
) -> Bits:
    """Return `shots` samples of the model's QAOA circuit, shape (shots, n), in random order.

    Column k is the k-th variable. All randomness, qsim's seed included, comes from `random`.
    """
    options = _options(model, gammas, betas)
    options["s"] = int(random.integers(SEED_MAX))
    strings = np.array(qsim().qsim_sample_final(options, shots), dtype=np.uint64)
    random.shuffle(strings)
    # Variable 0 is the highest bit: qsim numbers qubits the other way round than Cirq.
    return np.ascontiguousarray(strings_of(strings, model.size)[:, ::-1])


def final_state(
    model: Ising, gammas: Sequence[float], betas: Sequence[float]
) -> NDArray[np.complex64]:
    """Return the circuit's final state, shape (2^n,), in Cirq's order (variable 0 is highest)."""
    options = _options(model, gammas, betas)
    options["s"] = 1
    flat = np.asarray(qsim().qsim_simulate_fullstate(options, 0), dtype=np.float32)
    # Below three qubits qsim pads the state to its vector width.
    return flat.view(np.complex64)[: 2**model.size]


def _options(model: Ising, gammas: Sequence[float], betas: Sequence[float]) -> dict[str, Any]:
    """Return qsim's options: the circuit, and one thread."""
    return {
        "c": _circuit(model, gammas, betas),
        "f": FUSE_LARGE if model.size >= FUSE_LARGE_FROM else FUSE_SMALL,
        "t": 1,
        "r": 1,
        "g": False,
        "gmode": 0,
        "gsst": 512,
        "gdb": 16,
        "v": 0,
        "z": False,
    }


def _circuit(model: Ising, gammas: Sequence[float], betas: Sequence[float]) -> Any:
    """Return the circuit as qsim's own: that of the ansatz, its phase in blocks."""
    engine = qsim()
    circuit = engine.Circuit()
    circuit.num_qubits = model.size
    qubits = list(range(model.size - 1, -1, -1))
    time = 0
    for qubit in qubits:
        engine.add_gate(engine.kH, time, [qubit], {}, circuit)
    phase = blocks(model)
    places = (model.size - 1 - phase.places).tolist()
    fields = [(qubits[k], h) for k in phase.alone if (h := float(model.h[k])) != 0.0]
    for gamma, beta in zip(gammas, betas, strict=True):
        # A diagonal is a third faster to add than a gate by parameters.
        for place, terms in zip(places, (gamma * phase.energies).tolist(), strict=True):
            time += 1
            engine.add_diagonal_gate(time, place, terms, circuit)
        time += 1
        for qubit, h in fields:
            turn = {"exponent": 2.0 * gamma * h / pi, "global_shift": -0.5}
            engine.add_gate(engine.kZPowGate, time, [qubit], turn, circuit)
        time += 1
        mix = {"exponent": 2.0 * beta / pi, "global_shift": -0.5}
        for qubit in qubits:
            engine.add_gate(engine.kXPowGate, time, [qubit], mix, circuit)
    return circuit


@cache
def qsim() -> ModuleType:
    """Return qsim's compiled module for this machine's instruction set.

    Loaded beside its package and not through it: ``import qsimcirq`` imports cirq, which takes five
    seconds and 200 MiB in every worker process and is not needed here (8 ms this way). It is
    registered under its own name, so that a later ``import qsimcirq`` finds the same module.
    """
    if "qsimcirq" in sys.modules:
        module: ModuleType = sys.modules["qsimcirq"].qsim
        return module
    return _extension(_folder(), f"qsim_{_instructions()}")


@cache
def machine_class() -> str:
    """Return what of this machine decides the last bits of results, such as ``x86_64 avx2``."""
    return f"{platform.machine()} {_instructions()}"


@cache
def _instructions() -> str:
    """Return the instruction set that qsim uses here, as in qsimcirq's own __init__."""
    decide = _extension(_folder(), "qsim_decide")
    return {0: "avx512", 1: "avx2", 2: "sse"}.get(decide.detect_instructions(), "basic")


def _folder() -> Path:
    """Return where qsimcirq's compiled modules are."""
    package = importlib.util.find_spec("qsimcirq")
    if package is None or package.origin is None:
        msg = "qsimcirq is not installed: install enrichment[sample]"
        raise ModuleNotFoundError(msg)
    return Path(package.origin).parent


def _extension(folder: Path, name: str) -> ModuleType:
    """Return one compiled module of the qsimcirq package, loaded and registered."""
    full = f"qsimcirq.{name}"
    loader = ExtensionFileLoader(full, str(next(folder.glob(f"{name}.*"))))
    spec = importlib.util.spec_from_loader(full, loader)
    if spec is None:
        msg = f"cannot load {full} from {folder}"
        raise ImportError(msg)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules[full] = module
    return module
