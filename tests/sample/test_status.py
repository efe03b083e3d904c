"""Outcomes make a case confirmed, dismissed or open, in whatever order and however often they come.

The rule is that of `enrichment.sample.status`, tried at its bounds and through everything that may
become of a case.
"""

from collections.abc import Iterable
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrichment.records import Case, CaseMember, CaseStatus, Outcome, OutcomeKind
from enrichment.sample import outcomes as outcomes_module
from enrichment.sample.cases import CaseBook, Change, Ring
from enrichment.sample.outcomes import Fraud, Said
from enrichment.sample.status import status_of
from tests.sample.rings import ids, observe, only, ring
from tests.sample.told import CLEARED, FRAUD, of_case, of_event

OPEN, CONFIRMED, DISMISSED = CaseStatus.OPEN, CaseStatus.CONFIRMED, CaseStatus.DISMISSED


def hear(book: CaseBook, *outcomes: Outcome) -> list[Change]:
    """What these change, one after the other."""
    return [change for outcome in outcomes for change in book.hear(outcome)]


def opened(members: str = "abcd") -> tuple[CaseBook, str]:
    """A book of one case, and the case's id."""
    book = CaseBook()
    (change,) = observe(book, 1, ring(members))
    return book, change.case_id


def member(
    name: str, *, said: OutcomeKind | None = None, said_ms: int = 0, fraud_ms: int = -1
) -> CaseMember:
    """A member with what is said of it."""
    return CaseMember(
        entity="account",
        id=name,
        memberships={},
        said=said,
        said_ms=said_ms,
        fraud_event_id="" if fraud_ms < 0 else "e",
        fraud_ms=max(fraud_ms, 0),
    )


def test_the_rule_at_its_bounds() -> None:
    """Two bad: confirmed. All cleared but one: dismissed. Anything else: open."""
    cleared = OutcomeKind.ANALYST_CLEARED
    nobody, good = member("n"), member("g", said=cleared, said_ms=5)
    bad, worse = member("b", said=OutcomeKind.ANALYST_FRAUD), member("w", fraud_ms=7)
    again = member("a", said=cleared, said_ms=5, fraud_ms=5)
    before = member("p", said=cleared, said_ms=5, fraud_ms=4)
    assert status_of([nobody, nobody, nobody]) is OPEN
    assert status_of([bad, nobody, nobody]) is OPEN
    assert status_of([bad, worse, nobody, nobody]) is CONFIRMED
    assert status_of([again, worse, good, good]) is CONFIRMED, "fraud that came after the clearing"
    assert status_of([before, before, good]) is DISMISSED, "fraud that whoever cleared it knew of"
    assert status_of([good, good, nobody]) is DISMISSED
    assert status_of([good, good, again]) is DISMISSED
    assert status_of([good, good, nobody, nobody]) is OPEN


def test_a_verdict_on_a_case_decides_it_and_says_whose_it_was() -> None:
    """Confirmed by one outcome with its id, whoever that is about; a later one turns it over."""
    book, case_id = opened()
    (change,) = hear(book, of_case(case_id, fraud=True, at_ms=10))
    case = change.case
    assert case is not None
    assert (case.status, case.revision, case.version) == (CONFIRMED, 1, only(book).version)
    assert case.verdict is not None
    assert (case.verdict.decided_by, case.verdict.note) == ("kim", "seen before")
    assert case.verdict.members == ("a", "b", "c", "d")
    (change,) = hear(book, of_case(case_id, fraud=False, at_ms=11))
    assert only(book).status is DISMISSED
    assert only(book).revision == 2


def test_what_was_decided_earlier_or_is_said_again_changes_nothing() -> None:
    """The last word stands, not the one that arrives last; at the same time, fraud stands."""
    book, case_id = opened()
    hear(book, of_case(case_id, fraud=False, at_ms=10))
    for late in (of_case(case_id, fraud=True, at_ms=9), of_case(case_id, fraud=False, at_ms=10)):
        assert hear(book, late) == []
    hear(book, of_case(case_id, fraud=True, at_ms=10))
    assert only(book).status is CONFIRMED
    assert hear(book, of_case(case_id, fraud=False, at_ms=10)) == []


def test_one_chargeback_confirms_no_case_and_two_do() -> None:
    """Each on an event of a member; two on one account are one account."""
    book, _ = opened()
    hear(book, of_event("a", FRAUD, 10), of_event("a", FRAUD, 11, event="other"))
    assert only(book).status is OPEN
    assert {one.id: one.fraud_event_id for one in only(book).members}["a"] == "other"
    hear(book, of_event("q", FRAUD, 10), of_event("b", FRAUD, 10, shard="us"))
    assert only(book).status is OPEN, "they are no members"
    hear(book, of_event("b", FRAUD, 10))
    assert only(book).status is CONFIRMED


def test_a_corrected_outcome_takes_its_part_back() -> None:
    """Of the event that is cleared later, and of no other."""
    book, _ = opened()
    hear(book, of_event("a", FRAUD, 10), of_event("b", FRAUD, 10))
    hear(book, of_event("b", CLEARED, 12, event="another"))
    assert only(book).status is CONFIRMED
    hear(book, of_event("b", CLEARED, 12))
    assert only(book).status is OPEN


