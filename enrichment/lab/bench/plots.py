"""One plot for each benchmark's report, as an SVG for the docs: light, and readable in print."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from enrichment.lab.bench.report import Report, Row

SIZE: Final = (8.0, 4.2)  # inches
BELOW: Final[dict[str, Any]] = {
    "loc": "upper center",
    "bbox_to_anchor": (0.5, -0.08),
    "ncols": 2,
}
INK, MUTED = "#1f2933", "#8795a1"
# Colours that the colour-blind tell apart (Okabe and Ito).
COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
STYLE: Final = {
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "font.size": 9.5,
    "grid.color": "#e4e7eb",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be found, and the file is small
    "svg.hashsalt": "enrichment",  # the same figures make the same bytes
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def draw(report: Report, folder: Path, suffix: str = ".svg") -> Path:
    """The report's plot, as a file in the folder; the folder is made where there is none."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.name}{suffix}"
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        PLOTS[report.name](report, figure)
        where = f"{report.machine['cores']} cores of {report.machine['cpu']}"
        said = "one run" if report.series else report.spread.removeprefix("the ")
        figure.supxlabel(f"{said}; {where}", fontsize=8, color=MUTED)
        metadata = {"Date": None} if suffix == ".svg" else None
        figure.savefig(path, dpi=130, metadata=metadata)
    return path


def _hot_path(report: Report, figure: Any) -> None:
    rows = [row for row in report.rows if row.metric == "throughput"]
    short = {"at_least_once": "at least once", "exactly_once": "exactly once"}
    axes = figure.subplots()
    figure.suptitle("Events per second, one process, the same topic and broker (log scale)")
    _bars(axes, rows, lambda row: f"{row.system}, {short[row.case]}", "{:,.0f}")
    lowest, highest = min(row.low for row in rows), max(row.high for row in rows)
    axes.set_xlim(lowest / 3, highest * 3)
    axes.set_xscale("log")
    axes.grid(visible=False, axis="y")


def _scale(report: Report, figure: Any) -> None:
    axes = figure.subplots()
    figure.suptitle("Events per second of the hot path, by processes that share one topic")
    rows = [row for row in report.rows if (row.case, row.metric) == ("scale", "throughput")]
    _bars(axes, rows, lambda row: row.system, "{:,.0f}")


def _latency(report: Report, figure: Any) -> None:
    sides = figure.subplots(1, 2, sharey=True)
    for axes, case in zip(sides, ("exactly_once", "at_least_once"), strict=True):
        axes.set_title(case.replace("_", " "))
        for colour, metric in zip(COLOURS, ("p50", "p99", "p99_9"), strict=False):
            rows = [row for row in report.rows if (row.case, row.metric) == (case, metric)]
            rates = [float(row.system.split()[0].replace(",", "")) for row in rows]
            _line(axes, rates, rows, colour, metric.replace("_", "."))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(rates, [row.system.split()[0] for row in rows])
        axes.minorticks_off()
        axes.set_xlabel("events per second")
    low, high = sides[0].get_ylim()
    ticks = [ms for ms in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000) if low <= ms <= high]
    sides[0].set_yticks(ticks, [f"{ms:,}" for ms in ticks])
    sides[0].set_ylabel("ms from due to committed answer")
    sides[0].legend()


def _isolation(report: Report, figure: Any) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    left.set_title("p99 with ÷ p99 without")
    pairs = [row for row in report.rows if row.metric == "p99_ratio"]
    _bars(left, pairs, lambda row: row.case, "{:.2f}")
    bounds = {row.case: row.value for row in report.rows if row.metric == "p99_ratio_upper_95"}
    left.plot(
        [bounds[row.case] for row in reversed(pairs)], range(len(pairs)), "|", markersize=14,
        markeredgewidth=2, color=COLOURS[4], label="upper 95 % bound of the mean",
    )  # fmt: skip
    left.axvline(1.10, color=MUTED, linestyle=":", label="1.10")
    left.legend(fontsize=8, **BELOW)
    right.set_title("p99, ms")
    for offset, system, colour in ((0.2, "without", COLOURS[2]), (-0.2, "with", COLOURS[0])):
        rows = [r for r in report.rows if (r.system, r.metric) == (system, "p99")]
        places = [place + offset for place in reversed(range(len(rows)))]
        right.barh(places, [row.value for row in rows], height=0.36, color=colour, label=system)
    right.set_yticks([])
    right.legend(fontsize=8, **BELOW)


def _kill(report: Report, figure: Any) -> None:
    axes = figure.subplots()
    figure.suptitle("From pulling the kill switch to the last event that it did not stop, ms")
    named = {"from_command": "from the command's start", "from_record": "from its record"}
    rows = [row for row in report.rows if row.metric in named]
    _bars(axes, rows, lambda row: f"{row.case},\n{named[row.metric]}", "{:,.0f}")


