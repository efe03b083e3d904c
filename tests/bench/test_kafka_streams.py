"""Kafka Streams' same work is the same: its records are ours, on a sample of events."""

import random
import subprocess
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from enrichment.lab.bench import ground
from enrichment.lab.bench.peers import kafka_streams
from enrichment.lab.bench.peers.kafka_streams import UnavailableError
from enrichment.lab.bench.peers.same_work import SameWork
from enrichment.lab.simulate import simulate
from enrichment.pipelines import load
from enrichment.records import Enriched, FeatureUpdate, Origin

ROOT = Path(__file__).resolve().parents[2]
EVENTS = 400
# Scores are rounded to six decimals, and a tie may fall otherwise.
CLOSE = 1.5e-6


@pytest.fixture(scope="module")
def built() -> Path:
    """The Java program, built once for all sessions; skipped where it cannot be."""
    try:
        return kafka_streams.built(ROOT / ".state" / "kafka-streams")
    except UnavailableError as error:
        pytest.skip(f"Kafka Streams: {error}")


def _cache(
    settings: Any, known: set[tuple[str, str]], now_ms: int, rng: random.Random
) -> dict[str, str]:
    """Features of most entities: fresh, of another subgraph, in none, or without an estimate."""
    groups = ground.groups(settings)
    cache: dict[str, str] = {}
    for kind, id_ in sorted(known):
        for key, value in ground.features(kind, id_, groups.get((kind, id_), ""), now_ms).items():
            update = msgspec.json.decode(value, type=FeatureUpdate)
            draw = rng.random()
            values = {name: x * rng.uniform(0.1, 3.0) for name, x in update.values.items()}
            if draw < 0.1:
                continue
            if draw < 0.3:
                update = msgspec.structs.replace(update, subgraph="another")
            elif draw < 0.4 and update.group == "ring":
                estimates = {"classical": update.estimates.get("classical", {})}
                update = msgspec.structs.replace(update, estimates=estimates)
            elif draw < 0.45:
                update = msgspec.structs.replace(update, computed_at_ms=now_ms + 60_000)
            values["subgraph_since_ms"] = float(now_ms - rng.randrange(7_200_000))
            update = msgspec.structs.replace(update, values=values)
            cache[key] = msgspec.json.encode(update).decode()
    return cache


def _beats(now_ms: int) -> dict[str, str]:
    """Two shards are heard, one has been silent for an hour, one never spoke."""
    ages_ms = {"north": 0, "south": 5_000, "east": 3_600_000}
    return {
        ground.beat_key(shard): ground.beat_value(shard, now_ms - age_ms).decode()
        for shard, age_ms in ages_ms.items()
    }


@pytest.mark.slow
@pytest.mark.timeout(400)  # the build
def test_scores_verdicts_and_reasons_are_ours(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On events whose features are fresh, stale, missing or from the future, records are equal.

    All of a record but the last of six decimals: both round, and each in its own way.
    """
    now_ms = 1_790_000_000_000
    # What is judged later is more stale: both judge at the same moment.
    monkeypatch.setattr("enrichment.lab.bench.peers.same_work.now_ms", lambda: now_ms)
    settings = ground.scenario(EVENTS, now_ms)
    payments = [simulated.payment for simulated in islice(simulate(settings), EVENTS)]
    known: set[tuple[str, str]] = set().union(*map(ground.entities_of, payments))
    cache = _cache(settings, known, now_ms, random.Random(7)) | _beats(now_ms)

    work = SameWork.of("payments")
    ours, lines = [], []
    for payment in payments:
        value = msgspec.json.encode(payment)
        event = work.event(value)
        wanted = work.wanted([event])
        texts = [cache.get(key) for key in work.keys(wanted)]
        values = [None if text is None else text.encode() for text in texts]
        origin = Origin("payments.events", 0, 0)
        ours.append(work.answer(event, work.found(wanted, values), origin)[0])
        lines.append(
            msgspec.json.encode(
                {
                    "event": value.decode(),
                    "cache": cache_of(work.keys(wanted), cache),
                    "now_ms": now_ms,
                }
            )
        )

    table = tmp_path / "table.json"
    table.write_bytes(kafka_streams.table(load("payments")))
    said = subprocess.run(
        [*kafka_streams.java(built), "--check", str(table)],
        input=b"\n".join(lines) + b"\n", capture_output=True, check=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip
    assert len(said) == len(ours)
    seen: set[tuple[str, str]] = set()
    for mine, theirs in zip(ours, said, strict=True):
        answer = msgspec.json.decode(theirs, type=Enriched)
        seen.add((answer.path.value, answer.verdict.reason))
        _assert_close(msgspec.json.decode(mine), msgspec.json.decode(theirs))
    assert len(seen) > 6, f"{seen}: the sample is to hold many kinds of answers"


def cache_of(keys: list[str], cache: dict[str, str]) -> dict[str, str]:
    """The part of the cache that an event reads."""
    return {key: cache[key] for key in keys if key in cache}


def _assert_close(mine: Any, other: Any, where: str = "") -> None:
    """Equal, numbers to within their rounding; the order of fields does not matter."""
    if isinstance(mine, dict):
        assert set(mine) == set(other), where
        for name, value in mine.items():
            _assert_close(value, other[name], f"{where}.{name}")
    elif isinstance(mine, list):
        assert len(mine) == len(other), where
        for number, value in enumerate(mine):
            _assert_close(value, other[number], f"{where}[{number}]")
    elif isinstance(mine, float):
        assert other == pytest.approx(mine, abs=CLOSE, rel=1e-12), where
    else:
        assert mine == other, where
