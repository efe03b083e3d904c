"""A batch without Kafka: every record is answered once, and an answer can be computed again."""

import base64
import json
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from enrichment.enrich.batch import Record
from enrichment.enrich.rescore import rescored
from enrichment.pipelines import Pipeline
from enrichment.records import (
    DeadLetterReason,
    FeatureUpdate,
    Level,
    Path,
    Verdict,
    VerdictName,
)
from enrichment.stream.envelope import Envelope, read_envelope
from enrichment.stream.headers import PROGRESS, header
from tests.enrich.streams import (
    CARD,
    CARDS,
    PAYMENTS,
    RATING,
    TRUST,
    dead_letter,
    enriched,
    enricher,
    event,
    payment,
    pseudonym,
    records,
    sensitive,
)
from tests.feature.cached import NOW_MS, MemoryCache, heartbeat, ring, update

HOUR_MS = 3_600_000


def known_account(**fields: Any) -> tuple[FeatureUpdate, ...]:
    """An account in a subgraph that was sampled, in a shard that is heard."""
    values = {"density": 0.5, "core_number": 2, "known_bad_near": 0.0, "subgraph_since_ms": NOW_MS}
    return (
        heartbeat(),
        update("account", "a1", "graph", values=values, **fields),
        ring("account", "a1", 0.8, **fields),
    )


def test_every_record_is_answered_once() -> None:
    """Valid, bad and repeated records together: as many answers, each by its own offset."""
    values = [payment(), b"nonsense", payment(), None, payment(amount="1"), payment(event_id="e2")]
    outputs = enricher(PAYMENTS).process(records(*values))
    answered = [enriched(output).origin.offset for output in outputs.enriched]
    refused = [dead_letter(output).offset for output in outputs.dead_letters]
    assert answered == [0, 2, 5]
    assert refused == [1, 3, 4]
    assert sum(digest.events for digest in outputs.digests) == 3
    assert sum(outputs.verdicts.values()) == 3


def test_a_repeated_event_keeps_its_id() -> None:
    """Two records of one event id are two answers with one `ce_id`: consumers can tell."""
    outputs = enricher(PAYMENTS).process(records(payment(), payment()))
    assert [header(output.headers, "ce_id") for output in outputs.enriched] == [b"e1", b"e1"]
    assert [output.key for output in outputs.enriched] == ["a1", "a1"]


def test_an_enriched_event_is_a_cloud_event_with_its_trace() -> None:
    """The attributes that CloudEvents requires, and the traceparent as it came."""
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = [("traceparent", trace)]
    record = Record(
        "payments.events", 3, 9, b"k", payment(), envelope=read_envelope(headers, payment())
    )
    bad = Record("payments.events", 3, 10, b"k", b"x", envelope=read_envelope(headers, b"x"))
    outputs = enricher(PAYMENTS).process([record, bad])
    [output], [letter] = outputs.enriched, outputs.dead_letters
    for each in (output, letter):
        assert header(each.headers, "traceparent") == trace
        assert header(each.headers, "ce_specversion") == b"1.0"
        assert header(each.headers, "ce_source") == b"/enrichment/payments"
    assert header(output.headers, "ce_type") == b"enrichment.enriched.v1"
    assert header(letter.headers, "ce_type") == b"enrichment.dead-letter.v1"
    assert header(letter.headers, "ce_id") == b"payments.events/3/10"


def test_an_event_is_carried_untouched() -> None:
    """Where nothing is sensitive the event's own bytes are in the output, fields unknown to us."""
    value = payment(other={"deep": [1, 2.50]}).replace(b"2.5", b"2.50")
    [output] = enricher(PAYMENTS).process(records(value)).enriched
    assert value in output.value


def test_a_dead_letter_tells_where_the_record_is() -> None:
    """Reason, origin, size, key and the payload as it came."""
    [output] = enricher(PAYMENTS).process(records(b"\xff\x00")).dead_letters
    letter = dead_letter(output)
    assert (letter.topic, letter.partition, letter.offset) == ("payments.events", 0, 0)
    assert letter.reason is DeadLetterReason.NOT_JSON
    assert (letter.size_bytes, letter.payload, letter.key) == (2, b"\xff\x00", "k")
    assert json.loads(output.value)["payload"] == base64.b64encode(b"\xff\x00").decode()


