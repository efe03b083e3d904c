"""What of an enriched record evidence rests on: decoded from its bytes, the rest not even parsed.

Pure: a reader is made for a pipeline, whose file says where an event keeps its entities.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.records import Decision, VerdictName

NAN: Final = math.nan

Tie = tuple[int, int, int, bool]
"""One link: the columns of its two roles' entities, its `degree_max`, and whether it is direct."""


class _Scores(msgspec.Struct, frozen=True, gc=False):
    heuristic: float
    classical: float | None = None
    quantum: float | None = None


class _Verdict(msgspec.Struct, frozen=True, gc=False):
    name: VerdictName


class _Origin(msgspec.Struct, frozen=True, gc=False):
    partition: int
    offset: int


class _Assigned(msgspec.Struct, frozen=True, gc=False):
    experiment_id: str = ""
    untreated: bool = False
    withheld: Decision | None = None


_NOBODY: Final = _Assigned()


class _Enriched(msgspec.Struct, frozen=True, gc=False):
    event_id: str
    origin: _Origin
    occurred_at_ms: int
    decided_at_ms: int
    event: msgspec.Raw
    verdict: _Verdict
    scores: _Scores
    decision: Decision
    pipeline_version: str
    score_version: str
    rollout: _Assigned | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One event as it was answered: what each path said of it, and what was decided.

    `entities` has one id for each column of `Shape.columns`, None where the event names none.
    A score that is not known is NaN.
    """

    event_id: str
    # Where the input record stands, and when it was published; 0 where that is not known.
    partition: int
    offset: int
    published_ms: int
    occurred_at_ms: int
    decided_at_ms: int
    heuristic: float
    classical: float
    quantum: float
    verdict: VerdictName
    decision: Decision
    untreated: bool
    withheld: Decision | None
    experiment_id: str
    pipeline_version: str
    score_version: str
    amount: float
    entities: tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which entities of an event matter, and what ties them: the account's come first.

    The account is the entity that links start from, or the stream's key where it links nothing.
    `kinds` are those under which outcomes speak of them; "" for a key that is no entity.
    """

    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    ties: tuple[Tie, ...]


def shape_of(pipeline: Pipeline) -> Shape:
    """The shape of a pipeline's events."""
    roles = list(dict.fromkeys(role for link in pipeline.links for role in link.roles))
    if not roles:
        return Shape(columns=(pipeline.stream.key,), kinds=(_kind_of_key(pipeline),), ties=())
    place = {role: index for index, role in enumerate(roles)}
    return Shape(
        columns=tuple(pipeline.field(role) for role in roles),
        kinds=tuple(pipeline.kind(role) for role in roles),
        ties=tuple(
            (place[link.roles[0]], place[link.roles[1]], link.degree_max, link.direct)
            for link in pipeline.links
        ),
    )


def _kind_of_key(pipeline: Pipeline) -> str:
    """Under which kind the stream's key is an entity, or ""."""
    key = pipeline.stream.key
    return next((pipeline.kind(r) for r in pipeline.entities if pipeline.field(r) == key), "")


def reader_of(pipeline: Pipeline) -> Callable[[bytes, int], Answered]:
    """A function from an enriched record's bytes, and when its input was published, to `Answered`.

    It raises msgspec.DecodeError on what is no enriched record.
    """
    shape = shape_of(pipeline)
    fields: list[tuple[str, Any, Any]] = [
        (f"e{index}", str | int | None, None) for index in range(len(shape.columns))
    ]
    rename = {f"e{index}": name for index, name in enumerate(shape.columns)}
    if pipeline.stream.amount is not None:
        fields.append(("amount", float | None, None))
        rename["amount"] = pipeline.stream.amount
    event_shape = msgspec.defstruct("Event", fields, rename=rename, gc=False)
    of_event = msgspec.json.Decoder(event_shape).decode
    of_record = msgspec.json.Decoder(_Enriched).decode
    names = [name for name, _, _ in fields if name != "amount"]

    def read(value: bytes, published_ms: int = 0) -> Answered:
        record = of_record(value)
        event = of_event(record.event)
        ids = (getattr(event, name) for name in names)
        rollout = record.rollout or _NOBODY
        scores = record.scores
        return Answered(
            event_id=record.event_id,
            partition=record.origin.partition,
            offset=record.origin.offset,
            published_ms=published_ms,
            occurred_at_ms=record.occurred_at_ms,
            decided_at_ms=record.decided_at_ms,
            heuristic=scores.heuristic,
            classical=NAN if scores.classical is None else scores.classical,
            quantum=NAN if scores.quantum is None else scores.quantum,
            verdict=record.verdict.name,
            decision=record.decision,
            untreated=rollout.untreated,
            withheld=rollout.withheld,
            experiment_id=rollout.experiment_id,
            pipeline_version=record.pipeline_version,
            score_version=record.score_version,
            amount=getattr(event, "amount", None) or 0.0,
            entities=tuple(None if id_ is None else str(id_) for id_ in ids),
        )

    return read
