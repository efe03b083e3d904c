"""`enrichment bench uplift`: what ring features add to average precision, by each sampler.

In process, without servers: simulated streams go through the stages' own code, every sampler gets
the same problems, and each stream is judged by models that were fitted on the others. Streams are
worlds of their own: no account, device or ring is in two of them, and no time order joins them.
"""

import gc
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from enrichment.lab.as_known import AsKnown
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.report import Report, Row, machine
from enrichment.lab.bench.rings import scenario
from enrichment.lab.bench.uplift_figures import (
    SYSTEMS,
    Judged,
    Ringed,
    calibration_rows,
    case_rows,
)
from enrichment.lab.bench.uplift_models import scores
from enrichment.lab.broadcast import STREAM
from enrichment.lab.passage import as_known
from enrichment.lab.ring_probability import FIT_POSITIVES_MIN, steps_of
from enrichment.lab.scenario import SimulationSettings
from enrichment.pipelines import load
from enrichment.sample.estimate import CLASSICAL, QUANTUM

NAME: Final = "uplift"
MINUTES_A_STREAM: Final = 1.8  # of one core, all in

CALIBRATED: Final = (QUANTUM, CLASSICAL)

NOTES: Final = (
    (
        "simulated payments with rings and decoys; a run is a seed: each is judged by models that "
        "were fitted on all the others, and the figure is the mean over seeds"
    ),
    (
        "an event sees what had been published by the beginning of its half second; sampled "
        "features come half a second after their window's close, whoever samples"
    ),
    (
        "every sampler gets the same problems, 1,000 shots and the same three columns for each "
        "entity: membership, minus the best energy, and their product; optimum: the strings of "
        "least energy"
    ),
    (
        "intervals: 95 %, by drawing rings and groups of tied accounts, all systems on the same "
        "draws; they tell of these streams and models, and not of how other models would differ"
    ),
    (
        "over_none, over_random, over_exact: average precision less that without ring features, "
        "with random strings' and with the exact twin's"
    ),
    (
        "nothing told: no outcome becomes known while the stream runs, so that nobody is known to "
        "be bad; else outcomes come 5 s after their payment on average"
    ),
    (
        "ring_probability: the map of surpluses fitted on the other seeds, per entity kind; mean "
        "squared errors, beside those of the bare share and of membership read as a probability"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of stream: how strong its rings are, and whether outcomes become known."""

    name: str
    strength: float
    told: bool = True


CASES: Final = (
    Case(name="strength 0.25", strength=0.25),
    Case(name="strength 0.5", strength=0.5),
    Case(name="strength 0.5, nothing told", strength=0.5, told=False),
)
QUICK: Final = (Case(name="strength 0.75", strength=0.75),)
CALIBRATED_CASE: Final = "strength 0.5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One seed of a case, and the file in which what was known of it is kept."""

    case: Case
    settings: SimulationSettings
    file: Path


def run(options: BenchOptions) -> Report:
    """Every case with as many seeds as asked for, on all cores: no time is measured."""
    cases = QUICK if options.quick else CASES
    seeds = range(1, (2 if options.quick else options.seeds) + 1)
    cores = len(os.sched_getaffinity(0))
    if not options.quick:
        minutes = MINUTES_A_STREAM * len(cases) * len(seeds) / cores
        options.say(f"this takes about {minutes:.0f} minutes")
    rows: list[Row] = []
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(cores, get_context("spawn"), _one_thread) as pool,
    ):
        streams = {
            case.name: [
                Stream(
                    case=case,
                    settings=scenario(options, seed, case.strength),
                    file=Path(folder) / f"{number}-{seed}.npz",
                )
                for seed in seeds
            ]
            for number, case in enumerate(cases)
        }
        every = [stream for mine in streams.values() for stream in mine]
        for stream, said in zip(every, pool.map(keep, every), strict=True):
            options.say(f"{stream.case.name}, seed {stream.settings.seed}: {said}")
        for name, mine in streams.items():
            judged = list(judged_by_the_others(pool, mine, options))
            options.say(f"{name}: intervals")
            rows += case_rows(name, judged)
            if options.quick or name == CALIBRATED_CASE:
                rows += calibration_rows(judged)
    return Report(
        name=NAME,
        machine=machine(),
        rows=tuple(rows),
        notes=NOTES,
        spread="the mean over seeds, and its 95 % interval",
    )


def judged_by_the_others(
    pool: ProcessPoolExecutor, streams: Sequence[Stream], options: BenchOptions
) -> Iterator[Judged]:
    """Each stream of a case, judged by models of the case's other streams."""
    files = [stream.file for stream in streams]
    folds = [(file, [other for other in files if other != file]) for file in files]
    for stream, judged in zip(streams, pool.map(judge, folds), strict=True):
        options.say(f"{stream.case.name}, seed {stream.settings.seed}: judged")
        yield judged


def _one_thread() -> None:
    """As many processes as cores, one thread each; and the collector as in the window stage."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when scikit-learn is imported, which is later
    gc.set_threshold(100_000, 20, 100)


def keep(stream: Stream) -> str:
    """Go through one stream, keep what was known in its file, and say what it held."""
    known = as_known(stream.settings, load(STREAM), with_outcomes=stream.case.told)
    bad = int(known.bad.sum())
    if not bad:
        raise BenchError("a stream without a fraud: ask for more events")
    known.write(stream.file)
    return f"{len(known.bad):,} events, {bad:,} bad, {known.problems:,} problems"


def judge(fold: tuple[Path, Sequence[Path]]) -> Judged:
    """Score one stream by models of the others."""
    mine, rest = AsKnown.read(fold[0]), [AsKnown.read(file) for file in fold[1]]
    ringed = {
        (path, role): found
        for path in CALIBRATED
        for role in mine.roles
        if (found := calibrated(mine, rest, path, role)) is not None
    }
    return Judged(
        bad=mine.bad, groups=mine.groups, scores=scores(mine, rest, tuple(SYSTEMS)), ringed=ringed
    )


def calibrated(mine: AsKnown, rest: Sequence[AsKnown], path: str, role: str) -> Ringed | None:
    """What the map of the other seeds makes of this one's memberships; None with too few."""
    fresh = [known.fresh[role] for known in rest]
    surplus = np.concatenate(
        [known.surplus(path, role)[kept] for known, kept in zip(rest, fresh, strict=True)]
    )
    bad = np.concatenate([known.bad[kept] for known, kept in zip(rest, fresh, strict=True)])
    if int(bad.sum()) < FIT_POSITIVES_MIN:
        return None
    steps = steps_of(role, surplus, bad)
    held = mine.fresh[role]
    return Ringed(
        bad=mine.bad[held],
        groups=mine.groups[held],
        membership=mine.membership(path, role)[held],
        probability=np.array([steps.at(each) for each in mine.surplus(path, role)[held].tolist()]),
    )
