"""Enrichers under random kills: the multiset of answers is the multiset of inputs.

Short here, long by `make faults` (KILLS=20 EVENTS=1000000), which prints its figures as a table.
"""

import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Final

import pytest

from tests.faults.answers import Account, Watch
from tests.faults.enrichers import FAULTS, KILLS, STARTED, Enrichers, Publishing, plan
from tests.integration.stages import Stream, eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow]

KILLS_WANTED: Final = int(os.environ.get("KILLS", "3"))
EVENTS: Final = int(os.environ.get("EVENTS", "30000"))
SEED: Final = int(os.environ.get("SEED", "1"))
LONG: Final = KILLS_WANTED > 3
FAULT_S: Final = 5.5 if LONG else 1.7  # what a fault takes on average, with the pause behind it
PAUSE_S: Final = (0.2, 4.0) if LONG else (0.1, 1.5)
# What is left to do when the last fault is over: restarts, takeovers, and the backlog.
REST_S: Final = 600.0 if LONG else 60.0


@pytest.fixture
def show(capfd: pytest.CaptureFixture[str]) -> Callable[[str, dict[str, object]], None]:
    """A function that prints a table of a run past pytest's capture: it is what the run is for."""

    def table(title: str, rows: dict[str, object]) -> None:
        lines = [f"  {name:<44}{value}" for name, value in rows.items()]
        with capfd.disabled():
            sys.stderr.write("\n".join(["", title, *lines, ""]))

    return table


Show = Callable[[str, dict[str, object]], None]


def seconds(silences: list[float]) -> str:
    """Median and maximum, or that there was nothing to measure."""
    if not silences:
        return "-"
    return f"median {median(silences):.2f} s, max {max(silences):.2f} s, of {len(silences)}"


def run_faults(
    stream: Stream, events: int, faults: list[str], **environment: str
) -> tuple[Account, dict[str, object]]:
    """Publish, make trouble, wait for the end; what was answered, and figures of the run."""
    draw = random.Random(SEED)
    enrichers = Enrichers(stream, **environment)
    for name in ("0", "1"):
        enrichers.start(name).await_said(STARTED)
    enrichers.await_shared("0", "1")
    watch = Watch(stream.bootstrap, stream.name)
    publishing = Publishing(stream, events, events / (FAULT_S * len(faults)), SEED)
    done: list[tuple[str, float, float]] = []
    try:
        eventually("the first answers", lambda: watch.answered > 0)
        for fault in faults:
            at_s = FAULTS[fault](enrichers, draw)
            # Long enough for a start most of the time; now and then the next fault hits a start.
            time.sleep(draw.uniform(*PAUSE_S))
            enrichers.tend()
            done.append((fault, at_s, time.monotonic()))
        going = publishing.going

        def answered() -> bool:
            enrichers.tend()
            return watch.answered >= events

        publishing.finish()
        eventually(f"{events} answers", answered, within_s=REST_S)
        for name in sorted(enrichers.running):
            enrichers.terminate(name)
    finally:
        watch.close()
    account = Account.take(stream.bootstrap, stream.name)
    assert sum(account.inputs.values()) == events
    silences: defaultdict[str, list[float]] = defaultdict(list)
    for fault, at_s, until_s in done:
        silences[fault] += [watch.silence_s(p, at_s, until_s) for p in account.inputs]
    figures: dict[str, object] = {
        "seed": SEED,
        "kills (kill -9)": sum(fault in KILLS for fault in faults),
        "of them without another start for 8-11 s": faults.count("left"),
        "zombies (SIGSTOP for 8-11 s, SIGCONT)": faults.count("suspended"),
        "SIGTERM in the middle": faults.count("terminated"),
        "a third one joined or left": faults.count("joined"),
        "ended by themselves, being fenced": enrichers.fenced,
        "records published": events,
        "events enriched": account.enriched,
        "dead letters": account.dead_letters,
        "malformed records published": publishing.spoiled,
        "duplicates": account.duplicates,
        "lost": account.lost,
        "events that digests count": sum(account.digested.values()),
        "published until the last fault": going,
    }
    for fault, measured in sorted(silences.items()):
        figures[f"longest silence of a partition, {fault}"] = seconds(measured)
    return account, figures


@pytest.mark.timeout(1_800 if LONG else 120)
def test_random_kills_lose_and_double_nothing(stream: Stream, show: Show) -> None:
    """Exactly once: enriched plus dead letters are the inputs, and digests count the enriched."""
    faults = plan(KILLS_WANTED, random.Random(SEED), patient=LONG)
    account, figures = run_faults(stream, EVENTS, faults)
    show("Exactly once under random kills", figures)
    account.assert_exact()
    assert account.dead_letters == figures["malformed records published"]
    assert figures["kills (kill -9)"] == KILLS_WANTED


@pytest.mark.timeout(1_800 if LONG else 120)
def test_at_least_once_loses_nothing_and_names_duplicates(stream: Stream, show: Show) -> None:
    """At least once: nothing is lost, and what is doubled bears the same `ce_id`."""
    faults = plan(KILLS_WANTED, random.Random(SEED), patient=LONG) if LONG else ["killed"] * 2
    # Batches of which a kill leaves most delivered, but not their offsets committed.
    account, figures = run_faults(stream, EVENTS // 5, faults, ENRICHMENT_DELIVERY="at_least_once")
    show("At least once under random kills", figures)
    assert (account.lost, account.renamed, account.strangers) == (0, 0, 0), account
