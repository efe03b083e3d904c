"""The instruments that stages count on: the OpenTelemetry API alone, silent until wired."""

from opentelemetry import metrics

_meter = metrics.get_meter("enrichment")

events = _meter.create_counter("enrichment.events", "{event}", "Events enriched, by verdict")
dead_letters = _meter.create_counter("enrichment.dead_letters", "{record}", "Invalid records")
batch_duration = _meter.create_histogram("enrichment.batch.duration", "ms", "One hot-path batch")
read_failures = _meter.create_counter("enrichment.read.failures", "{read}", "Cache reads failed")
windows = _meter.create_counter("enrichment.windows", "{window}", "Windows closed, by cause")
window_conflicts = _meter.create_counter(
    "enrichment.windows.conflicts", "{window}", "Logged closes that digests no longer give"
)
late_digests = _meter.create_counter("enrichment.digests.late", "{digest}", "Digests come late")
quarantined_digests = _meter.create_counter(
    "enrichment.digests.quarantined", "{digest}", "Digests far ahead of their time"
)
jobs = _meter.create_counter("enrichment.jobs", "{transition}", "Job transitions, by state")
checks_left_out = _meter.create_counter(
    "enrichment.jobs.checks.left_out", "{check}", "Spot checks not begun: too many are open"
)
late_news = _meter.create_counter("enrichment.jobs.late_news", "{event}", "News of old attempts")
orders = _meter.create_counter("enrichment.jobs.orders", "{order}", "Orders heard, by result")
kept_answers = _meter.create_counter(
    "enrichment.answers.kept", "{problem}", "Problems looked up among paid answers, by found"
)
projected = _meter.create_counter("enrichment.features.projected", "{feature}", "Cache writes")
budget_asks = _meter.create_counter("enrichment.budget.asks", "{ask}", "Asks decided, by grant")
budget_rebuilds = _meter.create_counter(
    "enrichment.budget.rebuilds", "{reading}", "Readings of the ledger for a missing counter"
)
settlements_left = _meter.create_counter(
    "enrichment.budget.settlements.left", "{charge}", "Settlements left to the next reading"
)
demotions = _meter.create_counter("enrichment.demotions", "{demotion}", "Paths the guard took out")
