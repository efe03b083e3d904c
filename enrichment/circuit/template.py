"""Circuit templates by id and version, and the hash that names one circuit of a template.

A job's record keeps template, version, angles and this hash; the circuit itself is made from them
when asked for. A version never changes its meaning: another circuit is another version.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import dimod
import numpy as np
from numpy.typing import NDArray

from enrichment.problem.ising import Ising, ising

QAOA: Final = "qaoa"
QAOA_VERSION: Final = 1
"""|+>, then per layer exp(+i gamma E) and exp(-i beta sum X): `enrichment.circuit.ansatz`."""

TEMPLATES: Final = frozenset({(QAOA, QAOA_VERSION)})

QUANTUM: Final = 2.0**-30
"""The grain of hashed coefficients and angles: far above rounding (1e-16), far below any effect."""


def circuit_hash(
    model: dimod.BinaryQuadraticModel, gammas: Sequence[float], betas: Sequence[float]
) -> str:
    """Return 32 hex digits that name the circuit of `model` at these angles.

    It covers template, version, size, the Ising coefficients and the angles, each quantised to
    2^-30, so that it does not depend on the machine's last bit. It does not cover labels (they may
    be sensitive) nor the offset (a global phase): models that give the same circuit share it.
    """
    return ising_circuit_hash(ising(model), gammas, betas)


def ising_circuit_hash(model: Ising, gammas: Sequence[float], betas: Sequence[float]) -> str:
    """Return `circuit_hash` of a model that is already in Ising form."""
    digest = sha256(f"{QAOA}|{QAOA_VERSION}|{model.size}|{len(gammas)}|".encode())
    couplings = _quantised(model.couplings)
    kept = couplings != 0
    for part in (
        _quantised(model.h),
        model.rows[kept].astype("<i8"),
        model.cols[kept].astype("<i8"),
        couplings[kept],
        _quantised(np.asarray(gammas, dtype=np.float64)),
        _quantised(np.asarray(betas, dtype=np.float64)),
    ):
        digest.update(f"{len(part)}:".encode())
        digest.update(part.tobytes())
    return digest.hexdigest()[:32]


def _quantised(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the values as little-endian 64-bit multiples of QUANTUM."""
    return np.rint(values / QUANTUM).astype("<i8")
