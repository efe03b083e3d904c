"""`enrichment bench latency`: from the moment an event is due to its committed answer.

An open-loop publisher, the process `enrichment enrich` and a reader of committed answers, on one
machine and one broker, the values in the cache. At each rate some seconds of warm-up come first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from enrichment.lab.bench import ground
from enrichment.lab.bench.answering import Answering
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.committed_reader import Latencies, quantile_ms
from enrichment.lab.bench.hot_path import described_machine
from enrichment.lab.bench.observe import cpu_s
from enrichment.lab.bench.report import Report, Row
from enrichment.settings import Delivery

NAME: Final = "latency"
RATES: Final = (500, 2_000, 10_000, 30_000)
RATES_QUICK: Final = (500, 2_000)
SECONDS: Final = 15.0  # 7,500 events at the lowest rate: seven behind the p99.9
WARM_S: Final = 3.0
STARTS_S: Final = 6.0  # the first answer of an enricher that has just been started
BEHIND_S: Final = 1.0  # what was due at the end of a window may take so long to be answered
AROUND_S: Final = 3.0  # processes that start and end
ANSWERED_MIN: Final = 0.99
LATE_MAX_MS: Final = 5.0
QUANTILES: Final = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999}


@dataclass(frozen=True, slots=True)
class Window:
    """One rate in one run: quantiles in ms, and how far the figures may be trusted."""

    quantiles_ms: dict[str, float]
    # Of the events that were due, the share that was answered by the end of the run.
    answered: float
    # How late the publisher itself was, at its p99.
    late_p99_ms: float
    # Of a core, what the enricher used.
    cpu_share: float


Found = dict[tuple[Delivery, int], list[Window]]


def run(options: BenchOptions) -> Report:
    """Every rate in both deliveries, `runs` times, in alternating order."""
    rates = RATES_QUICK if options.quick else RATES
    seconds, warm_s = (1.5, 0.5) if options.quick else (SECONDS, WARM_S)
    runs = 1 if options.quick else options.runs
    estimate_s = 15 + runs * 2 * (AROUND_S + len(rates) * (seconds + warm_s + AROUND_S))
    options.say(f"this takes about {estimate_s / 60:.0f} minutes; starting Kafka and Redis")
    found: Found = {(delivery, rate): [] for delivery in Delivery for rate in rates}
    with ground.servers(options) as servers:
        answering = Answering(servers, options)
        described = described_machine(servers)
        if not options.quick:
            options.say("warming the broker up")
            for delivery in Delivery:
                with answering.enricher(delivery) as enricher:
                    measure(answering, enricher.pid, 10_000, (WARM_S, WARM_S))
        for number in range(runs):
            forwards = number % 2 == 0
            for delivery in Delivery if forwards else reversed(tuple(Delivery)):
                with answering.enricher(delivery) as enricher:
                    for rate in rates if forwards else reversed(rates):
                        options.say(f"run {number + 1} of {runs}: {delivery.value}, {rate:,}/s")
                        window = measure(answering, enricher.pid, rate, (warm_s, seconds))
                        found[delivery, rate].append(window)
                answering.delete_outputs()
    return Report(name=NAME, machine=described, rows=tuple(rows(found)), notes=tuple(notes(found)))


def measure(answering: Answering, pid: int, rate: int, spans_s: tuple[float, float]) -> Window:
    """One rate for (warm-up, measured) seconds; `pid` is the enricher's.

    Raises BenchError where nothing at all was answered.
    """
    warm_s, seconds = spans_s
    out, lateness = answering.path("latencies"), answering.path("lateness")
    with answering.reader(out):
        with answering.publisher(rate, STARTS_S + warm_s + seconds, lateness):
            answering.await_answers()
            answering.wait(warm_s)
            start_us, cpu_start_s = ground.now_ms() * 1_000, cpu_s(pid)
            answering.wait(seconds)
            end_us, cpu_end_s = ground.now_ms() * 1_000, cpu_s(pid)
        answering.wait(BEHIND_S)
    latencies = Latencies.load(out).within(start_us, end_us)
    late = Latencies.load(lateness).within(start_us, end_us)
    answering.drain()
    if not len(latencies):
        raise BenchError(f"nothing was answered at {rate:,} events/s")
    span_s = (end_us - start_us) / 1e6
    return Window(
        quantiles_ms={name: quantile_ms(latencies, q) for name, q in QUANTILES.items()},
        answered=min(1.0, len(latencies) / (rate * span_s)),
        late_p99_ms=quantile_ms(late, 0.99),
        cpu_share=(cpu_end_s - cpu_start_s) / span_s,
    )


def rows(found: Found) -> Iterator[Row]:
    """Quantiles, what they rest on, and the enricher's share of a core."""
    for (delivery, rate), windows in found.items():
        case, system = delivery.value, f"{rate:,} events/s"
        for name in QUANTILES:
            yield Row.of(case, system, name, [w.quantiles_ms[name] for w in windows], "ms")
        yield Row.of(case, system, "answered", [w.answered for w in windows], "share")
        late = [w.late_p99_ms for w in windows]
        yield Row.of(case, system, "publisher_late_p99", late, "ms")
        yield Row.of(case, system, "enricher_cpu", [w.cpu_share for w in windows], "cores")


def notes(found: Found) -> Iterator[str]:
    """What a reader must know, and which rates could not be sustained."""
    yield "latency counts from when an event was due, not from when it could be published"
    for (delivery, rate), windows in found.items():
        yield from doubts(f"{delivery.value}, {rate:,} events/s", windows)


def doubts(where: str, windows: Sequence[Window]) -> Iterator[str]:
    """Why the figures of a rate are not those of a hot path that keeps up."""
    answered = min(window.answered for window in windows)
    late_ms = max(window.late_p99_ms for window in windows)
    if answered < ANSWERED_MIN:
        yield f"{where}: NOT sustained by the hot path, {answered:.1%} answered in time"
    if late_ms > LATE_MAX_MS:
        yield f"{where}: the publisher itself was late, by {late_ms:.1f} ms at its p99"
