"""From samples to features: what each path makes of every account, device and beneficiary.

One estimand for all paths, so that they can be compared: ring membership, the mean of x_i over the
best fifth of the shots by energy. The paths differ only in whose shots they are: `quantum` the
circuit's, `classical` the classical sampler's (independent Gibbs samples of the same model up to 16
variables, simulated annealing above), `random` uniform strings. Beside it the classical path gives
`gibbs_marginal`, the exact P(x_i = 1) over *all* strings at the solver's temperature: another
estimand, never to be compared with the membership as if it were the same.

None of these is a probability. Where the pipeline has a calibration, the path and sampler that it
is of have `ring_probability` beside them (`enrichment.pipelines.probability` says of what).

An estimate of one path has, for an account i of a problem with the model's energy E:

- `membership`, and `membership_low` to `membership_high`, the 95 % interval of what infinitely many
  shots of the same sampler would give (`shot_interval`);
- `in_best`: x_i in the first of the path's best strings, and `in_best_energy`: that x_i times the
  string's energy (the model's optimum x energy, where the path has found the optimum; <= 0 where a
  ring is worth anything);
- `entropy` of the sampled strings in bits, `near_optima`, how many of them lie within 5 % of the
  best, `mean_energy`, `optimum_energy`, the proven one where there is a proof, else the best seen;
  these are the problem's, and the same for all of its accounts;
- `gibbs_marginal`, of the classical path up to 16 variables.

`values` are facts about the subgraph: `size`, `density`, `amount` (in the stream's own unit), and
`energy_best`, the lowest energy that any path has seen. How far the paths are from each other is in
`source.differences`, per problem.

A shared device or beneficiary gets the mean of its two highest members' memberships: two accounts
are what it takes to share, and a mean over all would let a crowd of innocent users hide the ring.
Its interval is the mean of the two intervals, and not a joint one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from msgspec.structs import replace

from enrichment.circuit.marginals import differences
from enrichment.pipelines.definition import CLASSICAL_PROVIDERS
from enrichment.pipelines.probability import RING_PROBABILITY, RingProbability, surplus_of
from enrichment.problem.ising import Floats
from enrichment.problem.ring import WEIGHT_MAX
from enrichment.provider.contract import Result, SampleSet
from enrichment.records.feature import FeatureUpdate, Source
from enrichment.records.micro_batch import MicroBatch, Problem

GROUP: Final = "ring"
QUANTUM: Final = "quantum"
CLASSICAL: Final = "classical"
RANDOM: Final = "random"
SIMULATOR: Final = "simulator"
"""The twin of spot checks: the same circuit, seed and shots without a device's noise."""

SPREAD_MIN: Final = 1e-6
"""In energy units, of which a tie is worth up to one: less is rounding, and no way to go."""

MEANS: Final = "mean_energy"
"""In these figures' names: a job's record has them; a feature has its paths' own means already."""

TOP: Final = 2
"""How many of its members speak for a shared device or beneficiary."""

Answers = Mapping[str, tuple[SampleSet, ...]]
"""Path -> one sample set per problem, in the micro-batch's order."""

Estimates = dict[str, dict[str, float]]
"""Path -> figures of one entity by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What all features of one job have in common: where they come from and when they were made."""

    batch: MicroBatch
    job_id: str
    backend: str
    calibration_id: str
    computed_at_ms: int
    # Minor units per unit of the stream's amount.
    amount_scale: int
    # What memberships have been worth, where that was ever found out.
    probability: RingProbability | None = None