def test_an_outcome_may_come_before_its_case() -> None:
    """A ring of accounts of which two were told to be bad is confirmed as soon as it is seen."""
    book = CaseBook()
    assert hear(book, of_event("a", FRAUD, 10), of_event("b", FRAUD, 10)) == []
    (change,) = observe(book, 1, ring("abcd"))
    assert change.case is not None
    assert (change.case.status, change.case.revision) == (CONFIRMED, 0)


def test_cleared_events_dismiss_nothing() -> None:
    """Somebody who looked at a payment has not looked at the ring."""
    book, _ = opened()
    assert hear(book, *(of_event(one, CLEARED, 10) for one in "abcd")) == []
    assert only(book).status is OPEN


def test_two_later_chargebacks_outweigh_a_dismissal_and_earlier_ones_do_not() -> None:
    """Whoever dismissed it knew what had been decided by then."""
    book, case_id = opened()
    hear(book, of_event("a", FRAUD, 5), of_event("b", FRAUD, 5))
    hear(book, of_case(case_id, fraud=False, at_ms=10))
    assert only(book).status is DISMISSED
    hear(book, of_event("c", FRAUD, 9), of_event("a", FRAUD, 11))
    assert only(book).status is DISMISSED
    hear(book, of_event("d", FRAUD, 12))
    assert only(book).status is CONFIRMED


def test_a_dismissed_case_that_grows_by_two_is_open_again() -> None:
    """By one it stays dismissed; and dismissed again it is when the newcomers have left."""
    book, case_id = opened()
    hear(book, of_case(case_id, fraud=False, at_ms=10))
    for number, (members, status) in enumerate(
        [("abcde", DISMISSED), ("abcdef", OPEN), ("abcd", DISMISSED), ("abcxy", OPEN)]
    ):
        observe(book, number + 2, ring(members))
        assert only(book).status is status, members
    assert only(book).case_id == case_id


def test_a_confirmed_case_stays_so_while_two_of_its_bad_members_do() -> None:
    """It grows, it changes; with the last but one of those gone it is a ring to look at."""
    book, case_id = opened()
    hear(book, of_case(case_id, fraud=True, at_ms=10))
    for number, (members, status) in enumerate(
        [("abcdefgh", CONFIRMED), ("cdefgh", CONFIRMED), ("defghi", OPEN)]
    ):
        observe(book, number + 2, ring(members))
        assert only(book).status is status, members
    assert only(book).verdict is not None


@pytest.mark.parametrize("fraud", [True, False])
def test_both_parts_of_a_split_keep_what_was_said_of_their_members(fraud: bool) -> None:
    """Parts of a confirmed case are confirmed, those of a dismissed one dismissed."""
    book, case_id = opened("abcdefgh")
    hear(book, of_case(case_id, fraud=fraud, at_ms=10))
    observe(book, 2, ring("abc"), ring("defgh"))
    assert {ids(case): case.status for case in book.cases.values()} == dict.fromkeys(
        ("abc", "defgh"), CONFIRMED if fraud else DISMISSED
    )


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ({"abcde": True}, CONFIRMED),
        ({"vwxy": True}, CONFIRMED),
        ({"abcde": False}, OPEN),
        ({"abcde": False, "vwxy": False}, DISMISSED),
        ({"abcde": True, "vwxy": False}, CONFIRMED),
        ({"abcde": False, "vwxy": True}, CONFIRMED),
    ],
)
def test_a_merged_case_is_what_its_members_make_it(
    verdicts: dict[str, bool], status: CaseStatus
) -> None:
    """Confirmed where one of both was, dismissed only where both were."""
    book = CaseBook()
    changes = observe(book, 1, ring("abcde", number=1), ring("vwxy", number=2))
    names = {ids(change.case): change.case_id for change in changes if change.case}
    for at_ms, (members, fraud) in enumerate(verdicts.items()):
        hear(book, of_case(names[members], fraud=fraud, at_ms=10 + at_ms))
    observe(book, 2, ring("abcdevwxy"))
    assert only(book).status is status
    last = only(book).verdict
    assert last is not None
    assert last.decided_at_ms == 9 + len(verdicts), "the last verdict on either"


def test_a_verdict_on_a_case_that_was_taken_in() -> None:
    """Fraud is said of the one that goes on; a dismissal is passed over."""
    book = CaseBook()
    large, small = observe(book, 1, ring("abcde", number=1), ring("vwxy", number=2))
    observe(book, 2, ring("abcdevwxy"))
    assert hear(book, of_case(small.case_id, fraud=False, at_ms=10)) == []
    (change,) = hear(book, of_case(small.case_id, fraud=True, at_ms=11))
    assert change.case_id == large.case_id
    assert only(book).status is CONFIRMED


