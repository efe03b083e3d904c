"""The score: log-odds from a pipeline's terms, for every path at once. Pure.

score = 100 / (1 + exp(-(bias + sum of weight * transform(value / over)))), rounded to six decimals.
It depends on nothing but the event's numbers and the features used, both of which the enriched
record carries: scored again from itself, it gives the same bytes.

Most terms read one entity alone. What they give is the same for every event of that entity while
its features stay as they are: it is summed up once, as the entity's `Part`, which all entities
share of which the same is known. An event's score is what its entities' parts come to together,
and what the event itself says. Terms that read several are evaluated per event.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from operator import add
from typing import Any, Final

import msgspec

from enrichment.enrich.route import Route, route_of_file
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
# What a view knows, as bits: some value of a term without ring, an estimate of either path.
KNOWN, KNOWS_CLASSICAL, KNOWS_QUANTUM = 1, 2, 4
# Parts, and joints of parts, that are kept: some 40 MB of them, which only a stream comes to whose
# entities are all unlike.
SHARED_MAX: Final = 20_000
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
    def of(cls, verdict: Verdict) -> "Seen":
        """The verdict, written."""
        return cls(verdict, msgspec.Raw(_ENCODE(verdict)), verdict.name.value)


class Part(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """What one entity's features add to a score. Entities of which the same is known share one.

    That is so of most: they are in no subgraph, or in one like many others.
    """

    # The verdict on it, as of its groups that count, and how it ranks among those of others.
    seen: Seen
    rank: int
    # The verdict on all of its groups, None where it has none.
    every: Verdict | None
    # Bits: KNOWN, KNOWS_CLASSICAL, KNOWS_QUANTUM.
    knows: int
    # The sum of its terms without ring, and of those with ring by path (priors if not known).
    common: float
    rings: tuple[float, float, float]
    # Its largest reasons by path, terms without ring among them.
    reasons: tuple[list[Ranked], list[Ranked], list[Ranked]]


class View(msgspec.Struct, frozen=True, gc=False):
    """One entity's features, for every event of it while they stay as they are."""

    used: tuple[FeatureUsed, ...]
    # The same as JSON, separated by commas.
    written: bytes
    part: Part


