"""The score: log-odds from a pipeline's terms, for every path at once. Pure.

score = 100 / (1 + exp(-(bias + sum of weight * transform(value / over)))), rounded to six decimals.
It depends on nothing but the event's numbers and the features used, both of which the enriched
record carries: scored again from itself, it gives the same bytes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from enrichment.pipelines import Pipeline, Term
from enrichment.pipelines.definition import Transform
from enrichment.records import Decision, FeatureUsed, Level, Path, Reason, Scores

REASONS_MAX: Final = 5  # what an analyst reads before looking at the features themselves
LOG_ODDS_MAX: Final = 35.0  # beyond it a double cannot tell the score from 0 or 100

# The path that serves, and what it falls back to where its estimates are not known.
ORDER: Final = {
    "quantum": (Path.QUANTUM, Path.CLASSICAL),
    "classical": (Path.CLASSICAL,),
    "heuristic": (),
}

Features = Mapping[tuple[str, str], FeatureUsed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What the terms make of one event."""

    path: Path
    scores: Scores
    level: Level
    decision: Decision
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class _Operand:
    """`event.FIELD` or `ROLE.GROUP.FEATURE`, taken apart."""

    field: str = ""
    role: str = ""
    group: str = ""
    feature: str = ""

    @classmethod
    def of(cls, reference: str) -> "_Operand":
        parts = reference.split(".")
        if parts[0] == "event":
            return cls(field=parts[1])
        return cls(role=parts[0], group=parts[1], feature=parts[2])

    def value(self, numbers: Mapping[str, float], features: Features, path: Path) -> float | None:
        """The operand as `path` sees it, or None where it is not known."""
        if self.field:
            return numbers.get(self.field)
        used = features.get((self.role, self.group))
        if used is None:
            return None
        if self.group == "ring":
            if path is Path.HEURISTIC:
                return None
            estimate = used.estimates.get(path.value)
            if estimate is None:
                return None
            if self.feature in estimate:
                return estimate[self.feature]
        return used.values.get(self.feature)


def _prepared(term: Term) -> Callable[[float], float]:
    """The term's transform and weight as one function of its quotient."""
    weight, threshold, maximum = term.weight, term.threshold, term.maximum
    match term.transform:
        case Transform.LOG1P:
            return lambda x: weight * math.log1p(max(0.0, min(x, maximum)))
        case Transform.ABOVE:
            return lambda x: weight if x > threshold else 0.0
        case Transform.IDENTITY:
            return lambda x: weight * max(-maximum, min(x, maximum))


@dataclass(frozen=True, slots=True)
class _Addend:
    """One term, ready to be evaluated."""

    name: str
    value: _Operand
    over: _Operand | None
    prior: float
    contribution: Callable[[float], float]

    def quotient(self, numbers: Mapping[str, float], features: Features, path: Path) -> float:
        """The quotient as `path` sees it; the prior where either is unknown or over is zero."""
        value = self.value.value(numbers, features, path)
        if value is None:
            return self.prior
        if self.over is None:
            return value
        over = self.over.value(numbers, features, path)
        return value / over if over else self.prior


class Scorer:
    """A score table made ready for one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        score = pipeline.score
        self._bias = score.bias
        self._order = ORDER[score.serve]
        self._levels = score.levels
        self._decisions = {
            level: Decision(getattr(score.decisions, level.value)) for level in Level
        }
        addends = [
            _Addend(
                name=term.name,
                value=_Operand.of(term.value),
                over=None if term.over is None else _Operand.of(term.over),
                prior=term.prior,
                contribution=_prepared(term),
            )
            for term in score.terms
        ]
        # Terms without a `ring` operand are the same for every path, and are evaluated once.
        self._rings = [a for a in addends if "ring" in (a.value.group, a.over and a.over.group)]
        self._common = [a for a in addends if a not in self._rings]
        self._ring_roles = sorted({a.value.role for a in self._rings if a.value.role})

    @property
    def ring_roles(self) -> Sequence[str]:
        """The roles whose `ring` features enter the score."""
        return self._ring_roles

    def score(self, numbers: Mapping[str, float], features: Features) -> Scored:
        """The score of an event with these numbers and usable features, by (role, group).

        A path is known where at least one of its estimates is; the others of its terms then stand
        at their priors. Features that may not be used must not be given.
        """
        reasons = []
        common = self._bias
        assessed = False
        for addend in self._common:
            quotient = addend.quotient(numbers, features, Path.HEURISTIC)
            contribution = addend.contribution(quotient)
            common += contribution
            reasons.append((addend.name, contribution))
            assessed = assessed or addend.value.value(numbers, features, Path.HEURISTIC) is not None
        by_path = {Path.HEURISTIC: self._ring_terms(numbers, features, Path.HEURISTIC)}
        for path in (Path.CLASSICAL, Path.QUANTUM):
            if self._knows(features, path):
                by_path[path] = self._ring_terms(numbers, features, path)
        scores = {
            path: _score(common + math.fsum(contribution for _, contribution in terms))
            for path, terms in by_path.items()
        }
        served = next((path for path in self._order if path in scores), Path.HEURISTIC)
        reasons += by_path[served]
        reasons = [reason for reason in reasons if reason[1] != 0.0]
        reasons.sort(key=lambda reason: (-abs(reason[1]), reason[0]))
        level = self._level(scores[served]) if assessed else Level.NOT_ASSESSED
        return Scored(
            path=served,
            scores=Scores(
                served=scores[served],
                heuristic=scores[Path.HEURISTIC],
                classical=scores.get(Path.CLASSICAL),
                quantum=scores.get(Path.QUANTUM),
            ),
            level=level,
            decision=self._decisions[level],
            reasons=tuple(Reason(name, round(part, 6)) for name, part in reasons[:REASONS_MAX]),
        )

    def _knows(self, features: Features, path: Path) -> bool:
        """Whether any entity of the event has an estimate by that path."""
        for role in self._ring_roles:
            used = features.get((role, "ring"))
            if used is not None and path.value in used.estimates:
                return True
        return False

    def _ring_terms(
        self, numbers: Mapping[str, float], features: Features, path: Path
    ) -> list[tuple[str, float]]:
        """(name, contribution) of the terms in which paths differ."""
        return [
            (addend.name, addend.contribution(addend.quotient(numbers, features, path)))
            for addend in self._rings
        ]

    def _level(self, score: float) -> Level:
        if score >= self._levels.highest:
            return Level.HIGHEST
        return Level.ELEVATED if score >= self._levels.elevated else Level.NORMAL


def _score(log_odds: float) -> float:
    """Log-odds as a score from 0 to 100."""
    bounded = max(-LOG_ODDS_MAX, min(log_odds, LOG_ODDS_MAX))
    return round(100.0 / (1.0 + math.exp(-bounded)), 6)
