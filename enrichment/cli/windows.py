"""`enrichment window replay`: micro-batches derived again, and held against the log of closes."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, PipelineOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.progress import progress

if TYPE_CHECKING:
    from enrichment.lab.windows import Replayed

EXIT_MISUSE: Final = 2


def replay(
    context: typer.Context,
    pipeline: PipelineOption = "payments",
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="Windows that start at or after this: a time like 2026-11-25T03:00:00Z, or "
            "milliseconds since 1970. Without it, all that there are.",
        ),
    ] = "",
    end: Annotated[str, typer.Option("--to", help="Windows that start before this.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Derive micro-batches again from the digests and the log of closes, and compare every hash.

    Nothing is published. A close whose digests are no longer all there is counted as incomplete.
    Problems may come out otherwise where an outcome came late or a worker started again: they are
    counted apart. Exit codes: 0 every hash is the same, 1 one is not or there was nothing to
    compare, 2 not understood.

    Examples:
      enrichment window replay --pipeline payments

      enrichment window replay -p payments --from 2026-11-25T03:00:00Z --to 2026-11-25T04:00:00Z
    """
    import msgspec
    from confluent_kafka import KafkaException

    from enrichment.lab.publish import explained
    from enrichment.lab.windows import replay_windows
    from enrichment.stream.topics import DIGESTS
    from enrichment.wiring.clients import kafka_config, partition_count
    from enrichment.wiring.errors import ConfigurationError
    from enrichment.wiring.stages import check_stages

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    from_ms, to_ms = _time("--from", start, 0), _time("--to", end, 2**62)
    if from_ms >= to_ms:
        fail("--from must lie before --to", EXIT_MISUSE)
    started_s = time.monotonic()
    try:
        check_stages(definition, "window")
        with progress("replaying digests", None) as advance:
            done = replay_windows(
                kafka_config(settings, "window-replay"),
                definition,
                partition_count(settings, DIGESTS),
                from_ms=from_ms,
                to_ms=to_ms,
                on_progress=lambda so_far: advance(so_far.digests),
            )
    except ConfigurationError as error:
        fail(str(error), EXIT_MISUSE)
    except KafkaException as error:
        fail(explained(error))
    except (TimeoutError, msgspec.MsgspecError) as error:
        fail(str(error))
    _print(done, time.monotonic() - started_s, as_json=as_json)
    if done.different or done.conflicts:
        fail(
            f"{done.different + done.conflicts:,} of {done.closes:,} closes are not what they were"
        )
    if not done.same:
        fail("nothing to compare: no logged close has all of its digests")


def _time(option: str, text: str, otherwise: int) -> int:
    from enrichment.rollout.words import time_of

    if not text:
        return otherwise
    try:
        return time_of(text, time.time_ns() // 1_000_000)
    except ValueError as error:
        return fail(f"{option}: {error}", EXIT_MISUSE)


def _print(done: "Replayed", took_s: float, *, as_json: bool) -> None:
    counts = {
        "closes": done.closes,
        "same": done.same,
        "different": done.different,
        "conflicts": done.conflicts,
        "incomplete": done.incomplete,
        "other_problems": done.other_problems,
        "digests": done.digests,
        "seconds": round(took_s, 1),
    }
    if as_json:
        shown = [
            {
                "micro_batch_id": one.micro_batch.micro_batch_id,
                "logged": one.micro_batch.content_hash,
                "derived": one.content_hash,
            }
            for one in done.shown
        ]
        typer.echo(json.dumps(counts | {"shown": shown}, indent=2))
        return
    for name, count in counts.items():
        typer.echo(f"{name.replace('_', ' '):15} {count:>12,}")
    for one in done.shown:
        batch = one.micro_batch
        typer.echo(f"{batch.micro_batch_id}: logged {batch.content_hash}, now {one.content_hash}")
