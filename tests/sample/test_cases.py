"""A ring is a case, and stays the same case while it grows, shrinks, splits and merges."""

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrichment.pipelines.definition import Cases
from enrichment.records import Case, CaseStatus, Problem, Shared
from enrichment.sample import cases
from enrichment.sample.cases import CaseBook, Change, Ring, ring_of
from tests.sample.rings import ids, observe, only, ring, subgraph, window
from tests.sample.streams import problem

RULE = Cases(membership_min=0.5, members_min=3, density_min=0.3)


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


def test_a_case_outlives_all_its_first_members() -> None:
    """One account swapped a step: the same case; more than half at once: another one."""
    book = CaseBook()
    (opened,) = observe(book, 0, ring("abcdef"))
    for number, members in enumerate(("bcdefg", "cdefgh", "defghi", "efghij", "fghijk", "ghijkl")):
        observe(book, number + 1, ring(members))
        assert only(book).case_id == opened.case_id
    assert ids(only(book)) == "ghijkl"
    assert only(book).first_seen_ms == 1_000
    observe(book, 8, ring("klmnop"))  # two of six
    assert len(book.cases) == 2


def test_two_rings_of_equal_claim_go_by_their_members_and_not_by_their_order() -> None:
    """Halves of a case: the one whose ids come first keeps it, wherever in the batch it stands."""
    one, other = CaseBook(), CaseBook()
    (opened,) = observe(one, 1, ring("abcdef"))
    observe(other, 1, ring("abcdef"))
    first, second = ring("abc", number=1), ring("def", number=2)
    assert observe(one, 2, first, second) == observe(other, 2, second, first)
    assert ids(one.cases[opened.case_id]) == "abc"


def test_a_case_names_those_it_took_in_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more than it may name, the latest; those that the others had taken in among them."""
    monkeypatch.setattr(cases, "MERGED_MAX", 2)
    book = CaseBook()
    first, second, third, fourth = observe(
        book, 1, ring("abcde"), ring("fgh"), ring("ijk"), ring("lmn")
    )
    observe(book, 2, ring("abcdefgh"), ring("ijklmn"))
    assert book.cases[third.case_id].merged == (fourth.case_id,)
    observe(book, 3, ring("abcdefghijklmn"))
    assert only(book).case_id == first.case_id
    assert only(book).merged == (fourth.case_id, third.case_id)
    assert book.knows(third.case_id)
    assert not book.knows(second.case_id), "it is named no more"


letters = st.sets(st.sampled_from("abcdefghijklmnop"), min_size=3, max_size=8)
streams = st.lists(st.lists(letters, min_size=1, max_size=3), min_size=1, max_size=6)


def rings_of(sets: list[set[str]]) -> list[Ring]:
    """Rings of one micro-batch: an account is in one problem."""
    taken: set[str] = set()
    rings = []
    for index, members in enumerate(sets):
        free = members - taken
        taken |= members
        if len(free) >= 3:
            rings.append(ring("".join(sorted(free)), number=index))
    return rings


def fold(topic: dict[str, Case], changes: list[Change]) -> None:
    """What a reader of the compacted topic holds after these."""
    for change in changes:
        if change.case is None:
            del topic[change.case_id]
        else:
            assert change.case.case_id == change.case_id
            topic[change.case_id] = change.case


@settings(max_examples=200, deadline=None)
@given(streams)
def test_whatever_rings_come_ids_are_unique_and_the_topic_tells_the_book(
    windows: list[list[set[str]]],
) -> None:
    """Each ring is in exactly one case; folding the changes gives the book; reruns are equal."""
    book, again = CaseBook(), CaseBook()
    topic: dict[str, Case] = {}
    for number, sets in enumerate(windows):
        rings = rings_of(sets)
        changes = observe(book, number, *rings)
        assert observe(again, number, *rings) == changes
        fold(topic, changes)
        assert topic == dict(book.cases)
        shown = [frozenset(ids(case)) for case in book.cases.values()]
        for one in rings:
            assert one.ids in shown


@settings(max_examples=200, deadline=None)
@given(streams, st.randoms(use_true_random=False))
def test_the_order_of_rings_in_a_micro_batch_says_nothing(
    windows: list[list[set[str]]], rng: Random
) -> None:
    """Shuffled, they change the same cases in the same way."""
    book, other = CaseBook(), CaseBook()
    for number, sets in enumerate(windows):
        rings = rings_of(sets)
        shuffled = rng.sample(rings, len(rings))
        assert observe(book, number, *rings) == observe(other, number, *shuffled)


@settings(max_examples=200, deadline=None)
@given(streams)
def test_every_case_is_some_ring_and_every_case_taken_in_has_a_tombstone(
    windows: list[list[set[str]]],
) -> None:
    """Members are those of one ring; who is named as merged is gone for good, and nobody else."""
    book = CaseBook()
    gone: set[str] = set()
    for number, sets in enumerate(windows):
        rings = rings_of(sets)
        before = dict(book.cases)
        changes = observe(book, number, *rings)
        written = [change.case_id for change in changes]
        assert len(set(written)) == len(written), "a case twice in one micro-batch"
        merged = set()
        for case in (change.case for change in changes if change.case is not None):
            assert frozenset(ids(case)) in {one.ids for one in rings}
            assert case.case_id not in gone
            known = before[case.case_id].merged if case.case_id in before else ()
            merged |= set(case.merged) - set(known)
        tombstones = {change.case_id for change in changes if change.case is None}
        assert merged - gone == tombstones
        gone |= tombstones
        assert not gone & book.cases.keys()


@settings(max_examples=100, deadline=None)
@given(streams, st.data())
def test_new_owners_at_any_time_give_the_same_cases(
    windows: list[list[set[str]]], data: st.DataObject
) -> None:
    """A book made anew of the topic between any two windows: the very same changes."""
    book, heir = CaseBook(), CaseBook()
    topic: dict[str, Case] = {}
    for number, sets in enumerate(windows):
        if data.draw(st.booleans()):
            heir = CaseBook(topic.values())
        rings = rings_of(sets)
        changes = observe(book, number, *rings)
        assert observe(heir, number, *rings) == changes
        fold(topic, changes)
