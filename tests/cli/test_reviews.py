"""`enrichment reviews`: what waits, and what an answer leaves on the outcomes topic."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import Result

from enrichment.cli import reviews
from enrichment.lab.servers import LocalServers
from enrichment.records import (
    Level,
    Origin,
    Outcome,
    OutcomeKind,
    Reason,
    Review,
    Verdict,
    VerdictName,
)
from enrichment.records import (
    Path as ScorePath,
)
from enrichment.settings import Settings
from enrichment.stream.headers import cloud_event
from enrichment.stream.to_end import read_to_end
from enrichment.stream.topics import StreamTopics, partition_for, shard_key
from tests.cli.commands import own_pipeline, runner_of

PARTITIONS = 4
run = runner_of(reviews.register)


def review(event_id: str, *, score: float = 55.0, shard: str = "eu", at_ms: int = 5) -> Review:
    """One payment that waits."""
    return Review(
        event_id=event_id,
        pipeline="payments",
        origin=Origin("payments.events", 1, 7),
        occurred_at_ms=1,
        decided_at_ms=at_ms,
        score=score,
        path=ScorePath.QUANTUM,
        level=Level.ELEVATED,
        reasons=(Reason("device_in_ring", 1.4), Reason("amount", 0.2)),
        verdict=Verdict(VerdictName.FRESH, "subgraph_unchanged"),
        entities={"account": f"a-{event_id}", "device": "d1"},
        shard=shard,
        score_version="payments-1",
        amount_minor=123_456,
    )


def await_leaders(client: dict[str, str], *topics: str) -> None:
    """Return when every partition of these topics says where it ends."""
    reader = Consumer(client | {"group.id": "tests"})
    give_up_s = time.monotonic() + 20
    for topic in topics:
        for number in range(PARTITIONS):
            while True:
                try:
                    reader.get_watermark_offsets(TopicPartition(topic, number), 5)
                    break
                except KafkaException:
                    assert time.monotonic() < give_up_s
                    time.sleep(0.05)
    reader.close()


class Queue:
    """The queue of a stream that only one test knows."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.name = own_pipeline(folder)
        self.topics = StreamTopics(self.name)
        self.settings = Settings(kafka_bootstrap=bootstrap, pipelines_dir=folder)
        self.client = {"bootstrap.servers": bootstrap}
        wanted = [NewTopic(t, PARTITIONS, 1) for t in (self.topics.reviews, self.topics.outcomes)]
        admin = AdminClient(self.client)  # its futures fail once it is gone
        for future in admin.create_topics(wanted).values():
            future.result(20)
        # A topic is made before each of its partitions has a leader who would answer.
        await_leaders(self.client, self.topics.reviews, self.topics.outcomes)

    def ask(self, *asked: Review) -> None:
        """Reviews on their topic."""
        producer = Producer(self.client)
        for each in asked:
            producer.produce(self.topics.reviews, msgspec.json.encode(each), each.event_id)
        assert producer.flush(20) == 0

    def run(self, *arguments: str) -> Result:
        """The command, on this stream."""
        return run("reviews", *arguments, "--pipeline", self.name, settings=self.settings)

    def open(self) -> list[str]:
        """Ids of what waits, in the order shown."""
        result = self.run("list", "--json")
        assert result.exit_code == 0, result.output
        return [each["event_id"] for each in json.loads(result.stdout)["reviews"]]

    def outcomes(self) -> list[Message]:
        """Everything on the outcomes topic."""
        everywhere = [TopicPartition(self.topics.outcomes, n) for n in range(PARTITIONS)]
        return read_to_end(self.client, everywhere, 20)


@pytest.fixture
def make_queue(servers: LocalServers, tmp_path: Path) -> Callable[[], Queue]:
    """A factory of queues on the shared broker."""
    return lambda: Queue(tmp_path, servers.bootstrap)


