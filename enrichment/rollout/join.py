"""Outcomes joined with what was published at the time, as known by any time. Pure.

Both sides are folded in any order and as often as they come: what is joined depends on the records
alone. A repeated event id counts as it was answered first. Of an outcome it matters what it says,
when that was *decided*, which ranks it (`outrank`), and when it was *known*: decided, or written to
the topic where that was later. Nobody knew before, so that a word that comes late changes nothing
of what evidence saw before it came.

Events are held as columns, some 400 bytes each with their ids.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from enrichment.pipelines import Pipeline
from enrichment.records import Decision, Outcome, VerdictName
from enrichment.rollout.answered import Answered, Shape, shape_of
from enrichment.rollout.metrics import Bools, Floats, Ints

EVENTS_MAX: Final = 2_000_000
"""Of one experiment, with its outcomes under 2 GB: a stream that has more in the time that outcomes
take needs a sample of its events, and none of ours does."""

OUTCOMES_MAX: Final = 2_000_000
"""Words, of whatever events: more would say that most events are spoken of."""

DECLINED, UNTREATED, WITHHELD = 1, 2, 4
VERDICTS: Final = tuple(VerdictName)

Word = tuple[int, bool]
"""When it was decided, and whether it says fraud: the greater stands."""


class TooManyError(ValueError):
    """More events or outcomes than are held, said in one line."""


def outrank(outcome: Outcome) -> Word:
    """What decides between two outcomes about the same, as the sample stage's cases have it."""
    return (outcome.decided_at_ms, outcome.kind.is_fraud)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experimented:
    """Which records are of the experiment: decided since then, by that file and that table.

    Without an id, of whichever experiment; a record that names none is of any.
    """

    since_ms: int
    pipeline_version: str
    score_version: str
    experiment_id: str = ""

    def has(self, answered: Answered) -> bool:
        """Whether the record is of it."""
        return (
            answered.pipeline_version == self.pipeline_version
            and answered.score_version == self.score_version
            and (
                not (self.experiment_id and answered.experiment_id)
                or answered.experiment_id == self.experiment_id
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Joined events in order of decision, of equals by id: every array has one entry for each.

    `words` holds, by row, what was said of the event: (known_ms, rank) in order of the former.
    """

    shape: Shape
    ids: tuple[str, ...]
    occurred_at_ms: Ints
    decided_at_ms: Ints
    latency_ms: Floats
    # Path -> score, NaN where it had no estimate of its own.
    scores: Mapping[str, Floats]
    flags: Ints
    verdicts: Ints
    amount: Floats
    # One array for each column of the shape: the entity's number within its kind, -1 for none.
    entities: tuple[Ints, ...]
    words: Mapping[int, tuple[tuple[int, Word], ...]]
    # Known times of first words about events that no record of the experiment is of.
    unmatched_ms: Ints
    # When each record that is not counted was decided: of another file or score table.
    left_out_ms: Ints

    def __len__(self) -> int:
        return len(self.ids)

    def flagged(self, flag: int) -> Bools:
        """Which rows have the flag."""
        found: Bools = (self.flags & flag) != 0
        return found


class Join:
    """Takes in answers and outcomes of one experiment, in any order."""

    def __init__(self, pipeline: Pipeline, of: Experimented) -> None:
        """Of that pipeline's events, those that `of` has."""
        self.shape = shape_of(pipeline)
        self._of = of
        self._row: dict[str, int] = {}
        self._first: list[tuple[int, int, int]] = []
        self._numbers = {name: array("q") for name in ("occurred", "decided", "flags", "verdict")}
        self._reals = {
            name: array("d") for name in ("heuristic", "classical", "quantum", "amount", "latency")
        }
        self._codes: dict[str, dict[str, int]] = {kind: {} for kind in self.shape.kinds}
        self._entities = tuple(array("q") for _ in self.shape.columns)
        self._columns: tuple[array[Any], ...] = (
            *self._numbers.values(),
            *self._reals.values(),
            *self._entities,
        )
        self._left_out: dict[str, int] = {}
        # Event id -> word -> since when it was known. Case id -> (member, word) -> the same.
        self._words: dict[str, dict[Word, int]] = {}
        self._of_cases: dict[str, dict[tuple[str, str, Word], int]] = {}
        self.outcomes = 0

    def __len__(self) -> int:
        return len(self._row)

    def answer(self, answered: Answered) -> None:
        """Take in a record. Raises TooManyError."""
        if answered.decided_at_ms < self._of.since_ms:
            return
        id_ = answered.event_id
        if not self._of.has(answered):
            known = self._left_out.get(id_, answered.decided_at_ms)
            self._left_out[id_] = min(known, answered.decided_at_ms)
            return
        first = (answered.decided_at_ms, answered.partition, answered.offset)
        row = self._row.get(id_)
        if row is None:
            if len(self._row) >= EVENTS_MAX:
                raise TooManyError(
                    f"more than {EVENTS_MAX:,} events: begin another experiment, or give --since"
                )
            self._row[id_] = len(self._first)
            self._first.append(first)
            for column in self._columns:
                column.append(0)
            row = self._row[id_]
        elif first >= self._first[row]:
            return
        self._first[row] = first
        self._put(row, answered)

    def _put(self, row: int, answered: Answered) -> None:
        numbers, reals = self._numbers, self._reals
        numbers["occurred"][row] = answered.occurred_at_ms
        numbers["decided"][row] = answered.decided_at_ms
        numbers["verdict"][row] = VERDICTS.index(answered.verdict)
        numbers["flags"][row] = (
            DECLINED * (answered.decision is Decision.DECLINE)
            | UNTREATED * answered.untreated
            | WITHHELD * (answered.untreated and answered.withheld is Decision.DECLINE)
        )
        reals["heuristic"][row] = answered.heuristic
        reals["classical"][row] = answered.classical
        reals["quantum"][row] = answered.quantum
        reals["amount"][row] = answered.amount
        published_ms = answered.published_ms
        waited_ms = answered.decided_at_ms - published_ms if published_ms > 0 else np.nan
        reals["latency"][row] = waited_ms
        for kind, column, id_ in zip(
            self.shape.kinds, self._entities, answered.entities, strict=True
        ):
            codes = self._codes[kind]
            column[row] = -1 if id_ is None else codes.setdefault(id_, len(codes))

    def outcome(self, outcome: Outcome, written_ms: int = 0) -> None:
        """Take in an outcome, and when it was written to the topic. Raises TooManyError."""
        word, known_ms = outrank(outcome), max(outcome.decided_at_ms, written_ms)
        if outcome.event_id != outcome.case_id:
            self._note(self._words.setdefault(outcome.event_id, {}), word, known_ms)
        if outcome.case_id:
            said = self._of_cases.setdefault(outcome.case_id, {})
            self._note(said, (outcome.entity, outcome.id, word), known_ms)

    def _note(self, said: dict[Any, int], what: Any, known_ms: int) -> None:
        """Note a word; heard again, it was known since the first time."""
        if what not in said:
            self.outcomes += 1
            if self.outcomes > OUTCOMES_MAX:
                raise TooManyError(f"more than {OUTCOMES_MAX:,} outcomes")
        said[what] = min(known_ms, said.get(what, known_ms))

    def rows(self) -> Rows:
        """All that was taken in, joined."""
        ids = sorted(self._row, key=lambda id_: (self._first[self._row[id_]][0], id_))
        order = np.array([self._row[id_] for id_ in ids], dtype=np.int64)
        numbers = {name: _taken(column, order) for name, column in self._numbers.items()}
        reals = {name: _taken(column, order) for name, column in self._reals.items()}
        entities = tuple(_taken(column, order) for column in self._entities)
        place = {id_: index for index, id_ in enumerate(ids)}
        words: dict[int, dict[Word, int]] = {
            place[id_]: dict(said) for id_, said in self._words.items() if id_ in place
        }
        self._spread(words, numbers["decided"], entities)
        return Rows(
            shape=self.shape,
            ids=tuple(ids),
            occurred_at_ms=numbers["occurred"],
            decided_at_ms=numbers["decided"],
            latency_ms=reals["latency"],
            scores={name: reals[name] for name in ("heuristic", "classical", "quantum")},
            flags=numbers["flags"],
            verdicts=numbers["verdict"],
            amount=reals["amount"],
            entities=entities,
            words={
                row: tuple(sorted((known_ms, word) for word, known_ms in said.items()))
                for row, said in sorted(words.items())
            },
            unmatched_ms=np.array(
                sorted(min(said.values()) for id_, said in self._words.items() if id_ not in place),
                dtype=np.int64,
            ),
            left_out_ms=np.array(
                sorted(at_ms for id_, at_ms in self._left_out.items() if id_ not in place),
                dtype=np.int64,
            ),
        )

    def _spread(
        self, words: dict[int, dict[Word, int]], decided_at_ms: Ints, entities: tuple[Ints, ...]
    ) -> None:
        """Add verdicts on cases to the words on the events that tie the case's members."""
        for said in self._of_cases.values():
            together: dict[Word, dict[tuple[str, str], int]] = {}
            for (kind, id_, word), known_ms in said.items():
                together.setdefault(word, {})[kind, id_] = known_ms
            for word, members in together.items():
                before = decided_at_ms <= word[0]
                for row in self._tying(members, before, entities):
                    mine = words.setdefault(row, {})
                    known_ms = max(members.values())
                    mine[word] = min(known_ms, mine.get(word, known_ms))

    def _tying(
        self, members: Mapping[tuple[str, str], int], before: Bools, entities: tuple[Ints, ...]
    ) -> list[int]:
        """The members' events that use what another member has used, of those up to then.

        What more accounts share than a link's `degree_max` is a hub, and ties nobody.
        """
        found: set[int] = set()
        for left, right, degree_max, direct in self.shape.ties:
            codes = self._codes[self.shape.kinds[left]]
            kind = self.shape.kinds[left]
            mine = [codes[id_] for of, id_ in members if of == kind and id_ in codes]
            rows = np.flatnonzero(before & np.isin(entities[left], mine) & (entities[right] >= 0))
            if direct:
                found.update(rows[np.isin(entities[right][rows], mine)].tolist())
                continue
            for shared in np.unique(entities[right][rows]).tolist():
                through = rows[entities[right][rows] == shared]
                if len(np.unique(entities[left][through])) < 2:
                    continue
                everybody = entities[left][before & (entities[right] == shared)]
                if len(np.unique(everybody)) <= degree_max:
                    found.update(through.tolist())
        return sorted(found)


def _taken(column: "array[Any]", order: Ints) -> Any:
    """A column in that order."""
    kind = np.int64 if column.typecode == "q" else np.float64
    return np.frombuffer(column, dtype=kind)[order] if len(column) else np.empty(0, dtype=kind)
