"""The plots of `bench sampling` and `bench noise`; a panel is drawn where its rows are there."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from enrichment.lab.bench.plots import COLOURS, INK, MUTED
from enrichment.lab.bench.report import Report, Row
from enrichment.lab.bench.sampling import noise, quality, speed
from enrichment.lab.bench.sampling.coverage import INSIDE

TALL: Final = (8.0, 8.0)  # inches
LEGEND: Final[dict[str, Any]] = {
    "fontsize": 8, "loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2,
}  # fmt: skip


def draw_sampling(report: Report, figure: Any) -> None:
    """Speed, optimum found, AUC and coverage, of those that were measured."""
    panels: tuple[tuple[str, Callable[[Any, Sequence[Row]], None]], ...] = (
        ("speed, n", _speed),
        ("quality, n", _ratio),
        ("quality, n", _auc),
        ("coverage", _coverage),
    )
    drawn = []
    for start, panel in panels:
        rows = [row for row in report.rows if row.case.startswith(start)]
        if rows:
            drawn.append((panel, rows))
    if len(drawn) > 2:
        figure.set_size_inches(*TALL)
    shape = (2, 2) if len(drawn) > 2 else (1, max(1, len(drawn)))
    places = figure.subplots(*shape, squeeze=False).flatten()
    for (panel, rows), axes in zip(drawn, places, strict=False):
        panel(axes, rows)
    for axes in places[len(drawn) :]:
        axes.remove()


def _speed(axes: Any, rows: Sequence[Row]) -> None:
    axes.set_title("Problems per second of a core, dense", fontsize=9.5)
    of_kind = [row for row in rows if row.case.endswith(speed.DENSE) and row.metric == "problems"]
    for path, colour in zip(speed.PATHS, COLOURS, strict=False):
        _over_sizes(axes, [row for row in of_kind if row.system == path], colour, path)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:,.0f}")
    axes.legend(**LEGEND)


def _ratio(axes: Any, rows: Sequence[Row]) -> None:
    axes.set_title("Mean energy: share of the way to the minimum", fontsize=9.5)
    of_ratio = [row for row in rows if row.metric == "ratio"]
    systems = dict.fromkeys(row.system for row in of_ratio)
    for number, system in enumerate(systems):
        own = [row for row in of_ratio if row.system == system]
        _over_sizes(
            axes, own, COLOURS[number % len(COLOURS)], system, dashed=number >= len(COLOURS)
        )
    axes.legend(**LEGEND)


def _auc(axes: Any, rows: Sequence[Row]) -> None:
    axes.set_title("AUC of ring membership, n = 12, ± standard error", fontsize=9.5)
    case = "quality, n=12"
    own = [row for row in rows if (row.case, row.metric) == (case, "auc")][::-1]
    errors = {
        row.system: row.value for row in rows if (row.case, row.metric) == (case, "auc_error")
    }
    colours = [MUTED if row.system == quality.RANDOM else COLOURS[0] for row in own]
    axes.errorbar(
        [row.value for row in own], range(len(own)), xerr=[errors[row.system] for row in own],
        fmt="none", ecolor=INK, elinewidth=1, capsize=3,
    )  # fmt: skip
    axes.scatter([row.value for row in own], range(len(own)), color=colours, zorder=3)
    axes.set_yticks(range(len(own)), [row.system for row in own], fontsize=8)
    axes.set_xlim(0.4, 1.0)


def _coverage(axes: Any, rows: Sequence[Row]) -> None:
    axes.set_title("How often shot_interval holds the truth", fontsize=9.5)
    cases = dict.fromkeys(row.case for row in rows)
    for (number, case), colour in zip(enumerate(cases), COLOURS, strict=False):
        own = [
            row for row in rows
            if (row.case, row.metric) == (case, "coverage") and row.system != INSIDE
        ]  # fmt: skip
        places = [place + 0.15 * (number - 0.5) for place in range(len(own))]
        spread = [[row.value - row.low for row in own], [row.high - row.value for row in own]]
        axes.errorbar(
            places, [row.value for row in own], yerr=spread, fmt="o", color=colour, capsize=3,
            label=case.removeprefix("coverage, "),
        )  # fmt: skip
    axes.axhspan(0.93, 0.97, color=MUTED, alpha=0.2, linewidth=0)
    axes.set_xticks(range(len(own)), [row.system for row in own], rotation=40, fontsize=8)
    axes.set_ylim(0.8, 1.005)
    axes.set_xlabel("true membership")
    axes.legend(fontsize=8, loc="lower right")


def draw_noise(report: Report, figure: Any) -> None:
    """Ideal and virtual: mean energy, and how far memberships move."""
    left, right = figure.subplots(1, 2)
    cases = list(dict.fromkeys(row.case for row in report.rows if row.metric == "membership_gap"))
    left.set_title("Mean energy: share of the way to the minimum", fontsize=9.5)
    right.set_title("Mean |Δ membership| from the ideal circuit", fontsize=9.5)
    sides = (
        (left, ((noise.IDEAL, "ratio"), (noise.VIRTUAL, "ratio"))),
        (right, ((noise.AGAIN, "membership_gap"), (noise.VIRTUAL, "membership_gap"))),
    )
    by_name = {(row.case, row.system, row.metric): row for row in report.rows}
    for axes, systems in sides:
        for number, (system, metric) in enumerate(systems):
            own = [by_name[case, system, metric] for case in cases]
            spread = [[row.value - row.low for row in own], [row.high - row.value for row in own]]
            axes.bar(
                [place + 0.36 * (number - 0.5) for place in range(len(own))],
                [row.value for row in own], width=0.34, color=COLOURS[number], label=system,
                yerr=spread, ecolor=INK, error_kw={"elinewidth": 1},
            )  # fmt: skip
        axes.set_xticks(range(len(cases)), cases, rotation=40, fontsize=8)
        axes.grid(visible=False, axis="x")
        axes.legend(fontsize=8)


def _over_sizes(
    axes: Any, rows: Sequence[Row], colour: str, label: str, *, dashed: bool = False
) -> None:
    """One system's values over n, with their spread; nothing where it was not measured."""
    if not rows:
        return
    sizes = [int(row.case.split("n=")[1].split(",")[0]) for row in rows]
    spread = [[row.value - row.low for row in rows], [row.high - row.value for row in rows]]
    axes.errorbar(
        sizes, [row.value for row in rows], yerr=spread, color=colour, label=label, marker="o",
        capsize=3, linestyle="--" if dashed else "-",
    )  # fmt: skip
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("n")
