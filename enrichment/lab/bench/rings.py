"""`enrichment bench rings`: how many members of a planted ring land in one candidate subgraph.

In this process, without servers: a simulated stream with rings and decoys is made into digests by
the hot path's own code, and windowed by the window stage's own. What is lost, and to what, is found
by windowing the same payments again with one limit lifted at a time.
"""

import gc
import math
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final

import msgspec
from msgspec.structs import replace

from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.digest_stream import PARTITIONS, Tick, ticks
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.bench.report import Report, Row, machine
from enrichment.lab.draw import DECOYS
from enrichment.lab.rings import RING
from enrichment.lab.scenario import REGIONS, SimulationSettings
from enrichment.lab.simulate import Truth, ground_truth, simulate
from enrichment.pipelines import Pipeline, load
from enrichment.records import Digest, FeatureUpdate, MicroBatch
from enrichment.window.candidates import MEMBERS_MIN
from enrichment.window.partition import Partition
from enrichment.window.shard import Close

NAME: Final = "rings"
STRENGTHS: Final = (0.25, 0.5, 0.75)
RATE_PER_S: Final = 500.0
EVENTS: Final = 120_000  # four minutes, in which an account pays some twelve times
START_MS: Final = 1_767_225_600_000  # 2026: the decoder takes no time that is long past
BATCH_MS: Final = 500  # a pane: fewer digests than enrichers write, and the same in them
MINUTES_A_RUN: Final = 2.0
WHOLE: Final = 0.8  # of a ring's active members: as good as all

AS_IT_RUNS: Final = "as it runs"
HUB_CUT, SIZE_CAP, SHARD_SPLIT = "hub cut", "size cap", "shard split"
LIMITS: Final = (HUB_CUT, SIZE_CAP, SHARD_SPLIT)
REST: Final = "rest"
# A device of more accounts adds less than .06 to a tie, a beneficiary less than .02; .35 is a tie.
DEGREE_LIFTED: Final = 300
VARIABLES_LIFTED: Final = 64
EVER, END = "ever", "end"
NOBODY: Final = "no group"

Name = tuple[str, str, str]  # system, metric, unit
# Ring -> its active members.
Rings = Mapping[str, frozenset[str]]


def run(options: BenchOptions) -> Report:
    """Every strength with as many seeds as there are runs, on all cores: no time is measured."""
    runs = 1 if options.quick else options.runs
    cores = len(os.sched_getaffinity(0))
    if not options.quick:
        minutes = math.ceil(runs * len(STRENGTHS) * MINUTES_A_RUN / cores)
        options.say(f"this takes about {minutes} minutes")
    settings = [scenario(options, seed, s) for s in STRENGTHS for seed in range(1, runs + 1)]
    found: dict[float, dict[Name, list[float]]] = {strength: {} for strength in STRENGTHS}
    with ProcessPoolExecutor(cores, get_context("spawn"), _leave_the_collector) as pool:
        for one, values in zip(settings, pool.map(figures, settings), strict=True):
            options.say(f"strength {one.ring_strength}, seed {one.seed}: done")
            for name, value in values:
                found[one.ring_strength].setdefault(name, []).append(value)
    rows = [
        Row.of(f"strength {strength}", system, metric, values, unit)
        for strength, by_name in found.items()
        for (system, metric, unit), values in by_name.items()
    ]
    return Report(name=NAME, machine=machine(), rows=tuple(rows), notes=NOTES)


def _leave_the_collector() -> None:
    """As in the window stage: a horizon's many small objects must not be walked all the time."""
    gc.set_threshold(100_000, 20, 100)


NOTES: Final = (
    "simulated payments with decoys; a run is a seed, and its figure the mean over its rings",
    (
        "ever: the largest share of a ring's active members that were ever in one published "
        "problem; end: in one candidate subgraph when the stream ends, published or not"
    ),
    (
        f"active is who paid through the ring; rings of fewer than {MEMBERS_MIN} are left out; "
        f"whole: {WHOLE:.0%} of the active members or more"
    ),
    (
        f"without: one limit lifted, degree_max to {DEGREE_LIFTED}, variables_max to "
        f"{VARIABLES_LIFTED}, the shards to one; lost to: the difference, below zero where lifting "
        "it does harm; the rest is what no single one explains, ties below weight_min above all"
    ),
    (
        "nodes: of all nodes of candidate subgraphs at the end, by the group that has most members "
        "in the subgraph with them, if it has two"
    ),
)


