"""A fake service for each test of a vendor's provider, and the provider over it.

Which one a file's tests are about it says itself: `SERVICE` is the fake's class.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from enrichment.provider.contract import Provider
from tests.provider.requests import opened


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A fake of its own for each test."""
    service = request.module.SERVICE().start()
    yield service
    service.close()


@pytest.fixture
def provider(service: Any) -> Iterator[Provider]:
    """The provider over it; no twins are asked for, so that no process is started."""
    with opened(service) as provider:
        yield provider
