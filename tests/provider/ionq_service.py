"""A fake of IonQ's API (v0.4), over HTTP on a loopback socket, for the real client.

It knows of the API what its published OpenAPI document says: which fields a job has and which
values they take, that ids are the service's to give, and that a POST that comes twice makes two
jobs. It reads circuits from the JSON that was sent and simulates them. Like the service it writes
qubit 0 as the lowest bit of a decimal number, and answers probabilities: exact ones for the ideal
simulator, shares of the shots for a device and for the noisy simulator. Faults are put in front.
"""

import json
import re
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final
from uuid import uuid4

import cirq
import numpy as np
from numpy.typing import NDArray

from enrichment.provider.ionq import Ionq

KEY: Final = "a-key-that-nobody-else-may-see"
DEVICE: Final = "qpu.forte-1"
BACKENDS: Final = ("simulator", "qpu.aria-1", DEVICE)
NOISE_MODELS: Final = ("ideal", "aria-1", "forte-1")
NOISE: Final = 0.05
METADATA_MAX: Final = 400

# The calls, as they are counted and as faults are put in front of them.
CREATE: Final = "POST jobs"
GET: Final = "GET job"
RESULTS: Final = "GET results"
CANCEL: Final = "PUT cancel"

PATHS: Final = (
    (CREATE, re.compile(r"POST /v0\.4/jobs")),
    (GET, re.compile(r"GET /v0\.4/jobs/([\w-]+)")),
    (RESULTS, re.compile(r"GET /v0\.4/jobs/([\w-]+)/results/probabilities/aggregated")),
    (CANCEL, re.compile(r"PUT /v0\.4/jobs/([\w-]+)/status/cancel")),
)

# What the document lists, and `lang`, which the client sends, as it does shots as text.
FIELDS: Final = frozenset(
    {"backend", "dry_run", "input", "metadata", "name", "noise", "session_id", "settings"}
    | {"shots", "type"}
    | {"lang"}
)
CODES: Final = (
    *("InvalidInput", "CompilationError", "ContractExpiredError", "DebiasingError"),
    *("InternalError", "NotEnoughQubits", "OptimizationError", "PreflightError"),
    *("QuantumCircuitComplexityError", "QuantumComputerError", "QuotaExhaustedError"),
    *("SimulationError", "SimulationTimeout", "SystemCancel", "TooLongPredictedExecutionTime"),
    *("TooManyControls", "TooManyGates", "TooManyShots", "UnknownBillingError", "UnsupportedGate"),
)

UNCLEAR_STATUSES: Final = (408, 409, 500, 501, 502, 503, 504, *range(520, 530))
"""What the service, or a gateway before it, may say of a job that it has accepted."""

GATES: Final[dict[str, Callable[[float], cirq.Gate]]] = {
    "h": lambda _: cirq.H,
    "x": lambda _: cirq.X,
    "y": lambda _: cirq.Y,
    "z": lambda _: cirq.Z,
    "s": lambda _: cirq.S,
    "si": lambda _: cirq.S**-1,
    "t": lambda _: cirq.T,
    "ti": lambda _: cirq.T**-1,
    "v": lambda _: cirq.X**0.5,
    "vi": lambda _: cirq.X**-0.5,
    "rx": cirq.rx,
    "rz": cirq.rz,
    "zz": lambda angle: cirq.ZZ ** (angle / np.pi),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one call, before it is served or, `after`, in place of its answer.

    With `hang_s` it first says nothing for so long. `drop` breaks the connection without a word.
    """

    status: int = 200
    text: str = ""
    location: str = ""
    after: bool = False
    drop: bool = False
    hang_s: float = 0.0


DROPPED: Final = Fault(drop=True)
LOST: Final = Fault(drop=True, after=True)
"""The call is served, and its answer does not arrive. Who made it cannot tell it from DROPPED."""


class RefusedError(Exception):
    """What the service does not do: an HTTP status and why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True, kw_only=True)
