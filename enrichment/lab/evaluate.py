"""Evaluation: a file's labels joined with the enriched topic by event id, and what that shows.

Every path is judged on the same events. Where a path had no estimate for an event, it is judged by
the score it would have served: the next lesser path's.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from enrichment.lab.rows import Row, RowReader
from enrichment.pipelines import Pipeline
from enrichment.rollout.bootstrap import Bootstrap, Interval, bootstrap_intervals
from enrichment.rollout.metrics import (
    Auc,
    AveragePrecision,
    CardDays,
    CardPrecisionAtK,
    Measure,
    PrecisionAtK,
    Ranking,
    known_compromised,
)
from enrichment.stream.framing import unframed
from enrichment.stream.topics import StreamTopics

DAY_MS: Final = 86_400_000
SCORES: Final = ("served", "heuristic", "classical", "quantum")


class EvaluationError(ValueError):
    """Labels and scores that cannot be joined or judged, said in one line."""


class _Scores(msgspec.Struct, frozen=True):
    served: float
    heuristic: float
    classical: float | None = None
    quantum: float | None = None

    def of_paths(self) -> tuple[float, float, float, float]:
        """One score per entry of SCORES, lesser paths standing in for unknown ones."""
        classical = self.heuristic if self.classical is None else self.classical
        quantum = classical if self.quantum is None else self.quantum
        return (self.served, self.heuristic, classical, quantum)


class _Enriched(msgspec.Struct, frozen=True):
    """What is needed here of an enriched record; the rest is not even parsed."""

    event_id: str
    scores: _Scores
    verdict: dict[str, str]
    path: str


@dataclass(frozen=True, slots=True)
class Joined:
    """What the enriched topic holds of the file's events."""

    scores: dict[str, tuple[float, float, float, float]]
    doubled: int
    verdicts: dict[str, int]
    paths: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """What of the stream is judged, and how."""

    # A time in milliseconds, or a share of the file's events.
    start: int | float = 0.0
    k: int = 100
    resamples: int = 200
    seed: int = 0
    # Cards whose fraud is known by then, this many days later, are no longer news.
    known_after_days: int = 7


def parse_start(text: str) -> int | float:
    """`--from`: a share such as 0.5, or an RFC 3339 date or time (UTC where it names no offset)."""
    try:
        share = float(text)
    except ValueError:
        pass
    else:
        if 0 <= share < 1:
            return share
        raise EvaluationError(f"--from: wanted a share from 0 to 1 or a time, found {text}")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise EvaluationError(
            f"--from: wanted a share such as 0.5 or a time such as 2018-04-08, found '{text}'"
        ) from None
    if moment.tzinfo is None:
        moment = datetime.fromisoformat(text + ("T00:00" if len(text) == 10 else "") + "+00:00")
    return round(moment.timestamp() * 1000)


def read_enriched(client: dict[str, Any], stream: str, wanted: set[str]) -> Joined:
    """The scores of the wanted event ids, first come, from the whole enriched topic."""
    scores: dict[str, tuple[float, float, float, float]] = {}
    doubled: set[str] = set()
    verdicts: dict[str, int] = {}
    paths: dict[str, int] = {}
    decoder = msgspec.json.Decoder(_Enriched)
    for value in committed_values(client, StreamTopics(stream).enriched):
        record = decoder.decode(value)
        id_ = record.event_id
        if id_ not in wanted:
            continue
        if id_ in scores:
            doubled.add(id_)
            continue
        scores[id_] = record.scores.of_paths()
        name = record.verdict["name"]
        verdicts[name] = verdicts.get(name, 0) + 1
        paths[record.path] = paths.get(record.path, 0) + 1
    return Joined(scores, len(doubled), verdicts, paths)


def committed_values(client: dict[str, Any], topic: str) -> Iterator[bytes]:
    """Every committed value of a topic, up to its present end."""
    for message in committed(client, topic):
        if (value := message.value()) is not None:
            yield unframed(value)


