"""Faults on purpose, on real servers, with what must hold checked after each: prints a table.

python -m tests.faults --only "kill claimed" --times 1 --json faults.json
"""

import argparse
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from tests.faults.catalogue import FAMILIES
from tests.faults.fault import Fault
from tests.faults.table import foot, head, line
from tests.faults.trial import Report, run
from tests.faults.world import open_ground

CLEAN, VIOLATED, INTERRUPTED = 0, 1, 130
SHELL: Final = "\r\x1b[K"


def main() -> int:
    """Run what was asked for; 0 where nothing was wrong, 1 where something was."""
    arguments = _arguments()
    faults = _chosen(arguments.only)
    if arguments.list or not faults:
        for fault in faults:
            sys.stdout.write(f"{fault.name:<32}  {fault.what}\n")
        return CLEAN if faults else VIOLATED
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reports: list[Report] = []
    began_s = time.monotonic()
    code = CLEAN
    with ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            ground = stack.enter_context(open_ground(folder))
            sys.stdout.write(head() + "\n")
            for number, fault in enumerate(faults, 1):
                _progress(f"{number} of {len(faults)}: {fault.name} ...")
                reports.append(run(fault, ground, times=arguments.times or fault.times))
                _progress("")
                sys.stdout.write(line(reports[-1]) + "\n")
                sys.stdout.flush()
        except KeyboardInterrupt:
            _progress("")
            sys.stdout.write("interrupted: ending what runs\n")
            code = INTERRUPTED
    took_s = time.monotonic() - began_s
    sys.stdout.write(foot(reports) + f"\n{len(reports)} faults in {took_s:.0f} s\n")
    if arguments.json:
        said = {"took_s": round(took_s, 1), "faults": [report.as_json() for report in reports]}
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(said)))
    return code or (CLEAN if all(report.good for report in reports) else VIOLATED)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT",
        help="families, or faults whose name holds the text; may be given again",
    )  # fmt: skip
    parser.add_argument("--times", type=int, help="how often each fault, instead of its own number")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there as well")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the processes' logs in that folder"
    )
    parser.add_argument("--list", action="store_true", help="the faults, and nothing is done")
    return parser.parse_args()


def _chosen(only: list[str]) -> list[Fault]:
    """The faults that were asked for, all without a word."""
    return [
        fault
        for family, faults in FAMILIES.items()
        for fault in faults
        if not only or family in only or any(text in fault.name for text in only)
    ]


def _progress(text: str) -> None:
    """Say what goes on, where somebody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(SHELL + text)
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