def test_a_dead_letter_fits_a_message_whatever_its_record() -> None:
    """A record near the broker's limit is referred to, and not carried."""
    values = [b"x" * 1_000_000, payment(occurred_at="\x00" * 60_000), b"x" * 60_000]
    outputs = enricher(PAYMENTS).process(records(*values))
    letters = [dead_letter(output) for output in outputs.dead_letters]
    assert [letter.payload is None for letter in letters] == [True, False, False]
    assert all(len(output.value) < 950_000 for output in outputs.dead_letters)


def test_an_event_that_would_not_fit_once_enriched_is_a_dead_letter() -> None:
    """It is refused before the broker can refuse it, and is in no digest."""
    pipeline = msgspec.structs.replace(
        PAYMENTS, limits=msgspec.structs.replace(PAYMENTS.limits, size_bytes_max=1_000_000)
    )
    outputs = enricher(pipeline).process(records(payment(note="x" * 949_900)))
    assert outputs.enriched == []
    assert outputs.digests == []
    [output] = outputs.dead_letters
    assert dead_letter(output).reason is DeadLetterReason.TOO_LARGE


def test_a_fresh_quantum_feature_serves() -> None:
    """What came back from the sampler enters the score, and the record says which job made it."""
    cache = MemoryCache(*known_account())
    [output] = enricher(PAYMENTS, cache).process(records(payment())).enriched
    found = enriched(output)
    assert found.path is Path.QUANTUM
    assert found.scores.served == found.scores.quantum
    assert None not in (found.scores.classical, found.scores.heuristic)
    [used] = [f for f in found.features if (f.role, f.group) == ("account", "ring")]
    assert used.verdict == Verdict(VerdictName.FRESH, "subgraph_unchanged")
    assert used.estimates["quantum"] == {"membership": 0.8}
    assert (used.job_id, used.subgraph, used.version) == ("j1", "s1", 1)


def test_a_stale_feature_has_decayed_by_its_half_life() -> None:
    """An hour after the subgraph has changed, half of the estimate is left, and the record says so.

    One half-life of the payments pipeline is an hour.
    """
    since = {"subgraph_since_ms": NOW_MS - HOUR_MS}
    cache = MemoryCache(
        heartbeat(),
        update("account", "a1", "graph", subgraph="s2", values=since),
        ring("account", "a1", 0.8, at_ms=NOW_MS - 2 * HOUR_MS),
    )
    [output] = enricher(PAYMENTS, cache).process(records(payment())).enriched
    [used] = [f for f in enriched(output).features if (f.role, f.group) == ("account", "ring")]
    assert used.verdict == Verdict(VerdictName.STALE, "subgraph_changed")
    assert used.age_ms == HOUR_MS
    assert used.estimates["quantum"] == {"membership": 0.4}
    assert enriched(output).verdict.name is VerdictName.STALE


@pytest.mark.parametrize("failure", [redis.TimeoutError("slow"), redis.ConnectionError("gone")])
def test_without_redis_every_event_is_answered(failure: Exception) -> None:
    """The heuristic answers from the event alone, and the verdict says that the cache is away."""
    cache = MemoryCache(*known_account())
    cache.failure = failure
    outputs = enricher(PAYMENTS, cache).process(records(payment(), payment(event_id="e2")))
    for output in outputs.enriched:
        found = enriched(output)
        assert found.verdict == Verdict(VerdictName.FALLBACK, "cache_unavailable")
        assert found.path is Path.HEURISTIC
        assert (found.scores.classical, found.scores.quantum) == (None, None)
    assert outputs.verdicts == {"fallback": 2}


@pytest.mark.parametrize("group", ["ring", "graph"])
def test_while_rebuilding_a_ring_is_not_trusted(group: str) -> None:
    """A ring is neither fresh nor stale while its own partition or that of its graph is replayed.

    The graph that is there may be an old one, with the very subgraph that the ring was made from.
    """
    cache = MemoryCache(*known_account())
    cache.rebuild("account", "a1", group)
    [output] = enricher(PAYMENTS, cache).process(records(payment())).enriched
    [used] = [f for f in enriched(output).features if (f.role, f.group) == ("account", "ring")]
    assert used.verdict == Verdict(VerdictName.FALLBACK, "rebuilding")
    assert used.estimates == {}


