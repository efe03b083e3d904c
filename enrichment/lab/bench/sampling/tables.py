"""The docs' tables, made from a report: what a page shows is what was measured, and stays so.

A page marks where a table goes with ``<!-- table sampling quality -->``, on a line of its own, and
where it ends with ``<!-- end -->``; what lies between is replaced.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from enrichment.lab.bench.report import Report, Row
from enrichment.lab.bench.sampling import noise, quality, speed, worker
from enrichment.lab.bench.sampling.coverage import INSIDE
from enrichment.lab.bench.sampling.run import NAME

MARK: Final = re.compile(
    r"(?P<open><!-- table (?P<report>\S+) (?P<table>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)

Rows = Mapping[tuple[str, str, str], Row]
"""(case, system, metric) -> row."""


def put(report: Report, page: Path) -> list[str]:
    """Put the report's tables where the page marks them; the names of those that were put.

    A table whose case was not measured stays as it is.
    """
    done: list[str] = []
    rows = {(row.case, row.system, row.metric): row for row in report.rows}

    def filled(found: re.Match[str]) -> str:
        make = TABLES.get((found["report"], found["table"]))
        lines = make(rows) if make is not None and found["report"] == report.name else []
        if not lines:
            return found[0]
        done.append(found["table"])
        return found["open"] + "\n".join(lines) + "\n" + found["end"]

    text = MARK.sub(filled, page.read_text())
    if done:
        page.write_text(text)
    return done


def _speed(rows: Rows) -> list[str]:
    """Problems per second by path and size, and how many times as fast the direct path is."""
    lines: list[str] = []
    for kind in speed.KINDS:
        sizes = [
            size
            for size in speed.SIZES
            if (_speed_case(size, kind), speed.DIRECT, "problems") in rows
        ]
        if not sizes:
            return []
        if not lines:
            lines = _head(["problems/s", *(f"n = {size}" for size in sizes)])
        for path in speed.PATHS:
            cells = [_rate(rows, _speed_case(size, kind), path) for size in sizes]
            lines.append(_line([f"{path}, {kind}", *cells]))
    return lines


def _speed_case(size: int, kind: str) -> str:
    return f"speed, n={size}, {kind}"


def _rate(rows: Rows, case: str, path: str) -> str:
    """A rate, and beside a peer's how many times as fast the direct path is."""
    rate = _count(rows[case, path, "problems"].value)
    ratio = rows.get((case, f"{speed.DIRECT} ÷ {path}", "ratio"))
    return rate if ratio is None else f"{rate} (÷ {ratio.value:.2g})"


def _reached(rows: Rows) -> list[str]:
    """The figures that are wanted, with their spread."""
    case = f"worker, n={worker.SIZE}, {speed.DENSE}"
    wanted = (
        (
            (_speed_case(12, speed.DENSE), f"{speed.DIRECT} ÷ {speed.BY_RUN}", "ratio"),
            f"{speed.DIRECT} ÷ `{speed.BY_RUN}`, n = 12, dense",
            "8",
        ),
        ((case, worker.SYSTEM, "problems"), "whole worker, problems/s of a core", "500"),
        (
            (case, f"{worker.SYSTEM} ÷ {worker.BY_RUN_SYSTEM}", "ratio"),
            f"whole worker ÷ the same with `{speed.BY_RUN}`",
            "3",
        ),
        (
            ("quality, n=12", "QAOA p=2", "optimum_found"),
            "optimum found in 1,000 shots, n = 12, p = 2",
            ".95",
        ),
        (
            ("quality, n=12", quality.RANDOM, "optimum_found"),
            "the same by 1,000 random strings",
            "(beside it)",
        ),
        (
            ("coverage, 1,000 shots", INSIDE, "coverage"),
            "`shot_interval` holds the true membership inside (.05, .95)",
            ".93 to .97",
        ),
    )
    found = [(rows[name], said, least) for name, said, least in wanted if name in rows]
    if not found:
        return []
    return [
        *_head(["figure", "wanted", "median", "lowest and highest run"]),
        *(
            _line([said, least, _number(row.value), f"{_number(row.low)} to {_number(row.high)}"])
            for row, said, least in found
        ),
    ]