def scenario(options: BenchOptions, seed: int, strength: float) -> SimulationSettings:
    """The stream of one run."""
    if options.quick:
        return SimulationSettings(
            seed=seed, seconds=60, rate_per_s=100, start_ms=START_MS, accounts=1_000, rings=6,
            ring_strength=strength,
        )  # fmt: skip
    return SimulationSettings(
        seed=seed,
        seconds=(options.events or EVENTS) / RATE_PER_S,
        rate_per_s=RATE_PER_S,
        start_ms=START_MS,
        ring_strength=strength,
    )


def figures(settings: SimulationSettings) -> list[tuple[Name, float]]:
    """All figures of one run. Raises BenchError where no ring became active."""
    return list(_figures(settings, load(STREAM)))


def _figures(settings: SimulationSettings, pipeline: Pipeline) -> Iterator[tuple[Name, float]]:
    truth = ground_truth(settings)
    paid = active(settings)
    members = sum(len(ring.members) for ring in truth.rings)
    rings = {ring: found for ring, found in paid.items() if len(found) >= MEMBERS_MIN}
    if not rings:
        raise BenchError("no ring has three active members: ask for more events")
    never = 1 - sum(map(len, paid.values())) / members
    yield ("members", "never_active", "share"), never
    yield ("rings", "with_three_active", "rings"), len(rings)
    runs = windowed(lambda variant: ticks(settings, variant, batch_ms=BATCH_MS), pipeline, rings)
    for name, found in runs.items():
        system = name if name == AS_IT_RUNS else f"without {name}"
        for when, shares in ((EVER, found.ever()), (END, found.end())):
            yield (system, f"{when}_together", "share"), statistics.mean(shares)
            if name == AS_IT_RUNS:
                whole = sum(share >= WHOLE for share in shares) / len(shares)
                yield (system, f"{when}_median", "share"), statistics.median(shares)
                yield (system, f"{when}_whole", "share"), whole
    for limit, lost in losses(runs).items():
        for when, share in lost.items():
            yield (f"lost to {limit}", f"{when}_together", "share"), share
    candidates = runs[AS_IT_RUNS].candidates()
    yield ("candidates", "subgraphs", "number"), len(candidates)
    yield ("candidates", "over_problems_max", "number"), runs[AS_IT_RUNS].over_problems_max
    for kind, share in composition(candidates, truth).items():
        yield (f"nodes: {kind}", "nodes", "share"), share


def active(settings: SimulationSettings) -> dict[str, frozenset[str]]:
    """Ring -> the members who made a payment through it."""
    found: dict[str, set[str]] = {}
    for simulated in simulate(settings):
        if simulated.origin == RING:
            found.setdefault(simulated.group, set()).add(simulated.payment.account_id)
    return {ring: frozenset(members) for ring, members in found.items()}


def lifted(pipeline: Pipeline, limit: str) -> Pipeline:
    """The pipeline without that limit."""
    problem = pipeline.problem
    if limit == HUB_CUT:
        links = tuple(replace(link, degree_max=DEGREE_LIFTED) for link in pipeline.links)
        return replace(pipeline, links=links)
    if limit == SIZE_CAP:
        return replace(pipeline, problem=replace(problem, variables_max=VARIABLES_LIFTED))
    # One shard may have as many problems as all of them had.
    problem = replace(problem, problems_max=problem.problems_max * len(REGIONS))
    return replace(pipeline, window=replace(pipeline.window, shard=None), problem=problem)


