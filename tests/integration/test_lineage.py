"""`enrichment lineage` and `enrichment reproduce`, on what every stage wrote on real servers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import typer
from confluent_kafka import Message
from typer.testing import Result

from enrichment.cli import lineage as cli_lineage
from enrichment.cli import reproduce as cli_reproduce
from enrichment.lab.servers import LocalServers
from enrichment.records import Change, ChangeKind, Control, Enriched, Experiment, MicroBatch
from enrichment.rollout.control import EXPERIMENT, in_force
from enrichment.settings import Settings
from enrichment.stream.topics import (
    CASES,
    CHANGES,
    HORIZONS,
    JOB_EVENTS,
    JOBS,
    MICRO_BATCHES,
    ORDERS,
)
from enrichment.window.content import HASH_SCHEME
from enrichment.wiring.clock import now_ms
from tests.cli.commands import runner_of
from tests.integration.stages import Stream, eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(150)]

RING: Final = tuple(f"mule-{number}" for number in range(6))
SHARED: Final = (MICRO_BATCHES, JOBS, JOB_EVENTS, ORDERS, CASES, HORIZONS, CHANGES)


def payment(event_id: str, account: str, at_ms: int) -> bytes:
    """One payment of the ring, all from one device."""
    fields = {
        "event_id": event_id,
        "account_id": account,
        "device_id": "ring-device",
        "beneficiary_id": "collector",
        "region": "north",
        "amount": 180.0,
        "occurred_at": at_ms,
    }
    return json.dumps(fields).encode()


@pytest.fixture
def stream(servers: LocalServers, tmp_path: Path) -> Iterator[Stream]:
    """A stream like payments, with all topics of its way."""
    one = Stream(
        tmp_path,
        like="payments",
        bootstrap=servers.bootstrap,
        redis_url=servers.redis_url,
        also=SHARED,
    )
    yield one
    one.close()


def command(stream: Stream, register: Callable[[typer.Typer], None], *arguments: str) -> Result:
    """Run a noun's command, in this process: each of its own loads for seconds."""
    settings = Settings(kafka_bootstrap=stream.bootstrap, pipelines_dir=stream.folder)
    return runner_of(register)(*arguments, "-p", stream.name, settings=settings)