def _quality(rows: Rows) -> list[str]:
    """Each sampler's figures on each size."""
    lines: list[str] = []
    for size in quality.SIZES:
        case = f"quality, n={size}"
        systems = [system for (of, system, metric) in rows if (of, metric) == (case, "auc")]
        for system in systems:
            error = rows[case, system, "auc_error"].value
            over = rows.get((case, system, "auc_over_random"))
            over_error = rows.get((case, system, "auc_over_random_error"))
            beside = ""
            if over is not None and over_error is not None:
                beside = f"{_signed(over.value)} ± {_number(over_error.value)}"
            reads = rows.get((case, system, "reads"))
            name = system if reads is None else f"{system} ({_count(reads.value)} reads)"
            lines.append(
                _line(
                    [
                        str(size),
                        name,
                        _number(rows[case, system, "optimum_found"].value),
                        _number(rows[case, system, "ratio"].value),
                        f"{_number(rows[case, system, 'auc'].value)} ± {_number(error)}",
                        beside,
                    ]
                )
            )
    head = ["n", "sampler", "optimum found", "ratio", "AUC", "AUC above random's"]
    return [*_head(head), *lines] if lines else []


def _coverage(rows: Rows) -> list[str]:
    """Coverage and width by the true membership, for each number of shots."""
    cases = list(dict.fromkeys(case for case, _, metric in rows if metric == "coverage"))
    if not cases:
        return []
    places = dict.fromkeys(system for _, system, metric in rows if metric == "coverage")
    shots = [case.removeprefix("coverage, ") for case in cases]
    head = ["true membership", "intervals"]
    for each in shots:
        head += [f"held, {each}", f"width, {each}"]
    lines = _head(head)
    for place in places:
        cells = [place, _count(rows[cases[0], place, "intervals"].value)]
        for case in cases:
            cells += [
                _number(rows[case, place, "coverage"].value),
                _number(rows[case, place, "width"].value),
            ]
        lines.append(_line(cells))
    return lines


def _memory(rows: Rows) -> list[str]:
    """Resident memory at both moments."""
    of_parent = [metric for case, system, metric in rows if (case, system) == ("memory", "parent")]
    if not of_parent:
        return []
    head = ["MiB", *(metric.replace("resident_after_", "after ") for metric in of_parent)]
    return [
        *_head(head),
        *(
            _line([who, *(f"{rows['memory', who, metric].value:.1f}" for metric in of_parent)])
            for who in ("parent", "child")
        ),
    ]


def _noise(rows: Rows) -> list[str]:
    """Ideal and virtual beside each other."""
    cases = list(dict.fromkeys(case for case, _, _ in rows))
    head = [
        "circuit", "ratio, ideal", "virtual", "corrected", "optimum found", "AUC, ideal", "virtual",
        "mean \\|Δ membership\\|", "shots alone",
    ]  # fmt: skip
    lines = []
    for case in cases:
        wanted = (
            (noise.IDEAL, "ratio"),
            (noise.VIRTUAL, "ratio"),
            (noise.VIRTUAL, "ratio_corrected"),
            (noise.VIRTUAL, "optimum_found"),
            (noise.IDEAL, "auc"),
            (noise.VIRTUAL, "auc"),
            (noise.VIRTUAL, "membership_gap"),
            (noise.AGAIN, "membership_gap"),
        )
        name = case.replace("=", " = ").replace(" p", ", p")
        lines.append(_line([name, *(_number(rows[case, *each].value) for each in wanted)]))
    return [*_head(head), *lines] if lines else []


TABLES: Final[Mapping[tuple[str, str], Callable[[Rows], list[str]]]] = {
    (NAME, "reached"): _reached,
    (NAME, "speed"): _speed,
    (NAME, "quality"): _quality,
    (NAME, "coverage"): _coverage,
    (NAME, "memory"): _memory,
    (noise.NAME, "noise"): _noise,
}


def _head(names: Sequence[str]) -> list[str]:
    """A table's first two lines."""
    return [_line(names), "|" + "---|" * len(names)]


def _line(cells: Iterable[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"


def _count(value: float) -> str:
    """A number of things: in three digits where it is small, else whole."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _number(value: float) -> str:
    """A share as .95, larger figures in three digits."""
    if abs(value) < 1:
        return _share(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _share(value: float) -> str:
    """Three decimals, no zero before the point."""
    text = f"{value:.3f}"
    if text in {"1.000", "0.000", "-0.000"}:
        return text.lstrip("-")[0]
    return text.replace("0.", ".", 1)


def _signed(value: float) -> str:
    """A difference with its sign."""
    return ("+" if value >= 0 else "-") + _number(abs(value))
