"""The demo: everything for real on this machine for a minute, and an honest count at the end."""

import json
import os
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
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from enrichment.lab.metrics import average_precision
from enrichment.lab.processes import StageProcesses
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.servers import LocalServers
from enrichment.lab.simulate import simulate
from enrichment.lab.watch import Seen, Watcher
from enrichment.pipelines import Pipeline, load
from enrichment.stream.manifests import load_manifests
from enrichment.stream.topic_admin import TopicAdmin
from enrichment.stream.topic_plan import differences

PIPELINE: Final = "payments"
STAGES: Final = ("project", "sample", "window", "enrich")
TOPICS_S: Final = 30.0  # a broker that has just come up answers slowly at first
READY_S: Final = 90.0  # importing Cirq takes five seconds on a quiet machine
DESCRIBE_S: Final = 1.0  # of groups that nobody has joined the broker says nothing for so long
DRAIN_S: Final = 60.0  # what is under way at the stream's end must be over by then
QUIET_S: Final = 2.0  # nothing new for so long: the last window has closed by the wall clock
# A stage that was killed may bring events too late for their window: they are in none, for good.
LATE_QUIET_S: Final = 8.0
LEAD_MS: Final = 3_000  # the publisher starts within this time
MALFORMED: Final = 0.0005  # some records are no events, as in life
PATHS: Final = ("served", "heuristic", "classical", "quantum")


class DemoError(RuntimeError):
    """The demo could not go on, said in one line."""


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
        self._work = options.state_dir / f"demo-{time.time_ns()}"
        # The score table is fixed before the seed is drawn.
        self.pipeline: Pipeline = load(PIPELINE)
        self.seed = secrets.randbelow(2**31) if options.seed is None else options.seed

    def run(self, stop: threading.Event) -> dict[str, Any]:
        """The report. Raises DemoError, ServerError. Everything started here is ended here."""
        started_s = time.monotonic()
        with self._servers() as servers:
            self._apply_topics(servers)
            client = {"bootstrap.servers": servers.bootstrap, "log_level": 2}
            watcher = Watcher(client, PIPELINE)
            self.seen = watcher.seen
            watcher.start()
            try:
                with self._stages(servers) as processes:
                    self.phase = "stages joining their groups"
                    self._await_stages(client, processes, stop)
                    scenario = self._stream(servers, processes, stop)
                    self.phase = "draining"
                    self._drain(processes, watcher, stop)
            finally:
                watcher.stop()
            if watcher.failure is not None:
                raise DemoError(f"the count of the topics failed: {watcher.failure}")
            if stop.is_set():
                raise DemoError("stopped before its end")
            report = self._report(scenario)
        report["seconds"] = round(time.monotonic() - started_s, 1)
        return report

    @contextmanager
    def _servers(self) -> Iterator[LocalServers]:
        """A Kafka and a Redis on free ports, whose data goes when the demo does."""
        self.phase = "starting Kafka and Redis"
        libs = self.options.state_dir / "kafka" / "libs"
        servers = LocalServers.on_free_ports(self._work, libs_dir=libs)
        try:
            servers.up()
            yield servers
        finally:
            servers.discard()

    def _apply_topics(self, servers: LocalServers) -> None:
        self.phase = "applying topics"
        manifests = load_manifests(self.options.topics_dir)
        admin = AdminClient({"bootstrap.servers": servers.bootstrap, "log_level": 2})
        topics = TopicAdmin(admin, servers.bootstrap, TOPICS_S)
        found = differences(manifests, topics.states(m.name for m in manifests))
        topics.carry_out(found, {m.name: m for m in manifests}, lambda _: None)
        topics.await_in_step(manifests)

    @contextmanager
    def _stages(self, servers: LocalServers) -> Iterator[StageProcesses]:
        """Every stage as a process of its own; their logs are shown where the demo fails."""
        self.phase = "starting stages"
        logs = self.options.state_dir / "demo-logs"
        with StageProcesses(
            STAGES, PIPELINE, environment=_environment(servers), log_folder=logs
        ) as processes:
            self.processes = processes
            yield processes

    def _await_stages(
        self, client: dict[str, Any], processes: StageProcesses, stop: threading.Event
    ) -> None:
        """Return when every stage's consumer group has its partitions."""
        admin = AdminClient(client)
        groups = [f"enrichment.{stage}.{PIPELINE}" for stage in STAGES]
        give_up_s = time.monotonic() + READY_S
        while not stop.is_set():
            processes.tend()
            described = admin.describe_consumer_groups(groups, request_timeout=DESCRIBE_S)
            joining = [name for name, future in described.items() if not _assigned(future)]
            if not joining:
                return
            stages = ", ".join(name.split(".")[1] for name in joining)
            self.phase = f"stages joining their groups ({stages})"
            if time.monotonic() > give_up_s:
                logs = self.options.state_dir / "demo-logs"
                raise DemoError(f"not ready after {READY_S:.0f} s: {stages}; see {logs}")
            time.sleep(0.2)

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
            command, env=_environment(servers), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as publisher:
            while publisher.poll() is None:
                processes.tend()
                if kills and time.monotonic() - begun_s >= kills[0][0]:
                    self._kill(processes, kills.pop(0)[1])
                if stop.wait(0.1):
                    publisher.terminate()
            errors = publisher.stderr.read() if publisher.stderr else b""
            if publisher.returncode and not stop.is_set():
                raise DemoError(f"the stream broke off: {errors.decode().strip()[-500:]}")
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


def _environment(servers: LocalServers) -> dict[str, str]:
    """What tells our own processes where the servers are."""
    return os.environ | {
        "ENRICHMENT_KAFKA_BOOTSTRAP": servers.bootstrap,
        "ENRICHMENT_REDIS_URL": servers.redis_url,
    }


def _assigned(future: Any) -> bool:
    """Whether a consumer group has members, and all of them know their partitions."""
    try:
        group = future.result(timeout=5 * DESCRIBE_S)
    except (KafkaException, TimeoutError):
        return False  # a group that nobody has joined yet may not exist
    return group.state.name == "STABLE" and any(
        member.assignment and member.assignment.topic_partitions for member in group.members
    )


def _shares(counts: dict[str, int]) -> dict[str, float]:
    total = sum(counts.values()) or 1
    return {name: round(count / total, 4) for name, count in sorted(counts.items())}


def write_report(report: dict[str, Any], path: Path) -> None:
    """The report as JSON, for programs."""
    path.write_text(json.dumps(report, indent=2) + "\n")
