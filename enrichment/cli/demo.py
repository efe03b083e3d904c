"""`enrichment demo`: a minute of payments through everything, seen live and counted at the end."""

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enrichment.cli.app import fail, settings_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from enrichment.lab.demo import Demo

PLAIN_EVERY_S = 5.0  # without a terminal the state is a line now and then


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(help="Length of the stream.", min=5)] = 60.0,
    rate: Annotated[float, typer.Option(help="Events per second.", min=10)] = 2_000.0,
    seed: Annotated[int | None, typer.Option(help="The stream's seed; drawn by default.")] = None,
    report: Annotated[Path, typer.Option(help="Where the summary goes as JSON.")] = Path(
        "demo-report.json"
    ),
    kill_stages: Annotated[
        bool,
        typer.Option("--kill-stages", help="Kill -9 each stage once in the middle of the stream."),
    ] = False,
) -> None:
    """Run everything for real on this machine: Kafka, Redis, every stage, a simulated stream.

    It starts servers of its own on free ports, publishes simulated payments with planted rings and
    look-alikes, shows what happens, counts from the topics what came of it, and takes all down
    again. Exit code 1 when anything was lost or doubled, 130 when it was stopped.

    Examples:
      enrichment demo

      enrichment demo --seconds 120 --rate 4000 --kill-stages
    """
    from enrichment.lab.demo import Demo, DemoOptions, write_report
    from enrichment.lab.local_run import LocalRunError
    from enrichment.lab.servers import ServerError
    from enrichment.telemetry.log import configure
    from enrichment.wiring.waiting import stop_on_signals

    settings = settings_of(context)
    logs = settings.state_dir / "demo-logs"
    logs.mkdir(parents=True, exist_ok=True)
    # A line on the terminal would tear the live view: what is said goes beside the stages' logs.
    configure(
        stage="demo", pipeline="payments", text=False, to=(logs / "demo.log").open("a", buffering=1)
    )
    stop = stop_on_signals()
    run = Demo(
        DemoOptions(
            seconds=seconds,
            rate_per_s=rate,
            seed=seed,
            state_dir=settings.state_dir,
            topics_dir=settings.topics_dir,
            kill_stages=kill_stages,
        )
    )
    try:
        with _shown(run):
            figures = run.run(stop)
    except (LocalRunError, ServerError) as error:
        fail(str(error), 130 if stop.is_set() else 1)
    write_report(figures, report)
    _print(figures, report)
    if figures["lost"] or figures["duplicated"]:
        fail(f"{figures['lost']} records were lost, {figures['duplicated']} answered twice")
    if figures["events_published"] == 0:
        fail("no event was published")


class _shown:  # noqa: N801  # reads as a phrase: with _shown(run)
    """The live view for as long as the context lasts."""

    def __init__(self, run: "Demo") -> None:
        self._run = run
        self._done = threading.Event()
        target = self._live if sys.stdout.isatty() else self._plain
        self._thread = threading.Thread(target=target, name="view", daemon=True)
        self._rate = _Rate()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(5)

    def _live(self) -> None:
        from rich.live import Live

        with Live(self._view(), refresh_per_second=4, transient=True) as live:
            while not self._done.wait(0.25):
                live.update(self._view())

    def _plain(self) -> None:
        phase, said_s = "", 0.0
        while not self._done.wait(0.1):
            changed = self._run.phase != phase
            if changed or time.monotonic() - said_s >= PLAIN_EVERY_S:
                phase, said_s = self._run.phase, time.monotonic()
                seen = self._run.seen
                typer.echo(
                    f"{phase}: {seen.published:,} published, {seen.enriched:,} enriched, "
                    f"{len(seen.micro_batches):,} micro-batches, {len(seen.jobs):,} jobs, "
                    f"{len(seen.cases)} cases"
                )

    def _view(self) -> "RenderableType":
        """The way of the data, from left to right, with what is seen of each stage."""
        from rich.columns import Columns
        from rich.console import Group
        from rich.panel import Panel
        from rich.table import Table

        run, seen = self._run, self._run.seen
        flow = Table.grid(padding=(0, 2))
        for _ in range(2):
            flow.add_column(justify="right")
            flow.add_column()
        published, enriched = seen.published, seen.enriched
        lag = published - enriched - seen.dead_letters
        latencies = sorted(seen.latencies_ms[-2_000:])
        p50, p99 = (
            (latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100])
            if latencies
            else (0, 0)
        )
        flow.add_row("published", f"{published:,}", "rate", f"{self._rate.of(enriched):,.0f}/s")
        flow.add_row("enriched", f"{enriched:,}", "lag", f"{lag:,} events")
        flow.add_row("dead letters", f"{seen.dead_letters:,}", "p50 / p99", f"{p50} / {p99} ms")
        flow.add_row(
            "micro-batches", f"{len(seen.micro_batches):,}", "problems", f"{seen.problems:,}"
        )
        shares = Columns(
            [
                Panel(_bars(dict(seen.verdicts)), title="verdicts"),
                Panel(_bars(dict(seen.paths)), title="served by"),
                Panel(_bars(seen.jobs_by_state()), title="jobs"),
            ],
            expand=True,
        )
        killed = f"  killed: {', '.join(run.killed)}" if run.killed else ""
        return Group(
            Panel(flow, title=f"enrichment demo: {run.phase}{killed}", title_align="left"),
            shares,
            Panel(_case(run), title=f"last case of {len(seen.cases)}", title_align="left"),
        )


class _Rate:
    """Events per second over the last few looks."""

    def __init__(self) -> None:
        self._looks: list[tuple[float, int]] = []

    def of(self, count: int) -> float:
        now_s = time.monotonic()
        self._looks = [*self._looks[-11:], (now_s, count)]
        then_s, then = self._looks[0]
        return (count - then) / (now_s - then_s) if now_s > then_s else 0.0


def _bars(counts: dict[str, int]) -> "RenderableType":
    """A share per name, as a bar."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(width=12)
    grid.add_column(justify="right")
    total = sum(counts.values())
    for name, count in sorted(counts.items(), key=lambda item: -item[1]):
        grid.add_row(name, ProgressBar(total=total, completed=count, width=12), f"{count:,}")
    if not counts:
        grid.add_row("none yet", "", "")
    return grid


def _case(run: "Demo") -> str:
    """The newest case in a few lines."""
    case = run.seen.last_case
    if case is None:
        return "none yet"
    members = ", ".join(
        f"{member.id} ({max(member.memberships.values(), default=0.0):.2f})"
        for member in case.members
    )
    evidence = ", ".join(f"{e.entity} {e.id} ties {len(e.members)}" for e in case.evidence[:4])
    amount = case.amount_at_risk_minor / run.pipeline.stream.amount_scale
    return (
        f"[bold]{case.case_id}[/bold]  {amount:,.2f} at risk\n"
        f"members (membership, not a probability): {members}\n{evidence}"
    )


def _print(figures: dict[str, Any], path: Path) -> None:
    """The summary for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="what came of it, counted from the topics", show_header=False)
    for name, value in figures.items():
        shown = value
        if isinstance(value, dict):
            shown = ", ".join(f"{key} {figure}" for key, figure in value.items()) or "none"
        elif isinstance(value, list):
            shown = ", ".join(value) or "none"
        table.add_row(name.replace("_", " "), str(shown))
    Console(width=100).print(table)
    typer.echo(
        "The stream is simulated. At these sizes classical methods solve the same models as well.\n"
        f"The same as JSON: {path}"
    )
