"""How far a job's samples are from their twins', as evidence and guard both see it. Pure.

`JobEvent.differences` hold each path's mean energy over a problem's samples. In energy units they
depend on the problem; what is here does not.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

GAP_MAX: Final = 2.0
"""Of one problem, to either side: a model that is nearly flat divides by next to nothing, and one
such problem must not outvote all others."""

FLAT: Final = 1e-9
"""In energy units: random strings that are no worse than the twin say that there is no scale."""

Figures = Mapping[str, float]


def energy_gap(figures: Figures) -> float | None:
    """(mean energy - the twin's) / (random strings' - the twin's): 0 is the twin, 1 is noise.

    None where that is not recorded, or where the problem has no scale.
    """
    return _way(figures, "quantum_mean_energy", "classical_mean_energy")


def check_energy_gap(figures: Figures) -> float | None:
    """The same of a spot check, from the simulator's mean energy on."""
    return _way(figures, "quantum_mean_energy", "simulator_mean_energy")


def figure(name: str) -> Callable[[Figures], float | None]:
    """A recorded figure as it stands; None where it is not recorded, or is no number."""

    def read(figures: Figures) -> float | None:
        found = figures.get(name)
        return found if found is not None and math.isfinite(found) else None

    return read


def of_job(
    differences: Mapping[str, Figures], what: Callable[[Figures], float | None]
) -> float | None:
    """A figure's mean over the job's problems; None where no problem has it."""
    found = [value for each in differences.values() if (value := what(each)) is not None]
    return sum(found) / len(found) if found else None


def _way(figures: Figures, ours: str, twin: str) -> float | None:
    mean, start, end = (figures.get(name) for name in (ours, twin, "random_mean_energy"))
    if mean is None or start is None or end is None:
        return None
    scale = end - start
    if not math.isfinite(mean) or not math.isfinite(scale) or scale <= FLAT:
        return None
    return max(-GAP_MAX, min(GAP_MAX, (mean - start) / scale))
