"""What commands share that write to `enrichment.control`: the topic, and who follows it."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import typer

from enrichment.cli.app import fail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from enrichment.pipelines import Pipeline
    from enrichment.records import Control, Path
    from enrichment.rollout.instruct import Standing, Written
    from enrichment.settings import Settings
    from enrichment.stream.framing import Framing

T = TypeVar("T")

EXIT_MISUSE: Final = 2
PATHS: Final = ("quantum", "classical")
MIRRORED_S: Final = 3.0  # the promise is two seconds; a projector that is not there never answers


def ring_path(said: str) -> "Path":
    """The ring path of that name, or the end."""
    import difflib

    from enrichment.records import Path

    if said == "heuristic":
        fail("the heuristic is always let in: it is what is left", EXIT_MISUSE)
    if said not in PATHS:
        near = difflib.get_close_matches(said, PATHS, n=1)
        hint = f"did you mean {near[0]}?" if near else "wanted quantum or classical"
        fail(f"there is no path '{said}'; {hint}", EXIT_MISUSE)
    return Path(said)


def say_why(reason: str) -> None:
    """The end where no reason is given."""
    if not reason.strip():
        fail("say why with --reason: whoever finds it in force will want to know", EXIT_MISUSE)


def canary_share(pipeline: "Pipeline", share: float | None) -> float:
    """The share that is asked for, or the pipeline file's; the end where that is none."""
    wanted = pipeline.rollout.canary_share if share is None else share
    if not 0 < wanted <= 1:
        given = "canary_share in the pipeline's file" if share is None else "--share"
        fail(f"{given} is {wanted:g}: a canary wants a share above 0, up to 1", EXIT_MISUSE)
    return wanted


def on_kafka(settings: "Settings", call: Callable[[dict[str, Any], int], T]) -> T:
    """What the call gives for our client's settings and the topic's partition count, or the end."""
    from confluent_kafka import KafkaException

    from enrichment.rollout.control import MalformedControlError
    from enrichment.rollout.instruct import OvertakenError, UnrecordedError
    from enrichment.stream.topics import CONTROL
    from enrichment.wiring.clients import kafka_config, partition_count
    from enrichment.wiring.errors import ConfigurationError

    try:
        return call(kafka_config(settings, "control"), partition_count(settings, CONTROL))
    except ConfigurationError as error:
        fail(str(error), EXIT_MISUSE)
    except KafkaException as error:
        fail(f"Kafka at {settings.kafka_bootstrap} does not answer: {error.args[0].str()}")
    except (MalformedControlError, UnrecordedError) as error:
        fail(str(error), EXIT_MISUSE)
    except OvertakenError as error:
        fail(f"nothing was changed: {error}")
    except TimeoutError as error:
        fail(f"{CONTROL} cannot be read to its end: {error}")


def framing_or_fail(settings: "Settings") -> "Framing":
    """What stands before the record where there is a schema registry."""
    from enrichment.stream.topics import CONTROL
    from enrichment.wiring.clients import framing_of
    from enrichment.wiring.errors import ConfigurationError

    try:
        return framing_of(settings, None, CONTROL)
    except ConfigurationError as error:
        fail(str(error), EXIT_MISUSE)


def standing_or_fail(settings: "Settings") -> "Standing":
    """What stands on the control topic now, or the end."""
    from enrichment.rollout import instruct

    return on_kafka(settings, instruct.standing)


def mirrored(
    settings: "Settings", pipeline: str, controls: "Iterable[Control]"
) -> dict[str, float | None] | None:
    """Seconds until the feature cache said so too; None for all pipelines, which are not asked."""
    from enrichment.feature.connection import is_cluster
    from enrichment.feature.mirror import mirrored_after_s
    from enrichment.feature.store import Layout
    from enrichment.rollout.control import EVERY, in_force
    from enrichment.wiring.clients import open_redis

    if pipeline == EVERY:
        return None
    cache = open_redis(settings, 1.0)
    key = Layout(pipeline, cluster=is_cluster(cache)).control()
    wanted = in_force(pipeline, controls)
    try:
        after_s = mirrored_after_s(lambda: cache.get(key), wanted, MIRRORED_S)
    finally:
        cache.close()
    return {"after_s": None if after_s is None else round(after_s, 3)}


def tell(
    what: str,
    control: "Control | None",
    written: "Written",
    seen: dict[str, float | None] | None,
    *,
    replaced: "Control | None" = None,
    as_json: bool,
) -> None:
    """What was written, where it stands, and where it is in force; `seen` is `mirrored`'s."""
    from enrichment.rollout.words import in_words
    from enrichment.stream.topics import CONTROL

    pipeline = written.key.partition("|")[0]
    if as_json:
        told = {
            "done": what,
            "control": None if control is None else plain(control),
            "replaced": None if replaced is None else plain(replaced),
            "written": {
                "topic": CONTROL,
                "key": written.key,
                "partition": written.partition,
                "offset": written.offset,
            },
            "change_id": written.change_id,
            "unrecorded": written.unrecorded,
            "mirrored": seen,
        }
        typer.echo(json.dumps(told, indent=2))
        return
    if control is not None:
        typer.echo(f"{what}: {in_words(control)}, of pipeline {pipeline}")
        typer.echo(f"by {control.issued_by}: {control.reason}")
    if replaced is not None:
        typer.echo(f"in place of: {in_words(replaced)}, by {replaced.issued_by}: {replaced.reason}")
    typer.echo(f"written to {CONTROL}[{written.partition}] at {written.offset}, as {written.key}")
    if written.change_id:
        typer.echo(f"on record as change {written.change_id}")
    else:
        typer.secho(f"not on record: {written.unrecorded}", err=True, fg=typer.colors.YELLOW)
    typer.echo("in force within 2 s in every process that follows the topic")
    if seen is None:
        typer.echo("for readers of the feature cache: with each pipeline's projector")
    elif seen["after_s"] is None:
        typer.secho(
            f"for readers of the feature cache: not yet after {MIRRORED_S:.0f} s; is "
            f"`enrichment project --pipeline {pipeline}` running?",
            fg=typer.colors.YELLOW,
        )
    else:
        typer.echo(f"for readers of the feature cache: after {seen['after_s']:.2f} s")


def plain(control: "Control") -> dict[str, Any]:
    """A control record for programs."""
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(control)
    return plain
