"""Evidence from joined rows, jobs and cases: every figure of every path, as of one look. Pure.

Which events are judged, and how often each counts:

- only matured ones, for all alike (`enrichment.rollout.looks`);
- what was declined is left out, since nobody learns what it would have been. Where an untreated
  event would have been declined, it stands for all those like it: it counts 1 / `untreated_share`
  times, its chance of having been left untreated (Horvitz and Thompson). So that a figure is of the
  whole stream but for what no untreated event could stand for: what the heuristic alone declines,
  whatever the rollout says, and what is above `untreated_amount_max`. Those are counted.

Each path is judged by its own score of each event, and where it had none by the next lesser path's:
that is what would have served. What it would have decided is its score by the table's levels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

import msgspec
import numpy as np

from enrichment.pipelines import Pipeline
from enrichment.records import Case, CaseStatus
from enrichment.rollout.clusters import clusters_of
from enrichment.rollout.evidence import NONE, Counts, Evidence, Figure, PathFigures
from enrichment.rollout.join import (
    DECLINED,
    UNTREATED,
    VERDICTS,
    WITHHELD,
    Experimented,
    Rows,
)
from enrichment.rollout.looks import known_by, labels, level_of, matured
from enrichment.rollout.metrics import Bools, Floats, Ints
from enrichment.rollout.resample import (
    APPROVE,
    DECLINE,
    RESAMPLES,
    REVIEW,
    Drawn,
    Judged,
    drawn,
)
from enrichment.rollout.sampled import Ended, as_of, cost_of, quantile, rounded, sampling_of, share

DAY_MS: Final = 86_400_000
PATHS: Final = (NONE, "classical", "quantum")
PAIRS: Final = (("quantum", NONE), ("classical", NONE), ("quantum", "classical"))
DECISIONS: Final = {"approve": APPROVE, "review": REVIEW, "decline": DECLINE}
ACCEPTED: Final = "accepted_cases"
REPEATED: Final = "repeat_deviation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that the topics say of one experiment: see `enrichment.rollout.gather`."""

    of: Experimented
    rows: Rows
    jobs: Sequence[Ended] = ()
    cases: Sequence[Case] = ()
    # Job -> when the window that it solves was closed.
    closed_ms: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """As of when evidence is weighed: by which time, which look that is, and how it is resampled.

    `look` counts from 1; 0 is anything in between, which the gate does not count.
    """

    until_ms: int
    look: int = 0
    resamples: int = RESAMPLES


def weigh(
    pipeline: Pipeline, known: Known, moment: Moment, repeats: Figure | None = None
) -> Evidence:
    """The evidence of that moment; `repeats` is that of `enrichment.rollout.repeats`."""
    rows, until_ms = known.rows, moment.until_ms
    gate, level = pipeline.rollout.gate, rounded(level_of(pipeline.rollout.gate))
    weights = weights_of(pipeline, rows)
    old = matured(rows, until_ms, gate.matured_ms)
    counted, bad = old & (weights > 0), labels(rows, until_ms)
    judged = judged_of(pipeline, rows, counted, bad=bad, weights=weights)
    seed = _seed(rows, counted, judged)
    figures = drawn(judged, seed=seed, resamples=moment.resamples)
    jobs = as_of(known.jobs, until_ms)
    events = rows.decided_at_ms <= until_ms
    latency_ms = rows.latency_ms[events]
    latency_ms = np.maximum(latency_ms[~np.isnan(latency_ms)], 0.0)
    found = Evidence(
        evidence_id="",
        pipeline=pipeline.name,
        experiment_id=known.of.experiment_id,
        pipeline_version=known.of.pipeline_version,
        score_version=known.of.score_version,
        since_ms=known.of.since_ms,
        until_ms=until_ms,
        look=moment.look,
        looks=gate.looks,
        level=level,
        counts=_counts(pipeline, rows, until_ms, judged=judged, old=old, weights=weights),
        paths={
            path: PathFigures(
                figures=_figures(pipeline, known, until_ms, path=path, drawn=figures),
                known_share=_known_share(rows, events, path),
            )
            for path in PATHS
        },
        differences={
            f"{ours}-{theirs}": interval(
                figures[ours, "average_precision"] - figures[theirs, "average_precision"], level
            )
            for ours, theirs in PAIRS
        },
        verdict_shares=_verdict_shares(rows, events),
        sampling=sampling_of(
            jobs, known.closed_ms, repeats or Figure(value=None), level=level, seed=seed
        ),
        hot_path_p50_ms=quantile(latency_ms.tolist(), 0.5),
        hot_path_p99_ms=quantile(latency_ms.tolist(), 0.99),
    )
    return msgspec.structs.replace(found, evidence_id=id_of(found))


