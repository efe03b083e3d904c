"""A few of the faults, tried once each, in every test run; all of them by `make faults`."""

from collections.abc import Iterator
from typing import Final

import pytest

from enrichment.lab.servers import LocalServers
from tests.faults.catalogue import ALL
from tests.faults.trial import run
from tests.faults.world import Ground, ground_of

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(180)]

SHORT: Final = (
    "kill submitted after",
    "kill produced after",
    "accepted, answer lost",
    "clock an hour forward",
)
"""The call that costs money, the transaction that is left open, the lost answer, the time."""


@pytest.fixture(scope="module")
def ground(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The session's servers, and a vendor."""
    with ground_of(servers, tmp_path_factory.mktemp("faults")) as place:
        yield place


@pytest.mark.parametrize("name", SHORT)
def test_invariants_hold(ground: Ground, name: str) -> None:
    """Every check has looked at something, but for the hot path's, and has found nothing wrong."""
    (fault,) = (each for each in ALL if each.name == name)
    report = run(fault, ground, times=1)
    assert report.violations == []
    assert report.times == 1
    for check in ("one end", "accepted once", "versions rise", "committed reads", "lag zero"):
        assert report.checked[check], check
