"""An enriched event scored again from itself, byte for byte: all it rests on is in it. Pure."""

from collections.abc import Callable

import msgspec

from enrichment.enrich.answer import Answer, completed
from enrichment.enrich.decode import number_fields
from enrichment.enrich.route import route
from enrichment.enrich.score import Scorer
from enrichment.pipelines import Pipeline
from enrichment.records import Enriched


def rescored(pipeline: Pipeline) -> Callable[[bytes], bytes]:
    """A function from an enriched record of this pipeline to what the hot path would write again.

    Which paths were let in, and whether the event was untreated, is taken from the record: it was
    an instruction at that time. It raises msgspec.DecodeError on what is no enriched record of this
    pipeline.
    """
    scorer = Scorer(pipeline)
    names = number_fields(pipeline)
    shape = msgspec.defstruct(
        "Numbers",
        [(f"n{index}", float) for index in range(len(names))],
        rename={f"n{index}": name for index, name in enumerate(names)},
    )
    decode = msgspec.json.Decoder(Enriched).decode
    numbers_of = msgspec.json.Decoder(shape).decode
    encode = msgspec.json.Encoder().encode

    def again(value: bytes) -> bytes:
        record = decode(value)
        found = msgspec.structs.astuple(numbers_of(record.event))
        numbers = {name: [number] for name, number in zip(names, found, strict=True)}
        views = [
            scorer.view(role, tuple(used for used in record.features if used.role == role))
            for role in scorer.roles
        ]
        [(base, reasons)] = scorer.of_events(numbers, 1)
        [joint] = scorer.joints([views], numbers)
        told = record.rollout
        way = scorer.route if told is None else route(told.paths, told)
        scored = scorer.scored(base, reasons, joint, way)
        answer = encode(
            Answer(
                record.event_id,
                record.pipeline,
                record.origin,
                record.occurred_at_ms,
                record.decided_at_ms,
                record.event,
                joint.seen.written,
                scored.path,
                scored.scores,
                scored.level,
                scored.decision,
                scored.reasons,
                record.pipeline_version,
                record.score_version,
                record.correlation_id,
            )
        )
        return completed(answer, scored, way, views)

    return again
