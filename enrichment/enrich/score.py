"""The score: log-odds from a pipeline's terms, for every path at once. Pure.

score = 100 / (1 + exp(-(bias + sum of weight * transform(value / over)))), rounded to six decimals.
It depends on nothing but the event's numbers and the features used, both of which the enriched
record carries: scored again from itself, it gives the same bytes.

Most terms read one entity alone. What they give is the same for every event of that entity while
its features stay as they are: it is summed up once, as the entity's `View`, and an event's score
adds a few views to what the event itself says. Terms that read several are evaluated per event.
"""

import math
from collections.abc import Mapping, Sequence
from operator import add
from typing import Final

import msgspec

from enrichment.enrich.terms import (
    CLASSICAL,
    HEURISTIC,
    PATHS,
    QUANTUM,
    RING,
    Addend,
    Features,
    Numbers,
    references,
)
from enrichment.feature.verdict import of_event
from enrichment.pipelines import Pipeline
from enrichment.records import (
    Decision,
    FeatureUsed,
    Level,
    Path,
    Reason,
    Scores,
    Verdict,
    VerdictName,
)

REASONS_MAX: Final = 5  # what an analyst reads before looking at the features themselves
LOG_ODDS_MAX: Final = 35.0  # beyond it a double cannot tell the score from 0 or 100
# The order in which a path serves where those before are not known.
ORDER: Final = {
    "quantum": (QUANTUM, CLASSICAL, HEURISTIC),
    "classical": (CLASSICAL, HEURISTIC),
    "heuristic": (HEURISTIC,),
}
# What a view knows, as bits: some value of a term without ring, an estimate of either path.
KNOWN, KNOWS_CLASSICAL, KNOWS_QUANTUM = 1, 2, 4
KNOWS: Final = (0, KNOWS_CLASSICAL, KNOWS_QUANTUM)
_RANKS: Final = {
    VerdictName.MISSING: 0, VerdictName.FRESH: 1, VerdictName.STALE: 2, VerdictName.FALLBACK: 3,
}  # fmt: skip
UNRANKED: Final = -1

# (-|contribution|, term, reason): sorted, the largest come first, and ties by name.
Ranked = tuple[float, str, Reason]

_ENCODE: Final = msgspec.json.Encoder().encode


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A verdict, and what is asked of it for every event: its JSON, and its name as text."""

    verdict: Verdict
    written: msgspec.Raw
    name: str

    @classmethod
    def of(cls, verdicts: list[Verdict]) -> "Seen":
        """What these verdicts on an event's entities come to."""
        verdict = of_event(verdicts)
        return cls(verdict, msgspec.Raw(_ENCODE(verdict)), verdict.name.value)


