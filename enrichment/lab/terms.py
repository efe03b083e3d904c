"""What the terms of a score table read in an enriched record: operands, quotients, transforms.

The score itself is `enrichment.enrich.score`'s business, and is made for speed. Here the same
formula is spelt out term by term, for a fit, which needs every transformed quotient, and for an
explanation, which shows the operands. Tests hold the two against each other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from enrichment.pipelines import Pipeline, Term
from enrichment.pipelines.definition import Transform
from enrichment.records import FeatureUsed

HEURISTIC: Final = "heuristic"
RING: Final = "ring"  # the group whose features differ by path
# What serves where it is known, and what does where it is not.
LESSER: Final = {
    "quantum": ("quantum", "classical", HEURISTIC),
    "classical": ("classical", HEURISTIC),
    HEURISTIC: (HEURISTIC,),
}
Features = Mapping[tuple[str, str], FeatureUsed]


class Observed(msgspec.Struct, frozen=True):
    """What of an enriched record its score rests on, and what tells it from others."""

    event_id: str
    pipeline: str
    occurred_at_ms: int
    event: msgspec.Raw
    features: tuple[FeatureUsed, ...]
    pipeline_version: str
    score_version: str

    def by_role(self) -> Features:
        """The features by (role, group), as the scorer takes them."""
        return {(each.role, each.group): each for each in self.features}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One term as one path sees it in one record. `transformed` times the weight is added."""

    term: Term
    value: float | None
    over: float | None
    # `value / over`, or the prior where that is not known.
    quotient: float
    at_prior: bool
    transformed: float

    @property
    def contribution(self) -> float:
        """What the term adds to the log-odds."""
        return self.term.weight * self.transformed


def numbers_of(pipeline: Pipeline, event: bytes | msgspec.Raw) -> dict[str, float]:
    """The numbers of the event that score terms read."""
    fields = {
        reference.removeprefix("event.")
        for term in pipeline.score.terms
        for reference in (term.value, term.over)
        if reference is not None and reference.startswith("event.")
    }
    if not fields:
        return {}
    decoded: dict[str, Any] = msgspec.json.decode(event)
    return {name: float(decoded[name]) for name in fields if _is_number(decoded.get(name))}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def known_paths(features: Features) -> tuple[str, ...]:
    """The paths of which at least one estimate is known; the heuristic always is."""
    found = [used.estimates for (_, group), used in features.items() if group == RING]
    return tuple(
        path
        for path in LESSER["quantum"]
        if path == HEURISTIC or any(path in estimates for estimates in found)
    )


def served_path(serve: str, features: Features) -> str:
    """The path that answers: the one that should serve, or the best lesser one that is known."""
    known = known_paths(features)
    return next(path for path in LESSER[serve] if path in known)


def reads_ring(term: Term) -> bool:
    """Whether the term reads features that differ by path."""
    references = [term.value] if term.over is None else [term.value, term.over]
    return any(reference.split(".")[1] == RING for reference in references if "." in reference)


def part(term: Term, path: str, numbers: Mapping[str, float], features: Features) -> Part:
    """The term as that path sees it."""
    value = _operand(term.value, path, numbers, features)
    over = None if term.over is None else _operand(term.over, path, numbers, features)
    if value is None or (term.over is not None and not over):
        quotient, at_prior = term.prior, True
    else:
        quotient, at_prior = (value if term.over is None or over is None else value / over), False
    return Part(
        term=term,
        value=value,
        over=over,
        quotient=quotient,
        at_prior=at_prior,
        transformed=transformed(term, quotient),
    )


def transformed(term: Term, quotient: float) -> float:
    """The quotient, bounded and transformed: what a weight is fitted to."""
    match term.transform:
        case Transform.LOG1P:
            bounded = min(quotient, term.maximum)
            return math.log1p(bounded) if bounded > 0.0 else 0.0
        case Transform.ABOVE:
            return 1.0 if quotient > term.threshold else 0.0
        case Transform.IDENTITY:
            return max(-term.maximum, min(quotient, term.maximum))


def _operand(
    reference: str, path: str, numbers: Mapping[str, float], features: Features
) -> float | None:
    """`event.FIELD` or `ROLE.GROUP.FEATURE` as the path sees it; None where it is not known."""
    first, group, *rest = reference.split(".")
    if first == "event":
        return numbers.get(group)
    used = features.get((first, group))
    if used is None:
        return None
    if group != RING:
        return used.values.get(rest[0])
    estimate = used.estimates.get(path)
    if path == HEURISTIC or estimate is None:
        return None
    return estimate[rest[0]] if rest[0] in estimate else used.values.get(rest[0])
