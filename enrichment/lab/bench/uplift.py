"""`enrichment bench uplift`: what ring features add to average precision, by each sampler.

In process, without servers: simulated streams go through the stages' own code, every sampler gets
the same problems, and each stream is judged by models that were fitted on the others. Streams are
worlds of their own: no account, device or ring is in two of them, and no time order joins them.
"""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from enrichment.lab.as_known import GIBBS, AsKnown
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.report import Report, Row, machine
from enrichment.lab.bench.uplift_models import LOGISTIC, MODELS, NONE, TREES, scores
from enrichment.lab.bootstrap import (
    Bootstrap,
    Interval,
    bootstrap_draws,
    percentile_interval,
)
from enrichment.lab.broadcast import STREAM
from enrichment.lab.calibration import Brier
from enrichment.lab.metrics import (
    AveragePrecision,
    Bools,
    Difference,
    Floats,
    Ints,
    Measure,
    Ranking,
    value_of,
)
from enrichment.lab.passage import as_known
from enrichment.lab.ring_probability import FIT_POSITIVES_MIN, steps_of
from enrichment.lab.samplers import SAMPLERS
from enrichment.lab.scenario import SimulationSettings
from enrichment.pipelines import load
from enrichment.sample.estimate import CLASSICAL, QUANTUM, RANDOM

NAME: Final = "uplift"
RATE_PER_S: Final = 500.0
EVENTS: Final = 120_000  # four minutes, in which an account pays some twelve times
START_MS: Final = 1_767_225_600_000  # 2026: the decoder takes no time that is long past
RESAMPLES: Final = 300
DIGITS: Final = 4  # an interval is wider than that everywhere
MINUTES_A_STREAM: Final = 1.8  # of one core, all in

# Path -> how a table names it.
SYSTEMS: Final = {
    NONE: NONE,
    **{sampler.path: sampler.title for sampler in SAMPLERS},
    GIBBS: "Gibbs marginals",
}
SHORT: Final = {TREES: "trees", LOGISTIC: "logistic"}
PRECISION: Final = "ap"
# What a system is held against, and what the difference is called.
AGAINST: Final = {NONE: "over_none", RANDOM: "over_random", CLASSICAL: "over_exact"}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One seed's events with the scores that models of the other seeds give them."""

    bad: Bools
    groups: Ints
    scores: dict[tuple[str, str], Floats]
    # (path, kind) -> the held-out memberships that were fresh.
    ringed: "dict[tuple[str, str], Ringed]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ringed:
    """Fresh memberships of one path and role, and the probability by a map of the other seeds."""

    bad: Bools
    groups: Ints
    membership: Floats
    probability: Floats


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
                    settings=scenario(options, case, seed),
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


def scenario(options: BenchOptions, case: Case, seed: int) -> SimulationSettings:
    """The stream of one run."""
    if options.quick:
        return SimulationSettings(
            seed=seed, seconds=60, rate_per_s=100, start_ms=START_MS, accounts=1_000, rings=6,
            ring_strength=case.strength,
        )  # fmt: skip
    return SimulationSettings(
        seed=seed,
        seconds=(options.events or EVENTS) / RATE_PER_S,
        rate_per_s=RATE_PER_S,
        start_ms=START_MS,
        ring_strength=case.strength,
    )


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


@dataclass(frozen=True, slots=True)
class MeanOverSeeds:
    """The mean of a measure over the streams, each on its own rows of one long table."""

    parts: tuple[tuple[slice, Measure], ...]

    def resampled(self, weights: Ints) -> Floats:
        """The mean of each resample."""
        mean: Floats = np.mean(
            [measure.resampled(weights[:, rows]) for rows, measure in self.parts], axis=0
        )
        return mean


def mean_precision(judged: Sequence[Judged], model: str, path: str) -> MeanOverSeeds:
    """The average precision of one system."""
    ends = np.cumsum([len(one.bad) for one in judged]).tolist()
    return MeanOverSeeds(
        tuple(
            (
                slice(end - len(one.bad), end),
                AveragePrecision(Ranking(one.bad, one.scores[model, path])),
            )
            for end, one in zip(ends, judged, strict=True)
        )
    )


def apart(groups: Sequence[Ints]) -> Ints:
    """The groups of several streams in one column: none is in two."""
    return np.concatenate(
        [
            np.unique(mine, return_inverse=True)[1] + number * 10_000_000
            for number, mine in enumerate(groups)
        ]
    )


def case_rows(case: str, judged: Sequence[Judged]) -> Iterator[Row]:
    """Average precision of every system, and what each has over those it is held against."""
    measures = {
        (model, path): mean_precision(judged, model, path) for model in MODELS for path in SYSTEMS
    }
    draws = Bootstrap(seed=0, resamples=RESAMPLES)
    groups = apart([one.groups for one in judged])
    drawn = bootstrap_draws({"|".join(key): each for key, each in measures.items()}, groups, draws)
    values = {key: value_of(each, len(groups)) for key, each in measures.items()}
    for model, short in SHORT.items():
        for path, title in SYSTEMS.items():
            mine = drawn[f"{model}|{path}"]
            interval = percentile_interval(values[model, path], mine, draws.level)
            yield _row(case, title, f"{short}_{PRECISION}", interval, len(judged))
            for other, name in AGAINST.items():
                if path in {other, NONE}:
                    continue
                gap = values[model, path] - values[model, other]
                paired = percentile_interval(gap, mine - drawn[f"{model}|{other}"], draws.level)
                yield _row(case, title, f"{short}_{name}", paired, len(judged))


def calibration_rows(judged: Sequence[Judged]) -> Iterator[Row]:
    """Mean squared errors of ring_probability and of what it is held against, on unseen seeds."""
    keys: Mapping[tuple[str, str], None] = dict.fromkeys(
        key for key in judged[0].ringed if all(key in one.ringed for one in judged)
    )
    for path, role in keys:
        mine = [one.ringed[path, role] for one in judged]
        bad = np.concatenate([one.bad for one in mine])
        # The best that knows nothing: each seed's own share of bad events.
        share = np.concatenate([np.full(len(one.bad), one.bad.mean()) for one in mine])
        ours = Brier(bad, np.concatenate([one.probability for one in mine]))
        bare = Brier(bad, share)
        measures: dict[str, Measure] = {
            "brier": ours,
            "brier_of_share": bare,
            "brier_of_membership": Brier(bad, np.concatenate([one.membership for one in mine])),
            "brier_gain": Difference(bare, ours),
        }
        draws = Bootstrap(seed=0, resamples=RESAMPLES)
        groups = apart([one.groups for one in mine])
        drawn = bootstrap_draws(measures, groups, draws)
        for name, measure in measures.items():
            value = value_of(measure, len(bad))
            interval = percentile_interval(value, drawn[name], draws.level)
            system = f"{role}, {SYSTEMS[path]}"
            yield _row("ring_probability", system, name, interval, len(judged))


def _row(case: str, system: str, metric: str, interval: Interval, seeds: int) -> Row:
    """One figure with its interval."""
    return Row(
        case=case,
        system=system,
        metric=metric,
        value=round(interval.value, DIGITS),
        unit="",
        low=round(interval.low, DIGITS),
        high=round(interval.high, DIGITS),
        runs=seeds,
    )
