"""Facts that each production question passes, and facts that it fails."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from enrichment.pipelines.definition import Budget
from enrichment.preflight.facts import Facts, Part
from enrichment.records import Compute
from enrichment.rollout.control import Withdrawals
from enrichment.stream import topics
from tests.preflight.known import (
    CACHE,
    CLASSICAL,
    DAY_MS,
    EXPERIMENT,
    NOW_MS,
    PROVED,
    READY,
    breach,
    changed,
    lacking,
    with_control,
    with_gate,
    with_pipeline,
    with_settings,
    with_topic,
    without_topic,
)

RING = tuple(term for term in READY.pipeline.score.terms if ".ring." in term.value)
GOOGLE = Compute(provider="google")
ASKED_GOOGLE = with_control(compute=GOOGLE)
IONQ = replace(
    with_settings(ready=frozenset({"ionq"}), prices={"ionq": 0.01}),
    control=msgspec.structs.replace(READY.control, compute=Compute(provider="ionq")),
)
CIRCUIT = READY.circuit
assert CIRCUIT is not None
DEEP = replace(
    READY, circuit=replace(CIRCUIT, gates="compiled to CZ on a line", two_qubit_gates=362)
)
VERSIONS = READY.versions
assert VERSIONS is not None

PROVENANCE = READY.pipeline.score.provenance
assert PROVENANCE is not None
UNMEASURED = changed(
    READY.pipeline, "score", provenance=msgspec.structs.replace(PROVENANCE, metrics={})
)

# Question -> facts that pass beside READY's own, and facts that fail with a word of what to do.
PASSES: Mapping[str, tuple[Facts, ...]] = {
    "baseline": (
        replace(
            with_control(rollouts={"quantum": PROVED}),
            pipeline=UNMEASURED,
        ),
    ),
    "let-in": (
        replace(
            with_control(rollouts={}),
            pipeline=changed(READY.pipeline, "score", serve="heuristic"),
        ),
    ),
    "kill-switch": (with_control(serve="heuristic"), with_control(withdrawals=Withdrawals())),
    "outcomes": (with_pipeline("rollout", untreated_share=0.001),),
    "fallback": (with_pipeline("sampling", fallback=("exact",)),),
    "simulator": (
        replace(
            ASKED_GOOGLE,
            pipeline=changed(READY.pipeline, "sampling", fallback=("qsim", "annealing")),
        ),
    ),
    "providers": (replace(IONQ, pipeline=msgspec.structs.replace(
        READY.pipeline, budget=Budget(day=5.0))),),
    "calibration": (replace(ASKED_GOOGLE, calibrated_ms={"google": NOW_MS - DAY_MS}),),
    "retention": (
        with_topic(topics.DIGESTS, **{"retention.ms": "-1"}),
        with_topic(topics.DIGESTS, **{"retention.ms": "21600500"}),
        lacking(Part.KAFKA),
    ),
    "partitions": (lacking(Part.KAFKA),),
    "registry": (READY,),
}  # fmt: skip
FAILS: Mapping[str, tuple[tuple[Facts, str], ...]] = {
    "baseline": (
        (with_pipeline("score", terms=RING), "add terms of the event"),
        (with_pipeline("score", provenance=None), "[provenance]"),
        (
            replace(
                with_control(rollouts={}),
                pipeline=UNMEASURED,
            ),
            "enrichment fit",
        ),
    ),
    "weights": (
        (breach("simulated_weights"), "mend it"),
        (with_pipeline("score", provenance=None), "[provenance]"),
    ),
    "latency": (
        (replace(READY, written=frozenset()), "latency_p99_ms_max"),
        (with_gate(latency_p99_ms_max=30_001.0), "fresh_ms"),
    ),
    "gate": (
        (replace(READY, written=frozenset({"rollout.gate.margin"})), "write looks under"),
        (replace(READY, written=frozenset({"rollout.gate.looks"})), "write margin under"),
    ),
    "let-in": (
        (with_control(rollouts={}), 'serve = "heuristic"'),
        (
            with_control(
                rollouts={
                    "classical": CLASSICAL,
                    "quantum": msgspec.structs.replace(PROVED, evidence_id=""),
                }
            ),
            "gather evidence",
        ),
        (
            with_control(
                rollouts={
                    "classical": CLASSICAL,
                    "quantum": msgspec.structs.replace(PROVED, override=True),
                }
            ),
            "--override",
        ),
        (lacking(Part.CONTROL, why="it cannot be read", todo="look"), "look"),
    ),
    "experiment": (
        (
            with_control(experiment=msgspec.structs.replace(EXPERIMENT, pipeline_version="old")),
            "experiment start",
        ),
    ),
    "outcomes": (
        (with_pipeline("rollout", untreated_share=0.0), "untreated_share"),
        (without_topic("payments.outcomes"), "topics apply payments.outcomes"),
    ),
    "kill-switch": (
        (replace(READY, malformed={"payments|x": "not a control record"}), "-p payments --name x"),
        (lacking(Part.KAFKA, why="Kafka is away", todo="start it"), "start it"),
    ),
    "fallback": (
        (with_pipeline("sampling", fallback=()), "name some"),
        (with_pipeline("sampling", fallback=("exact", "qsim", "google")), "exact` or `annealing"),
        (with_pipeline("sampling", deadline_ms=30_000), "deadline_ms"),
    ),
    "retries": ((with_pipeline("sampling", deadline_ms=199), "200 or more"),),
    "simulator": (
        (with_pipeline("sampling", provider="random"), "rollout provider"),
        (ASKED_GOOGLE, "qsim"),
    ),
    "providers": (
        (with_pipeline("sampling", fallback=("qism", "annealing")), "known under"),
        (ASKED_GOOGLE, "ENRICHMENT_GOOGLE_PROJECT and ENRICHMENT_GOOGLE_PROCESSOR"),
        (with_control(compute=Compute(check_provider="ionq", check_every=10)), "IONQ_API_KEY"),
        (IONQ, "[budget] day"),
        (
            replace(ASKED_GOOGLE, settings=replace(READY.settings, ready=frozenset({"google"}))),
            "ENRICHMENT_GOOGLE_PRICE_PER_SHOT",
        ),
    ),
    "calibration": (
        (ASKED_GOOGLE, "start the sample stage"),
        (replace(ASKED_GOOGLE, calibrated_ms={"google": NOW_MS - 2 * DAY_MS - 1}), "who runs"),
    ),
    "circuit": ((DEEP, "variables_max"),),
    "traceable": (
        (without_topic(topics.JOB_EVENTS), "topics apply sampling.job-events"),
        (
            with_topic(topics.JOB_EVENTS, **{"retention.ms": "86399999"}),
            "raise retention.ms in topics/sampling.job-events.yaml to 86400000",
        ),
        (replace(READY, code_version=""), "install"),
    ),
    "topics": (
        (without_topic(topics.CASES), "topics diff"),
        (replace(READY, manifests_fault="there is no folder"), "ENRICHMENT_TOPICS_DIR"),
        (replace(READY, manifests={}), "topics new"),
    ),
    "partitions": (
        (
            replace(
                READY,
                topics={
                    **READY.topics,
                    topics.JOBS: replace(READY.topics[topics.JOBS], partitions=5),
                },
            ),
            "make them equal",
        ),
        (lacking(Part.KAFKA, why="Kafka is away", todo="start it"), "start it"),
    ),
    "retention": (
        (
            with_topic(topics.DIGESTS, **{"retention.ms": "21600499"}),
            "raise retention.ms in topics/enrichment.digests.yaml to 21600500",
        ),
        (
            with_topic("payments.enriched", **{"retention.ms": str(30 * DAY_MS - 1)}),
            "topics/payments.enriched.yaml to 2592000000",
        ),
        (
            with_topic("payments.outcomes", **{"retention.ms": str(DAY_MS)}),
            "topics/payments.outcomes.yaml",
        ),
        (
            with_topic(topics.MICRO_BATCHES, **{"retention.ms": "1"}),
            "topics/sampling.micro-batches.yaml to 86400000",
        ),
        (without_topic(topics.DIGESTS), "topics apply"),
    ),
    "durable": (
        (with_topic(topics.JOBS, **{"min.insync.replicas": "1"}), "min.insync.replicas: 2"),
        (
            replace(
                READY,
                topics={
                    **READY.topics,
                    topics.JOBS: replace(READY.topics[topics.JOBS], replicas=1),
                },
            ),
            "replicas: 3",
        ),
    ),
    "explicit": (
        (replace(READY, broker={"auto.create.topics.enable": "true"}), "=false"),
    ),
    "schemas": ((replace(READY, schema_problems=("job.json: is missing",)), "schemas check"),),
    "registry": ((replace(READY, registry_fault="not registered"), "topics apply"),),
    "secrets": ((breach("redis_password", secret=True), "mend it"),),
    "settings": ((breach("log_text"), "mend it"),),
    "cache": (
        (replace(READY, cache=replace(CACHE, eviction="allkeys-lru")), "noeviction"),
        (lacking(Part.REDIS, why="Redis is away", todo="start it"), "start it"),
    ),
    "pinned": (
        (
            replace(
                READY, versions=replace(VERSIONS, differing={"redis": "6.0, pinned 6.1"})
            ),
            "--require-hashes",
        ),
        (replace(READY, versions=replace(VERSIONS, unhashed=("redis",))), "make requirements"),
    ),
}  # fmt: skip
