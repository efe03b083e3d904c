"""What must hold whatever goes wrong, checked on the history of one trial. Pure: no clock, no IO.

The history is what the topics say to a committed reader at the end, what the provider has counted
by itself, and what a reader of the feature cache was told meanwhile. `CHECKS` is the list; each
says how much it has looked at, so that a check of nothing is seen to be one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import msgspec

TERMINAL: Final = frozenset({"succeeded", "failed", "fallback_complete"})
FRESH: Final = "fresh"
SHOWN_MAX: Final = 5  # violations of one kind that are told one by one


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """One job in a provider's own book, by the id that we gave it: `{job}|{attempt}|{first}`.

    Unix times; `ended_s` is 0 while it is open, `asked` counts the submissions of it.
    """

    id: str
    accepted_s: float
    ended_s: float = 0.0
    how: str = ""
    asked: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record of the ledger, in the order of its partition."""

    job_id: str
    state: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One record of a topic of versioned values, in the order of its partition."""

    key: str
    version: int
    subgraph: str = ""
    computed_at_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the cache's reader was told of one value: between these two Unix times."""

    key: str
    began_ms: int
    ended_ms: int
    verdict: str
    version: int = 0
    subgraph: str = ""
    computed_at_ms: int = 0

    @property
    def usable(self) -> bool:
        """Whether a value came with it."""
        return self.version > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The hot path's account of one stream: inputs, and what became of them."""

    inputs: int
    enriched: int
    dead_letters: int
    lost: int
    duplicates: int
    strangers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that is known of one trial when it is over.

    `truths` holds for each key of a reading the subgraphs that were true, each with the Unix time
    at which it was made known, in order. `book` is by provider. `retried` are the jobs that an
    operator has started anew. `lags` are those of consumer groups at the end, `healed_s` is how
    long after the fault's end the last job was terminal and all lags were zero (None: not within
    `heal_s`).
    """

    sent: Sequence[str] = ()
    ledger: Sequence[Entry] = ()
    features: Sequence[Version] = ()
    cases: Sequence[Version] = ()
    readings: Sequence[Reading] = ()
    truths: Mapping[str, Sequence[tuple[int, str]]] = field(default_factory=dict)
    fresh_ms: int = 0
    skew_ms: int = 0
    book: Mapping[str, Sequence[Accepted]] = field(default_factory=dict)
    retried: frozenset[str] = frozenset()
    lags: Mapping[str, int] = field(default_factory=dict)
    healed_s: float | None = 0.0
    heal_s: float = 0.0
    answers: Answers | None = None
    # What the cache itself holds in the end: key -> version.
    cached: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found: how many things it looked at, and what is wrong with them."""

    checked: int
    violations: tuple[str, ...] = ()


Check = Callable[[History], Finding]


def every_batch_ends_once(history: History) -> Finding:
    """Every micro-batch has a job that becomes terminal once, and nothing is said of it later."""
    ends: dict[str, int] = defaultdict(int)
    wrong: list[str] = []
    over: set[str] = set()
    attempts: dict[str, int] = {}
    for entry in history.ledger:
        if entry.job_id in over and entry.job_id not in history.retried:
            wrong.append(f"{entry.job_id}: {entry.state} after its end")
        if entry.attempt < attempts.get(entry.job_id, 0):
            wrong.append(f"{entry.job_id}: attempt {entry.attempt} after a later one")
        attempts[entry.job_id] = entry.attempt
        if entry.state in TERMINAL:
            ends[entry.job_id] += 1
            over.add(entry.job_id)
    wrong += [f"{job_id}: no terminal job" for job_id in history.sent if not ends[job_id]]
    wrong += [f"{job_id}: nobody sent it" for job_id in attempts.keys() - set(history.sent)]
    return Finding(checked=len(history.sent), violations=tuple(wrong))


def accepted_once(history: History) -> Finding:
    """A provider has accepted at most one program under each id of ours."""
    wrong = []
    times: dict[tuple[str, str], int] = defaultdict(int)
    for provider, one in _booked(history):
        times[provider, one.id] += 1
    for (provider, id_), count in times.items():
        if count > 1:
            wrong.append(f"{provider}: {id_} was accepted {count} times")
    return Finding(checked=len(times), violations=tuple(wrong))


def new_attempt_after_the_old(history: History) -> Finding:
    """A provider accepts a job's next attempt only after every earlier one has ended there."""
    wrong = []
    checked = 0
    for (provider, job_id), attempts in _by_job(history).items():
        for number, one in attempts:
            for earlier, other in attempts:
                if earlier >= number:
                    continue
                checked += 1
                if not 0 < other.ended_s <= one.accepted_s:
                    wrong.append(
                        f"{provider}: attempt {number} of {job_id} accepted, {earlier} being open"
                    )
    return Finding(checked=checked, violations=tuple(wrong))


def paid_once(history: History) -> Finding:
    """A provider has run at most one attempt of a job to its end, an operator's retries aside."""
    wrong = []
    found = _by_job(history)
    for (provider, job_id), attempts in found.items():
        ran = sorted({number for number, one in attempts if one.how == "completed"})
        if len(ran) > 1 and job_id not in history.retried:
            wrong.append(f"{provider}: attempts {ran} of {job_id} all ran to their end")
    return Finding(checked=len(found), violations=tuple(wrong))


