"""A vendor of samples over HTTP on loopback, as a process of its own: it outlives every worker.

It takes jobs under the caller's ids and knows them again, draws by the exact sampler, and keeps a
book of what it has accepted and when that ended: the count that the workers' own is held against.
Told to, it is slow, away, over quota, loses answers after accepting, or answers garbage.
"""

import base64
import json
import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal
from urllib.parse import unquote

import msgspec
import numpy as np

from enrichment.problem.ising import Ising
from enrichment.provider.answer import Problem
from enrichment.provider.exact import draw
from tests.faults.invariants import Accepted

JOBS: Final = "/jobs/"
SAMPLES: Final = "/samples/"
MANNER: Final = "/manner"
BOOK: Final = "/book"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One problem as it travels: an Ising model's arrays, and how often to draw from which seed."""

    h: tuple[float, ...]
    rows: tuple[int, ...]
    cols: tuple[int, ...]
    couplings: tuple[float, ...]
    offset: float
    shots: int
    seed: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One job as it is ordered."""

    models: tuple[Model, ...]


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """The bits of one model: `shots` rows of `size` columns, packed, in base64."""

    shots: int
    size: int
    bits: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job stands; `attached` where the order was known already."""

    id: str
    state: Literal["queued", "running", "completed", "failed", "cancelled"]
    attached: bool = False
    queue_s: float = 0.0


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How the vendor behaves. `lose` counts orders yet to be accepted without an answer."""

    queue_s: float = 0.0
    run_s: float = 0.0
    hang_s: float = 0.0
    down: bool = False
    over_quota: bool = False
    # Of the requests of one attempt, those from this number on are refused (over quota); -1: none.
    refuse_from: int = -1
    cancel_s: float = 0.0
    # How many orders yet to be accepted will fail when they are due, by the vendor's own fault.
    fail: int = 0
    lose: int = 0
    lose_samples: int = 0
    garbage: Literal["", "text", "shape", "few"] = ""


class _Job:
    """One accepted order."""

    def __init__(self, id_: str, order: Order, manner: Manner) -> None:
        self.id, self.order = id_, order
        self.accepted_s = time.time()
        self.begins_s = self.accepted_s + manner.queue_s
        self.due_s = self.begins_s + manner.run_s
        self.cancelled_s = 0.0
        self.end: Literal["completed", "failed"] = "failed" if manner.fail > 0 else "completed"
        self.asked = 1
        self.drawings: list[Drawing] | None = None

    def entry(self) -> Accepted:
        """The job as the book has it now."""
        ended_s, how = self.cancelled_s, "cancelled"
        if not ended_s:
            ended_s, how = (self.due_s, self.end) if time.time() >= self.due_s else (0.0, "")
        return Accepted(
            id=self.id, accepted_s=self.accepted_s, ended_s=ended_s, how=how, asked=self.asked
        )

    def status(self, *, attached: bool = False) -> Status:
        """The job as its owner sees it."""
        now_s, queue_s = time.time(), 0.0
        state: Literal["queued", "running", "completed", "failed", "cancelled"]
        if self.cancelled_s:
            state = "cancelled"
        elif now_s >= self.due_s:
            state = self.end
        elif now_s >= self.begins_s:
            state = "running"
        else:
            state, queue_s = "queued", self.begins_s - now_s
        return Status(id=self.id, state=state, attached=attached, queue_s=queue_s)


class RefusedError(Exception):
    """What is not done: an HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class LostError(Exception):
    """It is done, and its answer goes nowhere."""


