"""One problem of an explained job as a picture: samples by energy, and memberships by path."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from enrichment.lab.bench.plots import COLOURS, STYLE

if TYPE_CHECKING:
    from enrichment.sample.explained import Explanation

SIZE: Final = (10.0, 4.4)  # inches


def draw_job(explanation: "Explanation", path: Path) -> None:
    """Draw the shown problem into an .svg or .png; qubits and not ids stand on the axis."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    problem = explanation.problem
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _energies(explanation, left)
        _memberships(explanation, right)
        figure.suptitle(f"{explanation.job['job_id']}, problem {problem.number}")
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=130, metadata=metadata)


def _energies(explanation: "Explanation", axes: Any) -> None:
    """Shots by energy, a step line for each path."""
    energies = explanation.problem.energies
    axes.set_title("samples by energy")
    if energies is None:
        axes.text(0.5, 0.5, "not run again: no samples", ha="center", transform=axes.transAxes)
        return
    for colour, (path, counts) in zip(COLOURS, energies.counts.items(), strict=False):
        axes.stairs(counts, energies.edges, label=path, color=colour, fill=True, alpha=0.25)
        axes.stairs(counts, energies.edges, color=colour)
    if energies.optimum is not None:
        axes.axvline(energies.optimum, color="#1f2933", linestyle=":", label="proven optimum")
    axes.set_xlabel("energy (lower is better)")
    axes.set_ylabel("shots")
    axes.legend()


def _memberships(explanation: "Explanation", axes: Any) -> None:
    """Each node's membership with its interval, the paths side by side."""
    nodes = explanation.problem.nodes
    paths = list(dict.fromkeys(path for node in nodes for path in node.memberships))
    for number, (colour, path) in enumerate(zip(COLOURS, paths, strict=False)):
        known = [(node.index, node.memberships[path]) for node in nodes if path in node.memberships]
        axes.errorbar(
            [index + (number - 1) * 0.18 for index, _ in known],
            [one.membership for _, one in known],
            yerr=[
                [max(0.0, one.membership - one.low) for _, one in known],
                [max(0.0, one.high - one.membership) for _, one in known],
            ],
            fmt="o",
            color=colour,
            capsize=2,
            label=path,
        )
    axes.set_title("membership, with its shots' interval (no probability)")
    axes.set_xticks([node.index for node in nodes], [f"q{node.index}" for node in nodes])
    axes.set_ylim(-0.03, 1.03)
    axes.legend()
