"""A fake of Google's Quantum Engine service, on a loopback socket, for the real client.

It speaks the methods and messages of the client package's own generated service (unary calls; the
run stream is not served, nor used by us), keeps programs and jobs by name as the service does, and
runs circuits on qsim. Like a device it knows no seed, answers shots in no order and qubits in an
order of its own. Faults are put in front of it, one call each.
"""

import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import grpc
import numpy as np
from cirq_google import CIRCUIT_SERIALIZER
from cirq_google.api import v2
from cirq_google.cloud import quantum
from cirq_google.cloud.quantum_v1alpha1.services.quantum_engine_service import transports
from cirq_google.cloud.quantum_v1alpha1.types import engine as calls
from cirq_google.engine.asyncio_executor import AsyncioExecutor
from cirq_google.engine.engine_client import EngineClient
from google.auth.credentials import AnonymousCredentials
from google.protobuf import any_pb2, empty_pb2, timestamp_pb2

from enrichment.provider.google import Google
from tests.provider.quantum_processor import FakeProcessor, result_of

SERVICE: Final = "google.cloud.quantum.v1alpha1.QuantumEngineService"
PROJECT: Final = "some-project"
PROCESSOR: Final = "some-processor"
ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

State = quantum.ExecutionStatus.State
Code = quantum.ExecutionStatus.Failure.Code