@pytest.mark.parametrize("value", [b"", b"junk", b'{"version":1}', b'{"version":"x"}', b"\xff"])
def test_a_cached_value_that_is_no_feature_stops_nothing(value: bytes) -> None:
    """Whatever stands under a feature's key, the event is answered without it."""
    cache = MemoryCache(*known_account())
    cache.held["features:payments:account:a1:ring"] = value
    [output] = enricher(PAYMENTS, cache).process(records(payment())).enriched
    assert enriched(output).path is Path.HEURISTIC


def test_one_read_serves_a_batch() -> None:
    """However many events share an entity, the cache is asked once, for each group once."""
    asked: list[str] = []

    class Listening(MemoryCache):
        def mget(self, keys: Any) -> list[bytes | None]:
            asked.extend(keys)
            return super().mget(keys)

    cache = Listening(*known_account())
    enricher(PAYMENTS, cache).process(records(*[payment(event_id=f"e{n}") for n in range(50)]))
    assert cache.reads == 1
    assert len(asked) == len(set(asked))


def progressed(progress_ms: int) -> Envelope:
    """What surrounds a source's word on its progress."""
    return read_envelope([(PROGRESS, str(progress_ms).encode())], None)


def test_a_source_may_state_its_progress() -> None:
    """Such a record is no event and no dead letter; its word reaches the windows."""
    record = Record("payments.events", 2, 7, None, None, envelope=progressed(NOW_MS))
    outputs = enricher(PAYMENTS).process([record])
    assert outputs.enriched == outputs.dead_letters == []
    [(progress, stated)] = outputs.progress
    assert (progress.source_partition, progress.offset_last, stated) == (2, 7, True)


def test_a_progress_in_the_future_is_refused() -> None:
    """One stray record cannot close the windows of the next thousand years: a dead letter."""
    record = Record("payments.events", 2, 7, None, None, envelope=progressed(10**14))
    outputs = enricher(PAYMENTS).process([record, *records(payment())])
    [output] = outputs.dead_letters
    assert dead_letter(output).reason is DeadLetterReason.ABSURD_TIME
    assert max(digest.progress_ms for digest in outputs.digests) == NOW_MS - 5


def test_sensitive_values_leave_in_no_output() -> None:
    """Enriched events, their keys and headers, dead letters and digests: pseudonyms alone."""
    fields = ("account_id", "device_id", "region", "note")
    pipeline = sensitive(PAYMENTS, *fields)
    hidden = {
        "account_id": "raw-account",
        "device_id": "raw-device",
        "region": "raw-region",
        "note": "raw-note",
    }
    bad = payment(**hidden, amount="much")
    batch = [*records(payment(**hidden), bad, bad[:-1], payment(**hidden, event_id="e" * 300))]
    batch = [keyed_by_the_account(record) for record in batch]
    outputs = enricher(pipeline, pseudonym=pseudonym).process(batch)
    assert (len(outputs.enriched), len(outputs.dead_letters), len(outputs.digests)) == (1, 3, 1)
    written = [*outputs.enriched, *outputs.dead_letters]
    everything = repr(written) + repr(outputs.digests) + repr(outputs.progress)
    assert "raw-" not in everything
    assert pseudonym("raw-account") in everything
    assert outputs.digests[0].shard == pseudonym("raw-region")
    # Base64 would hide a raw value from the search above.
    assert all(dead_letter(output).payload is None for output in outputs.dead_letters)


def keyed_by_the_account(record: Record) -> Record:
    """The record with a raw value for its key, as a producer would set it."""
    return Record(record.topic, record.partition, record.offset, b"raw-account", record.value)


