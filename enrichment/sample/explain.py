"""A finished job explained: from its micro-batch to its features, as plain figures for any reader.

What was asked (nodes, ties, model), how (circuit, seeds, shots, versions), what came of it (each
path's samples by energy, memberships, differences, features, cases), and whether the same job drawn
again gives the same. Not drawn again, it has no samples to look at, only what was published.

Ids stand here as they stand in the topics: what a stream calls sensitive is a keyed hash already.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from enrichment.circuit.angles import ising_scaled_angles
from enrichment.circuit.template import ising_circuit_hash
from enrichment.pipelines import Pipeline
from enrichment.pipelines.definition import CLASSICAL_PROVIDERS
from enrichment.problem import KINDS
from enrichment.problem.ising import Ising, ising, local_norm
from enrichment.problem.ring import KNOWN_BAD_FIELD, WEIGHT_MAX, theta_of
from enrichment.provider.contract import SampleSet
from enrichment.records.feature import FeatureUpdate
from enrichment.records.micro_batch import Problem
from enrichment.sample.again import Again, Recorded
from enrichment.sample.estimate import (
    CLASSICAL,
    QUANTUM,
    RANDOM,
    answers_of,
    density,
)
from enrichment.sample.explained import (
    Circuit,
    Energies,
    Explanation,
    Membership,
    Model,
    Node,
    ProblemShown,
    Row,
    SharedBy,
    Tie,
    Verdict,
)
from enrichment.sample.fault import ENERGY_TOLERANCE
from enrichment.sample.flight import flags_of

BINS: Final = 14
"""Of a histogram: as many lines as a terminal shows beside the rest."""

PATHS: Final = (QUANTUM, CLASSICAL, RANDOM)
"""In the order in which they are shown."""


def explain(
    recorded: Recorded,
    pipeline: Pipeline,
    drawn: Again | str,
    number: int | None = None,
) -> Explanation:
    """The job explained by problem `number`, or the one of the lowest energy, or the largest.

    `pipeline` is that of `as_it_was`; `drawn` is the job drawn again, or why it was not. Raises
    ValueError where the micro-batch is gone, has no problems, or none of that number.
    """
    batch = recorded.batch
    if batch is None or not batch.problems:
        raise ValueError("there is no problem to explain: the micro-batch is gone or had none")
    if number is not None and not 0 <= number < len(batch.problems):
        last = len(batch.problems) - 1
        raise ValueError(f"there is no problem {number}: the job has 0 to {last}")
    again = drawn if isinstance(drawn, Again) else None
    rows = tuple(_rowed(recorded, again, problem) for problem in batch.problems)
    chosen = _chosen(rows) if number is None else number
    return Explanation(
        job=_job(recorded),
        durations_ms=dict(recorded.answered.durations_ms) if recorded.answered else {},
        problems=rows,
        problem=_shown(recorded, pipeline, again, chosen),
        recipe=_recipe(recorded, pipeline),
        pseudonyms=_pseudonyms(pipeline),
        verdict=_verdict(drawn),
    )


def _chosen(rows: tuple[Row, ...]) -> int:
    """The problem of the lowest energy where energies are known, else the largest."""
    order = [
        (row.energy if row.energy is not None else 0.0, -row.nodes, index)
        for index, row in enumerate(rows)
    ]
    return min(order)[2]


def _verdict(drawn: Again | str) -> Verdict:
    if isinstance(drawn, str):
        return Verdict(
            drawn=False, not_drawn=drawn, same_samples=None, agrees=True, checks=(), changed=()
        )
    result = drawn.compared
    return Verdict(
        drawn=True,
        not_drawn="",
        same_samples=result.same_samples,
        agrees=result.agrees,
        checks=result.checks,
        changed=result.changed,
    )


def _job(recorded: Recorded) -> dict[str, str | int | float]:
    """The job and its window in a few words."""
    job, batch = recorded.job, recorded.batch
    told: dict[str, str | int | float] = {
        "job_id": job.job_id,
        "pipeline": job.pipeline,
        "shard": job.shard,
        "state": job.state.value,
        "provider": job.provider,
        "provider_job_id": job.provider_job_id,
        "attempt": job.attempt,
        "detail": job.detail,
        "experiment_id": job.experiment_id,
        "correlation_id": job.correlation_id,
        "created_ms": job.created_ms,
        "took_ms": job.updated_ms - job.created_ms,
        "cost_micro": job.cost_micro,
    }
    if batch is not None:
        told |= {
            "window_start_ms": batch.window_start_ms,
            "window_end_ms": batch.window_end_ms,
            "closed_by": batch.cause.value,
            "closed_at_ms": batch.closed_at_ms,
            "events": batch.events,
        }
    return told


def _recipe(recorded: Recorded, pipeline: Pipeline) -> dict[str, object]:
    """Everything that it takes to draw the job again, as it is recorded.

    What an older record lacks is taken from the pipeline, and named in `not_recorded`.
    """
    job, event, sampling = recorded.job, recorded.answered, pipeline.sampling
    run = event.run if event else None
    return {
        "provider": job.provider,
        "problem_kind": pipeline.problem.kind,
        "shots": sampling.shots,
        "layers": sampling.layers,
        "template": f"{run.template} {run.template_version}" if run else "",
        "seeds": list(event.seeds) if event else [],
        "calibration_id": event.calibration_id if event else "",
        "conditions": dict(run.conditions) if run else {},
        "sdk_versions": dict(event.sdk_versions) if event else {},
        "enrichment_version": run.enrichment_version if run else "",
        "pipeline_version": run.pipeline_version if run else "",
        "content_hash": job.content_hash,
        "sample_hashes": {path: list(hashes) for path, hashes in event.sample_hashes.items()}
        if event
        else {},
        "not_recorded": [] if run else ["layers", "conditions", "pipeline_version"],
        "command": f"enrichment jobs explain '{job.job_id}'",
    }


def _pseudonyms(pipeline: Pipeline) -> tuple[str, ...]:
    """The kinds of entity whose ids are keyed hashes, since their field is sensitive."""
    sensitive = set(pipeline.stream.sensitive)
    return tuple(
        sorted(
            {pipeline.kind(role) for role in pipeline.entities if pipeline.field(role) in sensitive}
        )
    )


def _updates(recorded: Recorded, again: Again | None, problem: Problem) -> list[FeatureUpdate]:
    """What was published of a problem: as drawn again, or what of it the topic still holds."""
    known = again.publication.features if again is not None else recorded.features
    return [
        update
        for update in known
        if update.source is not None and update.source.problem_id == problem.problem_id
    ]


def _rowed(recorded: Recorded, again: Again | None, problem: Problem) -> Row:
    updates = _updates(recorded, again, problem)
    energies = [update.values["energy_best"] for update in updates]
    shares = [
        figures["membership"]
        for update in updates
        for path, figures in update.estimates.items()
        if path != RANDOM
    ]
    return Row(
        problem_id=problem.problem_id,
        nodes=len(problem.nodes),
        ties=len(problem.weights),
        energy=min(energies, default=None),
        membership_max=max(shares, default=None),
        published=len(updates),
    )


def _shown(
    recorded: Recorded, pipeline: Pipeline, again: Again | None, number: int
) -> ProblemShown:
    assert recorded.batch is not None  # noqa: S101  # explain() has asked
    problem = recorded.batch.problems[number]
    scale = pipeline.stream.amount_scale
    bqm = KINDS[pipeline.problem.kind](problem.nodes, problem.weights, flags_of(problem))
    model = ising(bqm)
    updates = {(update.entity, update.id): update for update in _updates(recorded, again, problem)}
    event = recorded.answered
    sets = {}
    if again is not None:
        sets = {path: of_path[number] for path, of_path in answers_of(again.result).items()}
    return ProblemShown(
        number=number,
        problem_id=problem.problem_id,
        entity=problem.entity,
        subgraph=problem.subgraph,
        seed=event.seeds[number] if event else 0,
        amount=problem.amount_minor / scale,
        nodes=tuple(
            _node(index, node, problem, updates.get((problem.entity, node)))
            for index, node in enumerate(problem.nodes)
        ),
        ties=tuple(Tie(i=i, j=j, weight=w / WEIGHT_MAX) for i, j, w in problem.weights),
        shared=tuple(
            SharedBy(
                entity=shared.entity,
                id=shared.id,
                members=shared.members,
                events=shared.events,
                amount=shared.amount_minor / scale,
            )
            for shared in problem.shared
        ),
        model=_model(pipeline.problem.kind, problem, model),
        circuit=_circuit(recorded, pipeline, model, number),
        energies=energies_of(sets) if sets else None,
        differences=dict(event.differences.get(problem.problem_id, {})) if event else {},
        published=tuple(f"{entity} {id_}" for entity, id_ in updates),
        cases=tuple(case.case_id for case in recorded.cases if case.subgraph == problem.subgraph),
    )


def _node(index: int, id_: str, problem: Problem, update: FeatureUpdate | None) -> Node:
    estimates = update.estimates if update is not None else {}
    shown = {
        path: Membership(
            membership=figures["membership"],
            low=figures["membership_low"],
            high=figures["membership_high"],
            in_best=figures["in_best"] > 0.5,
        )
        for path in PATHS
        if (figures := estimates.get(path)) is not None
    }
    return Node(
        index=index,
        id=id_,
        known_bad=index in problem.known_bad,
        memberships=shown,
        gibbs_marginal=estimates.get(CLASSICAL, {}).get("gibbs_marginal"),
    )


def _model(kind: str, problem: Problem, model: Ising) -> Model:
    """What the energy is: a kind without a formula here is shown by its Ising form alone."""
    formula, parameters = "E(s) = sum_i h_i s_i + sum_{i<j} J_ij s_i s_j + offset", {}
    if kind == "ring":
        formula = "E(x) = - sum_{i<j} (A_ij - theta) x_i x_j"
        if problem.known_bad:
            formula += f" - {KNOWN_BAD_FIELD:g} sum_i b_i x_i"
        parameters = {
            "theta": theta_of(len(problem.nodes), problem.weights),
            "density": density(len(problem.nodes), problem.weights),
        }
    return Model(
        kind=kind,
        formula=formula,
        parameters=parameters,
        couplings=len(model.couplings),
        fields=int(np.count_nonzero(model.h)),
        local_norm=local_norm(model),
    )


def _circuit(recorded: Recorded, pipeline: Pipeline, model: Ising, number: int) -> Circuit | None:
    """The circuit that was run, or None where a classical sampler answered."""
    event = recorded.answered
    if event is None or recorded.job.provider in CLASSICAL_PROVIDERS | {RANDOM}:
        return None
    hashes, layers = event.circuit_hashes, pipeline.sampling.layers
    gammas, betas = ising_scaled_angles(model, layers)
    problems = recorded.batch.problems if recorded.batch else ()
    return Circuit(
        template=event.run.template if event.run else "qaoa",
        version=event.run.template_version if event.run else 1,
        layers=layers,
        gammas=gammas,
        betas=betas,
        hash=ising_circuit_hash(model, gammas, betas),
        recorded_hash=hashes[number] if number < len(hashes) else "",
        device=event.device_runs.get(problems[number].problem_id),
    )


def energies_of(sets: Mapping[str, SampleSet]) -> Energies:
    """The samples' histograms by path, over the same bins."""
    ordered = {path: sets[path] for path in PATHS if path in sets}
    lowest = min(float(one.energies.min()) for one in ordered.values())
    highest = max(float(one.energies.max()) for one in ordered.values())
    # One level alone still has a bin of some width.
    edges = np.linspace(lowest, max(highest, lowest + 1e-6), BINS + 1)
    optimum = next(
        (one.optimum_energy for one in ordered.values() if one.optimum_energy is not None), None
    )
    return Energies(
        edges=tuple(edges.tolist()),
        counts={
            path: tuple(np.histogram(one.energies, edges)[0].tolist())
            for path, one in ordered.items()
        },
        best={path: one.summary.best_energy for path, one in ordered.items()},
        mean={path: one.summary.mean_energy for path, one in ordered.items()},
        near_optima={path: one.summary.near_optima for path, one in ordered.items()},
        optimum=optimum,
        at_optimum={}
        if optimum is None
        else {
            path: float((one.energies <= optimum + ENERGY_TOLERANCE).mean())
            for path, one in ordered.items()
        },
    )
