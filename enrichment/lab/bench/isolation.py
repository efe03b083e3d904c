"""`enrichment bench isolation`: the hot path's p99 while something behind it is in trouble.

At 2,000 events a second, windows with and without each trouble in turn (ABBA): what drifts over
time falls on both sides alike. One enricher, one publisher and one reader for each case, so that
nothing but the trouble differs. All share the machine's cores: who used them stands beside.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from enrichment.lab.bench import ground
from enrichment.lab.bench.answering import Answering
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.committed_reader import Latencies, quantile_ms
from enrichment.lab.bench.hot_path import described_machine
from enrichment.lab.bench.ratios import geometric_mean, upper_bound
from enrichment.lab.bench.report import Report, Row
from enrichment.lab.bench.trouble import CASES, Trouble, tree_cpu_s
from enrichment.settings import Delivery

NAME: Final = "isolation"
RATE: Final = 2_000
SECONDS: Final = 10.0  # 20,000 events: two hundred behind the p99
SETTLE_S: Final = 1.5  # after a trouble has ended, until it is forgotten
WARM_S: Final = 5.0
AROUND_S: Final = 15.0  # a case's processes, and half of a pair's starts
STARTS_S: Final = 6.0
ANSWERED_MIN: Final = 0.999
AT_MOST: Final = 1.10
SEED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One window: its quantiles, the share of its events that was answered, who used the cores."""

    p50_ms: float
    p99_ms: float
    answered: float
    cores: dict[str, float]


@dataclass(slots=True)
class Marked:
    """A window before the reader has said what it saw."""

    start_us: int
    end_us: int
    cores: dict[str, float]


@dataclass(slots=True)
class Pairs:
    """The windows of one case, the i-th without beside the i-th with."""

    absent: list[Window] = field(default_factory=list)
    present: list[Window] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """p99 with ÷ p99 without, pair by pair."""
        both = zip(self.present, self.absent, strict=True)
        return [present.p99_ms / absent.p99_ms for present, absent in both]


def run(options: BenchOptions) -> Report:
    """Every case that was asked for, one after the other."""
    unknown = set(options.cases) - set(CASES)
    if unknown:
        raise BenchError(f"there is no case {', '.join(sorted(unknown))}: {', '.join(CASES)}")
    names = options.cases or tuple(CASES)
    pairs, seconds = (1, 1.5) if options.quick else (options.pairs, SECONDS)
    estimate_s = 20 + len(names) * (AROUND_S + pairs * (2 * (seconds + SETTLE_S) + AROUND_S / 3))
    options.say(f"this takes about {estimate_s / 60:.0f} minutes; starting Kafka and Redis")
    found: dict[str, Pairs] = {}
    with ground.servers(options) as servers:
        answering = Answering(servers, options)
        described = described_machine(servers)
        for name in names:
            options.say(f"{name}: {pairs} pairs of windows")
            found[name] = measure(answering, CASES[name](answering), pairs, seconds)
            answering.delete_outputs()
    return Report(name=NAME, machine=described, rows=tuple(rows(found)), notes=tuple(notes(found)))


def measure(answering: Answering, trouble: Trouble, pairs: int, seconds: float) -> Pairs:
    """All windows of one case, on one enricher."""
    out, late = answering.path("latencies"), answering.path("lateness")
    # Ended by us; the bound is for a benchmark that hangs.
    load_s = STARTS_S + WARM_S + pairs * 10 * (seconds + AROUND_S)
    with answering.enricher(Delivery.EXACTLY_ONCE) as enricher, answering.reader(out) as reader:
        with (
            trouble.beside() as beside,
            answering.publisher(RATE, load_s, late) as publisher,
            contextlib.closing(_Ending(trouble)),
        ):
            pids = {"enrich": enricher.pid, "reader": reader.pid, "publisher": publisher.pid}
            if beside is not None and (window := beside.pid("window")) is not None:
                pids["window"] = window
            answering.await_answers()
            answering.wait(min(WARM_S, seconds))
            marked = _windows(answering, trouble, pids, pairs, seconds)
        answering.drain()
        answering.wait(SETTLE_S)
    seen = Latencies.load(out)
    return Pairs(*([_seen(window, seen) for window in marked[with_]] for with_ in (False, True)))


