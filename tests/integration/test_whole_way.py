"""The whole way on real servers: a file replayed in lockstep through every stage, then judged."""

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enrichment.lab.evaluate import committed_values
from enrichment.lab.processes import StageProcesses
from enrichment.lab.servers import LocalServers

ROOT = Path(__file__).resolve().parents[2]
DAYS = 12
Command = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(240)]


def _ratings(path: Path) -> int:
    """Ratings over some days: a clique that praises itself, honest users, and a few negatives."""
    rng = random.Random(11)
    rows = []
    at_s = 1_300_000_000.0
    for number in range(DAYS * 40):
        at_s += rng.expovariate(40 / 86_400)
        if number % 3 == 0:
            source, target = rng.sample(range(6), 2)
            rating = 10
        else:
            source, target = rng.sample(range(6, 60), 2)
            rating = -8 if target % 9 == 0 else rng.randint(1, 4)
        rows.append(f"r{number},{source},{target},{rating},{at_s:.3f}")
    path.write_bytes(
        gzip.compress(("event_id,source,target,rating,time\n" + "\n".join(rows)).encode())
    )
    return len(rows)


@pytest.fixture
def command(servers: LocalServers) -> Command:
    """Runs `enrichment` against the shared servers."""
    environment = os.environ | {
        "ENRICHMENT_KAFKA_BOOTSTRAP": servers.bootstrap,
        "ENRICHMENT_REDIS_URL": servers.redis_url,
        # Where features decide, a read that a busy machine delays must not be given up.
        "ENRICHMENT_READ_TIMEOUT_MS": "1000",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "enrichment", *arguments],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def stages(servers: LocalServers, command: Command, tmp_path: Path) -> Iterator[StageProcesses]:
    """Every stage of `trust`, as processes."""
    applied = command("topics", "apply")
    assert applied.returncode == 0, applied.stderr
    environment = {
        "ENRICHMENT_KAFKA_BOOTSTRAP": servers.bootstrap,
        "ENRICHMENT_REDIS_URL": servers.redis_url,
        "ENRICHMENT_READ_TIMEOUT_MS": "1000",
    }
    names = ["project", "sample", "window", "enrich"]
    with StageProcesses(
        names, "trust", environment=environment, log_folder=tmp_path / "logs"
    ) as processes:
        yield processes


def test_a_lockstep_replay_scores_with_the_features_of_closed_windows(
    servers: LocalServers, command: Command, stages: StageProcesses, tmp_path: Path
) -> None:
    """Each window's features serve the next.

    Nothing is missing or doubled, circuits are sampled,
    and what the labels taught ranks the bad events of the second half first.
    """
    file = tmp_path / "ratings.csv.gz"
    rows = _ratings(file)
    replayed = command("replay", str(file), "--pipeline", "trust", "--rate", "lockstep", "--json")
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout)["published"] == rows

    again = command("replay", str(file), "--pipeline", "trust", "--rate", "max", "--json")
    assert json.loads(again.stdout)["published"] == 0, "no event id is published twice"

    report = tmp_path / "report.json"
    judged = command(
        "evaluate", str(file), "--pipeline", "trust", "--from", "0.5", "--json", str(report)
    )
    assert judged.returncode == 0, judged.stderr + judged.stdout
    figures = json.loads(report.read_text())
    assert (figures["events"], figures["enriched"]) == (rows, rows)
    assert (figures["missing"], figures["doubled"]) == (0, 0)
    assert figures["auc"] > 0.9
    assert figures["share_by_verdict"]["fresh"] > 0.5

    client = {"bootstrap.servers": servers.bootstrap}
    # Other tests share the topic, and not all that they write is JSON.
    rings = [
        json.loads(value)
        for value in committed_values(client, "features.updates")
        if b'"pipeline":"trust"' in value and b'"group":"ring"' in value
    ]
    assert rings
    assert any("quantum" in update["estimates"] for update in rings)
    assert all("classical" in update["estimates"] for update in rings)
    assert stages.restarts == {"project": 0, "sample": 0, "window": 0, "enrich": 0}
