"""Records as nobody should send them, drawn from a seed; and what must hold of any answer."""

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import msgspec

from enrichment.enrich.batch import OUTPUT_BYTES_MAX, Enricher, Outputs, Record
from enrichment.records import DeadLetter, Digest, Enriched
from tests.enrich.streams import CARD, PAYMENT, RATING

Draw = random.Random

# What stands where a value should. Numbers at the edges of what integers, doubles and a digest's
# 64-bit sums hold; times at the edges of the calendar; text that is no text.
LITERALS: Final[tuple[bytes, ...]] = (
    b"null", b"true", b"false", b"NaN", b"-NaN", b"Infinity", b"-Infinity", b"nan",
    b"0", b"-0", b"1", b"-1", b"01", b"1.", b".5", b"1e", b"+1", b"0x10", b"1_000",
    b"1e5", b"1E+5", b"1e-400", b"1e308", b"1e309", b"-1e309", b"1e12", b"-1e12", b"1000000000000",
    b"999999999999.99", b"1e12000", b"9007199254740993", b"9223372036854775807",
    b"-9223372036854775808", b"18446744073709551615", b"18446744073709551616", b"9" * 400,
    b"9" * 5_000, b"-" + b"9" * 400, b"0." + b"1" * 500, b"1780000000000.0", b"1.78e12",
    b"1780000000000.5", b"946684800000", b"946684799999", b"1780086400000", b"253402300800000",
    b'""', b'"1"', b'"NaN"', b'" "', b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"',
    b'"\\ud83d\\ude00"', b'"\\x41"', b'"\\', b'"\xff"', b'"\xc3\x28"', b'"\xed\xa0\x80"', b'"\x00"',
    b'"\xef\xbf\xbf"', b'"\n"', b'"\\u202e"', b'"\\n"', b'"' + b"x" * 256 + b'"',
    b'"' + b"x" * 257 + b'"', b'"' + "😀".encode() * 256 + b'"', b'"' + b"\\u0378" * 5_000 + b'"',
    b'"0001-01-01T00:00:00Z"', b'"9999-12-31T23:59:59.999Z"', b'"9999-12-31T23:59:59-23:59"',
    b'"2024-02-30T00:00:00Z"', b'"2025-01-01T00:00:00"', b'"2025-01-01T00:00:00+24:00"',
    b'"2025-01-01"', b'"2025-W01-1T00:00Z"', b'"20250101T000000Z"', b'"2025-01-01T00:00:60Z"',
    b"[]", b"{}", b"[" * 17 + b"]" * 17, b"[" * 2_000 + b"]" * 2_000,
    b'{"a":' * 40 + b"1" + b"}" * 40,
    b"[" * 2_000, b'["[[[[[[[[[[[[[[[[[[[[[[[["]', b"[1,]", b'{"a":1,}', b"", b"//", b"'a'",
)  # fmt: skip
SCRAPS: Final[tuple[bytes, ...]] = (
    b"\xef\xbb\xbf", b"\x00", b"\xff", b"\xc3", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":",
    b" ", b"\n", b"\t", b"\x0c", b"\\u", b"\\ud800", b"e", b"-", b".", b"\xed\xa0\x80", b"NaN",
)  # fmt: skip
WHITE: Final = (b"", b"", b"", b" ", b"\n", b"\t ", b"\r\n")
MODELS: Final[dict[str, dict[str, Any]]] = {"payments": PAYMENT, "cards": CARD, "trust": RATING}


def value(draw: Draw, model: dict[str, Any]) -> bytes | None:
    """The value of a record: an event of that shape with a few things wrong, or nothing like it."""
    kind = draw.random()
    if kind < 0.02:
        return None
    if kind < 0.07:
        return draw.randbytes(draw.randrange(40))
    made = _object(draw, model)
    if draw.random() < 0.15:
        made = _structured(draw, made)
    for _ in range(draw.choice((0, 0, 0, 1, 1, 2, 5))):
        made = _mutated(draw, made)
    return b"\xef\xbb\xbf" + made if draw.random() < 0.02 else made


def _object(draw: Draw, model: dict[str, Any]) -> bytes:
    """A JSON object with some values replaced, some left out, some twice, in any order."""
    pairs = [(json.dumps(name).encode(), json.dumps(each).encode()) for name, each in model.items()]
    for _ in range(draw.choice((0, 0, 1, 1, 1, 2, 3))):
        at = draw.randrange(len(pairs))
        name, _ = pairs[at]
        match draw.randrange(5):
            case 0 | 1:
                pairs[at] = (name, draw.choice(LITERALS))
            case 2:
                pairs.append((name, draw.choice(LITERALS)))
            case 3:
                pairs.append((draw.choice((b'"x"', *LITERALS)), draw.choice(LITERALS)))
            case _ if len(pairs) > 1:
                del pairs[at]
    if draw.random() < 0.2:
        draw.shuffle(pairs)
    fields = [draw.choice(WHITE) + n + draw.choice(WHITE) + b":" + v for n, v in pairs]
    return draw.choice(WHITE) + b"{" + b",".join(fields) + b"}" + draw.choice(WHITE)


