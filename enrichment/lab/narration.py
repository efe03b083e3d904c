"""A story told by commands: each is run as a person would type it, and what it printed is kept.

Nothing here looks behind the commands' backs: what a scene needs to know it asks with `--json`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from enrichment.lab.local_run import LocalRunError

COMMAND_S: Final = 400.0  # the longest, the gate, runs jobs again; beyond it something hangs
WIDTH: Final = 120  # columns of the tables in the transcript


@dataclass(frozen=True, slots=True)
class Told:
    """What a command printed, and its exit code."""

    code: int
    text: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.text)


class Narration:
    """Runs commands and writes them down as they go, with the time since the story began."""

    def __init__(self, environment: dict[str, str], transcript: TextIO, tend: Callable[[], None]):
        """`tend` is called while a command runs or a scene waits: stages that died come back."""
        self._environment = environment | {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
        self._transcript = transcript
        self._tend = tend
        self._begun_s = time.monotonic()
        self.commands = 0

    def scene(self, title: str, text: str) -> None:
        """Begin a scene."""
        self.say(f"\n== {title} ==\n{text}")

    def say(self, text: str) -> None:
        """Write a line of the story itself."""
        for out in (sys.stdout, self._transcript):
            out.write(f"{text}\n")
            out.flush()

    def run(self, *arguments: str, codes: Sequence[int] = (0,), quiet: bool = False) -> Told:
        """Run `enrichment ...`; what it says is shown unless `quiet`.

        Raises LocalRunError where it ends with another code than one of `codes`.
        """
        self.commands += 1
        if not quiet:
            self.command(*arguments)
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-m", "enrichment", *arguments],
            env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        text, code = self._ended(process, arguments)
        if not quiet:
            self.say(text.rstrip())
        if code not in codes:
            if quiet:
                self.say(text.rstrip())
            raise LocalRunError(f"enrichment {' '.join(arguments)} ended with {code}")
        if code and not quiet:
            self.say(f"(exit code {code})")
        return Told(code, text)

    def command(self, *arguments: str) -> None:
        """Write a command down as a person would type it."""
        since_s = time.monotonic() - self._begun_s
        shown = " ".join(_quoted(each) for each in arguments)
        self.say(f"\n[{since_s:6.1f} s] $ enrichment {shown}")

    def ask(self, *arguments: str) -> Any:
        """What a command says with `--json`, without a word in the transcript."""
        return self.run(*arguments, "--json", quiet=True).json

    def until(self, said: str, holds: Callable[[], bool], within_s: float, every_s: float) -> float:
        """Wait until it holds; the seconds that took. Raises LocalRunError where it does not."""
        begun_s = time.monotonic()
        while not holds():
            waited_s = time.monotonic() - begun_s
            if waited_s > within_s:
                raise LocalRunError(f"not within {within_s:.0f} s: {said}")
            self.rest(every_s)
        return time.monotonic() - begun_s

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._tend()
            time.sleep(min(0.2, left_s))

    def _ended(self, process: "subprocess.Popen[str]", arguments: Sequence[str]) -> tuple[str, int]:
        give_up_s = time.monotonic() + COMMAND_S
        try:
            while True:
                try:
                    text, _ = process.communicate(timeout=0.2)
                except subprocess.TimeoutExpired:
                    self._tend()
                    if time.monotonic() > give_up_s:
                        raise LocalRunError(
                            f"enrichment {' '.join(arguments)} took over {COMMAND_S:.0f} s"
                        ) from None
                else:
                    return text, process.returncode
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def open_transcript(folder: Path) -> TextIO:
    """The file that the story is written to."""
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / "transcript.txt").open("w", encoding="utf-8", buffering=1)


def _quoted(argument: str) -> str:
    return f"'{argument}'" if any(each in argument for each in " |*") else argument
