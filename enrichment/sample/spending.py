"""What the ledger says of money: the claims of a day, over all partitions and all pipelines."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from enrichment.records.job import Charge
from enrichment.sample.budget import BudgetAwayError, Claim, charge_id
from enrichment.stream.framing import unframed
from enrichment.stream.to_end import scan_to_end
from enrichment.stream.topics import JOBS

READ_S: Final = 30.0
"""How long the ledger may be silent before its end: a transaction that was left open is aborted by
the broker within that, or by the partition's next owner."""

CALL_S: Final = 5.0


class Spender(msgspec.Struct, frozen=True, kw_only=True):
    """What of a ledger entry is about money; the rest is skipped and not parsed."""

    job_id: str
    pipeline: str
    charges: tuple[Charge, ...] = ()


def claims_of(spenders: Iterable[Spender]) -> dict[int, dict[str, Claim]]:
    """Day -> charge id -> claim, of entries in the order of their partitions, without what is free.

    One that was settled at nothing stays, so that it is never granted again.

    A later entry of a job replaces what an earlier one said of the same charge. None takes a charge
    back: what may have been spent was not unspent by whoever wrote the entry.
    """
    found: dict[int, dict[str, Claim]] = {}
    for spender in spenders:
        for charge in spender.charges:
            if charge.micro or charge.settled:
                name = charge_id(spender.job_id, charge.attempt)
                found.setdefault(charge.day, {})[name] = Claim.of(charge, spender.pipeline)
    return found


def ledger_of(kafka: Mapping[str, Any]) -> Callable[[int], dict[str, Claim]]:
    """A reading of the whole ledger, as the teller wants it: to its end of now, committed alone.

    It takes a third of a second for 100,000 entries. Raises BudgetAwayError where that cannot be.
    """

    def read(day: int) -> dict[str, Claim]:
        return spending(kafka).get(day, {})

    return read


def spending(kafka: Mapping[str, Any]) -> dict[int, dict[str, Claim]]:
    """`claims_of` the whole ledger. Raises BudgetAwayError where it cannot be read to its end."""
    decode = msgspec.json.Decoder(Spender).decode
    try:
        # Asked each time: a ledger that was read but for its newest partition would be too low.
        found = AdminClient(dict(kafka)).list_topics(JOBS, timeout=CALL_S).topics[JOBS]
        if found.error is not None:
            raise BudgetAwayError(f"the ledger cannot be read: {found.error}")
        partitions = [TopicPartition(JOBS, number) for number in found.partitions]
        return claims_of(
            decode(unframed(value))
            for record in scan_to_end(kafka, partitions, READ_S)
            if (value := record.value()) is not None
        )
    except KafkaException as error:
        raise BudgetAwayError(f"the ledger cannot be read: {error.args[0].str()}") from error
    except TimeoutError as error:
        raise BudgetAwayError(f"the ledger cannot be read: {error}") from error
