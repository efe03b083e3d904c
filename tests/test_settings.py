"""What settings are when nobody says anything, and what they refuse."""

import pytest
from pydantic import ValidationError

from enrichment.settings import Settings


def test_metrics_are_served_to_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until somebody asks for another address: they have no password."""
    monkeypatch.delenv("ENRICHMENT_METRICS_HOST", raising=False)
    assert str(Settings().metrics_host) == "127.0.0.1"


@pytest.mark.parametrize("host", ["localhost", "all", "127.0.0.1:9464"])
def test_metrics_are_served_at_an_address(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at a name, which may come to mean another one, nor at a port."""
    monkeypatch.setenv("ENRICHMENT_METRICS_HOST", host)
    with pytest.raises(ValidationError, match="metrics_host"):
        Settings()
