"""A console over hand-made state, to look at and to fuzz: `python -m tests.console.served 8180`.

With `calls` behind the port it is of a pipeline of calls, and takes them. No broker and no cache:
jobs, cases and a flow are made up, and commands answer what `told` says. Its clock runs a minute
for each look, so that no rate is in the way of whoever fuzzes it.
"""

import asyncio
import json
import signal
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Any

from enrichment.console.app import application
from enrichment.console.commands import Said
from enrichment.console.folds import Cases, Jobs
from enrichment.console.serve import listening, serve
from tests.console.desks import CALLS, Console, MemoryTopic, case, gauged, job
from tests.console.told import DRAWN, EVENT, EVIDENCE, Estimates, told_svg


class Answers:
    """Commands that answer as the project's do, by their first words."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    async def run(self, *arguments: str) -> Said:
        """Say what that command says."""
        self.asked.append(arguments)
        for argument in arguments:
            if argument.startswith("--svg="):
                # Not in the event loop's way: it is a test's.
                await asyncio.to_thread(Path(argument[6:]).write_text, told_svg())
        told: dict[tuple[str, ...], dict[str, Any]] = {
            ("jobs", "explain"): DRAWN,
            ("evidence", "show"): EVIDENCE,
        }
        said = EVENT if arguments[0] == "lineage" else told.get(arguments[:2], {"done": "written"})
        return Said(code=0, out=json.dumps(said).encode(), error="")


def made_up() -> tuple[Console, Answers]:
    """A console with jobs, cases and a flow, and what answers its commands."""
    answers = Answers()
    made = Console(commands=answers, features=Estimates())
    jobs = [job(), job("payments|eu|1700000002000|0", state="failed", provider="ionq")]
    made.known.jobs = Jobs(rows={one.job_id: one for one in jobs})
    made.known.cases = Cases(rows={"case-1": case(), "case-2": case("case-2")})
    made.known.gauged = gauged()
    return made, answers


def main(port: int, *, calls: bool = False) -> None:
    """Serve it until a signal ends it."""
    made, _ = made_up()
    if calls:
        made.pipeline, made.topic = CALLS, MemoryTopic()
    minutes = count(1)
    made.now = lambda: 60.0 * next(minutes)
    stop = threading.Event()
    made.stopping = stop.is_set
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with listening("127.0.0.1", port) as listener:
        serve(lambda: application(made.desk(), made.hosts), listener, stop)


if __name__ == "__main__":
    main(int(sys.argv[1]), calls="calls" in sys.argv[2:])
