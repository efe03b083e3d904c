"""Questions about topics and schemas: what is kept, where, for how long, and in which form."""

from collections.abc import Iterator, Mapping
from typing import Final

from enrichment.preflight.answer import Answer, failed, not_applicable, passed
from enrichment.preflight.facts import OFFLINE, Facts, Part
from enrichment.profile import Profile
from enrichment.stream import topics
from enrichment.stream.manifests import copartition_problem
from enrichment.stream.topic_plan import differences

REPLICAS_MIN: Final = 3
"""With two in sync, one broker may be lost, or taken away for an upgrade, and nothing waits."""

INSYNC_MIN: Final = 2
"""With one, what was acknowledged is lost with one disk."""

FOREVER: Final = -1  # Kafka's own word for it
DIFFERENCES_SHOWN: Final = 3
MS_A_DAY: Final = 86_400_000


def in_step(facts: Facts) -> Answer:
    """Whether the broker's topics are as their manifests say."""
    if (lack := facts.lacking(Part.KAFKA)) is not None:
        return lack
    if (fault := _unwritten(facts)) is not None:
        return fault
    found = differences(facts.manifests.values(), facts.topics)
    if not found:
        return passed(f"{len(facts.manifests)} topics")
    shown = [
        f"{each.topic}: {each.key} {each.wanted or 'unset'} (is {each.found or 'missing'})"
        for each in found[:DIFFERENCES_SHOWN]
    ]
    more = len(found) - len(shown)
    return failed(
        "; ".join(shown) + (f"; and {more} more" if more else ""),
        "`enrichment topics diff`, then `enrichment topics apply`",
    )


def _unwritten(facts: Facts) -> Answer | None:
    """What to say where manifests are missing; None where every topic of the pipeline has one."""
    if facts.manifests_fault:
        return failed(
            facts.manifests_fault,
            "run it in a clone of the repository, or set ENRICHMENT_TOPICS_DIR",
        )
    own = facts.streams
    wanted = (own.events, own.enriched, own.dead_letters, own.outcomes, own.reviews)
    if missing := [name for name in wanted if name not in facts.manifests]:
        return failed(
            f"there is no manifest of {', '.join(missing)} in {facts.settings.topics_dir}",
            f"`enrichment topics new` of {own.stream}, then `enrichment topics apply`",
        )
    return None


def partitions(facts: Facts) -> Answer:
    """Whether topics that a shard travels have equally many partitions."""
    known = _partitions(facts)
    if (lack := _unknown(facts)) is not None:
        return lack
    if (problem := copartition_problem(known)) is not None:
        return failed(
            problem,
            "make them equal in the manifests, then `enrichment topics apply`; see its help",
        )
    return passed(f"{known[topics.DIGESTS]} in all that a shard travels{_whence(facts)}")


def retention(facts: Facts) -> Answer:
    """Whether nothing is thrown away that is still needed."""
    if (lack := _unknown(facts)) is not None:
        return lack
    short: list[str] = []
    todo: list[str] = []
    for topic, needed_ms, why in _needed(facts):
        kept_ms = _kept_ms(facts, topic)
        if kept_ms is None or kept_ms == FOREVER or kept_ms >= needed_ms:
            continue
        short.append(f"{topic} keeps {_days(kept_ms)}, and {why} is {_days(needed_ms)}")
        todo.append(_raise(facts, topic, needed_ms))
    if short:
        return failed("; ".join(short), "; ".join(dict.fromkeys(todo)))
    own = f", {topics.DIGESTS} {_days(_kept_ms(facts, topics.DIGESTS) or 0)}"
    return passed(f"as long as each is needed{own}{_whence(facts)}")


def _needed(facts: Facts) -> Iterator[tuple[str, int, str]]:
    """Topic, for how long its records are needed, and for what."""
    pipeline = facts.pipeline
    window, features, gate = pipeline.window, pipeline.features, pipeline.rollout.gate
    horizon_ms = window.horizon_ms + window.lateness_ms
    yield topics.DIGESTS, horizon_ms, "the horizon with its lateness"
    yield facts.streams.outcomes, horizon_ms, "the horizon with its lateness"
    matured = "the time until an event without an outcome counts as good"
    yield facts.streams.enriched, gate.matured_ms, matured
    yield facts.streams.outcomes, gate.matured_ms, matured
    if features.clock == "wall":
        # By event time a feature's age has nothing to do with a broker's clock.
        stale = "what may still serve"
        yield topics.MICRO_BATCHES, features.stale_ms, stale
        yield topics.JOB_EVENTS, features.stale_ms, stale


def _raise(facts: Facts, topic: str, needed_ms: int) -> str:
    manifest = facts.manifests.get(topic)
    if manifest is None:
        return f"set retention.ms of {topic} to {needed_ms} at the broker"
    said = _retention(manifest.config)
    if said is not None and (said == FOREVER or said >= needed_ms):
        return f"`enrichment topics apply {topic}`: its manifest says enough"
    return (
        f"raise retention.ms in {manifest.file} to {needed_ms}, then `enrichment topics apply "
        f"{topic}`"
    )