def committed(client: dict[str, Any], topic: str) -> Iterator[Message]:
    """Every committed record of a topic, up to its present end."""
    consumer = Consumer(
        client
        | {
            "group.id": "enrichment.evaluate",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        found = consumer.list_topics(topic, timeout=10).topics[topic]
        if found.error is not None:
            raise EvaluationError(f"there is no topic {topic}: nothing was enriched yet")
        open_ = set(found.partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in open_])
        while open_:
            for message in consumer.consume(5_000, 0.5):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # its public name
                    open_.discard(message.partition())
                elif error.fatal():
                    raise KafkaException(error)
    finally:
        consumer.close()


def evaluate(
    client: dict[str, Any], pipeline: Pipeline, path: Path, judging: Judging
) -> dict[str, Any]:
    """The report: counts over the file, and each score's figures over the judged part.

    Raises EvaluationError, TableError.
    """
    if pipeline.labels is None:
        raise EvaluationError(f"pipeline '{pipeline.name}' has no [labels] to judge by")
    rows: dict[str, Row] = {}
    for row in RowReader(pipeline).read(path, msgspec.json.Encoder().encode):
        rows.setdefault(str(row.event.get(pipeline.stream.id)), row)
    joined = read_enriched(client, pipeline.name, set(rows))
    report: dict[str, Any] = {
        "pipeline": pipeline.name,
        "events": len(rows),
        "enriched": len(joined.scores),
        "missing": len(rows) - len(joined.scores),
        "doubled": joined.doubled,
        "share_by_verdict": _shares(joined.verdicts),
        "share_by_path": _shares(joined.paths),
    }
    return report | _judged(rows, joined, pipeline.stream.key, judging)


def _judged(rows: dict[str, Row], joined: Joined, key: str, judging: Judging) -> dict[str, Any]:
    """The figures over the judged part of the events that are enriched and labelled."""
    labelled = [
        (id_, row.decoded)
        for id_, row in rows.items()
        if row.decoded is not None and row.decoded.label is not None and id_ in joined.scores
    ]
    if not labelled:
        raise EvaluationError("no event of the file is both enriched and labelled")
    at_ms = np.array([event.occurred_at_ms for _, event in labelled])
    label = np.array([event.label == 1.0 for _, event in labelled])
    card = np.array([event.key for _, event in labelled])
    scores = np.array([joined.scores[id_] for id_, _ in labelled])
    if isinstance(judging.start, float):
        start_ms = int(np.sort(at_ms)[int(judging.start * len(at_ms))])
    else:
        start_ms = judging.start
    kept = at_ms >= start_ms
    if not label[kept].any() or label[kept].all():
        raise EvaluationError("the judged part holds events of one kind only: nothing to rank")
    day = at_ms // DAY_MS
    news = kept & ~known_compromised(day, card, label, judging.known_after_days)
    measures: dict[str, Measure] = {}
    news_measures: dict[str, Measure] = {}
    for name, score in zip(SCORES, scores.T, strict=True):
        ranking = Ranking(label[kept], score[kept])
        measures[f"{name}.auc"] = Auc(ranking)
        measures[f"{name}.average_precision"] = AveragePrecision(ranking)
        measures[f"{name}.precision_at_k"] = PrecisionAtK(ranking, judging.k)
        cards = CardDays(day[news], card[news], label[news], score[news])
        news_measures[f"{name}.card_precision_at_k"] = CardPrecisionAtK(cards, judging.k)
    draws = Bootstrap(seed=judging.seed, resamples=judging.resamples)
    intervals = bootstrap_intervals(measures, card[kept], draws)
    intervals |= bootstrap_intervals(news_measures, card[news], draws)
    figures: dict[str, dict[str, Any]] = {name: {} for name in SCORES}
    for name, interval in intervals.items():
        score_name, figure = name.split(".")
        figures[score_name][figure] = _shown(interval)
    served = {figure: shown["value"] for figure, shown in figures["served"].items()}
    return {
        "judged_from_ms": start_ms,
        "judged": int(kept.sum()),
        "positives": int(label[kept].sum()),
        "k": judging.k,
        "resampled_by": key,
        "resamples": judging.resamples,
        # The served score's figures, and those of every score with their intervals.
        **served,
        "scores": figures,
    }


def _shown(interval: Interval) -> dict[str, float | None]:
    """An interval as JSON; what is undefined is null."""
    shown = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: round(v, 6) if math.isfinite(v) else None for name, v in shown.items()}


def _shares(counts: dict[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: round(count / total, 6) for name, count in sorted(counts.items())}
