"""The google provider over the fake engine, opened for a while, and what tests wait for."""

import time
from collections.abc import Iterator
from typing import Any

from enrichment.provider import open_provider
from enrichment.provider.contract import Failure
from enrichment.provider.google import Google
from enrichment.provider.pool import Pool
from tests.provider.quantum_engine import QuantumEngine
from tests.provider.requests import answer_of, now_ms


def opened(service: QuantumEngine, **options: Any) -> Iterator[Google]:
    """Open a provider for a while."""
    pool = Pool(workers=1)
    provider = open_provider("google", pool, now_ms=now_ms, options=service.options() | options)
    assert isinstance(provider, Google)
    yield provider
    provider.close()
    pool.close()


def failure_in(provider: Google, job_id: str) -> Failure:
    """Return the failure of a job that has to fail."""
    answer = answer_of(provider, job_id)
    assert isinstance(answer, Failure), answer
    return answer


def until(true: Any, *, within_s: float = 10.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(0.01)