def weights_of(pipeline: Pipeline, rows: Rows) -> Floats:
    """How often each event counts: 0 where nobody learns what it was."""
    chance = pipeline.rollout.untreated_share
    weights = np.where(rows.flagged(DECLINED), 0.0, 1.0)
    weights[rows.flagged(WITHHELD)] = 1.0 / chance if chance > 0 else 0.0
    return weights


def unrepresented(pipeline: Pipeline, rows: Rows) -> Bools:
    """Which declined events no untreated one could stand for."""
    rollout, scale = pipeline.rollout, pipeline.stream.amount_scale
    alone = decisions_of(pipeline, rows.scores[NONE]) == DECLINE
    # In minor units, as the hot path compares them.
    large = np.rint(np.abs(rows.amount) * scale) > round(rollout.untreated_amount_max * scale)
    never = large | (rollout.untreated_share <= 0)
    found: Bools = rows.flagged(DECLINED) & (alone | never)
    return found


def scores_of(rows: Rows) -> dict[str, Floats]:
    """Path -> score, the next lesser path's standing in where it had none of its own."""
    found: dict[str, Floats] = {NONE: rows.scores[NONE]}
    lesser = NONE
    for path in PATHS[1:]:
        own = rows.scores[path]
        found[path] = np.where(np.isnan(own), found[lesser], own)
        lesser = path
    return found


def decisions_of(pipeline: Pipeline, scores: Floats) -> Ints:
    """What the table's levels and decisions make of scores."""
    levels, decisions = pipeline.score.levels, pipeline.score.decisions
    normal, elevated, highest = (
        DECISIONS[each] for each in (decisions.normal, decisions.elevated, decisions.highest)
    )
    raised = np.where(scores >= levels.elevated, elevated, normal)
    found: Ints = np.where(scores >= levels.highest, highest, raised)
    return found


def judged_of(
    pipeline: Pipeline, rows: Rows, counted: Bools, *, bad: Bools, weights: Floats
) -> Judged:
    """The counted events, as they are resampled."""
    scores = {path: score[counted] for path, score in scores_of(rows).items()}
    return Judged(
        bad=bad[counted],
        weight=weights[counted],
        cluster=clusters_of(rows, counted, bad),
        day=rows.occurred_at_ms[counted] // DAY_MS,
        scores=scores,
        decisions={path: decisions_of(pipeline, score) for path, score in scores.items()},
        k=pipeline.rollout.gate.k,
    )


def interval(values: Floats, level: float) -> Figure:
    """A figure from its value on the events, first, and on resamples: a percentile interval.

    What is not known, or has no end, is None. So is the interval where the figure has no value on
    one in twenty of the resamples: too few events for one.
    """
    value, resampled = values[0], values[1:]
    known = resampled[~np.isnan(resampled)]
    if not np.isfinite(value):
        return Figure(value=None)
    if not len(known) or len(known) < 0.95 * len(resampled):
        return Figure(value=rounded(value))
    # No value between two draws, since one of them may be without an end.
    ends = [(1 - level) / 2, (1 + level) / 2]
    low = np.quantile(known, ends[0], method="lower")
    high = np.quantile(known, ends[1], method="higher")
    return Figure(value=rounded(value), low=_finite(low), high=_finite(high))


def id_of(evidence: Evidence) -> str:
    """The hash of all but the id itself and what is not a fact of the log: see `Evidence`."""
    bare = {
        path: msgspec.structs.replace(
            told, figures={name: each for name, each in told.figures.items() if name != ACCEPTED}
        )
        for path, told in evidence.paths.items()
    }
    told = {name: each for name, each in evidence.sampling.figures.items() if name != REPEATED}
    sampling = msgspec.structs.replace(evidence.sampling, figures=told)
    what = msgspec.structs.replace(evidence, evidence_id="", paths=bare, sampling=sampling)
    return blake2b(msgspec.json.encode(what), digest_size=10).hexdigest()


