"""The score: log-odds from a pipeline's terms, for every path at once. Pure.

score = 100 / (1 + exp(-(bias + sum of weight * transform(value / over)))), rounded to six decimals.
It depends on nothing but the event's numbers and the features used, both of which the enriched
record carries: scored again from itself, it gives the same bytes.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from enrichment.pipelines import Pipeline, Term
from enrichment.pipelines.definition import Transform
from enrichment.records import Decision, FeatureUsed, Level, Path, Reason, Scores

REASONS_MAX: Final = 5  # what an analyst reads before looking at the features themselves
LOG_ODDS_MAX: Final = 35.0  # beyond it a double cannot tell the score from 0 or 100

# The path that serves, and what it falls back to where its estimates are not known. By name: an
# enum's hash is a call of Python code, and the hot path looks paths up ten times for every event.
ORDER: Final = {
    "quantum": ("quantum", "classical", "heuristic"),
    "classical": ("classical", "heuristic"),
    "heuristic": ("heuristic",),
}
PATHS: Final = {path.value: path for path in Path}

RING: Final = "ring"  # the group whose features differ by path

Numbers = Mapping[str, float]
Features = Mapping[tuple[str, str], FeatureUsed]
Operand = Callable[[Numbers, Features], float | None]


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """What the terms make of one event."""

    path: Path
    scores: Scores
    level: Level
    decision: Decision
    reasons: tuple[Reason, ...]


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
    # Comparisons rather than min() and max(): this runs some ten times for every event.
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


class _Addend:
    """One term as one path sees it, ready to be evaluated."""

    __slots__ = ("_contribution", "_over", "_value", "at_prior", "name")

    def __init__(self, term: Term, path: Path) -> None:
        self.name = term.name
        self._value = _operand(term.value, path)
        self._over = None if term.over is None else _operand(term.over, path)
        self._contribution = _contribution(term)
        self.at_prior = self._contribution(term.prior)

    def evaluate(self, numbers: Numbers, features: Features) -> tuple[float, bool]:
        """The contribution, and whether the value is known.

        The prior stands for the quotient where value or over is not known, or over is zero.
        """
        value = self._value(numbers, features)
        if value is None:
            return self.at_prior, False
        if self._over is None:
            return self._contribution(value), True
        over = self._over(numbers, features)
        return (self._contribution(value / over) if over else self.at_prior), True


class Scorer:
    """A score table made ready for one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        score = pipeline.score
        self._bias = score.bias
        self._order = ORDER[score.serve]
        self._levels = score.levels
        self._normal, self._elevated, self._highest, self._not_assessed = (
            (level, Decision(getattr(score.decisions, level.value)))
            for level in (Level.NORMAL, Level.ELEVATED, Level.HIGHEST, Level.NOT_ASSESSED)
        )
        # Terms without a `ring` operand are the same for every path, and are evaluated once.
        rings = [term for term in score.terms if RING in _groups(term)]
        self._common = [_Addend(t, Path.HEURISTIC) for t in score.terms if t not in rings]
        self._rings = {
            path.value: [_Addend(term, path) for term in rings]
            for path in (Path.CLASSICAL, Path.QUANTUM)
        }
        # The heuristic knows no estimate: its ring terms stand at their priors.
        self._priors = [(a.name, a.at_prior) for a in (_Addend(t, Path.HEURISTIC) for t in rings)]
        self._ring_keys = sorted(
            {(term.value.split(".")[0], RING) for term in rings if not _of_event(term.value)}
        )

    def score(self, numbers: Mapping[str, float], features: Features) -> Scored:
        """The score of an event with these numbers and usable features, by (role, group).

        A path is known where at least one of its estimates is; the others of its terms then stand
        at their priors. Features that may not be used must not be given.
        """
        reasons = []
        common = self._bias
        assessed = False
        for addend in self._common:
            contribution, known = addend.evaluate(numbers, features)
            common += contribution
            reasons.append((addend.name, contribution))
            assessed = assessed or known
        parts = {"heuristic": self._priors}
        for path, addends in self._rings.items():
            if self._knows(features, path):
                parts[path] = [(a.name, a.evaluate(numbers, features)[0]) for a in addends]
        scores = {
            path: _score(common + math.fsum([part for _, part in terms]))
            for path, terms in parts.items()
        }
        served = next(path for path in self._order if path in scores)
        reasons += parts[served]
        reasons = [reason for reason in reasons if reason[1] != 0.0]
        reasons.sort(key=lambda reason: (-abs(reason[1]), reason[0]))
        level, decision = self._level(scores[served]) if assessed else self._not_assessed
        return Scored(
            path=PATHS[served],
            scores=Scores(
                served=scores[served],
                heuristic=scores["heuristic"],
                classical=scores.get("classical"),
                quantum=scores.get("quantum"),
            ),
            level=level,
            decision=decision,
            reasons=tuple(Reason(name, round(part, 6)) for name, part in reasons[:REASONS_MAX]),
        )

    def _knows(self, features: Features, path: str) -> bool:
        """Whether any entity of the event has an estimate by that path."""
        for key in self._ring_keys:
            used = features.get(key)
            if used is not None and path in used.estimates:
                return True
        return False

    def _level(self, score: float) -> tuple[Level, Decision]:
        if score >= self._levels.highest:
            return self._highest
        return self._elevated if score >= self._levels.elevated else self._normal


def _of_event(reference: str) -> bool:
    return reference.startswith("event.")


def _groups(term: Term) -> set[str]:
    """The feature groups that the term reads."""
    references = [term.value] if term.over is None else [term.value, term.over]
    return {reference.split(".")[1] for reference in references if not _of_event(reference)}


def _score(log_odds: float) -> float:
    """Log-odds as a score from 0 to 100."""
    bounded = max(-LOG_ODDS_MAX, min(log_odds, LOG_ODDS_MAX))
    return round(100.0 / (1.0 + math.exp(-bounded)), 6)
