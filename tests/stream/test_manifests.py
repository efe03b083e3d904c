"""Topic manifests: the shipped ones, and what is said of wrong ones."""

from pathlib import Path

import pytest

from enrichment.pipelines import load, names
from enrichment.stream import topics
from enrichment.stream.manifests import (
    ManifestError,
    TopicManifest,
    copartition_problem,
    copartitioned,
    load_manifests,
    parse_manifests,
    select,
)
from enrichment.stream.new_manifests import render

ROOT = Path(__file__).resolve().parents[2]
GOOD = b"""
apiVersion: kafka.strimzi.io/v1
kind: KafkaTopic
metadata: {name: logins.events}
spec:
  partitions: 4
  replicas: 1
  config: {retention.ms: 1000, min.cleanable.dirty.ratio: 0.1, preallocate: false}
"""


@pytest.fixture(scope="module")
def shipped() -> dict[str, TopicManifest]:
    """The manifests in topics/ by topic name."""
    return {manifest.name: manifest for manifest in load_manifests(ROOT / "topics")}


def test_every_topic_has_a_manifest(shipped: dict[str, TopicManifest]) -> None:
    """The internal topics and the five of each shipped pipeline, and no others."""
    wanted = {
        topics.DIGESTS,
        topics.HORIZONS,
        topics.MICRO_BATCHES,
        topics.JOBS,
        topics.JOB_EVENTS,
        topics.ORDERS,
        topics.FEATURES,
        topics.CASES,
        topics.CONTROL,
        topics.REPLAYS,
        topics.CHANGES,
    }
    for name in names():
        of = topics.StreamTopics(name)
        wanted |= {of.events, of.enriched, of.dead_letters, of.outcomes, of.reviews}
    assert set(shipped) == wanted


def test_a_file_is_named_after_its_topic(shipped: dict[str, TopicManifest]) -> None:
    """So that the manifest of a topic is found without opening it."""
    assert [Path(each.file).stem for each in shipped.values()] == list(shipped)


def test_a_shard_keeps_its_partition_number(shipped: dict[str, TopicManifest]) -> None:
    """All topics that a shard travels have equal partition counts."""
    counts = {name: each.partitions for name, each in shipped.items()}
    assert copartition_problem(counts) is None
    assert set(topics.COPARTITIONED) < set(copartitioned(counts))
    assert "trust.outcomes" in copartitioned(counts)


def test_compacted_topics_are_those_that_hold_a_newest_state(
    shipped: dict[str, TopicManifest],
) -> None:
    """Compacting a log of events would lose them; not compacting a state would lose it by age."""
    compact = {name for name, each in shipped.items() if "compact" in each.config["cleanup.policy"]}
    assert compact == {
        topics.JOBS,
        topics.FEATURES,
        topics.CASES,
        topics.CONTROL,
        topics.HORIZONS,
    }


@pytest.mark.parametrize("name", names())
def test_digests_outlive_every_horizon(name: str, shipped: dict[str, TopicManifest]) -> None:
    """Digests, closes and outcomes are kept longer than horizon + lateness of each pipeline.

    The window stage rebuilds its horizon from them.
    """
    window = load(name).window
    for topic in (topics.DIGESTS, topics.MICRO_BATCHES, topics.StreamTopics(name).outcomes):
        kept_ms = int(shipped[topic].config["retention.ms"])
        assert kept_ms > window.horizon_ms + window.lateness_ms, topic


def test_an_event_fits_its_topics(shipped: dict[str, TopicManifest]) -> None:
    """The largest event a pipeline allows fits, and so does its dead letter in base64."""
    for name in names():
        largest, of = load(name).limits.size_bytes_max, topics.StreamTopics(name)
        assert int(shipped[of.events].config["max.message.bytes"]) > largest
        assert int(shipped[of.dead_letters].config["max.message.bytes"]) > largest * 4 / 3


@pytest.mark.parametrize("name", names())
def test_shipped_streams_are_as_new_ones(name: str) -> None:
    """`topics new` writes byte for byte what is shipped for payments, cards and trust."""
    for topic, content in render(name, 4).items():
        assert (ROOT / "topics" / f"{topic}.yaml").read_text() == content


