"""The console as a process on real servers: what topics say is shown, and what is done is done."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from enrichment.lab.ports import free_port
from enrichment.lab.servers import LocalServers
from enrichment.records import Job, Outcome, OutcomeKind
from enrichment.stream.to_end import read_to_end
from enrichment.stream.topics import (
    CASES,
    JOB_EVENTS,
    JOBS,
    MICRO_BATCHES,
    ORDERS,
    partition_for,
    shard_key,
)
from tests.console.desks import TOKEN, case, event, job
from tests.integration.stages import PATIENCE_S, Stage, Stream, eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(150)]

SHARED: Final = (MICRO_BATCHES, JOBS, JOB_EVENTS, ORDERS, CASES)
BEARER: Final = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def stream(servers: LocalServers, tmp_path: Path) -> Iterator[Stream]:
    """A stream like payments, with the topics that the console follows."""
    one = Stream(
        tmp_path,
        like="payments",
        bootstrap=servers.bootstrap,
        redis_url=servers.redis_url,
        also=SHARED,
    )
    yield one
    one.close()


class Page:
    """What a browser or a program can ask of a console on this machine."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def await_answer(self, path: str, console: Stage) -> None:
        """Wait until it is answered by 200. Fails where the console ends first."""
        give_up_s = time.monotonic() + PATIENCE_S
        while (told := self.ask(path))[0] != 200:
            ended = console.process.poll()
            assert ended is None, f"it has ended with {ended}: {console.said()}"
            assert time.monotonic() < give_up_s, told
            time.sleep(0.1)

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and JSON; (0, why) where nobody answers."""
        sent = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(  # noqa: S310  # on this machine
            self._url + path, sent, {"content-type": "application/json", **(headers or {})}
        )
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError as error:
            return 0, str(error)


def put(stream: Stream, topic: str, key: str, shard: str, value: Any) -> None:
    """One record where its shard travels."""
    client = {"bootstrap.servers": stream.bootstrap}
    count = len(AdminClient(client).list_topics(topic, timeout=10).topics[topic].partitions)
    producer = Producer(client)
    producer.produce(
        topic,
        msgspec.json.encode(value),
        key,
        partition_for(shard_key(stream.name, shard), count),
    )
    producer.flush(10)


def payment(event_id: str) -> bytes:
    """One payment, as it is published."""
    fields = {
        "event_id": event_id,
        "account_id": "acc-1",
        "device_id": "dev-1",
        "beneficiary_id": "ben-1",
        "region": "eu",
        "amount": 12.5,
        "occurred_at": 1_700_000_000_000,
    }
    return json.dumps(fields).encode()


def outcomes(stream: Stream) -> list[Outcome]:
    """What has been said on the outcomes topic."""
    from confluent_kafka import TopicPartition

    client = {"bootstrap.servers": stream.bootstrap}
    topic = stream.topics.outcomes
    there = AdminClient(client).list_topics(topic, timeout=10).topics[topic].partitions
    found = read_to_end(client, [TopicPartition(topic, number) for number in there], 10)
    return [msgspec.json.decode(one.value() or b"", type=Outcome) for one in found]


def test_the_console_shows_what_topics_say_and_does_what_it_is_told(stream: Stream) -> None:
    """Jobs, cases, events and rates are followed; switch and verdict are on the topics at once."""
    job_id, shard = f"{stream.name}|eu/west|1700000000000|0", "eu/west"
    now_ms = time.time_ns() // 1_000_000
    row = job(job_id, pipeline=stream.name, created_ms=now_ms, updated_ms=now_ms)
    entry = msgspec.to_builtins(row) | {"micro_batch_id": job_id}
    put(stream, JOBS, job_id, shard, msgspec.convert(entry, Job))
    step = msgspec.structs.replace(event(), job_id=job_id, pipeline=stream.name)
    put(stream, JOB_EVENTS, job_id, shard, step)
    put(stream, CASES, f"{stream.name}|case-1", shard, case(pipeline=stream.name))
    port = free_port()
    console = stream.start(
        "console", ENRICHMENT_CONSOLE_PORT=str(port), ENRICHMENT_CONSOLE_TOKEN=TOKEN
    )
    enrich = stream.start("enrich")
    page = Page(port)
    page.await_answer("/healthz/ready", console)
    assert page.ask("/healthz/startup") == (200, {"ok": True, "trouble": {}})

    status, told = page.ask(f"/v1/jobs/{quote(job_id, safe='')}")
    assert (status, told["job"]["state"]) == (200, "succeeded")
    assert [one["event"] for one in told["events"]] == ["SamplesArrived"]
    assert page.ask("/v1/cases")[1]["counts"] == {"open": 1}

    producer = Producer({"bootstrap.servers": stream.bootstrap})
    for number in range(50):
        producer.produce(stream.topics.events, payment(f"e-{number}"), "acc-1")
    producer.flush(10)

    def answered() -> bool:
        [one] = [
            one for one in page.ask("/v1/flow")[1]["flow"]["stages"] if one["stage"] == "enrich"
        ]
        return bool(one["lag"] == 0)

    eventually("enrich has answered, and the page says so", answered)
    status, told = page.ask("/v1/events/e-7?account=acc-1")
    assert status == 200, told
    assert told["records"][0]["rescored"]["same"] is True
    assert page.ask("/v1/events/e-none")[0] == 404
    status, told = page.ask(f"/v1/features/{stream.name}/account/acc-1")
    assert (status, told["groups"][0]["usable"]) == (200, False)

    kill = {"by": "kim", "reason": "incident 42"}
    assert page.ask("/v1/rollout/kill", kill)[0] == 401
    status, told = page.ask("/v1/rollout/kill", kill, BEARER)
    assert status == 200, told
    eventually("the page shows the cap", lambda: page.ask("/v1/rollout")[1]["serve"] != "")
    [cap] = page.ask("/v1/rollout")[1]["caps"]
    assert (cap["issued_by"], cap["reason"]) == ("kim", "incident 42")
    status, told = page.ask("/v1/rollout/restore", kill, BEARER)
    assert status == 200, told
    eventually("the page shows none", lambda: page.ask("/v1/rollout")[1]["serve"] == "")

    verdict = {"case_id": "case-1", "verdict": "dismiss", "by": "kim", "note": "a family"}
    status, told = page.ask("/v1/verdicts", verdict, BEARER)
    assert status == 200, told
    said = outcomes(stream)
    assert {one.id for one in said} == {"acc-0", "acc-1", "acc-2"}
    assert {(one.kind, one.decided_by) for one in said} == {(OutcomeKind.ANALYST_CLEARED, "kim")}
    assert (enrich.end(), console.end()) == (0, 0)


def test_a_broker_that_is_away_makes_it_unready_and_no_restart_helps(
    stream: Stream, servers: LocalServers
) -> None:
    """Started before its broker, the console lives, says so, and is not ready."""
    port = free_port()
    nowhere = f"127.0.0.1:{free_port()}"
    console = stream.start(
        "console", ENRICHMENT_CONSOLE_PORT=str(port), ENRICHMENT_KAFKA_BOOTSTRAP=nowhere
    )
    page = Page(port)
    page.await_answer("/healthz/live", console)
    status, told = page.ask("/healthz/ready")
    assert status == 503
    assert JOBS in told["trouble"]
    assert page.ask("/v1/jobs")[1]["jobs"] == []
    assert console.end() == 0
    taken = stream.start("console", ENRICHMENT_CONSOLE_PORT=servers.bootstrap.rpartition(":")[2])
    assert taken.process.wait(30) == 2
    assert "cannot listen" in taken.said()