@dataclass(slots=True)
class Followed:
    """What windowing a stream made of the rings."""

    rings: Rings
    over_problems_max: int = 0
    # Ring -> the most of its active members that were ever in one published problem.
    _most: dict[str, int] = field(default_factory=dict)
    # Account -> the hash of the candidate subgraph that it lies in, "" for none.
    _placed: dict[str, str] = field(default_factory=dict)

    def note(self, batch: MicroBatch, features: Iterable[FeatureUpdate], kind: str) -> None:
        """Take in what a close published; `kind` is that of the problems' nodes."""
        self.over_problems_max += batch.left_out.get("cap", 0)
        for problem in batch.problems:
            nodes = frozenset(problem.nodes)
            for ring, members in self.rings.items():
                if together := len(members & nodes):
                    self._most[ring] = max(together, self._most.get(ring, 0))
        for update in features:
            if update.entity == kind:
                self._placed[update.id] = update.subgraph

    def ever(self) -> list[float]:
        """The largest share of each ring's active members that were ever in one problem."""
        return [self._most.get(ring, 0) / len(members) for ring, members in self.rings.items()]

    def end(self) -> list[float]:
        """The largest share of each that lie in one candidate subgraph at the end."""
        shares = []
        for members in self.rings.values():
            where = Counter(filter(None, (self._placed.get(member) for member in members)))
            shares.append(max(where.values(), default=0) / len(members))
        return shares

    def candidates(self) -> list[set[str]]:
        """The accounts of each candidate subgraph at the end."""
        found: dict[str, set[str]] = {}
        for account, subgraph in self._placed.items():
            if subgraph:
                found.setdefault(subgraph, set()).add(account)
        return list(found.values())


def windowed(
    stream: Callable[[Pipeline], Iterable[Tick]], pipeline: Pipeline, rings: Rings
) -> dict[str, Followed]:
    """The stream windowed as it is, and without each limit. Shards are the digests' own."""
    sharded = list(stream(pipeline))
    runs = {AS_IT_RUNS: follow(sharded, pipeline, rings)}
    for limit in LIMITS:
        variant = lifted(pipeline, limit)
        runs[limit] = follow(stream(variant) if limit == SHARD_SPLIT else sharded, variant, rings)
    return runs


def follow(stream: Iterable[Tick], pipeline: Pipeline, rings: Rings) -> Followed:
    """Window a stream as the stage does, until it has closed all of it."""
    found = Followed(rings)
    for each in closes(stream, pipeline):
        found.note(each.micro_batch, each.features, pipeline.node_kind or "")
    return found


def closes(stream: Iterable[Tick], pipeline: Pipeline) -> Iterator[Close]:
    """All that the window stage would publish of a stream, close by close."""
    partitions = [
        Partition(pipeline, number, start=0, sources=PARTITIONS) for number in range(PARTITIONS)
    ]
    decode = msgspec.json.Decoder(Digest).decode
    at_ms = 0
    for tick in stream:
        at_ms = tick.at_ms
        for record in tick.records:
            partition = partitions[record.partition]
            digest = decode(record.value)
            partition.receive(digest, partition.next_offset, written_ms=at_ms, now_ms=at_ms)
            yield from partition.due(at_ms)
    for partition in partitions:
        partition.settle()
        yield from partition.due(at_ms + pipeline.window.idle_close_ms)


def losses(runs: Mapping[str, Followed]) -> dict[str, dict[str, float]]:
    """What each limit costs, and the rest of what is not together; ever and at the end."""
    means = {
        name: {EVER: statistics.mean(found.ever()), END: statistics.mean(found.end())}
        for name, found in runs.items()
    }
    now = means[AS_IT_RUNS]
    lost = {
        limit: {when: means[limit][when] - share for when, share in now.items()} for limit in LIMITS
    }
    lost[REST] = {
        when: 1 - share - sum(lost[limit][when] for limit in LIMITS) for when, share in now.items()
    }
    return lost


def composition(candidates: Sequence[set[str]], truth: Truth) -> dict[str, float]:
    """Kind of group -> the share of all nodes that are there with others of such a group."""
    groups = [(RING, ring.members) for ring in truth.rings]
    groups += [(decoy.kind, decoy.members) for decoy in truth.decoys]
    groups_of: dict[str, list[int]] = {}
    for number, (_, members) in enumerate(groups):
        for member in members:
            groups_of.setdefault(member, []).append(number)
    counts: Counter[str] = Counter()
    for nodes in candidates:
        inside = Counter(number for node in nodes for number in groups_of.get(node, ()))
        for node in nodes:
            # Of two with as many members here the ring, which comes first.
            best = max(groups_of.get(node, ()), key=lambda each: inside[each], default=None)
            together = best is not None and inside[best] > 1
            counts[groups[best][0] if best is not None and together else NOBODY] += 1
    nodes_all = max(counts.total(), 1)
    return {kind: counts[kind] / nodes_all for kind in (RING, *DECOYS, NOBODY)}
