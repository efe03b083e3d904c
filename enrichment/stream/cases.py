"""The cases of one stream as `rings.cases` tells them, and verdicts on them, as outcomes.

A verdict is one outcome for each member, all of them with the case's id: so the case is decided,
and the window stage knows each member as bad, or no longer as bad. Their event is the case itself,
so that a later verdict on it replaces them.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
from confluent_kafka import TopicPartition

from enrichment.records import Case, Outcome
from enrichment.stream.framing import unframed
from enrichment.stream.reviews import ANSWERED, PROMPT, READ_S, partitions_of
from enrichment.stream.to_end import scan_to_end
from enrichment.stream.topics import CASES


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseAnswer:
    """What an analyst says of a case: a verdict by ANSWERED's names, who says it, and why."""

    verdict: str
    by: str
    note: str = ""


def read_cases(client: dict[str, Any], pipeline: str) -> dict[str, Case]:
    """Every case of now by id. Raises ReviewError without the topic, KafkaException."""
    decode = msgspec.json.Decoder(Case).decode
    prefix = f"{pipeline}|".encode()
    everywhere = [TopicPartition(CASES, number) for number in range(partitions_of(client, CASES))]
    cases: dict[str, Case] = {}
    for record in scan_to_end(client | PROMPT, everywhere, READ_S):
        key, value = record.key() or b"", record.value()
        if not key.startswith(prefix):
            continue
        case_id = key[len(prefix) :].decode()
        if value is None:
            cases.pop(case_id, None)
        else:
            cases[case_id] = decode(unframed(value))
    return cases


def taken_in_by(cases: dict[str, Case], case_id: str) -> Case | None:
    """The case that has taken that one in, or None."""
    return next((case for case in cases.values() if case_id in case.merged), None)


def outcomes_of(case: Case, answer: CaseAnswer, *, now_ms: int) -> list[Outcome]:
    """The outcomes that the answer amounts to, decided after whatever was said before.

    Where it clears, also of those who have left since somebody called the case fraud.
    """
    kind = ANSWERED[answer.verdict]
    last = case.verdict
    whom = {member.id: member.entity for member in case.members}
    if last is not None:
        now_ms = max(now_ms, last.decided_at_ms + 1)
        if not kind.is_fraud:
            left = set(last.members) - whom.keys()
            whom |= dict.fromkeys(sorted(left), case.members[0].entity)
    return [
        Outcome(
            outcome_id=f"{case.case_id}/{now_ms}/{id_}",
            event_id=case.case_id,
            entity=entity,
            id=id_,
            shard=case.shard,
            kind=kind,
            decided_at_ms=now_ms,
            case_id=case.case_id,
            decided_by=answer.by,
            note=answer.note,
        )
        for id_, entity in whom.items()
    ]
