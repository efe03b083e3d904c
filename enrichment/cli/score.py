"""`enrichment score`: one event's score taken apart, or many scored again and compared."""

import json
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enrichment.cli.app import JsonOption, PipelineOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.progress import progress

if TYPE_CHECKING:
    from enrichment.lab.explain import Explanation, PathShown
    from enrichment.lab.verify import Verified
    from enrichment.pipelines import Pipeline
    from enrichment.settings import Settings

RECORD_BYTES_MAX = 8 * 1024 * 1024  # twice the largest message that a topic of ours takes


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score")(score)


def score(  # noqa: PLR0913, PLR0917  # each is an option of either use
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="With --verify: enriched records as JSON lines.")
    ] = None,
    pipeline: PipelineOption = "payments",
    explain: Annotated[
        Path | None,
        typer.Option("--explain", help="Take apart this enriched record (JSON; - is stdin)."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Score records again, and compare bytes.")
    ] = False,
    from_topic: Annotated[
        bool, typer.Option("--from-topic", help="With --verify: the whole enriched topic.")
    ] = False,
    events: Annotated[
        int | None, typer.Option(help="With --verify: at most so many records.", min=1)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how an event's score comes to be, or that scores come to be the same again.

    --explain shows for each path every term's operands, transform, weight and contribution, the
    largest first; the path that serves, the level and the decision, by the table of now.
    --verify scores records from themselves and compares them byte for byte with what was written.
    Records of another table or pipeline file are counted and not compared. Exit code 1 on any
    mismatch, and where nothing could be compared.

    Examples:
      enrichment score --explain event.json --pipeline payments

      enrichment score --verify --from-topic --events 1000000
    """
    settings = settings_of(context)
    if (explain is None) == (not verify):
        fail("say either --explain EVENT.json or --verify", 2)
    definition = pipeline_or_fail(pipeline, settings)
    if explain is not None:
        if file is not None or from_topic:
            fail("--explain takes one record, and neither a file nor --from-topic", 2)
        _explain(definition, explain, as_json=as_json)
        return
    if (file is None) == (not from_topic):
        fail("say what to verify: a FILE of JSON lines or --from-topic", 2)
    _verify(settings, definition, file, events, as_json=as_json)


def _explain(pipeline: "Pipeline", path: Path, *, as_json: bool) -> None:
    from enrichment.lab.explain import ExplanationError, explain, plain

    if str(path) == "-":
        value = sys.stdin.buffer.read(RECORD_BYTES_MAX)
    elif path.is_file():
        with path.open("rb") as file:
            value = file.read(RECORD_BYTES_MAX)
    else:
        fail(f"{path}: no such file", 2)
    try:
        explanation = explain(pipeline, value)
    except ExplanationError as error:
        fail(f"{path}: {error}", 2)
    if as_json:
        typer.echo(json.dumps(plain(explanation), indent=2))
        return
    _print_explanation(explanation)


def _print_explanation(explanation: "Explanation") -> None:
    typer.echo(f"event {explanation.event_id}, table {explanation.score_version}")
    for path, shown in explanation.paths.items():
        served = ", which serves" if path == explanation.path else ""
        _print_path(f"{path}{served}", explanation.bias, shown)
    served_score = explanation.paths[explanation.path].score
    typer.echo(f"{served_score} by {explanation.path}: {explanation.level}, {explanation.decision}")
    recorded = f"the record says {explanation.recorded_score}, {explanation.recorded_decision}"
    if explanation.same_table:
        typer.echo(f"{recorded}, by this table")
    else:
        typer.secho(
            f"{recorded}, by another table: {explanation.recorded_score_version}, pipeline "
            f"{explanation.recorded_pipeline_version} (now {explanation.pipeline_version})",
            err=True,
            fg=typer.colors.YELLOW,
        )


def _print_path(title: str, bias: float, shown: "PathShown") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("term", "value", "transform", "weight", "log-odds", title=title)
    for each in shown.parts:
        term = each.term
        operands = f"{term.value} = {_number(each.value)}"
        if term.over is not None:
            operands += f"\nover {term.over} = {_number(each.over)}"
        if each.at_prior:
            operands += f"\nprior {each.quotient:g}"
        table.add_row(
            term.name,
            operands,
            f"{term.transform.value} {each.transformed:.6g}",
            f"{term.weight:g}",
            f"{each.contribution + 0.0:+.6f}",  # no minus before a zero
        )
    table.add_section()
    table.add_row("bias", "", "", "", f"{bias:+.6f}")
    table.add_row("sum", f"score {shown.score}", "", "", f"{shown.log_odds:+.6f}")
    Console(width=110).print(table)


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:g}"


def _verify(
    settings: "Settings",
    pipeline: "Pipeline",
    file: Path | None,
    events: int | None,
    *,
    as_json: bool,
) -> None:
    from confluent_kafka import KafkaException

    from enrichment.lab.evaluate import EvaluationError
    from enrichment.lab.publish import explained
    from enrichment.lab.recorded import RecordingError
    from enrichment.lab.verify import verify

    rescored: Callable[[Pipeline], Callable[[bytes], bytes]]
    rescored = import_module("enrichment.enrich.rescore").rescored
    started_s = time.monotonic()
    bar: AbstractContextManager[Callable[[float], None]] = progress("verifying", events)
    try:
        with bar as advance:
            done = verify(
                pipeline,
                rescored(pipeline),
                _records(settings, pipeline, file),
                events_max=events,
                on_progress=lambda so_far: advance(so_far.read),
            )
    except (RecordingError, EvaluationError) as error:
        fail(str(error), 2)
    except KafkaException as error:
        fail(explained(error))
    _print_verified(done, time.monotonic() - started_s, as_json=as_json)
    if done.mismatched:
        fail(f"{done.mismatched:,} of {done.compared:,} records came out differently")
    if not done.compared:
        ours = f"{pipeline.score.version} ({pipeline.version})"
        others = ", ".join(f"{score} ({version})" for score, version in done.others) or "no records"
        fail(f"nothing to compare with table {ours}, but {others}")


def _records(
    settings: "Settings", pipeline: "Pipeline", file: Path | None
) -> Iterable[tuple[str, bytes]]:
    """Records with their places, from the file or the whole topic."""
    from enrichment.lab.evaluate import committed
    from enrichment.lab.recorded import lines
    from enrichment.lab.verify import of_messages
    from enrichment.stream.topics import StreamTopics
    from enrichment.wiring.clients import kafka_config

    if file is None:
        topic = StreamTopics(pipeline.name).enriched
        return of_messages(committed(kafka_config(settings, "score"), topic))
    numbered = enumerate(lines([file], lambda _: None), 1)
    return ((f"{file}:{number}", line) for number, line in numbered)


def _print_verified(done: "Verified", seconds: float, *, as_json: bool) -> None:
    rate = done.read / seconds if seconds > 0 else 0.0
    if as_json:
        report = {
            "compared": done.compared,
            "mismatched": done.mismatched,
            "other_versions": [
                {"score_version": score, "pipeline_version": version, "records": count}
                for (score, version), count in done.others.items()
            ],
            "mismatches": [asdict(each) for each in done.shown],
            "seconds": round(seconds, 3),
            "records_per_s": round(rate),
        }
        typer.echo(json.dumps(report, indent=2))
        return
    typer.echo(f"{done.compared:,} compared, {done.mismatched:,} different, {rate:,.0f} a second")
    for (version, pipeline_version), count in done.others.items():
        typer.echo(f"{count:,} of another table, not compared: {version} ({pipeline_version})")
    for each in done.shown:
        typer.echo(f"{each.where}: event {each.event_id or 'unknown'}, byte {each.at_byte}")
        typer.echo(f"  recorded  {each.recorded}\n  rescored  {each.rescored}")