class Vendor:
    """The service: its jobs by id, the newest last, and its manner."""

    name = "vendor"

    def __init__(self, port: int = 0) -> None:
        self.manner = Manner()
        self.jobs: dict[str, list[_Job]] = {}
        self._lock = threading.RLock()
        self._server: Any = None
        self.port = port

    @property
    def queue_s(self) -> float:
        """How long a new job waits."""
        return self.manner.queue_s

    @queue_s.setter
    def queue_s(self, seconds: float) -> None:
        self.manner = msgspec.structs.replace(self.manner, queue_s=seconds)

    def options(self) -> dict[str, Any]:
        """What the provider needs to be told to use it."""
        return {"port": self.port}

    def start(self) -> "Vendor":
        """Serve, in threads."""
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.vendor = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        """The answer to one call; raises RefusedError or LostError."""
        encode = msgspec.json.encode
        if path == MANNER:
            if method == "PUT":
                self.manner = msgspec.json.decode(body, type=Manner)
            return encode(self.manner)
        if path == BOOK:
            with self._lock:
                return encode([job.entry() for runs in self.jobs.values() for job in runs])
        manner = self.manner
        time.sleep(manner.hang_s)
        if manner.down:
            raise RefusedError(503)
        if path.startswith(SAMPLES):
            return self._samples(path.removeprefix(SAMPLES), manner)
        id_ = path.removeprefix(JOBS)
        if method == "PUT":
            return encode(self._order(id_, body, manner))
        if method == "DELETE":
            time.sleep(manner.cancel_s)
        with self._lock:
            job = self._known(id_)
            if method == "DELETE" and job.status().state in ("queued", "running"):
                job.cancelled_s = time.time()
            return encode(job.status())

    def _known(self, id_: str) -> _Job:
        if id_ not in self.jobs:
            raise RefusedError(404)
        return self.jobs[id_][-1]

    def _order(self, id_: str, body: bytes, manner: Manner) -> Status:
        """Accept an order, or attach to the job that runs or has succeeded under its id."""
        if manner.over_quota or 0 <= manner.refuse_from <= int(id_.rpartition("|")[2] or 0):
            raise RefusedError(429)
        with self._lock:
            runs = self.jobs.setdefault(id_, [])
            attached = bool(runs) and runs[-1].status().state not in ("cancelled", "failed")
            if attached:
                runs[-1].asked += 1
            else:
                runs.append(_Job(id_, msgspec.json.decode(body, type=Order), self.manner))
                left = max(0, self.manner.fail - 1)
                self.manner = msgspec.structs.replace(self.manner, fail=left)
            status = runs[-1].status(attached=attached)
            if self.manner.lose > 0:
                self.manner = msgspec.structs.replace(self.manner, lose=self.manner.lose - 1)
                raise LostError
            return status

    def _samples(self, id_: str, manner: Manner) -> bytes:
        with self._lock:
            job = self._known(id_)
            if job.status().state != "completed":
                raise RefusedError(404)
            if job.drawings is None:
                job.drawings = [_drawn(model) for model in job.order.models]
            if self.manner.lose_samples > 0:
                left = self.manner.lose_samples - 1
                self.manner = msgspec.structs.replace(self.manner, lose_samples=left)
                raise LostError
        if manner.garbage == "text":
            return b"<html>a gateway's own page</html>"
        if manner.garbage == "few":
            return msgspec.json.encode(job.drawings[1:])
        if manner.garbage == "shape":
            return msgspec.json.encode(
                [msgspec.structs.replace(one, shots=one.shots - 1) for one in job.drawings]
            )
        return msgspec.json.encode(job.drawings)


def _drawn(model: Model) -> Drawing:
    """Samples of one model."""
    problem = Problem(
        model=Ising(
            h=np.array(model.h),
            rows=np.array(model.rows, dtype=np.intp),
            cols=np.array(model.cols, dtype=np.intp),
            couplings=np.array(model.couplings),
            offset=model.offset,
        ),
        variables=tuple(range(len(model.h))),
        layers=1,
        shots=model.shots,
        seed=model.seed,
    )
    bits = draw(problem).bits
    packed = base64.b64encode(np.packbits(bits).tobytes()).decode()
    return Drawing(shots=bits.shape[0], size=bits.shape[1], bits=packed)


class _Server(ThreadingHTTPServer):
    """The HTTP server; a connection that hangs does not keep it from closing."""

    daemon_threads = True
    request_queue_size = 128
    vendor: Vendor


class _Handler(BaseHTTPRequestHandler):
    """One call."""

    server: _Server

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, answer = 200, b"{}"
        try:
            answer = self.server.vendor.answer(self.command, unquote(self.path), body)
        except RefusedError as refusal:
            status = refusal.status
        except LostError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        with suppress(BrokenPipeError, ConnectionResetError):  # whoever asked was killed
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    do_GET = do_PUT = do_DELETE = _serve  # noqa: N815  # so named

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # so named
        """Say nothing."""


def main() -> None:
    """Serve until standard input ends: with its parent, however that goes. Prints the port."""
    vendor = Vendor().start()
    sys.stdout.write(json.dumps({"port": vendor.port}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
