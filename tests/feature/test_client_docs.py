"""Every command and every program of the pages about the cache and its client, run as it stands."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from enrichment.feature import Features
from enrichment.feature.store import Layout
from enrichment.feature.verdict import FROM_FUTURE, UNAVAILABLE
from enrichment.records import FeatureUpdate
from tests.feature import deployments
from tests.feature.cached import MemoryCache, heartbeat, ring, update

DOCS = Path(__file__).resolve().parents[2] / "docs"
CACHE, CLIENT = DOCS / "feature-cache.md", DOCS / "client.md"
PORT = "16379"  # as `enrichment up` has it, and the pages too


def blocks(page: Path) -> list[str]:
    """The page's indented blocks."""
    found: list[list[str]] = [[]]
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("    ") or (found[-1] and not line):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return ["\n".join(lines).strip("\n") for lines in found if lines]


def commands() -> list[str]:
    """The lines of the cache's page that a shell runs."""
    lines = [line.strip() for block in blocks(CACHE) for line in block.splitlines()]
    return [line for line in lines if line.startswith(("redis-cli", "python -c"))]


PROGRAMS = [block for block in blocks(CLIENT) if "import" in block]


def stock(now_ms: int) -> MemoryCache:
    """Three accounts in a subgraph that was sampled just now."""
    cache = MemoryCache(heartbeat(at_ms=now_ms))
    for id_ in ("42", "43", "44"):
        cache.put(
            update("account", id_, "graph", at_ms=now_ms, values={"density": 0.5}),
            ring("account", id_, 0.8, at_ms=now_ms),
        )
    return cache


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[deployments.Server]:
    """A Redis that holds what the pages ask for."""
    with deployments.running(deployments.single, tmp_path_factory.mktemp("redis")) as made:
        [server] = made.servers
        with server.client() as client:
            seconds, _ = client.time()
            client.mset(stock(int(seconds) * 1_000).held)
            # What a cluster's page asks for is a plain key where there is none.
            key = Layout("payments", cluster=True).feature("account", "42", "ring")
            client.set(key, b'{"version":7}')
            client.set(Layout("payments").control(), b'{"pipeline":"payments"}')
            client.pexpire("features:payments:account:42:ring", 60_000)
        yield server


def test_there_are_commands_and_programs() -> None:
    """The page is read as it is written: none is passed over."""
    text = CACHE.read_text(encoding="utf-8")
    said = [line.strip() for line in text.splitlines() if line.strip().startswith("redis-cli")]
    assert [each for each in commands() if each.startswith("redis-cli")] == said
    assert len(said) >= 7
    assert len(PROGRAMS) == 3


@pytest.mark.servers
@pytest.mark.parametrize("command", commands())
def test_a_command_does_what_it_says(command: str, server: deployments.Server) -> None:
    """It ends well and finds something."""
    ours = command.replace(f"-p {PORT}", f"-p {server.port}")
    if ours.startswith("redis-cli") and "-p " not in ours:
        ours = ours.replace("redis-cli", f"redis-cli -p {server.port}", 1)
    ours = ours.replace("python -c", f"{shutil.which(sys.executable)} -c", 1)
    found = subprocess.run(
        ["bash", "-o", "pipefail", "-c", ours], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() not in {"", "(nil)"}
    assert "ERR" not in found.stdout


def test_the_bucket_and_the_partition_are_those_of_the_page() -> None:
    """The key that is read on a cluster bears the bucket that the command before it prints."""
    key = Layout("payments", cluster=True).feature("account", "42", "ring")
    assert f"GET '{key}'" in CACHE.read_text(encoding="utf-8")
    [partition] = [each for each in commands() if "payments|account" in each]
    found = subprocess.run(
        ["bash", "-c", partition.replace("python", sys.executable, 1)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"GET features:payments:projection:{found.stdout.strip()}" in " ".join(commands())


def test_the_value_on_the_page_is_one() -> None:
    """It decodes as the record that the cache holds, with its version first."""
    [text] = [block for block in blocks(CACHE) if '"version":7' in block]
    value = msgspec.json.decode(text, type=FeatureUpdate)
    assert value.estimates["quantum"]["membership"] == 0.81
    assert text.strip().startswith('{"version":')


@pytest.mark.servers
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_reads_what_is_there(program: str, server: deployments.Server) -> None:
    """As it stands, but for the port."""
    lines = [line.removeprefix("    ") for line in program.splitlines()]
    code = "\n".join(lines).replace(f":{PORT}/", f":{server.port}/")
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "subgraph_unchanged" in found.stdout or "shard_heard" in found.stdout
    assert "0.8" in found.stdout or "0.5" in found.stdout


def test_every_attribute_and_every_reason_is_on_the_page() -> None:
    """What `Features` offers, and what a verdict may say."""
    from enrichment.feature import verdict

    text = CLIENT.read_text(encoding="utf-8")
    for name in Features.__struct_fields__:
        if name not in {"kind", "id", "group", "verdict"}:
            assert f"`{name}`" in text, name
    given = [each for each in vars(verdict).values() if isinstance(each, type(UNAVAILABLE))]
    assert FROM_FUTURE in given
    for each in given:
        # What is only remembered is the hot path's alone.
        if each.reason != "last_known":
            assert f"`{each.reason}`" in text, each.reason