def _seed(rows: Rows, counted: Bools, judged: Judged) -> int:
    """The bootstrap's seed, of what is resampled: equal evidence is resampled equally."""
    digest = blake2b(digest_size=6)
    for row in np.flatnonzero(counted).tolist():
        digest.update(rows.ids[row].encode() + b"\n")
    digest.update(np.packbits(judged.bad).tobytes())
    return int.from_bytes(digest.digest(), "big")


def _counts(
    pipeline: Pipeline,
    rows: Rows,
    until_ms: int,
    *,
    judged: Judged,
    old: Bools,
    weights: Floats,
) -> Counts:
    return Counts(
        events=int((rows.decided_at_ms <= until_ms).sum()),
        matured=len(judged.bad),
        bad=int(judged.bad.sum()),
        unknowable=int((old & (weights == 0)).sum()),
        untreated=int((old & rows.flagged(UNTREATED)).sum()),
        clusters=judged.clusters,
        outcomes=sum(known <= until_ms for said in rows.words.values() for known, _ in said),
        unmatched=known_by(rows.unmatched_ms, until_ms),
        unrepresented=int((old & unrepresented(pipeline, rows)).sum()),
        left_out=known_by(rows.left_out_ms, until_ms),
    )


def _figures(
    pipeline: Pipeline, known: Known, until_ms: int, *, path: str, drawn: Drawn
) -> dict[str, Figure]:
    """The path's figures by name."""
    level = level_of(pipeline.rollout.gate)
    names = ("average_precision", "precision_at_k", "caught", "reviews")
    found = {name: interval(drawn[path, name], level) for name in names}
    if path == NONE:
        return found
    # Of jobs that ended while the events came which are counted.
    paid = cost_of(as_of(known.jobs, until_ms), path, until_ms - pipeline.rollout.gate.matured_ms)
    more = drawn[path, "reviews"] - drawn[NONE, "reviews"]
    caught = drawn[path, "caught"] - drawn[NONE, "caught"]
    cost = paid + more * pipeline.rollout.review_cost
    each = np.divide(cost, caught, out=np.full(len(cost), np.inf), where=caught > 0)
    found["cost_per_caught"] = interval(each, level)
    found[ACCEPTED] = _accepted(pipeline, known, until_ms, path)
    return found


def _accepted(pipeline: Pipeline, known: Known, until_ms: int, path: str) -> Figure:
    """Of the decided cases that the path's memberships make, the share that was confirmed.

    A case is decided when the last word on it is said, and counts where that is of the experiment.
    Its members are those that the path which served had chosen: another path's further members are
    not in it, so that a case which only they would make is missed.
    """
    rule = pipeline.cases
    made = [
        case
        for case in known.cases
        if case.status is not CaseStatus.OPEN
        and known.of.since_ms <= _decided_ms(case) <= until_ms
        and sum(m.memberships.get(path, 0.0) >= rule.membership_min for m in case.members)
        >= rule.members_min
    ]
    confirmed = sum(case.status is CaseStatus.CONFIRMED for case in made)
    return share(confirmed, len(made), level_of(pipeline.rollout.gate))


def _decided_ms(case: Case) -> int:
    """When the last word was said that the case's status rests on."""
    said = [max(member.said_ms, member.fraud_ms) for member in case.members]
    verdict = 0 if case.verdict is None else case.verdict.decided_at_ms
    return max([verdict, *said])


def _known_share(rows: Rows, events: Bools, path: str) -> float:
    total = int(events.sum())
    return rounded((~np.isnan(rows.scores[path][events])).sum() / total) if total else 0.0


def _verdict_shares(rows: Rows, events: Bools) -> dict[str, float]:
    counts = np.bincount(rows.verdicts[events], minlength=len(VERDICTS))
    total = max(1, int(counts.sum()))
    named = zip(VERDICTS, counts.tolist(), strict=True)
    return {verdict.value: rounded(count / total) for verdict, count in named}


def _finite(value: float) -> float | None:
    return rounded(value) if np.isfinite(value) else None
