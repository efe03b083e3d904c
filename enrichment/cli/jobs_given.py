"""Orders on their way: what is planned, given, and heard of it."""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer

from enrichment.cli.app import fail
from enrichment.cli.changes_read import framing_or_fail
from enrichment.cli.progress import progress

if TYPE_CHECKING:
    from enrichment.records import Change, JobEvent, JobOrder, OrderKind
    from enrichment.settings import Settings
    from enrichment.stream.framing import Framing
    from enrichment.stream.job_orders import Answers

EXIT_MISUSE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_UNHEARD: Final = 4

CHUNK: Final = 50
"""Orders given before their answers are waited for: a tenth of what a worker holds."""

AGAIN_S: Final = 0.5
"""Before a retry that a full worker has put off is given again: some jobs are done by then."""

SHOWN_MAX: Final = 20
"""Jobs that are listed; all are in --json."""

Placed = tuple[int, "JobOrder"]
"""Partition and order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Orders that can be given, and what is left out, why."""

    kind: "OrderKind"
    orders: Sequence[Placed]
    left_out: dict[str, str]
    # Beyond the limit.
    more: int
    # Job id -> how it stood when it was looked at, as JSON.
    stood: dict[str, str] = field(default_factory=dict)

    def end_without(self) -> NoReturn:
        """End the command: there is nothing to order."""
        if not self.left_out:
            fail(f"there is no job to {self.kind.value} among those that you mean", EXIT_MISUSE)
        job_id, why = next(iter(self.left_out.items()))
        rest = f", nor {len(self.left_out) - 1} others" if len(self.left_out) > 1 else ""
        fail(f"cannot {self.kind.value} '{job_id}'{rest}: {why}", EXIT_MISUSE)

    def print(self, *, as_json: bool) -> None:
        """Say what would be done."""
        if as_json:
            told = {
                "order": self.kind.value,
                "jobs": [order.job_id for _, order in self.orders],
                "left_out": self.left_out,
                "more": self.more,
            }
            typer.echo(json.dumps(told, indent=2))
            return
        for line in self._lines():
            typer.echo(line)

    def ask(self, *, as_json: bool) -> None:
        """Ask whether it is meant; ends the command where it is not."""
        if as_json:
            fail("say --yes beside --json: nobody is asked then", EXIT_MISUSE)
        self.print(as_json=False)
        typer.confirm(f"{self.kind.value} {len(self.orders)} jobs?", abort=True)

    def _lines(self) -> Iterator[str]:
        for _, order in self.orders[:SHOWN_MAX]:
            yield f"{self.kind.value} {order.job_id}"
        if len(self.orders) > SHOWN_MAX:
            yield f"... and {len(self.orders) - SHOWN_MAX} more"
        for job_id, why in list(self.left_out.items())[:SHOWN_MAX]:
            yield f"not {job_id}: {why}"
        if len(self.left_out) > SHOWN_MAX:
            yield f"... nor {len(self.left_out) - SHOWN_MAX} others"
        if self.more:
            yield f"{self.more} beyond the limit are left for later: --limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One order that was given, and the event that answers it, if one came."""

    order: "JobOrder"
    answer: "JobEvent | None"

    @property
    def result(self) -> str:
        """In a word what became of it."""
        from enrichment.sample.orders import PUT_OFF, REFUSED

        if self.answer is None:
            return "unheard"
        names = {REFUSED: "refused", PUT_OFF: "put off"}
        return names.get(self.answer.event, "done")


def give(settings: "Settings", plan: Plan, wait_s: float) -> list[Given]:
    """Publish the orders, chunk by chunk, and gather what is said of them.

    Where nobody says anything to a chunk, the rest is given without waiting: no worker runs.
    """
    from confluent_kafka import KafkaException

    from enrichment.cli.jobs_read import partitions_of
    from enrichment.stream.job_orders import Answers, publish
    from enrichment.stream.reviews import UnwrittenError
    from enrichment.stream.topics import CHANGES, JOB_EVENTS, ORDERS
    from enrichment.wiring.clients import kafka_config

    partitions_of(settings, ORDERS)  # says how to create it where it is not there
    partitions_of(settings, CHANGES)
    client = kafka_config(settings, "jobs")
    framing = framing_or_fail(settings, ORDERS, CHANGES)
    changes = _changes_of(settings, plan)
    try:
        if wait_s <= 0:
            publish(client, plan.orders, framing, changes.values())
            return [Given(order=order, answer=None) for _, order in plan.orders]
        with Answers(client, partitions_of(settings, JOB_EVENTS)) as answers:
            return _in_chunks(client, framing, answers, plan.orders, changes, wait_s)
    except UnwrittenError as error:
        fail(str(error))
    except KafkaException as error:
        fail(f"Kafka at {settings.kafka_bootstrap} does not answer: {error.args[0].str()}")


