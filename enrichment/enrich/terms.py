"""The terms of a score table, ready to be evaluated. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from enrichment.pipelines import Term
from enrichment.pipelines.definition import Transform
from enrichment.records import FeatureUsed, Path

RING: Final = "ring"  # the group whose features differ by path
# Paths by position.
HEURISTIC, CLASSICAL, QUANTUM = 0, 1, 2
PATHS: Final = (Path.HEURISTIC, Path.CLASSICAL, Path.QUANTUM)

Numbers = Mapping[str, float]
Features = Mapping[tuple[str, str], FeatureUsed]  # by role and group
Operand = Callable[[Numbers, Features], float | None]


class Addend:
    """One term, ready to be evaluated as each path sees it."""

    __slots__ = ("_contribution", "_fields", "_over", "_value", "at_prior", "name", "of_ring")

    def __init__(self, term: Term) -> None:
        self.name = term.name
        self.of_ring = any(_group(reference) == RING for reference in references(term))
        self._fields = [reference.removeprefix("event.") for reference in references(term)]
        self._value = [_operand(term.value, path) for path in PATHS]
        self._over = None if term.over is None else [_operand(term.over, path) for path in PATHS]
        self._contribution = _contribution(term)
        self.at_prior = self._contribution(term.prior)

    def column(self, numbers: Mapping[str, Sequence[float]]) -> list[float]:
        """The contribution to each of many events, of a term that reads nothing else."""
        values = numbers[self._fields[0]]
        if len(self._fields) == 1:
            return list(map(self._contribution, values))
        return [
            self._contribution(value / over) if over else self.at_prior
            for value, over in zip(values, numbers[self._fields[1]], strict=True)
        ]

    def evaluate(self, numbers: Numbers, features: Features, path: int) -> tuple[float, bool]:
        """The contribution, and whether the value is known.

        The prior stands for the quotient where value or over is not known, or over is zero.
        """
        value = self._value[path](numbers, features)
        if value is None:
            return self.at_prior, False
        if self._over is None:
            return self._contribution(value), True
        over = self._over[path](numbers, features)
        return (self._contribution(value / over) if over else self.at_prior), True


def _operand(reference: str, path: Path) -> Operand:
    """`event.FIELD` or `ROLE.GROUP.FEATURE` as `path` sees it; None where it is not known."""
    parts = reference.split(".")
    if parts[0] == "event":
        field = parts[1]
        return lambda numbers, _: numbers.get(field)
    key, feature = (parts[0], parts[1]), parts[2]
    if key[1] != RING:

        def value(_: Numbers, features: Features) -> float | None:
            used = features.get(key)
            return None if used is None else used.values.get(feature)

        return value
    if path is Path.HEURISTIC:
        return lambda *_: None
    estimator = path.value

    def estimated(_: Numbers, features: Features) -> float | None:
        used = features.get(key)
        if used is None or (estimate := used.estimates.get(estimator)) is None:
            return None
        return estimate[feature] if feature in estimate else used.values.get(feature)

    return estimated


def _contribution(term: Term) -> Callable[[float], float]:
    """The term's transform and weight as one function of its quotient."""
    # Comparisons rather than min() and max(): this runs for every event.
    weight, threshold, maximum = term.weight, term.threshold, term.maximum
    match term.transform:
        case Transform.LOG1P:

            def log1p(x: float) -> float:
                bounded = x if x < maximum else maximum
                return weight * math.log1p(bounded) if bounded > 0.0 else 0.0

            return log1p
        case Transform.ABOVE:
            return lambda x: weight if x > threshold else 0.0
        case Transform.IDENTITY:

            def identity(x: float) -> float:
                bounded = x if x < maximum else maximum
                return weight * (bounded if bounded > -maximum else -maximum)

            return identity


def references(term: Term) -> list[str]:
    """What the term reads: `event.FIELD` or `ROLE.GROUP.FEATURE`."""
    return [term.value] if term.over is None else [term.value, term.over]


def _group(reference: str) -> str | None:
    """The feature group that a reference reads, None for a field of the event."""
    parts = reference.split(".")
    return None if parts[0] == "event" else parts[1]
