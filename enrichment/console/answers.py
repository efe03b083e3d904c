"""A sample of what the hot path has answered lately: verdicts, paths, decisions, freshness. Pure.

At each reading the last few answers of each partition are looked at. Shares are of that sample; the
newest of each reading are likelier to be in it than the rest.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import msgspec

from enrichment.console.limits import ANSWERS_POINTS

USABLE: Final = ("fresh", "stale")


class _Verdict(msgspec.Struct, frozen=True):
    name: str


class _Used(msgspec.Struct, frozen=True):
    kind: str
    group: str
    verdict: _Verdict
    age_ms: int = 0


class _Answer(msgspec.Struct, frozen=True):
    """What is looked at of an enriched record; the rest is not even parsed."""

    verdict: _Verdict
    path: str
    decision: str
    level: str
    features: tuple[_Used, ...] = ()


class GroupFreshness(msgspec.Struct, frozen=True, kw_only=True):
    """How fresh one group of one kind of entity was when answers read it."""

    kind: str
    group: str
    sampled: int
    # Verdict -> how many.
    verdicts: dict[str, int]
    # Of those that were fresh or stale; None where none was.
    age_p50_ms: float | None


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the sampled answers were what, by name."""

    sampled: int = 0
    unreadable: int = 0
    verdicts: dict[str, int] = {}
    paths: dict[str, int] = {}
    decisions: dict[str, int] = {}
    levels: dict[str, int] = {}
    freshness: tuple[GroupFreshness, ...] = ()


@dataclass(slots=True)
class _Point:
    """One reading's counts."""

    sampled: int = 0
    unreadable: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    used: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    ages_ms: dict[tuple[str, str], list[int]] = field(default_factory=dict)


class AnswersSample:
    """The sampled answers of the last minute."""

    def __init__(self, points: int = ANSWERS_POINTS) -> None:
        self._points: deque[_Point] = deque(maxlen=points)
        self._decode = msgspec.json.Decoder(_Answer).decode

    def take(self, values: Iterable[bytes]) -> None:
        """Note one reading's answers, none of them too."""
        point = _Point()
        for value in values:
            try:
                answer = self._decode(value)
            except msgspec.DecodeError:
                point.unreadable += 1
                continue
            point.sampled += 1
            point.counts["verdicts", answer.verdict.name] += 1
            point.counts["paths", answer.path] += 1
            point.counts["decisions", answer.decision] += 1
            point.counts["levels", answer.level] += 1
            for used in answer.features:
                point.used[used.kind, used.group, used.verdict.name] += 1
                if used.verdict.name in USABLE:
                    point.ages_ms.setdefault((used.kind, used.group), []).append(used.age_ms)
        self._points.append(point)

    def shares(self) -> Shares:
        """What the readings amount to."""
        counts: Counter[tuple[str, str]] = Counter()
        used: Counter[tuple[str, str, str]] = Counter()
        ages_ms: dict[tuple[str, str], list[int]] = {}
        for point in self._points:
            counts.update(point.counts)
            used.update(point.used)
            for of, ages in point.ages_ms.items():
                ages_ms.setdefault(of, []).extend(ages)
        return Shares(
            sampled=sum(point.sampled for point in self._points),
            unreadable=sum(point.unreadable for point in self._points),
            verdicts=_of(counts, "verdicts"),
            paths=_of(counts, "paths"),
            decisions=_of(counts, "decisions"),
            levels=_of(counts, "levels"),
            freshness=tuple(
                _freshness(kind, group, used, ages_ms.get((kind, group), []))
                for kind, group in sorted({(kind, group) for kind, group, _ in used})
            ),
        )


def _of(counts: Counter[tuple[str, str]], what: str) -> dict[str, int]:
    return {name: count for (of, name), count in sorted(counts.items()) if of == what}


def _freshness(
    kind: str, group: str, used: Counter[tuple[str, str, str]], ages_ms: list[int]
) -> GroupFreshness:
    verdicts = {
        name: count for (k, g, name), count in sorted(used.items()) if (k, g) == (kind, group)
    }
    return GroupFreshness(
        kind=kind,
        group=group,
        sampled=sum(verdicts.values()),
        verdicts=verdicts,
        age_p50_ms=float(median(ages_ms)) if ages_ms else None,
    )