def _days(ms: int) -> str:
    if ms == FOREVER:
        return "for good"
    if ms < MS_A_DAY:
        return f"{ms / 3_600_000:.3g} hours"
    return f"{ms / MS_A_DAY:.4g} days"


def traceable(facts: Facts) -> Answer:
    """Whether a run can be followed back: its job's events are kept, and versions are known."""
    if (lack := _unknown(facts)) is not None:
        return lack
    kept_ms = _kept_ms(facts, topics.JOB_EVENTS)
    if kept_ms is None:
        return failed(
            f"there is no topic {topics.JOB_EVENTS}",
            f"`enrichment topics apply {topics.JOB_EVENTS}`",
        )
    pipeline, features = facts.pipeline, facts.pipeline.features
    if features.clock == "wall" and FOREVER != kept_ms < features.stale_ms:
        return failed(
            f"{topics.JOB_EVENTS} keeps {_days(kept_ms)}, and features may serve for "
            f"{_days(features.stale_ms)}",
            _raise(facts, topics.JOB_EVENTS, features.stale_ms),
        )
    versions = {
        "code": facts.code_version,
        "pipeline": pipeline.version,
        "score": pipeline.score.version,
    }
    if unknown := [name for name, version in versions.items() if not version]:
        return failed(
            f"records would not name the version of: {', '.join(unknown)}",
            "install the package, and load the pipeline from its file",
        )
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    return passed(f"{topics.JOB_EVENTS} keeps {_days(kept_ms)}; records name {shown}")


def durable(facts: Facts) -> Answer:
    """Whether a broker may be lost, and nothing with it."""
    if (lack := facts.lacking(Part.KAFKA)) is not None:
        return lack
    if not facts.topics:
        return failed("none of the topics is there", "`enrichment topics apply`")
    replicas = min(state.replicas for state in facts.topics.values())
    insync = min(int(each.config.get("min.insync.replicas", 1)) for each in facts.topics.values())
    seen = f"at least {replicas} replicas, of which {insync} in sync"
    if replicas < REPLICAS_MIN or insync < INSYNC_MIN:
        return facts.lenient(
            seen,
            f"set replicas: {REPLICAS_MIN} and min.insync.replicas: {INSYNC_MIN} in "
            f"{facts.settings.topics_dir}/*.yaml; an overlay of deploy/ may do it",
        )
    return passed(seen)


def explicit(facts: Facts) -> Answer:
    """Whether only topics that somebody wanted come into being."""
    if (lack := facts.lacking(Part.KAFKA)) is not None:
        return lack
    word = facts.broker.get("auto.create.topics.enable")
    if word is None:
        return not_applicable("the broker does not say")
    if word == "true":
        return facts.lenient(
            "the broker creates a topic when anybody names one, misspelt ones too",
            "set auto.create.topics.enable=false at every broker",
            until=Profile.VALIDATION,
        )
    return passed("the broker creates none by itself")


def schemas(facts: Facts) -> Answer:
    """Whether schemas are as generated, and today's readers read what released versions wrote."""
    if facts.schema_problems is None:
        return not_applicable("there is no folder schemas/ here")
    if facts.schema_problems:
        more = len(facts.schema_problems) - DIFFERENCES_SHOWN
        shown = "; ".join(facts.schema_problems[:DIFFERENCES_SHOWN])
        return failed(
            shown + (f"; and {more} more" if more > 0 else ""),
            "`enrichment schemas check`, which says what to do with each",
        )
    return passed("as generated; every released version is read")


def registry(facts: Facts) -> Answer:
    """Whether the registry knows what the stages write."""
    if not facts.settings.has_registry:
        return not_applicable("no schema registry is set")
    if (lack := facts.lacking(Part.REGISTRY)) is not None:
        return lack
    if facts.registry_fault:
        return failed(facts.registry_fault, "`enrichment topics apply` registers them")
    return passed("the schemas of all that is written are registered")


def _unknown(facts: Facts) -> Answer | None:
    """What to say where neither a broker nor a manifest says how topics are; else None.

    Offline, manifests are what topics will be.
    """
    if Part.KAFKA not in facts.lacks:
        if topics.DIGESTS in facts.topics:
            return None
        return failed(f"there is no topic {topics.DIGESTS}", "`enrichment topics apply`")
    if facts.lacks[Part.KAFKA].why != OFFLINE:
        return facts.lacking(Part.KAFKA)
    return _unwritten(facts)


def _whence(facts: Facts) -> str:
    return " (in the manifests)" if Part.KAFKA in facts.lacks else ""


def _partitions(facts: Facts) -> dict[str, int]:
    known = facts.manifests if Part.KAFKA in facts.lacks else facts.topics
    return {name: each.partitions for name, each in known.items()}


def _kept_ms(facts: Facts, topic: str) -> int | None:
    """How long the topic's records are kept; None where there is no such topic."""
    known = facts.manifests if Part.KAFKA in facts.lacks else facts.topics
    each = known.get(topic)
    return None if each is None else _retention(each.config) or FOREVER


def _retention(config: Mapping[str, str]) -> int | None:
    word = config.get("retention.ms", "")
    return int(word) if word else None
