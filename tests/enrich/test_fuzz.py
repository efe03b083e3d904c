"""No input stops a partition: whatever a record holds, it has one answer that can be read.

A long run, guided by coverage, is `make fuzz` (tests/enrich/fuzz.py).
"""

import random

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from enrichment.enrich.batch import Record
from enrichment.enrich.loop import record_of
from enrichment.pipelines import Pipeline
from enrichment.records import DeadLetterReason
from tests.enrich import fuzzed
from tests.enrich.streams import (
    CARDS,
    PAYMENT,
    PAYMENTS,
    RATING,
    TRUST,
    dead_letter,
    enricher,
    event,
    payment,
    pseudonym,
    records,
    sensitive,
)
from tests.enrich.test_records_in import Message

WIDE = msgspec.structs.replace(
    PAYMENTS, limits=msgspec.structs.replace(PAYMENTS.limits, size_bytes_max=900_000)
)
PIPELINES: dict[str, tuple[Pipeline, str]] = {
    "payments": (PAYMENTS, "payments"),
    "sensitive": (sensitive(PAYMENTS, "account_id", "device_id", "note"), "payments"),
    "cards": (CARDS, "cards"),
    "trust": (TRUST, "trust"),
    "wide": (WIDE, "payments"),
}
SEEDS = st.integers(0, 2**64 - 1)
ENRICHERS = {
    name: enricher(pipeline, pseudonym=pseudonym) for name, (pipeline, _) in PIPELINES.items()
}
encode = msgspec.json.Encoder().encode


@pytest.mark.parametrize("name", PIPELINES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seeds=st.lists(SEEDS, min_size=1, max_size=25))
def test_a_batch_of_anything_is_answered_once_each(name: str, seeds: list[int]) -> None:
    """Events with things wrong in them, alone and in company: one readable answer for each."""
    model = fuzzed.MODELS[PIPELINES[name][1]]
    values = [fuzzed.value(random.Random(seed), model) for seed in seeds]
    fuzzed.answer(ENRICHERS[name], records(*values), encode=encode)


@settings(max_examples=300, deadline=None)
@given(value=st.binary(max_size=60))
@example(value=b'{"event_id":')
def test_random_bytes_are_dead_letters(value: bytes) -> None:
    """Bytes that nobody meant as an event are one dead letter; the event beside them is scored."""
    outputs = fuzzed.answer(ENRICHERS["payments"], records(value, payment(), value), encode=encode)
    assert len(outputs.enriched) == 1
    assert len(outputs.dead_letters) == 2


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=SEEDS, key=st.none() | st.binary(max_size=30))
def test_headers_of_any_kind_stop_nothing(seed: int, key: bytes | None) -> None:
    """Headers, keys and structured CloudEvents with anything in them: still one answer."""
    draw = random.Random(seed)
    if draw.random() < 0.5:
        value, headers = fuzzed.cloud_event(draw, PAYMENT)
        message = Message(value, *headers)
    else:
        message = Message(fuzzed.value(draw, PAYMENT), *fuzzed.headers(draw))
    record = msgspec.structs.replace(record_of(message), key=key)
    if record.envelope is None or record.envelope.progress_ms is None:
        fuzzed.answer(ENRICHERS["payments"], [record], encode=encode)


@pytest.mark.parametrize("rating", [1e12, -1e12])
def test_the_largest_numbers_add_up(rating: float) -> None:
    """A batch full of the largest number that passes: a digest's sums do not overflow."""
    values = [event(RATING, event_id=f"r{number}", rating=rating) for number in range(100)]
    outputs = fuzzed.answer(ENRICHERS["trust"], records(*values), encode=encode)
    assert len(outputs.enriched) + len(outputs.dead_letters) == 100


@pytest.mark.parametrize("letter", ["\u0378", "\x00", "\\", "é"])
def test_a_dead_letter_fits_whatever_it_tells_of(letter: str) -> None:
    """Where a pipeline allows large events, a bad one's dead letter still fits into a message."""
    value = payment(occurred_at=letter * 100_000)
    [output] = fuzzed.answer(ENRICHERS["wide"], records(value), encode=encode).dead_letters
    assert dead_letter(output).reason is DeadLetterReason.ABSURD_TIME


class Unreadable(Message):
    """A message one of whose headers has a name that is not UTF-8, as the client hands it over."""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """What confluent-kafka 2.16 raises for it (tried against a broker)."""
        raise SystemError("returned a result with an exception set")


def test_a_header_that_is_no_text_stops_nothing() -> None:
    """An event with such a header is answered as one without headers."""
    record = record_of(Unreadable(payment()))
    assert isinstance(record, Record)
    assert len(fuzzed.answer(ENRICHERS["payments"], [record], encode=encode).enriched) == 1
