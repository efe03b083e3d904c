"""`enrichment jobs`: what has become of micro-batches, from the topics, and what is to become."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from enrichment.cli.app import JsonOption, settings_of
from enrichment.cli.jobs_explain import explain
from enrichment.cli.jobs_failing import show_failing
from enrichment.cli.jobs_filter import Filter
from enrichment.cli.jobs_order import cancel, quarantine, retry
from enrichment.cli.options import spread

if TYPE_CHECKING:
    from enrichment.records.job import Job, JobEvent


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    jobs = typer.Typer(
        no_args_is_help=True, help="See what has become of micro-batches, and steer it."
    )
    jobs.command("list")(list_)
    jobs.command("show")(show)
    jobs.command("explain")(explain)
    jobs.command("retry")(retry)
    jobs.command("cancel")(cancel)
    jobs.command("quarantine")(quarantine)
    app.add_typer(jobs, name="jobs")


@spread
def list_(
    context: typer.Context,
    *,
    wanted: Filter,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Only jobs that are set aside.")
    ] = False,
    failing: Annotated[
        bool,
        typer.Option(
            "--failing",
            help="Group failed jobs and fallbacks by how they failed: text, ids and numbers aside.",
        ),
    ] = False,
    limit: Annotated[int, typer.Option(help="At most so many, the newest first.", min=1)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs as the ledger knows them, the newest first, and count them by state.

    Examples:
      enrichment jobs list --pipeline payments --since 1h

      enrichment jobs list --state failed --state timed_out --json

      enrichment jobs list --older 5m

      enrichment jobs list --failing --since 1d

      enrichment jobs list --checks --provider virtual
    """
    from enrichment.cli.jobs_read import ledger, plain

    chosen = [
        job
        for job in wanted.chosen(ledger(settings_of(context)).values())
        if job.quarantined or not quarantined
    ]
    chosen.sort(key=lambda job: (job.created_ms, job.job_id), reverse=True)
    if failing:
        show_failing(chosen, limit, as_json=as_json)
        return
    counts: dict[str, int] = {}
    for job in chosen:
        counts[job.state.value] = counts.get(job.state.value, 0) + 1
    if as_json:
        shown = [plain(job) for job in chosen[:limit]]
        typer.echo(json.dumps({"counts": counts, "jobs": shown}, indent=2))
        return
    _print_jobs(chosen[:limit])
    said = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    typer.echo(f"{len(chosen)} jobs: {said}" if chosen else "no jobs")


def show(
    context: typer.Context,
    job_id: Annotated[
        str,
        typer.Argument(help="The job's id: its micro-batch's, and for its check `|check` added."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Show one job: its entry in the ledger, and every transition it went through.

    An unknown id ends with exit code 2 and the nearest one that there is.

    Example:
      enrichment jobs show 'payments|eu|1700000000000|0'
    """
    from enrichment.cli.jobs_read import history, no_such_job, orders, placed, plain
    from enrichment.sample.estimate import check_name

    settings = settings_of(context)
    known = placed(settings)
    if job_id not in known:
        no_such_job(job_id, known)
    partition, job = known[job_id]
    # Before the history, so that what was heard meanwhile is no order that nobody has heard.
    given = orders(settings, job_id, partition)
    events = history(settings, job_id, partition)
    answered = {event.order_id for event in events}
    waiting = [
        order
        for order in given
        if order.order_id not in answered and order.issued_at_ms > job.ordered_ms
    ]
    if as_json:
        told = {
            "job": plain(job),
            "events": [plain(one) for one in events],
            "orders": [plain(one) for one in given],
            "unheard": [one.order_id for one in waiting],
        }
        typer.echo(json.dumps(told, indent=2))
        return
    for name, value in plain(job).items():
        if value not in ("", 0):
            shown = f"{value}  {_time(value)}" if name.endswith("_ms") else value
            typer.echo(f"{name:<16} {shown}")
    typer.echo("" if events else "no history: sampling.job-events no longer has it")
    for event in events:
        _print_event(event, job.created_ms)
    for order in waiting:
        typer.secho(
            f"ordered, and not heard by a worker: {order.order.value} by {order.issued_by} at "
            f"{_time(order.issued_at_ms)}: {order.reason}",
            fg=typer.colors.YELLOW,
        )
    check = check_name(job_id)
    if check in known:
        typer.echo(f"\nspot-checked by {known[check][1].provider}: enrichment jobs show '{check}'")
    if any(event.seeds for event in events):
        typer.echo(f"\nfrom micro-batch to features: enrichment jobs explain '{job_id}'")


def _print_event(event: "JobEvent", created_ms: int) -> None:
    """One transition, and what it brought."""
    change = f"{event.state_before.value} -> {event.state_after.value}"
    if event.state_before is event.state_after:
        change = event.state_after.value
    typer.echo(
        f"  +{event.at_ms - created_ms:>6} ms  attempt {event.attempt}  {change}  {event.event}"
    )
    if event.detail:
        typer.echo(f"             {event.detail}")
    if event.withheld:
        typer.echo(f"             not published: {event.withheld}")
    if event.durations_ms:
        spent = ", ".join(f"{name} {ms:.1f}" for name, ms in event.durations_ms.items())
        typer.echo(f"             ms: {spent}")
    for problem, figures in event.differences.items():
        told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        typer.echo(f"             {problem}: {told}")


def _time(at_ms: int) -> str:
    """A time in milliseconds since 1970 for people."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _print_jobs(jobs: "list[Job]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from enrichment.cli.columns import whole

    ids, states, details = whole("job"), whole("state", 9), whole("detail")
    table = Table(
        ids, states, "attempt", "provider", "problems", "took", details,
        # So that all of it fits on a terminal 80 wide.
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    for job in jobs:
        took = f"{job.updated_ms - job.created_ms} ms"
        table.add_row(
            job.job_id,
            ", ".join(
                word
                for word, said in (
                    (job.state.value, True),
                    ("quarantined", job.quarantined),
                    ("check", job.check_of),
                )
                if said
            ),
            str(job.attempt),
            job.provider,
            str(job.problems),
            took,
            job.detail[:60],
        )
    if jobs:
        Console().print(table)
