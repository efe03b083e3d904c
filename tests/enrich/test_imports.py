"""What the hot path and the reader do without: they must not cost what the sampler costs."""

import subprocess
import sys

import pytest

HOT_PATH = [
    f"enrichment.enrich.{name}"
    for name in ("batch", "decode", "digest", "features", "lookup", "loop", "score")
]
HEAVY = {"cirq", "qsimcirq", "dimod", "dwave", "faust", "mode", "networkx", "numpy", "scipy"}
# OpenTelemetry is missing here on purpose: redis itself imports it where it is installed.
COMMAND_LINE = {"confluent_kafka", "structlog", "pydantic_settings", "pydantic", "typer", "rich"}


def loaded(module: str) -> set[str]:
    """The top-level packages in a fresh interpreter that has imported the module."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize("module", HOT_PATH)
def test_the_hot_path_is_light(module: str) -> None:
    """No module of it loads Cirq, Faust, or what they bring along."""
    assert loaded(module) & HEAVY == set()


def test_the_reader_needs_redis_and_msgspec_alone() -> None:
    """Who reads features installs neither Kafka's client nor the command line's libraries."""
    found = loaded("enrichment.feature.reader")
    assert found & (HEAVY | COMMAND_LINE) == set()
    assert {"redis", "msgspec"} <= found