def seed_of(job_id: str, problem_id: str = "") -> int:
    """The seed of one problem of a job: 53 bits of SHA-256, exact wherever JSON is read."""
    digest = sha256(f"{job_id}\n{problem_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11


def request_name(job_id: str, attempt: int, first: int) -> str:
    """What a request is called at a provider: the job's attempt, from its problem `first` on."""
    return f"{job_id}|{attempt}|{first}"


def check_name(job_id: str) -> str:
    """The id of a job's spot check."""
    return f"{job_id}|check"


def job_of(request_id: str) -> str:
    """The job that a request is of."""
    return request_id.rsplit("|", 2)[0]


def answers_of(result: Result) -> dict[str, tuple[SampleSet, ...]]:
    """The result by path. What a classical sampler drew is never called quantum."""
    return {**result.twins, path_of(result.provider): result.sets}


def path_of(provider: str) -> str:
    """Which path a provider's own samples are of."""
    if provider in CLASSICAL_PROVIDERS:
        return CLASSICAL
    return RANDOM if provider == RANDOM else QUANTUM


def density(
    count: int, weights: Sequence[tuple[int, int, int]], among: frozenset[int] | None = None
) -> float:
    """The mean clipped adjacency over all pairs of `count` nodes, or of those in `among`."""
    size = count if among is None else len(among)
    pairs = size * (size - 1) / 2
    if not pairs:
        return 0.0
    inside = (w for i, j, w in weights if among is None or (i in among and j in among))
    return sum(inside) / WEIGHT_MAX / pairs


def memberships(problem_index: int, answers: Answers) -> dict[str, list[float]]:
    """Path -> membership per node of that problem."""
    return {path: _share(sets[problem_index].summary.membership) for path, sets in answers.items()}


def features(
    origin: Provenance, answers: Answers, differences: Mapping[str, Mapping[str, float]]
) -> Iterator[FeatureUpdate]:
    """One update of group `ring` for each account of each problem and for each shared attribute.

    `differences` are those of `differences_of`.

    An attribute that ties accounts of several problems is described by the one where it ties most,
    the first of equals: one entity has one value.
    """
    owners = shared_owners(origin.batch.problems)
    for index, problem in enumerate(origin.batch.problems):
        sets = {path: of_path[index] for path, of_path in answers.items()}
        by_node = {path: _node_estimates(answer) for path, answer in sets.items()}
        values = _values(problem, sets, origin.amount_scale)
        source = _source(origin, problem, sets, differences)
        samplers = {path: answer.sampler for path, answer in sets.items()}
        for position, node in enumerate(problem.nodes):
            estimates = {path: nodes[position] for path, nodes in by_node.items()}
            what = _calibrated(origin.probability, problem.entity, samplers, (estimates, source))
            yield _update(origin, (problem.entity, node), problem, (values, *what))
        for shared in problem.shared:
            if owners[shared.entity, shared.id] != index or not shared.members:
                continue
            estimates = {
                path: _shared_estimate([nodes[member] for member in shared.members])
                for path, nodes in by_node.items()
            }
            tied = {
                **values,
                "size": float(len(shared.members)),
                "amount": shared.amount_minor / origin.amount_scale,
            }
            what = _calibrated(origin.probability, shared.entity, samplers, (estimates, source))
            yield _update(origin, (shared.entity, shared.id), problem, (tied, *what))


def shared_owners(problems: Sequence[Problem]) -> dict[tuple[str, str], int]:
    """(entity, id) of each shared attribute -> the index of the problem that describes it."""
    best: dict[tuple[str, str], tuple[int, int]] = {}
    for index, problem in enumerate(problems):
        for shared in problem.shared:
            key = (shared.entity, shared.id)
            claim = (len(shared.members), -index)
            best[key] = max(best.get(key, claim), claim)
    return {key: -negative for key, (_, negative) in best.items()}


def differences_of(
    problems: Sequence[Problem], answers: Answers, own: str = QUANTUM
) -> dict[str, dict[str, float]]:
    """Problem id -> how far the samples of path `own` are from each twin's; {} where it has none.

    From the classical twin `energy_gap` (of the best strings), `membership_gap` and
    `histogram_distance`; the same from others under `random_` and, in a spot check, `simulator_`.
    `..._mean_energy` are each path's means, and `mean_energy_gap`, of `gap_share`, the path's own
    between the classical twin's and random strings'.
    """
    ours = answers.get(own)
    if ours is None:
        return {}
    twins = [
        (path, prefix)
        for path, prefix in ((CLASSICAL, ""), (RANDOM, "random_"), (SIMULATOR, "simulator_"))
        if path in answers and path != own
    ]
    found: dict[str, dict[str, float]] = {}
    for index, (problem, drawn) in enumerate(zip(problems, ours, strict=True)):
        figures: dict[str, float] = {f"{own}_mean_energy": drawn.summary.mean_energy}
        for path, prefix in twins:
            twin = answers[path][index]
            gap = differences(drawn.summary, drawn.energies, twin.summary, twin.energies)
            figures[f"{prefix}energy_gap"] = gap.energy_gap
            figures[f"{prefix}membership_gap"] = gap.membership_gap
            figures[f"{prefix}histogram_distance"] = gap.histogram_distance
            figures[f"{path}_mean_energy"] = twin.summary.mean_energy
            if path == CLASSICAL and twin.optimum_energy is not None:
                figures["optimum_gap"] = drawn.summary.best_energy - twin.optimum_energy
        if "classical_mean_energy" in figures and "random_mean_energy" in figures:
            share = gap_share(
                drawn.summary.mean_energy,
                figures["classical_mean_energy"],
                random=figures["random_mean_energy"],
            )
            if share is not None:
                figures["mean_energy_gap"] = share
        found[problem.problem_id] = figures
    return found


def gap_share(mean: float, twin: float, *, random: float) -> float | None:
    """How far a mean energy is on the way from a twin's to random strings': 0 there, 1 here.

    Below 0 it is lower than the twin's. None where the twin itself is no better than random.
    """
    spread = random - twin
    return (mean - twin) / spread if spread > SPREAD_MIN else None


def _node_estimates(answer: SampleSet) -> list[dict[str, float]]:
    """One path's figures for each node: the problem's own (entropy, energies) stand in each."""
    summary = answer.summary
    optimum = answer.optimum_energy
    common = {
        "entropy": summary.entropy_bits,
        "optimum_energy": summary.best_energy if optimum is None else optimum,
        "mean_energy": summary.mean_energy,
        "near_optima": float(summary.near_optima),
    }
    columns = {
        "membership": _share(summary.membership),
        "membership_low": _share(summary.low),
        "membership_high": _share(summary.high),
        "in_best": summary.best.astype(float).tolist(),
        # Of a string of the best energy; adding nought makes no node's product a negative nought.
        "in_best_energy": (summary.best * summary.best_energy + 0.0).tolist(),
    }
    if answer.marginals is not None:
        columns["gibbs_marginal"] = _share(answer.marginals)
    names = (*columns, *common)
    same = tuple(common.values())
    return [
        dict(zip(names, (*row, *same), strict=True)) for row in zip(*columns.values(), strict=True)
    ]


def _share(values: Floats) -> list[float]:
    """Means of zeros and ones as a list, within [0, 1]."""
    clipped: list[float] = values.clip(0.0, 1.0).tolist()
    return clipped


def _shared_estimate(of_members: list[dict[str, float]]) -> dict[str, float]:
    """One path's figures for an attribute: the mean over its two highest members."""
    top = sorted(of_members, key=lambda estimate: -estimate["membership"])[:TOP]
    return {name: sum(estimate[name] for estimate in top) / len(top) for name in top[0]}


def _calibrated(
    probability: RingProbability | None,
    kind: str,
    samplers: Mapping[str, str],
    what: tuple[Estimates, Source],
) -> tuple[Estimates, Source]:
    """The same with `ring_probability` beside the memberships that the calibration is of."""
    if probability is None:
        return what
    estimates, source = what
    found = dict(estimates)
    for path, estimate in estimates.items():
        steps, surplus = probability.of(path, samplers[path], kind), surplus_of(estimate)
        if steps is not None and surplus is not None:
            found[path] = {**estimate, RING_PROBABILITY: steps.at(surplus)}
            source = replace(source, probability_version=probability.version)
    return found, source


def _values(problem: Problem, sets: Mapping[str, SampleSet], amount_scale: int) -> dict[str, float]:
    """Facts about the subgraph; `amount` in the stream's own unit."""
    return {
        "size": float(len(problem.nodes)),
        "density": density(len(problem.nodes), problem.weights),
        "energy_best": min(answer.summary.best_energy for answer in sets.values()),
        "amount": problem.amount_minor / amount_scale,
    }


def _source(
    origin: Provenance,
    problem: Problem,
    sets: Mapping[str, SampleSet],
    differences: Mapping[str, Mapping[str, float]],
) -> Source:
    """How the problem's features came to be: by the chosen sampler, its twins beside it."""
    ours = sets.get(QUANTUM) or sets[CLASSICAL]
    kept = ours.kept
    return Source(
        backend=origin.backend,
        micro_batch_id=origin.batch.micro_batch_id,
        job_id=origin.job_id,
        problem_id=problem.problem_id,
        circuit_hash=ours.circuit_hash,
        shots=len(ours.bits),
        seed=ours.seed,
        # Drawn by an earlier job, under what may be another calibration than the rest of this one.
        calibration_id=kept.calibration_id if kept is not None else origin.calibration_id,
        kept_job_id=job_of(kept.job_id) if kept is not None else "",
        differences={
            name: value
            for name, value in differences.get(problem.problem_id, {}).items()
            if MEANS not in name
        },
    )


def _update(
    origin: Provenance,
    entity: tuple[str, str],
    problem: Problem,
    what: tuple[dict[str, float], Estimates, Source],
) -> FeatureUpdate:
    """The record of one entity."""
    values, estimates, source = what
    batch = origin.batch
    return FeatureUpdate(
        version=batch.version,
        pipeline=batch.pipeline,
        entity=entity[0],
        id=entity[1],
        group=GROUP,
        subgraph=problem.subgraph,
        event_time_ms=batch.window_end_ms,
        computed_at_ms=origin.computed_at_ms,
        values=values,
        estimates=estimates,
        source=source,
    )
