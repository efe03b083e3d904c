"""`enrichment reproduce JOB_ID`: a job run again, and where it differs."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, fail, pipeline_or_fail, settings_of

if TYPE_CHECKING:
    from enrichment.lineage.reproduce import Reproduction
    from enrichment.lineage.spread import Spread
    from enrichment.pipelines import Pipeline

EXIT_UNKNOWN: Final = 2
EXIT_DIFFERENT: Final = 3
EXIT_NOT_DRAWN: Final = 4

REPEATS_MAX: Final = 100
"""By then a deviation is known to some 7 %."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reproduce")(reproduce)


def reproduce(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(help="The job's id: see `enrichment jobs list`.")],
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", "-p", help="A .toml file, where the job's name finds none."),
    ] = None,
    repeats: Annotated[
        int,
        typer.Option(
            help="Run it so many times more with other seeds, and tell how far memberships move.",
            min=0,
            max=REPEATS_MAX,
        ),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run a job again and say whether it is the same, or where it differs and by how much.

    Held against the record: the micro-batch's content, derived again from its digests; its hash;
    models and circuits; every path's samples; the features and differences that they give. Nothing
    is published. Jobs of a device or a service are not run again: their samples come from no seed.

    Exit codes: 0 the same; 1 Kafka does not answer; 2 no such job or pipeline; 3 not the same;
    4 it cannot be run again, and the reason is told.

    Examples:
      enrichment reproduce 'payments|eu|1700000000000|0'

      enrichment reproduce 'payments|eu|1700000000000|0' --repeats 10 --json
    """
    import msgspec

    from enrichment.cli.jobs_read import no_such_job, placed, reading
    from enrichment.cli.progress import progress
    from enrichment.lineage.reproduce import NoSuchJobError, reproduced
    from enrichment.wiring.clock import now_ms

    settings = settings_of(context)

    def pipeline_of(name: str) -> "Pipeline":
        found = pipeline_or_fail(pipeline or name, settings)
        if found.name != name:
            fail(f"the job is of '{name}', not of '{found.name}'", EXIT_UNKNOWN)
        return found

    started_s = time.monotonic()
    with progress("drawing", 1 + repeats) as advance, reading(settings) as reader:
        try:
            done = reproduced(
                reader, pipeline_of, job_id, now_ms, repeats=repeats, on_drawn=advance
            )
        except NoSuchJobError:
            done = None
        except msgspec.MsgspecError as error:
            fail(f"a record on the way is none of ours: {error}")
    if done is None:
        no_such_job(job_id, placed(settings))
    took_s = time.monotonic() - started_s
    if as_json:
        typer.echo(json.dumps({**_plain(done), "seconds": round(took_s, 3)}, indent=2))
    else:
        _print(done, took_s)
    if done.compared is None:
        raise typer.Exit(EXIT_NOT_DRAWN)
    if not done.compared.agrees:
        raise typer.Exit(EXIT_DIFFERENT)


def _plain(done: "Reproduction") -> dict[str, object]:
    """The reproduction as JSON would have it, with what `Compared` concludes."""
    import msgspec

    told: dict[str, object] = msgspec.to_builtins(done)
    compared = done.compared
    told["agrees"] = None if compared is None else compared.agrees
    told["same_samples"] = None if compared is None else compared.same_samples
    return told


def _print(done: "Reproduction", took_s: float) -> None:
    compared = done.compared
    if compared is None:
        typer.echo(f"{done.job_id} of {done.provider}: not run again: {done.not_drawn}")
        return
    typer.echo(f"{done.job_id} of {done.provider}, run again in {took_s:.1f} s")
    for check in compared.checks:
        word = "not known" if check.same is None else "same" if check.same else "DIFFERENT"
        typer.echo(f"  {check.name:<12} {word:<10} {check.detail}")
    for changed in compared.changed:
        then, now = changed.recorded or "none", changed.now or "none"
        typer.echo(f"  changed      {changed.name}: {then} then, {now} now")
    if done.spreads:
        _print_spreads(done.spreads)
    if done.not_repeated:
        typer.secho(f"not all repeats were drawn: {done.not_repeated}", err=True)
    if compared.agrees:
        typer.echo("EQUAL to its record in everything that could be compared")
    else:
        why = "; what changed may be why" if compared.changed else ""
        typer.echo(f"NOT THE SAME as recorded{why}")


def _print_spreads(spreads: "tuple[Spread, ...]") -> None:
    from rich.console import Console
    from rich.table import Table

    draws = spreads[0].draws
    table = Table(
        "problem",
        "path",
        "mean",
        "largest",
        title=f"Membership's standard deviation over {draws} draws, the recorded one among them",
    )
    for one in spreads:
        table.add_row(one.problem_id, one.path, f"{one.mean:.4f}", f"{one.max:.4f}")
    Console().print(table)
