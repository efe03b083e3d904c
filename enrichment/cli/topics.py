"""`enrichment topics apply | diff | new`: the broker's topics and their manifests."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from enrichment.cli.app import JsonOption, fail, pipeline_or_fail, settings_of

if TYPE_CHECKING:
    from enrichment.settings import Settings
    from enrichment.stream.manifests import TopicManifest
    from enrichment.stream.schemas import Schema
    from enrichment.stream.topic_admin import TopicAdmin
    from enrichment.stream.topic_plan import Difference

EXIT_USAGE: Final = 2
EXIT_DIFFERENT: Final = 3

TopicsDir = Annotated[
    Path | None,
    typer.Option(
        "--topics-dir", help="The folder with the manifests.  [default: topics]", file_okay=False
    ),
]
Names = Annotated[list[str] | None, typer.Argument(metavar="[TOPIC]...", help="Only these topics.")]


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    topics = typer.Typer(
        no_args_is_help=True, help="Bring the broker's topics in step with their manifests."
    )
    topics.command("apply")(apply)
    topics.command("diff")(diff)
    topics.command("new")(new)
    app.add_typer(topics, name="topics")


def apply(
    context: typer.Context,
    names: Names = None,
    topics_dir: TopicsDir = None,
    allow_repartition: Annotated[
        bool,
        typer.Option(
            "--allow-repartition",
            help="Add partitions to topics that exist. Keys move to other partitions: stop the "
            "stages and let them drain first.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Create the topics that are missing, and bring the configs of the others in step.

    It can be repeated: what is in step is left alone, and so are topics without a manifest.
    A topic's configs that its manifest does not name go back to the broker's defaults. Partitions
    are never taken away, and added only with --allow-repartition; replicas are never moved.
    When one difference is refused, nothing is changed.

    With ENRICHMENT_SCHEMA_REGISTRY_URL the schema of what travels on each topic is registered too,
    as `<topic>-value` with compatibility BACKWARD.

    Exit codes: 0 in step, 1 on an error or a refusal, 2 on wrong usage.

    For example:

      enrichment topics apply

      enrichment topics apply payments.events payments.enriched
    """
    from enrichment.stream.manifests import copartition_problem
    from enrichment.stream.topic_admin import BrokerError
    from enrichment.stream.topic_plan import differences, partitions_after, refusals

    settings = settings_of(context)
    manifests, chosen = _manifests(settings, topics_dir, names)
    admin = _admin(settings)
    done: list[Difference] = []
    try:
        states = admin.states(manifest.name for manifest in manifests)
        found = differences(chosen, states)
        refused = refusals(found, allow_repartition=allow_repartition)
        if refused:
            _refuse(refused)
        if problem := copartition_problem(partitions_after(chosen, states)):
            _refuse([problem])
        admin.carry_out(found, {each.name: each for each in chosen}, done.append)
        admin.await_in_step(chosen)
    except BrokerError as error:
        _print(done, as_json=as_json, nothing="nothing was changed")
        fail(str(error))
    _print(done, as_json=as_json, nothing=f"{len(chosen)} topics are in step")
    _register_schemas(settings, [each.name for each in chosen], quiet=as_json)


def diff(
    context: typer.Context,
    names: Names = None,
    topics_dir: TopicsDir = None,
    as_json: JsonOption = False,
) -> None:
    """Say how the broker's topics differ from their manifests. Changes nothing.

    Exit codes: 0 in step, 1 on an error, 2 on wrong usage, 3 when something differs.

    For example:

      enrichment topics diff

      enrichment topics diff payments.events --json
    """
    from enrichment.stream.manifests import copartition_problem
    from enrichment.stream.topic_admin import BrokerError
    from enrichment.stream.topic_plan import differences

    settings = settings_of(context)
    manifests, chosen = _manifests(settings, topics_dir, names)
    try:
        states = _admin(settings).states(manifest.name for manifest in manifests)
    except BrokerError as error:
        fail(str(error))
    found = differences(chosen, states)
    _print(found, as_json=as_json, nothing=f"{len(chosen)} topics are in step")
    counts = {name: state.partitions for name, state in states.items()}
    if problem := copartition_problem(counts):
        typer.secho(f"partitions: {problem}", err=True, fg=typer.colors.RED)
        raise typer.Exit(EXIT_DIFFERENT)
    if found:
        raise typer.Exit(EXIT_DIFFERENT)


