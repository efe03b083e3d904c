"""`enrichment bench kill`: how long other paths go on serving once the kill switch is pulled.

The hot path runs as an operator starts it, under an open-loop load whose every event has fresh ring
features, so that quantum serves. The switch is pulled by the command itself, a process of its own.
What counts is the last event that a path other than the heuristic decided: how long that was after
the command was started, and after it had made its record.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from enrichment.lab.bench import ground
from enrichment.lab.bench.answering import Answering
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.hot_path import described_machine
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.bench.report import Report, Row
from enrichment.lab.bench.systems import enrich_environment
from enrichment.records import Path
from enrichment.rollout import instruct
from enrichment.rollout.control import SERVE, control_key
from enrichment.settings import Delivery
from enrichment.stream.manifests import load_manifests
from enrichment.stream.topics import CONTROL

NAME: Final = "kill"
RATES: Final = (5_000, 20_000)  # events/s
RATES_QUICK: Final = (500,)
PROMISED_MS: Final = 2_000
WARM_S: Final = 5.0  # the first batches fill the enricher's memory of entities
BEFORE_S: Final = 1.0  # of quantum answers, to be sure that they are what is cut off
# After the command's start: its own, the promise, and as much again in which nothing may come.
AFTER_S: Final = 5.0
RESTORED_S: Final = 2.0
COMMAND_S: Final = 30.0
PULL_S: Final = BEFORE_S + AFTER_S + RESTORED_S + 3.0  # reading what was answered takes the rest
# Where the cache is not read in time the heuristic decides, and no switch is seen to do anything.
PATIENT: Final = {"ENRICHMENT_READ_TIMEOUT_MS": "500"}
ANSWERED_MIN: Final = 0.95


class _Verdict(msgspec.Struct):
    reason: str


class _Answer(msgspec.Struct):
    """What is looked at of an enriched event."""

    path: Path
    decided_at_ms: int
    verdict: _Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One pull: when the command was started, its record made, and who decided what."""

    started_ms: int
    issued_ms: int
    # When the last event was decided by another path than the heuristic.
    last_ms: int
    # Events answered in the window, of those that were due in it; and by the heuristic after that.
    answered: float
    after: int

    @property
    def from_command_ms(self) -> float:
        """What an operator waits, the command's own start included."""
        return float(self.last_ms - self.started_ms)

    @property
    def from_record_ms(self) -> float:
        """What the record's way to the hot path takes; below 0 no event was decided in between."""
        return float(self.last_ms - self.issued_ms)


Found = dict[int, list[Pull]]


def run(options: BenchOptions) -> Report:
    """At each rate as many pulls as `--pairs` says."""
    rates = RATES_QUICK if options.quick else RATES
    pulls = 1 if options.quick else options.pairs
    estimate_s = 20 + len(rates) * (WARM_S + 5 + pulls * PULL_S)
    options.say(f"this takes about {estimate_s / 60:.0f} minutes; starting Kafka and Redis")
    found: Found = {}
    with ground.servers(options) as servers:
        described = described_machine(servers)
        answering = Answering(servers, options, all_in_rings=True)
        count = next(m.partitions for m in load_manifests(options.topics_dir) if m.name == CONTROL)
        with answering.enricher(Delivery.EXACTLY_ONCE, **PATIENT):
            for rate in rates:
                if found:
                    # Only before the next rate: one that is not kept up with still has figures.
                    answering.drain()
                    answering.delete_outputs()
                found[rate] = _pulled(answering, options, (rate, pulls), count)
    return Report(name=NAME, machine=described, rows=tuple(rows(found)), notes=tuple(notes(found)))


