"""What both kinds of fit have in common: what is asked for, and calibration curves as tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from enrichment.lab.calibration import Bin
    from enrichment.lab.fit_run import Sources
    from enrichment.pipelines import Pipeline
    from enrichment.rollout.bootstrap import Bootstrap

HELD_OUT: Final = "held-out events, 95 %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a fit is to be made of, and where its results go."""

    pipeline: "Pipeline"
    sources: "Sources"
    draws: "Bootstrap"
    target: Path
    version: str
    plot: Path | None
    as_json: bool


def print_bins(title: str, bins: "Sequence[Bin]") -> None:
    """The calibration curve as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("predicted", "observed", "95 %", "bad", "events", title=title)
    for each in bins:
        table.add_row(
            f"{each.predicted:.4f}",
            f"{each.observed:.4f}",
            f"{each.low:.4f} to {each.high:.4f}",
            f"{each.bad:,}",
            f"{each.events:,}",
        )
    Console(width=110).print(table)


def shown_interval(interval: object, digits: int = 3) -> str:
    """An interval in one cell."""
    from enrichment.rollout.bootstrap import Interval

    if not isinstance(interval, Interval):
        return "the same"
    low, high = f"{interval.low:.{digits}f}", f"{interval.high:.{digits}f}"
    return f"{interval.value:.{digits}f} ({low} to {high})"
