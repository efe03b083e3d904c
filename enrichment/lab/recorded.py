"""Recorded enriched events and outcomes, from topics or files, as what a fit needs of them.

A recording is held as arrays: what the terms of a score table read in each event, whether it turned
out bad, who was in it, and when. The events' own fields are let go.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from enrichment.lab.simulate import run_of_event
from enrichment.lab.terms import (
    HEURISTIC,
    RING,
    Features,
    Observed,
    numbers_of,
    part,
    served_path,
)
from enrichment.pipelines import Pipeline
from enrichment.pipelines.probability import MEMBERSHIP, surplus_of
from enrichment.records import Outcome, VerdictName
from enrichment.rollout.metrics import Bools, Floats, Ints

EVENTS_MAX: Final = 2_000_000  # some 2 GB with ids; a fit of ten weights gains nothing from more
LINE_BYTES_MAX: Final = 8 * 1024 * 1024  # twice the largest message that a topic of ours takes
REPORT_EVERY: Final = 2_000


class RecordingError(ValueError):
    """A recording that cannot be used, said in one line that tells what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Events of one pipeline in order of their time; every array has one row for each."""

    ids: tuple[str, ...]
    at_ms: Ints
    # What a weight is fitted to, by term: as the path that serves saw it, and with the ring terms
    # at their priors.
    served: Floats
    heuristic: Floats
    bad: Bools
    # Whether an outcome or a label says so; the others are taken as good, or were left out.
    told: Bools
    # Role -> the entity's number in it, or -1 where the event names none.
    entities: dict[str, Ints]
    # The simulated runs that the events are of: none for a real stream.
    runs: frozenset[str]
    # Role -> membership and surplus of its entity by the path that was asked for, shape (events, 2)
    # (`enrichment.pipelines.probability`); NaN where the ring's feature was not fresh.
    rings: dict[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def positives(self) -> int:
        """How many events turned out bad."""
        return int(self.bad.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which of the recorded events are taken."""

    # Of these simulated runs alone; None takes every event.
    runs: frozenset[str] | None = None
    # Events of which nothing became known: taken as good, or left out.
    unreported_are_good: bool = True


def lines(paths: Sequence[Path], on_progress: Callable[[float], None]) -> Iterator[bytes]:
    """Every line of these files, without its end; `on_progress` gets the share read so far.

    Raises RecordingError.
    """
    total = sum(path.stat().st_size for path in paths if path.is_file()) or 1
    done = 0
    for path in paths:
        if not path.is_file():
            raise RecordingError(f"{path}: no such file")
        with path.open("rb") as file:
            number = 0
            while line := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                done += len(line)
                if len(line) > LINE_BYTES_MAX:
                    limit = f"the limit is {LINE_BYTES_MAX} bytes"
                    raise RecordingError(f"{path}:{number}: a line that has no end; {limit}")
                if number % REPORT_EVERY == 0:
                    on_progress(done / total)
                if line := line.rstrip(b"\r\n"):
                    yield line
    on_progress(1.0)


def outcomes_of(values: Iterable[bytes]) -> dict[str, bool]:
    """Event id -> whether it was bad, as known at the end: the latest word stands.

    Raises RecordingError.
    """
    decoder = msgspec.json.Decoder(Outcome)
    latest: dict[str, tuple[int, bool]] = {}
    for number, value in enumerate(values, 1):
        try:
            outcome = decoder.decode(value)
        except msgspec.DecodeError as error:
            raise RecordingError(f"outcome {number}: {error}") from error
        known = latest.get(outcome.event_id)
        if known is None or known[0] <= outcome.decided_at_ms:
            latest[outcome.event_id] = (outcome.decided_at_ms, outcome.kind.is_fraud)
    return {id_: bad for id_, (_, bad) in latest.items()}


