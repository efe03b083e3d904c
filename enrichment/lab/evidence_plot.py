"""Evidence as a picture: average precision by path, and paired differences, look by look."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from enrichment.lab.bench.plots import COLOURS, MUTED, STYLE

if TYPE_CHECKING:
    from enrichment.rollout.evidence import Evidence, Figure

SIZE: Final = (10.0, 4.4)  # inches
APART: Final = 0.16  # between what stands side by side at one look
OF_PATH: Final = dict(zip(("heuristic", "classical", "quantum"), COLOURS, strict=False))
OF_PAIR: Final = {
    "classical-heuristic": COLOURS[1],
    "quantum-heuristic": COLOURS[2],
    "quantum-classical": COLOURS[3],
}


def draw_evidence(by_look: "Sequence[Evidence]", margin: float, path: Path) -> None:
    """Draw the looks, one after the other, into an .svg or .png."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    last = by_look[-1]
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        left.set_title("average precision, each path alone")
        for place, (name, colour) in enumerate(OF_PATH.items()):
            told = [each.paths[name].figures["average_precision"] for each in by_look]
            _series(left, told, (name, colour), place)
        right.set_title("paired differences of average precision")
        for place, (name, colour) in enumerate(OF_PAIR.items()):
            told = [each.differences[name] for each in by_look]
            _series(right, told, (name.replace("-", " \N{MINUS SIGN} "), colour), place)
        right.axhline(0.0, color=MUTED, linewidth=1.2)
        right.axhline(-margin, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        right.annotate(
            f"margin, \N{MINUS SIGN}{margin:g}",
            (0.0, -margin),
            xycoords=("axes fraction", "data"),
            xytext=(4, -3),
            textcoords="offset points",
            ha="left",
            va="top",
            fontsize=8,
            color=MUTED,
        )
        for axes in (left, right):
            _ticks(axes, by_look)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=8.5)
        name = last.experiment_id or "no experiment"
        figure.suptitle(f"{last.pipeline}, {name}: evidence {last.evidence_id}", fontsize=10)
        figure.supxlabel(
            f"{last.counts.matured:,} judged events in {last.counts.clusters:,} clusters; intervals"
            f" at {last.level:.1%} each",
            fontsize=8,
            color=MUTED,
        )
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=130, metadata=metadata)


def _series(axes: Any, told: "Sequence[Figure]", what: tuple[str, str], place: int) -> None:
    """One point with its interval for each look; what is not known leaves a gap."""
    name, colour = what
    shown = [(at, each) for at, each in enumerate(told) if each.value is not None]
    places = [at + (place - 1) * APART for at, _ in shown]
    values = [each.value for _, each in shown]
    axes.plot(places, values, "o", color=colour, label=name, markersize=5)
    for at, (_, each) in zip(places, shown, strict=True):
        if each.low is not None and each.high is not None:
            axes.vlines(at, each.low, each.high, color=colour, linewidth=2.2, alpha=0.75)


def _ticks(axes: Any, by_look: "Sequence[Evidence]") -> None:
    labels = [
        f"look {each.look}\n{each.counts.bad:,} bad"
        if each.look
        else f"now, no look\n{each.counts.bad:,} bad"
        for each in by_look
    ]
    axes.set_xticks(range(len(by_look)), labels)
    axes.set_xlim(-0.5, len(by_look) - 0.5)
    axes.grid(visible=False, axis="x")