def lineage(stream: Stream, event_id: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and what the command printed."""
    done = command(stream, cli_lineage.register, "lineage", event_id, "--json", *options)
    assert done.stdout, done.stderr
    return done.exit_code, json.loads(done.stdout)


def with_ring(stream: Stream) -> Enriched | None:
    """An event whose account had a ring feature when it was scored."""
    return next(
        (
            event
            for event in stream.enriched()
            if any(one.group == "ring" and one.job_id for one in event.features)
        ),
        None,
    )


def settled(stream: Stream) -> Enriched:
    """Publish the ring's payments until one is scored with what the sampler made of the first."""
    number = 0

    def scored() -> bool:
        nonlocal number
        stream.publish([payment(f"later-{number}", RING[number % len(RING)], now_ms())])
        number += 1
        return with_ring(stream) is not None

    eventually("an event scored with a ring feature", scored)
    found = with_ring(stream)
    assert found is not None
    return found


def message_of(stream: Stream, event_id: str) -> Message:
    """The event's record on the enriched topic."""
    named = json.dumps(event_id).encode()
    return next(one for one in stream.read(stream.topics.enriched) if named in one.value())


def test_an_event_leads_to_all_that_stands_behind_it_and_tampering_is_told(
    stream: Stream,
) -> None:
    """From event to offsets, before any ring feature and with one.

    What was changed afterwards is told, and so is a job that is the same when it is run again.
    """
    for stage in ("project", "sample", "window", "enrich"):
        stream.start(stage, ENRICHMENT_READ_TIMEOUT_MS="1000")
    begun_ms = now_ms()
    ring = [(f"first-{n}", account) for n, account in enumerate(RING * 2)]
    stream.publish([payment(id_, account, begun_ms + n) for n, (id_, account) in enumerate(ring)])
    event = settled(stream)

    code, told = lineage(stream, "first-0")
    (one,) = told["records"]
    assert code == 0
    assert one["rescored"]["same"] is True
    assert one["input"]["place"]["topic"] == stream.topics.events
    assert one["input"]["gone"] == ""
    assert one["features"]
    assert {feature["used"]["verdict"]["name"] for feature in one["features"]} <= {
        "missing",
        "fallback",
    }
    assert one["jobs"] == {}
    assert one["batches"] == {}

    code, told = lineage(stream, event.event_id, "--account", event_key(event))
    (one,) = told["records"]
    assert code == 0, one
    _behind(stream, one)

    _changed(stream, event)
    _reproduced(stream, next(iter(one["jobs"])))
    unknown = command(stream, cli_lineage.register, "lineage", "nobody")
    assert unknown.exit_code == 2
    assert "there is no event 'nobody'" in unknown.stderr


def event_key(event: Enriched) -> str:
    """The account of an event."""
    account: str = json.loads(bytes(event.event))["account_id"]
    return account


def _behind(stream: Stream, one: dict[str, Any]) -> None:
    """Job, micro-batch, digests and inputs are all there and derive again."""
    job_id, job = next(iter(one["jobs"].items()))
    assert job["ledger"]["state"] == "succeeded"
    assert [step["state"] for step in job["history"]][-1] == "succeeded"
    assert job["answer"]["run"]["shots"] == stream.pipeline.sampling.shots
    assert job["answer"]["sdk_versions"]
    assert job["answer"]["circuit_hashes"]
    batch = one["batches"][job["micro_batch_id"]]
    assert batch["micro_batch_id"] == job_id
    assert batch["derived"]["finding"] == "same"
    assert batch["derived"]["events"] == batch["events"]
    assert batch["digests"]
    for each in batch["inputs"]:
        assert each["topic"] == stream.topics.events
        assert each["there"] == each["last"] - each["first"] + 1
    # Every version of a feature that is still on the topic is the one that was used.
    used = [feature for feature in one["features"] if feature["used"].get("version")]
    assert used
    assert all(feature["same"] is not False for feature in used)
    graphs = [feature for feature in used if feature["used"]["group"] == "graph"]
    assert graphs
    assert all(feature["micro_batch_id"] in one["batches"] for feature in graphs)
    assert one["versions"]["template"] == ["qaoa 1"]
    assert one["versions"]["pipeline"]["recorded"] == stream.pipeline.version


def _changed(stream: Stream, event: Enriched) -> None:
    """A record with another score does not come out of itself; a change on record is shown."""
    message = message_of(stream, event.event_id)
    value = message.value() or b""
    forged = value.replace(b'"served":', b'"served":1', 1)
    assert forged != value
    stream.produce(stream.topics.enriched, message.key() or b"", forged, message.partition() or 0)
    code, told = lineage(stream, event.event_id, "--all")
    newest, oldest = told["records"]
    assert code == 3
    assert newest["rescored"]["same"] is False
    assert "from byte" in newest["rescored"]["detail"]
    assert oldest["rescored"]["same"] is True
    text = command(stream, cli_lineage.register, "lineage", event.event_id)
    assert text.exit_code == 3
    assert "re-scored from itself: NO" in text.stdout
    assert "1 older of the same id" in text.stdout

    started = Experiment(experiment_id="e-1", started_ms=1, pipeline_version="p", score_version="s")
    control = Control(
        pipeline=stream.name, name=EXPERIMENT, issued_at_ms=1, issued_by="ann", reason="to see",
        experiment=started,
    )  # fmt: skip
    change = Change(
        change_id="c-1", pipeline=stream.name, kind=ChangeKind.EXPERIMENT, subject=EXPERIMENT,
        changed_at_ms=1, changed_by="ann", reason="to see",
        after=msgspec.json.encode(control).decode(), experiment_id="e-1",
    )  # fmt: skip
    stream.produce(CHANGES, stream.name, msgspec.json.encode(change), 0)
    _, told = lineage(stream, "first-0")
    known = told["records"][0]["in_force"]
    # The stages' own, of the pipeline's file and score table, are there, too.
    told_of = [each["what"] for each in known["standing"] if each["kind"] == "experiment"]
    assert told_of == ["experiment e-1"]
    assert known["derived_revision"] == in_force(stream.name, [control]).revision


def _reproduced(stream: Stream, job_id: str) -> None:
    """Equal in everything, with a deviation over seeds; then another content is found."""
    done = command(stream, cli_reproduce.register, "reproduce", job_id, "--repeats", "2", "--json")
    assert done.exit_code == 0, done.stderr + done.stdout
    told = json.loads(done.stdout)
    assert told["same_samples"] is True
    names = ("content", "micro-batch", "models", "circuits", "samples", "features", "differences")
    same = {check["name"]: check["same"] for check in told["compared"]["checks"]}
    assert tuple(same) == names
    assert all(same[name] for name in names if name != "features")
    assert same["features"] is not False
    assert {spread["path"] for spread in told["spreads"]} == {"quantum", "classical", "random"}
    assert all(0 <= spread["mean"] <= spread["max"] for spread in told["spreads"])
    # A ring that is one clique is found in every draw; random strings differ.
    assert all(spread["mean"] > 0 for spread in told["spreads"] if spread["path"] == "random")

    prefix = job_id.encode()
    logged = next(
        one for one in stream.read(MICRO_BATCHES) if b'"' + prefix + b'"' in (one.value() or b"")
    )
    batch = msgspec.json.decode(logged.value() or b"", type=MicroBatch)
    other = msgspec.structs.replace(batch, content_hash=HASH_SCHEME + "f" * 32)
    stream.produce(
        MICRO_BATCHES, logged.key() or b"", msgspec.json.encode(other), logged.partition() or 0
    )
    done = command(stream, cli_reproduce.register, "reproduce", job_id)
    assert done.exit_code == 3, done.stderr
    assert "another content stands under the same identity" in done.stdout
    assert "NOT THE SAME" in done.stdout
    unknown = command(stream, cli_reproduce.register, "reproduce", f"{job_id}7")
    assert unknown.exit_code == 2
    assert job_id in unknown.stderr