def _structured(draw: Draw, data: bytes) -> bytes:
    """A structured CloudEvent around the data, which may itself be wrong."""
    version = draw.choice((b'"1.0"', b'"0.3"', *LITERALS))
    id_ = draw.choice((b'"e1"', *LITERALS))
    fields = [b'"specversion":' + version, b'"id":' + id_, b'"data":' + data]
    if draw.random() < 0.3:
        fields.append(b'"traceparent":' + draw.choice(LITERALS))
    return b"{" + b",".join(draw.sample(fields, len(fields))) + b"}"


def _mutated(draw: Draw, text: bytes) -> bytes:
    """The bytes with one thing done to them at one place."""
    at = draw.randrange(len(text) + 1)
    match draw.randrange(6):
        case 0:
            return text[:at] + draw.choice(SCRAPS) + text[at:]
        case 1:
            return text[:at] + text[at + draw.choice((1, 1, 2, 8)) :]
        case 2:
            return text[:at] + draw.randbytes(1) + text[at + 1 :]
        case 3:
            return text[:at]
        case 4:
            return text[:at] + text[max(0, at - draw.randrange(1, 20)) : at] + text[at:]
        case _:
            other = draw.randrange(len(text) + 1)
            return text[:at] + text[other:]


def cloud_event(draw: Draw, model: dict[str, Any]) -> tuple[bytes, list[tuple[str, bytes | None]]]:
    """A structured CloudEvent with things wrong in it, and the header that says what it is."""
    made = _structured(draw, _object(draw, model))
    for _ in range(draw.choice((0, 0, 1, 2))):
        made = _mutated(draw, made)
    return made, [("content-type", b"application/cloudevents+json"), *headers(draw)]


def headers(draw: Draw) -> list[tuple[str, bytes | None]]:
    """Headers that mean something to the hot path, with values that may mean nothing."""
    names = ("content-type", "traceparent", "enrichment-progress-ms", "ce_id", "", "é", "\x00")
    good = (
        b"application/cloudevents+json", b"application/json",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
        b"-1", b"1e5", "²".encode(), "٣".encode(), b"9" * 5_000,
    )  # fmt: skip
    return [
        (draw.choice(names), draw.choice((None, b"", b"\xff\x00", draw.randbytes(9), *good)))
        for _ in range(draw.choice((0, 0, 1, 2, 4)))
    ]


def answer(
    enricher: Enricher, records: Sequence[Record], *, encode: Callable[[Digest], bytes]
) -> Outputs:
    """The answers to the records, after checking that each has one and that they can be read."""
    outputs = enricher.process(list(records))
    origins = Counter((record.partition, record.offset) for record in records)
    given: Counter[tuple[int, int]] = Counter()
    for output in outputs.enriched:
        enriched = msgspec.json.decode(output.value, type=Enriched)
        given[enriched.origin.partition, enriched.origin.offset] += 1
        event = strict_json(bytes(enriched.event))
        assert isinstance(event, dict)
        assert 0.0 <= enriched.scores.served <= 100.0
    for output in outputs.dead_letters:
        letter = msgspec.json.decode(output.value, type=DeadLetter)
        given[letter.partition, letter.offset] += 1
        assert letter.detail
    assert given == origins
    for output in [*outputs.enriched, *outputs.dead_letters]:
        strict_json(output.value)
        key = output.key.encode() if isinstance(output.key, str) else output.key
        carried = sum(len(name) + len(text) for name, text in output.headers)
        # Else the broker refuses it, the transaction is aborted, and the batch comes again.
        assert len(output.value) <= OUTPUT_BYTES_MAX
        assert len(key) + carried < 20_000
    for digest in outputs.digests:
        strict_json(encode(digest))
    assert sum(digest.events for digest in outputs.digests) == len(outputs.enriched)
    return outputs


def strict_json(text: bytes) -> Any:
    """What the text means to a parser that allows no more than RFC 8259 does, UTF-8 included."""

    def refuse(literal: str) -> NoReturn:
        raise ValueError(f"{literal} is no JSON")

    def finite(digits: str) -> float:
        number = float(digits)
        assert not math.isnan(number)
        return number

    # An integer of 5,000 digits is JSON, though Python would not write it.
    return json.loads(
        text.decode(), parse_constant=refuse, parse_float=finite, parse_int=lambda digits: digits
    )
