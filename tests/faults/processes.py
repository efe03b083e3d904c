"""The processes of a trial: vendor, workers, projector; started, killed, stopped and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.vendor import Manner
from tests.faults.vendor_client import manner_of, tell

ROOT: Final = Path(__file__).resolve().parents[2]
END_S: Final = 25.0  # a call that a worker has begun may take ten seconds more, see `remote`


@dataclass(slots=True, kw_only=True)
class Process:
    """One process, what it says, and what it has come to."""

    popen: "subprocess.Popen[bytes]"
    log: Path
    diary: Path
    started_ms: int
    suspended: bool = False

    @property
    def alive(self) -> bool:
        """Whether it runs, or could."""
        return self.popen.poll() is None

    def said(self) -> str:
        """Everything that it has logged so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def came_to(self) -> list[tuple[int, str]]:
        """The lines of its diary: Unix time in milliseconds, and what."""
        if not self.diary.exists():
            return []
        lines = self.diary.read_text(encoding="utf-8").splitlines()
        return [(int(at), what) for at, what in (line.split(" ", 1) for line in lines)]

    def kill(self) -> None:
        """Kill -9."""
        self.popen.kill()
        self.popen.wait(10)

    def suspend(self) -> None:
        """SIGSTOP: it holds what it holds, and hears nothing."""
        os.kill(self.popen.pid, signal.SIGSTOP)
        self.suspended = True

    def resume(self) -> None:
        """SIGCONT."""
        if self.suspended and self.alive:
            os.kill(self.popen.pid, signal.SIGCONT)
        self.suspended = False

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(END_S)


def start(command: list[str], name: Path, environment: Mapping[str, str]) -> Process:
    """A process whose log and diary stand beside `name`."""
    log, diary = name.with_suffix(".log"), name.with_suffix(".diary")
    env = os.environ | {"PYTHONPATH": str(ROOT), "FAULTS_DIARY": str(diary)} | dict(environment)
    with log.open("wb") as file:
        popen = subprocess.Popen(
            [sys.executable, "-P", *command],
            env=env,
            cwd=name.parent,
            stderr=file,
            stdout=file,
            # Ctrl-C is for who runs the trials; it ends the processes in its own order.
            start_new_session=True,
        )
    return Process(popen=popen, log=log, diary=diary, started_ms=time.time_ns() // 1_000_000)


@dataclass(slots=True)
class VendorProcess:
    """A vendor as a process: it ends with us, and never with a worker."""

    module: str = "tests.faults.vendor"
    port: int = 0
    _popen: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> "VendorProcess":
        """Serve; returns when the port is known."""
        command = [sys.executable, "-P", "-m", self.module]
        self._popen = subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._popen.stdout is not None
        self.port = int(json.loads(self._popen.stdout.readline())["port"])
        return self

    def behave(self, manner: Manner) -> None:
        """From now on so."""
        tell(self.port, manner)

    def left_to_do(self) -> int:
        """How many answers are still to get lost, and jobs to fail."""
        manner = manner_of(self.port)
        return manner.lose + manner.lose_samples + manner.fail

    def close(self) -> None:
        """End it."""
        if self._popen is not None:
            for pipe in (self._popen.stdin, self._popen.stdout):
                if pipe is not None:
                    pipe.close()
            self._popen.kill()
            self._popen.wait(10)
