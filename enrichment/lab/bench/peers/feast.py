"""Feast beside our client: a process in an environment of its own, asked a line at a time.

Feast holds pandas, pyarrow and its own versions of pydantic and redis-py: `make feast` installs it
into `.venv-feast`, and nothing else needs it. Where it is missing, the report says so.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, Final

import enrichment
from enrichment.lab.bench.catalogue import BenchError, BenchOptions

ALL: Final = "feast, all figures"
ONE: Final = "feast, one figure"
CHECKOUT: Final = Path(enrichment.__file__).resolve().parents[1]
PYTHON: Final = CHECKOUT / ".venv-feast" / "bin" / "python"
MODULE: Final = "enrichment.lab.bench.peers.feast_peer"
ANSWER_S: Final = 300.0  # it imports for seconds, and writes its rows a figure at a time


class Feast:
    """The process, once it has written the accounts' figures into the same Redis."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log
        self.version = str(self._answer()["feast"])

    def measure(self, size: int, reads: int, seed: int) -> dict[str, list[float]]:
        """Microseconds of each read of so many accounts, of all figures and of one."""
        if self._process.stdin is None:
            raise AssertionError("it was started with a pipe")
        self._process.stdin.write(json.dumps({"size": size, "reads": reads, "seed": seed}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        return {ALL: answer["all"], ONE: answer["one"]}

    def _answer(self) -> dict[str, Any]:
        """Its next line. Raises BenchError where it ends, or says nothing for long."""
        if self._process.stdout is None:
            raise AssertionError("it was started with a pipe")
        impatience = Timer(ANSWER_S, self._process.kill)
        impatience.start()
        try:
            line = self._process.stdout.readline()
        finally:
            impatience.cancel()
        if not line:
            said = self._log.read_text(encoding="utf-8", errors="replace").strip()
            raise BenchError(f"feast has ended: {said[-500:]}")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def beside(url: str, ids: Sequence[str], options: BenchOptions) -> Iterator[Feast | str]:
    """Feast on that Redis while the block runs, or why it cannot be had."""
    if not PYTHON.exists():
        yield "it is not installed: `make feast`"
        return
    options.say("starting Feast, and writing the same figures with it")
    folder = options.state_dir.resolve() / f"feast-{time.time_ns()}"  # it runs in there
    folder.mkdir(parents=True)
    address = url.removeprefix("redis://").partition("/")[0]
    command = [str(PYTHON), "-W", "ignore", "-m", MODULE, address, str(folder), str(len(ids))]
    environment = {
        "PYTHONPATH": str(CHECKOUT),
        "FEAST_USAGE": "False",
        "PATH": "",
        "HOME": str(folder),
    }
    log = folder / "log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(  # noqa: S603  # the peer of `make feast`
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            env=environment, cwd=folder,
        )  # fmt: skip
    try:
        yield Feast(process, log)
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)
