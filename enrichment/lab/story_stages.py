"""The story's processes: a sampler that can be started with other settings, and the stream."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from enrichment.lab.local_run import LocalRunError, await_stages
from enrichment.lab.processes import StageProcesses
from enrichment.lab.story_pipeline import NAME

HOT: Final = ("project", "window", "enrich", "guard")
JOINED: Final = ("project", "window", "enrich", "sample")  # the guard joins no group
# Rings begin all through a stream, which is ended with its scenes: a few are known to the evidence
# by then, and resampled as what they are, a few.
STREAM_S: Final = 600
ACCOUNTS: Final = 5_000


class StoryStages:
    """Every stage as a process, for as long as the context lasts."""

    def __init__(self, environment: dict[str, str], logs: Path, stop: threading.Event) -> None:
        self._environment = environment
        self._logs = logs
        self._stop = stop
        self._hot = StageProcesses(HOT, NAME, environment=environment, log_folder=logs)
        self._sampler = self._sampler_with({})

    def __enter__(self) -> Self:
        """Start them all."""
        self._hot.__enter__()
        self._sampler.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End them all, what the sampler still has to solve last."""
        self._hot.stop()
        self._sampler.stop()

    def await_joined(self) -> None:
        """Return when every stage has its partitions. Raises LocalRunError."""
        client = {"bootstrap.servers": self._environment["ENRICHMENT_KAFKA_BOOTSTRAP"]}
        groups = [f"enrichment.{stage}.{NAME}" for stage in JOINED]
        await_stages(client, self._hot, groups, self._stop, say)

    def tend(self) -> None:
        """Bring back what died. Raises LocalRunError where the story was told to stop."""
        if self._stop.is_set():
            raise LocalRunError("stopped before its end")
        self._hot.tend()
        self._sampler.tend()

    def restart_sampler(self, **changed: str) -> None:
        """End the sampler and start it with these settings."""
        self._sampler.stop()
        self._sampler = self._sampler_with(changed)
        self._sampler.__enter__()

    @contextmanager
    def stream(self, rate_per_s: float, *, rings: int, seed: int) -> Iterator[None]:
        """Publish simulated payments while the block lasts, from a process of its own."""
        command = [
            sys.executable, "-m", "enrichment", "simulate", "--json",
            "--seconds", str(STREAM_S), "--rate", str(rate_per_s), "--seed", str(seed),
            "--rings", str(rings), "--ring-size", "5", "8", "--accounts", str(ACCOUNTS),
        ]  # fmt: skip
        with subprocess.Popen(  # noqa: S603  # our own interpreter and module
            command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as publisher:
            try:
                yield
            finally:
                publisher.terminate()

    def _sampler_with(self, changed: dict[str, str]) -> StageProcesses:
        return StageProcesses(
            ("sample",), NAME, environment=self._environment | changed, log_folder=self._logs
        )


def say(text: str) -> None:
    """Tell whoever waits what is being waited for."""
    sys.stderr.write(f"{text}\n")
