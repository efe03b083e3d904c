"""`enrichment fit` and `score` on a stream's own topics, on a real broker."""

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from enrichment.cli import fit, score
from enrichment.lab.servers import LocalServers
from enrichment.settings import Settings
from tests.cli.commands import runner_of
from tests.integration.stages import Stream
from tests.lab.recordings import Drawn, drawn, outcomes

pytestmark = pytest.mark.servers
RESCORES = importlib.util.find_spec("enrichment.enrich.rescore") is not None
run_fit, run_score = runner_of(fit.register), runner_of(score.register)


@pytest.fixture(scope="module")
def stream(
    servers: LocalServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stream, list[Drawn]]]:
    """A stream of which 1,600 enriched events of two seeds, and their outcomes, are recorded."""
    own = Stream(
        tmp_path_factory.mktemp("stream"),
        like="payments",
        bootstrap=servers.bootstrap,
        redis_url=servers.redis_url,
    )
    events = [each for seed in (1, 2) for each in drawn(seed, 800, pipeline=own.pipeline)]
    topics = own.topics
    for topic, values in (
        (topics.enriched, [each.value for each in events]),
        (topics.outcomes, list(outcomes(events))),
    ):
        produce(servers.bootstrap, topic, values)
    yield own, events
    own.close()


def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    """Values spread over the topic's partitions."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for number, value in enumerate(values):
        producer.produce(topic, value, partition=number % 4)
    assert producer.flush(30) == 0


def settings_of(stream: Stream) -> Settings:
    """Settings that find the stream's broker and pipeline file."""
    return Settings(kafka_bootstrap=stream.bootstrap, pipelines_dir=stream.folder)


def test_a_table_is_fitted_on_the_topics(stream: tuple[Stream, list[Drawn]]) -> None:
    """Events and outcomes come from the stream's own topics, one seed judged by another."""
    own, events = stream
    out = own.folder / "tried.score.toml"
    result = run_fit(
        "fit", "--pipeline", own.name, "--seed", "1", "--judge-seed", "2",
        "--out", str(out), "--resamples", "20", "--json", settings=settings_of(own),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["events"] == report["judged"]["elsewhere"]["events"] == 800
    assert report["positives"] == sum(each.bad for each in events[:800])
    assert out.is_file()


@pytest.mark.skipif(not RESCORES, reason="enrichment.enrich.rescore comes with the new hot path")
def test_a_topic_is_verified(stream: tuple[Stream, list[Drawn]]) -> None:
    """Every record of it gives the same bytes again; --events stops earlier."""
    own, events = stream
    settings = settings_of(own)
    given = ("score", "--verify", "--from-topic", "--pipeline", own.name, "--json")
    result = run_score(*given, settings=settings)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["compared"] == len(events)
    fewer = run_score(*given, "--events", "100", settings=settings)
    assert json.loads(fewer.stdout)["compared"] == 100


def test_a_stream_that_was_never_enriched_says_so(
    stream: tuple[Stream, list[Drawn]], tmp_path: Path
) -> None:
    """Exit code 2 and the topic's name."""
    own, _ = stream
    shutil.copytree(own.folder, tmp_path / "pipelines")
    file = tmp_path / "pipelines" / f"{own.name}.toml"
    # A name that no other test's topics have.
    text = file.read_text(encoding="utf-8").replace(own.name, "never")
    file.with_name("never.toml").write_text(text, encoding="utf-8")
    settings = Settings(kafka_bootstrap=own.bootstrap, pipelines_dir=file.parent)
    result = run_fit("fit", "--pipeline", "never", settings=settings)
    assert result.exit_code == 2
    assert "there is no topic never." in result.stderr
