"""How a rate is taken from looks at a running process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from enrichment.lab.bench.catalogue import BenchError
from enrichment.lab.bench.observe import (
    Expected,
    Look,
    Span,
    cpu_s,
    memory_mib,
    memory_peak_mib,
    process,
    rate,
    tree,
    watch,
)


def test_a_rate_leaves_out_the_warm_up_and_the_stragglers() -> None:
    """Ten slow seconds before the first tenth and behind the last do not count."""
    looks = [
        Look(0.0, 0, 0.0),
        Look(10.0, 100, 5.0),
        Look(11.0, 500, 6.0),
        Look(12.0, 900, 7.0),
        Look(30.0, 1_000, 9.0),
    ]
    found = rate(looks, 1_000, 80.0, Span())
    assert found.events_per_s == pytest.approx(400.0)
    assert found.cpu_s_per_million == pytest.approx(2_500.0)
    assert found.memory_peak_mib == 80.0


def test_looks_that_are_far_apart_make_a_run_seem_slower_and_never_faster() -> None:
    """A run that jumps over its tenth is timed from the last look before that."""
    sparse = [Look(0.0, 0, 0.0), Look(1.0, 0, 0.0), Look(2.0, 950, 1.0), Look(2.1, 1_000, 1.0)]
    assert rate(sparse, 1_000, 0.0, Span()).events_per_s == pytest.approx(950.0)


def test_cpu_and_memory_are_those_of_the_process() -> None:
    """Work moves the CPU seconds, and memory is a plausible number of MiB."""
    before = cpu_s(os.getpid())
    sum(i * i for i in range(3_000_000))
    assert cpu_s(os.getpid()) > before
    assert 5 < memory_mib(os.getpid()) <= memory_peak_mib(os.getpid()) < 100_000


def test_a_system_that_warms_up_is_timed_later() -> None:
    """The slow first half of a run does not count where its span begins at a half."""
    looks = [Look(0.0, 0, 0.0), Look(10.0, 500, 1.0), Look(11.0, 900, 2.0), Look(12.0, 1_000, 2.0)]
    assert rate(looks, 1_000, 0.0, Span(0.5, 0.9)).events_per_s == pytest.approx(400.0)


def test_a_tree_is_a_process_and_its_children_while_they_live() -> None:
    """The child is in it, and one that has ended is not; of no process there is nothing."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert {os.getpid(), child.pid} <= set(tree(os.getpid()))
    child.kill()
    child.wait()
    assert child.pid not in tree(os.getpid())
    assert tree(None) == []


class _NothingCommitted:
    """A group that never gets anywhere."""

    name = "nobody"

    def committed(self) -> int:
        """Events committed: none."""
        return 0


def test_a_process_that_dies_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    """What it said goes into the error, and nothing waits for it any longer."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", "import sys; sys.exit('out of luck')"]
    group: Any = _NothingCommitted()
    with (
        process(command, {}, log) as running,
        pytest.raises(BenchError, match="nobody ended at 0 of 10 events: out of luck"),
    ):
        watch(running, group, Expected(10), lambda: None, log)


def test_a_process_is_ended_with_the_block_whatever_happens_in_it(tmp_path: Path) -> None:
    """An error in the block leaves no process behind."""
    seen: list[subprocess.Popen[bytes]] = []

    def fail_meanwhile() -> None:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        with process(command, {}, tmp_path / "log") as running:
            seen.append(running)
            raise KeyError("in the block")

    with pytest.raises(KeyError):
        fail_meanwhile()
    assert seen[0].poll() is not None


def test_a_process_has_the_settings_it_is_given_and_not_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator's own ENRICHMENT_... do not change what is measured."""
    monkeypatch.setenv("ENRICHMENT_BATCH_MS_MAX", "999")
    show = "import os; print(sorted(n for n in os.environ if n.startswith('ENRICHMENT_')))"
    given = {"ENRICHMENT_INSTANCE": "bench"}
    with process([sys.executable, "-c", show], given, tmp_path / "log") as running:
        running.wait(20)
    assert (tmp_path / "log").read_text().strip() == "['ENRICHMENT_INSTANCE']"
