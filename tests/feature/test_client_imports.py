"""The client installs and works with redis and msgspec alone."""

import subprocess
import sys
from typing import Final

# What `pip install enrichment` does not bring, and a machine that only reads features lacks.
ABSENT: Final = (
    "aiokafka", "cirq", "cirq_google", "confluent_kafka", "dimod", "faust", "networkx", "numpy",
    "opentelemetry", "pydantic", "pydantic_settings", "qsimcirq", "rich", "structlog", "typer",
    "yaml",
)  # fmt: skip

CLIENT: Final = f"""
import asyncio, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"no {{name}} here", name=name)

sys.meta_path.insert(0, Absent())

from enrichment.feature import AsyncFeatureReader, FeatureReader, Features

URL = "redis://127.0.0.1:1/0"

async def read():
    async with AsyncFeatureReader(URL, "payments") as reader:
        return await reader.read("account", "42", "ring")

with FeatureReader(URL, "payments", keep_max=10) as reader:
    found = [reader.read("account", "42", "ring"), asyncio.run(read())]
assert all(isinstance(each, Features) for each in found)
print(*(each.verdict.reason for each in found))
"""


def test_it_works_where_kafka_cirq_and_the_command_line_are_absent() -> None:
    """Blocking and awaited: imported by name, and read with as far as a cache that is not there."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", CLIENT], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["cache_unavailable", "cache_unavailable"]


def test_the_room_hands_out_what_it_names() -> None:
    """And says so of what it does not know, as any module does."""
    from enrichment import feature

    for name in feature.__all__:
        assert getattr(feature, name).__name__ == name
    assert not hasattr(feature, "FeatureWriter")