class Job:
    """One job of the fake: due at a time, then over."""

    id: str
    body: dict[str, Any]
    submitted_s: float
    due_s: float
    ended: str = ""
    children: list[str] = field(default_factory=list)
    results: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class IonqService:
    """The service, its jobs, how often each call came, and what is to go wrong next.

    `failure` is the code and the message with which due jobs fail; `spoil_job` and `spoil` get what
    is shown of a job and its histograms before they are answered.
    """

    name: ClassVar = "ionq"
    vendor: ClassVar = Ionq

    queue_s: float = 0.0
    run_s: float = 0.0
    failure: tuple[str, str] | None = None
    spoil_job: Callable[[dict[str, Any]], None] | None = None
    spoil: Callable[[dict[str, Any]], Any] | None = None
    jobs: dict[str, Job] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    port: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _server: Any = None

    def start(self) -> "IonqService":
        """Serve, on the port of the last time if there was one."""
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.service = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Serve no more: connections are refused; jobs are kept."""
        self._server.shutdown()
        self._server.server_close()

    close = stop

    @property
    def posts(self) -> int:
        """How often a job was sent, whatever became of it: what must never be doubled."""
        return self.calls[CREATE]

    def options(self) -> dict[str, Any]:
        """Return what the ionq provider needs to be told to use this fake."""
        return {"api_key": KEY, "url": f"http://127.0.0.1:{self.port}"}

    def all_cancelled(self) -> bool:
        """Whether there are jobs, and none that was not cancelled."""
        return bool(self.jobs) and all(job.ended == "canceled" for job in self.jobs.values())

    def fail(self, call: str, *faults: Fault) -> None:
        """Put faults in front of the next calls of a kind."""
        self.faults[call].extend(faults)

    def answer(self, line: str, key: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and answer of a call; `line` is its method and path."""
        if not any(path.fullmatch(line) for _, path in PATHS):
            raise RefusedError(404, f"no such call: {line}")
        if key != f"apiKey {KEY}":
            raise RefusedError(401, "Invalid key provided.")
        with self._lock:
            if line == "POST /v0.4/jobs":
                return 201, self._create(body)
            _, job_id, *rest = line.split("/v0.4/jobs")[1].split("/")
            job = self.jobs.get(job_id)
            if job is None:
                raise RefusedError(404, "Resource not found.")
            if not rest:
                return 200, self._seen(job)
            if rest == ["status", "cancel"]:
                # As the API has it: a job that is over is cancelled too.
                job.ended = "canceled"
                return 200, {"id": job.id, "status": "canceled"}
            return 200, self._results(job)

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Accept a job, or refuse what the document does not allow."""
        _check(body)
        now_s = time.time()
        job = Job(id=str(uuid4()), body=body, submitted_s=now_s, due_s=now_s + self.queue_s)
        job.children = [str(uuid4()) for _ in body["input"]["circuits"]]
        self.jobs[job.id] = job
        return {"id": job.id, "status": "ready", "session_id": None}

    def _state(self, job: Job) -> str:
        """Return where the job stands now."""
        now_s = time.time()
        if not job.ended and now_s >= job.due_s + self.run_s:
            job.ended = "failed" if self.failure else "completed"
        return job.ended or ("started" if now_s >= job.due_s else "ready")

    def _seen(self, job: Job) -> dict[str, Any]:
        """Return the job as the service shows it."""
        state, body = self._state(job), job.body
        over = state == "completed"
        code, message = self.failure or ("", "")
        shown = {
            "id": job.id,
            "status": state,
            "type": body["type"],
            "backend": body["backend"],
            "name": body.get("name"),
            "metadata": dict(body.get("metadata") or {}),
            "shots": int(body["shots"]),
            "stats": {"qubits": body["input"]["qubits"], "circuits": len(job.children)},
            "failure": {"code": code, "message": message} if state == "failed" else None,
            "submitted_at": _iso(job.submitted_s),
            "started_at": _iso(job.due_s) if over else None,
            "completed_at": _iso(job.due_s + 0.5) if over else None,
            "execution_duration_ms": 500 if over else None,
            "predicted_wait_time_ms": round(1000 * self.queue_s),
            "child_job_ids": job.children,
        }
        if self.spoil_job is not None:
            self.spoil_job(shown)
        return shown

    def _results(self, job: Job) -> Any:
        """Return the job's histograms, those of the circuits under the ids of their own jobs."""
        if self._state(job) != "completed":
            raise RefusedError(404, "Job not found or not yet completed.")
        if not job.results:
            random = np.random.default_rng((job.body.get("noise") or {}).get("seed"))
            for child, circuit in zip(job.children, job.body["input"]["circuits"], strict=True):
                job.results[child] = _histogram(job.body, circuit["circuit"], random)
        results = json.loads(json.dumps(job.results))
        return self.spoil(results) or results if self.spoil is not None else results


