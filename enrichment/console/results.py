"""A job's result: its record's figures, and of each node what the cache still has of it. Pure.

The cache has one value of a node, the newest job's: what another job has since found in place of
this one is named, and never shown as this one's.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from enrichment.console.folds import JobRow
from enrichment.console.limits import PROJECTED_MS
from enrichment.feature.reader import Features
from enrichment.records import JobEvent, MicroBatch, VerdictName
from enrichment.records.micro_batch import Problem

SHOWN: Final = ("membership", "membership_low", "membership_high", "in_best", "gibbs_marginal")
"""What of a path's estimate is a node's own; the rest is the problem's."""

SUPERSEDED: Final = "superseded"
NOT_PROJECTED: Final = "not_in_cache"


class NodeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a job found of one node, by path: `quantum`, `classical`, `random` (the null).

    `membership` is no probability; `membership_low` to `membership_high` is its interval of shot
    noise. Where there is nothing, `missing` says why: `superseded` by the job named, or the cache's
    own reason.
    """

    id: str
    estimates: dict[str, dict[str, float]]
    missing: str = ""
    superseded_by: str = ""


class ProblemResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a job found of one problem, its nodes in the order in which they were sent.

    `differences` are from the classical twin: the energy gap, the mean |difference of membership|,
    the distance of the energy histograms; and the same as `random_...` from the null.
    """

    problem_id: str
    subgraph: str
    seed: int | None
    circuit_hash: str
    differences: dict[str, float]
    nodes: tuple[NodeResult, ...]


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a job found. `asked` is the provider that it began with, `provider` whose this is."""

    job_id: str
    state: str
    asked: str
    provider: str
    shots: int
    calibration_id: str
    cost_micro: int
    # Whether every node has what this job found of it.
    complete: bool
    problems: tuple[ProblemResult, ...]


def result_of(
    row: JobRow, answered: JobEvent, batch: MicroBatch, found: Sequence[Features], now_ms: int
) -> JobResult | None:
    """The result of a job that has published; None while its values are on the way to the cache.

    `answered` is the transition that bears its answer; `found` is of each node of each problem.
    """
    values = iter(found)
    problems = []
    for number, problem in enumerate(batch.problems):
        nodes = [
            _node(row, node, value, now_ms)
            for node, value in zip(problem.nodes, values, strict=False)
        ]
        if None in nodes:
            return None
        known = tuple(node for node in nodes if node is not None)
        problems.append(_problem(problem, number, len(batch.problems), answered, known))
    return JobResult(
        job_id=row.job_id,
        state=row.state,
        asked=row.chosen,
        provider=row.provider,
        shots=0 if answered.run is None else answered.run.shots,
        calibration_id=answered.calibration_id,
        cost_micro=row.cost_micro,
        complete=all(not node.missing for problem in problems for node in problem.nodes),
        problems=tuple(problems),
    )


def missing_of(result: JobResult) -> dict[str, int]:
    """How many nodes lack a value, by why; empty where one at least has one."""
    nodes = [node for problem in result.problems for node in problem.nodes]
    if any(not node.missing for node in nodes):
        return {}
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.missing] = counts.get(node.missing, 0) + 1
    return counts


def _problem(
    problem: Problem, number: int, count: int, answered: JobEvent, nodes: tuple[NodeResult, ...]
) -> ProblemResult:
    # One for each problem, or, of classical samplers, none at all.
    hashes = answered.circuit_hashes if len(answered.circuit_hashes) == count else ("",) * count
    seeds = answered.seeds
    return ProblemResult(
        problem_id=problem.problem_id,
        subgraph=problem.subgraph,
        seed=seeds[number] if len(seeds) == count else None,
        circuit_hash=hashes[number],
        differences=answered.differences.get(problem.problem_id, {}),
        nodes=nodes,
    )


def _node(row: JobRow, node: str, value: Features, now_ms: int) -> NodeResult | None:
    """The node's value where it is this job's, or why not; None where it may still be coming."""
    source = value.source
    if source is not None and source.job_id == row.job_id:
        return NodeResult(id=node, estimates=_shown(value.estimates))
    older = source is not None and value.computed_at_ms < row.updated_ms
    if older or value.verdict.name is VerdictName.MISSING:
        if now_ms - row.updated_ms < PROJECTED_MS:
            return None
        return NodeResult(id=node, estimates={}, missing=NOT_PROJECTED)
    if source is None:
        return NodeResult(id=node, estimates={}, missing=value.verdict.reason)
    return NodeResult(id=node, estimates={}, missing=SUPERSEDED, superseded_by=source.job_id)


def _shown(estimates: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {
        path: {name: figures[name] for name in SHOWN if name in figures}
        for path, figures in estimates.items()
    }