def _memory(report: Report, figure: Any) -> None:
    axes = figure.subplots()
    axes.set_title("Resident memory of one enricher")
    for (name, points), colour in zip(report.series.items(), COLOURS, strict=False):
        axes.plot(*zip(*points, strict=True), color=colour, label=name)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1e6:g} M")
    axes.set_xlabel("events answered")
    axes.set_ylabel("MiB")


def _reencode(report: Report, figure: Any) -> None:
    axes = figure.subplots()
    axes.set_title("One event answered, without Kafka, µs of CPU")
    rows = [row for row in report.rows if row.metric == "time"]
    _bars(axes, rows, lambda row: row.system, "{:.2f}")


def _telemetry(report: Report, figure: Any) -> None:
    axes = figure.subplots()
    axes.set_title("One event answered and told of, without Kafka, µs of CPU")
    rows = [row for row in report.rows if row.metric == "time"]
    _bars(axes, rows, lambda row: f"{row.case}, {row.system}", "{:.2f}")


def _window(report: Report, figure: Any) -> None:
    costs = [row for row in report.rows if row.case.startswith("cost") and row.metric == "cpu"]
    # Either may have been left out (`--case`).
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    left.set_title("Events per second, one process")
    _bars(left, [r for r in report.rows if r.metric == "throughput"], lambda r: r.system, "{:,.0f}")
    left.set_xticks([])
    left.grid(visible=False, axis="y")
    if not costs:
        right.remove()
        return
    right.set_title("µs of CPU per event")
    ticks: dict[float, str] = {}
    for case, colour in zip(dict.fromkeys(row.case for row in costs), COLOURS, strict=False):
        rows = [row for row in costs if row.case == case]
        names = [row.system.split()[0] for row in rows]
        accounts = [float(name.replace(",", "")) for name in names]
        _line(right, accounts, rows, colour, case.removeprefix("cost, "))
        ticks |= dict(zip(accounts, names, strict=True))
    right.legend()
    right.set_xscale("log")
    right.set_xticks(list(ticks), list(ticks.values()), rotation=30)
    right.minorticks_off()
    right.set_xlabel("active accounts")
    right.set_ylim(bottom=0)


def _client(report: Report, figure: Any) -> None:
    rows = [row for row in report.rows if row.metric == "p50"]
    cases = list(dict.fromkeys(row.case for row in rows))
    sides = figure.subplots(1, len(cases))
    figure.suptitle("One read through the client and beside it, p50 in µs (log scale)")
    for axes, case in zip(sides, cases, strict=True):
        mine = [row for row in rows if row.case == case]
        axes.set_title(case)
        _bars(axes, mine, lambda row: row.system, "{:,.0f}")
        axes.set_xscale("log")
        lowest, highest = min(row.low for row in mine), max(row.high for row in mine)
        axes.set_xlim(lowest / 2, highest * 6)  # with room for the figure beside the longest bar
        axes.grid(visible=False, axis="y")
    for axes in sides[1:]:
        axes.set_yticklabels([])


def _rings(report: Report, figure: Any) -> None:
    figure.suptitle("Members of a simulated ring in one candidate subgraph, mean over rings")
    sides = figure.subplots(1, 2, sharey=True)
    titles = {"ever": "at best, over the run", "end": "when the stream ends"}
    for axes, (when, title) in zip(sides, titles.items(), strict=True):
        axes.set_title(title, fontsize=9.5)
        by_system: dict[str, list[Row]] = {}
        for row in report.rows:
            if row.metric == f"{when}_together" and not row.system.startswith("lost"):
                by_system.setdefault(row.system, []).append(row)
        for number, (system, rows) in enumerate(by_system.items()):
            places = [
                place + (number - (len(by_system) - 1) / 2) * 0.2 for place in range(len(rows))
            ]
            values = [row.value for row in rows]
            spread = [
                [row.value - row.low for row in rows],
                [row.high - row.value for row in rows],
            ]
            axes.bar(
                places, values, width=0.18, color=COLOURS[number], label=system,
                yerr=spread, ecolor=INK, error_kw={"elinewidth": 1},
            )  # fmt: skip
            axes.set_xticks(range(len(rows)), [row.case.split()[-1] for row in rows])
        axes.set_ylim(0, 1)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("ring strength")
    sides[0].set_ylabel("share of active members")
    # Half of the names below each: one legend across both would run into what stands below.
    named = list(zip(*sides[0].get_legend_handles_labels(), strict=True))
    for axes, half in zip(sides, (named[:2], named[2:]), strict=True):
        handles, labels = [handle for handle, _ in half], [label for _, label in half]
        axes.legend(handles, labels, **BELOW | {"bbox_to_anchor": (0.5, -0.16)})


