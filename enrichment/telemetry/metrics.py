"""The instruments that stages count on: the OpenTelemetry API alone, silent until wired.

`TABLE` is all there is; `docs/telemetry.md` tells it, and dashboards and alerts use nothing else.
On the hot path whatever is counted is counted per batch. A label has few values, known beforehand:
never the id of an event, an entity, a job or a case (`LABELS`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation

_meter = metrics.get_meter("enrichment")

LABELS: Final = {
    "cause": "why a window closed: watermark, count, idle, maximum_age",
    "decision": "approve, review, decline",
    "event": "the kind of a job's event: one of some fifteen names in the code",
    "figure": "what a figure is of: one of a few names in the code",
    "found": "yes, no",
    "grant": "granted, refused",
    "kind": "how a provider failed: one of the contract's kinds",
    "late": "1s, 1m, 1h, 1d, more",
    "level": "normal, elevated, highest, not_assessed",
    "order": "what an operator ordered: retry, cancel, quarantine and the like",
    "outcome": "committed, aborted",
    "partition": "of a topic: as many as it has",
    "path": "heuristic, classical, quantum",
    "provider": "one of the providers in `enrichment/provider`",
    "reason": "one of a few names in the code",
    "result": "what became of an order",
    "said": "what outcomes say: confirmed_fraud, cleared, analyst_fraud, analyst_cleared",
    "state": "of a job, or duplicate, conflict",
    "status": "of a case: open, confirmed, dismissed, or merged into another",
    "step": "one step of a latency budget",
    "topic": "one of the topics",
    "verdict": "fresh, stale, fallback, missing",
    "written": "true, false",
}
"""Every label, and what bounds its values."""

HOT_MS: Final = (1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 200, 500, 1_000, 5_000, 30_000)
"""Bounds for the hot path: fine where its budget is (some 10 to 50 ms), coarse where it is in
trouble."""

JOB_MS: Final = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 120_000)
"""Bounds for what jobs and windows do: from a simulator's milliseconds to a device's minutes."""

SIZES: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Bounds for counts, two a decade."""

SHARES: Final = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5)
"""Bounds for figures that are small where all is well; energies' may pass 1."""


class Tier(Enum):
    """Whom an instrument is for."""

    SYSTEM = "system"
    ALGORITHM = "algorithm"
    BUSINESS = "business"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One line of the table."""

    name: str
    kind: str  # counter, gauge, histogram
    unit: str
    text: str
    tier: Tier
    labels: tuple[str, ...] = ()

    @property
    def exposed(self) -> str:
        """The name under which Prometheus has it; a histogram's are `..._bucket` and so on."""
        unit = {"ms": "_milliseconds", "By": "_bytes"}.get(self.unit, "")
        return self.name.replace(".", "_") + unit + ("_total" if self.kind == "counter" else "")


TABLE: Final[dict[str, Instrument]] = {}
"""Name -> instrument, of all that are made below."""


class Gauge:
    """Levels that are as they were last set, until they are taken back.

    What is no longer ours to tell, such as the lag of a partition that another process has now, is
    not told any more: a gauge of the API would repeat its last value for ever.
    """

    def __init__(self, told: Instrument) -> None:
        self.name = told.name
        self._levels: dict[tuple[tuple[str, str], ...], float] = {}
        _meter.create_observable_gauge(told.name, [self._observed], told.unit, told.text)

    def set(self, value: float, labels: Mapping[str, str] | None = None) -> None:
        """Tell this level from now on."""
        self._levels[tuple((labels or {}).items())] = value

    def tell(self, levels: Iterable[tuple[float, Mapping[str, str]]]) -> None:
        """Tell these levels from now on, and no other."""
        self._levels = {tuple(labels.items()): value for value, labels in levels}

    def _observed(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, dict(labels)) for labels, value in [*self._levels.items()]]


def _counter(tier: Tier, name: str, unit: str, text: str, *labels: str) -> Counter:
    _tell(Instrument(name=name, kind="counter", unit=unit, text=text, tier=tier, labels=labels))
    return _meter.create_counter(name, unit, text)


def _histogram(  # each a column of the table
    tier: Tier, name: str, unit: str, text: str, *labels: str, bounds: tuple[float, ...]
) -> Histogram:
    _tell(Instrument(name=name, kind="histogram", unit=unit, text=text, tier=tier, labels=labels))
    return _meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=bounds)


def _gauge(tier: Tier, name: str, unit: str, text: str, *labels: str) -> Gauge:
    told = Instrument(name=name, kind="gauge", unit=unit, text=text, tier=tier, labels=labels)
    _tell(told)
    return Gauge(told)


def _tell(told: Instrument) -> None:
    if unknown := set(told.labels) - LABELS.keys():
        raise ValueError(f"{told.name}: nobody says what bounds {sorted(unknown)}")
    TABLE[told.name] = told


S, A, B = Tier.SYSTEM, Tier.ALGORITHM, Tier.BUSINESS

