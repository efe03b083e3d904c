"""A processor of Google's engine as it says it is: its device, and its calibrations by their ids.

What is asked for is kept for a while; a device is made anew where its specification or its
calibration has changed, and then lines are chosen anew. Every call belongs to a step of the
provider, which bounds its time.

Of a calibration, readout and two-qubit errors are used (`READOUT_METRICS`, `PAIR_METRICS`). What a
metric leaves out is not used at all; a metric that is missing altogether leaves all alike.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Final

import cirq
from cirq_google.api import v2
from cirq_google.devices import GridDevice
from cirq_google.engine.calibration import Calibration
from cirq_google.engine.engine_client import EngineClient, EngineException
from google.api_core import exceptions as google_errors

from enrichment.circuit.lines import Errors
from enrichment.circuit.native import CZ, GATES, SQRT_ISWAP
from enrichment.circuit.readout import Confusion
from enrichment.provider.device import Device, confusion_of

LOOK_S: Final = 60.0
"""How old what is known of the processor may be: calibrations change a few times a day."""

KEPT_MAX: Final = 4
"""Devices kept: the latest, and those of the calibrations that late jobs ran under."""

READOUT_METRICS: Final = (
    ("parallel_p00_error", "parallel_p11_error"),
    ("single_qubit_p00_error", "single_qubit_p11_error"),
)
"""P(1 read | 0) and P(0 read | 1), the first pair that is there: all of a circuit is read at once.
"""

PAIR_METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    gate: (
        f"two_qubit_parallel_{gate}_gate_xeb_pauli_error_per_cycle",
        f"two_qubit_{gate}_gate_xeb_pauli_error_per_cycle",
    )
    for gate in (CZ, SQRT_ISWAP)
}
"""The error of a pair's native gate, the first that is there: neighbours run at once."""

READOUT_SHOTS: Final = 2_000
"""How well readout figures are taken to be known. The older ones published are from 5,000 shots;
they are hours old when they are used."""

Figures = Mapping[cirq.Qid, tuple[float, float]]


