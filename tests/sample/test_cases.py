"""A ring is a case, and stays the same case while it grows, shrinks, splits and merges."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrichment.pipelines.definition import Cases
from enrichment.records import Case, CaseStatus, MicroBatch, Problem, Shared
from enrichment.sample import cases
from enrichment.sample.cases import CaseBook, Change, Ring, ring_of
from tests.sample.streams import batch, problem

RULE = Cases(membership_min=0.5, members_min=3, density_min=0.3)


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


def test_a_ring_needs_members_membership_and_density() -> None:
    """At each of the three bounds it is one, and just below it is none."""
    one = subgraph("abcd")
    full = {"quantum": [0.5, 0.5, 0.5, 0.1], "classical": [0.1, 0.1, 0.1, 0.1]}
    found = ring_of(one, full, "quantum", RULE)
    assert found is not None
    assert found.ids == {"a", "b", "c"}
    assert found.members["a"] == {"quantum": 0.5, "classical": 0.1}
    assert ring_of(one, full, "classical", RULE) is None
    below = {"quantum": [0.5, 0.5, 0.499, 0.1]}
    assert ring_of(one, below, "quantum", RULE) is None
    sparse = msgspec.structs.replace(one, weights=((0, 1, 14), (0, 3, 16)))
    assert ring_of(sparse, full, "quantum", RULE) is None  # 14/16/3 = .29 among a, b, c
    enough = msgspec.structs.replace(one, weights=((0, 1, 15), (0, 3, 16)))
    assert ring_of(enough, full, "quantum", RULE) is not None


def test_a_case_keeps_its_id_while_it_grows_and_shrinks() -> None:
    """Three accounts, then seven, then four of them: one case, first seen when it began."""
    book = CaseBook()
    (opened,) = observe(book, 1, ring("abc"))
    (grown,) = observe(book, 2, ring("abcdefg"))
    (shrunk,) = observe(book, 3, ring("defg"))
    assert opened.case_id == grown.case_id == shrunk.case_id
    assert ids(only(book)) == "defg"
    assert only(book).version == window(3).version
    assert only(book).status is CaseStatus.OPEN


def test_one_account_in_common_or_less_than_half_is_another_case() -> None:
    """The overlap rule at its bounds: two in common, and half of the smaller."""
    book = CaseBook()
    observe(book, 1, ring("abcdef"))
    observe(book, 2, ring("fgh"))
    assert len(book.cases) == 2
    observe(book, 3, ring("efxyz"))  # two of five: less than half
    assert len(book.cases) == 3
    observe(book, 4, ring("abuv"))  # two of four: half
    assert sorted(ids(case) for case in book.cases.values()) == ["abuv", "efxyz", "fgh"]


def test_pairs_that_share_one_account_are_two_cases() -> None:
    """Half of a pair is one account: not enough, whatever the share."""
    book = CaseBook()
    observe(book, 1, ring("ab"))
    observe(book, 2, ring("bc"))
    assert sorted(ids(case) for case in book.cases.values()) == ["ab", "bc"]


def test_a_split_leaves_the_id_with_the_larger_part() -> None:
    """Both parts match; the larger goes on, the other begins anew, and nothing is merged."""
    book = CaseBook()
    (opened,) = observe(book, 1, ring("abcdefgh"))
    changes = observe(book, 2, ring("abc", number=1), ring("defgh", number=2))
    by_members = {ids(change.case): change.case for change in changes if change.case}
    assert by_members["defgh"].case_id == opened.case_id
    assert by_members["abc"].case_id != opened.case_id
    assert all(case.merged == () for case in by_members.values())


def test_a_merge_goes_on_as_the_larger_and_withdraws_the_other() -> None:
    """One ring over two cases: one survives and names the other, which gets a tombstone."""
    book = CaseBook()
    large, small = observe(book, 1, ring("abcde", number=1), ring("vwxy", number=2))
    changes = observe(book, 2, ring("abcdevwxy"))
    assert changes[0] == Change(case_id=small.case_id, case=None)
    assert changes[1].case_id == large.case_id
    assert only(book).merged == (small.case_id,)
    (again,) = observe(book, 3, ring("abcdevwxyz"))
    assert again.case is not None
    assert again.case.merged == (small.case_id,), "it forgot whom it took in"


def test_of_equal_overlaps_the_older_case_goes_on() -> None:
    """Three in common with each: the one that was first seen earlier."""
    book = CaseBook()
    late = msgspec.structs.replace(subgraph("abc", number=1), first_seen_ms=5_000)
    (young,) = book.observe(window(1), "job", [Ring(problem=late, members=ring("abc").members)])
    (old,) = observe(book, 2, ring("xyz"))
    observe(book, 3, ring("abcxyz"))
    assert only(book).case_id == old.case_id != young.case_id


def test_an_unchanged_case_is_not_published_again() -> None:
    """Same members, ties, amount: silence, whatever the memberships; another amount: news."""
    book = CaseBook()
    observe(book, 1, ring("abcd"))
    same = ring("abcd")
    noisy = Ring(problem=same.problem, members={name: {"quantum": 0.6} for name in same.ids})
    assert observe(book, 2, noisy) == []
    (changed,) = observe(book, 3, ring("abcd", amount=501))
    assert changed.case is not None
    assert changed.case.amount_at_risk_minor == 501


def test_a_status_given_by_somebody_stays() -> None:
    """A confirmed case that grows is still confirmed."""
    book = CaseBook()
    observe(book, 1, ring("abc"))
    known = msgspec.structs.replace(only(book), status=CaseStatus.CONFIRMED)
    later = CaseBook([known])
    observe(later, 2, ring("abcd"))
    assert only(later).status is CaseStatus.CONFIRMED


def test_shards_do_not_share_cases() -> None:
    """The same letters in another shard are other accounts."""
    book = CaseBook()
    observe(book, 1, ring("abc"))
    observe(book, 1, ring("abc"), shard="us")
    assert len(book.cases) == 2


def test_evidence_ties_at_least_two_members_and_amounts_count_once() -> None:
    """A payment's device and beneficiary are not added up; a tie of one member is none."""
    base = subgraph("abcd")
    ties = (
        Shared(entity="device", id="d1", members=(0, 1), events=1, amount_minor=100),
        Shared(entity="device", id="d2", members=(1, 2), events=1, amount_minor=200),
        Shared(entity="device", id="d3", members=(0, 3), events=1, amount_minor=5_000),
        Shared(entity="beneficiary", id="b1", members=(0, 1, 2), events=2, amount_minor=250),
    )
    one = msgspec.structs.replace(base, shared=ties)
    book = CaseBook()
    members = {name: {"quantum": 1.0} for name in "abc"}
    book.observe(window(1), "job", [Ring(problem=one, members=members)])
    case = only(book)
    assert [(tie.id, tie.members) for tie in case.evidence] == [
        ("b1", ("a", "b", "c")),
        ("d1", ("a", "b")),
        ("d2", ("b", "c")),
    ]
    assert case.amount_at_risk_minor == 300


