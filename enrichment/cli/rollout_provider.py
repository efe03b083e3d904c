"""`enrichment rollout provider`: who computes, and who checks one job in so many."""

import difflib
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.instructing import (
    EXIT_MISUSE,
    framing_or_fail,
    mirrored,
    on_kafka,
    say_why,
    standing_or_fail,
    tell,
)
from enrichment.cli.who import By, login

if TYPE_CHECKING:
    from enrichment.pipelines import Pipeline
    from enrichment.records import Compute
    from enrichment.rollout.instruct import Standing
    from enrichment.settings import Settings

REMOTE: Final = ("google", "ionq")
"""What has to be configured; the others are on this machine."""

EVERY_MAX: Final = 1_000_000
"""One job in a million is a week's work of a busy stream: more is a slip of the finger."""


def register(group: typer.Typer) -> None:
    """Add the verb to `enrichment rollout`."""
    group.command("provider")(provider)


def provider(  # noqa: PLR0913, PLR0917  # one for each option
    context: typer.Context,
    pipeline: Annotated[
        str, typer.Option("--pipeline", "-p", help="A pipeline by name. Never guessed.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why: it is asked for, and kept.")],
    name: Annotated[
        str,
        typer.Argument(
            help="The provider that computes jobs from now on; the pipeline file's own takes back "
            "what was said here. Without it that stays as it is.",
        ),
    ] = "",
    check: Annotated[
        str, typer.Option("--check", help="Have jobs computed by this provider, too, to compare.")
    ] = "",
    every: Annotated[
        int, typer.Option("--every", help="One job in so many.", min=0, max=EVERY_MAX)
    ] = 0,
    no_check: Annotated[bool, typer.Option("--no-check", help="Check no more.")] = False,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="Write it though the provider is not configured here: workers may have what is "
            "missing. Those that do not stay with the pipeline's file, and say so.",
        ),
    ] = False,
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Say who computes new jobs, and who checks one in so many against the simulator.

    Jobs that have begun stay where they are. What a check finds is recorded with its job and never
    used: `enrichment jobs list --checks`.

    Exit codes: 0 written, 1 Kafka did not take it, 2 not understood, or a provider is unknown or
    not configured.

    Examples:
      enrichment rollout provider virtual -p payments --reason "how noise feels"

      enrichment rollout provider -p payments --check virtual --every 12 --reason "week 48"

      enrichment rollout provider qsim -p payments --no-check --reason "back to the file"
    """
    from enrichment.records import Compute
    from enrichment.rollout.control import COMPUTE, control_key

    settings = settings_of(context)
    say_why(reason)
    if bool(check) is not bool(every) or (check and no_check):
        fail("a check is --check PROVIDER and --every N, its end --no-check", EXIT_MISUSE)
    if not (name or check or no_check):
        fail("say a provider, --check PROVIDER --every N, or --no-check", EXIT_MISUSE)
    definition = pipeline_or_fail(pipeline, settings)
    for one in (name, check):
        if one:
            _refuse_unusable(settings, definition, one, anyway=anyway)
    found = standing_or_fail(settings)
    standing = found.controls.get(control_key(definition.name, COMPUTE))
    before = (standing.compute if standing is not None else None) or Compute()
    after = _changed(before, definition, name, (check, every), no_check=no_check)
    _write(settings, definition.name, after, found, (by, reason.strip()), as_json=as_json)


def _changed(
    before: "Compute", pipeline: "Pipeline", name: str, check: tuple[str, int], *, no_check: bool
) -> "Compute":
    """What is to be in force, of what is and what the options say."""
    import msgspec

    after = before
    if name:
        # What the file says anyway need not be said again: then its next word counts.
        said = "" if name == pipeline.sampling.provider else name
        after = msgspec.structs.replace(after, provider=said)
    if check[0] or no_check:
        after = msgspec.structs.replace(after, check_provider=check[0], check_every=check[1])
    return after


def _refuse_unusable(
    settings: "Settings", pipeline: "Pipeline", name: str, *, anyway: bool
) -> None:
    """End the command for a provider that there is not, or that cannot be asked from here."""
    from enrichment.provider import PROVIDERS

    if name not in PROVIDERS:
        near = difflib.get_close_matches(name, PROVIDERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        known = ", ".join(PROVIDERS)
        fail(f"there is no provider '{name}'{hint} (there are {known})", EXIT_MISUSE)
    missing = _missing(settings, pipeline, name)
    if not missing:
        return
    if not anyway:
        fail(f"{missing}; with --anyway it is written all the same", EXIT_MISUSE)
    typer.secho(f"not usable from here: {missing}", err=True, fg=typer.colors.YELLOW)


def _missing(settings: "Settings", pipeline: "Pipeline", name: str) -> str:
    """What the provider lacks before it could be asked with these settings, or ""."""
    if name not in REMOTE:
        return ""
    from enrichment.provider import open_provider
    from enrichment.provider.pool import Pool
    from enrichment.wiring.clock import now_ms
    from enrichment.wiring.money import price_per_shot
    from enrichment.wiring.providers import provider_options

    options = provider_options(settings)[name]
    try:
        # Nothing is connected and no process started: what it needs is only looked at.
        open_provider(name, Pool(workers=1), now_ms=now_ms, options=options).close()
    except ValueError as error:
        return str(error)
    if price_per_shot(settings, name) and not pipeline.budget.day:
        return f"{name} has a price, and {pipeline.name} no [budget] day in its file to pay it from"
    return ""


def _write(
    settings: "Settings",
    pipeline: str,
    compute: "Compute",
    found: "Standing",
    said: tuple[str, str],
    *,
    as_json: bool,
) -> None:
    """Put it in force, or lift what stands where nothing is left of it, and tell where it is."""
    from enrichment.records import Compute, Control
    from enrichment.rollout import instruct
    from enrichment.rollout.control import COMPUTE, control_key

    key, who, reason = control_key(pipeline, COMPUTE), said[0] or login(), said[1]
    replaced, standing = found.controls.get(key), dict(found.controls)
    control: Control | None = None
    framing = framing_or_fail(settings)
    if compute == Compute():
        if replaced is None:
            fail(f"nothing is in force for {pipeline} beside its file", EXIT_MISUSE)
        del standing[key]
        written = on_kafka(
            settings,
            lambda kafka, count: instruct.lift(
                kafka, key, count, by=who, reason=reason, framing=framing
            ),
        )
        what, shown, replaced = "lifted", replaced, None
    else:
        control = shown = Control(
            pipeline=pipeline,
            name=COMPUTE,
            issued_at_ms=time.time_ns() // 1_000_000,
            issued_by=who,
            reason=reason,
            compute=compute,
        )
        standing[key] = control
        written = on_kafka(
            settings, lambda kafka, count: instruct.instruct(kafka, control, count, framing)
        )
        what = "written"
    seen = mirrored(settings, pipeline, standing.values())
    tell(what, shown, written, seen, replaced=replaced, as_json=as_json)