class _Server(ThreadingHTTPServer):
    """The HTTP server; a connection that hangs does not keep it from closing."""

    daemon_threads = True
    request_queue_size = 128
    service: IonqService


class _Handler(BaseHTTPRequestHandler):
    """One call: counted, its fault if there is one, and the service's answer."""

    server: _Server

    def _serve(self) -> None:
        service = self.server.service
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        line = f"{self.command} {self.path}"
        call = next((name for name, path in PATHS if path.fullmatch(line)), "")
        with service._lock:
            service.calls[call] += 1
            fault = service.faults[call].popleft() if service.faults[call] else None
        fault = fault or Fault()
        time.sleep(fault.hang_s)
        broken = fault.drop or fault.status != 200 or fault.text
        status, answer = fault.status, {"message": "a fault in front of the call"}
        if fault.after or not broken:
            try:
                status, answer = service.answer(line, self.headers["Authorization"], body)
            except RefusedError as refusal:
                status, answer = refusal.status, {"message": str(refusal)}
        if fault.drop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        text = fault.text or json.dumps(answer)
        with suppress(BrokenPipeError, ConnectionResetError):  # nobody listens any more
            self.send_response(fault.status if broken else status)
            if fault.location:
                self.send_header("Location", fault.location)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = _serve  # noqa: N815  # so named

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # so named
        """Say nothing."""


def _check(body: dict[str, Any]) -> None:
    """Refuse a job that is not as the API's document says."""
    given, metadata, noise = body.get("input") or {}, body.get("metadata"), body.get("noise")
    circuits = given.get("circuits") or [{}]
    faults = (
        (not set(body) <= FIELDS, f"unknown fields {sorted(set(body) - FIELDS)}"),
        (body.get("type") != "ionq.multi-circuit.v1", f"type {body.get('type')!r}"),
        (body.get("backend") not in BACKENDS, f"no backend {body.get('backend')!r}"),
        (not 1 <= int(body.get("shots", 100)) <= 1_000_000, "shots"),
        (given.get("gateset") != "qis", f"gate set {given.get('gateset')!r}"),
        (noise and body["backend"] != "simulator", "noise of a device"),
        (noise and noise["model"] not in NOISE_MODELS, f"no noise model {noise}"),
        (noise and not -(2**31) <= noise.get("seed", 0) < 2**31, "seed"),
        (
            not all(isinstance(v, str) and len(v) <= METADATA_MAX for v in metadata.values())
            if metadata
            else False,
            "metadata",
        ),
        (not all(circuit.get("circuit") for circuit in circuits), "an empty circuit"),
        (
            not all(
                gate["gate"] in GATES and max(gate["targets"]) < given["qubits"]
                for circuit in circuits
                for gate in circuit.get("circuit", [])
            ),
            "a gate",
        ),
    )
    for wrong, text in faults:
        if wrong:
            raise RefusedError(400, f"invalid: {text}")


def _histogram(
    body: dict[str, Any], gates: list[dict[str, Any]], random: np.random.Generator
) -> dict[str, float]:
    """Return what the backend says of one circuit: probabilities, or shares of the shots."""
    size = 1 + max(max(gate["targets"]) for gate in gates)
    exact = probabilities(gates, size)
    noisy = (body.get("noise") or {"model": "ideal"})["model"] != "ideal"
    if body["backend"] == "simulator" and not noisy:
        return {str(state): float(p) for state, p in enumerate(exact) if p > 0}
    shots = int(body["shots"])
    mixed = (1 - NOISE) * exact + NOISE / len(exact)
    counts = random.multinomial(shots, mixed / mixed.sum())
    return {str(state): int(count) / shots for state, count in enumerate(counts) if count}


def probabilities(gates: list[dict[str, Any]], size: int) -> NDArray[np.float64]:
    """Return the probability of each state, qubit 0 the lowest bit of its number."""
    # Cirq's first qubit is the highest bit.
    qubits = cirq.LineQubit.range(size)[::-1]
    circuit = cirq.Circuit(
        GATES[gate["gate"]](gate.get("rotation", 0.0)).on(
            *(cirq.LineQubit(target) for target in gate["targets"])
        )
        for gate in gates
    )
    state = cirq.Simulator(dtype=np.complex128).simulate(circuit, qubit_order=qubits)
    return np.asarray(np.abs(state.final_state_vector) ** 2)


def _iso(at_s: float) -> str:
    """Return Unix time as the service writes it."""
    return (
        datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
