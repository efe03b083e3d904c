"""Servers and network hurt, tried once each in every test run; all of them by `make faults`."""

from collections.abc import Iterator
from typing import Final

import pytest

from enrichment.lab.servers import LocalServers
from tests.faults.catalogue import ALL
from tests.faults.chronicle import NAME
from tests.faults.trial import run
from tests.faults.world import Ground, ground_of

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(180)]

SHORT: Final = ("broker killed", "Redis out of memory", "cut from the provider")
"""The server that all wait for, the writes that are refused, the answers that never come."""


@pytest.fixture(scope="module")
def ground(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Where a fault finds a folder: it opens servers of its own, to hurt them."""
    with ground_of(servers, tmp_path_factory.mktemp("hurts")) as place:
        yield place


@pytest.mark.parametrize("name", SHORT)
def test_invariants_hold_and_no_worker_ends(ground: Ground, name: str) -> None:
    """Nothing is violated, Kafka's history included, and every worker has lived through it."""
    (fault,) = (each for each in ALL if each.name == name)
    report = run(fault, ground, times=1)
    if report.skipped:
        pytest.skip(report.skipped)
    assert report.violations == []
    assert not [note for note in report.notes if "worker" in note]
    for check in ("one end", "accepted once", "versions rise", "lag zero", NAME):
        assert report.checked[check], check
