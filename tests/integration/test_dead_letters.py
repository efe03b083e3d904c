"""Dead letters listed, shown and replayed on a real broker: each once, whoever asks."""

import json
import secrets
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.cli import dead_letters
from enrichment.lab.servers import LocalServers
from enrichment.records import ChangeKind, DeadLetter, DeadLetterReason, Replay
from enrichment.settings import Settings
from enrichment.stream.changes import recorded
from enrichment.stream.dead_letters import Letter, Records
from enrichment.stream.evidence import evidence
from enrichment.stream.headers import PROGRESS, REPLAY_OF, header
from enrichment.stream.replay import Fate, ReplayConfig, Replayer, ReplayError
from enrichment.stream.to_end import read_to_end
from enrichment.stream.topics import CHANGES, CONTROL, REPLAYS, StreamTopics
from tests.cli.commands import runner_of
from tests.integration.stages import Stream, eventually

pytestmark = pytest.mark.servers

run = runner_of(dead_letters.register)
PAYMENTS = Path(__file__).resolve().parents[2] / "enrichment" / "pipelines" / "payments.toml"
NOW_MS = 1_780_000_000_000
PARTITIONS = 2
KEY = b"k\xff"
HEADERS: list[tuple[str, bytes | None]] = [("a", b"\xff"), ("none", None), ("a", b"2")]


class Desk:
    """A stream whose letters are written by the test, and the commands on it."""

    def __init__(self, bootstrap: str, folder: Path, *, sensitive: bool) -> None:
        self.name = f"t{secrets.token_hex(4)}"
        self.topics = StreamTopics(self.name)
        self.kafka: dict[str, Any] = {"bootstrap.servers": bootstrap}
        self.settings = Settings(kafka_bootstrap=bootstrap, pipelines_dir=folder)
        text = PAYMENTS.read_text().replace('name = "payments"\n', f'name = "{self.name}"\n', 1)
        if sensitive:
            text = text.replace("sensitive = []", 'sensitive = ["device_id"]')
        (folder / f"{self.name}.toml").write_text(text)
        for table in PAYMENTS.parent.glob("*.score.toml"):
            shutil.copy(table, folder)
        admin = AdminClient(self.kafka)
        counts = {self.topics.events: PARTITIONS, self.topics.dead_letters: PARTITIONS}
        counts |= {REPLAYS: 1, CONTROL: 1, CHANGES: 1}
        there = admin.list_topics(timeout=20).topics
        wanted = [NewTopic(name, count, 1) for name, count in counts.items() if name not in there]
        for future in admin.create_topics(wanted).values() if wanted else ():
            future.result(20)
        self._await_leaders(counts)
        self.producer = Producer(self.kafka)

    def _await_leaders(self, counts: dict[str, int]) -> None:
        """A topic is made before all of its partitions answer."""
        reader = Consumer(self.kafka | {"group.id": "nobody"})
        for topic, count in counts.items():
            for number in range(count):
                eventually(f"{topic} answers", partial(_answers, reader, topic, number))
        reader.close()

    def event(self, value: bytes | None, partition: int = 0, **options: Any) -> Message:
        """One record on the events topic, as it then stands there."""
        delivered: list[Message] = []
        self.producer.produce(
            self.topics.events, value, KEY, partition, headers=list(HEADERS),
            on_delivery=lambda _, message: delivered.append(message), **options,
        )  # fmt: skip
        assert self.producer.flush(20) == 0
        return delivered[0]

    def letter(self, origin: Message, *, kept: bool = True, **changes: Any) -> str:
        """The dead letter of a record, as the enricher writes it; `partition/offset`."""
        value = origin.value()
        record = DeadLetter(
            pipeline=self.name, reason=DeadLetterReason.NOT_JSON, detail="it was a test",
            topic=origin.topic() or "", partition=origin.partition() or 0,
            offset=origin.offset() or 0, failed_at_ms=NOW_MS, size_bytes=len(value or b""),
            published_at_ms=origin.timestamp()[1],
            **(evidence(KEY, value, HEADERS, bytes_max=1_000) if kept else {}),
        )  # fmt: skip
        delivered: list[Message] = []
        self.producer.produce(
            self.topics.dead_letters,
            msgspec.json.encode(msgspec.structs.replace(record, **changes)),
            partition=1,
            on_delivery=lambda _, message: delivered.append(message),
        )
        assert self.producer.flush(20) == 0
        return f"1/{delivered[0].offset()}"

    def run(self, *arguments: str) -> Any:
        """A command on this stream."""
        return run("dead-letters", *arguments, "--pipeline", self.name, settings=self.settings)

    def events(self) -> list[Message]:
        """All that a committed reader sees on the events topic, and that was replayed."""
        everywhere = [TopicPartition(self.topics.events, number) for number in range(PARTITIONS)]
        found = read_to_end(self.kafka, everywhere, 20)
        return [message for message in found if header(message.headers(), REPLAY_OF) is not None]

    def config(self) -> ReplayConfig:
        """What its replays are told."""
        return ReplayConfig(kafka=self.kafka, stream=self.name, events=self.topics.events)


