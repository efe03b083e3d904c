"""The largest circuit of a pipeline, compiled and not run."""

from enrichment.circuit.native import CZ, gates_max
from enrichment.preflight.circuits import largest
from enrichment.preflight.sampling import SIMULATED_GATES_MAX


def test_the_ideal_circuit_has_a_gate_for_each_pair_and_layer() -> None:
    """The most that a pipeline file may ask for is within the simulator's limit."""
    found = largest(20, 3, on_line=False)
    assert found.two_qubit_gates == 3 * 20 * 19 // 2 <= SIMULATED_GATES_MAX
    assert (found.measurements, found.gates) == (20, "ideal")


def test_on_a_line_it_is_what_a_dense_model_costs_there() -> None:
    """As the network's own bound has it."""
    found = largest(8, 2, on_line=True)
    assert found.two_qubit_gates == gates_max(8, 2, CZ) == 146
    assert found.depth == 74  # as docs/devices.md has it