@pytest.mark.parametrize("stream", ["logins", "a_b", "a-", "a__b--", "x" * 40])
def test_new_manifests_say_what_they_were_asked_for(stream: str) -> None:
    """Also where a stream's name is no name of a Kubernetes resource."""
    of = topics.StreamTopics(stream)
    read = [
        each
        for content in render(stream, 7).values()
        for each in parse_manifests(content.encode(), "new")
    ]
    assert [(each.name, each.partitions) for each in read] == [
        (of.events, 7),
        (of.enriched, 7),
        (of.dead_letters, 7),
        (of.outcomes, 7),
        (of.reviews, 7),
    ]


def test_values_become_the_text_that_kafka_keeps() -> None:
    """YAML's numbers and booleans are Kafka's text."""
    (manifest,) = parse_manifests(GOOD, "x.yaml")
    assert manifest.config == {
        "retention.ms": "1000",
        "min.cleanable.dirty.ratio": "0.1",
        "preallocate": "false",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((b"KafkaTopic", b"KafkaUser"), "kind: wanted KafkaTopic of kafka.strimzi.io/v1, found"),
        ((b"strimzi.io/v1", b"strimzi.io/v9"), "found 'KafkaTopic' of 'kafka.strimzi.io/v9'"),
        ((b"  replicas", b"  replica"), "spec.replica: there is no such key; did you mean"),
        ((b"partitions: 4", b"partitions: 0"), "spec.partitions: wanted 1 to 10000, found 0"),
        ((b"partitions: 4", b"partitions: yes"), "spec.partitions: wanted 1 to 10000, found True"),
        ((b"logins.events", b"Logins"), "lower-case letters, digits, '.', '_' and '-', found 'L"),
        ((b"name: logins.events", b""), "wanted a topic name"),
        ((b"1000", b"[1]"), "spec.config.retention.ms: wanted text, a number or a boolean, found"),
        ((b"{retention.ms: 1000,", b"{retention.ms: 1000,,"), "not YAML"),
    ],
)
def test_a_wrong_manifest_is_named(change: tuple[bytes, bytes], said: str) -> None:
    """The error says file, key, what was wanted and what was found, in one line."""
    with pytest.raises(ManifestError) as error:
        list(parse_manifests(GOOD.replace(*change), "x.yaml"))
    assert str(error.value).startswith("x.yaml: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_one_topic_has_one_manifest(tmp_path: Path) -> None:
    """Two files that describe one topic are an error that names both."""
    (tmp_path / "a.yaml").write_bytes(GOOD)
    (tmp_path / "b.yaml").write_bytes(GOOD)
    with pytest.raises(ManifestError, match=r"b\.yaml: 'logins\.events' is also in .*a\.yaml"):
        load_manifests(tmp_path)


def test_a_folder_without_manifests_is_an_error(tmp_path: Path) -> None:
    """Nothing to apply is never what was meant."""
    with pytest.raises(ManifestError, match="there are no topic manifests"):
        load_manifests(tmp_path)
    with pytest.raises(ManifestError, match=r"there is no folder .* --topics-dir"):
        load_manifests(tmp_path / "none")


def test_a_misspelt_topic_is_guessed(shipped: dict[str, TopicManifest]) -> None:
    """The nearest name is offered; without a near one, all are."""
    with pytest.raises(ManifestError, match=r"'payments\.evnts'; did you mean 'payments\.events'"):
        select(list(shipped.values()), ["payments.evnts"])
    with pytest.raises(ManifestError, match=r"known: cards\.dead-letters, .*trust\.outcomes"):
        select(list(shipped.values()), ["zzz"])


def test_unequal_partition_counts_are_named() -> None:
    """Also between a stream's outcomes and the digests; others may differ."""
    assert copartition_problem({"enrichment.digests": 4, "x.events": 1, "x.outcomes": 4}) is None
    problem = copartition_problem({"enrichment.digests": 4, "x.outcomes": 2})
    assert problem is not None
    assert "enrichment.digests 4, x.outcomes 2" in problem
