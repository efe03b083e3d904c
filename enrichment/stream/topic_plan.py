"""How topics differ from their manifests, and what would bring them in step. Touches no broker."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from enrichment.stream.manifests import TopicManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """One topic as a broker has it.

    `config` is every effective value; `overrides` names those that were set on the topic itself.
    """

    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str] = field(default_factory=dict)
    overrides: frozenset[str] = frozenset()


class Change(Enum):
    """What brings a difference in step."""

    CREATE = "create"
    ADD_PARTITIONS = "add_partitions"
    SET_CONFIG = "set_config"
    RESET_CONFIG = "reset_config"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing about one topic that is not as its manifest says. Empty text means absent."""

    topic: str
    change: Change
    key: str
    wanted: str
    found: str


def differences(
    manifests: Iterable[TopicManifest], states: Mapping[str, TopicState]
) -> tuple[Difference, ...]:
    """Everything that is not as the manifests say, in the order of the manifests.

    Topics without a manifest are somebody else's, and are left alone.
    """
    found: list[Difference] = []
    for manifest in manifests:
        state = states.get(manifest.name)
        if state is None:
            found.append(
                Difference(
                    topic=manifest.name, change=Change.CREATE, key="topic",
                    wanted=f"{manifest.partitions} partitions", found="",
                )
            )  # fmt: skip
        else:
            found += _counts(manifest, state)
            found += _configs(manifest, state)
    return tuple(found)


def _counts(manifest: TopicManifest, state: TopicState) -> list[Difference]:
    """Differences of partitions and replicas."""
    found = []
    if manifest.partitions != state.partitions:
        more = manifest.partitions > state.partitions
        found.append(
            Difference(
                topic=manifest.name,
                change=Change.ADD_PARTITIONS if more else Change.IMPOSSIBLE,
                key="partitions",
                wanted=str(manifest.partitions),
                found=str(state.partitions),
            )
        )
    if manifest.replicas != state.replicas:
        found.append(
            Difference(
                topic=manifest.name,
                change=Change.IMPOSSIBLE,
                key="replicas",
                wanted=str(manifest.replicas),
                found=str(state.replicas),
            )
        )
    return found


def _configs(manifest: TopicManifest, state: TopicState) -> list[Difference]:
    """Differences of topic configs, those set on the broker alone included."""
    wrong = [
        Difference(
            topic=manifest.name,
            change=Change.SET_CONFIG,
            key=key,
            wanted=wanted,
            found=state.config.get(key, ""),
        )
        for key, wanted in sorted(manifest.config.items())
        if not _same(wanted, state.config.get(key, ""))
    ]
    # As Strimzi's operator does it: a config that the manifest does not name is the broker's.
    surplus = [
        Difference(
            topic=manifest.name,
            change=Change.RESET_CONFIG,
            key=key,
            wanted="",
            found=state.config[key],
        )
        for key in sorted(state.overrides - set(manifest.config))
    ]
    return wrong + surplus


def _same(wanted: str, found: str) -> bool:
    """Whether two texts mean one value: Kafka may write 0.10 for 0.1."""
    if wanted == found:
        return True
    try:
        return float(wanted) == float(found)
    except ValueError:
        return False


def refusals(found: Iterable[Difference], *, allow_repartition: bool) -> tuple[str, ...]:
    """Why these differences will not be brought in step, one line each; none means they will."""
    lines = []
    for each in found:
        of = f"{each.topic}: {each.key}: wanted {each.wanted}, found {each.found}:"
        if each.key == "replicas":
            lines.append(
                f"{of} replicas are moved by a reassignment (kafka-reassign-partitions, Cruise "
                "Control), not from here"
            )
        elif each.change is Change.IMPOSSIBLE:
            lines.append(
                f"{of} Kafka cannot take partitions away; raise the manifest, or delete the topic"
            )
        elif each.change is Change.ADD_PARTITIONS and not allow_repartition:
            lines.append(
                f"{of} keys would move to other partitions; stop the stages, let them drain, and "
                "say --allow-repartition"
            )
    return tuple(lines)


def partitions_after(
    manifests: Iterable[TopicManifest], states: Mapping[str, TopicState]
) -> dict[str, int]:
    """Partition counts by topic once these manifests, and no others, are applied."""
    return {name: state.partitions for name, state in states.items()} | {
        manifest.name: manifest.partitions for manifest in manifests
    }
