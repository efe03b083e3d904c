"""The sample stage's loop: one thread polls the ledger, drives the worker, writes its outboxes."""

from collections.abc import Callable
from typing import Final

from enrichment.sample.ledger import Ledger
from enrichment.sample.outbox import Addresses
from enrichment.sample.told import Due
from enrichment.sample.worker import Worker
from enrichment.stream import lag
from enrichment.stream.transaction import Outcome
from enrichment.telemetry import metrics

WAIT_IDLE_S: Final = 0.02
"""A new micro-batch ends the wait at once; this is how late a deadline may be noticed."""

WAIT_BUSY_S: Final = 0.002
"""While circuits run: a small job takes about as long, and somebody may wait for it."""


def run(ledger: Ledger, worker: Worker, to: Addresses, stopping: Callable[[], bool]) -> None:
    """Work until told to stop. Unfinished jobs stay in the ledger, for whoever is next."""
    ledger.join()
    try:
        due = Due()
        while not stopping():
            turn(ledger, worker, to)
            if due.now():
                metrics.open_jobs.set(worker.open_jobs)
                lag.tell(ledger.lags())
    finally:
        ledger.close()


def turn(ledger: Ledger, worker: Worker, to: Addresses) -> None:
    """Once round: what has come in, what is due, what is to be written."""
    for arrival in ledger.poll(WAIT_BUSY_S if worker.hurried else WAIT_IDLE_S):
        worker.claim(arrival)
    for partition, outcome in ledger.outcomes():
        worker.hear(partition, outcome)
    for partition, order in ledger.orders():
        worker.order(partition, order)
    worker.tick()
    write(ledger, worker, to)
    ledger.hold(worker.full)


def write(ledger: Ledger, worker: Worker, to: Addresses) -> None:
    """One transaction for every partition that has something to say.

    An aborted one stays in its outbox: the next poll tells whether the partition is still ours.
    """
    for partition, outbox in worker.outboxes():
        if partition not in ledger.owned:
            continue
        messages = outbox.messages(to, partition)
        outcome = ledger.commit(partition, messages, outbox.next_offset)
        if outcome is Outcome.COMMITTED:
            worker.committed(partition)
        elif outcome is Outcome.LOST:
            return