def _answers(reader: Consumer, topic: str, number: int) -> bool:
    try:
        reader.get_watermark_offsets(TopicPartition(topic, number), 5)
    except KafkaException:
        return False
    return True


@pytest.fixture
def make_desk(servers: LocalServers, tmp_path: Path) -> Callable[..., Desk]:
    """A factory of desks on the shared broker."""
    return lambda sensitive=False: Desk(servers.bootstrap, tmp_path, sensitive=sensitive)


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    """A desk whose stream has nothing sensitive."""
    return make_desk()


@pytest.mark.parametrize("kept", [True, False], ids=["from the letter", "from the origin"])
def test_a_letter_is_replayed_once(desk: Desk, kept: bool) -> None:
    """Same partition, key, value and headers, and a mark; a second replay publishes nothing."""
    name = desk.letter(desk.event(b"\x00\xfe{", 1), kept=kept)
    first = desk.run("replay", name)
    assert first.exit_code == 0, first.output
    assert first.stdout == "1 replayed\n"
    second = desk.run("replay", f"{desk.topics.dead_letters}/{name}")
    assert second.exit_code == 0
    assert second.stdout.endswith("1 already replayed\n")
    [again] = desk.events()
    assert (again.partition(), again.key(), again.value()) == (1, KEY, b"\x00\xfe{")
    mark = (REPLAY_OF, f"{desk.topics.dead_letters}/{name}".encode())
    assert again.headers() == [*HEADERS, mark]
    assert (again.timestamp()[1]) > NOW_MS
    marks = read_to_end(desk.kafka, [TopicPartition(REPLAYS, 0)], 20)
    [record] = [
        each
        for message in marks
        if (each := msgspec.json.decode(message.value() or b"", type=Replay)).pipeline == desk.name
    ]
    assert record.dead_letter == f"{desk.topics.dead_letters}/{name}"
    assert record.replayed_by


