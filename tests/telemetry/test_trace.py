"""One trace leads from a payment to its window and its job, and an answer to the jobs behind it."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from enrichment.provider.contract import Failure, FailureKind
from enrichment.records import JobOrder, OrderKind, micro_batch
from enrichment.records.digest import TRACES_MAX
from enrichment.stream.topics import DIGESTS, MICRO_BATCHES
from enrichment.telemetry import trace
from tests.feature.cached import heartbeat, update
from tests.sample.fakes import Bench
from tests.sample.streams import batch, problem
from tests.telemetry.way import TOPICS, Way, ring, traceparent

Spans = Sequence[ReadableSpan]


def of_topic(spans: Spans, topic: str) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
    """The spans of batches of the topic, and those of single events in them."""
    found = [span for span in spans if span.name == f"process {topic}"]
    return [s for s in found if s.parent is None], [s for s in found if s.parent is not None]


def traces(spans: Spans) -> list[int]:
    """The traces that spans belong to."""
    return [span.context.trace_id for span in spans]


def ids(context: SpanContext) -> tuple[int, int]:
    """What names a span."""
    return context.trace_id, context.span_id


def linked(span: ReadableSpan) -> list[int]:
    """The traces that a span links to."""
    return [link.context.trace_id for link in span.links]


def test_a_trace_leads_from_a_payment_to_its_job(spans: InMemorySpanExporter) -> None:
    """Its own trace holds the answer, the close and the job, and each links to the whole batch."""
    way = Way()
    sent = [traceparent(n + 1, sampled=n < 3) for n in range(5)]
    way.enrich(*zip(ring(5), sent, strict=True))
    closed = way.close()
    way.solve(closed)
    assert closed.problems
    finished = spans.get_finished_spans()
    for topic in (TOPICS.events, DIGESTS, MICRO_BATCHES):
        [whole], single = of_topic(finished, topic)
        assert linked(whole) == [1, 2, 3], topic
        assert traces(single) == [1, 2, 3]
        assert all(whole.context in [link.context for link in span.links] for span in single)
        # The sender's span is the parent.
        assert [span.parent.span_id for span in single if span.parent] == [1, 2, 3]
    [job], _ = of_topic(finished, MICRO_BATCHES)
    assert ids(job.context) == ids(trace.job_context(closed.micro_batch_id))
    # From the window on to the job.
    _, in_window = of_topic(finished, DIGESTS)
    assert all(job.context.trace_id in linked(span) for span in in_window)


def test_an_answer_links_to_the_job_that_it_was_scored_with(spans: InMemorySpanExporter) -> None:
    """The next payment of an account in the ring is led to the circuit job behind its features."""
    way = Way()
    way.enrich(*((value, None) for value in ring(5)))
    closed = way.close()
    way.solve(closed)
    subgraph = closed.problems[0].subgraph
    graphs = [
        update("account", node, "graph", subgraph=subgraph) for node in closed.problems[0].nodes
    ]
    way.cache.put(heartbeat(), *graphs)
    spans.clear()
    way.enrich((ring(1)[0], traceparent(9)))
    _, [answer] = of_topic(spans.get_finished_spans(), TOPICS.events)
    assert answer.context.trace_id == 9
    behind = [ids(link.context) for link in answer.links]
    assert ids(trace.job_context(closed.micro_batch_id)) in behind


def test_the_span_of_a_batch_says_what_the_conventions_ask(spans: InMemorySpanExporter) -> None:
    """Messaging attributes, the kind, and the steps of the budget below it, one after the other."""
    Way().enrich(*zip(ring(4), [traceparent(1), None, None, None], strict=True))
    finished = spans.get_finished_spans()
    [whole], _ = of_topic(finished, TOPICS.events)
    assert whole.kind is SpanKind.CONSUMER
    assert dict(whole.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": TOPICS.events,
        "messaging.consumer.group.name": "enrichment.enrich.payments",
        "messaging.batch.message_count": 4,
        "enrichment.events.sampled": 1,
    }
    steps = [
        span for span in finished if span.parent and span.parent.span_id == whole.context.span_id
    ]
    assert [span.name for span in steps] == ["read", "score", "hold", "produce", "commit"]
    assert [one.end_time for one in steps[:-1]] == [other.start_time for other in steps[1:]]
    assert steps[0].start_time == whole.start_time
    assert abs((steps[-1].end_time or 0) - (whole.end_time or 0)) < 1_000  # of rounding, in ns


def test_what_nobody_sampled_makes_no_span(spans: InMemorySpanExporter) -> None:
    """Whether a payment is followed is its sender's to say; its headers go through all the same."""
    way = Way()
    way.enrich(*zip(ring(5), [traceparent(n + 1, sampled=False) for n in range(5)], strict=True))
    assert spans.get_finished_spans() == ()
    assert way.close().traces == ()