def _in_chunks(
    client: dict[str, Any],
    framing: "Framing",
    answers: "Answers",
    orders: Sequence[Placed],
    changes: dict[str, "Change"],
    wait_s: float,
) -> list[Given]:
    """Give them; of an order that is put off and given again the first is the change."""
    from enrichment.stream.job_orders import publish

    left = list(orders)
    given: list[Given] = []
    give_up_s = time.monotonic() + wait_s
    with progress("orders", len(orders)) as show:
        while left:
            chunk, left = left[:CHUNK], left[CHUNK:]
            new = [changes.pop(order.job_id, None) for _, order in chunk]
            publish(client, chunk, framing, [one for one in new if one is not None])
            patience_s = max(0.0, give_up_s - time.monotonic())
            heard = answers.heard([order.order_id for _, order in chunk], patience_s)
            told = [
                (partition, Given(order=order, answer=heard.get(order.order_id)))
                for partition, order in chunk
            ]
            if any(one.result == "done" for _, one in told):
                give_up_s = time.monotonic() + wait_s  # as long as it goes on
            waiting = time.monotonic() < give_up_s
            again = [each for each in told if waiting and each[1].result == "put off"]
            given += [one for _, one in told if not waiting or one.result != "put off"]
            left = [(partition, _later(one.order)) for partition, one in again] + left
            if again:
                time.sleep(AGAIN_S)
            show(len(given))
    return given


def _changes_of(settings: "Settings", plan: Plan) -> dict[str, "Change"]:
    """The changes that the orders are, by job."""
    import msgspec

    from enrichment.cli.changes_read import Recorder
    from enrichment.records import ChangeKind

    first = plan.orders[0][1]
    recorder = Recorder(settings, by=first.issued_by, reason=first.reason)
    return {
        order.job_id: recorder.change(
            ChangeKind.ORDER,
            order.pipeline,
            order.job_id,
            before=plan.stood.get(order.job_id, ""),
            # The micro-batch that a retry brings is on its own topic.
            after=msgspec.json.encode(msgspec.structs.replace(order, micro_batch=None)).decode(),
        )
        for _, order in plan.orders
    }


def _later(order: "JobOrder") -> "JobOrder":
    """The same order given anew."""
    import msgspec

    now_ms = max(time.time_ns() // 1_000_000, order.issued_at_ms + 1)
    return msgspec.structs.replace(order, order_id=uuid.uuid4().hex, issued_at_ms=now_ms)


def print_given(plan: Plan, given: list[Given], wait_s: float, *, as_json: bool) -> NoReturn:
    """Say what became of the orders, and end the command with the code for it."""
    counts: dict[str, int] = {}
    for one in given:
        counts[one.result] = counts.get(one.result, 0) + 1
    if as_json:
        told = {
            "order": plan.kind.value,
            "counts": counts,
            "jobs": [
                {
                    "job_id": one.order.job_id,
                    "order_id": one.order.order_id,
                    "result": one.result,
                    "state": one.answer.state_after.value if one.answer else "",
                    "detail": one.answer.detail if one.answer else "",
                }
                for one in given
            ],
            "left_out": plan.left_out,
            "more": plan.more,
        }
        typer.echo(json.dumps(told, indent=2))
    else:
        _print_lines(plan, given, wait_s)
    if counts.get("refused") or counts.get("put off"):
        raise typer.Exit(EXIT_REFUSED)
    raise typer.Exit(EXIT_UNHEARD if counts.get("unheard") and wait_s > 0 else 0)


def _print_lines(plan: Plan, given: list[Given], wait_s: float) -> None:
    done = [one for one in given if one.result == "done"]
    for one in done[:SHOWN_MAX]:
        assert one.answer is not None  # noqa: S101  # or it would not be done
        typer.echo(f"{plan.kind.value}: {one.order.job_id} is {one.answer.state_after.value}")
    if len(done) > SHOWN_MAX:
        typer.echo(f"... and {len(done) - SHOWN_MAX} more")
    for one in given:
        if one.answer is not None and one.result != "done":
            typer.secho(
                f"{one.result}: {one.order.job_id}: {one.answer.detail}", fg=typer.colors.YELLOW
            )
    unheard = [one.order for one in given if one.result == "unheard"]
    if unheard and wait_s <= 0:
        typer.echo(f"{len(unheard)} orders are written: `enrichment jobs show` tells what becomes")
    elif unheard:
        pipelines = ", ".join(sorted({order.pipeline for order in unheard}))
        typer.secho(
            f"{len(unheard)} orders are written, and no worker has heard them in {wait_s:g} s: is "
            f"`enrichment sample --pipeline {pipelines}` running? The next one to start will hear "
            f"them; the first is about {unheard[0].job_id}",
            fg=typer.colors.YELLOW,
        )
    for job_id, why in list(plan.left_out.items())[:SHOWN_MAX]:
        typer.echo(f"not {job_id}: {why}")
    if plan.more:
        typer.echo(f"{plan.more} beyond the limit are left for later: --limit")
