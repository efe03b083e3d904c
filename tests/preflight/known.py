"""Facts of a pipeline that is ready for production, and ways to change one thing of them."""

from dataclasses import replace
from typing import Any

import msgspec

from enrichment.pipelines import Pipeline, load
from enrichment.pipelines.rollout import RolloutDefinition
from enrichment.preflight.facts import (
    OFFLINE,
    Cache,
    Circuit,
    Configured,
    Facts,
    Lack,
    Part,
    Versions,
    topic_names,
)
from enrichment.profile import Breach, Profile, Weight
from enrichment.records import Experiment, Path, Rollout, Stage
from enrichment.rollout.control import ControlState
from enrichment.stream.manifests import TopicManifest
from enrichment.stream.topic_plan import TopicState

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
KEPT_MS = 400 * DAY_MS
PAYMENTS = load("payments")


def changed(pipeline: Pipeline, table: str, **values: Any) -> Pipeline:
    """The pipeline with other values in one of its tables."""
    return msgspec.structs.replace(
        pipeline, **{table: msgspec.structs.replace(getattr(pipeline, table), **values)}
    )


def own_weights(pipeline: Pipeline) -> Pipeline:
    """The pipeline as if its table had been fitted on its own stream."""
    assert pipeline.score.provenance is not None
    provenance = msgspec.structs.replace(
        pipeline.score.provenance, simulated=False, fitted_on=("our own, June",)
    )
    return changed(pipeline, "score", provenance=provenance)


READY_PIPELINE = changed(
    own_weights(PAYMENTS), "rollout", untreated_share=0.01, untreated_amount_max=50.0
)
PROVED = Rollout(path=Path.QUANTUM, stage=Stage.CANARY, share=0.05, evidence_id="e1")
CLASSICAL = Rollout(path=Path.CLASSICAL, stage=Stage.LIVE, evidence_id="e0")
EXPERIMENT = Experiment(
    experiment_id="x1",
    started_ms=NOW_MS,
    pipeline_version=PAYMENTS.version,
    score_version=PAYMENTS.score.version,
)
CONTROL = ControlState(
    pipeline="payments",
    rollouts={"classical": CLASSICAL, "quantum": PROVED},
    experiment=EXPERIMENT,
)
CONFIG = {"retention.ms": str(KEPT_MS), "min.insync.replicas": "2"}


def manifest(name: str, **config: str) -> TopicManifest:
    """A topic as it should be."""
    return TopicManifest(
        name=name, partitions=4, replicas=3, config=CONFIG | config, file=f"topics/{name}.yaml"
    )


def state(name: str, **config: str) -> TopicState:
    """A topic as the broker has it."""
    return TopicState(
        name=name,
        partitions=4,
        replicas=3,
        config=CONFIG | config,
        overrides=frozenset(CONFIG),
    )


CACHE = Cache(
    version="7.0", eviction="noeviction", memory_max_bytes=0, persistence="append-only file"
)
NAMES = topic_names("payments")
READY = Facts(
    profile=Profile.PRODUCTION,
    pipeline=READY_PIPELINE,
    now_ms=NOW_MS,
    code_version="0.1.0",
    settings=Configured(
        batch_ms_max=10,
        read_timeout_ms=20,
        topics_dir="topics",
        has_registry=True,
        ready=frozenset(),
    ),
    written=frozenset(
        {"rollout.gate.margin", "rollout.gate.looks", "rollout.gate.latency_p99_ms_max"}
    ),
    manifests={name: manifest(name) for name in NAMES},
    topics={name: state(name) for name in NAMES},
    broker={"auto.create.topics.enable": "false"},
    control=CONTROL,
    cache=CACHE,
    schema_problems=(),
    versions=Versions(differing={}, unpinned=(), unhashed=(), agreeing=100),
    circuit=Circuit(
        variables=12, layers=2, depth=39, two_qubit_gates=132, measurements=12, gates="ideal"
    ),
)


def with_pipeline(table: str, **values: Any) -> Facts:
    """Facts of a pipeline with other values in one table."""
    return replace(READY, pipeline=changed(READY.pipeline, table, **values))


def with_gate(**values: Any) -> Facts:
    """Facts of a pipeline with other rules of its gate."""
    rollout: RolloutDefinition = READY.pipeline.rollout
    return with_pipeline("rollout", gate=msgspec.structs.replace(rollout.gate, **values))


def with_control(**values: Any) -> Facts:
    """Facts of another state of what is in force."""
    return replace(READY, control=msgspec.structs.replace(CONTROL, **values))


def with_settings(**values: Any) -> Facts:
    """Facts of other settings."""
    return replace(READY, settings=replace(READY.settings, **values))


def with_topic(name: str, **config: str) -> Facts:
    """Facts of a broker on which one topic has other configs, as its manifest says too."""
    return replace(
        READY,
        topics={**READY.topics, name: state(name, **config)},
        manifests={**READY.manifests, name: manifest(name, **config)},
    )


def without_topic(name: str) -> Facts:
    """Facts of a broker that lacks one topic."""
    return replace(READY, topics={key: each for key, each in READY.topics.items() if key != name})


def breach(rule: str, weight: Weight = Weight.REFUSED, *, secret: bool = False) -> Facts:
    """Facts of settings that break one rule."""
    found = Breach(rule=rule, weight=weight, found=f"{rule} found", todo="mend it", secret=secret)
    return replace(READY, breaches=(found,))


def lacking(*parts: Part, why: str = OFFLINE, todo: str = "") -> Facts:
    """Facts without some parts."""
    return replace(READY, lacks={part: Lack(why=why, todo=todo) for part in parts})
