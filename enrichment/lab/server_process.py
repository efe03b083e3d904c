"""One server process of the local laboratory: detached, known by its pid file, told from strangers.

A pid file alone is not proof: after a reboot its number may belong to anyone. A process counts as
ours only while its command line ends with a file of our own state folder (`mark`).
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

POLL_S: Final = 0.1
TAIL_LINES: Final = 15  # a broker's fatal line and the few lines that led to it
FRAMES: Final = ("\tat ", "\t... ")  # fifty of them would push the one line that says why away
STOP_S: Final = 30.0  # Kafka closes its logs on SIGTERM; killed, it has to recover them


class ServerError(Exception):
    """A local server that cannot be had, with a message that says what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A live process of ours: its pid and the port it was started on."""

    pid: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """A detached process and its two files: `pid_path` (JSON: pid, port) and `log_path` (output).

    `mark`, an absolute path inside our state folder, is the last argument of its command line.
    `tied` processes get SIGTERM when the thread that started them ends, however it ends (Linux).
    """

    name: str
    pid_path: Path
    log_path: Path
    mark: str
    tied: bool = False

    def running(self) -> Running | None:
        """Our live process, or None: no pid file, a dead pid, or a pid that is somebody else's."""
        try:
            noted = json.loads(self.pid_path.read_text(encoding="utf-8"))
            found = Running(pid=int(noted["pid"]), port=int(noted["port"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            # Half a file is what a machine that lost power leaves: nothing of it still runs.
            return None
        return found if self._is_ours(found.pid) else None

    def _is_ours(self, pid: int) -> bool:
        # Its last argument, whole: /b/.state would else be found in /a/b/.state.
        return exists(pid) and command_line(pid).endswith(f" {self.mark}")

    def spawn(self, command: Sequence[str], *, port: int) -> int:
        """The pid of `command`, started in its own session with output going to the log.

        The log of the run before is kept beside it as `.1`, so that logs do not grow for ever.
        """
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if self.log_path.exists():
            self.log_path.replace(self.log_path.with_name(self.log_path.name + ".1"))
        argv = [*_tie(), *command] if self.tied else list(command)
        executable = shutil.which(argv[0])
        if executable is None:
            raise ServerError(f"{argv[0]} is not on the PATH: run `make setup`, which installs it")
        log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # posix_spawn and not Popen: the child outlives this object, and nobody waits for it here.
        pid = os.posix_spawn(
            executable,
            argv,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log_path), log_flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        partial = self.pid_path.with_suffix(".partial")
        partial.write_text(json.dumps({"pid": pid, "port": port}), encoding="utf-8")
        partial.replace(self.pid_path)
        return pid

    def await_ready(self, pid: int, ready: Callable[[], bool], *, within_s: float) -> None:
        """Nothing once `ready()` holds; ServerError with the log's tail if it dies or is too slow.

        A process that took too long is stopped, so that the next `up` starts from nothing.
        """
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if not exists(pid):
                self.pid_path.unlink(missing_ok=True)
                raise ServerError(f"{self.name} ended while it was starting.\n{self.log_tail()}")
            if ready():
                return
            time.sleep(POLL_S)
        self.stop(within_s=5.0)
        raise ServerError(
            f"{self.name} did not answer within {within_s:.0f} s and was stopped.\n"
            f"{self.log_tail()}\n"
            "A busy machine may need longer: `enrichment up --wait-s 180`."
        )

    def stop(self, *, within_s: float = STOP_S) -> bool:
        """Whether there was a process to stop. SIGTERM first; SIGKILL when that is not heeded."""
        found = self.running()
        if found is None:
            self.pid_path.unlink(missing_ok=True)
            return False
        _signal(found.pid, signal.SIGTERM)
        if not _gone(found.pid, within_s=within_s):
            _signal(found.pid, signal.SIGKILL)
            _gone(found.pid, within_s=5.0)
        self.pid_path.unlink(missing_ok=True)
        return True

    def kill(self) -> None:
        """SIGKILL, as a crash would have it. The pid file stays behind, as after a crash."""
        found = self.running()
        if found is None:
            raise ServerError(f"{self.name} is not running: there is nothing to kill")
        _signal(found.pid, signal.SIGKILL)
        _gone(found.pid, within_s=5.0)

    def log_tail(self) -> str:
        """The last lines of the log, under its path, without the frames of Java's traces."""
        try:
            lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        said = [line for line in lines if not line.startswith(FRAMES)][-TAIL_LINES:]
        shown = "\n".join(f"  | {line}" for line in said) or "  | (nothing logged)"
        return f"The end of {self.log_path}:\n{shown}"


def exists(pid: int) -> bool:
    """Whether a process of this number lives. A dead child of ours is reaped here, not a zombie."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        # Started by an earlier command. Where pid 1 reaps nobody, its zombie may stay for good.
        return bool(command_line(pid))


def command_line(pid: int) -> str:
    """The command line of a process, "" when there is none: nor has a zombie, nor one at birth."""
    proc = Path(f"/proc/{pid}/cmdline")
    if proc.parent.parent.joinpath("self").exists():
        try:
            return proc.read_bytes().replace(b"\0", b" ").decode(errors="replace").rstrip()
        except (FileNotFoundError, ProcessLookupError):
            return ""
    # No /proc on macOS; `ps` shows a zombie as "(name)" or "<defunct>".
    shown = subprocess.run(  # noqa: S603  # fixed command, a number as its only argument
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607  # wherever the system has it
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return "" if shown.startswith("(") or "<defunct>" in shown else shown


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """A lock between processes, held while the block runs: of two `up` at once, one waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself in between: as wanted
        os.kill(pid, number)


def _gone(pid: int, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not exists(pid):
            return True
        time.sleep(POLL_S / 2)
    return False


def _tie() -> list[str]:
    # setpriv (util-linux) sets PR_SET_PDEATHSIG and becomes the command: same pid, no wrapper left.
    return ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
