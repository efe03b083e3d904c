"""`enrichment jobs list | show | explain`: what has become of micro-batches, from the topics."""

import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, fail, settings_of
from enrichment.cli.jobs_explain import explain

if TYPE_CHECKING:
    from enrichment.records.job import Job, JobEvent

EXIT_UNKNOWN: Final = 2


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    jobs = typer.Typer(no_args_is_help=True, help="See what has become of micro-batches.")
    jobs.command("list")(list_)
    jobs.command("show")(show)
    jobs.command("explain")(explain)
    app.add_typer(jobs, name="jobs")


def list_(
    context: typer.Context,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="Only jobs of this pipeline.")
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            help="Only jobs in this state, such as pending, succeeded or fallback_complete; may be "
            "given several times.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest first.", min=1)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs as the ledger knows them, the newest first, and count them by state.

    Examples:
      enrichment jobs list --pipeline payments

      enrichment jobs list --state failed --state timed_out --json
    """
    from enrichment.cli.jobs_read import ledger, plain
    from enrichment.records.job import JobState

    known = [one.value for one in JobState]
    for name in state or ():
        if name not in known:
            fail(f"there is no state '{name}'; states: {', '.join(known)}", EXIT_UNKNOWN)
    chosen = [
        job
        for job in ledger(settings_of(context)).values()
        if (pipeline is None or job.pipeline == pipeline)
        and (not state or job.state.value in state)
    ]
    chosen.sort(key=lambda job: (job.created_ms, job.job_id), reverse=True)
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
    job_id: Annotated[str, typer.Argument(help="The job's id, which is its micro-batch's.")],
    as_json: JsonOption = False,
) -> None:
    """Show one job: its entry in the ledger, and every transition it went through.

    An unknown id ends with exit code 2 and the nearest one that there is.

    Example:
      enrichment jobs show 'payments|eu|1700000000000|0'
    """
    from enrichment.cli.jobs_read import history, job_and_partition, plain

    settings = settings_of(context)
    job, partition = job_and_partition(settings, job_id)
    events = history(settings, job_id, partition)
    if as_json:
        typer.echo(
            json.dumps({"job": plain(job), "events": [plain(one) for one in events]}, indent=2)
        )
        return
    for name, value in plain(job).items():
        if value not in ("", 0):
            shown = f"{value}  {_time(value)}" if name.endswith("_ms") else value
            typer.echo(f"{name:<16} {shown}")
    typer.echo("" if events else "no history: sampling.job-events no longer has it")
    for event in events:
        _print_event(event, job.created_ms)
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
    from rich.console import Console
    from rich.table import Table

    table = Table("job", "state", "attempt", "provider", "problems", "took", "detail")
    for job in jobs:
        took = f"{job.updated_ms - job.created_ms} ms"
        table.add_row(
            job.job_id,
            job.state.value,
            str(job.attempt),
            job.provider,
            str(job.problems),
            took,
            job.detail[:60],
        )
    if jobs:
        Console().print(table)
