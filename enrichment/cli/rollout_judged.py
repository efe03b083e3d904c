"""What the gate said, as a table or as JSON."""

import json
from typing import TYPE_CHECKING

import typer

from enrichment.cli.instructing import plain

if TYPE_CHECKING:
    from enrichment.records import Control
    from enrichment.rollout.judgement import Judgement


def print_judgement(judgement: "Judgement", *, override: bool) -> None:
    """Each check, and the conclusion."""
    from rich.console import Console
    from rich.table import Table

    evidence = judgement.evidence
    if evidence is not None:
        typer.echo(
            f"evidence {evidence.evidence_id}, look {evidence.look} of {len(evidence.looks)}, "
            f"experiment {evidence.experiment_id}: {evidence.counts.matured:,} events, "
            f"{evidence.counts.bad:,} bad; intervals at {evidence.level:.2%}"
        )
    table = Table("check", "figure", "interval", "demanded", "verdict", "")
    colours = {"passed": "green", "failed": "red", "not_enough": "yellow", "not_applicable": "dim"}
    for one in judgement.checks:
        verdict = one.verdict.value
        interval = "" if one.low is None else f"{_number(one.low)} to {_number(one.high)}"
        table.add_row(
            one.name,
            _number(one.figure),
            interval,
            one.demanded,
            f"[{colours[verdict]}]{verdict.replace('_', ' ')}[/]",
            one.sentence,
        )
    Console().print(table)
    for job_id, why in judgement.proofs.not_reproduced.items():
        typer.echo(f"not the same: {job_id}: {why}")
    typer.secho(
        judgement.conclusion, fg=typer.colors.GREEN if judgement.passed else typer.colors.RED
    )
    if override:
        said = (
            "--override was not needed: nothing is marked"
            if judgement.passed
            else "AGAINST THE GATE: whatever it serves is marked as an override"
        )
        typer.secho(said, err=True, fg=typer.colors.YELLOW, bold=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def print_json(
    judgement: "Judgement", control: "Control | None", *, override: bool, dry_run: bool
) -> None:
    """The same for programs."""
    import msgspec

    told = {
        "judgement": msgspec.to_builtins(judgement),
        "control": None if control is None else plain(control),
        "override": override and not judgement.passed,
        "dry_run": dry_run,
    }
    typer.echo(json.dumps(told, indent=2))