AGES = st.integers(0, 3 * 86_400_000)
CACHES = st.builds(
    lambda membership, density, age_ms, silent_ms, subgraph: MemoryCache(
        heartbeat(at_ms=NOW_MS - silent_ms),
        update(
            "account",
            "a1",
            "graph",
            subgraph=subgraph,
            at_ms=NOW_MS - age_ms,
            values={"density": density, "subgraph_since_ms": NOW_MS - age_ms},
        ),
        ring("account", "a1", membership, at_ms=NOW_MS - age_ms),
        ring("device", "d1", membership, at_ms=NOW_MS - age_ms),
    ),
    st.floats(0, 1),
    st.floats(0, 1),
    AGES,
    AGES,
    st.sampled_from(["s1", "s2", ""]),
)


@given(cache=CACHES, amount=st.floats(-1e6, 1e6), hidden=st.booleans())
def test_a_record_scored_again_from_itself_gives_the_same_bytes(
    cache: MemoryCache, amount: float, hidden: bool
) -> None:
    """Fresh, decayed, too old or missing: the enriched record holds all that its score rests on."""
    pipeline = sensitive(PAYMENTS, "beneficiary_id") if hidden else PAYMENTS
    options = {"pseudonym": pseudonym} if hidden else {}
    outputs = enricher(pipeline, cache, **options).process(records(payment(amount=amount)))
    value = outputs.enriched[0].value
    assert rescored(pipeline)(value) == value
    changed = msgspec.structs.replace(enriched(outputs.enriched[0]), level=Level.HIGHEST)
    assert rescored(pipeline)(msgspec.json.encode(changed)) == value


def trust_cache() -> MemoryCache:
    """What is known of the two users of RATING, a minute before it."""
    at_ms = RATING["time"] - 60_000
    known: dict[str, Any] = {"pipeline": "trust", "shard": "all", "at_ms": at_ms}
    return MemoryCache(
        heartbeat("all", at_ms, "trust"),
        update("user", "2", "graph", values={"distrust_received_mean": 0.25}, **known),
        update("user", "6", "graph", values={"distrust_given_mean": 0.5}, **known),
        ring("user", "2", 0.7, **known),
        pipeline="trust",
    )


def cards_cache() -> MemoryCache:
    """What is known of the customer and the terminal of CARD, a minute before it."""
    known: dict[str, Any] = {"pipeline": "cards", "shard": "all", "at_ms": 1_522_540_771_000}
    return MemoryCache(
        heartbeat("all", known["at_ms"], "cards"),
        update("customer", "11", "graph", values={"amount_week_mean": 20.0}, **known),
        update("terminal", "13", "graph", values={"risk_week_mean": 0.5}, **known),
        ring("customer", "11", 0.9, **known),
        pipeline="cards",
    )


@pytest.mark.parametrize(
    ("pipeline", "fields", "label", "cache"),
    [
        (TRUST, RATING, [10, 1, 0, -1, -10], trust_cache),
        (CARDS, CARD, [0, 1, True, False, ...], cards_cache),
    ],
    ids=["trust", "cards"],
)
def test_a_flipped_label_changes_not_one_byte_of_its_own_score(
    pipeline: Pipeline, fields: dict[str, Any], label: list[Any], cache: Any
) -> None:
    """But for the event that is carried along, the whole enriched record stays as it is.

    The features are fresh and do enter the score, and the digest does see the label.
    """
    assert pipeline.labels is not None
    answers, digests = set(), set()
    for value in label:
        changed = event(fields, **{pipeline.labels.field: value})
        outputs = enricher(pipeline, cache()).process(records(changed))
        record = enriched(outputs.enriched[0])
        assert record.verdict.name is VerdictName.FRESH
        assert record.scores.heuristic != record.scores.served
        answers.add(msgspec.json.encode(msgspec.structs.replace(record, event=msgspec.Raw(b"{}"))))
        digests.add(msgspec.json.encode(outputs.digests))
    assert len(answers) == 1
    assert len(digests) > 1


def test_an_answer_bears_the_time_of_its_record() -> None:
    """So that latency from publish on can be read from the outputs alone, dead letters included."""
    batch = [
        Record("payments.events", 0, offset, b"k", value, timestamp_ms=NOW_MS - 7)
        for offset, value in enumerate([payment(), b"nonsense"])
    ]
    outputs = enricher(PAYMENTS).process(batch)
    assert outputs.enriched[0].timestamp_ms == NOW_MS - 7
    assert outputs.dead_letters[0].timestamp_ms == NOW_MS - 7