class Recorder:
    """Takes enriched records in and gives recordings out: one pass, whatever is asked of it."""

    def __init__(self, pipeline: Pipeline, outcomes: dict[str, bool], *, serve: str) -> None:
        """`serve` is the path whose estimates the ring terms read where they are known."""
        self._pipeline = pipeline
        self._outcomes = outcomes
        self._serve = serve
        self._terms = pipeline.score.terms
        self._fields = {role: pipeline.field(role) for role in pipeline.entities}
        self._rows: list[tuple[int, str, bool | None, str | None]] = []
        self._served: list[list[float]] = []
        self._heuristic: list[list[float]] = []
        self._codes: dict[str, dict[str, int]] = {role: {} for role in self._fields}
        self._entities: dict[str, list[int]] = {role: [] for role in self._fields}
        self._rings: dict[str, list[tuple[float, float]]] = {role: [] for role in self._fields}
        self._seen: set[str] = set()

    def take(self, values: Iterable[bytes]) -> None:
        """Read enriched records; a repeated event id counts once. Raises RecordingError."""
        decoder = msgspec.json.Decoder(Observed)
        for number, value in enumerate(values, 1):
            try:
                observed = decoder.decode(value)
            except msgspec.DecodeError as error:
                raise RecordingError(f"record {number} is no enriched event: {error}") from error
            if observed.pipeline != self._pipeline.name:
                found = f"is of pipeline '{observed.pipeline}', wanted '{self._pipeline.name}'"
                raise RecordingError(f"record {number} {found}: its terms mean something else")
            if observed.event_id not in self._seen:
                self._add(observed)
            if len(self._rows) > EVENTS_MAX:
                raise RecordingError(
                    f"more than {EVENTS_MAX:,} events: cut the recording, or take a part of it"
                )

    def _add(self, observed: Observed) -> None:
        self._seen.add(observed.event_id)
        features = observed.by_role()
        event: dict[str, Any] = msgspec.json.decode(observed.event)
        numbers = numbers_of(self._pipeline, observed.event)
        path = served_path(self._serve, features)
        for name, rows in ((path, self._served), (HEURISTIC, self._heuristic)):
            rows.append([part(term, name, numbers, features).transformed for term in self._terms])
        run = run_of_event(observed.event_id)
        bad = self._known(observed.event_id, event)
        self._rows.append((observed.occurred_at_ms, observed.event_id, bad, run))
        for role, name in self._fields.items():
            id_ = event.get(name)
            codes = self._codes[role]
            code = -1 if id_ is None else codes.setdefault(str(id_), len(codes))
            self._entities[role].append(code)
            self._rings[role].append(self._ring(role, features))

    def _ring(self, role: str, features: Features) -> tuple[float, float]:
        """Membership and surplus of the role's entity; NaN where they are not as they were drawn.

        A stale membership is on its way to its prior: it is none that a sampler gave.
        """
        used = features.get((role, RING))
        if used is not None and used.verdict.name is VerdictName.FRESH:
            estimate = used.estimates.get(self._serve, {})
            if (surplus := surplus_of(estimate)) is not None:
                return estimate[MEMBERSHIP], surplus
        return math.nan, math.nan

    def _known(self, event_id: str, event: dict[str, Any]) -> bool | None:
        """Whether the event was bad: an outcome's word first, else the label's."""
        labels = self._pipeline.labels
        label = None if labels is None else event.get(labels.field)
        known = self._outcomes.get(event_id)
        if known is not None or labels is None or label is None:
            return known
        return bool(label) if labels.positive_below is None else label < labels.positive_below

    def recording(self, selection: Selection) -> Recording:
        """The selected part of what was taken in. Raises RecordingError where it is empty."""
        kept = [
            index
            for index, (_, _, bad, run) in enumerate(self._rows)
            if (selection.runs is None or run in selection.runs)
            and (bad is not None or selection.unreported_are_good)
        ]
        if not kept:
            raise RecordingError("no event is left: see --seed, --unreported and the recording")
        kept.sort(key=lambda index: self._rows[index][:2])
        rows = [self._rows[index] for index in kept]
        order = np.array(kept)
        return Recording(
            ids=tuple(row[1] for row in rows),
            at_ms=np.array([row[0] for row in rows], dtype=np.int64),
            served=np.array(self._served)[order],
            heuristic=np.array(self._heuristic)[order],
            bad=np.array([bool(row[2]) for row in rows]),
            told=np.array([row[2] is not None for row in rows]),
            entities={role: np.array(codes)[order] for role, codes in self._entities.items()},
            runs=frozenset(row[3] for row in rows if row[3] is not None),
            rings={role: np.array(known)[order] for role, known in self._rings.items()},
        )

    @property
    def runs(self) -> frozenset[str]:
        """The simulated runs of everything that was taken in."""
        return frozenset(row[3] for row in self._rows if row[3] is not None)
