"""`enrichment story`: a path let in on evidence and taken out again, with a transcript."""

import json
from pathlib import Path
from typing import Annotated

import typer

from enrichment.cli.app import fail, settings_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("story")(story)


def story(
    context: typer.Context,
    seed: Annotated[int | None, typer.Option(help="The stream's seed; drawn by default.")] = None,
    to: Annotated[Path, typer.Option(help="The folder for transcript, figures and plots.")] = Path(
        "story"
    ),
) -> None:
    """Tell the whole rollout as a scripted story, on servers of its own: ten minutes or so.

    Rings begin in a simulated stream; the classical ring path runs in shadow, gathers evidence, and
    is let in through canary to live by the gate; the quantum path asks and gets its answer; a
    virtual device is spot-checked; its noise is raised until the guard demotes it; the kill switch
    is pulled; an event of each phase is traced and its job run again.

    Exit code 1 where a scene does not come to be, 130 when it was stopped.

    Example: enrichment story --to story
    """
    from enrichment.lab.local_run import LocalRunError
    from enrichment.lab.servers import ServerError
    from enrichment.lab.story import Story, StoryOptions
    from enrichment.telemetry.log import configure
    from enrichment.wiring.waiting import stop_on_signals

    settings = settings_of(context)
    to.mkdir(parents=True, exist_ok=True)
    configure(
        stage="story", pipeline="payments", text=False, to=(to / "story.log").open("a", buffering=1)
    )
    stop = stop_on_signals()
    options = StoryOptions(
        seed=seed, state_dir=settings.state_dir, topics_dir=settings.topics_dir, to=to
    )
    try:
        figures = Story(options).run(stop)
    except (LocalRunError, ServerError) as error:
        fail(str(error), 130 if stop.is_set() else 1)
    (to / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    typer.echo(f"\n{json.dumps(figures)}\nwritten to {to}/")
