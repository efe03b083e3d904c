"""Results that are no answers: each with one fault, and words of what is said of it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from enrichment.provider.contract import Result, SampleSet

Fault = Callable[[Result], Result]
NAN: Final = float("nan")


def first(change: Callable[[SampleSet], Mapping[str, Any]]) -> Fault:
    """Something wrong in the first set of the circuit's."""
    return lambda result: replace(
        result, sets=(replace(result.sets[0], **change(result.sets[0])), *result.sets[1:])
    )


def twin(name: str, change: Callable[[SampleSet], Mapping[str, Any]]) -> Fault:
    """Something wrong in a twin's first set."""

    def fault(result: Result) -> Result:
        one, *rest = result.twins[name]
        return replace(result, twins={**result.twins, name: (replace(one, **change(one)), *rest)})

    return fault


def summary(**values: Any) -> Fault:
    """Something wrong among the figures of the first set; for shares, the same for each account."""

    def change(one: SampleSet) -> dict[str, Any]:
        figures: dict[str, Any] = {
            name: np.full_like(one.summary.low, value)
            if name in {"membership", "low", "high"}
            else value
            for name, value in values.items()
        }
        return {"summary": replace(one.summary, **figures)}

    return first(change)


SET_FAULTS: Final[dict[str, tuple[Fault, str]]] = {
    "a variable too few": (first(lambda one: {"bits": one.bits[:, :-1]}), "bits have shape"),
    "a variable too many": (
        first(lambda one: {"bits": np.hstack([one.bits, one.bits[:, :1]])}), "bits have shape",
    ),
    "one row": (first(lambda one: {"bits": one.bits[0]}), "bits have shape"),
    "half of the shots": (
        first(lambda one: {"bits": one.bits[::2], "energies": one.energies[::2]}),
        "bits have shape",
    ),
    "twice the shots": (
        first(
            lambda one: {
                "bits": np.vstack([one.bits, one.bits]),
                "energies": np.hstack([one.energies, one.energies]),
            }
        ),
        "bits have shape",
    ),
    "no shots": (first(lambda one: {"bits": one.bits[:0], "energies": one.energies[:0]}), "shape"),
    "a bit of two": (first(lambda one: {"bits": one.bits + 1}), "noughts and ones"),
    "bits that are halves": (first(lambda one: {"bits": one.bits * 0.5}), "noughts and ones"),
    "variables in another order": (
        first(lambda one: {"variables": tuple(reversed(one.variables))}), "in their order",
    ),
    "problems in another order": (
        lambda result: replace(result, sets=tuple(reversed(result.sets))), "in their order",
    ),
    "a problem too few": (lambda result: replace(result, sets=result.sets[:1]), "1 sample sets"),
    "a problem too many": (
        lambda result: replace(result, sets=(*result.sets, result.sets[0])), "3 sample sets",
    ),
    "nothing at all": (lambda result: replace(result, sets=()), "0 sample sets"),
    "an energy that is no number": (
        first(lambda one: {"energies": np.where(one.energies > -1e9, NAN, 0.0)}), "not finite",
    ),
    "an energy without bound": (
        first(lambda one: {"energies": one.energies - np.inf}), "not finite",
    ),
    "an energy too few": (first(lambda one: {"energies": one.energies[:-1]}), "not one a shot"),
    "a membership that is no number": (summary(membership=NAN), "within [0, 1]"),
    "a membership above one": (summary(membership=1.1), "within [0, 1]"),
    "an interval that is no number": (summary(low=NAN, high=NAN), "within [0, 1]"),
    "a membership too few": (
        first(lambda one: {"summary": replace(one.summary, membership=one.summary.low[:-1])}),
        "one membership a node",
    ),
    "an entropy that is no number": (summary(entropy_bits=NAN), "figure of the samples"),
    "a mean energy that is no number": (summary(mean_energy=NAN), "figure of the samples"),
    "a best energy without bound": (summary(best_energy=-np.inf), "figure of the samples"),
}  # fmt: skip
"""Of the sets that the provider drew."""

TWIN_FAULTS: Final[dict[str, tuple[Fault, str]]] = {
    "marginals that are no numbers": (
        twin("classical", lambda one: {"marginals": np.full(len(one.variables), NAN)}),
        "within [0, 1]",
    ),
    "an optimum that is no number": (
        twin("classical", lambda _one: {"optimum_energy": NAN}), "proven optimum",
    ),
    "an optimum that a sample beats": (
        twin("classical", lambda one: {"optimum_energy": one.summary.best_energy + 1.0}),
        "proven optimum",
    ),
    "a null that is no number": (
        twin("random", lambda one: {"energies": one.energies * NAN}), "random, p0",
    ),
    "a twin of fewer shots": (
        twin("random", lambda one: {"bits": one.bits[1:], "energies": one.energies[1:]}),
        "random, p0",
    ),
}  # fmt: skip
"""Of what was computed beside them."""

FAULTS: Final = {**SET_FAULTS, **TWIN_FAULTS}
