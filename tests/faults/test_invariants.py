"""Each invariant finds, in a history made up for it, what it is there to find, and nothing else."""

from dataclasses import replace

import pytest

from tests.faults.invariants import (
    CHECKS,
    Accepted,
    Answers,
    Entry,
    History,
    Reading,
    Version,
    check,
)

KEY = "p|account|a|ring"
MADE_MS = {0: 0, 1: 1_500, 2: 3_900, 3: 8_000}
"""When each version was computed; the last was never committed."""


def accepted(attempt: int, from_s: float, to_s: float, how: str = "completed") -> Accepted:
    """One order of job `j` in the provider's book."""
    return Accepted(id=f"j|{attempt}|0", accepted_s=from_s, ended_s=to_s, how=how)


def reading(at_ms: int, subgraph: str, verdict: str = "fresh", version: int = 1) -> Reading:
    """What a reader was told of the one key."""
    return Reading(
        key=KEY,
        began_ms=at_ms - 2,
        ended_ms=at_ms,
        verdict=verdict,
        version=version,
        subgraph=subgraph,
        computed_at_ms=MADE_MS[version],
    )


def account(
    *, enriched: int = 2, lost: int = 0, duplicates: int = 0, strangers: int = 0
) -> Answers:
    """The hot path's account of three events, one of them a dead letter."""
    return Answers(
        inputs=3,
        enriched=enriched,
        dead_letters=1,
        lost=lost,
        duplicates=duplicates,
        strangers=strangers,
    )


GOOD = History(
    sent=("j", "k"),
    ledger=(
        Entry(job_id="j", state="pending", attempt=1),
        Entry(job_id="k", state="pending", attempt=1),
        Entry(job_id="j", state="retrying", attempt=2),
        Entry(job_id="j", state="succeeded", attempt=2),
        Entry(job_id="k", state="fallback_complete", attempt=1),
    ),
    features=(
        Version(key=KEY, version=1, subgraph="s1", computed_at_ms=MADE_MS[1]),
        Version(key=KEY, version=2, subgraph="s2", computed_at_ms=MADE_MS[2]),
    ),
    cases=(Version(key="p|c", version=1), Version(key="p|c", version=1)),
    # Subgraph s1 is true until 5,000, then s2: with 1,000 ms of freshness and 100 of skew.
    truths={KEY: ((1_000, "s1"), (5_000, "s2"))},
    fresh_ms=1_000,
    skew_ms=100,
    readings=(
        reading(2_000, "s1"),
        reading(6_000, "s1"),
        reading(8_000, "s1", "stale"),
        reading(9_000, "s2", version=2),
        reading(9_500, "", "fallback", version=0),
    ),
    book={"vendor": (accepted(1, 10.0, 11.0, "cancelled"), accepted(2, 11.0, 12.0))},
    lags={"sample": 0, "project": 0},
    heal_s=30.0,
    answers=account(),
    cached={KEY: 2},
)

BAD = {
    "a batch without a job": ("one end", replace(GOOD, sent=("j", "k", "l"))),
    "a job that does not end": ("one end", replace(GOOD, ledger=GOOD.ledger[:-1])),
    "a job that ends twice": ("one end", replace(GOOD, ledger=(*GOOD.ledger, GOOD.ledger[-1]))),
    "a job of nobody": ("one end", replace(GOOD, sent=("j",))),
    "an attempt that goes back": (
        "one end",
        replace(GOOD, ledger=(Entry(job_id="j", state="pending", attempt=3), *GOOD.ledger)),
    ),
    "an id accepted twice": (
        "accepted once",
        replace(GOOD, book={"vendor": (accepted(1, 1.0, 2.0, "cancelled"), accepted(1, 3.0, 4.0))}),
    ),
    "an attempt beside the other": (
        "attempts apart",
        replace(GOOD, book={"vendor": (accepted(1, 1.0, 5.0, "cancelled"), accepted(2, 3.0, 4.0))}),
    ),
    "an attempt while the other is open": (
        "attempts apart",
        replace(GOOD, book={"vendor": (accepted(1, 1.0, 0.0, ""), accepted(2, 3.0, 4.0))}),
    ),
    "two attempts that ran": (
        "paid once",
        replace(GOOD, book={"vendor": (accepted(1, 1.0, 2.0), accepted(2, 3.0, 4.0))}),
    ),
    "a feature that goes back": (
        "versions rise",
        replace(GOOD, features=(*GOOD.features, GOOD.features[0])),
    ),
    "a case that goes back": (
        "versions rise",
        replace(GOOD, cases=(Version(key="p|c", version=2), GOOD.cases[0])),
    ),
    "a cached value that goes back": (
        "versions rise",
        replace(GOOD, readings=(reading(9_000, "s2", version=2), reading(9_050, "s1", "stale"))),
    ),
    "a value that was never committed": (
        "committed reads",
        replace(GOOD, readings=(reading(9_000, "s2", version=3),)),
    ),
    "a making of a version that came to nothing": (
        "committed reads",
        replace(GOOD, readings=(replace(reading(9_000, "s2", version=2), computed_at_ms=3_000),)),
    ),
    "a stale value called fresh": (
        "fresh is fresh",
        replace(GOOD, readings=(reading(6_200, "s1"),)),
    ),
    "a subgraph before its time": (
        "fresh is fresh",
        replace(GOOD, readings=(reading(4_000, "s2", version=2),)),
    ),
    "a value from the future": (
        "fresh is fresh",
        replace(
            GOOD,
            readings=(
                Reading(
                    key=KEY,
                    began_ms=2_000,
                    ended_ms=2_000,
                    verdict="fresh",
                    version=1,
                    subgraph="s1",
                    computed_at_ms=3_000,
                ),
            ),
        ),
    ),
    "a lag": ("lag zero", replace(GOOD, lags={"sample": 3})),
    "no end of the trouble": ("lag zero", replace(GOOD, healed_s=None)),
    "a cache that is behind": ("cache whole", replace(GOOD, cached={KEY: 1})),
    "a cache that has forgotten": ("cache whole", replace(GOOD, cached={})),
    "a lost event": (
        "events once",
        replace(GOOD, answers=account(lost=1, enriched=1)),
    ),
    "a doubled event": ("events once", replace(GOOD, answers=account(duplicates=1))),
    "an answer to nobody": ("events once", replace(GOOD, answers=account(strangers=1))),
}


def test_a_good_history_has_no_violation() -> None:
    """Every check looks at something in it, and finds nothing wrong."""
    found = check(GOOD)
    assert found.keys() == CHECKS.keys()
    assert {name: finding.violations for name, finding in found.items() if finding.violations} == {}
    assert all(finding.checked for finding in found.values())


@pytest.mark.parametrize("what", BAD)
def test_a_violation_is_found_by_its_own_check(what: str) -> None:
    """The check that is named finds it, and says one thing."""
    name, history = BAD[what]
    assert len(CHECKS[name](history).violations) == 1