def test_an_unchanged_ring_is_not_published_for_old_words() -> None:
    """What was said is in the case already: seen again, it is no news."""
    book, case_id = opened()
    hear(book, of_case(case_id, fraud=True, at_ms=10), of_event("a", FRAUD, 11))
    assert observe(book, 2, ring("abcd")) == []


def test_a_case_needs_no_memory_but_its_own() -> None:
    """A new owner whose outcomes topic has forgotten everything goes on with the same status."""
    book, case_id = opened("abcdefgh")
    hear(book, of_event("a", FRAUD, 9), of_case(case_id, fraud=False, at_ms=8))
    hear(book, of_event("b", FRAUD, 9))
    heir = CaseBook(book.cases.values())
    assert heir.catch_up() == []
    observe(heir, 2, ring("abcdef"))
    assert only(heir).status is CONFIRMED
    hear(heir, of_event("a", CLEARED, 10))
    assert only(heir).status is DISMISSED


def test_what_was_said_while_nobody_listened_is_caught_up_with() -> None:
    """The new owner's book says what has changed, once."""
    book, case_id = opened()
    said = Said()
    said.add(of_case(case_id, fraud=True, at_ms=10))
    heir = CaseBook(book.cases.values(), said)
    (change,) = heir.catch_up()
    assert change.case is not None
    assert change.case.status is CONFIRMED
    assert heir.catch_up() == []


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts and cases heard of longest ago go first; of an account's events the cleared ones."""
    monkeypatch.setattr(outcomes_module, "ACCOUNTS_MAX", 2)
    monkeypatch.setattr(outcomes_module, "EVENTS_MAX", 2)
    monkeypatch.setattr(outcomes_module, "WORDS_MAX", 2)
    said = Said()
    for name in "abc":
        said.add(of_event(name, FRAUD, 10))
        said.add(of_case(f"case-{name}", fraud=True, at_ms=10, account="c"))
    assert said.fraud(("eu", "account", "a")) is None
    assert said.fraud(("eu", "account", "c")) is not None
    assert said.of_case("case-a") is None
    assert said.of_case("case-c") is not None
    said.add(of_event("c", FRAUD, 20, event="worst"))
    for number in range(5):
        said.add(of_event("c", CLEARED, 30 + number, event=f"fine-{number}"))
    expected = Fraud(event_id="worst", decided_at_ms=20)
    assert said.fraud(("eu", "account", "c")) == expected


words = st.one_of(
    st.builds(
        of_event,
        st.sampled_from("abcdef"),
        st.sampled_from([FRAUD, CLEARED]),
        st.integers(1, 6),
        event=st.sampled_from(["e1", "e2"]),
    ),
    st.builds(of_case, st.just("?"), fraud=st.booleans(), at_ms=st.integers(1, 6)),
)


def named(outcomes: Iterable[Outcome], case_id: str) -> list[Outcome]:
    """The outcomes, those about a case being about this one."""
    return [
        msgspec.structs.replace(one, case_id=case_id if one.case_id else "") for one in outcomes
    ]


@settings(max_examples=300, deadline=None)
@given(st.lists(words, max_size=8), st.randoms(use_true_random=False))
def test_outcomes_amount_to_the_same_in_any_order_and_number(
    outcomes: list[Outcome], rng: Random
) -> None:
    """Shuffled, repeated, and some of them before the case: the same members and status."""
    book, case_id = opened("abcd")
    told = named(outcomes, case_id)
    hear(book, *told)
    early = [one for one in told if rng.random() < 0.3]
    rest = [one for one in told if one not in early] + [one for one in told if rng.random() < 0.3]
    other = CaseBook()
    hear(other, *rng.sample(early, len(early)))
    observe(other, 1, ring("abcd"))
    hear(other, *rng.sample(rest, len(rest)))
    assert only(other).members == only(book).members
    assert only(other).status == only(book).status


members = st.sets(st.sampled_from("abcdefghij"), min_size=3, max_size=6)
steps = st.lists(st.one_of(members, words), min_size=1, max_size=14)


@settings(max_examples=300, deadline=None)
@given(steps, st.data())
def test_new_owners_at_any_time_give_the_same_statuses(
    story: list[set[str] | Outcome], data: st.DataObject
) -> None:
    """A book made anew of both topics between any two steps changes the very same cases."""
    book, heir = CaseBook(), CaseBook()
    topic: dict[str, Case] = {}
    spoken: list[Outcome] = []
    for number, step in enumerate(story):
        if isinstance(step, Outcome):
            (outcome,) = named([step], data.draw(st.sampled_from([*sorted(topic), "unknown"])))
            spoken.append(outcome)
            changes, theirs = book.hear(outcome), heir.hear(outcome)
        else:
            one: Ring = ring("".join(sorted(step)))
            changes, theirs = observe(book, number, one), observe(heir, number, one)
        assert changes == theirs
        for change in changes:
            topic.pop(change.case_id, None)
            if change.case is not None:
                topic[change.case_id] = change.case
        if data.draw(st.booleans()):
            said = Said()
            for outcome in spoken:
                said.add(outcome)
            heir = CaseBook(topic.values(), said)
            assert heir.catch_up() == []
