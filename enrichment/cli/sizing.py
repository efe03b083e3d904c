"""`enrichment sizing`: how much of everything a stream takes, from measured costs."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, PipelineOption, pipeline_or_fail, settings_of

if TYPE_CHECKING:
    from enrichment.lab.sizing import Size

SHARDS: Final = 4


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sizing")(sizing)


def sizing(
    context: typer.Context,
    rate: Annotated[float, typer.Option(help="Events per second, at the peak.", min=0.1)],
    entities: Annotated[
        int, typer.Option(help="Accounts, devices and others that are seen within stale_ms.", min=1)
    ] = 100_000,
    shards: Annotated[int, typer.Option(help="Values of the shard field.", min=1)] = SHARDS,
    pipeline: PipelineOption = "payments",
    as_json: JsonOption = False,
) -> None:
    """Say how many partitions, processes, cores and how much Redis a stream is likely to take.

    From what an event was measured to cost on two cores of a virtual machine, half of each core
    left free; docs/sizing.md has the formula, and where each figure is from. It is where to begin,
    and no promise.

    Examples:
      enrichment sizing --rate 10000 --entities 1000000

      enrichment sizing --rate 100000 --entities 10000000 --shards 16 --json
    """
    from enrichment.lab.sizing import Load, size

    definition = pipeline_or_fail(pipeline, settings_of(context))
    found = size(Load(rate_per_s=rate, entities=entities, shards=shards), definition)
    if as_json:
        import json

        typer.echo(json.dumps(asdict(found)))
        return
    for name, value in _lines(found):
        typer.echo(f"{name:>22}  {value}")


def _lines(found: "Size") -> list[tuple[str, str]]:
    """What people read."""
    sampled = f"at most {found.sampler_cores_max:.2f} cores busy with "
    problems = f"{found.problems_per_s_max:.0f} problems/s"
    answers, digests = f"{found.answers_mb_per_s:.1f}", f"{found.digests_mb_per_s:.1f}"
    return [
        ("partitions of events", f"{found.event_partitions}"),
        ("enrich", f"{found.enrich_processes} processes, {found.enrich_cores:.2f} cores busy"),
        ("window", f"{found.window_processes} processes, {found.window_cores:.2f} cores busy"),
        ("sample", f"{found.sampler_processes} processes, {sampled}{problems}"),
        ("Redis", f"{found.redis_mib:,.0f} MiB"),
        ("Kafka", f"{answers} MB/s of answers, {digests} MB/s of digests"),
    ]
