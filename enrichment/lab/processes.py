"""The stages as processes of this machine: started, restarted when they die, stopped in the end."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from enrichment.telemetry.log import logger

STOP_S: Final = 10.0  # what a stage may take to finish its batch before it is killed
RESTART_FIRST_S: Final = 0.5
RESTART_MAX_S: Final = 10.0
# On one machine the hot path goes first: what is off the critical path yields the processor to it.
# A nice process still runs to the end of its slice when another wakes up; an idle one is put aside.
IDLE: Final = frozenset({"sample"})
NICENESS: Final = {"window": 5, "guard": 5}
STEADY_S: Final = 30.0  # a stage that ran this long is restarted at once again
METRICS_PORT: Final = "ENRICHMENT_METRICS_PORT"


def make_yield(stage: str, pid: int) -> None:
    """Have a process that was just started yield as its stage does; its children inherit that."""
    if stage in IDLE and hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    elif stage in IDLE:
        os.setpriority(os.PRIO_PROCESS, pid, 19)
    elif (niceness := NICENESS.get(stage)) is not None:
        os.setpriority(os.PRIO_PROCESS, pid, niceness)


class StageProcesses:
    """One process per stage. `tend` must be called now and then; leaving the context stops all."""

    def __init__(
        self,
        stages: Sequence[str],
        pipeline: str,
        *,
        environment: dict[str, str] | None = None,
        log_folder: Path | None = None,
    ) -> None:
        """`log_folder` takes each stage's standard error in a file; else it goes to ours."""
        self._stages = stages
        self._pipeline = pipeline
        self._environment = {**os.environ, **(environment or {})}
        self._log_folder = log_folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started_s: dict[str, float] = {}
        self._delay_s: dict[str, float] = {}
        self._due_s: dict[str, float] = {}
        self.restarts: dict[str, int] = dict.fromkeys(stages, 0)

    def __enter__(self) -> Self:
        """Start every stage."""
        for stage in self._stages:
            self._start(stage)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop every stage, the hot path first, so that what it sent is still worked on."""
        self.stop()

    def pid(self, stage: str) -> int | None:
        """The process id of a running stage, or None."""
        process = self._running.get(stage)
        return None if process is None or process.poll() is not None else process.pid

    def kill(self, stage: str) -> None:
        """Kill -9 a running stage, as a crash would; `tend` starts it again."""
        if (process := self._running.get(stage)) is not None:
            process.kill()

    def tend(self) -> None:
        """Notice stages that died, and start them again after a growing delay."""
        now_s = time.monotonic()
        for stage, process in list(self._running.items()):
            if process.poll() is None:
                continue
            del self._running[stage]
            steady = now_s - self._started_s[stage] > STEADY_S
            delay_s = 0.0 if steady else self._delay_s.get(stage, 0.0)
            self._delay_s[stage] = min(max(2 * delay_s, RESTART_FIRST_S), RESTART_MAX_S)
            self._due_s[stage] = now_s + delay_s
            code = process.returncode
            logger().warning("a stage died, restarting it", died=stage, code=code, in_s=delay_s)
        for stage, due_s in list(self._due_s.items()):
            if now_s >= due_s:
                del self._due_s[stage]
                self.restarts[stage] += 1
                self._start(stage)

    def stop(self) -> None:
        """End every stage, and kill what does not end in time."""
        self._due_s.clear()
        processes = list(reversed(self._running.items()))
        for _, process in processes:
            process.terminate()
        deadline_s = time.monotonic() + STOP_S
        for stage, process in processes:
            try:
                process.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger().warning("a stage did not stop in time, killing it", stage_name=stage)
                process.kill()
                process.wait()
        self._running.clear()

    def _start(self, stage: str) -> None:
        command = [sys.executable, "-m", "enrichment", stage, "--pipeline", self._pipeline]
        log = None
        if self._log_folder is not None:
            self._log_folder.mkdir(parents=True, exist_ok=True)
            log = (self._log_folder / f"{stage}.log").open("ab")
        # A session of its own: Ctrl-C reaches us alone, and we stop the stages in order.
        self._running[stage] = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            command,
            env=self._environment | self._metrics(stage),
            stderr=log,
            stdout=log,
            start_new_session=True,
        )
        if log is not None:
            log.close()
        make_yield(stage, self._running[stage].pid)
        self._started_s[stage] = time.monotonic()

    def _metrics(self, stage: str) -> dict[str, str]:
        """A port of its own for its metrics: the one that was set is the first stage's."""
        first = self._environment.get(METRICS_PORT)
        if not first:
            return {}
        return {METRICS_PORT: str(int(first) + self._stages.index(stage))}
