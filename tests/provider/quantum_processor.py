"""A fake processor for the fake engine: a real one's specification and calibrations, no noise.

Both are cirq-google's published ones, in the messages in which the service tells them. Circuits are
checked against the device as the service would, and run on qsim part by part: a packed circuit of
a hundred qubits is many small ones side by side.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import cirq
import networkx as nx
import numpy as np
import qsimcirq
from cirq_google.api import v2
from cirq_google.cloud import quantum
from cirq_google.devices import GridDevice
from cirq_google.engine import virtual_engine_factory as published
from google.protobuf import any_pb2, timestamp_pb2
from numpy.typing import NDArray

CALIBRATION_S: Final = 1_600_000_000
PROCESSOR: Final = "willow_pink"


@dataclass(slots=True, kw_only=True)
class FakeProcessor:
    """One processor: what it is, and its calibrations by their second, the current one last."""

    model: str = PROCESSOR
    active_jobs: int = 3
    calibrations: dict[int, Any] = field(default_factory=dict)
    spec: Any = None

    def __post_init__(self) -> None:
        """Take what was published of the model, calibrated at CALIBRATION_S."""
        self.spec = published.create_device_spec_from_processor_id(self.model)
        self.calibrate(CALIBRATION_S)

    @property
    def calibration_s(self) -> int:
        """The current calibration, 0 where there is none."""
        return next(reversed(self.calibrations), 0)

    def calibrate(self, at_s: int, **figures: float) -> None:
        """Make a calibration the current one: the published one, some qubits' figures changed.

        `figures` are readout errors by qubit, as in ``q0_6=0.4``: of reading 0 as 1, and half as
        much again of reading 1 as 0.
        """
        snapshot = published.load_median_device_calibration(self.model).to_proto()
        for metric in snapshot.metrics:
            error = figures.get("q" + "_".join(metric.targets))
            if error is not None and metric.name.endswith("p00_error"):
                metric.values[0].double_val = error
            if error is not None and metric.name.endswith("p11_error"):
                metric.values[0].double_val = 1.5 * error
        snapshot.timestamp_ms = at_s * 1000
        self.calibrations[at_s] = snapshot

    def message(self, name: str) -> Any:
        """Return what the service says of the processor."""
        spec = any_pb2.Any()
        if self.spec is not None:
            spec.Pack(self.spec)
        stats = quantum.QuantumProcessor.ActivityStats(active_jobs_count=self.active_jobs)
        return quantum.QuantumProcessor(name=name, activity_stats=stats, device_spec=spec)

    def calibration(self, name: str) -> Any:
        """Return the calibration of this name, or None."""
        folder, _, named = name.rpartition("/")
        at_s = self.calibration_s if named == "current" else int(named)
        if at_s not in self.calibrations:
            return None
        data = any_pb2.Any()
        data.Pack(self.calibrations[at_s])
        stamp = timestamp_pb2.Timestamp(seconds=at_s)
        return quantum.QuantumCalibration(name=f"{folder}/{at_s}", timestamp=stamp, data=data)

    def refusal(self, circuit: cirq.AbstractCircuit) -> str:
        """Return why the device does not take a circuit, or nothing."""
        try:
            GridDevice.from_proto(self.spec).validate_circuit(circuit)
        except ValueError as error:
            return str(error)
        return ""

    def run(
        self, circuit: cirq.AbstractCircuit, shots: int, random: np.random.Generator
    ) -> dict[str, NDArray[Any]]:
        """Return each measurement's records, its shots in no order."""
        records: dict[str, NDArray[Any]] = {}
        for part in parts(circuit):
            seed = int(random.integers(2**31))
            found = qsimcirq.QSimSimulator(seed=seed).run(part, repetitions=shots)
            order = random.permutation(shots)
            records |= {key: record[order] for key, record in found.records.items()}
        return records


def parts(circuit: cirq.AbstractCircuit) -> Iterator[cirq.Circuit]:
    """Yield the circuit's parts that share no gate and no measurement."""
    graph: nx.Graph[cirq.Qid] = nx.Graph()
    for op in circuit.all_operations():
        nx.add_path(graph, op.qubits)
    for qubits in nx.connected_components(graph):
        ops = (op for op in circuit.all_operations() if op.qubits[0] in qubits)
        yield cirq.Circuit(ops)


def result_of(records: list[dict[str, NDArray[Any]]], circuits: list[Any]) -> Any:
    """Return records as the service's result, the columns of each in an order of its own."""
    message = v2.result_pb2.Result()
    for found, circuit in zip(records, circuits, strict=True):
        trial = cirq.ResultDict(params=cirq.ParamResolver({}), records=found)
        v2.results_to_proto([[trial]], v2.find_measurements(circuit), out=message)
        for measured in message.sweep_results[-1].parameterized_results[0].measurement_results:
            columns = [*measured.qubit_measurement_results][::-1]
            del measured.qubit_measurement_results[:]
            measured.qubit_measurement_results.extend(columns)
    return message