@pytest.mark.servers
def test_an_answer_closes_a_review(make_queue: Callable[[], Queue]) -> None:
    """It travels as an outcome in the partition of the event's shard, and the review is no more."""
    queue = make_queue()
    queue.ask(review("e1"), review("e2", score=70.0, shard="us"), review("e3", score=40.0))
    assert queue.open() == ["e2", "e1", "e3"]
    said = ("--verdict", "fraud", "--by", "kim", "--note", "same device")
    done = queue.run("answer", "e2", *said, "--json")
    assert done.exit_code == 0, done.output
    assert queue.open() == ["e1", "e3"]
    (message,) = queue.outcomes()
    outcome = msgspec.json.decode(message.value(), type=Outcome)
    assert (outcome.event_id, outcome.entity, outcome.id) == ("e2", "account", "a-e2")
    assert (outcome.kind, outcome.shard) == (OutcomeKind.ANALYST_FRAUD, "us")
    assert (outcome.decided_by, outcome.note) == ("kim", "same device")
    key = shard_key(queue.name, "us")
    assert message.key() == key.encode()
    assert message.partition() == partition_for(key, PARTITIONS)
    expected = cloud_event("outcome", f"/enrichment/{queue.name}", outcome.outcome_id, 0)
    names = [name for name, _ in message.headers()]
    assert names == [name for name, _ in expected]
    assert json.loads(done.stdout)["written"]["partition"] == message.partition()


@pytest.mark.servers
def test_an_answer_is_given_once_unless_said_again(make_queue: Callable[[], Queue]) -> None:
    """A second one is refused with what was said; --again replaces it, and decided later."""
    queue = make_queue()
    queue.ask(review("e1"))
    assert queue.run("answer", "e1", "--verdict", "fraud", "--by", "kim").exit_code == 0
    second = queue.run("answer", "e1", "--verdict", "cleared", "--by", "lee")
    assert second.exit_code == 2
    assert "kim has said 'analyst_fraud' of 'e1'; --again replaces it" in second.stderr
    again = queue.run(
        "answer", "e1", "--verdict", "cleared", "--by", "lee", "--entity", "device", "--again"
    )
    assert again.exit_code == 0, again.output
    decoded = [msgspec.json.decode(each.value(), type=Outcome) for each in queue.outcomes()]
    first, last = sorted(decoded, key=lambda each: each.decided_at_ms)
    assert first.decided_at_ms < last.decided_at_ms
    assert (last.kind, last.entity, last.id) == (OutcomeKind.ANALYST_CLEARED, "device", "d1")
    shown = queue.run("list", "--all", "--json")
    assert json.loads(shown.stdout)["reviews"][0]["outcome"]["decided_by"] == "lee"


@pytest.mark.servers
def test_what_cannot_be_answered_says_why(make_queue: Callable[[], Queue]) -> None:
    """An unknown event is guessed, a missing role is named; exit code 2, nothing written."""
    queue = make_queue()
    queue.ask(review("event-1"))
    said = ("--verdict", "fraud", "--by", "kim")
    unknown = queue.run("answer", "event-2", *said)
    assert unknown.exit_code == 2
    assert "no review of event 'event-2'; the nearest is 'event-1'" in unknown.stderr
    lacking = queue.run("answer", "event-1", *said, "--entity", "beneficiary")
    assert lacking.exit_code == 2
    assert "names no beneficiary; it has: account, device" in lacking.stderr
    wrong = queue.run("answer", "event-1", *said, "--entity", "shop")
    assert "there is no entity 'shop'" in wrong.stderr
    nobody = queue.run("answer", "event-1", "--verdict", "fraud", "--by", " ")
    assert (nobody.exit_code, "--by: wanted a name" in nobody.stderr) == (2, True)
    assert queue.outcomes() == []


@pytest.mark.servers
def test_a_list_for_people_shows_the_reasons(make_queue: Callable[[], Queue]) -> None:
    """Score, amount in major units, reasons, and how many wait."""
    queue = make_queue()
    result = queue.run("list")
    assert result.stdout == "no reviews\n", result.output
    queue.ask(review("e1"), review("e1", score=60.0, at_ms=6))
    shown = queue.run("list").stdout
    assert "1 open of 1" in shown  # a repeated event id asks again, and is one review
    assert "60.0" in shown


@pytest.mark.servers
def test_a_stream_without_the_topic_says_what_to_do(servers: LocalServers) -> None:
    """Exit code 2 and the command that makes topics."""
    settings = Settings(kafka_bootstrap=servers.bootstrap)
    result = run("reviews", "list", "--pipeline", "cards", settings=settings)
    assert result.exit_code == 2
    assert "there is no topic cards.reviews: `enrichment topics apply`" in result.stderr
