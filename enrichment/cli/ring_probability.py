"""`enrichment fit --calibrate`: what memberships have been worth, fitted, judged and written."""

import json
import time
from typing import TYPE_CHECKING

import typer

from enrichment.cli.fitted import Asked, print_bins, shown_interval

if TYPE_CHECKING:
    from enrichment.lab.fit_run import Recorded
    from enrichment.lab.ring_probability import Calibrated

DIGITS = 5  # of a Brier score: bad events are rare


def calibration(asked: Asked, recorded: "Recorded") -> None:
    """Fit, write and show a calibration. Raises RecordingError, PipelineError."""
    from enrichment.lab import ring_probability_run as run
    from enrichment.lab.calibration import plot_calibration
    from enrichment.lab.score_file import next_version

    pipeline, target = asked.pipeline, asked.target
    found, file = run.made(pipeline, recorded, asked.sources, asked.draws)
    before = pipeline.probability
    version = f"{pipeline.name}-ring-1" if before is None else next_version(before.version)
    file = run.named(file, asked.version or version, now_s=time.time())
    target.write_text(run.written(file, pipeline.name), encoding="utf-8")
    if asked.plot is not None:
        curves = {f"{each.kind}, held-out events, 95 %": each.bins for each in found.judged}
        plot_calibration(curves, f"{pipeline.name}, {file.version}", asked.plot)
    if asked.as_json:
        typer.echo(json.dumps(run.plain(found, file) | {"file": str(target)}, indent=2))
        return
    _print(found)
    if asked.plot is not None:
        typer.echo(f"reliability: {asked.plot}")
    typer.echo(
        f"written: {target} ({file.version}). To use it, put it beside the pipeline's file, "
        f'whose\n[sampling] says probability = "{target.name}", and start the stages anew.'
    )


def _print(found: "Calibrated") -> None:
    """What it was fitted on and what it is worth, for people."""
    from rich.console import Console
    from rich.table import Table

    sampled = found.sampled
    typer.echo(
        f"path {sampled.path}, by {sampled.sampler}: {found.events:,} fresh memberships, "
        f"{found.positives:,} of events that turned out bad"
    )
    for kind in found.left_out:
        typer.echo(f"{kind}: too few bad events, no map")
    table = Table(
        "Brier score, held-out", *(each.kind for each in found.judged),
        title="value (95 % interval, whole groups drawn)",
    )  # fmt: skip
    rows = {
        "fresh memberships": [f"{each.events:,}" for each in found.judged],
        "bad": [f"{each.positives:,}" for each in found.judged],
        "expected bad": [f"{each.expected:,.1f}" for each in found.judged],
        "ring_probability": [shown_interval(each.brier, DIGITS) for each in found.judged],
        "the bare share": [shown_interval(each.brier_of_share, DIGITS) for each in found.judged],
        "membership, were it one": [
            shown_interval(each.brier_of_membership, DIGITS) for each in found.judged
        ],
        "gain on the bare share": [
            shown_interval(each.gain_on_share, DIGITS) for each in found.judged
        ],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    Console(width=120).print(table)
    for each in found.judged:
        print_bins(f"{each.kind}: reliability, held-out", each.bins)
