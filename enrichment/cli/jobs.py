"""`enrichment jobs list | show`: the ledger and the history of a job, read from the topics."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from enrichment.cli.app import JsonOption, fail, settings_of

if TYPE_CHECKING:
    from enrichment.records.job import Job, JobEvent
    from enrichment.settings import Settings

EXIT_UNKNOWN: Final = 2
READ_S: Final = 30.0


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    jobs = typer.Typer(no_args_is_help=True, help="See what has become of micro-batches.")
    jobs.command("list")(list_)
    jobs.command("show")(show)
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
    from enrichment.records.job import JobState

    known = [one.value for one in JobState]
    for name in state or ():
        if name not in known:
            fail(f"there is no state '{name}'; states: {', '.join(known)}", EXIT_UNKNOWN)
    chosen = [
        job
        for job in _ledger(settings_of(context)).values()
        if (pipeline is None or job.pipeline == pipeline)
        and (not state or job.state.value in state)
    ]
    chosen.sort(key=lambda job: (job.created_ms, job.job_id), reverse=True)
    counts: dict[str, int] = {}
    for job in chosen:
        counts[job.state.value] = counts.get(job.state.value, 0) + 1
    if as_json:
        shown = [_plain(job) for job in chosen[:limit]]
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

    Example:
      enrichment jobs show 'payments|eu|1700000000000|0'
    """
    import difflib

    settings = settings_of(context)
    ledger = _ledger(settings)
    job = ledger.get(job_id)
    if job is None:
        near = difflib.get_close_matches(job_id, ledger, n=1)
        hint = f"; the nearest is '{near[0]}'" if near else ""
        fail(f"there is no job '{job_id}' in the ledger{hint}", EXIT_UNKNOWN)
    events = _events(settings, job_id)
    if as_json:
        typer.echo(
            json.dumps({"job": _plain(job), "events": [_plain(one) for one in events]}, indent=2)
        )
        return
    for name, value in _plain(job).items():
        if name != "micro_batch" and value not in ("", 0):
            typer.echo(f"{name:<16} {value}")
    for event in events:
        line = (
            f"  +{event.at_ms - job.created_ms:>6} ms  attempt {event.attempt}  "
            f"{event.state_before.value} -> {event.state_after.value}  {event.event}"
        )
        typer.echo(line)
        if event.durations_ms:
            spent = ", ".join(f"{name} {ms:.1f}" for name, ms in event.durations_ms.items())
            typer.echo(f"             ms: {spent}")
        for problem, figures in event.differences.items():
            told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
            typer.echo(f"             {problem}: {told}")


def _ledger(settings: "Settings") -> "dict[str, Job]":
    """The newest entry of each job."""
    import msgspec

    from enrichment.records.job import Job
    from enrichment.stream.framing import unframed
    from enrichment.stream.topics import JOBS

    decoder = msgspec.json.Decoder(Job)
    jobs: dict[str, Job] = {}
    for key, value in _records(settings, JOBS, ""):
        if value is None:
            jobs.pop(key, None)
        else:
            jobs[key] = decoder.decode(unframed(value))
    return jobs


def _events(settings: "Settings", job_id: str) -> "list[JobEvent]":
    """The job's history, in order."""
    import msgspec

    from enrichment.records.job import JobEvent
    from enrichment.stream.framing import unframed
    from enrichment.stream.topics import JOB_EVENTS

    decoder = msgspec.json.Decoder(JobEvent)
    found = _records(settings, JOB_EVENTS, job_id)
    return [decoder.decode(unframed(value)) for _, value in found if value is not None]


def _records(settings: "Settings", topic: str, key: str) -> list[tuple[str, bytes | None]]:
    """Key and value of every committed record, or of those with that key."""
    from confluent_kafka import KafkaException, TopicPartition

    from enrichment.stream.to_end import read_to_end
    from enrichment.wiring import ConfigurationError, kafka_config, partition_count

    try:
        count = partition_count(settings, topic)
        everywhere = [TopicPartition(topic, number) for number in range(count)]
        records = read_to_end(kafka_config(settings, "jobs"), everywhere, READ_S)
    except ConfigurationError as error:
        fail(str(error), EXIT_UNKNOWN)
    except KafkaException as error:
        fail(f"Kafka at {settings.kafka_bootstrap} does not answer: {error.args[0].str()}")
    pairs = (((record.key() or b"").decode(), record.value()) for record in records)
    return [pair for pair in pairs if not key or pair[0] == key]


def _plain(record: Any) -> dict[str, Any]:
    """The record as JSON would have it, without the payload."""
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(record)
    plain.pop("micro_batch", None)
    return plain


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
