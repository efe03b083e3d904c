"""`enrichment evidence show | export`: what one experiment has shown of each path, by look."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, PipelineOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.options import spread
from enrichment.cli.progress import progress

if TYPE_CHECKING:
    from enrichment.pipelines import Pipeline
    from enrichment.records import Experiment
    from enrichment.rollout.evidence import Evidence
    from enrichment.rollout.gather import Gathered
    from enrichment.rollout.join import Experimented
    from enrichment.settings import Settings

EXIT_MISUSE: Final = 2
EXIT_NOT_REACHED: Final = 3

ExperimentOption = Annotated[
    str,
    typer.Option("--experiment", help="The experiment's id; without it, the one that is running."),
]
SinceOption = Annotated[
    str,
    typer.Option(
        "--since",
        help="What was decided since then, experiment or not: a time like 2026-11-25T03:00:00Z, or "
        "milliseconds since 1970.",
    ),
]
LookOption = Annotated[
    int | None,
    typer.Option("--look", min=1, help="This look, from 1; without it, the last one reached."),
]
NowOption = Annotated[
    bool, typer.Option("--now", help="As of now, for your eyes: the gate does not count it.")
]
RepeatOption = Annotated[
    bool,
    typer.Option(help="Sample recorded problems again, to see how far memberships move."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which evidence is asked for."""

    experiment: ExperimentOption = ""
    since: SinceOption = ""
    look: LookOption = None
    now: NowOption = False
    repeat: RepeatOption = True


def register(app: typer.Typer) -> None:
    """Add the noun and its verbs."""
    group = typer.Typer(no_args_is_help=True, help="What an experiment has shown of each path.")
    group.command("show")(spread(show))
    group.command("export")(spread(export))
    app.add_typer(group, name="evidence")


def show(
    context: typer.Context,
    which: Which,
    pipeline: PipelineOption = "payments",
    as_json: JsonOption = False,
) -> None:
    """Show what became of the events of an experiment, and what each path would have made of them.

    Outcomes are joined with what was published at the time. Figures are as of the last look that
    was reached (the pipeline file fixes them), or of now where none was; intervals are paired, by
    rings and accounts. docs/evidence.md says what each figure is.

    Exit codes: 0 shown, 1 the topics cannot be read, 2 not understood or no experiment, 3 the look
    has not been reached.

    Examples:
      enrichment evidence show --pipeline payments

      enrichment evidence show -p payments --look 1 --json

      enrichment evidence show -p cards --since 2026-11-25T03:00:00Z --now
    """
    from enrichment.cli.evidence_shown import as_plain, print_evidence

    gathered, evidence = _asked(context, pipeline, which)
    if as_json:
        typer.echo(json.dumps(as_plain(gathered, evidence), indent=2))
    else:
        print_evidence(gathered, evidence)


def export(
    context: typer.Context,
    which: Which,
    to: Annotated[Path, typer.Option("--to", help="The .json file to write; replaced if there.")],
    pipeline: PipelineOption = "payments",
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw it into this .svg or .png, too.")
    ] = None,
) -> None:
    """Write the evidence as JSON, as the gate is given it, and as a plot.

    A look has the same `evidence_id` whoever computes it. The plot shows average precision by path
    and the paired differences with the gate's margin, look by look.

    Exit codes: as of `enrichment evidence show`.

    Examples:
      enrichment evidence export --to evidence.json --plot evidence.svg

      enrichment evidence export -p payments --look 2 --to look-2.json
    """
    import msgspec

    if plot is not None and plot.suffix not in {".svg", ".png"}:
        fail(f"a plot is an .svg or a .png: {plot}", EXIT_MISUSE)
    gathered, evidence = _asked(context, pipeline, which)
    plain = msgspec.json.format(msgspec.json.encode(evidence), indent=2)
    try:
        to.write_bytes(plain + b"\n")
        typer.echo(f"wrote {to}: evidence {evidence.evidence_id}")
        if plot is not None:
            from enrichment.lab.evidence_plot import draw_evidence

            draw_evidence(_by_look(gathered, evidence), gathered.pipeline.rollout.gate.margin, plot)
            typer.echo(f"wrote {plot}")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")


