"""Requests for the providers' tests: small ring-like models, and functions a child can run.

Beside them what waits for answers, and what opens a vendor's provider over a fake of its service.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

import dimod
import numpy as np

from enrichment.circuit.template import QAOA, QAOA_VERSION
from enrichment.provider import open_provider
from enrichment.provider.contract import Failure, Provider, Result, Running, SampleRequest
from enrichment.provider.pool import Pool

ANSWER_BYTES = 1_000_000
NOW_MS = 1_700_000_000_000

P_co = TypeVar("P_co", bound=Provider, covariant=True)


class Service(Protocol[P_co]):
    """A fake of a vendor's service, to which the provider's real client talks."""

    @property
    def name(self) -> str:
        """The provider's name."""
        ...

    @property
    def vendor(self) -> type[P_co]:
        """The provider's class."""
        ...

    def options(self) -> dict[str, Any]:
        """What the provider needs to be told to use the fake."""
        ...


@contextmanager
def opened(service: Service[P_co], **options: Any) -> Iterator[P_co]:
    """A provider over the fake, for a while; no child is started before a twin is asked for."""
    pool = Pool(workers=1)
    given = service.options() | options
    provider = open_provider(service.name, pool, now_ms=now_ms, options=given)
    assert isinstance(provider, service.vendor)
    yield provider
    provider.close()
    pool.close()


def now_ms() -> int:
    """Return the tests' time, which stands still."""
    return NOW_MS


def model_of(size: int, seed: int, *, vartype: str = "BINARY") -> dimod.BinaryQuadraticModel:
    """Return a model with fields whose labels are not in sorting order."""
    random = np.random.default_rng(seed)
    model = dimod.BinaryQuadraticModel(vartype)
    labels = [f"v{(7 * k) % 67}" for k in range(size)]
    for label in labels:
        model.add_linear(label, float(random.normal()) / 4)
    for j in range(size):
        for i in range(j):
            model.add_quadratic(labels[i], labels[j], float(random.normal()) / 2)
    return model


def model_of_fields(**fields: float) -> dimod.BinaryQuadraticModel:
    """Return a model of variables that each have a field of their own, in the order given."""
    return dimod.BinaryQuadraticModel(fields, {}, 0.0, "BINARY")


def request_of(job_id: str, **changes: Any) -> SampleRequest:
    """Return a valid request of two models, with the given fields changed."""
    request = SampleRequest(
        job_id=job_id,
        models=(model_of(5, 1), model_of(4, 2, vartype="SPIN")),
        template=QAOA,
        template_version=QAOA_VERSION,
        layers=1,
        shots=200,
        seeds=(11, 12),
        deadline_ms=NOW_MS + 60_000,
    )
    return replace(request, **changes)


def answer_of(provider: Provider, job_id: str, *, within_s: float = 60.0) -> Result | Failure:
    """Return the job's terminal answer, polled for."""
    until = time.monotonic() + within_s
    while isinstance(answer := provider.poll(job_id), Running):
        assert time.monotonic() < until, f"job {job_id} still runs after {within_s} s"
        time.sleep(0.01)
    return answer


def result_of(provider: Provider, request: SampleRequest) -> Result:
    """Return the result of a request that has to succeed."""
    accepted = provider.submit(request)
    assert not isinstance(accepted, Failure), accepted
    answer = answer_of(provider, request.job_id)
    assert isinstance(answer, Result), answer
    return answer


def sleep(seconds: float) -> int:
    """Occupy a child; return its process id."""
    time.sleep(seconds)
    return os.getpid()


def die_in_the_middle_of_the_answer() -> bytes:
    """Kill this child when half of its answer is written, and the parent has begun to read it."""

    def half(self: Connection, part: bytes, write: object = None) -> None:  # noqa: ARG001  # as it is called
        os.write(self.fileno(), part[: len(part) // 2])
        if len(part) > ANSWER_BYTES:
            os.kill(os.getpid(), signal.SIGKILL)

    Connection._send = half  # type: ignore[attr-defined]  # that very place
    return bytes(ANSWER_BYTES)


class Unsendable(Exception):  # noqa: N818  # what it is
    """An exception that is pickled well and cannot be made again."""

    def __init__(self, one: str, two: str) -> None:
        """Take two words, and tell the base of one."""
        super().__init__(one + two)


def raise_unsendable() -> None:
    """Raise it."""
    raise Unsendable("a", "b")


def answer_unsendable() -> object:
    """Return what cannot be pickled."""
    return lambda: None


def signal_self() -> str:
    """Send this child what a Ctrl-C or a stop would, and return that it lives."""
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.05)
    return "alive"


def threads_of_blas() -> str:
    """Return how many threads a child's BLAS was told to use."""
    return os.environ["OPENBLAS_NUM_THREADS"]


def failure_of(provider: Provider, job_id: str) -> Failure:
    """Return the failure of a job that has to fail."""
    answer = answer_of(provider, job_id)
    assert isinstance(answer, Failure), answer
    return answer


def until(true: Callable[[], object], *, within_s: float = 10.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(0.01)
