"""A worker under test: the sample stage as it is, started with what a fault needs around it.

    python -P -m tests.faults.launcher pipeline.toml

By environment: FAULTS_VENDOR_PORT (the provider `vendor`), FAULTS_KILL_AT (see `kill_points`),
FAULTS_CLOCK (a file with the seconds by which this machine's clock is wrong), FAULTS_DIARY (a file
that is told how far the start has come), FAULTS_JOURNALS (a folder for the history of its
transactions). Spawned children import this module too: their clock is
as wrong as their parent's.
"""

import mmap
import os
import struct
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

OFFSET: Final = struct.Struct("d")


def write_offset(path: Path, seconds: float) -> None:
    """Let the clock of every process that was started with this file be wrong by so much."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(OFFSET.pack(seconds))


def _bend_clock(path: Path) -> None:
    """Shift what Python calls the wall clock by what the file says, at every reading."""
    with path.open("rb") as file:
        view = mmap.mmap(file.fileno(), OFFSET.size, prot=mmap.PROT_READ)
    true_s, true_ns = time.time, time.time_ns

    def offset_s() -> float:
        return float(OFFSET.unpack_from(view)[0])

    time.time = lambda: true_s() + offset_s()
    time.time_ns = lambda: true_ns() + int(offset_s() * 1e9)


if "FAULTS_CLOCK" in os.environ:
    _bend_clock(Path(os.environ["FAULTS_CLOCK"]))


def main() -> None:
    """Run the stage."""
    from enrichment import provider
    from enrichment.pipelines import load
    from enrichment.sample.ledger import Ledger
    from enrichment.sample.worker import Worker
    from enrichment.settings import Settings
    from tests.faults.kill_points import Diary, Strike, lay

    try:
        from enrichment.wiring.sampling import run_sample
    except ModuleNotFoundError:  # an old version's, whose wiring was one file
        run_sample = import_module("enrichment.wiring").run_sample
    known: Any = provider.PROVIDERS
    known["vendor"] = "tests.faults.vendor_client"
    pipeline = load(sys.argv[1])
    diary = Diary(Path(os.environ["FAULTS_DIARY"]) if "FAULTS_DIARY" in os.environ else None)
    diary.note("imported")
    _tell(diary, Ledger, "join", "warm")
    _tell(diary, Worker, "adopt", "adopted")
    if "FAULTS_JOURNALS" in os.environ:
        from tests.faults.recorded_producer import record_transactions

        record_transactions(Path(os.environ["FAULTS_JOURNALS"]), "worker")
    if "FAULTS_KILL_AT" in os.environ:
        strike = Strike.parse(os.environ["FAULTS_KILL_AT"], diary)
        lay(strike, _submitter(pipeline.sampling.provider))
    run_sample(Settings(), pipeline)
    diary.note("ended")


def _tell(diary: Any, owner: Any, name: str, what: str) -> None:
    """Have the diary told when a method is called."""
    method = getattr(owner, name)

    def told(*args: Any, **options: Any) -> Any:
        diary.note(what)
        return method(*args, **options)

    setattr(owner, name, told)


def _submitter(chosen: str) -> tuple[Any, str]:
    """The class and the method of a provider that order a job; imported only where needed."""
    if chosen == "ionq":
        from enrichment.provider.ionq_client import Client

        return Client, "create_job"
    from tests.faults.vendor_client import VendorClient

    return VendorClient, "order"


if __name__ == "__main__":
    main()
