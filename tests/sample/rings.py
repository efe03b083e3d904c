"""Rings of accounts named by letters, and what a book of cases makes of them."""

from enrichment.records import Case, MicroBatch, Problem, Shared
from enrichment.sample.cases import CaseBook, Change, Ring
from tests.sample.streams import batch


def subgraph(members: str, *, number: int = 0, amount: int = 500) -> Problem:
    """A full clique of accounts named by letters, tied by one device."""
    count = len(members)
    pairs = [(i, j) for j in range(count) for i in range(j)]
    device = Shared(
        entity="device",
        id=f"dev-{number}",
        members=tuple(range(count)),
        events=3,
        amount_minor=amount,
    )
    return Problem(
        problem_id=f"p{number}",
        subgraph=f"sub-{members}",
        entity="account",
        nodes=tuple(members),
        weights=tuple(sorted((i, j, 16) for i, j in pairs)),
        shared=(device,),
        amount_minor=9_999,
        first_seen_ms=1_000,
        last_seen_ms=2_000,
    )


def ring(members: str, **options: int) -> Ring:
    """All of the clique as a ring."""
    one = subgraph(members, **options)
    return Ring(problem=one, members={node: {"quantum": 0.9} for node in one.nodes})


def window(number: int, shard: str = "eu") -> MicroBatch:
    """A micro-batch to see rings in."""
    return batch(number, shard=shard)


def ids(case: Case) -> str:
    """The members as letters."""
    return "".join(sorted(member.id for member in case.members))


def observe(book: CaseBook, number: int, *rings: Ring, shard: str = "eu") -> list[Change]:
    """What a window with these rings changes."""
    return book.observe(window(number, shard), f"job-{number}", rings)


def only(book: CaseBook) -> Case:
    """The one case that there is."""
    (case,) = book.cases.values()
    return case
