"""`enrichment simulate | replay`: streams to feed the service with."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enrichment.cli.app import JsonOption, PipelineOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.progress import progress

if TYPE_CHECKING:
    from enrichment.lab.scenario import SimulationSettings


def register(app: typer.Typer) -> None:
    """Add the two commands."""
    app.command("simulate")(simulate)
    app.command("replay")(replay)


def simulate(  # noqa: PLR0913, PLR0917  # each is an option of the stream
    context: typer.Context,
    seconds: Annotated[float, typer.Option(help="Length of the stream.", min=0.1)] = 60.0,
    rate: Annotated[float, typer.Option(help="Events per second.", min=0.1)] = 2_000.0,
    seed: Annotated[
        int | None, typer.Option(help="The seed; drawn and printed where none is given.")
    ] = None,
    accounts: Annotated[int, typer.Option(help="Accounts in the population.", min=10)] = 10_000,
    rings: Annotated[int, typer.Option(help="Planted collusive rings.", min=0)] = 30,
    ring_size: Annotated[
        tuple[int, int], typer.Option(help="Fewest and most members of a ring.")
    ] = (5, 10),
    ring_strength: Annotated[
        float,
        typer.Option(help="Share of a member's payments that are the ring's.", min=0, max=1),
    ] = 0.5,
    malformed: Annotated[
        float, typer.Option(help="Share of malformed records among the events.", min=0, max=0.5)
    ] = 0.0,
    start: Annotated[
        int | None, typer.Option(help="Event time of the start in ms; default: now.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write JSON lines with labels to this file instead of Kafka."),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Write the planted rings and decoys to this file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a seeded payment stream: planted rings, decoys that look like them, late outcomes.

    To Kafka it is published as if it happened now, at its rate; to a file as fast as it is made.
    All data is simulated. The same seed and options give the same stream.

    Examples:
      enrichment simulate --seconds 60 --rate 2000

      enrichment simulate --seed 7 --seconds 600 --out payments.jsonl --truth truth.json
    """
    import secrets

    from enrichment.lab.scenario import SimulationSettings

    try:
        scenario = SimulationSettings(
            seed=secrets.randbelow(2**31) if seed is None else seed,
            seconds=seconds,
            rate_per_s=rate,
            start_ms=time.time_ns() // 1_000_000 if start is None else start,
            accounts=accounts,
            rings=rings,
            ring_size=ring_size,
            ring_strength=ring_strength,
            bad_share=malformed,
        )
    except ValueError as error:
        fail(str(error), 2)
    if truth is not None:
        import msgspec

        from enrichment.lab.simulate import ground_truth

        truth.write_bytes(msgspec.json.format(msgspec.json.encode(ground_truth(scenario))))
    written = _to_kafka(context, scenario) if out is None else _to_file(scenario, out)
    _report({"seed": scenario.seed, "start_ms": scenario.start_ms} | written, as_json=as_json)


def _to_file(scenario: "SimulationSettings", out: Path) -> dict[str, object]:
    """Write payments with their labels as JSON lines."""
    import msgspec

    from enrichment.lab.simulate import simulate as stream

    events = frauds = 0
    total = scenario.seconds * scenario.rate_per_s
    with out.open("wb") as file, progress("simulating", total) as advance:
        for simulated in stream(scenario):
            row = msgspec.to_builtins(simulated.payment) | {"is_fraud": simulated.is_fraud}
            file.write(msgspec.json.encode(row) + b"\n")
            events += 1
            frauds += simulated.is_fraud
            if events % 1_000 == 0:
                advance(events)
    return {"file": str(out), "events": events, "frauds": frauds}


def _to_kafka(context: typer.Context, scenario: "SimulationSettings") -> dict[str, object]:
    """Publish payments, malformed records and outcomes as they fall due."""
    from dataclasses import asdict

    from confluent_kafka import KafkaException

    from enrichment.lab.broadcast import broadcast
    from enrichment.lab.publish import PublishError, explained
    from enrichment.wiring.clients import kafka_config
    from enrichment.wiring.waiting import await_kafka, stop_on_signals

    settings = settings_of(context)
    stop = stop_on_signals()
    if not await_kafka(settings, stop):
        fail("stopped before Kafka answered", 130)
    client = kafka_config(settings, "simulate")
    try:
        with progress("publishing", scenario.seconds * scenario.rate_per_s) as advance:
            done = broadcast(client, scenario, stop, advance)
    except PublishError as error:
        fail(str(error))
    except KafkaException as error:
        fail(explained(error))
    return asdict(done)


def replay(  # each is an option of the replay
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet, plain or compressed.")],
    pipeline: PipelineOption = "payments",
    rate: Annotated[
        str, typer.Option(help="Events per second, 'max', or 'lockstep': window by window.")
    ] = "max",
    restart: Annotated[
        bool, typer.Option("--restart", help="Publish again what was published before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish a file's rows as events of a pipeline, its columns mapped by the pipeline's file.

    A replay that was stopped goes on where it stopped, and no event id is published twice.
    With --rate lockstep each window's events are published, and the next only when everything that
    came of them can be read from the cache: that judges the features and not a race against them.
    It needs the stages: `enrichment run --pipeline NAME`.

    Examples:
      enrichment replay ratings.csv.gz --pipeline trust --rate max

      enrichment replay cards.parquet --pipeline cards --rate lockstep
    """
    from dataclasses import asdict

    from confluent_kafka import KafkaException

    from enrichment.lab.lockstep import LockstepError
    from enrichment.lab.publish import PublishError, explained
    from enrichment.lab.replay import Replay, parse_rate
    from enrichment.lab.tables import TableError
    from enrichment.wiring.clients import kafka_config
    from enrichment.wiring.waiting import await_kafka, stop_on_signals

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    try:
        speed = parse_rate(rate)
    except ValueError as error:
        fail(f"--rate: {error}", 2)
    if not file.is_file():
        fail(f"{file}: no such file", 2)
    stop = stop_on_signals()
    if not await_kafka(settings, stop):
        fail("stopped before Kafka answered", 130)
    try:
        work = Replay(kafka_config(settings, "replay"), definition, file, restart=restart)
        with progress(f"replaying {file.name}", 1.0) as advance:
            done = work.run(speed, stop, advance)
    except (TableError, PublishError, LockstepError) as error:
        fail(str(error))
    except KafkaException as error:
        fail(explained(error))
    _report(asdict(done), as_json=as_json)
    if done.rows and done.published == 0 and not stop.is_set():
        typer.secho(
            "nothing new: every row was published before. --restart publishes them again; on local "
            "servers `enrichment down --discard` starts from nothing",
            err=True,
        )
    if stop.is_set():
        fail("stopped; the same command goes on from here", 130)


def _report(figures: dict[str, object], *, as_json: bool) -> None:
    """The outcome of a command, for people or for programs."""
    if as_json:
        import json

        typer.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        typer.echo(f"{name:>12}  {value}")
