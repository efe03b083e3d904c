"""Stages as processes: restarted when they die, all stopped in the end."""

import os
import signal
import time
from pathlib import Path

import pytest

from enrichment.lab.processes import StageProcesses

# No broker answers there: a stage waits, which is all that is needed of it here.
NOWHERE = {"ENRICHMENT_KAFKA_BOOTSTRAP": "127.0.0.1:1"}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_killed_stage_is_started_again(tmp_path: Path) -> None:
    """Kill -9 of a stage gives another process under the same name, and the restart is counted."""
    with StageProcesses(
        ["project"], "payments", environment=NOWHERE, log_folder=tmp_path
    ) as processes:
        first = processes.pid("project")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        deadline_s = time.monotonic() + 20
        while (second := processes.pid("project")) in {None, first}:
            processes.tend()
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert processes.restarts == {"project": 1}
    assert second is not None
    assert not _alive(second)


@pytest.mark.slow
def test_an_unreachable_broker_is_one_clear_line(tmp_path: Path) -> None:
    """A stage whose Kafka is away says where it looked and what to do, without a trace."""
    log = tmp_path / "enrich.log"
    with StageProcesses(["enrich"], "payments", environment=NOWHERE, log_folder=tmp_path):
        deadline_s = time.monotonic() + 30
        while "does not answer" not in (log.read_text() if log.exists() else ""):
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
    text = log.read_text()
    assert "Kafka at 127.0.0.1:1 does not answer" in text
    assert "enrichment up" in text
    assert "Traceback" not in text


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_each_stage_has_a_port_of_its_own_for_its_metrics(tmp_path: Path) -> None:
    """The port that was set is the first stage's, and the ones behind it are the others'."""
    given = NOWHERE | {"ENRICHMENT_METRICS_PORT": "9464"}
    stages = ["project", "enrich"]
    with StageProcesses(stages, "payments", environment=given, log_folder=tmp_path) as processes:
        told = [Path(f"/proc/{processes.pid(stage)}/environ").read_bytes() for stage in stages]
    found = [dict(each.split(b"=", 1) for each in one.split(b"\0") if each) for one in told]
    assert [one[b"ENRICHMENT_METRICS_PORT"] for one in found] == [b"9464", b"9465"]