def new(
    context: typer.Context,
    stream: Annotated[
        str, typer.Argument(help="A pipeline by name, or its .toml file: its stream gets topics.")
    ],
    topics_dir: TopicsDir = None,
) -> None:
    """Write the five manifests of another stream, to be looked over and applied.

    A pipeline with [calls] in its file has no events: it gets that of its outcomes alone.
    They get as many partitions as `enrichment.digests` has. A manifest that exists is left alone.

    For example:

      enrichment topics new pipelines/logins.toml
    """
    from enrichment.stream import topics
    from enrichment.stream.new_manifests import render

    settings = settings_of(context)
    folder = topics_dir or settings.topics_dir
    manifests, _ = _manifests(settings, topics_dir, None)
    pipeline = pipeline_or_fail(stream, settings)
    partitions = {manifest.name: manifest.partitions for manifest in manifests}
    if topics.DIGESTS not in partitions:
        fail(f"there is no manifest of '{topics.DIGESTS}' in '{folder}', whose partitions to copy")
    outcomes = topics.StreamTopics(pipeline.name).outcomes
    for name, content in render(pipeline.name, partitions[topics.DIGESTS]).items():
        if pipeline.calls is not None and name != outcomes:
            continue
        path = folder / f"{name}.yaml"
        if name in partitions or path.exists():
            typer.echo(f"there already: {name}")
        else:
            path.write_text(content)
            typer.echo(f"written: {path}")


def _register_schemas(settings: "Settings", names: list[str], *, quiet: bool) -> None:
    """Register what travels on these topics, where there is a registry, and say so."""
    from enrichment.pipelines import PipelineError
    from enrichment.stream.registry import RegistryError
    from enrichment.wiring.clients import open_registry
    from enrichment.wiring.errors import ConfigurationError

    try:
        registry = open_registry(settings)
    except ConfigurationError as error:
        fail(str(error))
    if registry is None:
        return
    with registry:
        for name in names:
            try:
                schema = _schema_of(name, settings)
                done = None if schema is None else registry.register(name, schema)
            except PipelineError as error:
                typer.secho(f"{name}: no schema registered: {error}", err=True)
            except RegistryError as error:
                fail(str(error))
            else:
                said = "nothing of ours travels here, no schema registered"
                if done is not None:
                    said = f"schema {done.schema_id:<7} {done.subject}: BACKWARD"
                typer.echo(f"{name:<24} {said}", err=quiet)


def _schema_of(topic: str, settings: "Settings") -> "Schema | None":
    """What is registered for a topic. Raises PipelineError where its events have no pipeline."""
    from enrichment.pipelines import load
    from enrichment.stream.registry import schema_of

    stream, _, end = topic.rpartition(".")
    pipelines = {stream: load(stream, settings.pipelines_dir)} if end == "events" else {}
    return schema_of(topic, pipelines)


def _manifests(
    settings: "Settings", topics_dir: Path | None, names: list[str] | None
) -> "tuple[tuple[TopicManifest, ...], tuple[TopicManifest, ...]]":
    """All manifests, and those that were asked for; both checked, or exit code 2."""
    from enrichment.stream.manifests import (
        ManifestError,
        copartition_problem,
        load_manifests,
        select,
    )

    folder = topics_dir or settings.topics_dir
    try:
        manifests = load_manifests(folder)
        chosen = select(manifests, names or ())
    except ManifestError as error:
        fail(str(error), EXIT_USAGE)
    if problem := copartition_problem({each.name: each.partitions for each in manifests}):
        fail(f"{folder}: spec.partitions: {problem}", EXIT_USAGE)
    return manifests, chosen


def _admin(settings: "Settings") -> "TopicAdmin":
    from confluent_kafka.admin import AdminClient

    from enrichment.stream import topic_admin
    from enrichment.wiring.clients import kafka_config

    # An unreachable broker is one line of ours, not one per attempt of the client's.
    config = kafka_config(settings, "enrichment-topics") | {"log_level": 0}
    return topic_admin.TopicAdmin(
        AdminClient(config), settings.kafka_bootstrap, topic_admin.TIMEOUT_S
    )


def _refuse(lines: "list[str] | tuple[str, ...]") -> NoReturn:
    for line in lines:
        typer.secho(f"refused: {line}", err=True, fg=typer.colors.RED)
    fail("nothing was changed")


def _print(
    found: "list[Difference] | tuple[Difference, ...]", *, as_json: bool, nothing: str
) -> None:
    """Differences as JSON or as lines."""
    if as_json:
        rows = [
            {
                "topic": each.topic,
                "change": each.change.value,
                "key": each.key,
                "wanted": each.wanted,
                "found": each.found,
            }
            for each in found
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for each in found:
        wanted, was = each.wanted or "the broker's default", each.found or "none"
        typer.echo(f"{each.topic:<24} {each.change.value:<14} {each.key}: {wanted} (was {was})")
    if not found:
        typer.echo(nothing)
