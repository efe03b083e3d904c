"""The demo under kill -9: every stage dies once in the middle of the stream."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killing_every_stage_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Kill -9 of each stage in turn: each input is answered once, every micro-batch is solved."""
    report = tmp_path / "report.json"
    command = [
        sys.executable, "-m", "enrichment", "demo", "--kill-stages", "--seconds", "25",
        "--rate", "400", "--report", str(report),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    figures = json.loads(report.read_text())
    assert figures["killed"] == ["enrich", "window", "sample", "project"]
    assert figures["lost"] == 0
    assert figures["duplicated"] == 0
    assert figures["events_enriched"] + figures["dead_letters"] == figures["events_published"]
    assert figures["events_published"] > 25 * 400 * 0.9
    assert set(figures["jobs_by_state"]) <= {"succeeded", "fallback_complete"}
    assert sum(figures["jobs_by_state"].values()) == figures["micro_batches"]