METHODS: Final[dict[str, tuple[Any, Any]]] = {
    "CreateQuantumProgram": (calls.CreateQuantumProgramRequest, quantum.QuantumProgram),
    "GetQuantumProgram": (calls.GetQuantumProgramRequest, quantum.QuantumProgram),
    "CreateQuantumJob": (calls.CreateQuantumJobRequest, quantum.QuantumJob),
    "GetQuantumJob": (calls.GetQuantumJobRequest, quantum.QuantumJob),
    "CancelQuantumJob": (calls.CancelQuantumJobRequest, None),
    "GetQuantumResult": (calls.GetQuantumResultRequest, quantum.QuantumResult),
    "GetQuantumProcessor": (calls.GetQuantumProcessorRequest, quantum.QuantumProcessor),
    "GetQuantumCalibration": (calls.GetQuantumCalibrationRequest, quantum.QuantumCalibration),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one call: an error before it is served or, `after`, in place of its answer.

    With `hang_s` it first says nothing for so long.
    """

    code: grpc.StatusCode = grpc.StatusCode.OK
    after: bool = False
    hang_s: float = 0.0


LOST: Final = Fault(code=grpc.StatusCode.UNAVAILABLE, after=True)
"""The call is served, and its answer does not arrive."""


@dataclass(slots=True, kw_only=True)
class Job:
    """One job of the fake: due at a time, then run when it is first looked at."""

    job: Any
    calibration_s: int
    created_s: float
    due_s: float
    ended: Any = State.STATE_UNSPECIFIED


@dataclass(slots=True, kw_only=True)
class QuantumEngine:
    """The service, its programs, its jobs, and what is to go wrong next."""

    name: ClassVar = "google"
    vendor: ClassVar = Google

    processor: FakeProcessor = field(default_factory=FakeProcessor)
    queue_s: float = 0.0
    failure: tuple[Any, str] | None = None
    spoil: Callable[[Any], None] | None = None
    programs: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    port: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _server: Any = None
    _clients: list[EngineClient] = field(default_factory=list)

    def start(self) -> "QuantumEngine":
        """Serve, on the port of the last time if there was one."""
        server = grpc.server(ThreadPoolExecutor(16), options=(("grpc.so_reuseport", 0),))
        handlers = {}
        for name, (request, answer) in METHODS.items():
            handlers[name] = grpc.unary_unary_rpc_method_handler(
                self._serving(name),
                request_deserializer=request.deserialize,
                response_serializer=(
                    answer.serialize if answer else empty_pb2.Empty.SerializeToString
                ),
            )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        server.start()
        self._server = server
        return self

    def stop(self) -> None:
        """Break all connections and serve no more; programs and jobs are kept."""
        self._server.stop(grace=None).wait(timeout=10)

    def close(self) -> None:
        """Stop, and close the clients' connections."""
        self.stop()
        for client in self._clients:
            closing = AsyncioExecutor.instance().submit(client.grpc_client.transport.close)
            closing.result(timeout=10)

    def client(self) -> EngineClient:
        """Return the real client, over an insecure channel and without credentials."""
        nobody: Any = AnonymousCredentials

        def transport(**_: Any) -> Any:
            return transports.QuantumEngineServiceGrpcAsyncIOTransport(
                channel=grpc.aio.insecure_channel(
                    f"127.0.0.1:{self.port}", options=(("grpc.max_receive_message_length", -1),)
                ),
                credentials=nobody(),
            )

        client = EngineClient(
            service_args={"transport": transport, "credentials": nobody()},
            verbose=False,
            max_retry_delay_seconds=1,
        )
        self._clients.append(client)
        return client

    def options(self) -> dict[str, Any]:
        """Return what the google provider needs to be told to use this fake."""
        return {"project_id": PROJECT, "processor_id": PROCESSOR, "connect": self.client}

    def all_cancelled(self) -> bool:
        """Whether there are jobs, and none that was not cancelled."""
        return bool(self.jobs) and all(job.ended is State.CANCELLED for job in self.jobs.values())

    def fail(self, method: str, *faults: Fault) -> None:
        """Put faults in front of the next calls of a method."""
        self.faults[method].extend(faults)

    def reset(self) -> None:
        """Forget faults and delays; programs and jobs stay."""
        self.queue_s, self.failure, self.spoil = 0.0, None, None
        self.faults.clear()

    def _serving(self, name: str) -> Callable[[Any, grpc.ServicerContext], Any]:
        """Return a method as the server calls it, its faults in front."""
        serve = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower())

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            self.calls[name] += 1
            fault = self.faults[name].popleft() if self.faults[name] else Fault()
            if fault.hang_s:
                time.sleep(fault.hang_s)
            if fault.code is not grpc.StatusCode.OK and not fault.after:
                context.abort(fault.code, f"a fault before {name}")
            with self._lock:
                answer = serve(request, context)
            if fault.code is not grpc.StatusCode.OK:
                context.abort(fault.code, f"a fault after {name}")
            return answer

        return call

    def _create_quantum_program(self, request: Any, context: grpc.ServicerContext) -> Any:
        program = request.quantum_program
        _check_id(program.name, context)
        if program.name in self.programs:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{program.name} exists")
        for circuit in self._circuits(program, context):
            refusal = self.processor.refusal(circuit)
            if refusal:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, refusal)
        self.programs[program.name] = program
        return program

    def _get_quantum_program(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.name not in self.programs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no program {request.name}")
        program = self.programs[request.name]
        code = program.code if request.return_code else None
        return quantum.QuantumProgram(name=program.name, code=code)

    def _create_quantum_job(self, request: Any, context: grpc.ServicerContext) -> Any:
        job = request.quantum_job
        _check_id(job.name, context)
        if request.parent not in self.programs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no program {request.parent}")
        wanted = job.scheduling_config.processor_selector.processor
        _check_processor(wanted, context)
        if job.name in self.jobs:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{job.name} exists")
        now_s = time.time()
        self.jobs[job.name] = Job(
            job=job,
            calibration_s=self.processor.calibration_s,
            created_s=now_s,
            due_s=now_s + self.queue_s,
        )
        return self._seen(job.name)

    def _get_quantum_job(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.name not in self.jobs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no job {request.name}")
        return self._seen(request.name)

    def _cancel_quantum_job(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.name not in self.jobs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no job {request.name}")
        job = self.jobs[request.name]
        if self._state(job) in (State.READY, State.RUNNING):
            job.ended = State.CANCELLED
        return empty_pb2.Empty()

    def _get_quantum_result(self, request: Any, context: grpc.ServicerContext) -> Any:
        job = self.jobs.get(request.parent)
        if job is None or self._state(job) is not State.SUCCESS:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no result of {request.parent}")
            raise AssertionError
        message = self._run(request.parent, job)
        if self.spoil is not None:
            self.spoil(message)
        packed = any_pb2.Any()
        packed.Pack(message)
        return quantum.QuantumResult(parent=request.parent, result=packed)

    def _get_quantum_processor(self, request: Any, context: grpc.ServicerContext) -> Any:
        _check_processor(request.name, context)
        return self.processor.message(request.name)

    def _get_quantum_calibration(self, request: Any, context: grpc.ServicerContext) -> Any:
        _check_processor(request.name.partition("/calibrations/")[0], context)
        found = self.processor.calibration(request.name)
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no calibration {request.name}")
        return found

    def _state(self, job: Job) -> Any:
        """Return where the job stands now."""
        if job.ended is not State.STATE_UNSPECIFIED:
            return job.ended
        if time.time() < job.due_s:
            return State.READY
        job.ended = State.FAILURE if self.failure else State.SUCCESS
        return job.ended

    def _seen(self, name: str) -> Any:
        """Return the job as the service shows it."""
        job = self.jobs[name]
        state = self._state(job)
        status = quantum.ExecutionStatus(
            state=state,
            processor_name=f"projects/{PROJECT}/processors/{PROCESSOR}",
        )
        if job.calibration_s:
            status.calibration_name = f"{status.processor_name}/calibrations/{job.calibration_s}"
        if state is State.FAILURE and self.failure:
            status.failure.error_code, status.failure.error_message = self.failure
        if state is State.SUCCESS:
            status.timing.started_time = _timestamp(job.due_s)
            status.timing.completed_time = _timestamp(job.due_s + 0.5)
        return quantum.QuantumJob(
            name=name, create_time=_timestamp(job.created_s), execution_status=status
        )

    def _circuits(self, program: Any, context: grpc.ServicerContext | None = None) -> list[Any]:
        """Return a program's circuits; what is no program is refused."""
        message = v2.program_pb2.Program()
        if not program.code.Unpack(message):
            assert context is not None
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a program")
        found = CIRCUIT_SERIALIZER.deserialize_multi_program(message)
        return [circuit for _, _, circuit in found]

    def _run(self, name: str, job: Job) -> Any:
        """Return the samples of the job's circuits."""
        context = v2.run_context_pb2.RunContext()
        assert job.job.run_context.Unpack(context)
        (sweep,) = context.parameter_sweeps
        circuits = self._circuits(self.programs[name.rpartition("/jobs/")[0]])
        random = np.random.default_rng()
        records = [self.processor.run(circuit, sweep.repetitions, random) for circuit in circuits]
        return result_of(records, circuits)


def _check_processor(name: str, context: grpc.ServicerContext) -> None:
    """Refuse a processor that there is not."""
    if name != f"projects/{PROJECT}/processors/{PROCESSOR}":
        context.abort(grpc.StatusCode.NOT_FOUND, f"no processor {name}")


def _check_id(name: str, context: grpc.ServicerContext) -> None:
    """Refuse a name whose last part is not in the service's alphabet."""
    if not ID.fullmatch(name.rpartition("/")[2]):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not an id: {name}")


def _timestamp(at_s: float) -> Any:
    """Return Unix time as the service writes it."""
    stamp = timestamp_pb2.Timestamp()
    stamp.FromNanoseconds(int(at_s * 1e9))
    return stamp