def test_a_replay_is_one_change_on_record(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many transactions, with why and what was asked for; without any there is none."""
    monkeypatch.setattr("enrichment.stream.replay.CHUNK_LETTERS", 2)
    for number in range(3):
        desk.letter(desk.event(b"%d" % number))
    asked = ("replay", "--reason", "not_json", "--why", "the sender is repaired", "--by", "kim")
    for _ in range(2):
        assert desk.run(*asked).exit_code == 0
    [change] = [one for one in recorded(desk.kafka).changes if one.pipeline == desk.name]
    assert (change.kind, change.changed_by) == (ChangeKind.REPLAY, "kim")
    assert change.reason == "the sender is repaired"
    assert json.loads(change.after) == {"reasons": ["not_json"], "since_ms": 0, "limit": 1000}


def test_a_replay_that_fails_again_is_a_new_letter(desk: Desk) -> None:
    """It names the first, and can be replayed in its turn: its record bears the new mark alone."""
    first = desk.letter(desk.event(b"x"))
    assert desk.run("replay", first).exit_code == 0
    [again] = desk.events()
    mark = f"{desk.topics.dead_letters}/{first}"
    second = desk.letter(again, replay_of=mark, headers=tuple(again.headers() or ()), payload=b"x")
    shown = json.loads(desk.run("show", second, "--json").stdout)
    assert shown["replay_of"] == mark
    assert desk.run("replay", second).stdout == "1 replayed\n"
    assert [header(each.headers(), REPLAY_OF) for each in desk.events()] == [
        mark.encode(), f"{desk.topics.dead_letters}/{second}".encode(),
    ]  # fmt: skip
    assert len(desk.events()[1].headers() or []) == len(HEADERS) + 1


def test_of_two_operators_one_replays_a_letter(desk: Desk) -> None:
    """The later one fences the earlier, whose open transaction leaves nothing."""
    name = desk.letter(desk.event(b"x"))
    records = Records(desk.kafka)
    letter = records.letter(desk.topics.dead_letters, *map(int, name.split("/")))
    assert letter is not None
    told: list[Fate] = []
    one = Replayer.open(desk.config(), records, lambda: NOW_MS)
    two = Replayer.open(desk.config(), records, lambda: NOW_MS)
    with pytest.raises(ReplayError, match="another replay of this stream has begun"):
        one.replay([letter], lambda _, fate: told.append(fate))
    two.replay([letter, letter], lambda _, fate: told.append(fate))
    one.close()
    two.close()
    records.close()
    assert sorted(fate.value for fate in told) == ["already replayed", "replayed"]
    assert len(desk.events()) == 1


def test_many_operators_at_once_publish_each_record_once(desk: Desk) -> None:
    """Whoever loses says so; what is left over is done by the next."""
    names = [desk.letter(desk.event(b"%d" % number)) for number in range(8)]

    def operate() -> None:
        records = Records(desk.kafka)
        letters = [
            records.letter(desk.topics.dead_letters, *map(int, name.split("/"))) for name in names
        ]
        try:
            replayer = Replayer.open(desk.config(), records, lambda: NOW_MS)
            try:
                for each in letters:
                    assert isinstance(each, Letter)
                    replayer.replay([each], lambda *_: None)
            finally:
                replayer.close()
        except ReplayError:
            pass  # another one took over: so it should
        finally:
            records.close()

    operators = [threading.Thread(target=operate) for _ in range(3)]
    for each in operators:
        each.start()
    for each in operators:
        each.join(60)
    assert desk.run("replay", "--all").exit_code == 0
    assert sorted(int(each.value() or b"") for each in desk.events()) == list(range(8))


def test_what_cannot_be_replayed_is_told(desk: Desk) -> None:
    """A record that is gone, one that another has replaced, and a statement of progress."""
    origin = desk.event(b"abc")
    gone = desk.letter(origin, kept=False, offset=10_000)
    other = desk.letter(origin, kept=False, size_bytes=2)
    progress = desk.letter(origin, headers=((PROGRESS, b"1"),))
    dry = desk.run("replay", "--all", "--dry-run", "--json")
    wet = desk.run("replay", "--all", "--json")
    for result in (dry, wet):
        assert result.exit_code == 3
        fates = {each["letter"]: each["fate"] for each in json.loads(result.stdout)["letters"]}
        topic = desk.topics.dead_letters
        assert fates == {
            f"{topic}/{gone}": "its record is gone",
            f"{topic}/{other}": "its record is gone",
            f"{topic}/{progress}": "a statement of progress, and no event",
        }
    assert desk.events() == []


def test_filters_choose_and_a_dry_run_publishes_nothing(desk: Desk) -> None:
    """By reason and by time; the limit takes the oldest."""
    origin = desk.event(b"x")
    for number in range(4):
        desk.letter(origin, failed_at_ms=NOW_MS + number)
    desk.letter(origin, reason=DeadLetterReason.TOO_DEEP, failed_at_ms=NOW_MS + 10)
    dry = desk.run("replay", "--reason", "not_json", "--limit", "3", "--dry-run")
    assert dry.exit_code == 0
    assert dry.stdout.endswith("3 replayed (dry run)\n")
    assert dry.stdout.count("would be replayed") == 3
    assert desk.events() == []
    assert desk.run("replay", "--reason", "too_deep").stdout == "1 replayed\n"
    since = "2026-05-28T20:26:40.003+00:00"
    assert desk.run("replay", "--since", since).stdout.endswith(
        "1 already replayed, 1 replayed\n"
    ) or (desk.run("replay", "--since", since).stdout.endswith("2 already replayed\n"))
    assert len(desk.events()) == 2


def test_letters_are_listed_and_counted(desk: Desk) -> None:
    """The newest first, counts over all of them, and which were replayed."""
    origin = desk.event(b"x")
    names = [desk.letter(origin, failed_at_ms=NOW_MS + number) for number in range(3)]
    desk.letter(origin, reason=DeadLetterReason.TOO_LARGE, failed_at_ms=NOW_MS - 1)
    desk.producer.produce(desk.topics.dead_letters, b"somebody else's", partition=0)
    desk.producer.flush(10)
    desk.run("replay", names[1])
    found = json.loads(desk.run("list", "--limit", "2", "--json").stdout)
    assert found["counts"] == {"not_json": 3, "too_large": 1}
    assert [each["letter"].partition("/")[2] for each in found["letters"]] == [names[2], names[1]]
    assert [each["replayed"] for each in found["letters"]] == [False, True]
    table = desk.run("list", "--reason", "not_json")
    assert table.stdout.endswith("3 dead letters: 3 not_json\n")
    assert "1 records on the topic are no dead letters" in table.stderr
    assert desk.run("list", "--since", "1m").stdout == "no dead letters\n"


def test_a_letter_is_shown_with_its_record(desk: Desk) -> None:
    """By place or by number, from the letter or from where it came from."""
    desk.letter(desk.event(b"old"))
    name = desk.letter(desk.event(b"new"), kept=False, failed_at_ms=NOW_MS + 1)
    by_number = json.loads(desk.run("show", "1", "--json").stdout)
    by_place = json.loads(desk.run("show", name, "--json").stdout)
    assert by_number == by_place
    assert by_place["record"]["value"] == "new"
    assert by_place["record"]["from"] == "origin"
    shown = desk.run("show", "2").stdout
    assert "record         from the letter" in shown
    assert "value        old" in shown


def test_what_is_sensitive_is_shown_on_demand_alone(make_desk: Callable[..., Desk]) -> None:
    """The origin has it: whoever looks must say that he means it."""
    desk = make_desk(sensitive=True)
    name = desk.letter(desk.event(b"secret"), kept=False)
    assert "secret" not in desk.run("show", name).stdout
    assert "--reveal" in desk.run("show", name).stdout
    assert json.loads(desk.run("show", name, "--json").stdout)["record"] is None
    assert "secret" in desk.run("show", name, "--reveal").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay"], "which ones?"),
        (["replay", "0/1", "--all"], "not both"),
        (["replay", "x"], "wanted PARTITION/OFFSET"),
        (["show", "0/999"], "there is no dead letter"),
        (["show", "9"], "there is no dead letter number 9"),
        (["list", "--reason", "bad"], "there is no reason 'bad'; reasons: not_json"),
        (["list", "--since", "yesterday"], "wanted 30m, 2h, 7d"),
    ],
)
def test_wrong_usage_is_one_line(desk: Desk, arguments: list[str], said: str) -> None:
    """And exit code 2."""
    result = desk.run(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.slow
def test_through_the_enricher_and_back(servers: LocalServers, tmp_path: Path) -> None:
    """What it could not enrich is replayed, fails again, and its new letter names the first."""
    stream = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    if REPLAYS not in admin.list_topics(timeout=20).topics:
        admin.create_topics([NewTopic(REPLAYS, 1, 1)])[REPLAYS].result(20)
    settings = Settings(kafka_bootstrap=servers.bootstrap, pipelines_dir=tmp_path)
    try:
        stream.start("enrich")
        stream.publish([b"nonsense"], key=KEY, headers=list(HEADERS))
        eventually("a dead letter", lambda: len(stream.dead_letters()) == 1)
        replayed = run("dead-letters", "replay", "--all", "-p", stream.name, settings=settings)
        assert replayed.stdout == "1 replayed\n"
        eventually("another", lambda: len(stream.dead_letters()) == 2)
        topic = stream.topics.dead_letters
        first, second = sorted(
            map(Letter.read, stream.read(topic)), key=lambda letter: letter.record.offset
        )
        assert (first.replay_of, second.replay_of) == ("", first.name)
        for each in (first.record, second.record):
            assert (each.key_bytes, each.payload) == (KEY, b"nonsense")
        again = run("dead-letters", "replay", "--all", "-p", stream.name, settings=settings)
        assert sorted(again.stdout.splitlines()[-1].split(", ")) == [
            "1 already replayed", "1 replayed",
        ]  # fmt: skip
    finally:
        stream.close()
