"""Old and new workers together, as they are while a deployment rolls, forwards and back.

The old one is the package as of a commit, taken from the history of this clone. What starts it is
today's: it asks of the package only what has been there since then.
"""

import io
import subprocess
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.faults.fault import Fault, Figures
from tests.faults.processes import ROOT
from tests.faults.workers import TWO
from tests.faults.world import World

OLD: Final = "e3c153d"  # the last one before jobs had breakers, budgets and orders
TOGETHER_S: Final = 6.0


def without_history() -> str:
    """Why there is no old version to be had, or ""."""
    command = ["git", "cat-file", "-e", f"{OLD}^{{commit}}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    return "" if found.returncode == 0 else f"this clone's history does not hold {OLD}"


def old_package(folder: Path) -> Path:
    """A folder with the package as it was."""
    place = folder / "old"
    if not place.exists():
        command = ["git", "archive", "--format=tar", OLD, "enrichment"]
        archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(place, filter="data")
    return place


def start_old(world: World, instance: str) -> None:
    """A worker of the old version."""
    place = old_package(world.ground.folder)
    world.start_worker(instance, PYTHONPATH=f"{place}:{ROOT}")


def rolled(world: World) -> Figures:
    """Both old; one is replaced, both work; the other is replaced; then back again to the old."""
    for instance in ("one", "two"):
        world.workers[instance].terminate()
        start_old(world, instance)
    world.await_jobs()
    for instance in ("one", "two"):
        # In the middle of its jobs: the other version has to make sense of them.
        world.workers[instance].kill()
        world.start_worker(instance)
        time.sleep(TOGETHER_S)
        world.await_jobs(3)
    for instance in ("one", "two"):
        world.workers[instance].kill()
        start_old(world, instance)
        time.sleep(TOGETHER_S)
        world.await_jobs(3)
    for instance in ("one", "two"):
        world.workers[instance].terminate()
        world.start_worker(instance)
    world.await_jobs()
    states = tuple(world.watch.states.values())
    assert states.count("succeeded") > len(states) / 2, "one of the two solves nothing"
    return {}


FAULTS: Final = (
    Fault(
        name="old and new together",
        what=f"two workers of {OLD} become today's one by one, and go back again, by kill -9",
        do=rolled,
        terms=replace(TWO, deadline_ms=60_000),
        times=1,
        without=without_history,
    ),
)
