"""Simulated answers and outcomes with a known truth, for what weighs them. None of it is real."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from enrichment.pipelines import Pipeline, load
from enrichment.pipelines.rollout import Gate, RolloutDefinition
from enrichment.records import Decision, Outcome, OutcomeKind, VerdictName
from enrichment.rollout.answered import Answered
from enrichment.rollout.join import Experimented, Join, Rows

SINCE_MS = 1_700_000_000_000
SECOND_MS = 1_000
OF = Experimented(since_ms=SINCE_MS, pipeline_version="v", score_version="s", experiment_id="x")


def pipeline_with(gate: dict[str, Any] | None = None, **rollout: Any) -> Pipeline:
    """The payments pipeline with these rules: maturity after ten seconds, looks at 20 and 40."""
    told: dict[str, Any] = {"looks": (20, 40), "matured_ms": 10 * SECOND_MS, "k": 20}
    rules = Gate(**(told | (gate or {})))
    return msgspec.structs.replace(
        load("payments"), rollout=RolloutDefinition(gate=rules, **rollout), version="v"
    )


def answered(event_id: str, at_ms: int = SINCE_MS, **other: Any) -> Answered:
    """One answer: approved, all paths at 10 of 100, account `a`, device `d`, beneficiary `b`."""
    told: dict[str, Any] = {
        "event_id": event_id,
        "partition": 0,
        "offset": 0,
        "published_ms": at_ms - 5,
        "occurred_at_ms": at_ms,
        "decided_at_ms": at_ms,
        "heuristic": 10.0,
        "classical": 10.0,
        "quantum": 10.0,
        "verdict": VerdictName.FRESH,
        "decision": Decision.APPROVE,
        "untreated": False,
        "withheld": None,
        "experiment_id": "x",
        "pipeline_version": "v",
        "score_version": "s",
        "amount": 1.0,
        "entities": ("a", "d", "b"),
    }
    return Answered(**(told | other))


def outcome(event_id: str, at_ms: int, *, fraud: bool = True, **other: Any) -> Outcome:
    """One outcome about an event."""
    told: dict[str, Any] = {
        "outcome_id": f"{event_id}/{at_ms}/{fraud}",
        "event_id": event_id,
        "entity": "account",
        "id": "a",
        "shard": "all",
        "kind": OutcomeKind.CONFIRMED_FRAUD if fraud else OutcomeKind.CLEARED,
        "decided_at_ms": at_ms,
    }
    return Outcome(**(told | other))


def joined(
    pipeline: Pipeline, answers: Sequence[Answered], outcomes: Sequence[Outcome] = ()
) -> Rows:
    """The answers and outcomes of experiment `x`, joined."""
    join = Join(pipeline, OF)
    for each in answers:
        join.answer(each)
    for said in outcomes:
        join.outcome(said)
    return join.rows()


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """How a stream is drawn: how far each path's scores tell rings from the rest, and how many."""

    events: int = 4_000
    rings: int = 25
    bad_per_ring: int = 4
    # Of the latent scores of bad events, in standard deviations above the others'.
    heuristic: float = 1.0
    classical: float = 2.0
    quantum: float = 2.0
    # Scores of two paths have this much of their noise in common.
    common: float = 0.7


def simulated(how: Simulated, seed: int) -> tuple[list[Answered], list[Outcome]]:
    """A stream of 4,000 seconds: rings share a device, everybody else is alone; outcomes at 5 s."""
    rng = np.random.default_rng(seed)
    bad_total = how.rings * how.bad_per_ring
    bad = np.zeros(how.events, dtype=bool)
    bad[rng.choice(how.events, bad_total, replace=False)] = True
    ring = np.full(how.events, -1)
    ring[bad] = np.repeat(np.arange(how.rings), how.bad_per_ring)
    # Events of one ring are alike: half of what tells them from the rest is the ring's own.
    of_ring = rng.normal(size=how.rings)
    shared = rng.normal(size=how.events)
    answers, outcomes = [], []
    scores = {}
    for path in ("heuristic", "classical", "quantum"):
        own = rng.normal(size=how.events)
        noise = np.sqrt(how.common) * shared + np.sqrt(1 - how.common) * own
        latent = noise + bad * (getattr(how, path) + 0.5 * of_ring[ring])
        scores[path] = np.round(100 / (1 + np.exp(-(2.0 * latent - 4.0))), 6)
    for i in range(how.events):
        at_ms = SINCE_MS + i * SECOND_MS
        account = f"r{ring[i]}-{i % 5}" if bad[i] else f"a{rng.integers(how.events)}"
        device = f"ring-{ring[i]}" if bad[i] else f"d-{account}"
        answers.append(
            answered(
                f"e{i}",
                at_ms,
                entities=(account, device, f"b{i}"),
                amount=float(rng.integers(1, 100)),
                **{path: float(score[i]) for path, score in scores.items()},
            )
        )
        if bad[i]:
            outcomes.append(outcome(f"e{i}", at_ms + 5 * SECOND_MS, id=account))
    return answers, outcomes


def treated(
    answers: Sequence[Answered], pipeline: Pipeline, served: str, seed: int
) -> list[Answered]:
    """The same stream where `served` declines what it scores high, and what is untreated stays.

    As the hot path does: a decline on the path's word is withheld for `untreated_share` of the
    events up to `untreated_amount_max`; what the heuristic declines alone is declined.
    """
    rng = np.random.default_rng(seed)
    rules, highest = pipeline.rollout, pipeline.score.levels.highest
    found = []
    for each in answers:
        chosen = bool(rng.random() < rules.untreated_share)
        chosen = chosen and each.amount <= rules.untreated_amount_max
        change: dict[str, Any] = {"untreated": chosen}
        if getattr(each, served) >= highest:
            if chosen and each.heuristic < highest:
                change["withheld"] = Decision.DECLINE
            else:
                change["decision"] = Decision.DECLINE
        found.append(replace(each, **change))
    return found
