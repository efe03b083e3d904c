"""The job's machine drawn, and as a table, from its rules.

`python -m enrichment.lab.job_machine docs` writes both; tests hold them to the rules. Only places
are given here. Where an event leads several states to the same one, a single arrow is drawn from a
frame around them; what leads nowhere is written into the state.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enrichment.lab.bench.plots import INK, MUTED, STYLE
from enrichment.records import JobState
from enrichment.sample.events import Event
from enrichment.sample.machine import EVENTS, IMPOSSIBLE, LATE, OPEN, ORDERS, RULES, TERMINAL

DRAWING: Final = Path("plots") / "job-machine.svg"
PAGE: Final = Path("jobs.md")
BEGIN: Final = "<!-- table job-machine -->\n"
END: Final = "<!-- end -->"

P, S, E, R, T = OPEN
SUCCEEDED, FALLBACK, FAILED = JobState.SUCCEEDED, JobState.FALLBACK_COMPLETE, JobState.FAILED
Point = tuple[float, float]

BOX: Final = (2.1, 1.0)
# The middle of each state's box.
PLACES: Final[Mapping[JobState, Point]] = {
    P: (1.4, 6.0),
    S: (5.2, 6.0),
    E: (8.8, 6.0),
    R: (5.2, 2.9),
    T: (13.3, 2.9),
    SUCCEEDED: (17.2, 6.0),
    FALLBACK: (17.2, 2.9),
    FAILED: (7.4, -0.3),
}

# From the largest: what is drawn from one is not drawn from those inside it.
FRAMES: Final[tuple[tuple[frozenset[JobState], tuple[float, float, float, float]], ...]] = (
    (frozenset(OPEN), (-0.5, 1.2, 14.9, 7.9)),
    (frozenset({P, S, E, R}), (-0.2, 1.6, 10.7, 7.5)),
    (frozenset({P, S, E}), (0.1, 4.7, 10.4, 7.2)),
    (frozenset({S, E}), (3.9, 5.05, 10.1, 6.95)),
)

Node = JobState | frozenset[JobState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """Where an arrow leaves and arrives, how far it bends, and the middle of its label."""

    start: Point
    end: Point
    bend: float = 0.0
    label: Point


OPEN_FRAME, ON_TIME, CHOSEN, ACCEPTED = (states for states, _ in FRAMES)
ARROWS: Final[Mapping[tuple[Node, JobState], Arrow]] = {
    (P, S): Arrow(start=(2.45, 6.0), end=(4.15, 6.0), label=(3.15, 6.28)),
    (S, E): Arrow(start=(6.25, 6.15), end=(7.75, 6.15), bend=-0.15, label=(7.0, 6.55)),
    (E, S): Arrow(start=(7.75, 5.85), end=(6.25, 5.85), bend=-0.15, label=(7.0, 5.45)),
    (R, S): Arrow(start=(6.0, 3.4), end=(6.0, 5.5), label=(6.0, 4.3)),
    (CHOSEN, R): Arrow(start=(3.0, 4.7), end=(4.4, 3.4), bend=0.15, label=(3.1, 3.9)),
    (ON_TIME, T): Arrow(start=(10.7, 2.9), end=(12.25, 2.9), label=(11.45, 3.15)),
    (ACCEPTED, SUCCEEDED): Arrow(start=(10.1, 6.0), end=(16.05, 6.0), label=(12.6, 6.28)),
    (ACCEPTED, FALLBACK): Arrow(start=(10.1, 5.4), end=(16.05, 3.3), label=(12.6, 4.55)),
    (T, FALLBACK): Arrow(start=(14.35, 2.9), end=(16.05, 2.9), label=(15.35, 2.6)),
    (P, SUCCEEDED): Arrow(start=(1.4, 6.5), end=(17.2, 6.6), bend=-0.15, label=(9.3, 7.72)),
    (OPEN_FRAME, FAILED): Arrow(start=(8.0, 1.2), end=(8.0, 0.32), label=(9.0, 0.75)),
    (FAILED, R): Arrow(start=(6.25, 0.0), end=(4.1, 2.9), bend=-0.55, label=(3.75, 0.85)),
    (FALLBACK, R): Arrow(start=(17.2, 2.3), end=(6.25, 2.7), bend=-0.17, label=(15.6, 1.55)),
}


def arrows() -> dict[tuple[Node, JobState], list[str]]:
    """What is to be drawn: from a state or a frame to a state, by these events."""
    sources: dict[tuple[str, JobState], set[JobState]] = {}
    for (state, event), rule in RULES.items():
        if rule.after is not state:
            sources.setdefault((event.__name__, rule.after), set()).add(state)
    drawn: dict[tuple[Node, JobState], list[str]] = {}
    for (name, after), states in sources.items():
        left = set(states)
        for framed, _ in FRAMES:
            if framed <= left:
                drawn.setdefault((framed, after), []).append(name)
                left -= framed
        for state in left:
            drawn.setdefault((state, after), []).append(name)
    return drawn


def staying(state: JobState) -> list[str]:
    """The events that happen to a job in that state and leave it there."""
    return [
        event.__name__
        for (before, event), rule in RULES.items()
        if before is state and rule.after is state
    ]


def table() -> str:
    """All that can happen, event by event, as a table in Markdown."""
    states = tuple(JobState)
    lines = [
        "| | " + " | ".join(state.value for state in states) + " |",
        "|---" * (len(states) + 1) + "|",
    ]
    for event in EVENTS:
        cells = " | ".join(_cell(state, event) for state in states)
        lines.append(f"| {event.__name__} | {cells} |")
    return "\n".join(lines) + "\n"


def _cell(state: JobState, event: type[Event]) -> str:
    rule = RULES.get((state, event))
    if rule is None:
        assert (state, event) in LATE or (state, event) in IMPOSSIBLE  # noqa: S101  # or no rule
        return "late" if (state, event) in LATE else "never"
    told = [then.__name__.lstrip("_").replace("_", " ") for then in rule.then]
    if rule.abandon:
        told.insert(0, "abandon")
    said = "" if rule.after is state else f"**{rule.after.value}** "
    number = "+1 " if rule.new_attempt else ""
    return (said + number + ", ".join(told)).strip() or "stays"


def draw(path: Path) -> None:
    """Draw the machine into an .svg or .png. KeyError for an arrow that has no place yet."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(13.6, 6.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_xlim(-0.8, 18.5)
        axes.set_ylim(-1.1, 8.1)
        for states, corners in FRAMES:
            _frame(axes, corners, bold=states == OPEN_FRAME)
        for (node, after), names in arrows().items():
            _arrow(axes, ARROWS[node, after], names)
        for state, place in PLACES.items():
            _box(axes, state, place)
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def _frame(axes: Any, corners: tuple[float, float, float, float], *, bold: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    left, bottom, right, top = corners
    shape = f"round,pad=0,rounding_size={0.3 if bold else 0.2}"
    axes.add_patch(
        FancyBboxPatch(
            (left, bottom), right - left, top - bottom, boxstyle=shape, facecolor="none",
            edgecolor=MUTED, linestyle="-" if bold else (0, (4, 3)), linewidth=1.2 if bold else 0.9,
        )
    )  # fmt: skip
    if bold:
        axes.text(left + 0.15, bottom + 0.12, "open", color=MUTED, style="italic")


def _box(axes: Any, state: JobState, place: Point) -> None:
    from matplotlib.patches import FancyBboxPatch

    (x, y), (width, height) = place, BOX
    colour, fill = ("#009e73", "#e3f4ee") if state in TERMINAL else ("#0072b2", "#e6f0f8")
    if state is FAILED:
        colour, fill = "#d55e00", "#fbeee5"
    for grown in (0.0, 0.09) if state in TERMINAL else (0.0,):  # a double line is an end
        axes.add_patch(
            FancyBboxPatch(
                (x - width / 2 - grown, y - height / 2 - grown),
                width + 2 * grown, height + 2 * grown,
                boxstyle="round,pad=0,rounding_size=0.15",
                facecolor=fill if not grown else "none", edgecolor=colour, linewidth=1.4, zorder=3,
            )
        )  # fmt: skip
    axes.text(x, y, state.value, ha="center", va="center", weight="bold", zorder=4)
    stays = staying(state)
    if stays:
        below = y - height / 2 - (0.16 if state in TERMINAL else 0.08)
        per_row = 2 if len(stays) > 2 else 1
        rows = [
            ", ".join(stays[start : start + per_row]) for start in range(0, len(stays), per_row)
        ]
        axes.text(
            x - width / 2 + 0.05, below, "⟲ " + "\n     ".join(rows), va="top", fontsize=7.0,
            color=INK, zorder=4,
        )  # fmt: skip


def _arrow(axes: Any, arrow: Arrow, names: list[str]) -> None:
    from matplotlib.patches import FancyArrowPatch

    ordered = all(name in {event.__name__ for event in ORDERS} for name in names)
    axes.add_patch(
        FancyArrowPatch(
            arrow.start, arrow.end, connectionstyle=f"arc3,rad={arrow.bend}", arrowstyle="-|>",
            mutation_scale=13, shrinkA=0, shrinkB=1, color=MUTED if ordered else INK,
            linewidth=1.2, linestyle="--" if ordered else "-", zorder=2,
        )
    )  # fmt: skip
    axes.text(
        *arrow.label, "\n".join(names), ha="center", va="center", fontsize=8.0, zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )  # fmt: skip


def write(docs: Path) -> None:
    """Draw into the docs' plots, and put the table into its page."""
    draw(docs / DRAWING)
    page = docs / PAGE
    text = page.read_text(encoding="utf-8")
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    page.write_text(text[:start] + table() + text[end:], encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
