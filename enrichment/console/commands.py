"""The project's own commands as child processes: what the console asks and does beyond its state.

A look-up imports half the project and reads topics for seconds, and an action has checks and a
record of its own. As processes they end when they take too long, give their memory back, and are
the very commands that an operator types: what is refused there is refused here.
"""

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from typing import Final

from enrichment.console.limits import (
    COMMAND_BYTES_MAX,
    COMMAND_S,
    COMMAND_WAIT_S,
    COMMANDS_MAX,
)
from enrichment.console.problems import Problem

KEPT_BACK: Final = ("ENRICHMENT_CONSOLE_TOKEN", "ENRICHMENT_METRICS_PORT")
"""No command needs the token, and the port is taken by the console itself."""

PIPE_BYTES: Final = 65_536  # what a pipe holds

SAID_MAX: Final = 600  # characters of an error that are passed on


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command ended: its exit code, and what it wrote on either output."""

    code: int
    out: bytes
    error: str


class Commands:
    """Runs `enrichment ...`, at most COMMANDS_MAX at once. Of one event loop."""

    def __init__(self, program: tuple[str, ...] = (sys.executable, "-m", "enrichment")) -> None:
        self._program = program
        self._free = asyncio.Semaphore(COMMANDS_MAX)

    async def run(self, *arguments: str, within_s: float = COMMAND_S) -> Said:
        """Run a command to its end. Raises Problem where none is free, or it takes too long."""
        try:
            async with asyncio.timeout(COMMAND_WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            raise Problem(
                503, f"{COMMANDS_MAX} look-ups are under way already", retry_after_s=COMMAND_WAIT_S
            ) from None
        try:
            return await self._run(arguments, within_s)
        finally:
            self._free.release()

    async def _run(self, arguments: tuple[str, ...], within_s: float) -> Said:
        environment = {name: text for name, text in os.environ.items() if name not in KEPT_BACK}
        # In a session of its own: what it starts in turn ends with it.
        process = await asyncio.create_subprocess_exec(
            *self._program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101  # they are pipes
        assert process.stderr is not None  # noqa: S101
        reads = [asyncio.create_task(_read(pipe)) for pipe in (process.stdout, process.stderr)]
        try:
            async with asyncio.timeout(within_s):
                out, error = await asyncio.gather(*reads)
                code = await process.wait()
        except TimeoutError:
            raise Problem(504, f"no answer within {within_s:.0f} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                for read in reads:
                    read.cancel()
                await asyncio.wait(reads)
                # To their ends, which are near: a pipe that is left half read stays open.
                await asyncio.gather(_drained(process.stdout), _drained(process.stderr))
                await process.wait()
        said = error.decode(errors="replace").strip()
        return Said(code=code, out=out, error=said.removeprefix("error: ")[-SAID_MAX:])


async def _read(pipe: asyncio.StreamReader) -> bytes:
    """All of an output. Raises Problem where it is longer than anybody would read."""
    parts: list[bytes] = []
    size = 0
    while part := await pipe.read(PIPE_BYTES):
        size += len(part)
        if size > COMMAND_BYTES_MAX:
            raise Problem(502, f"the answer is larger than {COMMAND_BYTES_MAX >> 20} MiB")
        parts.append(part)
    return b"".join(parts)


async def _drained(pipe: asyncio.StreamReader) -> None:
    while await pipe.read(PIPE_BYTES):
        pass