def no_version_goes_back(history: History) -> Finding:
    """The versions of a key rise: in features.updates, in rings.cases, and as readers see them."""
    wrong = []
    for where, rows in (("features.updates", history.features), ("rings.cases", history.cases)):
        newest: dict[str, int] = {}
        for row in rows:
            if row.version < newest.get(row.key, 0):
                wrong.append(f"{where}: {row.key} {row.version} after {newest[row.key]}")
            newest[row.key] = max(row.version, newest.get(row.key, 0))
    seen: dict[str, int] = {}
    for reading in history.readings:
        if not reading.usable:
            continue
        if reading.version < seen.get(reading.key, 0):
            wrong.append(f"cache: {reading.key} {reading.version} after {seen[reading.key]}")
        seen[reading.key] = max(reading.version, seen.get(reading.key, 0))
    checked = len(history.features) + len(history.cases) + len(history.readings)
    return Finding(checked=checked, violations=tuple(wrong))


def nothing_uncommitted_is_read(history: History) -> Finding:
    """Whatever a reader was shown stands committed in the topic, of that version and making."""
    # The same version may be computed twice, and the first time come to nothing.
    there = {(row.key, row.version, row.computed_at_ms) for row in history.features}
    usable = [reading for reading in history.readings if reading.usable]
    wrong = tuple(
        f"cache: {one.key} showed {one.version} of {one.computed_at_ms}, which was never committed"
        for one in usable
        if (one.key, one.version, one.computed_at_ms) not in there
    )
    return Finding(checked=len(usable), violations=wrong)


def nothing_stale_called_fresh(history: History) -> Finding:
    """What is called fresh was true not longer ago than `fresh_ms` and the clocks' skew allow."""
    wrong = []
    fresh = [one for one in history.readings if one.verdict == FRESH and one.subgraph]
    for one in fresh:
        oldest_ms = one.began_ms - history.fresh_ms - history.skew_ms
        if not any(
            subgraph == one.subgraph and since_ms <= one.ended_ms and until_ms >= oldest_ms
            for since_ms, until_ms, subgraph in _spans(history.truths.get(one.key, ()))
        ):
            wrong.append(f"cache: {one.key} fresh with {one.subgraph!r}, which it was not then")
        if one.computed_at_ms > one.ended_ms + history.skew_ms:
            wrong.append(f"cache: {one.key} fresh and from the future")
    return Finding(checked=len(fresh), violations=tuple(wrong))


def lag_returns_to_zero(history: History) -> Finding:
    """After the fault every group comes to the end of its topics, in the time allowed."""
    wrong = [f"{group}: lag {lag}" for group, lag in history.lags.items() if lag]
    if history.healed_s is None:
        wrong.append(f"not healed in {history.heal_s:.0f} s")
    return Finding(checked=len(history.lags), violations=tuple(wrong))


def cache_is_whole(history: History) -> Finding:
    """In the end the cache holds the newest version of every key that the topic holds."""
    newest: dict[str, int] = {}
    for row in history.features:
        newest[row.key] = max(row.version, newest.get(row.key, 0))
    wrong = tuple(
        f"cache: {key} is {history.cached.get(key, 'missing')}, and {version} on the topic"
        for key, version in newest.items()
        if history.cached.get(key) != version
    )
    return Finding(checked=len(newest), violations=wrong)


def each_event_once(history: History) -> Finding:
    """Where the hot path ran: every input has one answer, and every answer an input."""
    found = history.answers
    if found is None:
        return Finding(checked=0)
    counts = {"lost": found.lost, "doubled": found.duplicates, "of nobody": found.strangers}
    wrong = [f"{count} events {what}" for what, count in counts.items() if count]
    if found.enriched + found.dead_letters != found.inputs and not wrong:
        wrong.append(f"{found.enriched + found.dead_letters} answers to {found.inputs} events")
    return Finding(checked=found.inputs, violations=tuple(wrong))


CHECKS: Final[Mapping[str, Check]] = {
    "one end": every_batch_ends_once,
    "accepted once": accepted_once,
    "attempts apart": new_attempt_after_the_old,
    "paid once": paid_once,
    "versions rise": no_version_goes_back,
    "committed reads": nothing_uncommitted_is_read,
    "fresh is fresh": nothing_stale_called_fresh,
    "lag zero": lag_returns_to_zero,
    "cache whole": cache_is_whole,
    "events once": each_event_once,
}
"""Name in the table -> check. A new invariant is one function and one line here."""


def check(history: History) -> dict[str, Finding]:
    """Everything, by name."""
    return {name: one(history) for name, one in CHECKS.items()}


def _booked(history: History) -> Iterator[tuple[str, Accepted]]:
    for provider, entries in history.book.items():
        for one in entries:
            yield provider, one


def _by_job(history: History) -> dict[tuple[str, str], list[tuple[int, Accepted]]]:
    """(provider, job id) -> what was accepted of it, each with the number of its attempt."""
    found: dict[tuple[str, str], list[tuple[int, Accepted]]] = defaultdict(list)
    for provider, one in _booked(history):
        job_id, attempt, _ = one.id.rsplit("|", 2)
        found[provider, job_id].append((int(attempt), one))
    return found


def _spans(truth: Sequence[tuple[int, str]]) -> Iterator[tuple[int, float, str]]:
    """Since when, until when, which subgraph."""
    for (since_ms, subgraph), (until_ms, _) in pairwise(truth):
        yield since_ms, until_ms, subgraph
    if truth:
        since_ms, subgraph = truth[-1]
        yield since_ms, float("inf"), subgraph
