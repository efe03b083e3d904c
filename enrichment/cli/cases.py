"""`enrichment cases list | show | confirm | dismiss`: rings to work on, and verdicts on them."""

import difflib
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from enrichment.cli.app import JsonOption, PipelineOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.reviews import NOTE_CHARACTERS_MAX

if TYPE_CHECKING:
    from enrichment.pipelines import Pipeline
    from enrichment.records import Case
    from enrichment.settings import Settings

EXIT_UNKNOWN: Final = 2

CaseArgument = Annotated[str, typer.Argument(help="The case's id, as `cases list` shows it.")]
ByOption = Annotated[str, typer.Option(help="Who says so: a name that others know you by.")]
NoteOption = Annotated[str, typer.Option(help="Why, in a sentence.")]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Replace a verdict that was given before.")
]


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    cases = typer.Typer(no_args_is_help=True, help="Rings to work on, and verdicts on them.")
    cases.command("list")(list_)
    cases.command("show")(show)
    cases.command("confirm")(confirm)
    cases.command("dismiss")(dismiss)
    app.add_typer(cases, name="cases")


def list_(
    context: typer.Context,
    pipeline: PipelineOption = "payments",
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status", help="Only open, confirmed or dismissed ones; may be given several times."
        ),
    ] = None,
    member: Annotated[
        str | None, typer.Option(help="Only cases of this account, or tied by this device.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List cases, those with the largest amount at risk first, and count them by status.

    Examples:
      enrichment cases list --status open

      enrichment cases list --member acc-17 --json
    """
    from enrichment.records import CaseStatus

    known = [one.value for one in CaseStatus]
    for name in status or ():
        if name not in known:
            fail(f"there is no status '{name}'; statuses: {', '.join(known)}", EXIT_UNKNOWN)
    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    chosen = [
        case
        for case in _cases(settings, definition).values()
        if (not status or case.status.value in status)
        and (member is None or member in _names(case))
    ]
    chosen.sort(key=lambda case: (-case.amount_at_risk_minor, case.case_id))
    counts = {name: sum(case.status.value == name for case in chosen) for name in known}
    if as_json:
        rows = [_plain(case) for case in chosen[:limit]]
        typer.echo(json.dumps({"counts": counts, "cases": rows}, indent=2))
        return
    _print(chosen[:limit], definition.stream.amount_scale)
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    typer.echo(f"{len(chosen)} cases: {said}" if chosen else "no cases")


def show(
    context: typer.Context,
    case_id: CaseArgument,
    pipeline: PipelineOption = "payments",
    as_json: JsonOption = False,
) -> None:
    """Show one case: its members, what ties them, and what was said of them.

    Example:
      enrichment cases show case-0123456789abcdef0123
    """
    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    case = _case_or_fail(settings, definition, case_id)
    if as_json:
        typer.echo(json.dumps(_plain(case), indent=2))
        return
    _tell(case, definition.stream.amount_scale)


def confirm(  # noqa: PLR0913, PLR0917  # each is a part of the answer
    context: typer.Context,
    case_id: CaseArgument,
    by: ByOption,
    pipeline: PipelineOption = "payments",
    note: NoteOption = "",
    again: AgainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say that a case is fraud: an outcome about each of its members, on the outcomes topic.

    The sample stage turns the case's status over, and to the window stage each member is a known
    bad account from then on.

    Example:
      enrichment cases confirm case-0123456789abcdef0123 --by kim --note "all opened in one hour"
    """
    _answer(context, case_id, pipeline, again, as_json, verdict="fraud", by=by, note=note)


def dismiss(  # noqa: PLR0913, PLR0917  # each is a part of the answer
    context: typer.Context,
    case_id: CaseArgument,
    by: ByOption,
    pipeline: PipelineOption = "payments",
    note: NoteOption = "",
    again: AgainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say that a case is no fraud: its members are cleared, and with them the case.

    It is open again when two others join them, or two of them are called fraud later.

    Example:
      enrichment cases dismiss case-0123456789abcdef0123 --by kim --note "a family of six"
    """
    _answer(context, case_id, pipeline, again, as_json, verdict="cleared", by=by, note=note)


def _answer(
    context: typer.Context, case_id: str, pipeline: str, again: bool, as_json: bool, **answer: str
) -> None:
    """Publish a verdict, and say where."""
    import msgspec
    from confluent_kafka import KafkaException

    from enrichment.lab.publish import explained
    from enrichment.stream.cases import CaseAnswer, outcomes_of
    from enrichment.stream.reviews import ReviewError, UnwrittenError, publish
    from enrichment.stream.topics import StreamTopics
    from enrichment.wiring.clients import framing_of, kafka_config
    from enrichment.wiring.errors import ConfigurationError

    given = CaseAnswer(**{**answer, "by": answer["by"].strip()})
    if not given.by:
        fail("--by: wanted a name, found nothing", EXIT_UNKNOWN)
    if len(given.note) > NOTE_CHARACTERS_MAX:
        most = f"wanted at most {NOTE_CHARACTERS_MAX} characters"
        fail(f"--note: {most}, found {len(given.note)}", EXIT_UNKNOWN)
    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    case = _case_or_fail(settings, definition, case_id)
    if case.verdict is not None and not again:
        said, who = case.verdict.kind.value, case.verdict.decided_by or "somebody"
        fail(f"{who} has said '{said}' of '{case_id}'; --again replaces it", EXIT_UNKNOWN)
    outcomes = outcomes_of(case, given, now_ms=time.time_ns() // 1_000_000)
    try:
        framing = framing_of(settings, definition, StreamTopics(definition.name).outcomes)
        written = publish(kafka_config(settings, "cases"), definition, outcomes, framing)
    except (ReviewError, ConfigurationError) as error:
        fail(str(error), EXIT_UNKNOWN)
    except UnwrittenError as error:
        fail(f"{error}; say it again with --again")
    except KafkaException as error:
        fail(f"Kafka at {settings.kafka_bootstrap}: {explained(error)}")
    if as_json:
        plain = [msgspec.to_builtins(outcome) for outcome in outcomes]
        place = {"topic": written[0].topic, "partition": written[0].partition}
        typer.echo(json.dumps({"outcomes": plain, "written": place}, indent=2))
        return
    at = f"{written[0].topic}/{written[0].partition}"
    typer.echo(f"{outcomes[0].kind.value}: {case_id}, {len(outcomes)} accounts ({at})")


def _case_or_fail(settings: "Settings", pipeline: "Pipeline", case_id: str) -> "Case":
    """The case, or a message that says where it has gone or what is nearest."""
    from enrichment.stream.cases import taken_in_by

    cases = _cases(settings, pipeline)
    if case_id not in cases:
        other = taken_in_by(cases, case_id)
        if other is not None:
            fail(f"'{case_id}' has been taken in by '{other.case_id}'", EXIT_UNKNOWN)
        near = difflib.get_close_matches(case_id, cases, n=1)
        hint = f"; the nearest is '{near[0]}'" if near else ""
        fail(f"there is no case '{case_id}' in {pipeline.name}{hint}", EXIT_UNKNOWN)
    return cases[case_id]


def _cases(settings: "Settings", pipeline: "Pipeline") -> "dict[str, Case]":
    from confluent_kafka import KafkaException

    from enrichment.lab.publish import explained
    from enrichment.stream.cases import read_cases
    from enrichment.stream.reviews import ReviewError
    from enrichment.wiring.clients import kafka_config

    try:
        return read_cases(kafka_config(settings, "cases"), pipeline.name)
    except ReviewError as error:
        fail(str(error), EXIT_UNKNOWN)
    except (KafkaException, TimeoutError) as error:
        said = explained(error) if isinstance(error, KafkaException) else str(error)
        fail(f"Kafka at {settings.kafka_bootstrap}: {said}")


def _names(case: "Case") -> set[str]:
    """Ids of members and of what ties them."""
    return {one.id for one in case.members} | {tie.id for tie in case.evidence}


def _plain(case: "Case") -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(case)
    return plain


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _print(chosen: "list[Case]", amount_scale: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from enrichment.cli.columns import whole

    table = Table(whole("case"), "status", "members", "tied by", "at risk", "last seen", "said by")
    for case in chosen:
        table.add_row(
            case.case_id,
            case.status.value,
            str(len(case.members)),
            "\n".join(f"{tie.entity} {tie.id} ({len(tie.members)})" for tie in case.evidence[:3]),
            f"{case.amount_at_risk_minor / amount_scale:,.2f}",
            _time(case.last_seen_ms),
            "" if case.verdict is None else case.verdict.decided_by,
        )
    if chosen:
        Console().print(table)


def _tell(case: "Case", amount_scale: int) -> None:
    """One case in lines."""
    lines = {
        "status": case.status.value,
        "at risk": f"{case.amount_at_risk_minor / amount_scale:,.2f}",
        "seen": f"{_time(case.first_seen_ms)} to {_time(case.last_seen_ms)}, shard {case.shard}",
        "job": case.job_id,
        "took in": ", ".join(case.merged),
    }
    if case.verdict is not None:
        said = case.verdict
        lines["verdict"] = f"{said.kind.value} by {said.decided_by}, {_time(said.decided_at_ms)}"
        lines["note"] = said.note
    typer.echo(case.case_id)
    for name, value in lines.items():
        if value:
            typer.echo(f"  {name:<8} {value}")
    for member in case.members:
        shares = ", ".join(f"{path} {share:.2f}" for path, share in member.memberships.items())
        said_of = "" if member.said is None else f"  {member.said.value}"
        fraud = f"  fraud: event {member.fraud_event_id}" if member.fraud_event_id else ""
        typer.echo(f"  {member.entity} {member.id}: {shares}{said_of}{fraud}")
    for tie in case.evidence:
        amount = f"{tie.amount_minor / amount_scale:,.2f}"
        tied = ", ".join(tie.members)
        typer.echo(f"  {tie.entity} {tie.id} ties {tied}: {tie.events} events, {amount}")