def test_without_ties_the_amount_is_the_subgraphs() -> None:
    """Direct links share nothing: what the accounts moved is at risk."""
    one = msgspec.structs.replace(subgraph("abc"), shared=())
    book = CaseBook()
    book.observe(window(1), "job", [Ring(problem=one, members=ring("abc").members)])
    assert only(book).amount_at_risk_minor == 9_999


def test_a_new_owner_goes_on_as_the_old_one_would() -> None:
    """A book made of the published cases gives the same changes as the one that published them."""
    book = CaseBook()
    observe(book, 1, ring("abcde", number=1), ring("vwxy", number=2))
    heir = CaseBook(book.cases.values())
    one = observe(book, 2, ring("abcdef", number=1), ring("wxyz", number=2))
    assert observe(heir, 2, ring("abcdef", number=1), ring("wxyz", number=2)) == one


def test_the_oldest_cases_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound holds, and what was seen last stays."""
    monkeypatch.setattr(cases, "CASES_MAX", 3)
    book = CaseBook()
    for number in range(6):
        observe(book, number, Ring(problem=problem(number), members=_members(problem(number))))
    assert len(book.cases) == 3
    assert "acc-000500" in {m.id for case in book.cases.values() for m in case.members}


def _members(one: Problem) -> dict[str, dict[str, float]]:
    return {node: {"quantum": 1.0} for node in one.nodes}


letters = st.sets(st.sampled_from("abcdefghijklmnop"), min_size=3, max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(letters, min_size=1, max_size=3), min_size=1, max_size=6))
def test_whatever_rings_come_ids_are_unique_and_the_topic_tells_the_book(
    windows: list[list[set[str]]],
) -> None:
    """Each ring is in exactly one case; folding the changes gives the book; reruns are equal."""
    book, again = CaseBook(), CaseBook()
    topic: dict[str, Case] = {}
    for number, sets in enumerate(windows):
        taken: set[str] = set()
        rings = []
        for index, members in enumerate(sets):
            free = members - taken  # an account is in one problem of a micro-batch
            taken |= members
            if len(free) >= 3:
                rings.append(ring("".join(sorted(free)), number=index))
        changes = observe(book, number, *rings)
        assert observe(again, number, *rings) == changes
        for change in changes:
            if change.case is None:
                del topic[change.case_id]
            else:
                assert change.case.case_id == change.case_id
                topic[change.case_id] = change.case
        assert topic == dict(book.cases)
        shown = [frozenset(ids(case)) for case in book.cases.values()]
        for one in rings:
            assert one.ids in shown
