"""From a model to a circuit, and from samples to marginals: the quantum half's mathematics.

What may enter: ansätze, angles, compilation, and what is read off samples; never a provider, which
is handed in. Names are loaded when used, since importing cirq takes seconds and angles and
marginals do not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enrichment.circuit.angles import fixed_angles, scaled_angles
    from enrichment.circuit.ansatz import qaoa_circuit
    from enrichment.circuit.export import circuit_json, circuit_qasm
    from enrichment.circuit.sampler import CircuitSampler, SamplingError
    from enrichment.circuit.template import circuit_hash

__all__ = [
    "CircuitSampler",
    "SamplingError",
    "circuit_hash",
    "circuit_json",
    "circuit_qasm",
    "fixed_angles",
    "qaoa_circuit",
    "scaled_angles",
]

_HOME = {
    "CircuitSampler": "enrichment.circuit.sampler",
    "SamplingError": "enrichment.circuit.sampler",
    "circuit_hash": "enrichment.circuit.template",
    "circuit_json": "enrichment.circuit.export",
    "circuit_qasm": "enrichment.circuit.export",
    "fixed_angles": "enrichment.circuit.angles",
    "qaoa_circuit": "enrichment.circuit.ansatz",
    "scaled_angles": "enrichment.circuit.angles",
}


def __getattr__(name: str) -> Any:
    """Load a public name's module when it is first asked for."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOME[name]), name)
