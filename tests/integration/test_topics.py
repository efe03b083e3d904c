"""`enrichment topics` against a real broker."""

import json
import secrets
import shutil
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from enrichment.cli import topics
from enrichment.lab.servers import LocalServers
from enrichment.settings import Settings
from enrichment.stream.topics import partition_for
from tests.cli.commands import runner_of

NO_TOPIC = "kustomization.yaml"  # what kubectl applies the others by
ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.servers
run = runner_of(topics.register)


@pytest.fixture
def settings(servers: LocalServers, tmp_path: Path) -> Settings:
    """The shipped manifests under names of this test's own, against the session's broker."""
    prefix = f"t{secrets.token_hex(4)}"
    folder = tmp_path / "topics"
    shutil.copytree(ROOT / "topics", folder, ignore=shutil.ignore_patterns(NO_TOPIC))
    for path in folder.glob("*.yaml"):
        text = path.read_text().replace(f"name: {path.stem}", f"name: {prefix}.{path.stem}")
        path.write_text(text)
    return Settings(topics_dir=folder, kafka_bootstrap=servers.bootstrap)


def change(settings: Settings, topic: str, old: str, new: str) -> str:
    """The full name of a topic whose manifest was changed."""
    path = settings.topics_dir / f"{topic}.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return next(line.split()[1] for line in path.read_text().splitlines() if "  name: " in line)


def test_topics_come_in_step_and_stay_so(settings: Settings) -> None:
    """All are missing; applied, nothing differs; applied again, nothing happens."""
    before = run("topics", "diff", "--json", settings=settings)
    assert before.exit_code == 3
    rows = json.loads(before.stdout)
    assert len(rows) == len(list(settings.topics_dir.glob("*.yaml")))
    assert {row["change"] for row in rows} == {"create"}
    assert run("topics", "apply", settings=settings).exit_code == 0
    after = run("topics", "diff", settings=settings)
    assert (after.exit_code, after.stdout) == (0, f"{len(rows)} topics are in step\n")
    again = run("topics", "apply", "--json", settings=settings)
    assert (again.exit_code, json.loads(again.stdout)) == (0, [])


def test_configs_are_changed_one_by_one(settings: Settings) -> None:
    """A changed value is set, and one that left the manifest goes back to the broker's default."""
    run("topics", "apply", settings=settings)
    name = change(settings, "payments.events", "retention.ms: 604800000", "retention.ms: 86400000")
    change(settings, "payments.events", "    max.message.bytes: 1048588\n", "")
    result = run("topics", "apply", "--json", settings=settings)
    assert result.exit_code == 0
    found = {(row["topic"], row["change"], row["key"]) for row in json.loads(result.stdout)}
    assert found == {
        (name, "set_config", "retention.ms"),
        (name, "reset_config", "max.message.bytes"),
    }
    assert run("topics", "diff", settings=settings).exit_code == 0


def test_partitions_are_added_on_demand_and_never_taken_away(settings: Settings) -> None:
    """Without the option nothing changes at all, also not what could have been done."""
    run("topics", "apply", settings=settings)
    name = change(settings, "payments.events", "partitions: 4", "partitions: 6")
    change(settings, "payments.events", "retention.ms: 604800000", "retention.ms: 86400000")
    refused = run("topics", "apply", settings=settings)
    assert refused.exit_code == 1
    assert f"refused: {name}: partitions: wanted 6, found 4: keys would move" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert len(json.loads(run("topics", "diff", "--json", settings=settings).stdout)) == 2
    assert run("topics", "apply", "--allow-repartition", settings=settings).exit_code == 0
    change(settings, "payments.events", "partitions: 6", "partitions: 4")
    shrunk = run("topics", "apply", "--allow-repartition", settings=settings)
    assert shrunk.exit_code == 1
    assert "Kafka cannot take partitions away" in shrunk.stderr


def test_only_the_named_topics_are_touched(settings: Settings) -> None:
    """The others stay missing."""
    name = change(settings, "trust.events", "partitions: 4", "partitions: 4")
    result = run("topics", "apply", name, settings=settings)
    assert result.exit_code == 0
    missing = json.loads(run("topics", "diff", "--json", settings=settings).stdout)
    assert name not in {row["topic"] for row in missing}
    assert len(missing) == len(list(settings.topics_dir.glob("*.yaml"))) - 1


def test_what_the_broker_refuses_is_told(settings: Settings) -> None:
    """A config that Kafka does not know: its own words, the topic, and no trace."""
    run("topics", "apply", settings=settings)
    name = change(settings, "payments.events", "retention.ms", "retntion.ms")
    result = run("topics", "apply", settings=settings)
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: altering {name} at {settings.kafka_bootstrap}: the broker says")
    assert "retntion.ms" in last


def test_our_partitions_are_those_of_librdkafka(settings: Settings, servers: LocalServers) -> None:
    """A producer with `partitioner=consistent` sends a key where we would."""
    name = change(settings, "trust.events", "partitions: 4", "partitions: 4")
    run("topics", "apply", name, settings=settings)
    went: dict[str, int] = {}
    producer = Producer(
        {"bootstrap.servers": servers.bootstrap, "partitioner": "consistent", "log_level": 0}
    )
    for number in range(50):
        producer.produce(
            name,
            b"{}",
            f"key {number}",
            on_delivery=lambda _, message: went.update(
                {message.key().decode(): message.partition()}
            ),
        )
    assert producer.flush(30) == 0
    assert went == {f"key {number}": partition_for(f"key {number}", 4) for number in range(50)}
    admin = AdminClient({"bootstrap.servers": servers.bootstrap, "log_level": 0})
    assert len(admin.list_topics(name, timeout=10).topics[name].partitions) == 4
