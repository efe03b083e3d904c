"""A call: what a caller wants solved, checked, and the micro-batch that it becomes. Pure.

A call's identity is its key's, or one that was drawn for it: sent again under its key it is the
same job, whoever of several consoles takes it, and the ledger solves it once. So no time is in it;
a call is a shard of its own and waits for no other; what is found of a node is the latest job's.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from enrichment.console.folds import JobRow
from enrichment.console.limits import (
    AMOUNT_MAX,
    CALL_NODES_MIN,
    CALL_PROBLEMS_MAX,
    CALLS_REMEMBERED,
    ID_CHARACTERS_MAX,
    PRINTABLE,
)
from enrichment.pipelines import Pipeline
from enrichment.records import Cause, MicroBatch, Problem
from enrichment.records.micro_batch import micro_batch_id, subgraph_hash

SIXTEENTHS: Final = 16  # adjacency is counted in these
HASH_SCHEME: Final = "call."  # no window's content is hashed so
HASH_DIGITS: Final = 32  # 128 bits: two contents, or two keys, do not meet by chance
ACCEPTED: Final = "accepted"
"""The state of a call that is on its topic, and that no sampler has made a job of yet."""

_ENCODER: Final = msgspec.json.Encoder()

NodeId = Annotated[str, Meta(min_length=1, max_length=ID_CHARACTERS_MAX, pattern=PRINTABLE)]


class CallEdge(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`[i, j, weight]`: two nodes by their places from 0, and how strongly they are tied.

    The weight is above 0 and at most 1, and counted in sixteenths.
    """

    i: int
    j: int
    weight: float


class CallProblem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One small graph. `known_bad` are places of nodes that are known to be bad.

    `amount` is what its nodes have moved, in the stream's own unit.
    """

    nodes: tuple[NodeId, ...]
    edges: tuple[CallEdge, ...]
    known_bad: tuple[int, ...] = ()
    amount: float = 0.0


class Call(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be solved as one job: a node is in one problem of it."""

    problems: tuple[CallProblem, ...]


class CallError(ValueError):
    """What is wrong with a call, and where: `problems[0].edges[2]: ...`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a pipeline's file says of calls."""

    pipeline: str
    entity: str
    problems_max: int
    variables_max: int
    amount_scale: int

    @classmethod
    def of(cls, pipeline: Pipeline) -> "Rules":
        """The rules of a pipeline of calls."""
        return cls(
            pipeline=pipeline.name,
            entity=pipeline.node_kind or "",
            problems_max=min(pipeline.problem.problems_max, CALL_PROBLEMS_MAX),
            variables_max=pipeline.problem.variables_max,
            amount_scale=pipeline.stream.amount_scale,
        )


def shard_of(key: str) -> str:
    """The shard of the call under that key: a digest, since a key may hold anything."""
    return f"k-{sha256(key.encode(errors='surrogatepass')).hexdigest()[:HASH_DIGITS]}"


def batch_of(call: Call, rules: Rules, shard: str, now_ms: int) -> MicroBatch:
    """The micro-batch that a call becomes. Raises CallError."""
    if not 1 <= len(call.problems) <= rules.problems_max:
        said = f"wanted 1 to {rules.problems_max}, found {len(call.problems)}"
        raise CallError(f"problems: {said}")
    id_ = micro_batch_id(rules.pipeline, shard, 0, 0)
    problems = tuple(
        _problem(given, rules, f"problems[{number}]", f"{id_}|{number}", now_ms)
        for number, given in enumerate(call.problems)
    )
    _refuse_shared(problems)
    return MicroBatch(
        micro_batch_id=id_,
        pipeline=rules.pipeline,
        shard=shard,
        window_start_ms=0,
        window_end_ms=now_ms,
        sequence=0,
        cause=Cause.CALL,
        watermark_ms=now_ms,
        closed_at_ms=now_ms,
        content_hash=_content_hash(problems),
        events=0,
        digest_offsets=(),
        problems=problems,
    )


def _problem(given: CallProblem, rules: Rules, where: str, problem_id: str, now_ms: int) -> Problem:
    count = len(given.nodes)
    if not CALL_NODES_MIN <= count <= rules.variables_max:
        said = f"wanted {CALL_NODES_MIN} to {rules.variables_max}, found {count}"
        raise CallError(f"{where}.nodes: {said}")
    seen: dict[str, int] = {}
    for place, node in enumerate(given.nodes):
        if node in seen:
            raise CallError(f"{where}.nodes[{place}]: '{node}' is nodes[{seen[node]}] already")
        seen[node] = place
    for index, place in enumerate(given.known_bad):
        if not 0 <= place < count:
            raise CallError(f"{where}.known_bad[{index}]: {_nowhere(place, count)}")
    known_bad = tuple(sorted(set(given.known_bad)))
    if not (math.isfinite(given.amount) and 0 <= given.amount <= AMOUNT_MAX):
        said = f"wanted 0 to {AMOUNT_MAX:g}, found {given.amount:g}"
        raise CallError(f"{where}.amount: {said}")
    weights = _weights(given.edges, count, f"{where}.edges")
    return Problem(
        problem_id=problem_id,
        subgraph=subgraph_hash(given.nodes, weights, known_bad),
        entity=rules.entity,
        nodes=given.nodes,
        weights=weights,
        known_bad=known_bad,
        amount_minor=round(given.amount * rules.amount_scale),
        first_seen_ms=now_ms,
        last_seen_ms=now_ms,
    )


