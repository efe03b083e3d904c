"""Topic manifests: what a topic should be, as Strimzi's KafkaTopic resources say it."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from enrichment.stream.topics import COPARTITIONED

# Strimzi 0.49 brought v1, and later releases serve nothing older; the fields are the same.
API_VERSIONS: Final = ("kafka.strimzi.io/v1", "kafka.strimzi.io/v1beta2")
SPEC_KEYS: Final = ("topicName", "partitions", "replicas", "config")
NAME_LENGTH_MAX: Final = 249  # Kafka's limit: a folder of that name and a partition must fit
PARTITIONS_MAX: Final = 10_000  # far above any use of ours, and below what hurts a controller
NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")


class ManifestError(ValueError):
    """Manifests that cannot be used, said in one line that tells what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicManifest:
    """One topic as it should be. `config` holds topic configs as the text that Kafka keeps."""

    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str]
    file: str


def load_manifests(folder: Path) -> tuple[TopicManifest, ...]:
    """Every manifest of a folder, by topic name. Raises ManifestError."""
    if not folder.is_dir():
        raise ManifestError(
            f"there is no folder '{folder}' with topic manifests; run this in a clone of the "
            "repository, or name the folder with --topics-dir or ENRICHMENT_TOPICS_DIR"
        )
    found: dict[str, TopicManifest] = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.name == "kustomization.yaml":
            continue
        for manifest in parse_manifests(path.read_bytes(), str(path)):
            if other := found.get(manifest.name):
                raise ManifestError(f"{path}: '{manifest.name}' is also in {other.file}")
            found[manifest.name] = manifest
    if not found:
        raise ManifestError(f"there are no topic manifests (*.yaml) in '{folder}'")
    return tuple(found[name] for name in sorted(found))


def parse_manifests(content: bytes, file: str) -> Iterator[TopicManifest]:
    """The manifests in one file; `file` is named in errors. Raises ManifestError."""
    try:
        documents = [each for each in yaml.safe_load_all(content) if each is not None]
    except yaml.YAMLError as error:
        raise ManifestError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    for document in documents:
        yield _manifest(document, file)


def _manifest(document: Any, file: str) -> TopicManifest:
    """One document, checked."""
    kind, version = _at(document, "kind"), _at(document, "apiVersion")
    if kind != "KafkaTopic" or version not in API_VERSIONS:
        wanted = f"wanted KafkaTopic of {API_VERSIONS[0]}"
        raise ManifestError(f"{file}: kind: {wanted}, found {kind!r} of {version!r}")
    spec = _at(document, "spec")
    if not isinstance(spec, dict):
        raise ManifestError(f"{file}: spec: wanted a table, found {spec!r}")
    for key in spec:
        if key not in SPEC_KEYS:
            raise ManifestError(
                f"{file}: spec.{key}: there is no such key; {nearest(key, SPEC_KEYS)}"
            )
    name = spec.get("topicName", _at(document, "metadata", "name"))
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= NAME_LENGTH_MAX
        or not set(name) <= NAME_CHARACTERS
    ):
        wanted = "wanted a topic name of lower-case letters, digits, '.', '_' and '-'"
        raise ManifestError(f"{file}: metadata.name or spec.topicName: {wanted}, found {name!r}")
    return TopicManifest(
        name=name,
        partitions=_count(spec, "partitions", PARTITIONS_MAX, file),
        replicas=_count(spec, "replicas", 100, file),
        config=dict(_config(spec.get("config", {}), file)),
        file=file,
    )


def _count(spec: Mapping[str, Any], key: str, maximum: int, file: str) -> int:
    value = spec.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= maximum:
        raise ManifestError(f"{file}: spec.{key}: wanted 1 to {maximum}, found {value!r}")
    return value


def _config(config: Any, file: str) -> Iterator[tuple[str, str]]:
    """Topic configs as text: what YAML reads as a number or a boolean, Kafka writes as text."""
    if not isinstance(config, dict):
        raise ManifestError(f"{file}: spec.config: wanted a table, found {config!r}")
    for key, value in config.items():
        if isinstance(value, bool):
            yield key, "true" if value else "false"
        elif isinstance(value, str | int | float):
            yield key, str(value)
        else:
            found = f"wanted text, a number or a boolean, found {value!r}"
            raise ManifestError(f"{file}: spec.config.{key}: {found}")


def _at(document: Any, *keys: str) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def select(manifests: Sequence[TopicManifest], names: Iterable[str]) -> tuple[TopicManifest, ...]:
    """The manifests of those names, or all when none is given. Raises ManifestError."""
    by_name = {manifest.name: manifest for manifest in manifests}
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in by_name:
            raise ManifestError(f"there is no topic '{name}'; {nearest(name, by_name)}")
    return tuple(by_name[name] for name in wanted) if wanted else tuple(manifests)


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint at what may have been meant."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean '{close[0]}'?" if close else "known: " + ", ".join(known)


def copartitioned(names: Iterable[str]) -> tuple[str, ...]:
    """Those topics of `names` whose partition counts must be equal.

    A shard's digests, micro-batches, jobs, cases and outcomes travel in one partition number:
    whoever owns it of one topic owns it of all.
    """
    return tuple(
        sorted(name for name in names if name in COPARTITIONED or name.endswith(".outcomes"))
    )


def copartition_problem(partitions: Mapping[str, int]) -> str | None:
    """What is wrong with these partition counts by topic, or None."""
    counts = {name: partitions[name] for name in copartitioned(partitions)}
    if len(set(counts.values())) < 2:
        return None
    found = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"wanted equal partition counts, since a shard keeps its partition number; found {found}"