class NoDeviceError(Exception):
    """A processor that says nothing of its qubits, or has no gate that we compile to."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """A processor of one specification under one calibration.

    `readout` are its qubits' figures, empty where there are none.
    """

    spec: bytes
    device: Device
    readout: Figures
    calibration_time_ms: int = 0

    def confusion(self, qubits: Sequence[cirq.Qid]) -> Confusion | None:
        """Return the readout errors of these qubits, None where there are no figures of one."""
        return confusion_of(self.readout, qubits, READOUT_SHOTS)


class Processor:
    """What is known of one processor; any thread may ask, and none waits for another's call.

    `latest` is what was last seen, None before the first look.
    """

    def __init__(self, project_id: str, processor_id: str) -> None:
        """Know nothing yet."""
        self._ids = (project_id, processor_id)
        self._lock = threading.Lock()
        self._kept: dict[tuple[bytes, str], Known] = {}
        self._looked_s = 0.0
        self.latest: Known | None = None
        self.active_jobs = 0

    async def now(self, client: EngineClient) -> Known:
        """Return the processor under its current calibration, asked for where that is LOOK_S old.

        Raises NoDeviceError where there is none that circuits could be made for.
        """
        if self.latest is not None and time.monotonic() < self._looked_s + LOOK_S:
            return self.latest
        found = await client.get_processor_async(*self._ids)
        calibration = await client.get_current_calibration_async(*self._ids)
        self.active_jobs = int(found.activity_stats.active_jobs_count)
        self.latest = self._known(bytes(found.device_spec.value), calibration)
        self._looked_s = time.monotonic()
        return self.latest

    async def under(self, client: EngineClient, calibration_id: str) -> Known:
        """Return the processor under a calibration, under the latest where it is not to be had."""
        latest = self.latest or await self.now(client)
        if not calibration_id.isdecimal() or calibration_id == latest.device.calibration_id:
            return latest
        with self._lock:
            kept = self._kept.get((latest.spec, calibration_id))
        if kept is not None:
            return kept
        try:
            found = await client.get_calibration_async(*self._ids, int(calibration_id))
        except EngineException as error:
            if not isinstance(error.__cause__, google_errors.NotFound):
                raise
            return latest
        return self._known(latest.spec, found)

    def _known(self, spec: bytes, calibration: Any) -> Known:
        """Return the device of this specification and calibration, the same one for the same."""
        named = calibration.name.rpartition("/")[2] if calibration is not None else ""
        with self._lock:
            kept = self._kept.get((spec, named))
            if kept is None:
                kept = _known(self._ids[1], spec, calibration, named)
                while len(self._kept) >= KEPT_MAX:
                    del self._kept[next(iter(self._kept))]
                self._kept[spec, named] = kept
        return kept


def _known(processor_id: str, spec: bytes, calibration: Any, named: str) -> Known:
    """Return what a specification and a calibration, None where there is none, say together."""
    message = v2.device_pb2.DeviceSpecification.FromString(spec)
    if not message.valid_qubits:
        msg = f"{processor_id} has no device specification"
        raise NoDeviceError(msg)
    grid = GridDevice.from_proto(message)
    snapshot = v2.metrics_pb2.MetricsSnapshot()
    if calibration is not None and not calibration.data.Unpack(snapshot):
        msg = f"not a calibration: {calibration.data.type_url!r}"
        raise TypeError(msg)
    metrics = Calibration(snapshot)
    gate = _native_gate(processor_id, grid, metrics)
    at = calibration.timestamp if calibration is not None else None
    readout = _readout(metrics)
    return Known(
        spec=spec,
        device=Device(processor_id, grid, gate, _errors(grid, readout, gate, metrics), named),
        readout=readout,
        calibration_time_ms=int(at.timestamp() * 1000) if at else 0,
    )


def _native_gate(processor_id: str, grid: GridDevice, metrics: Calibration) -> str:
    """Return which gate to compile to: of those of the device a calibrated one, CZ before others.

    A gate that the device has and nobody calibrated may be any good or none.
    """
    valid = [gate for gate, op in GATES.items() if op in grid.metadata.gateset]
    if not valid:
        msg = f"{processor_id} has none of the gates {', '.join(GATES)}"
        raise NoDeviceError(msg)
    calibrated = (gate for gate in valid if any(name in metrics for name in PAIR_METRICS[gate]))
    return next(calibrated, valid[0])


def _readout(metrics: Calibration) -> Figures:
    """Return both readout errors of every qubit that has both."""
    for names in READOUT_METRICS:
        if all(name in metrics for name in names):
            of_zero, of_one = (_numbers(metrics[name]) for name in names)
            return {
                Calibration.key_to_qubit(key): (of_zero[key], of_one[key])
                for key in of_zero
                if key in of_one
            }
    return {}


def _errors(grid: GridDevice, readout: Figures, gate: str, metrics: Calibration) -> Errors:
    """Return the errors by which lines are chosen, of the device's own qubits and pairs."""
    name = next((name for name in PAIR_METRICS[gate] if name in metrics), "")
    measured = {
        frozenset(Calibration.key_to_qubits(key)): value
        for key, value in _numbers(metrics[name] if name else {}).items()
    }
    pairs = {(one, two): frozenset((one, two)) for one, two in grid.metadata.nx_graph.edges}
    return Errors(
        readout={
            qubit: sum(readout[qubit]) / 2 if readout else 0.0
            for qubit in grid.metadata.qubit_set
            if not readout or qubit in readout
        },
        pairs={
            pair: measured[both] if name else 0.0
            for pair, both in pairs.items()
            if not name or both in measured
        },
    )


def _numbers(metric: Mapping[Any, Sequence[Any]]) -> dict[Any, float]:
    """Return a metric's errors within [0, 1], without those that are not numbers."""
    values = {key: value[0] for key, value in metric.items() if value}
    return {
        key: min(1.0, max(0.0, float(value)))
        for key, value in values.items()
        if isinstance(value, int | float) and not isnan(value)
    }
