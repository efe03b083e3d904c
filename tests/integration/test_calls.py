"""A team that calls: a micro-batch over HTTP, through the real stages, to its result."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from enrichment.lab.ports import free_port
from enrichment.lab.servers import LocalServers
from enrichment.pipelines import load
from enrichment.stream.topics import (
    CASES,
    CHANGES,
    CONTROL,
    FEATURES,
    JOB_EVENTS,
    JOBS,
    MICRO_BATCHES,
    ORDERS,
    StreamTopics,
)
from tests.console.desks import TOKEN
from tests.integration.stages import Stream, create_missing, eventually
from tests.integration.test_console import BEARER, Page

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(150)]

SHARED: Final = (MICRO_BATCHES, JOBS, JOB_EVENTS, ORDERS, CASES, FEATURES, CONTROL, CHANGES)
"""What a pipeline of calls needs beside its own outcomes: no digests, and no events."""

FILE: Final = '[stream]\nname = "{}"\n\n[calls]\nentity = "account"\n'
RING: Final = [[0, 1, 1.0], [0, 2, 1.0], [1, 2, 1.0], [2, 3, 0.25]]


class Callers(Stream):
    """A pipeline of calls with a random name, and its topics."""

    def __init__(self, folder: Path, servers: LocalServers) -> None:
        self.name = f"t{secrets.token_hex(4)}"
        self.folder, self.bootstrap, self.redis_url = folder, servers.bootstrap, servers.redis_url
        (folder / f"{self.name}.toml").write_text(FILE.format(self.name), encoding="utf-8")
        self.pipeline = load(self.name, folder)
        self.topics = StreamTopics(self.name)
        self._stages = []
        self._client = {"bootstrap.servers": servers.bootstrap}
        own = {self.topics.outcomes: "payments.outcomes"}
        create_missing(self._client, own | {name: name for name in SHARED})


@pytest.fixture
def callers(servers: LocalServers, tmp_path: Path) -> Iterator[Callers]:
    """A pipeline of calls."""
    one = Callers(tmp_path, servers)
    yield one
    one.close()


def test_a_call_is_solved_once_and_its_result_is_its_own(callers: Callers) -> None:
    """202, then its values by path; again under its key the same job, other content a conflict.

    A later call of the same nodes supersedes them, and no stage of a stream starts here.
    """
    port = free_port()
    console = callers.start(
        "console", ENRICHMENT_CONSOLE_PORT=str(port), ENRICHMENT_CONSOLE_TOKEN=TOKEN
    )
    callers.start("sample")
    callers.start("project")
    window = callers.start("window")
    page = Page(port)
    page.await_answer("/healthz/ready", console)
    nodes = [f"{callers.name}-{n}" for n in range(4)]
    body = {"problems": [{"nodes": nodes, "edges": RING}]}
    keyed = BEARER | {"idempotency-key": "order 7"}

    status, taken = page.ask("/v1/jobs", body, keyed)
    assert status == 202, taken
    where = f"/v1/jobs/{taken['job_id']}"
    assert page.ask(where)[0] == 200
    eventually("a result", lambda: page.ask(f"{where}/result")[0] == 200)
    _, told = page.ask(f"{where}/result")
    assert (told["provider"], told["shots"], told["complete"]) == ("qsim", 1_000, True)
    [problem] = told["problems"]
    assert problem["circuit_hash"]
    assert "membership_gap" in problem["differences"]
    assert [node["id"] for node in problem["nodes"]] == nodes
    for node in problem["nodes"]:
        assert set(node["estimates"]) == {"quantum", "classical", "random"}
        quantum = node["estimates"]["quantum"]
        assert quantum["membership_low"] <= quantum["membership"] <= quantum["membership_high"]

    assert page.ask("/v1/jobs", body, keyed) == (202, taken)
    other = {"problems": [{"nodes": nodes, "edges": RING[:3]}]}
    assert page.ask("/v1/jobs", other, keyed)[0] == 409
    _, later = page.ask("/v1/jobs", other, BEARER)
    eventually("the later one's", lambda: page.ask(f"/v1/jobs/{later['job_id']}/result")[0] == 200)
    status, gone = page.ask(f"{where}/result")
    assert status == 410
    assert "4 superseded" in gone["detail"]
    assert page.ask("/v1/jobs")[1]["found"] == 2
    assert page.ask("/v1/cases")[1]["found"] == 0
    assert window.process.wait(30) == 2
    assert "has no stage window" in window.said()
    assert console.end() == 0
