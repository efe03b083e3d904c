"""A replay that is killed goes on where it stopped, on a real broker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from enrichment.lab.evaluate import committed_values
from enrichment.lab.servers import LocalServers

ROOT = Path(__file__).resolve().parents[2]
ROWS = 6_000

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(120)]


def _transactions(path: Path) -> None:
    """Transactions a second apart, the last of them a repetition of the first."""
    lines = ["TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD"]
    for n in [*range(ROWS), 0]:
        clock = f"{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}"
        lines.append(f"x{n},2018-05-01 {clock},{n % 50},{n % 90},{n % 200}.5,0")
    path.write_text("\n".join(lines) + "\n")


def _published(servers: LocalServers) -> Counter[str]:
    """How often each of our event ids stands in the topic for a committed reader."""
    client = {"bootstrap.servers": servers.bootstrap}
    events = map(json.loads, committed_values(client, "cards.events"))
    return Counter(e["transaction_id"] for e in events if e["transaction_id"].startswith("x"))


def test_a_killed_replay_goes_on_and_repeats_no_id(servers: LocalServers, tmp_path: Path) -> None:
    """Kill -9 in the middle, then the same command: every id of the file stands there once."""
    file = tmp_path / "transactions.csv"
    _transactions(file)
    environment = os.environ | {"ENRICHMENT_KAFKA_BOOTSTRAP": servers.bootstrap}
    enrichment = [sys.executable, "-m", "enrichment"]

    def run(*arguments: str) -> str:
        return subprocess.run(
            [*enrichment, *arguments], cwd=ROOT, env=environment, check=True, capture_output=True,
            text=True, timeout=100,
        ).stdout  # fmt: skip

    run("topics", "apply")
    replay = ("replay", str(file), "--pipeline", "cards", "--json")
    with subprocess.Popen([*enrichment, *replay, "--rate", "300"], cwd=ROOT, env=environment) as p:
        # Twenty seconds of rows, and a few seconds to begin: this falls into the middle.
        time.sleep(8)
        p.send_signal(signal.SIGKILL)
    before = _published(servers)
    assert 100 <= sum(before.values()) < ROWS, "it was done before the kill"
    assert set(before.values()) == {1}

    done = json.loads(run(*replay, "--rate", "max"))
    assert done["already"] >= 100
    assert done["repeated"] == 1
    assert _published(servers) == Counter({f"x{n}": 1 for n in range(ROWS)})
    assert json.loads(run(*replay, "--rate", "max"))["published"] == 0
