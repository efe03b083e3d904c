"""`enrichment preflight`: the production questions, answered."""

import json
import textwrap
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, PipelineOption, fail, pipeline_or_fail, settings_of

if TYPE_CHECKING:
    from enrichment.preflight.questions import Asked

EXIT_FAILED: Final = 1
EXIT_MISUSE: Final = 2
WIDTH_MIN: Final = 80
WIDTH_MAX: Final = 140  # longer lines are not read but searched
OUTCOME_WIDTH: Final = 6
NAME_WIDTH: Final = 13

# Outcome -> what stands in front of a row, and its colour.
SHOWN: Final[dict[str, tuple[str, str]]] = {
    "pass": ("pass", typer.colors.GREEN),
    "fail": ("FAIL", typer.colors.RED),
    "not applicable": ("n/a", typer.colors.BRIGHT_BLACK),
}


def register(app: typer.Typer) -> None:
    """Adds the command to the top-level application."""
    app.command("preflight")(preflight)


def preflight(
    context: typer.Context,
    pipeline: PipelineOption = "payments",
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Ask no server; what only servers know is then not applicable."
        ),
    ] = False,
    rules: Annotated[
        bool,
        typer.Option("--rules", help="Print what each settings profile refuses, and ask nothing."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Answer the production questions: whether this pipeline may go where others depend on it.

    Each is answered with pass, fail or not applicable, with what was seen, and on a failure with
    what to do. How strict it is, the profile says: ENRICHMENT_PROFILE=development (the default),
    validation or production. A note beside a pass is what a stricter profile would ask for.
    Nothing is changed anywhere, and no provider is called.

    Exit codes: 0 none has failed, 1 one has, 2 not understood.

    Examples:
      enrichment preflight -p payments

      ENRICHMENT_PROFILE=production enrichment preflight -p pipelines/logins.toml

      enrichment preflight --offline --json
    """
    from rich.console import Console

    from enrichment import profile

    if rules:
        typer.echo("\n".join(profile.table()))
        return
    from enrichment.pipelines import written
    from enrichment.preflight.gather import facts_of
    from enrichment.preflight.questions import ask, is_ready

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    if definition.calls is not None:
        said = "these questions are of a stream that is scored, and a pipeline of calls has none"
        fail(f"{definition.name}: {said}", EXIT_MISUSE)
    named = written(pipeline, settings.pipelines_dir)
    errors = Console(stderr=True)
    with errors.status("asking ...") as status:
        facts = facts_of(
            settings,
            definition,
            named,
            offline=offline,
            say=lambda what: status.update(f"asking: {what}"),
        )
    asked = ask(facts)
    if as_json:
        typer.echo(json.dumps(_as_json(asked, settings.profile.value, definition.name), indent=2))
    else:
        width = min(WIDTH_MAX, max(WIDTH_MIN, Console().width))
        typer.echo(
            f"{definition.name} (pipeline {definition.version}), by the rules of "
            f"{settings.profile.value}{', offline' if offline else ''}\n"
        )
        for line in _lines(asked, width):
            typer.echo(line)
    if not is_ready(asked):
        raise typer.Exit(EXIT_FAILED)


def _as_json(asked: "tuple[Asked, ...]", profile: str, pipeline: str) -> dict[str, object]:
    return {
        "pipeline": pipeline,
        "profile": profile,
        "questions": [
            {
                "name": each.question.name,
                "question": each.question.text,
                "outcome": each.answer.outcome.value,
                "seen": each.answer.seen,
                "todo": each.answer.todo,
            }
            for each in asked
        ],
    }


def _lines(asked: "tuple[Asked, ...]", width: int) -> Iterator[str]:
    """Lines: what passed, what is not applicable, and failures last."""
    for outcome in ("pass", "not applicable"):
        for each in (one for one in asked if one.answer.outcome.value == outcome):
            parts = [each.answer.seen]
            if each.answer.todo:
                parts.append(f"note: {each.answer.todo}")
            yield from _row(outcome, each.question.name, parts, width)
    failed = [each for each in asked if each.answer.outcome.value == "fail"]
    # One cause may be the answer to many questions, and is said once.
    for answer in dict.fromkeys(each.answer for each in failed):
        yield ""
        for each in failed:
            if each.answer == answer:
                yield from _row("fail", each.question.name, [each.question.text], width)
        yield from _row("", "", [answer.seen, f"do: {answer.todo}"], width)
    counts = Counter(each.answer.outcome.value for each in asked)
    notes = sum(each.answer.outcome.value == "pass" and bool(each.answer.todo) for each in asked)
    said = f" ({notes} with a note)" if notes else ""
    yield ""
    yield f"{counts['pass']} pass{said}, {counts['not applicable']} n/a, {counts['fail']} FAIL"


def _row(outcome: str, name: str, parts: list[str], width: int) -> Iterator[str]:
    """Parts one below the other, outcome and name before the first of them."""
    word, colour = SHOWN.get(outcome, ("", None))
    head = f"{word:<{OUTCOME_WIDTH}}{name:<{NAME_WIDTH}}"
    for number, part in enumerate(parts):
        for line in _wrapped(part, "" if number else head, width):
            # The word alone has a colour: which answer it is, and not how much there is of it.
            if line.startswith(head) and colour is not None:
                yield typer.style(line[:OUTCOME_WIDTH], fg=colour) + line[OUTCOME_WIDTH:]
            else:
                yield line


def _wrapped(text: str, head: str, width: int) -> list[str]:
    """Text beside a head, in lines of that width; commands and names are left whole."""
    indent = " " * (OUTCOME_WIDTH + NAME_WIDTH)
    return textwrap.wrap(
        text,
        width,
        initial_indent=head or indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