def test_what_is_carried_is_bounded(spans: InMemorySpanExporter) -> None:
    """However many payments are sampled: links, spans, and what digests and micro-batches hold."""
    way = Way()
    way.enrich(*((value, traceparent(n + 1)) for n, value in enumerate(ring(200))))
    [whole], single = of_topic(spans.get_finished_spans(), TOPICS.events)
    assert len(whole.links) == trace.LINKS_MAX
    assert (whole.attributes or {})["enrichment.events.sampled"] == 200
    assert len(single) == trace.SPANS_MAX
    for _ in range(5):
        way.enrich(*((value, traceparent(n + 1)) for n, value in enumerate(ring(9))))
    assert TRACES_MAX < len(way.close().traces) <= micro_batch.TRACES_MAX


def test_a_job_shows_its_steps_and_how_it_ended(spans: InMemorySpanExporter) -> None:
    """Queue, execution and the rest are spans of its own; a job that no provider answers failed."""
    way = Way()
    way.solve(batch(0, (problem(0),)))
    finished = spans.get_finished_spans()
    [job], _ = of_topic(finished, MICRO_BATCHES)
    steps = [s.name for s in finished if s.parent and s.parent.span_id == job.context.span_id]
    assert steps == ["validation", "queue", "execution", "retrieval", "post_processing"]
    assert job.status.status_code is StatusCode.UNSET
    told = job.attributes or {}
    assert (told["enrichment.job.state"], told["enrichment.provider"]) == ("succeeded", "qsim")


def test_a_job_that_is_tried_again_has_a_span_below_its_first(spans: InMemorySpanExporter) -> None:
    """One span bears the job's ids; what an order led to is a child of it, from the order on."""
    bench, one = Bench(), batch(0, (problem(0),))
    for name in ("qsim", "exact", "annealing"):
        refused = Failure(kind=FailureKind.VALIDATION, detail="not today")
        bench.provider(name).refusals = [refused]
    bench.send(one)
    bench.turns(20)
    [first], none = of_topic(spans.get_finished_spans(), MICRO_BATCHES)
    assert (none, first.status.status_code) == ([], StatusCode.ERROR)
    bench.clock.now_ms += 60_000
    bench.give(
        JobOrder(
            order_id="o1", job_id=one.micro_batch_id, pipeline="payments", order=OrderKind.RETRY,
            issued_at_ms=bench.clock.now_ms, issued_by="kim", reason="", micro_batch=one,
            quarantined=True,
        )
    )  # fmt: skip
    bench.turns(20)
    [same], [again] = of_topic(spans.get_finished_spans(), MICRO_BATCHES)
    assert same is first
    assert again.parent is not None
    assert ids(again.parent) == ids(first.context)
    assert (again.start_time or 0) - (first.end_time or 0) > 59_000 * 1_000_000


def test_no_span_is_made_without_an_exporter() -> None:
    """The hot path asks before it makes any."""
    assert not trace.opened()


def test_a_broken_traceparent_is_nobodys_trace(spans: InMemorySpanExporter) -> None:
    """What a digest carries is held against the standard again: it may be another's digest."""
    work = trace.Work(topic="t", group="g", start_ms=1, end_ms=2)
    sent = ("00-zz", f"00-{0:032x}-{1:016x}-01", traceparent(3), "", "é")
    trace.tell(work, [trace.Followed(traceparent=each) for each in sent])
    [whole], _ = of_topic(spans.get_finished_spans(), "t")
    assert linked(whole) == [3]
