"""`enrichment reviews list | answer`: what waits for an analyst, and what they say of it."""

import difflib
import json
import time
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from enrichment.cli.app import JsonOption, PipelineOption, fail, pipeline_or_fail, settings_of

if TYPE_CHECKING:
    from enrichment.pipelines import Pipeline
    from enrichment.settings import Settings
    from enrichment.stream.reviews import Waiting

EXIT_UNKNOWN: Final = 2
NOTE_CHARACTERS_MAX: Final = 1_000  # a note travels with the outcome: a remark, not a file


class ReviewVerdict(Enum):
    """What an analyst may find."""

    FRAUD = "fraud"
    CLEARED = "cleared"


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    reviews = typer.Typer(no_args_is_help=True, help="Events that wait for an analyst.")
    reviews.command("list")(list_)
    reviews.command("answer")(answer)
    app.add_typer(reviews, name="reviews")


def list_(
    context: typer.Context,
    pipeline: PipelineOption = "payments",
    everything: Annotated[
        bool, typer.Option("--all", help="Those that were answered, too.")
    ] = False,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List what waits for an answer, the highest score first; reasons beside it.

    Answered means that an outcome speaks of the event, whoever published it.

    Examples:
      enrichment reviews list --pipeline payments

      enrichment reviews list --all --json
    """
    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    found = _queue(settings, definition)
    chosen = [each for each in found.values() if everything or each.outcome is None]
    chosen.sort(key=lambda each: (-each.review.score, each.review.decided_at_ms))
    open_ = sum(each.outcome is None for each in found.values())
    if as_json:
        rows = [_plain(each) for each in chosen[:limit]]
        typer.echo(json.dumps({"open": open_, "all": len(found), "reviews": rows}, indent=2))
        return
    _print(chosen[:limit], definition.stream.amount_scale)
    typer.echo(f"{open_} open of {len(found)}" if found else "no reviews")


def answer(  # noqa: PLR0913, PLR0917  # each is a part of the answer
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(help="The event's id, as `reviews list` shows it.")],
    verdict: Annotated[ReviewVerdict, typer.Option(help="What you found.")],
    by: Annotated[str, typer.Option(help="Who says so: a name that others know you by.")],
    pipeline: PipelineOption = "payments",
    note: Annotated[str, typer.Option(help="Why, in a sentence.")] = "",
    entity: Annotated[
        str,
        typer.Option(help="Whom it is about: a role; default: the one that links start from."),
    ] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Replace an answer that was given before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Answer a review: an outcome on the stream's outcomes topic, in its shard's partition.

    The window stage hears of it: neighbours of a confirmed one are near a known bad from then on.

    Example:
      enrichment reviews answer p-1 --verdict fraud --by kim --note "same device as case 12"
    """
    import msgspec
    from confluent_kafka import KafkaException

    from enrichment.lab.publish import explained
    from enrichment.stream.reviews import Answer, ReviewError, UnwrittenError, outcome_of, publish
    from enrichment.stream.topics import StreamTopics
    from enrichment.wiring.clients import framing_of, kafka_config
    from enrichment.wiring.errors import ConfigurationError

    if not by.strip():
        fail("--by: wanted a name, found nothing", EXIT_UNKNOWN)
    if len(note) > NOTE_CHARACTERS_MAX:
        most = f"wanted at most {NOTE_CHARACTERS_MAX} characters"
        fail(f"--note: {most}, found {len(note)}", EXIT_UNKNOWN)
    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    found = _queue(settings, definition)
    waiting = found.get(event_id)
    if waiting is None:
        near = difflib.get_close_matches(event_id, found, n=1)
        hint = f"; the nearest is '{near[0]}'" if near else ""
        fail(f"there is no review of event '{event_id}'{hint}", EXIT_UNKNOWN)
    if waiting.outcome is not None and not again:
        said, who = waiting.outcome.kind.value, waiting.outcome.decided_by or "somebody"
        fail(f"{who} has said '{said}' of '{event_id}'; --again replaces it", EXIT_UNKNOWN)
    given = Answer(verdict=verdict.value, by=by.strip(), note=note, role=entity)
    now_ms = time.time_ns() // 1_000_000
    if waiting.outcome is not None:
        # Of two outcomes the one that was decided later stands, whatever the clocks say.
        now_ms = max(now_ms, waiting.outcome.decided_at_ms + 1)
    try:
        outcome = outcome_of(definition, waiting.review, given, now_ms=now_ms)
        framing = framing_of(settings, definition, StreamTopics(definition.name).outcomes)
        (where,) = publish(kafka_config(settings, "reviews"), definition, [outcome], framing)
    except (ReviewError, ConfigurationError) as error:
        fail(str(error), EXIT_UNKNOWN)
    except UnwrittenError as error:
        fail(str(error))
    except KafkaException as error:
        fail(f"Kafka at {settings.kafka_bootstrap}: {explained(error)}")
    if as_json:
        plain: dict[str, Any] = msgspec.to_builtins(outcome)
        place = {"topic": where.topic, "partition": where.partition, "offset": where.offset}
        typer.echo(json.dumps(plain | {"written": place}, indent=2))
        return
    at = f"{where.topic}/{where.partition}/{where.offset}"
    typer.echo(f"{outcome.kind.value}: {outcome.entity} {outcome.id}, event {event_id} ({at})")


def _queue(settings: "Settings", pipeline: "Pipeline") -> "dict[str, Waiting]":
    from confluent_kafka import KafkaException

    from enrichment.lab.publish import explained
    from enrichment.stream.reviews import ReviewError, queue
    from enrichment.wiring.clients import kafka_config

    try:
        return queue(kafka_config(settings, "reviews"), pipeline.name)
    except ReviewError as error:
        fail(str(error), EXIT_UNKNOWN)
    except (KafkaException, TimeoutError) as error:
        said = explained(error) if isinstance(error, KafkaException) else str(error)
        fail(f"Kafka at {settings.kafka_bootstrap}: {said}")


def _plain(waiting: "Waiting") -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(waiting.review)
    outcome = waiting.outcome
    return plain | {"outcome": None if outcome is None else msgspec.to_builtins(outcome)}


def _print(chosen: "list[Waiting]", amount_scale: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from enrichment.cli.columns import whole

    table = Table(
        whole("event"), "score", "level", "path", "entities", "amount", whole("reasons"), "answer"
    )
    for waiting in chosen:
        review, outcome = waiting.review, waiting.outcome
        said = "" if outcome is None else f"{outcome.kind.value} {outcome.decided_by}".strip()
        table.add_row(
            review.event_id,
            f"{review.score:.1f}",
            review.level.value,
            review.path.value,
            "\n".join(f"{role} {id_}" for role, id_ in review.entities.items()),
            f"{review.amount_minor / amount_scale:,.2f}",
            "\n".join(f"{each.contribution:+.2f} {each.term}" for each in review.reasons),
            said,
        )
    if chosen:
        Console().print(table)