def _weights(
    edges: tuple[CallEdge, ...], count: int, where: str
) -> tuple[tuple[int, int, int], ...]:
    """(i, j, sixteenths) with i < j, ascending, in whichever order and direction they came."""
    if not edges:
        raise CallError(f"{where}: wanted one at least: without any there is nothing to find")
    found: dict[tuple[int, int], int] = {}
    for index, edge in enumerate(edges):
        for place in (edge.i, edge.j):
            if not 0 <= place < count:
                raise CallError(f"{where}[{index}]: {_nowhere(place, count)}")
        if edge.i == edge.j:
            raise CallError(f"{where}[{index}]: ties node {edge.i} to itself")
        if not 0 < edge.weight <= 1:
            said = f"wanted a weight above 0 and at most 1, found {edge.weight:g}"
            raise CallError(f"{where}[{index}]: {said}")
        sixteenths = math.floor(edge.weight * SIXTEENTHS + 0.5)
        if not sixteenths:
            said = f"{edge.weight:g} rounds to no sixteenth: leave it out"
            raise CallError(f"{where}[{index}]: {said}")
        pair = (min(edge.i, edge.j), max(edge.i, edge.j))
        if pair in found:
            raise CallError(f"{where}[{index}]: nodes {pair[0]} and {pair[1]} are tied already")
        found[pair] = sixteenths
    return tuple((i, j, sixteenths) for (i, j), sixteenths in sorted(found.items()))


def _nowhere(place: int, count: int) -> str:
    return f"there is no node {place}: they are 0 to {count - 1}"


def _refuse_shared(problems: tuple[Problem, ...]) -> None:
    """Raise CallError for a node in two problems: it would have two values under one name."""
    places: dict[str, str] = {}
    for number, problem in enumerate(problems):
        for place, node in enumerate(problem.nodes):
            here = f"problems[{number}].nodes[{place}]"
            if node in places:
                said = f"'{node}' is {places[node]} already: send it in a call of its own"
                raise CallError(f"{here}: {said}")
            places[node] = here


def _content_hash(problems: tuple[Problem, ...]) -> str:
    """A hash of what is to be solved, whenever it was sent, its edges in whatever order."""
    content = [(p.nodes, p.weights, p.known_bad, p.amount_minor) for p in problems]
    return HASH_SCHEME + sha256(_ENCODER.encode(content)).hexdigest()[:HASH_DIGITS]


@dataclass(slots=True)
class Taken:
    """One call that this console has accepted, or is about to."""

    batch: MicroBatch
    # It is on the topic: the broker has said so.
    delivered: bool = False
    # The ledger has shown it once: whether it stays there is the ledger's to say.
    seen: bool = False


class CallBook:
    """The calls that this console has accepted, the newest of them."""

    def __init__(self, kept: int = CALLS_REMEMBERED) -> None:
        self._kept = kept
        self._taken: OrderedDict[str, Taken] = OrderedDict()

    def add(self, batch: MicroBatch) -> Taken:
        """Note a call that is about to be published; what the ledger has makes room for it."""
        taken = self._taken[batch.micro_batch_id] = Taken(batch)
        while len(self._taken) > self._kept:
            seen = (job_id for job_id, one in self._taken.items() if one.seen)
            del self._taken[next(seen, next(iter(self._taken)))]
        return taken

    def forget(self, job_id: str) -> None:
        """Note that it was not delivered, as far as anybody knows."""
        self._taken.pop(job_id, None)

    def get(self, job_id: str) -> Taken | None:
        """The call of that job, where it is remembered."""
        return self._taken.get(job_id)

    def row(self, job_id: str) -> JobRow | None:
        """A delivered call as a job that nobody has begun; None where it is none."""
        taken = self._taken.get(job_id)
        if taken is None or not taken.delivered:
            return None
        batch = taken.batch
        return JobRow(
            job_id=job_id,
            pipeline=batch.pipeline,
            shard=batch.shard,
            state=ACCEPTED,
            attempt=0,
            created_ms=batch.closed_at_ms,
            updated_ms=batch.closed_at_ms,
            deadline_ms=0,
            problems=len(batch.problems),
            content_hash=batch.content_hash,
        )

    def waiting(self, rows: Mapping[str, JobRow], ended: Callable[[JobRow], bool]) -> int:
        """How many calls are not over: open jobs, and calls that are no jobs yet."""
        for job_id, taken in self._taken.items():
            taken.seen = taken.seen or job_id in rows
        unseen = sum(not taken.seen for taken in self._taken.values())
        return unseen + sum(not ended(row) for row in rows.values())