class View(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one entity's features come to, for every event of it while they stay as they are."""

    used: tuple[FeatureUsed, ...]
    # The same as JSON, its items separated by commas.
    written: bytes
    # The verdict on it, and how that ranks among those on the event's other entities.
    seen: Seen
    rank: int
    # Bits: KNOWN, KNOWS_CLASSICAL, KNOWS_QUANTUM.
    knows: int
    # The sum of its terms without ring, and of those with ring by path (priors if not known).
    common: float
    classical: float
    quantum: float
    # Reasons by path, terms without ring among them.
    reasons: tuple[list[Ranked], list[Ranked], list[Ranked]]


def verdict_of(views: Sequence[View]) -> Seen:
    """The event's verdict: the worst, missing only where all are missing.

    Those of its `ring` groups count, or all where its entities have none.
    """
    worst = views[0]
    for view in views:
        if view.rank > worst.rank:
            worst = view
    if worst.rank == UNRANKED:
        return Seen.of([used.verdict for view in views for used in view.used])
    return worst.seen


class Scored(msgspec.Struct, frozen=True, gc=False):
    """What the terms make of one event."""

    path: Path
    scores: Scores
    level: Level
    decision: Decision
    reasons: list[Reason]


class Scorer:
    """A score table made ready for one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        score = pipeline.score
        self._bias = score.bias
        self._order = ORDER[score.serve]
        self._levels = score.levels
        self._outcomes = {
            level: (level, Decision(getattr(score.decisions, level.value))) for level in Level
        }
        self.roles = tuple(pipeline.entities)
        self._by_role: dict[str, list[Addend]] = {role: [] for role in self.roles}
        self._of_event: list[Addend] = []
        self._mixed: list[Addend] = []
        for term in score.terms:
            owners = {reference.split(".")[0] for reference in references(term)}
            addend = Addend(term)
            if owners == {"event"}:
                self._of_event.append(addend)
            elif len(owners) == 1:
                self._by_role[owners.pop()].append(addend)
            else:
                self._mixed.append(addend)
        self._priors = math.fsum(
            addend.at_prior
            for addends in (*self._by_role.values(), self._mixed)
            for addend in addends
            if addend.of_ring
        )
        self._reads_ring = any(
            addend.of_ring
            for addends in (*self._by_role.values(), self._mixed)
            for addend in addends
        )
        # Roles that an event lacks.
        self.absent = {role: self.view(role, ()) for role in self.roles}

    def view(self, role: str, used: tuple[FeatureUsed, ...]) -> View:
        """What the features of one entity come to; values that may not be used are not in them."""
        features = {(each.role, each.group): each for each in used}
        knows = 0
        common: list[Ranked] = []
        rings: tuple[list[Ranked], ...] = ([], [], [])
        sums = [0.0, 0.0, 0.0, 0.0]
        for addend in self._by_role[role]:
            for path in (HEURISTIC, CLASSICAL, QUANTUM) if addend.of_ring else (HEURISTIC,):
                part, known = addend.evaluate({}, features, path)
                sums[path if addend.of_ring else 3] += part
                (rings[path] if addend.of_ring else common).extend(_ranked(addend.name, part))
                if known and not addend.of_ring:
                    knows |= KNOWN
        for path in (CLASSICAL, QUANTUM):
            if any(PATHS[path].value in each.estimates for each in used):
                knows |= KNOWS[path]
        # A ring's verdict speaks for its entity: the group `graph` is fresh as long as its shard.
        verdicts = [each.verdict for each in used if each.group == RING or not self._reads_ring]
        seen = Seen.of(verdicts)
        return View(
            used=used,
            written=b",".join([_ENCODE(each) for each in used]),
            seen=seen,
            rank=_RANKS[seen.verdict.name] if verdicts else UNRANKED,
            knows=knows,
            common=sums[3],
            classical=sums[CLASSICAL],
            quantum=sums[QUANTUM],
            reasons=(
                sorted(common + rings[0]),
                sorted(common + rings[1]),
                sorted(common + rings[2]),
            ),
        )

    def of_events(
        self, numbers: Mapping[str, Sequence[float]], count: int
    ) -> list[tuple[float, list[Ranked]]]:
        """Of each event: the bias and its own terms' sum, and their reasons."""
        bases = [self._bias] * count
        reasons: list[list[Ranked]] = [[] for _ in range(count)]
        for addend in self._of_event:
            parts = addend.column(numbers)
            bases = list(map(add, bases, parts))
            name = addend.name
            for index, part in enumerate(parts):
                reasons[index] += _ranked(name, part)
        return list(zip(bases, reasons, strict=True))

    def scored(
        self,
        base: float,
        reasons: list[Ranked],
        views: Sequence[View],
        numbers: Mapping[str, Sequence[float]],
        index: int = 0,
    ) -> Scored:
        """The score of an event, of its own sum and reasons and the views of all roles in order.

        A path is known where at least one of its estimates is; the others of its terms then stand
        at their priors. `numbers` are the event's at `index`, for terms that read several entities.
        """
        common = base
        knows = KNOWN if self._of_event else 0
        for view in views:
            common += view.common
            knows |= view.knows
        mixed: list[list[Ranked]] = [[], [], []]
        if self._mixed:
            mine = {name: column[index] for name, column in numbers.items()}
            more, known = self._mix(views, mine, mixed)
            common += more[3]
            knows |= known
        classical = quantum = None
        served = heuristic = _score(common + self._priors)
        path = HEURISTIC
        if knows > KNOWN:
            if knows & KNOWS_CLASSICAL:
                part = math.fsum([view.classical for view in views])
                classical = _score(common + (part + more[CLASSICAL] if self._mixed else part))
            if knows & KNOWS_QUANTUM:
                part = math.fsum([view.quantum for view in views])
                quantum = _score(common + (part + more[QUANTUM] if self._mixed else part))
            for candidate in self._order:
                found = (heuristic, classical, quantum)[candidate]
                if found is not None:
                    path, served = candidate, found
                    break
        ranked = reasons + mixed[path]
        for view in views:
            ranked += view.reasons[path]
        ranked.sort()
        level, decision = (
            self._level(served) if knows & KNOWN else self._outcomes[Level.NOT_ASSESSED]
        )
        return Scored(
            PATHS[path],
            Scores(served=served, heuristic=heuristic, classical=classical, quantum=quantum),
            level,
            decision,
            [reason for _, _, reason in ranked[:REASONS_MAX]],
        )

    def score(self, numbers: Numbers, features: Features) -> Scored:
        """The score of one event with these numbers and usable features, by (role, group)."""
        columns = {name: [number] for name, number in numbers.items()}
        [(base, reasons)] = self.of_events(columns, 1)
        views = [
            self.view(role, tuple(used for key, used in features.items() if key[0] == role))
            for role in self.roles
        ]
        return self.scored(base, reasons, views, columns)

    def _mix(
        self, views: Sequence[View], numbers: Numbers, reasons: list[list[Ranked]]
    ) -> tuple[list[float], int]:
        """Sums by path, and at 3 without ring, of the terms that read several entities."""
        features = {(used.role, used.group): used for view in views for used in view.used}
        sums = [0.0, 0.0, 0.0, 0.0]
        knows = 0
        for addend in self._mixed:
            for path in (HEURISTIC, CLASSICAL, QUANTUM):
                part, known = addend.evaluate(numbers, features, path)
                reasons[path] += _ranked(addend.name, part)
                if addend.of_ring:
                    sums[path] += part
                elif path == HEURISTIC:
                    sums[3] += part
                    knows |= KNOWN if known else 0
        return sums, knows

    def _level(self, score: float) -> tuple[Level, Decision]:
        if score >= self._levels.highest:
            return self._outcomes[Level.HIGHEST]
        return self._outcomes[Level.ELEVATED if score >= self._levels.elevated else Level.NORMAL]


def _ranked(term: str, part: float) -> list[Ranked]:
    """The term's reason, unless it says nothing."""
    return [] if part == 0.0 else [(-abs(part), term, Reason(term, round(part, 6)))]


def _score(log_odds: float) -> float:
    """Log-odds as a score from 0 to 100."""
    if log_odds > LOG_ODDS_MAX:
        log_odds = LOG_ODDS_MAX
    elif log_odds < -LOG_ODDS_MAX:
        log_odds = -LOG_ODDS_MAX
    return round(100.0 / (1.0 + math.exp(-log_odds)), 6)
