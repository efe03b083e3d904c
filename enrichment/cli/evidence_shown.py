"""Evidence as people read it: figures by path, differences, sampling, counts, and the looks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from enrichment.rollout.evidence import Counts, Evidence, Figure
    from enrichment.rollout.gather import Gathered

UNKNOWN: Final = "not known"
WHOLE: Final = frozenset({"caught", "reviews"})


def as_plain(gathered: "Gathered", evidence: "Evidence") -> dict[str, Any]:
    """The evidence as JSON has it, with when each look was reached."""
    import msgspec

    looks = evidence.looks
    plain: dict[str, Any] = msgspec.to_builtins(evidence)
    return {
        "evidence": plain,
        "looks": [
            {"look": number, "bad": bad, "reached_ms": reached}
            for number, (bad, reached) in enumerate(
                zip(looks, _padded(gathered.reached_ms, len(looks)), strict=True), 1
            )
        ],
        "unreadable": gathered.unreadable,
    }


def print_evidence(gathered: "Gathered", evidence: "Evidence") -> None:
    """The evidence as tables."""
    from rich.console import Console

    from enrichment.rollout.words import time_in_words

    name = evidence.experiment_id or "none"
    until = time_in_words(evidence.until_ms)
    typer.echo(f"evidence {evidence.evidence_id} of {evidence.pipeline}, experiment {name}")
    typer.echo(f"from {time_in_words(evidence.since_ms)} to what was known by {until}")
    typer.echo(_of_look(evidence))
    console = Console(width=120)
    console.print(_counts(evidence.counts))
    console.print(_paths(evidence))
    console.print(_pairs(evidence, gathered.pipeline.rollout.gate.margin))
    console.print(_sampling(evidence))
    typer.echo(_looks(gathered, evidence))


def _of_look(evidence: "Evidence") -> str:
    level = f"intervals at {evidence.level:.1%}"
    if evidence.look:
        return f"look {evidence.look} of {len(evidence.looks)}; {level}"
    return f"no look, for your eyes only: the gate does not count it; {level}"


def _counts(counts: "Counts") -> Any:
    from rich.table import Table

    table = Table("events", "", "what that is", title="what it rests on", title_style="")
    for name, what in (
        ("events", "decided within the experiment"),
        ("matured", "old enough, and not declined: these are judged"),
        ("bad", "of the judged, those that turned out bad"),
        ("clusters", "rings of tied accounts, and single ones: what is resampled"),
        ("unknowable", "old enough, and declined: nobody will know"),
        ("unrepresented", "of those, such as no untreated event stands for"),
        ("untreated", "old enough, and never declined on a ring path's word"),
        ("outcomes", "words on these events"),
        ("unmatched", "outcomes about events that are not in the experiment"),
        ("left_out", "answers under another pipeline file, score table or experiment"),
    ):
        table.add_row(name.replace("_", " "), f"{getattr(counts, name):,}", what)
    return table


def _paths(evidence: "Evidence") -> Any:
    from rich.table import Table

    paths = evidence.paths
    table = Table("by path alone", *paths, title="figures", title_style="")
    known = (f"{told.known_share:.1%}" for told in paths.values())
    table.add_row("had an estimate of its own", *known)
    names = dict.fromkeys(name for told in paths.values() for name in told.figures)
    for name in names:
        cells = (_figure(told.figures.get(name), whole=name in WHOLE) for told in paths.values())
        table.add_row(name.replace("_", " "), *cells)
    return table


def _pairs(evidence: "Evidence", margin: float) -> Any:
    from rich.table import Table

    title = f"differences of average precision, paired; the margin is {margin:g}"
    table = Table("", "difference", "", title=title, title_style="")
    for pair, figure in evidence.differences.items():
        table.add_row(pair.replace("-", " - "), _figure(figure), _said(figure))
    return table


def _said(figure: "Figure") -> str:
    if figure.low is None or figure.high is None:
        return "not known"
    if figure.low > 0:
        return "better"
    return "worse" if figure.high < 0 else "no difference shown"


def _sampling(evidence: "Evidence") -> Any:
    from rich.table import Table

    sampling = evidence.sampling
    title = f"sampling: {sampling.jobs:,} jobs, {sampling.checks:,} spot checks"
    table = Table("", "figure", title=title, title_style="")
    shown: Mapping[str, Figure] = {
        **sampling.figures,
        "hot_path_p50_ms": evidence.hot_path_p50_ms,
        "hot_path_p99_ms": evidence.hot_path_p99_ms,
    }
    for name, figure in shown.items():
        table.add_row(name.replace("_", " "), _figure(figure))
    shares = ", ".join(f"{name} {share:.1%}" for name, share in evidence.verdict_shares.items())
    table.add_row("verdicts", shares)
    return table


def _figure(figure: "Figure | None", *, whole: bool = False) -> str:
    if figure is None or figure.value is None:
        return UNKNOWN
    if figure.low is None and figure.high is None:
        return _number(figure.value, whole)
    low, high = ("?" if end is None else _number(end, whole) for end in (figure.low, figure.high))
    return f"{_number(figure.value, whole)} ({low} to {high})"


def _number(value: float, whole: bool) -> str:
    if whole:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3f}"


def _looks(gathered: "Gathered", evidence: "Evidence") -> str:
    from enrichment.rollout.words import time_in_words

    reached = [
        f"{bad:,} bad events at {time_in_words(at_ms)}"
        for bad, at_ms in zip(evidence.looks, gathered.reached_ms, strict=False)
    ]
    done = len(gathered.reached_ms)
    said = f"looks reached: {'; '.join(reached) or 'none'}"
    if done == len(evidence.looks):
        return f"{said}. It was the last one: more takes another experiment."
    now = "" if evidence.look else f", and there are {evidence.counts.bad:,} now"
    return f"{said}. The next one is at {evidence.looks[done]:,} matured bad events{now}."


def _padded(reached_ms: tuple[int, ...], count: int) -> list[int | None]:
    return [*reached_ms, *([None] * (count - len(reached_ms)))]
