"""How jobs fail, by the shape of what is said of it: a thousand that failed alike are one line."""

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from enrichment.records import Job


def show_failing(jobs: "list[Job]", limit: int, *, as_json: bool) -> None:
    """Print the groups of those that failed or have a fallback only, the largest first.

    `jobs` are the newest first, and so is each group's example.
    """
    from enrichment.records import JobState
    from enrichment.sample.quarantine import shape_of

    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        if job.state in {JobState.FAILED, JobState.FALLBACK_COMPLETE}:
            groups.setdefault((job.state.value, shape_of(job.detail)), []).append(job)
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))[:limit]
    if as_json:
        told = [
            {
                "state": state,
                "shape": shape,
                "jobs": len(group),
                "quarantined": sum(job.quarantined for job in group),
                "shards": sorted({job.shard for job in group}),
                "newest": group[0].job_id,
                "detail": group[0].detail,
            }
            for (state, shape), group in ranked
        ]
        typer.echo(json.dumps({"failing": told}, indent=2))
        return
    if not ranked:
        typer.echo("nothing has failed")
        return
    _print(ranked)
    typer.echo("to try one of these groups again: enrichment jobs retry --like JOB --reason WHY")


def _print(ranked: "list[tuple[tuple[str, str], list[Job]]]") -> None:
    from rich.console import Console
    from rich.table import Table

    from enrichment.cli.columns import whole

    table = Table(
        "jobs", "quarantined", whole("state", 9), whole("how it failed"), whole("the newest")
    )
    for (state, shape), group in ranked:
        aside = sum(job.quarantined for job in group)
        table.add_row(str(len(group)), str(aside or ""), state, shape, group[0].job_id)
    Console().print(table)
