"""`enrichment changes list | diff`: what was changed in how pipelines run, by whom and why."""

import json
import re
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from enrichment.cli.app import JsonOption, fail, settings_of
from enrichment.cli.changes_read import read_changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enrichment.records import Change, ChangeKind
    from enrichment.rollout.changes import Difference

EXIT_MISUSE: Final = 2
SPANS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

WHEN: Final = "a time like 2026-11-28T03:00:00Z, milliseconds since 1970, now, or 30m, 2h, 7d ago"

Pipeline = Annotated[
    str,
    typer.Option("--pipeline", "-p", help="Only of this pipeline, and of all of them at once."),
]
Since = Annotated[str, typer.Option("--since", help=f"From then on: {WHEN}.")]
Until = Annotated[str, typer.Option("--until", help=f"Up to then: {WHEN}.")]


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    changes = typer.Typer(
        no_args_is_help=True,
        help="See what was changed in how pipelines run: who, when, why, before and after.",
    )
    changes.command("list")(list_)
    changes.command("diff")(diff)
    app.add_typer(changes, name="changes")


def list_(  # noqa: PLR0913, PLR0917  # one for each option
    context: typer.Context,
    pipeline: Pipeline = "",
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only of this kind, such as serve; several times if need."),
    ] = None,
    since: Since = "",
    until: Until = "",
    by: Annotated[str, typer.Option("--by", help="Only what this one did.")] = "",
    experiment: Annotated[
        str, typer.Option("--experiment", help="Only what was done while this experiment was on.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List changes, the newest first.

    Kinds: rollout, serve (the kill switch), compute, experiment, withdrawal, budget, pipeline,
    score_table, order (about a job), replay (of dead letters), evidence (the gate was asked).

    Exit codes: 0 done, 1 Kafka does not answer, 2 not understood, or no such topic.

    Examples:
      enrichment changes list -p payments --since 2h

      enrichment changes list --kind serve --kind rollout --by "on call" --json

      enrichment changes list --experiment payments-2026-11-28-3f9a
    """
    from enrichment.rollout.changes import Wanted, chosen

    wanted = Wanted(
        pipeline=pipeline,
        kinds=_kinds(kind or ()),
        since_ms=_moment("--since", since) if since else 0,
        until_ms=_moment("--until", until) if until else 0,
        by=by,
        experiment_id=experiment,
    )
    found = read_changes(settings_of(context))
    fitting = chosen(found.changes, wanted)
    shown = fitting[::-1][:limit]
    if as_json:
        told = {
            "count": len(fitting),
            "foreign": found.foreign,
            "changes": [_plain(one) for one in shown],
        }
        typer.echo(json.dumps(told, indent=2))
        return
    _print(shown)
    if len(fitting) > len(shown):
        typer.echo(f"{len(fitting) - len(shown)} older ones: --limit")
    if found.foreign:
        typer.secho(f"{found.foreign} records on the topic are no changes", err=True)


def diff(  # noqa: PLR0913, PLR0917  # one for each option
    context: typer.Context,
    one: Annotated[
        str,
        typer.Argument(metavar="CHANGE|FROM", help="A change's id, or as much of it as is unique."),
    ] = "",
    other: Annotated[
        str, typer.Argument(metavar="TO", help="Beside FROM: a change's id, or a time.")
    ] = "",
    pipeline: Pipeline = "",
    since: Since = "",
    until: Until = "",
    as_json: JsonOption = False,
) -> None:
    """Show what one change changed, or what stands otherwise at TO than at FROM.

    With one id: its before and after. With two of ids and times, or with --since and --until: what
    is in force, the pipeline's file and the score table, as they were then and then. A change's id
    stands for the moment just after it.

    Exit codes: 0 done, also where nothing differs, 1 Kafka does not answer, 2 no such change, or
    not understood.

    Examples:
      enrichment changes diff 20261128-191503

      enrichment changes diff 2026-11-27T00:00:00Z now -p payments

      enrichment changes diff -p payments --since 7d --json
    """
    if other and (since or until):
        fail("say FROM and TO, or --since and --until: not both", EXIT_MISUSE)
    if one and not other and not (since or until):
        _diff_one(read_changes(settings_of(context)).changes, one, as_json=as_json)
        return
    if one and not other:
        fail("a change's id alone, or two moments: --since and --until stand alone", EXIT_MISUSE)
    if not one and not since:
        fail("say which: a change's id, FROM and TO, or --since", EXIT_MISUSE)
    from enrichment.rollout.changes import differences, stood_at
    from enrichment.rollout.control import EVERY

    changes = read_changes(settings_of(context)).changes
    cuts = [_up_to(changes, said) for said in (one or since, other or until or "now")]
    meant = [
        [each for each in cut if not pipeline or each.pipeline in (pipeline, EVERY)] for cut in cuts
    ]
    found = list(differences(*(stood_at(cut) for cut in meant)))
    done = [each for each in meant[1] if each.change_id not in {one.change_id for one in cuts[0]}]
    if as_json:
        told = {
            "differences": [_with_lines(each) for each in found],
            "changes": [each.change_id for each in done],
        }
        typer.echo(json.dumps(told, indent=2))
        return
    for each in found:
        _print_lines(_with_lines(each)["diff"])
    said = f"{len(found)} things stand otherwise" if found else "nothing stands otherwise"
    typer.echo(f"{said}, by {len(done)} changes: `enrichment changes list`" if done else said)


def _diff_one(changes: "Sequence[Change]", prefix: str, *, as_json: bool) -> None:
    """What one change changed."""
    from enrichment.rollout.changes import unified
    from enrichment.rollout.words import time_in_words

    change = changes[_found(changes, prefix)]
    lines = unified(f"{change.pipeline}|{change.subject}", change.before, change.after)
    if as_json:
        typer.echo(json.dumps(_plain(change) | {"diff": lines}, indent=2))
        return
    typer.echo(f"{change.change_id}  {change.kind.value} {change.pipeline}|{change.subject}")
    typer.echo(f"{time_in_words(change.changed_at_ms)} by {change.changed_by}: {change.reason}")
    typer.echo(_marks(change))
    _print_lines(lines)
    if not lines:
        typer.echo("before and after say the same")


def _found(changes: "Sequence[Change]", prefix: str) -> int:
    """The place of the one change whose id begins so, or exit code 2."""
    from enrichment.rollout.changes import matching

    numbers = matching(changes, prefix)
    if len(numbers) == 1:
        return numbers[0]
    if not numbers:
        newest = f"; the newest is {changes[-1].change_id}" if changes else ": nothing is on record"
        fail(f"there is no change '{prefix}'{newest}", EXIT_MISUSE)
    some = ", ".join(changes[number].change_id for number in numbers[:3])
    return fail(f"'{prefix}' could be any of {len(numbers)}: {some}", EXIT_MISUSE)


def _up_to(changes: "Sequence[Change]", said: str) -> "list[Change]":
    """The changes up to a moment, or up to and with a change."""
    at_ms = _time(said)
    if at_ms is not None:
        return [one for one in changes if one.changed_at_ms <= at_ms]
    return list(changes[: _found(changes, said) + 1])


def _time(said: str) -> int | None:
    """The moment in milliseconds since 1970; None where it is none."""
    from enrichment.rollout.words import time_of

    now_ms = time.time_ns() // 1_000_000
    if span := re.fullmatch(r"(\d{1,9})([smhd])", said):
        return now_ms - int(span[1]) * SPANS_MS[span[2]]
    try:
        return time_of(said, now_ms)
    except ValueError:
        return None


def _moment(option: str, said: str) -> int:
    at_ms = _time(said)
    if at_ms is None:
        fail(f"{option} '{said}': wanted {WHEN}", EXIT_MISUSE)
    return at_ms


def _kinds(names: "Sequence[str]") -> "frozenset[ChangeKind]":
    from enrichment.records import ChangeKind

    known = [each.value for each in ChangeKind]
    for name in names:
        if name not in known:
            _no_kind(name, known)
    return frozenset(ChangeKind(name) for name in names)


def _no_kind(name: str, known: list[str]) -> NoReturn:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"kinds: {', '.join(known)}"
    fail(f"there is no kind '{name}'; {hint}", EXIT_MISUSE)


def _print(changes: "Sequence[Change]") -> None:
    """Two lines each: ids are whole, to be copied, and a table would leave the rest no room."""
    from enrichment.rollout.words import change_in_words

    for one in changes:
        head = f"{one.change_id}  {one.pipeline}  {one.kind.value}  by {one.changed_by}"
        typer.secho(head, fg=typer.colors.YELLOW if one.override else None)
        what, why = change_in_words(one), one.reason or "no reason given"
        typer.echo(f"    {what}: {why}")
    if not changes:
        typer.echo("no changes")


def _marks(change: "Change") -> str:
    """What else is to be known of it, in a line."""
    said = [f"experiment {change.experiment_id}"] if change.experiment_id else []
    said += [f"evidence {change.evidence_id}"] if change.evidence_id else []
    said += ["AGAINST THE GATE"] if change.override else []
    return ", ".join(said) or "in no experiment"


def _print_lines(lines: "Sequence[str]") -> None:
    colours = {"+": typer.colors.GREEN, "-": typer.colors.RED, "@": typer.colors.CYAN}
    for line in lines:
        typer.secho(line, fg=colours.get(line[:1]))


def _with_lines(difference: "Difference") -> dict[str, Any]:
    from enrichment.rollout.changes import unified

    name = f"{difference.pipeline}|{difference.subject}"
    return {
        "pipeline": difference.pipeline,
        "subject": difference.subject,
        "before": difference.before,
        "after": difference.after,
        "diff": unified(name, difference.before, difference.after),
    }


def _plain(change: "Change") -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(change)
    return plain
