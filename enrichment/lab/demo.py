"""The demo: everything for real on this machine for a minute, and an honest count at the end."""

import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from enrichment.lab.local_run import (
    Folders,
    LocalRunError,
    await_stages,
    environment,
    local_servers,
)
from enrichment.lab.processes import StageProcesses
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.servers import LocalServers
from enrichment.lab.simulate import simulate
from enrichment.lab.watch import Seen, Watcher
from enrichment.pipelines import Pipeline, load
from enrichment.rollout.metrics import average_precision

PIPELINE: Final = "payments"
STAGES: Final = ("project", "sample", "window", "enrich")
DRAIN_S: Final = 60.0  # what is under way at the stream's end must be over by then
QUIET_S: Final = 2.0  # nothing new for so long: the last window has closed by the wall clock
# A stage that was killed may bring events too late for their window: they are in none, for good.
LATE_QUIET_S: Final = 8.0
LEAD_MS: Final = 3_000  # the publisher starts within this time
MALFORMED: Final = 0.0005  # some records are no events, as in life
PATHS: Final = ("served", "heuristic", "classical", "quantum")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the demo is asked to do."""

    seconds: float
    rate_per_s: float
    seed: int | None
    state_dir: Path
    topics_dir: Path
    # Kill -9 each stage once in the middle of the stream, and let it be started again.
    kill_stages: bool


class Demo:
    """One run of the demo; `phase` and `seen` may be looked at from another thread."""

    def __init__(self, options: DemoOptions) -> None:
        self.options = options
        self.phase = "starting"
        self.seen = Seen()
        self.killed: list[str] = []
        self.processes: StageProcesses | None = None
        self._folders = Folders(
            state_dir=options.state_dir,
            topics_dir=options.topics_dir,
            work=options.state_dir / f"demo-{time.time_ns()}",
        )
        # The score table is fixed before the seed is drawn.
        self.pipeline: Pipeline = load(PIPELINE)
        self.seed = secrets.randbelow(2**31) if options.seed is None else options.seed

    def run(self, stop: threading.Event) -> dict[str, Any]:
        """The report. Raises LocalRunError, ServerError. Everything started here is ended here."""
        started_s = time.monotonic()
        with local_servers(self._folders, self._say) as servers:
            client = {"bootstrap.servers": servers.bootstrap, "log_level": 2}
            watcher = Watcher(client, PIPELINE)
            self.seen = watcher.seen
            watcher.start()
            try:
                with self._stages(servers) as processes:
                    groups = [f"enrichment.{stage}.{PIPELINE}" for stage in STAGES]
                    await_stages(client, processes, groups, stop, self._say)
                    scenario = self._stream(servers, processes, stop)
                    self.phase = "draining"
                    self._drain(processes, watcher, stop)
            finally:
                watcher.stop()
            if watcher.failure is not None:
                raise LocalRunError(f"the count of the topics failed: {watcher.failure}")
            if stop.is_set():
                raise LocalRunError("stopped before its end")
            report = self._report(scenario)
        report["seconds"] = round(time.monotonic() - started_s, 1)
        return report

    @contextmanager
    def _stages(self, servers: LocalServers) -> Iterator[StageProcesses]:
        """Every stage as a process of its own; their logs are shown where the demo fails."""
        self.phase = "starting stages"
        logs = self.options.state_dir / "demo-logs"
        with StageProcesses(
            STAGES, PIPELINE, environment=environment(servers), log_folder=logs
        ) as processes:
            self.processes = processes
            yield processes

    def _say(self, phase: str) -> None:
        self.phase = phase

    def _stream(
        self, servers: LocalServers, processes: StageProcesses, stop: threading.Event
    ) -> SimulationSettings:
        """Publish the stream from a process of its own, and tend the stages meanwhile."""
        options = self.options
        scenario = SimulationSettings(
            seed=self.seed,
            seconds=options.seconds,
            rate_per_s=options.rate_per_s,
            start_ms=time.time_ns() // 1_000_000 + LEAD_MS,
            bad_share=MALFORMED,
        )
        command = [
            sys.executable, "-m", "enrichment", "simulate", "--json",
            "--seconds", str(scenario.seconds), "--rate", str(scenario.rate_per_s),
            "--seed", str(scenario.seed), "--start", str(scenario.start_ms),
            "--malformed", str(MALFORMED),
        ]  # fmt: skip
        self.phase = "streaming"
        kills = self._kills() if options.kill_stages else []
        begun_s = time.monotonic()
        with subprocess.Popen(  # noqa: S603  # our own interpreter and module
            command, env=environment(servers), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as publisher:
            while publisher.poll() is None:
                processes.tend()
                if kills and time.monotonic() - begun_s >= kills[0][0]:
                    self._kill(processes, kills.pop(0)[1])
                if stop.wait(0.1):
                    publisher.terminate()
            errors = publisher.stderr.read() if publisher.stderr else b""
            if publisher.returncode and not stop.is_set():
                raise LocalRunError(f"the stream broke off: {errors.decode().strip()[-500:]}")
        return scenario

    def _kills(self) -> list[tuple[float, str]]:
        """(seconds into the stream, stage): spread over the middle of the stream."""
        lead_s, seconds = LEAD_MS / 1000, self.options.seconds
        return [
            (lead_s + seconds * (0.2 + 0.15 * index), stage)
            for index, stage in enumerate(("enrich", "window", "sample", "project"))
        ]

    def _kill(self, processes: StageProcesses, stage: str) -> None:
        processes.kill(stage)
        self.killed.append(stage)

    def _drain(self, processes: StageProcesses, watcher: Watcher, stop: threading.Event) -> None:
        """Return when every input is answered, every job has ended, and all is quiet.

        Where that does not come to be in time, the report tells what is missing.
        """
        give_up_s = time.monotonic() + DRAIN_S
        still: tuple[int, ...] = ()
        since_s = time.monotonic()
        while time.monotonic() < give_up_s and watcher.failure is None and not stop.is_set():
            processes.tend()
            seen = watcher.seen
            now = (seen.published, seen.enriched, len(seen.micro_batches), seen.unfinished_jobs())
            if now != still:
                still, since_s = now, time.monotonic()
            done = seen.lost == 0 and not seen.unfinished_jobs()
            quiet_s = QUIET_S if seen.windowed >= seen.enriched else LATE_QUIET_S
            if done and time.monotonic() - since_s > quiet_s:
                return
            stop.wait(0.2)

    def _report(self, scenario: SimulationSettings) -> dict[str, Any]:
        """The summary, its keys in the order of the way of the data."""
        seen = self.seen
        latencies = np.array(seen.latencies_ms or [0])
        return {
            "seed": self.seed,
            "score_version": self.pipeline.score.version,
            "pipeline_version": self.pipeline.version,
            "events_published": seen.published,
            "events_enriched": seen.enriched,
            "dead_letters": seen.dead_letters,
            "lost": seen.lost,
            "duplicated": seen.duplicated,
            "latency_ms": {
                "p50": round(float(np.percentile(latencies, 50)), 1),
                "p99": round(float(np.percentile(latencies, 99)), 1),
            },
            "share_by_verdict": _shares(seen.verdicts),
            "share_by_path": _shares(seen.paths),
            "events_windowed": seen.windowed,
            "micro_batches": len(seen.micro_batches),
            "problems": seen.problems,
            "jobs_by_state": seen.jobs_by_state(),
            "quantum_jobs_succeeded": seen.quantum_jobs_succeeded(),
            "cases": len(seen.cases),
            "average_precision": self._average_precision(scenario),
            "killed": self.killed,
        }

    def _average_precision(self, scenario: SimulationSettings) -> dict[str, float | None]:
        """Each path's average precision over all events, by the stream's own truth."""
        label, scores = [], []
        for simulated in simulate(scenario):
            if (known := self.seen.scores.get(simulated.payment.event_id)) is not None:
                label.append(simulated.is_fraud)
                scores.append(known)
        if not any(label):
            return dict.fromkeys(PATHS)
        columns = np.array(scores).T
        return {
            path: round(average_precision(np.array(label), column), 4)
            for path, column in zip(PATHS, columns, strict=True)
        }


def _shares(counts: dict[str, int]) -> dict[str, float]:
    total = sum(counts.values()) or 1
    return {name: round(count / total, 4) for name, count in sorted(counts.items())}


def write_report(report: dict[str, Any], path: Path) -> None:
    """The report as JSON, for programs."""
    path.write_text(json.dumps(report, indent=2) + "\n")
