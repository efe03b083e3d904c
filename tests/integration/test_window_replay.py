"""`enrichment window replay` over the topics of a real worker, as an operator calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from enrichment.lab.servers import LocalServers
from enrichment.records import MicroBatch
from enrichment.records.micro_batch import micro_batch_id
from enrichment.stream.topics import MICRO_BATCHES, shard_key
from enrichment.window.content import HASH_SCHEME
from tests.integration.test_window import ROOT, SIZE_MS, Field, make_field, running

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(90)]

WINDOWS = 5
FORGED = HASH_SCHEME + "f" * 32


def replay(field: Field, folder: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and printed figures of the command."""
    environment = os.environ | {
        "ENRICHMENT_KAFKA_BOOTSTRAP": field.bootstrap,
        "ENRICHMENT_PIPELINES_DIR": str(folder),
    }
    command = [sys.executable, "-m", "enrichment", "window", "replay"]
    done = subprocess.run(
        [*command, "--pipeline", field.name, "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def append(field: Field, batch: MicroBatch) -> None:
    """Put a close into the log, as nobody should."""
    producer = Producer({"bootstrap.servers": field.bootstrap})
    key = shard_key(batch.pipeline, batch.shard)
    producer.produce(MICRO_BATCHES, msgspec.json.encode(batch), key, field.partition)
    assert producer.flush(30) == 0


def test_replay_vouches_for_a_log_and_finds_forged_closes(
    servers: LocalServers, tmp_path: Path
) -> None:
    """Every close of a worker is the same again; another hash is found, known identity or not."""
    one = make_field(servers.bootstrap, "window-replay", tmp_path, 60_000, 600_000)
    with running(one):
        for window in range(WINDOWS):
            one.send(
                one.digest(window, accounts=("a", "b", "c")),
                one.digest(window, pane=2, accounts=("c", f"d{window}")),
            )
        # The last window stays open.
        closed = one.await_windows(WINDOWS - 1)
    code, counts = replay(one, tmp_path)
    assert (code, counts["closes"], counts["same"]) == (0, WINDOWS - 1, WINDOWS - 1)
    assert counts["different"] == counts["conflicts"] == counts["incomplete"] == 0
    assert counts["other_problems"] == 0
    assert counts["digests"] == 2 * WINDOWS

    append(one, msgspec.structs.replace(closed[1], content_hash=FORGED))
    code, counts = replay(one, tmp_path)
    assert (code, counts["conflicts"], counts["same"]) == (1, 1, WINDOWS - 1)
    assert counts["different"] == 0

    last = closed[-1]
    start_ms = last.window_start_ms + SIZE_MS
    partition, _, end = last.digest_offsets[0]
    identity = micro_batch_id(one.name, last.shard, start_ms, 0)
    forged = msgspec.structs.replace(
        last,
        micro_batch_id=identity,
        window_start_ms=start_ms,
        window_end_ms=start_ms + SIZE_MS,
        content_hash=FORGED,
        digest_offsets=((partition, end + 2, end + 3),),
        read_through=end + 3,
    )
    append(one, forged)
    code, counts = replay(one, tmp_path)
    assert (code, counts["different"], counts["same"]) == (1, 1, WINDOWS - 1)
    (shown,) = counts["shown"]
    assert (shown["micro_batch_id"], shown["logged"]) == (identity, FORGED)
    assert shown["derived"] != FORGED
