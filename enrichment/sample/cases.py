"""From memberships to cases: when a ring is one, and which case it is.

A problem gives a *ring* when at least `members_min` of its accounts reach `membership_min` and the
subgraph that these accounts make has a density (mean clipped adjacency) of at least `density_min`.

The overlap rule says which known case of the shard a ring continues. Ring and case *match* when
they have at least two accounts in common, and those are at least half of the smaller of the two:
so a case that grows or shrinks stays itself, also until none is left of those it began with, as
long as each step keeps half. Matches are taken by the most accounts in common, then by the older
case, then by the ring whose members' ids come first: the order of rings in a micro-batch says
nothing. Where a case splits, the larger part keeps its id, and the other becomes a case of its own.
Where cases merge, the one with the most in common goes on and names the others as `merged`; those
are withdrawn (a tombstone). A case that nothing continues stays as it was last seen. A case with
the same members, ties, amount and words on it is not published again.

What outcomes make of a case is `status`. Here they are brought to the cases that they concern.

Pure: the known cases are held here, and what changed is returned.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import msgspec

from enrichment.pipelines.definition import Cases
from enrichment.records.case import Case, CaseMember, CaseStatus, Evidence
from enrichment.records.micro_batch import MicroBatch, Problem
from enrichment.records.outcome import Outcome
from enrichment.sample.estimate import density
from enrichment.sample.outcomes import Said
from enrichment.sample.status import judged, last_verdict, remembered

OVERLAP_MIN: Final = 2
"""One account in common says nothing: people move between devices."""

OVERLAP_SHARE_MIN: Final = 0.5
"""Of the smaller of ring and case."""

CASES_MAX: Final = 20_000
"""Known cases of one partition: about 40 MB; the one seen longest ago is forgotten first."""

MERGED_MAX: Final = 100
"""Cases taken in that a case names, the latest: who looks for an older one has had months."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """One problem's ring: its members by id, and each path's membership of each."""

    problem: Problem
    members: Mapping[str, dict[str, float]]

    @property
    def ids(self) -> frozenset[str]:
        """The members' ids."""
        return frozenset(self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A case as it is now, or (None) a case that another has taken in."""

    case_id: str
    case: Case | None


def ring_of(
    problem: Problem, memberships: Mapping[str, Sequence[float]], path: str, rule: Cases
) -> Ring | None:
    """The ring that the path's memberships show in the problem, or None."""
    chosen = memberships[path]
    inside = frozenset(i for i, share in enumerate(chosen) if share >= rule.membership_min)
    if len(inside) < rule.members_min:
        return None
    if density(len(problem.nodes), problem.weights, inside) < rule.density_min:
        return None
    return Ring(
        problem=problem,
        members={
            problem.nodes[i]: {name: shares[i] for name, shares in memberships.items()}
            for i in sorted(inside)
        },
    )


class CaseBook:
    """The cases of one partition that are known, by shard and member."""

    def __init__(self, cases: Iterable[Case] = (), said: Said | None = None) -> None:
        """The cases as they were published last, and what outcomes have said by now, or before."""
        # In the order in which they last changed, the longest ago first.
        self._cases: dict[str, Case] = {}
        self._by_member: dict[tuple[str, str], set[str]] = {}
        # The id of a case that was taken in -> that of the one which took it in.
        self._now: dict[str, str] = {}
        self._said = Said() if said is None else said
        for case in sorted(cases, key=lambda case: (case.last_seen_ms, case.case_id)):
            self._put(case)
            self._said.recall(case)
        self._forget()

    @property
    def cases(self) -> Mapping[str, Case]:
        """Case id -> case."""
        return self._cases

    def observe(self, batch: MicroBatch, job_id: str, rings: Iterable[Ring]) -> list[Change]:
        """What the rings of one micro-batch change, in a fixed order; the book knows it already."""
        changes: list[Change] = []
        ordered = sorted(rings, key=lambda ring: sorted(ring.ids))
        matches = self._match(batch.shard, ordered)
        for ring, match in zip(ordered, matches, strict=True):
            case = judged(_case(batch, job_id, ring, match), self._said)
            if match.continued is not None and not match.absorbed and _same(match.continued, case):
                continue
            for other in match.absorbed:
                self._drop(other)
                changes.append(Change(case_id=other.case_id, case=None))
            self._put(case)
            changes.append(Change(case_id=case.case_id, case=case))
        self._forget()
        return changes

    def hear(self, outcome: Outcome) -> list[Change]:
        """What an outcome changes: known cases of its account, and the case that it names."""
        if not self._said.add(outcome):
            return []
        named = self._now.get(outcome.case_id, outcome.case_id)
        concerned = self._touched(outcome.shard, frozenset({outcome.id})) | {named}
        return self._revise(sorted(concerned & self._cases.keys()))

    def knows(self, case_id: str) -> bool:
        """Whether the case is known, or one that has taken it in."""
        return self._now.get(case_id, case_id) in self._cases

    def catch_up(self) -> list[Change]:
        """What was said of known cases while nobody brought it to them."""
        return self._revise(sorted(self._cases))

    def _revise(self, case_ids: Sequence[str]) -> list[Change]:
        changes: list[Change] = []
        for case_id in case_ids:
            known = self._cases[case_id]
            case = judged(known, self._said)
            if case != known:
                case = msgspec.structs.replace(case, revision=known.revision + 1)
                self._put(case)
                changes.append(Change(case_id=case_id, case=case))
        return changes

    def _match(self, shard: str, rings: Sequence[Ring]) -> list["_Match"]:
        """For each ring the case that it continues, those it takes in, and all that match."""
        pairs: list[tuple[int, int, str, int]] = []
        found = [_Match() for _ in rings]
        for index, ring in enumerate(rings):
            for case_id in sorted(self._touched(shard, ring.ids)):
                case = self._cases[case_id]
                common = len(ring.ids & {member.id for member in case.members})
                smaller = min(len(ring.ids), len(case.members))
                if common >= OVERLAP_MIN and common >= OVERLAP_SHARE_MIN * smaller:
                    pairs.append((-common, case.first_seen_ms, case_id, index))
                    found[index].matching.append(case)
        pairs.sort()
        taken: set[str] = set()
        for _, _, case_id, index in pairs:
            if found[index].continued is None and case_id not in taken:
                found[index].continued = self._cases[case_id]
                taken.add(case_id)
        for _, _, case_id, index in pairs:
            if case_id not in taken:
                found[index].absorbed.append(self._cases[case_id])
                taken.add(case_id)
        return found

    def _touched(self, shard: str, members: frozenset[str]) -> set[str]:
        """The ids of the shard's cases that have any of these members."""
        return set().union(*(self._by_member.get((shard, member), ()) for member in members))

    def _put(self, case: Case) -> None:
        known = self._cases.get(case.case_id)
        if known is not None:
            self._drop(known)
        self._cases[case.case_id] = case
        for member in case.members:
            self._by_member.setdefault((case.shard, member.id), set()).add(case.case_id)
        self._now.update(dict.fromkeys(case.merged, case.case_id))

    def _forget(self) -> None:
        while len(self._cases) > CASES_MAX:
            self._drop(next(iter(self._cases.values())))

    def _drop(self, case: Case) -> None:
        del self._cases[case.case_id]
        for member in case.members:
            ids = self._by_member[case.shard, member.id]
            ids.discard(case.case_id)
            if not ids:
                del self._by_member[case.shard, member.id]
        for case_id in case.merged:
            self._now.pop(case_id, None)


@dataclass(slots=True, kw_only=True, eq=False)
class _Match:
    """What a ring has to do with known cases."""

    continued: Case | None = None
    absorbed: list[Case] = field(default_factory=list)
    # These, and such as another ring goes on: what was said of members, was said of them.
    matching: list[Case] = field(default_factory=list)


def _case(batch: MicroBatch, job_id: str, ring: Ring, match: _Match) -> Case:
    """The case that the ring is now, before anybody has asked what is said of it."""
    problem = ring.problem
    kept = match.continued
    past = [] if kept is None else [kept, *match.absorbed]
    evidence = _evidence(ring)
    words = remembered(match.matching)
    return Case(
        case_id=_case_id(batch, ring) if kept is None else kept.case_id,
        pipeline=batch.pipeline,
        shard=batch.shard,
        version=batch.version,
        status=CaseStatus.OPEN,
        members=tuple(
            CaseMember(
                entity=problem.entity,
                id=name,
                memberships=shares,
                said=words[name].said if name in words else None,
                said_ms=words[name].said_ms if name in words else 0,
            )
            for name, shares in ring.members.items()
        ),
        evidence=evidence,
        amount_at_risk_minor=_amount_at_risk(problem, evidence),
        first_seen_ms=min(
            [problem.first_seen_ms or batch.window_start_ms, *(c.first_seen_ms for c in past)]
        ),
        last_seen_ms=problem.last_seen_ms or batch.window_end_ms,
        subgraph=problem.subgraph,
        job_id=job_id,
        merged=_merged(past),
        verdict=last_verdict(past),
    )


def _merged(past: Sequence[Case]) -> tuple[str, ...]:
    """The cases that a case has taken in by now: `past` is what it goes on, and what it takes in.

    Those that the others had taken in come before them.
    """
    names = list(past[0].merged) if past else []
    for case in past[1:]:
        names += [*case.merged, case.case_id]
    return tuple(dict.fromkeys(names))[-MERGED_MAX:]


def _case_id(batch: MicroBatch, ring: Ring) -> str:
    """The id of a new case: of where, when and with whom it began, so that a rerun gives the same.

    Eighty bits: a million cases collide with a chance of one in a trillion.
    """
    what = msgspec.json.encode([batch.micro_batch_id, sorted(ring.ids)])
    return f"case-{sha256(what).hexdigest()[:20]}"


def _evidence(ring: Ring) -> tuple[Evidence, ...]:
    """The devices and beneficiaries that tie at least two of the members."""
    nodes = ring.problem.nodes
    found = []
    for shared in ring.problem.shared:
        tied = tuple(nodes[i] for i in shared.members if nodes[i] in ring.members)
        if len(tied) >= 2:
            found.append(
                Evidence(
                    entity=shared.entity,
                    id=shared.id,
                    members=tied,
                    events=shared.events,
                    amount_minor=shared.amount_minor,
                )
            )
    return tuple(sorted(found, key=lambda tie: (tie.entity, tie.id)))


def _amount_at_risk(problem: Problem, evidence: Sequence[Evidence]) -> int:
    """What has gone through the ties, in minor units.

    A payment has one device and one beneficiary, so sums are taken by kind and the largest counts;
    where nothing is shared (direct links) it is all that the subgraph's accounts moved.
    """
    by_kind: dict[str, int] = {}
    for tie in evidence:
        by_kind[tie.entity] = by_kind.get(tie.entity, 0) + tie.amount_minor
    return max(by_kind.values(), default=problem.amount_minor)


def _same(known: Case, now: Case) -> bool:
    """Whether nobody would see a difference: memberships vary with every shot, and do not count."""
    return (
        _words(known) == _words(now)
        and known.evidence == now.evidence
        and known.amount_at_risk_minor == now.amount_at_risk_minor
        and known.verdict == now.verdict
    )


def _words(case: Case) -> dict[tuple[str, str], tuple[object, ...]]:
    """Each member, and what is said of it."""
    return {
        (one.entity, one.id): (one.said, one.said_ms, one.fraud_event_id, one.fraud_ms)
        for one in case.members
    }