# What the hot path does.
latency = _histogram(
    S, "enrichment.latency", "ms",
    "From the publication of a batch's oldest event to its committed answer: no event of the batch "
    "waited longer", bounds=HOT_MS,
)  # fmt: skip
batch_step = _histogram(
    S, "enrichment.batch.step", "ms",
    "Steps of a batch: wait, read, score, hold, produce, commit", "step", bounds=HOT_MS,
)  # fmt: skip
batch_duration = _histogram(
    S, "enrichment.batch.duration", "ms", "One batch, from taken to committed", bounds=HOT_MS
)
batch_records = _histogram(
    S, "enrichment.batch.records", "{record}", "Records of a batch", bounds=SIZES
)
transactions = _counter(
    S,
    "enrichment.transactions",
    "{transaction}",
    "Batches committed or to be read again",
    "outcome",
)
dead_letters = _counter(
    S, "enrichment.dead_letters", "{record}", "Invalid records, by reason", "reason"
)
read_failures = _counter(S, "enrichment.read.failures", "{read}", "Cache reads failed")
spans_lost = _counter(
    S, "enrichment.spans.lost", "{span}", "Spans that nobody took, by reason", "reason"
)
lag = _gauge(
    S, "enrichment.lag", "{record}", "Records behind what was read, by topic and partition",
    "topic", "partition",
)  # fmt: skip

# What windows do.
windows = _counter(S, "enrichment.windows", "{window}", "Windows closed, by cause", "cause")
window_close = _histogram(
    S, "enrichment.window.close", "ms", "From a window's close to its micro-batch on the topic",
    bounds=JOB_MS,
)  # fmt: skip
window_conflicts = _counter(
    S, "enrichment.windows.conflicts", "{window}", "Logged closes that digests no longer give"
)
window_problems = _counter(A, "enrichment.window.problems", "{problem}", "Problems to be solved")
window_left_out = _counter(
    A, "enrichment.window.left_out", "{subgraph}", "Candidate subgraphs that are no problem",
    "reason",
)  # fmt: skip
late_digests = _counter(
    S, "enrichment.digests.late", "{digest}", "Digests come late, by how late", "late"
)
quarantined_digests = _counter(
    S, "enrichment.digests.quarantined", "{digest}", "Digests far ahead of their time"
)

# What jobs do.
jobs = _counter(A, "enrichment.jobs", "{transition}", "Job transitions, by state", "state")
open_jobs = _gauge(A, "enrichment.jobs.open", "{job}", "Jobs that are not over")
job_duration = _histogram(
    A, "enrichment.job.duration", "ms", "Jobs that are over, from claimed to the end",
    "state", "provider", bounds=JOB_MS,
)  # fmt: skip
job_step = _histogram(
    A, "enrichment.job.step", "ms",
    "Steps of a job: validation, queue, execution, retrieval, post_processing", "step", "provider",
    bounds=JOB_MS,
)  # fmt: skip
attempts_failed = _counter(
    A, "enrichment.attempts.failed", "{attempt}", "What providers failed at", "provider", "kind"
)
shots = _counter(A, "enrichment.shots", "{shot}", "Shots of jobs with an answer", "provider")
differences = _histogram(
    A, "enrichment.job.difference", "1",
    "How far circuits' samples are from the classical twin's, by figure, for each problem",
    "figure", bounds=SHARES,
)  # fmt: skip
circuit_depth = _histogram(
    A, "enrichment.circuit.depth", "{moment}", "Depth of circuits compiled for a device",
    "provider", bounds=SIZES,
)  # fmt: skip
two_qubit_gates = _histogram(
    A, "enrichment.circuit.two_qubit_gates", "{gate}",
    "Two-qubit gates of circuits compiled for a device", "provider", bounds=SIZES,
)  # fmt: skip
checks_left_out = _counter(
    A, "enrichment.jobs.checks.left_out", "{check}", "Spot checks not begun: too many are open",
    "provider",
)  # fmt: skip
late_news = _counter(A, "enrichment.jobs.late_news", "{event}", "News of old attempts", "event")
orders = _counter(
    A, "enrichment.jobs.orders", "{order}", "Orders heard, by result", "order", "result"
)
kept_answers = _counter(
    A, "enrichment.answers.kept", "{problem}", "Problems looked up among paid answers", "found"
)

# What features do.
projected = _counter(S, "enrichment.features.projected", "{feature}", "Cache writes")
projection_age = _histogram(
    S, "enrichment.features.age", "ms",
    "Age of the oldest feature of a round when the cache had it", bounds=JOB_MS,
)  # fmt: skip

# What it comes to.
events = _counter(B, "enrichment.events", "{event}", "Events answered, by verdict", "verdict")
decisions = _counter(
    B, "enrichment.decisions", "{event}", "Events answered, by what was decided and on what path",
    "level", "decision", "path",
)  # fmt: skip
reviews = _counter(B, "enrichment.reviews", "{event}", "Events that wait for somebody's decision")
cases = _counter(B, "enrichment.cases", "{change}", "Cases published, by status", "status")
outcomes = _counter(B, "enrichment.outcomes", "{outcome}", "Outcomes heard, of cases", "said")
cost = _counter(
    B,
    "enrichment.cost",
    "{micro}",
    "What jobs have cost, in millionths of the currency",
    "provider",
)
budget_asks = _counter(
    B, "enrichment.budget.asks", "{ask}", "Asks for money decided, by grant", "grant"
)
budget_rebuilds = _counter(
    S, "enrichment.budget.rebuilds", "{reading}", "Readings of the ledger for a missing counter",
    "written",
)  # fmt: skip
settlements_left = _counter(
    S, "enrichment.budget.settlements.left", "{charge}", "Settlements left to the next reading"
)
demotions = _counter(
    B, "enrichment.demotions", "{demotion}", "Paths the guard took out", "path", "figure"
)
kill_switch = _gauge(
    B, "enrichment.kill_switch", "1",
    "1 while the kill switch is pulled: only the heuristic may serve",
)  # fmt: skip
