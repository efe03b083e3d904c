"""The virtual processor itself: device, noise and calibration from cirq-google, shots from qsim."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import cirq
import numpy as np
import qsimcirq
from cirq_google.devices.google_noise_properties import (
    GoogleNoiseProperties,
    NoiseModelFromGoogleNoiseProperties,
)
from cirq_google.engine import virtual_engine_factory

from enrichment.circuit.angles import Angles
from enrichment.circuit.ansatz import MEASUREMENT_KEY
from enrichment.circuit.lines import Errors, Line
from enrichment.circuit.native import GATES, statistics
from enrichment.circuit.readout import Confusion, confusion
from enrichment.circuit.swap_network import swap_network
from enrichment.problem.ising import Bits, Ising
from enrichment.provider.contract import DeviceRun
from enrichment.provider.device import Device

if TYPE_CHECKING:
    from enrichment.provider.virtual import Processor

CALIBRATION_SHOTS: Final = 2_000
"""Of all zeros and of all ones, once a line: errors of 1 % are then known to a fifth."""

CALIBRATION_SEED: Final = 20_211_116
"""Calibration is a property of the line: the same whatever problem comes first."""

READOUTS_MAX: Final = 64
"""Lines whose readout is kept: there is one per size and number of layers."""

SEED_MAX: Final = 2**31 - 1
"""qsim takes a 32-bit seed."""

FUSE: Final = 2
"""Larger fused gates change the samples of a seed, and gain nothing below 16 qubits."""


READOUT_MAX: Final = 0.5
"""A readout that errs as often as not says nothing; beyond, it would tell by erring."""

PAULI_MAX: Final = {1: 3 / 4, 2: 15 / 16}
"""By qubits of the gate: its state is then wholly mixed, and no error leaves less of it."""

SCALE_MIN: Final = 1e-9
"""No noise at all would be an infinite T1: this is a million seconds."""


class VirtualDevice(Device):
    """One processor with its noise, and what was worked out for it: lines and their readouts."""

    def __init__(self, processor: "Processor", noise_scale: float = 1.0) -> None:
        """Load device, calibration and noise; half a second once cirq-google is imported.

        With a `noise_scale` it is made better or worse than it is: see `scaled`.
        """
        noise = virtual_engine_factory.load_device_noise_properties(processor.name)
        if noise_scale != 1.0:
            noise = scaled(noise, noise_scale)
        gate = processor.gates[0]
        native = type(GATES[gate])
        super().__init__(
            processor.name,
            virtual_engine_factory.create_device_from_processor_id(processor.name),
            gate,
            Errors(
                readout={q: float(np.mean(errors)) for q, errors in noise.readout_errors.items()},
                pairs={
                    (of.qubits[0], of.qubits[1]): float(error)
                    for of, error in noise.gate_pauli_errors.items()
                    if of.gate_type is native and len(of.qubits) == 2
                },
            ),
            processor.calibration_id(noise_scale),
        )
        self._noise = NoiseModelFromGoogleNoiseProperties(noise)
        self._readouts: dict[Line, Confusion] = {}

    def run(
        self,
        model: Ising,
        angles: Angles,
        shots: int,
        random: np.random.Generator,
        *,
        line: Line | None = None,
    ) -> tuple[Bits, DeviceRun]:
        """Return samples of the model's circuit, columns in its order, and how they were made.

        Without a `line` the best one by calibration is taken. Raises ValueError where the device
        has none of that length or refuses the circuit.
        """
        layers = len(angles[0])
        line = line or self.line(model.size, layers)
        network = swap_network(model, angles, line)
        measured = cirq.Moment(cirq.measure(*network.qubits, key=MEASUREMENT_KEY))
        circuit = self.checked(self.compiled(network) + measured)
        bits = self._sampled(circuit, shots, int(random.integers(SEED_MAX)))
        random.shuffle(bits)
        errors = self.readout(line)
        held = [line.index(qubit) for qubit in network.qubits]
        errors = Confusion(
            zero_as_one=errors.zero_as_one[held],
            one_as_zero=errors.one_as_zero[held],
            shots=errors.shots,
        )
        figures = statistics(circuit, frozenset(network.qubits))
        return bits, self.run_of(model, layers, bits, figures, network.qubits, errors)

    def readout(self, line: Line) -> Confusion:
        """Return the readout errors along a line, from calibration shots, measured once."""
        known = self._readouts.get(line)
        if known is None:
            while len(self._readouts) >= READOUTS_MAX:
                del self._readouts[next(iter(self._readouts))]
            known = confusion(self._prepared(line, 0), self._prepared(line, 1))
            self._readouts[line] = known
        return known

    def _prepared(self, line: Sequence[cirq.Qid], bit: int) -> Bits:
        """Return calibration shots of a line with every qubit prepared in one state."""
        flips = [
            cirq.PhasedXZGate(x_exponent=bit, z_exponent=0, axis_phase_exponent=0)(q) for q in line
        ]
        circuit = cirq.Circuit(
            cirq.Moment(flips), cirq.Moment(cirq.measure(*line, key=MEASUREMENT_KEY))
        )
        return self._sampled(circuit, CALIBRATION_SHOTS, CALIBRATION_SEED + bit)

    def _sampled(self, circuit: cirq.Circuit, shots: int, seed: int) -> Bits:
        """Return noisy shots, each a trajectory of its own, on one thread."""
        options = qsimcirq.QSimOptions(cpu_threads=1, max_fused_gate_size=FUSE)
        simulator = qsimcirq.QSimSimulator(options, seed=seed, noise=self._noise)
        result = simulator.run(circuit, repetitions=shots)
        bits: Bits = np.asarray(result.measurements[MEASUREMENT_KEY], dtype=np.uint8)
        return bits


def scaled(noise: GoogleNoiseProperties, scale: float) -> GoogleNoiseProperties:
    """Return noise with `scale` times the errors of gates and readout, and as much shorter times.

    Each is kept to what is physical: a fully depolarised gate, a readout that says nothing. Errors
    that are coherent (a gate's angle is off) stay: twice the angle is another gate. Decay and
    dephasing times are scaled with the gates' errors, of which they are a part.
    """
    scale = max(scale, SCALE_MIN)
    return noise.with_params(
        t1_ns={qubit: t1_ns / scale for qubit, t1_ns in noise.t1_ns.items()},
        tphi_ns={qubit: tphi_ns / scale for qubit, tphi_ns in noise.tphi_ns.items()},
        readout_errors={
            qubit: [min(READOUT_MAX, scale * error) for error in errors]
            for qubit, errors in noise.readout_errors.items()
        },
        gate_pauli_errors={
            of: min(PAULI_MAX[len(of.qubits)], scale * error)
            for of, error in noise.gate_pauli_errors.items()
        },
    )