def _devices(report: Report, figure: Any) -> None:
    figure.suptitle("Mean energy of planted rings on virtual devices")
    axes = figure.subplots()
    by_system: dict[str, list[Row]] = {}
    for row in report.rows:
        if row.metric == "ratio":
            by_system.setdefault(row.system, []).append(row)
    for number, (system, rows) in enumerate(by_system.items()):
        shift = (number - (len(by_system) - 1) / 2) * 0.2
        spread = [
            [row.value - row.low for row in rows],
            [row.high - row.value for row in rows],
        ]
        axes.bar(
            [place + shift for place in range(len(rows))], [row.value for row in rows],
            width=0.18, color=COLOURS[number], label=system,
            yerr=spread, ecolor=INK, error_kw={"elinewidth": 1},
        )  # fmt: skip
        axes.set_xticks(range(len(rows)), [row.case for row in rows])
    axes.set_ylabel("share of the way to the minimum")
    axes.grid(visible=False, axis="x")
    axes.legend(**BELOW)


def _sampling(report: Report, figure: Any) -> None:
    from enrichment.lab.bench.sampling.plots import draw_sampling

    draw_sampling(report, figure)


def _noise(report: Report, figure: Any) -> None:
    from enrichment.lab.bench.sampling.plots import draw_noise

    draw_noise(report, figure)


def _uplift(report: Report, figure: Any) -> None:
    figure.suptitle("Average precision with ring features, less that without")
    sides = figure.subplots(1, 2, sharey=True)
    titles = {"trees": "boosted trees", "logistic": "logistic regression"}
    for axes, (short, title) in zip(sides, titles.items(), strict=True):
        axes.set_title(title, fontsize=9.5)
        axes.axvline(0, color=MUTED, linewidth=1)
        rows = [row for row in report.rows if row.metric == f"{short}_over_none"]
        systems = list(dict.fromkeys(row.system for row in rows))
        cases = list(dict.fromkeys(row.case for row in rows))
        for number, case in enumerate(cases):
            mine = [row for row in rows if row.case == case]
            places = [
                len(systems) - systems.index(row.system) - (number - (len(cases) - 1) / 2) * 0.2
                for row in mine
            ]
            spread = [
                [row.value - row.low for row in mine],
                [row.high - row.value for row in mine],
            ]
            values = [row.value for row in mine]
            axes.errorbar(
                values, places, xerr=spread, fmt="o", markersize=4, color=COLOURS[number],
                elinewidth=1, label=case,
            )  # fmt: skip
        axes.set_yticks(range(len(systems), 0, -1), systems)
        axes.locator_params(axis="x", nbins=5)
        axes.grid(visible=False, axis="y")
    sides[0].legend(fontsize=8, **BELOW | {"ncols": 1})


def _bars(axes: Any, rows: Sequence[Row], named: Callable[[Row], str], shown: str) -> None:
    """A bar for each row, its spread across, ours in a colour of its own."""
    rows = list(reversed(rows))
    values = [row.value for row in rows]
    spread = [
        [row.value - row.low for row in rows],
        [row.high - row.value for row in rows],
    ]
    colours = [COLOURS[0] if row.system.startswith("enrichment") else "#b8c4ce" for row in rows]
    axes.barh(range(len(rows)), values, color=colours, height=0.7)
    axes.errorbar(values, range(len(rows)), xerr=spread, fmt="none", ecolor=INK, elinewidth=1)
    for place, row in enumerate(rows):
        axes.annotate(
            shown.format(row.value), (row.high, place), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=8.5,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [named(row) for row in rows])
    axes.margins(x=0.15)
    axes.set_xlim(left=0)


def _line(axes: Any, xs: Sequence[float], rows: Sequence[Row], colour: str, label: str) -> None:
    """The rows' values over xs, with their spread."""
    spread = [
        [row.value - row.low for row in rows],
        [row.high - row.value for row in rows],
    ]
    values = [row.value for row in rows]
    axes.errorbar(xs, values, yerr=spread, color=colour, label=label, marker="o", capsize=3)


PLOTS: Final[dict[str, Callable[[Report, Any], None]]] = {
    "hot-path": _hot_path,
    "latency": _latency,
    "scale": _scale,
    "isolation": _isolation,
    "kill": _kill,
    "memory": _memory,
    "window": _window,
    "reencode": _reencode,
    "telemetry": _telemetry,
    "client": _client,
    "rings": _rings,
    "devices": _devices,
    "sampling": _sampling,
    "noise": _noise,
    "uplift": _uplift,
}