class Joint(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """What the entities of an event add to its score together, by path: None where not known."""

    seen: Seen
    assessed: bool
    heuristic: float
    classical: float | None
    quantum: float | None
    reasons: tuple[list[Ranked], list[Ranked], list[Ranked]]


class Scored(msgspec.Struct, frozen=True, gc=False):
    """What the terms make of one event."""

    path: Path
    scores: Scores
    level: Level
    decision: Decision
    reasons: list[Reason]
    # The served path would have declined, and the event is untreated: `decision` is then the
    # heuristic's; score, level and reasons stay the served path's.
    withheld: bool = False
    # Level, decision and path with bars between them: what is counted, made once for each of them.
    outcome: str = ""


class Scorer:
    """A score table made ready for one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        score = pipeline.score
        self._bias = score.bias
        # Where nobody says another.
        self.route = route_of_file(pipeline)
        self._levels = score.levels
        self._not_assessed, self._normal, self._elevated, self._highest = (
            _outcome(level, Decision(getattr(score.decisions, level.value)))
            for level in (Level.NOT_ASSESSED, Level.NORMAL, Level.ELEVATED, Level.HIGHEST)
        )
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
        self._reads_ring = any(
            addend.of_ring
            for addends in (*self._by_role.values(), self._mixed)
            for addend in addends
        )
        # By what is known of an entity, and by what that comes to.
        self._known: OrderedDict[Hashable, Part] = OrderedDict()
        self._parts: OrderedDict[Hashable, Part] = OrderedDict()
        self._joints: OrderedDict[tuple[Part, ...], Joint] = OrderedDict()
        # Roles that an event lacks.
        self.absent = {role: self.view(role, ()) for role in self.roles}

    def view(self, role: str, used: tuple[FeatureUsed, ...]) -> View:
        """What the features of one entity come to; values that may not be used are not in them."""
        key: list[Any] = [role]
        for each in used:
            key.append(each.verdict.reason)  # which says its verdict's name, too
            key += each.values.items()
            for path, estimate in each.estimates.items():
                key.append(path)
                key += estimate.items()
        known = tuple(key)
        if (part := self._known.get(known)) is None:
            part = self._part(role, used)
            _remember(self._known, known, part)
        return View(used, _ENCODE(used)[1:-1], part)

    def _part(self, role: str, used: tuple[FeatureUsed, ...]) -> Part:
        features = {(each.role, each.group): each for each in used}
        knows = 0
        common: list[tuple[str, float]] = []
        rings: tuple[list[tuple[str, float]], ...] = ([], [], [])
        for addend in self._by_role[role]:
            if addend.of_ring:
                for path in (HEURISTIC, CLASSICAL, QUANTUM):
                    rings[path].append((addend.name, addend.evaluate({}, features, path)[0]))
            else:
                part, known = addend.evaluate({}, features, HEURISTIC)
                common.append((addend.name, part))
                knows |= KNOWN if known else 0
        for each in used:
            knows |= KNOWS_CLASSICAL if "classical" in each.estimates else 0
            knows |= KNOWS_QUANTUM if "quantum" in each.estimates else 0
        # A ring's verdict speaks for its entity: the group `graph` is fresh as long as its shard.
        verdicts = [each.verdict for each in used if each.group == RING or not self._reads_ring]
        every = of_event([each.verdict for each in used]) if used else None
        seen = of_event(verdicts)
        key = (tuple(common), *map(tuple, rings), knows, seen, every, len(verdicts))
        if (part_ := self._parts.get(key)) is None:
            part_ = Part(
                seen=Seen.of(seen),
                rank=_RANKS[seen.name] if verdicts else UNRANKED,
                every=every,
                knows=knows,
                common=_sum(common),
                rings=(_sum(rings[0]), _sum(rings[1]), _sum(rings[2])),
                reasons=(
                    _largest(common + rings[0]),
                    _largest(common + rings[1]),
                    _largest(common + rings[2]),
                ),
            )
            _remember(self._parts, key, part_)
        return part_

    def joint(self, parts: tuple[Part, ...]) -> Joint:
        """What these entities, one for each role in order, add to a score."""
        if (joint := self._joints.get(parts)) is None:
            joint = self._joined(parts)
            _remember(self._joints, parts, joint)
        return joint

    def _joined(self, parts: tuple[Part, ...]) -> Joint:
        common = math.fsum([part.common for part in parts])
        rings = [math.fsum([part.rings[path] for part in parts]) for path in range(3)]
        knows = 0
        worst = parts[0]
        for part in parts:
            knows |= part.knows
            if part.rank > worst.rank:
                worst = part
        # Without any ring of its own an event is judged by all that its entities have.
        seen = worst.seen
        if worst.rank == UNRANKED:
            seen = Seen.of(of_event([part.every for part in parts if part.every is not None]))
        reasons = [
            sorted([reason for part in parts for reason in part.reasons[path]])[:REASONS_MAX]
            for path in range(3)
        ]
        return Joint(
            seen=seen,
            assessed=bool(knows & KNOWN or self._of_event),
            heuristic=common + rings[HEURISTIC],
            classical=common + rings[CLASSICAL] if knows & KNOWS_CLASSICAL else None,
            quantum=common + rings[QUANTUM] if knows & KNOWS_QUANTUM else None,
            reasons=(reasons[0], reasons[1], reasons[2]),
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
                if part != 0.0:
                    reasons[index].append(_ranked(name, part))
        return list(zip(bases, reasons, strict=True))

    def scored(
        self, base: float, reasons: list[Ranked], joint: Joint, route: Route | None = None
    ) -> Scored:
        """The score of an event, of its own sum and reasons and of what its entities add.

        A path is known where at least one of its estimates is; the others of its terms then stand
        at their priors. The first of the route's paths that is known serves.
        """
        route = route or self.route
        served = heuristic = _score(base + joint.heuristic)
        classical = quantum = None
        path = HEURISTIC
        if joint.classical is not None or joint.quantum is not None:
            if joint.classical is not None:
                classical = _score(base + joint.classical)
            if joint.quantum is not None:
                quantum = _score(base + joint.quantum)
            for candidate in route.order:
                found = (heuristic, classical, quantum)[candidate]
                if found is not None:
                    path, served = candidate, found
                    break
        ranked = joint.reasons[path]
        if reasons:
            ranked = sorted(reasons + ranked)
        level, decision, outcomes = self._level(served, joint.assessed)
        withheld = False
        if route.untreated and decision is Decision.DECLINE and path != HEURISTIC:
            _, decision, _ = self._level(heuristic, joint.assessed)
            withheld = decision is not Decision.DECLINE
            _, _, outcomes = _outcome(level, decision)
        return Scored(
            PATHS[path],
            Scores(served=served, heuristic=heuristic, classical=classical, quantum=quantum),
            level,
            decision,
            [reason for _, _, reason in ranked[:REASONS_MAX]],
            withheld,
            outcomes[path],
        )

    def joints(
        self, views: Sequence[Sequence[View]], numbers: Mapping[str, Sequence[float]]
    ) -> list[Joint]:
        """What the entities of each event add to its score, terms that read several among them."""
        joints = [self.joint(tuple([view.part for view in mine])) for mine in views]
        if not self._mixed:
            return joints
        return [
            self._with_mixed(joint, mine, {name: column[index] for name, column in numbers.items()})
            for index, (joint, mine) in enumerate(zip(joints, views, strict=True))
        ]

    def _with_mixed(self, joint: Joint, views: Sequence[View], numbers: Numbers) -> Joint:
        """The same with terms that read several entities, or an entity and the event."""
        features = {(used.role, used.group): used for view in views for used in view.used}
        sums = [joint.heuristic, joint.classical, joint.quantum]
        reasons = [list(mine) for mine in joint.reasons]
        assessed = joint.assessed
        for addend in self._mixed:
            for path in range(3):
                part, known = addend.evaluate(numbers, features, path)
                assessed = assessed or (known and not addend.of_ring)
                if (sum_ := sums[path]) is not None:
                    sums[path] = sum_ + part
                reasons[path] += _largest([(addend.name, part)])
        first, second, third = (sorted(mine)[:REASONS_MAX] for mine in reasons)
        return msgspec.structs.replace(
            joint,
            assessed=assessed,
            heuristic=sums[0],
            classical=sums[1],
            quantum=sums[2],
            reasons=(first, second, third),
        )

    def score(self, numbers: Numbers, features: Features, route: Route | None = None) -> Scored:
        """The score of one event with these numbers and usable features, by (role, group)."""
        columns = {name: [number] for name, number in numbers.items()}
        [(base, reasons)] = self.of_events(columns, 1)
        views = [
            self.view(role, tuple(used for key, used in features.items() if key[0] == role))
            for role in self.roles
        ]
        [joint] = self.joints([views], columns)
        return self.scored(base, reasons, joint, route)

    def _level(self, score: float, assessed: bool) -> "_Outcome":
        if not assessed:
            return self._not_assessed
        if score >= self._levels.highest:
            return self._highest
        return self._elevated if score >= self._levels.elevated else self._normal


# A level, what it leads to, and how that is counted by path.
_Outcome = tuple[Level, Decision, tuple[str, ...]]


def _outcome(level: Level, decision: Decision) -> _Outcome:
    names = tuple(f"{level.value}|{decision.value}|{path.value}" for path in PATHS)
    return level, decision, names


def _remember(memory: OrderedDict[Any, Any], key: Hashable, value: object) -> None:
    """Keep a value; one that is too many takes the oldest's place.

    Letting go of all at once takes a tenth of a second, in which nothing is answered (measured).
    """
    if len(memory) >= SHARED_MAX:
        memory.popitem(last=False)
    memory[key] = value


def _sum(parts: list[tuple[str, float]]) -> float:
    return math.fsum([part for _, part in parts])


def _largest(parts: list[tuple[str, float]]) -> list[Ranked]:
    """The reasons that may be among an event's, largest first; what says nothing is none."""
    return sorted([_ranked(name, part) for name, part in parts if part != 0.0])[:REASONS_MAX]


@lru_cache(maxsize=65_536)  # amounts and shares repeat
def _ranked(term: str, part: float) -> Ranked:
    """The term's reason."""
    return (-abs(part), term, Reason(term, round(part, 6)))


def _score(log_odds: float) -> float:
    """Log-odds as a score from 0 to 100."""
    if log_odds > LOG_ODDS_MAX:
        log_odds = LOG_ODDS_MAX
    elif log_odds < -LOG_ODDS_MAX:
        log_odds = -LOG_ODDS_MAX
    return round(100.0 / (1.0 + math.exp(-log_odds)), 6)
