"""Problems: which candidate subgraphs come first, and what a sampler is told of each."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from enrichment.records import Problem, Shared
from enrichment.window.candidates import Candidate
from enrichment.window.content import Content
from enrichment.window.horizon import Horizon


class Ranking:
    """How much the accounts of a shard have moved since each was last part of a problem.

    Bounded by the horizon: an account is forgotten when it leaves that.
    """

    __slots__ = ("_kind", "_moved_minor")

    def __init__(self, node_kind: str) -> None:
        self._kind = node_kind
        self._moved_minor: dict[str, int] = {}

    def add(self, content: Content) -> None:
        """Note what a window moved."""
        if (sums := content.tallies.get(self._kind)) is None:
            return
        moved, ids = self._moved_minor, content.ids
        columns = (sums.numbers.tolist(), sums.amount_minor.tolist())
        for number, amount_minor in zip(*columns, strict=True):
            id_ = ids[number]
            moved[id_] = moved.get(id_, 0) + amount_minor

    def solved(self, problem: Problem) -> None:
        """Begin anew for the accounts of a problem that was published."""
        for node in problem.nodes:
            self._moved_minor.pop(node, None)

    def forget(self, accounts: Iterable[str]) -> None:
        """Drop those that have left the horizon."""
        for account in accounts:
            self._moved_minor.pop(account, None)

    def key(self, one: Candidate) -> Any:
        """Sorts candidates: most moved first, then the most strongly tied, then by name."""
        return (
            -sum(self._moved_minor.get(node, 0) for node in one.nodes),
            -sum(weight for _, _, weight in one.edges),
            one.nodes,
        )


def problems_of(
    horizon: Horizon, chosen: Sequence[Candidate], id_: str
) -> Iterator[tuple[Candidate, Problem]]:
    """The problems that candidates give, with what their accounts share; `id_` begins their ids."""
    ties_of = [list(_ties(horizon, one)) for one in chosen]
    first_ms = horizon.first_ms([tie for ties in ties_of for tie in ties])
    named, sums, tallies = horizon.entities.named, horizon.ties, horizon.tallies
    for number, (one, ties) in enumerate(zip(chosen, ties_of, strict=True)):
        shared = []
        for attribute, members in one.shared.items():
            rows = [horizon.shared[attribute][one.numbers[index]] for index in members]
            kind, id_of = named[attribute]
            shared.append(
                Shared(
                    entity=kind,
                    id=id_of,
                    members=members,
                    events=int(sums.events[rows].sum()),
                    amount_minor=int(sums.amount_minor[rows].sum()),
                )
            )
        problem = Problem(
            problem_id=f"{id_}|{number}",
            subgraph=one.subgraph,
            entity=horizon.node_kind,
            nodes=one.nodes,
            weights=one.edges,
            known_bad=one.known_bad,
            shared=tuple(shared),
            amount_minor=int(tallies.amount_minor[list(one.numbers)].sum()),
            first_seen_ms=min((first_ms[tie] for tie in ties), default=0),
            last_seen_ms=int(horizon.tie_newest_ms[ties].max()) if ties else 0,
        )
        yield one, problem


def _ties(horizon: Horizon, one: Candidate) -> Iterator[int]:
    """What ties the candidate's accounts: to what they share, and to each other."""
    for attribute, members in one.shared.items():
        row = horizon.shared[attribute]
        yield from (row[one.numbers[index]] for index in members)
    inside = set(one.numbers)
    for account in one.numbers:
        outgoing = horizon.outgoing.get(account, {})
        yield from (tie for other, tie in outgoing.items() if other in inside)
