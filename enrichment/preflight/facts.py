"""What is known of a pipeline, its settings and its servers, before any of it is judged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from enrichment.pipelines import Pipeline
from enrichment.preflight.answer import Answer, Outcome, failed, not_applicable
from enrichment.profile import Breach, Profile
from enrichment.records import Stage
from enrichment.rollout.assign import rollouts_of
from enrichment.rollout.control import ControlState
from enrichment.stream import topics
from enrichment.stream.manifests import TopicManifest
from enrichment.stream.topic_plan import TopicState
from enrichment.stream.topics import StreamTopics

OFFLINE: Final = "offline"
"""Why something is missing that was not asked for."""


NOTHING_SAID: Final = ControlState(pipeline="")


class Part(Enum):
    """What must be asked for, and may not be known."""

    KAFKA = "Kafka"
    CONTROL = "the control topic"
    REDIS = "Redis"
    REGISTRY = "the schema registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """Why a part is not known, and what to do about it."""

    why: str
    todo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """Of the settings, what questions ask for; no secret is among it."""

    batch_ms_max: int
    read_timeout_ms: int
    topics_dir: str
    has_registry: bool
    # Providers of which credentials and whatever else they need are set.
    ready: frozenset[str]
    # What each provider's shot is taken to cost; those that have no price are left out.
    prices: Mapping[str, float] = field(default_factory=dict)
    budget_day: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """What Redis says of itself."""

    version: str
    eviction: str
    memory_max_bytes: int
    # "append-only file", "snapshots" or "none".
    persistence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Pinned versions against installed ones, distribution by distribution."""

    # Distribution -> "installed, pinned", where these differ.
    differing: Mapping[str, str]
    # Installed beside what is pinned, ours and what an environment is made with left out.
    unpinned: tuple[str, ...]
    unhashed: tuple[str, ...]
    agreeing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """The largest circuit that the pipeline may ask for, compiled as its provider compiles it."""

    variables: int
    layers: int
    depth: int
    two_qubit_gates: int
    measurements: int
    # "ideal", or the two-qubit gate that it was compiled to.
    gates: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that the questions are asked of."""

    profile: Profile
    pipeline: Pipeline
    now_ms: int
    code_version: str
    settings: Configured
    # Keys that the pipeline's file names: `rollout.gate.margin`.
    written: frozenset[str] = frozenset()
    breaches: tuple[Breach, ...] = ()
    # What could not be learnt; a part that is not here is known.
    lacks: Mapping[Part, Lack] = field(default_factory=dict)
    # Of this pipeline's topics, by name; the other way round where there is no folder of them.
    manifests: Mapping[str, TopicManifest] = field(default_factory=dict)
    manifests_fault: str = ""
    topics: Mapping[str, TopicState] = field(default_factory=dict)
    broker: Mapping[str, str] = field(default_factory=dict)
    control: ControlState = NOTHING_SAID
    # Backend -> when the calibration that counts was made, by `enrichment.control`.
    calibrated_ms: Mapping[str, int] = field(default_factory=dict)
    malformed: Mapping[str, str] = field(default_factory=dict)
    cache: Cache | None = None
    # None: there is no folder of schemas here.
    schema_problems: tuple[str, ...] | None = None
    registry_fault: str = ""
    # None: there are no requirements here.
    versions: Versions | None = None
    # None: cirq is not installed.
    circuit: Circuit | None = None

    def lacking(self, *parts: Part) -> Answer | None:
        """The answer of whoever needs these parts and has not got them; None where all are known.

        What was not asked for is not applicable; what was and did not answer is a failure.
        """
        for part in parts:
            if (lack := self.lacks.get(part)) is not None:
                if lack.why == OFFLINE:
                    return not_applicable(OFFLINE)
                return failed(lack.why, lack.todo)
        return None

    def lenient(self, seen: str, todo: str, *, until: Profile = Profile.PRODUCTION) -> Answer:
        """A failure from that profile on, and a pass with a note before it."""
        outcome = Outcome.FAIL if self.profile.reaches(until) else Outcome.PASS
        return Answer(outcome=outcome, seen=seen, todo=todo)

    def weighed(self, breaches: Iterator[Breach]) -> Answer | None:
        """Broken rules of the profile as one answer; None where there are none."""
        found = list(breaches)
        if not found:
            return None
        refused = [each for each in found if each.weight.value == "refused"]
        shown = refused or found
        return Answer(
            outcome=Outcome.FAIL if refused else Outcome.PASS,
            seen="; ".join(each.found for each in shown),
            todo="; ".join(each.todo for each in shown),
        )

    @property
    def streams(self) -> StreamTopics:
        """The stream's own topics."""
        return StreamTopics(self.pipeline.name)

    @property
    def chain(self) -> tuple[str, ...]:
        """The providers that a job goes through, the control topic's choice first, if any."""
        compute, sampling = self.control.compute, self.pipeline.sampling
        chosen = sampling.provider if compute is None else compute.provider or sampling.provider
        return tuple(dict.fromkeys((chosen, *sampling.fallback)))

    @property
    def asked(self) -> tuple[str, ...]:
        """Every provider that gets circuits: the chain, and whoever is spot-checked."""
        compute = self.control.compute
        checked = () if compute is None or not compute.check_provider else (compute.check_provider,)
        return tuple(dict.fromkeys((*self.chain, *checked)))

    @property
    def let_in(self) -> dict[str, str]:
        """The ring paths that may serve -> on whose word, as far as it is known."""
        found = {}
        for rollout in rollouts_of(self.pipeline, self.control):
            path = rollout.path.value
            share = f" for {rollout.share:.0%} of the accounts" if rollout.share else ""
            if rollout.stage is Stage.SHADOW:
                continue
            if path in self.control.rollouts:
                found[path] = f"{rollout.stage.value}{share}"
            else:
                found[path] = "by the pipeline's file"
        return found


def topic_names(pipeline: str) -> tuple[str, ...]:
    """Every topic that a pipeline's stages read or write."""
    of = StreamTopics(pipeline)
    return (
        of.events,
        of.enriched,
        of.dead_letters,
        of.outcomes,
        of.reviews,
        topics.DIGESTS,
        topics.HORIZONS,
        topics.MICRO_BATCHES,
        topics.JOBS,
        topics.JOB_EVENTS,
        topics.ORDERS,
        topics.FEATURES,
        topics.CASES,
        topics.CONTROL,
        topics.CHANGES,
        topics.REPLAYS,
    )