def _pulled(
    answering: Answering, options: BenchOptions, size: tuple[int, int], partitions: int
) -> list[Pull]:
    """So many pulls at one rate; `partitions` are the control topic's."""
    rate, pulls = size
    seconds = WARM_S + 10 + pulls * (PULL_S + 10)
    found = []
    with answering.publisher(rate, seconds, answering.path("lateness")) as publisher:
        answering.await_answers()
        answering.wait(WARM_S)
        for number in range(pulls):
            options.say(f"{rate:,} events/s, pull {number + 1} of {pulls}")
            answering.delete_outputs()
            found.append(_pull(answering, rate))
            instruct.lift(
                {"bootstrap.servers": answering.servers.bootstrap},
                control_key(STREAM, SERVE), partitions, by=NAME, reason="measured",
            )  # fmt: skip
            answering.wait(RESTORED_S)
        publisher.terminate()
    return found


def _pull(answering: Answering, rate: int) -> Pull:
    """Pull the switch once, and look at what was answered around it. Raises BenchError."""
    before = answering.outputs.ends(answering.topics.enriched)
    begun_s = time.monotonic()
    answering.wait(BEFORE_S)
    command = [
        sys.executable, "-m", "enrichment", "rollout", "kill", "--pipeline", STREAM,
        "--reason", "measured", "--by", NAME, "--json",
    ]  # fmt: skip
    environment = os.environ | enrich_environment(answering.servers, Delivery.EXACTLY_ONCE)
    started_ms = ground.now_ms()
    with subprocess.Popen(  # noqa: S603  # our own command
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            answering.wait(AFTER_S)
            said, failed = process.communicate(timeout=COMMAND_S)
        finally:
            process.kill()
    answering.check()
    if process.returncode:
        raise BenchError(f"the command failed: {failed.decode(errors='replace')[-500:]}")
    span_s, end_ms = time.monotonic() - begun_s, ground.now_ms()
    told: dict[str, Any] = json.loads(said)
    decode = msgspec.json.Decoder(_Answer).decode
    answers = [decode(value) for value in answering.outputs.values(before)]
    others = [each.decided_at_ms for each in answers if each.path is not Path.HEURISTIC]
    if not others:
        why = Counter(each.verdict.reason for each in answers).most_common(1)
        raise BenchError(
            f"no path but the heuristic decided any of {len(answers):,} events, of which most say "
            f"{why[0][0] if why else 'nothing'}: is the machine too busy to be measured?"
        )
    last_ms = max(others)
    return Pull(
        started_ms=started_ms,
        issued_ms=told["control"]["issued_at_ms"],
        last_ms=last_ms,
        answered=min(1.0, sum(each.decided_at_ms <= end_ms for each in answers) / (rate * span_s)),
        after=sum(each.decided_at_ms > last_ms for each in answers),
    )


def rows(found: Found) -> Iterator[Row]:
    """Times at each rate, of all pulls."""
    for rate, pulls in found.items():
        case = f"{rate:,} events/s"
        yield Row.of(case, "kill switch", "from_command", [p.from_command_ms for p in pulls], "ms")
        yield Row.of(case, "kill switch", "from_record", [p.from_record_ms for p in pulls], "ms")
        starts = [float(p.issued_ms - p.started_ms) for p in pulls]
        yield Row.of(case, "the command", "until_its_record", starts, "ms")
        yield Row.of(case, "hot path", "answered", [p.answered for p in pulls], "share")


def notes(found: Found) -> Iterator[str]:
    """Whether the promise was kept, and what the figures rest on."""
    yield (
        "until the last event that another path than the heuristic decided, by the clock that "
        "both are on; every event has fresh ring features of both paths; the cache's timebox is "
        f"{PATIENT['ENRICHMENT_READ_TIMEOUT_MS']} ms, so that a busy machine does not decide"
    )
    for rate, pulls in found.items():
        longest = max(pull.from_command_ms for pull in pulls)
        kept = "kept" if longest <= PROMISED_MS else "NOT kept"
        yield (
            f"{rate:,} events/s: {PROMISED_MS / 1000:g} s promised, {kept}: {longest:.0f} ms at "
            f"most over {len(pulls)} pulls, with {min(pull.after for pull in pulls):,} events or "
            "more decided by the heuristic after it in each"
        )
        answered = min(pull.answered for pull in pulls)
        if answered < ANSWERED_MIN:
            yield f"{rate:,} events/s: only {answered:.2%} of a window's events were answered in it"