def _by_look(gathered: "Gathered", evidence: "Evidence") -> "list[Evidence]":
    """The evidence of every look up to that one, and that one."""
    last = evidence.look or len(gathered.reached_ms) + 1
    return [*(gathered.at(look) for look in range(1, last)), evidence]


def _asked(context: typer.Context, pipeline: str, which: Which) -> "tuple[Gathered, Evidence]":
    """What was gathered, and the evidence that is asked for; ends the command without."""
    from confluent_kafka import KafkaException

    from enrichment.lab.publish import explained
    from enrichment.rollout.gather import GatherError, gather
    from enrichment.rollout.redraw import sampler_of
    from enrichment.wiring.clients import kafka_config

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    if which.now and which.look is not None:
        fail("give one of --look and --now", EXIT_MISUSE)
    of = _experimented(settings, definition, which)
    try:
        with progress("reading answers, outcomes and jobs", 1.0) as advance:
            gathered = gather(
                kafka_config(settings, "evidence"),
                definition,
                of,
                now_ms=time.time_ns() // 1_000_000,
                on_progress=advance,
            )
    except GatherError as error:
        fail(str(error))
    except TimeoutError as error:
        fail(f"Kafka at {settings.kafka_bootstrap} does not answer: {error}")
    except KafkaException as error:
        fail(explained(error))
    if gathered.unreadable:
        typer.secho(
            f"{gathered.unreadable:,} records cannot be read and are left out, the first of them "
            f"{gathered.first_unreadable}",
            err=True,
            fg=typer.colors.YELLOW,
        )
    reached = len(gathered.reached_ms)
    look = 0 if which.now else which.look or reached
    if look > reached:
        looks = definition.rollout.gate.looks
        wanted = f"look {look} of {len(looks)}"
        fail(f"{wanted} has not been reached: {reached} have; see --now", EXIT_NOT_REACHED)
    with progress("resampling", None):
        return gathered, gathered.at(look, sampler_of(definition) if which.repeat else None)


def _experimented(settings: "Settings", definition: "Pipeline", which: Which) -> "Experimented":
    """The experiment that is running, or what was decided since some time."""
    from enrichment.rollout.gather import experimented
    from enrichment.rollout.join import Experimented
    from enrichment.rollout.words import time_of

    if which.since:
        try:
            since_ms = time_of(which.since, time.time_ns() // 1_000_000)
        except ValueError as error:
            fail(f"--since: {error}", EXIT_MISUSE)
        return Experimented(
            since_ms=since_ms,
            pipeline_version=definition.version,
            score_version=definition.score.version,
            experiment_id=which.experiment,
        )
    running = _running(settings, definition.name)
    if running is None:
        fail(
            f"no experiment of {definition.name} is running: `enrichment experiment start`, or "
            "give --since",
            EXIT_MISUSE,
        )
    if which.experiment not in {"", running.experiment_id}:
        fail(
            f"the experiment that is running is '{running.experiment_id}': of an earlier one give "
            "--since, too",
            EXIT_MISUSE,
        )
    return experimented(running)


def _running(settings: "Settings", pipeline: str) -> "Experiment | None":
    """The experiment that `enrichment.control` names."""
    from confluent_kafka import KafkaException

    from enrichment.lab.publish import explained
    from enrichment.rollout.control import in_force
    from enrichment.rollout.instruct import standing
    from enrichment.stream.topics import CONTROL
    from enrichment.wiring.clients import kafka_config, partition_count
    from enrichment.wiring.errors import ConfigurationError

    try:
        count = partition_count(settings, CONTROL)
        found = standing(kafka_config(settings, "evidence"), count)
    except ConfigurationError as error:
        fail(str(error), EXIT_MISUSE)
    except KafkaException as error:
        fail(explained(error))
    except TimeoutError as error:
        fail(f"{CONTROL} cannot be read to its end: {error}")
    return in_force(pipeline, found.controls.values()).experiment