def _windows(
    answering: Answering, trouble: Trouble, pids: dict[str, int], pairs: int, seconds: float
) -> dict[bool, list[Marked]]:
    """The windows without and with the trouble, in ABBA order."""
    marked: dict[bool, list[Marked]] = {False: [], True: []}
    begun = False
    for number in range(pairs):
        for wanted in (False, True) if number % 2 == 0 else (True, False):
            if not trouble.each_window and wanted is not begun:
                (trouble.begin if wanted else trouble.end)()
                begun = wanted
                answering.wait(SETTLE_S)
            running = pids | _servers(answering)
            window = _window(answering, trouble, running, seconds, wanted=wanted)
            marked[wanted].append(window)
            answering.check()
            if trouble.each_window and wanted:
                trouble.end()
                answering.wait(SETTLE_S)
    return marked


def _window(
    answering: Answering, trouble: Trouble, pids: dict[str, int], seconds: float, *, wanted: bool
) -> Marked:
    """Let a window pass, with the trouble where it is wanted."""
    start_us = ground.now_ms() * 1_000
    before = _cpu(pids) | trouble.cpu_s()
    if wanted and trouble.each_window:
        trouble.begin()
    answering.wait(seconds, trouble.meanwhile if wanted else _nothing)
    after = _cpu(pids) | trouble.cpu_s()
    end_us = ground.now_ms() * 1_000
    span_s = (end_us - start_us) / 1e6
    # A process that was killed has taken its count with it.
    cores = {name: max(0.0, after[name] - spent) / span_s for name, spent in before.items()}
    return Marked(start_us, end_us, cores)


def _nothing() -> None:
    """What happens meanwhile where there is no trouble."""


class _Ending:
    """Ends a trouble with the block, whatever happened in it."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def close(self) -> None:
        self._trouble.end()


def _servers(answering: Answering) -> dict[str, int]:
    """The servers' processes: Redis has a new one after it was killed."""
    servers = answering.servers
    running = {"kafka": servers.kafka.process.running(), "redis": servers.redis.process.running()}
    return {name: found.pid for name, found in running.items() if found is not None}


def _cpu(pids: dict[str, int]) -> dict[str, float]:
    return {name: tree_cpu_s(pid) for name, pid in pids.items()}


def _seen(window: Marked, seen: Latencies) -> Window:
    latencies = seen.within(window.start_us, window.end_us)
    if not len(latencies):
        raise BenchError("nothing was answered in a whole window")
    due = RATE * (window.end_us - window.start_us) / 1e6
    return Window(
        p50_ms=quantile_ms(latencies, 0.5),
        p99_ms=quantile_ms(latencies, 0.99),
        answered=min(1.0, len(latencies) / due),
        cores=window.cores,
    )


def rows(found: dict[str, Pairs]) -> Iterator[Row]:
    """The ratio and its bound, what it is a ratio of, and who used the cores."""
    for name, pairs in found.items():
        ratios = pairs.ratios
        yield Row.of(name, "with ÷ without", "p99_ratio", ratios, "ratio")
        yield Row.of(name, "with ÷ without", "p99_ratio_mean", [geometric_mean(ratios)], "ratio")
        bound = upper_bound(ratios, np.random.default_rng(SEED))
        yield Row.of(name, "with ÷ without", "p99_ratio_upper_95", [bound], "ratio")
        for system, windows in (("without", pairs.absent), ("with", pairs.present)):
            yield Row.of(name, system, "p50", [w.p50_ms for w in windows], "ms")
            yield Row.of(name, system, "p99", [w.p99_ms for w in windows], "ms")
            yield Row.of(name, system, "answered", [w.answered for w in windows], "share")
            for process in sorted({p for window in windows for p in window.cores}):
                used = [window.cores.get(process, 0.0) for window in windows]
                if max(used) >= 0.005:
                    yield Row.of(name, system, f"cpu_{process}", used, "cores")


def notes(found: dict[str, Pairs]) -> Iterator[str]:
    """Whether each case stays within its bound, and what the bound is."""
    yield (
        "p99_ratio_upper_95: the upper 95 % bound of the geometric mean over pairs, by bootstrap; "
        f"at most {AT_MOST} wanted for a saturated sampler and a hung Redis"
    )
    for name, pairs in found.items():
        bound = upper_bound(pairs.ratios, np.random.default_rng(SEED))
        held = "held" if bound <= AT_MOST else "NOT held"
        yield f"{name}: {bound:.3f}, {held}, over {len(pairs.ratios)} pairs"
        answered = min(window.answered for window in pairs.absent + pairs.present)
        if answered < ANSWERED_MIN:
            yield f"{name}: only {answered:.2%} of a window's events were answered"
