"""From memberships to cases: when a ring is one, and which case it is.

A problem gives a *ring* when at least `members_min` of its accounts reach `membership_min` and the
subgraph that these accounts make has a density (mean clipped adjacency) of at least `density_min`.

The overlap rule says which known case of the shard a ring continues. Ring and case *match* when
they have at least two accounts in common, and those are at least half of the smaller of the two:
so a case that grows or shrinks stays itself. Matches are taken by the most accounts in common, then
by the older case. Where a case splits, the larger part keeps its id, and the other becomes a case
of its own. Where cases merge, the one with the most in common goes on and names the others as
`merged`; those are withdrawn (a tombstone). A case that nothing continues stays as it was last
seen. A case with the same members, ties, amount and status is not published again.

Pure: the known cases are held here, and what changed is returned.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec

from enrichment.pipelines.definition import Cases
from enrichment.records.case import Case, CaseMember, CaseStatus, Evidence
from enrichment.records.micro_batch import MicroBatch, Problem
from enrichment.sample.estimate import density

OVERLAP_MIN: Final = 2
"""One account in common says nothing: people move between devices."""

OVERLAP_SHARE_MIN: Final = 0.5
"""Of the smaller of ring and case."""

CASES_MAX: Final = 20_000
"""Known cases of one partition: about 40 MB; the one seen longest ago is forgotten first."""


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

    def __init__(self, cases: Iterable[Case] = ()) -> None:
        # In the order in which they were last seen, the longest ago first.
        self._cases: dict[str, Case] = {}
        self._by_member: dict[tuple[str, str], set[str]] = {}
        for case in sorted(cases, key=lambda case: (case.last_seen_ms, case.case_id)):
            self._put(case)
        self._forget()

    @property
    def cases(self) -> Mapping[str, Case]:
        """Case id -> case."""
        return self._cases

    def observe(self, batch: MicroBatch, job_id: str, rings: Sequence[Ring]) -> list[Change]:
        """What the rings of one micro-batch change, in a fixed order; the book knows it already."""
        changes: list[Change] = []
        continued, absorbed = self._match(batch.shard, rings)
        for index, ring in enumerate(rings):
            known = continued.get(index)
            merged = absorbed.get(index, [])
            case = _case(batch, job_id, ring, [known, *merged] if known else [])
            if known is not None and not merged and _same(known, case):
                continue
            for other in merged:
                self._drop(other)
                changes.append(Change(case_id=other.case_id, case=None))
            self._put(case)
            changes.append(Change(case_id=case.case_id, case=case))
        self._forget()
        return changes

    def _match(
        self, shard: str, rings: Sequence[Ring]
    ) -> tuple[dict[int, Case], dict[int, list[Case]]]:
        """Ring index -> the case it continues, and the cases that it takes in."""
        pairs: list[tuple[int, int, str, int]] = []
        for index, ring in enumerate(rings):
            for case_id in self._touched(shard, ring.ids):
                case = self._cases[case_id]
                common = len(ring.ids & {member.id for member in case.members})
                smaller = min(len(ring.ids), len(case.members))
                if common >= OVERLAP_MIN and common >= OVERLAP_SHARE_MIN * smaller:
                    pairs.append((-common, case.first_seen_ms, case_id, index))
        pairs.sort()
        continued: dict[int, Case] = {}
        taken: set[str] = set()
        for _, _, case_id, index in pairs:
            if index not in continued and case_id not in taken:
                continued[index] = self._cases[case_id]
                taken.add(case_id)
        absorbed: dict[int, list[Case]] = {}
        for _, _, case_id, index in pairs:
            if case_id not in taken:
                absorbed.setdefault(index, []).append(self._cases[case_id])
                taken.add(case_id)
        return continued, absorbed

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


def _case(batch: MicroBatch, job_id: str, ring: Ring, past: Sequence[Case]) -> Case:
    """The case that the ring is now; `past` is what it continues, and what it takes in."""
    problem = ring.problem
    kept = past[0] if past else None
    evidence = _evidence(ring)
    earlier = [case.first_seen_ms for case in past]
    merged = {name for case in past for name in case.merged} | {case.case_id for case in past[1:]}
    return Case(
        case_id=kept.case_id if kept else _case_id(batch, ring),
        pipeline=batch.pipeline,
        shard=batch.shard,
        version=batch.version,
        status=kept.status if kept else CaseStatus.OPEN,
        members=tuple(
            CaseMember(entity=problem.entity, id=name, memberships=shares)
            for name, shares in ring.members.items()
        ),
        evidence=evidence,
        amount_at_risk_minor=_amount_at_risk(problem, evidence),
        first_seen_ms=min([problem.first_seen_ms or batch.window_start_ms, *earlier]),
        last_seen_ms=problem.last_seen_ms or batch.window_end_ms,
        subgraph=problem.subgraph,
        job_id=job_id,
        merged=tuple(sorted(merged)),
    )


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
        {member.id for member in known.members} == {member.id for member in now.members}
        and known.evidence == now.evidence
        and known.amount_at_risk_minor == now.amount_at_risk_minor
        and known.status == now.status
    )
