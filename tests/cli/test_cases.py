"""`enrichment cases`: what is listed, what a verdict leaves on the outcomes topic."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import Result

from enrichment.cli import cases as cases_cli
from enrichment.lab.servers import LocalServers
from enrichment.records import (
    Case,
    CaseMember,
    CaseStatus,
    CaseVerdict,
    Evidence,
    Outcome,
    OutcomeKind,
)
from enrichment.sample.cases import CaseBook
from enrichment.settings import Settings
from enrichment.stream.to_end import read_to_end
from enrichment.stream.topics import CASES, StreamTopics, partition_for, shard_key
from tests.cli.commands import own_pipeline, runner_of
from tests.cli.test_reviews import PARTITIONS, await_leaders

run = runner_of(cases_cli.register)


def case(case_id: str, members: str = "abc", *, amount: int = 500, shard: str = "eu") -> Case:
    """An open case of accounts named by letters, tied by one device."""
    return Case(
        case_id=case_id,
        pipeline="payments",
        shard=shard,
        version=5,
        status=CaseStatus.OPEN,
        members=tuple(
            CaseMember(entity="account", id=one, memberships={"quantum": 0.9, "classical": 0.8})
            for one in members
        ),
        evidence=(
            Evidence(
                entity="device", id="d-1", members=tuple(members), events=3, amount_minor=amount
            ),
        ),
        amount_at_risk_minor=amount,
        first_seen_ms=1_000,
        last_seen_ms=2_000,
        subgraph="sub",
        job_id="job-1",
    )


def said(of: Case, kind: OutcomeKind, members: str) -> Case:
    """The case with a verdict on it."""
    verdict = CaseVerdict(
        outcome_id="o", kind=kind, decided_at_ms=10, decided_by="lee", members=tuple(members)
    )
    return msgspec.structs.replace(of, verdict=verdict, status=CaseStatus.CONFIRMED)


class Cases:
    """The cases of a stream that only one test knows."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.name = own_pipeline(folder)
        self.topics = StreamTopics(self.name)
        self.settings = Settings(kafka_bootstrap=bootstrap, pipelines_dir=folder)
        self.client = {"bootstrap.servers": bootstrap}
        admin = AdminClient(self.client)
        there = admin.list_topics(timeout=10).topics
        wanted = [t for t in (CASES, self.topics.outcomes) if t not in there]
        for future in admin.create_topics([NewTopic(t, PARTITIONS, 1) for t in wanted]).values():
            future.result(20)
        await_leaders(self.client, *wanted)

    def tell(self, *cases: Case | str) -> None:
        """Cases on their topic; an id alone is a tombstone."""
        producer = Producer(self.client)
        for each in cases:
            case_id = each if isinstance(each, str) else each.case_id
            value = None if isinstance(each, str) else msgspec.json.encode(each)
            producer.produce(CASES, value, f"{self.name}|{case_id}", 1)
        assert producer.flush(20) == 0

    def run(self, *arguments: str) -> Result:
        """The command, on this stream."""
        return run("cases", *arguments, "--pipeline", self.name, settings=self.settings)

    def outcomes(self) -> list[tuple[int, Outcome]]:
        """Partition and content of everything on the outcomes topic."""
        everywhere = [TopicPartition(self.topics.outcomes, n) for n in range(PARTITIONS)]
        return [
            (record.partition() or 0, msgspec.json.decode(record.value() or b"", type=Outcome))
            for record in read_to_end(self.client, everywhere, 20)
        ]


@pytest.fixture
def make_cases(servers: LocalServers, tmp_path: Path) -> Callable[[], Cases]:
    """A factory of streams on the shared broker."""
    return lambda: Cases(tmp_path, servers.bootstrap)


@pytest.mark.servers
def test_cases_are_listed_by_what_is_at_risk(make_cases: Callable[[], Cases]) -> None:
    """The largest first; by status, by member or tie; those taken in are gone."""
    cases = make_cases()
    assert cases.run("list").stdout == "no cases\n"
    confirmed = said(case("case-3", "xyz"), OutcomeKind.ANALYST_FRAUD, "xyz")
    cases.tell(case("case-1"), case("case-2", "def", amount=90_000), confirmed, case("case-4"))
    cases.tell("case-4")

    def ids(*options: str) -> list[str]:
        listed = cases.run("list", "--json", *options)
        assert listed.exit_code == 0, listed.output
        return [each["case_id"] for each in json.loads(listed.stdout)["cases"]]

    assert ids() == ["case-2", "case-1", "case-3"]
    assert ids("--status", "confirmed") == ["case-3"]
    assert ids("--member", "e") == ["case-2"]
    assert ids("--member", "d-1", "--limit", "2") == ["case-2", "case-1"]
    shown = cases.run("list").stdout
    assert "3 cases: 2 open, 1 confirmed" in shown
    assert "900.00" in shown


@pytest.mark.servers
def test_a_confirmed_case_is_one_outcome_for_each_member(
    make_cases: Callable[[], Cases],
) -> None:
    """In the partition of its shard, with the case's id: the sample stage confirms the case."""
    cases = make_cases()
    one = case("case-1", shard="us")
    cases.tell(one)
    done = cases.run("confirm", "case-1", "--by", " kim ", "--note", "same hour", "--json")
    assert done.exit_code == 0, done.output
    written = cases.outcomes()
    partition = partition_for(shard_key(cases.name, "us"), PARTITIONS)
    assert [number for number, _ in written] == [partition] * 3
    outcomes = [outcome for _, outcome in written]
    assert [outcome.id for outcome in outcomes] == ["a", "b", "c"]
    assert {outcome.kind for outcome in outcomes} == {OutcomeKind.ANALYST_FRAUD}
    assert {(o.event_id, o.case_id, o.decided_by, o.note) for o in outcomes} == {
        ("case-1", "case-1", "kim", "same hour")
    }
    assert len({outcome.outcome_id for outcome in outcomes}) == 3
    assert json.loads(done.stdout)["written"]["partition"] == partition
    book = CaseBook([one])
    changes = [change for outcome in outcomes for change in book.hear(outcome)]
    assert [change.case.status for change in changes if change.case] == [
        CaseStatus.CONFIRMED,
        CaseStatus.CONFIRMED,
        CaseStatus.CONFIRMED,
    ]


@pytest.mark.servers
def test_a_verdict_is_given_once_unless_said_again(make_cases: Callable[[], Cases]) -> None:
    """A second one is refused with what was said; --again clears also those who have left since."""
    cases = make_cases()
    cases.tell(said(case("case-1"), OutcomeKind.ANALYST_FRAUD, "abx"))
    second = cases.run("dismiss", "case-1", "--by", "kim")
    assert second.exit_code == 2
    assert "lee has said 'analyst_fraud' of 'case-1'; --again replaces it" in second.stderr
    again = cases.run("dismiss", "case-1", "--by", "kim", "--again")
    assert again.exit_code == 0, again.output
    assert "analyst_cleared: case-1, 4 accounts" in again.stdout
    assert [outcome.id for _, outcome in cases.outcomes()] == ["a", "b", "c", "x"]


@pytest.mark.servers
def test_a_case_is_shown_with_what_ties_it_and_what_was_said(
    make_cases: Callable[[], Cases],
) -> None:
    """Members with memberships, ties, the verdict; as JSON it is the record."""
    cases = make_cases()
    one = said(case("case-1"), OutcomeKind.ANALYST_FRAUD, "abc")
    cases.tell(one)
    shown = cases.run("show", "case-1").stdout
    for words in (
        "confirmed",
        "analyst_fraud by lee",
        "account a: quantum 0.90, classical 0.80",
        "device d-1 ties a, b, c: 3 events, 5.00",
    ):
        assert words in shown
    assert msgspec.convert(json.loads(cases.run("show", "case-1", "--json").stdout), Case) == one


@pytest.mark.servers
def test_what_cannot_be_answered_says_why(make_cases: Callable[[], Cases]) -> None:
    """An unknown case is guessed, one that was taken in is named; exit code 2, nothing written."""
    cases = make_cases()
    cases.tell(msgspec.structs.replace(case("case-17"), merged=("case-99",)))
    unknown = cases.run("confirm", "case-18", "--by", "kim")
    assert unknown.exit_code == 2
    assert "there is no case 'case-18'" in unknown.stderr
    assert "the nearest is 'case-17'" in unknown.stderr
    gone = cases.run("dismiss", "case-99", "--by", "kim")
    assert "'case-99' has been taken in by 'case-17'" in gone.stderr
    nobody = cases.run("confirm", "case-17", "--by", " ")
    assert (nobody.exit_code, "--by: wanted a name" in nobody.stderr) == (2, True)
    long = cases.run("confirm", "case-17", "--by", "kim", "--note", "x" * 1_001)
    assert (long.exit_code, "--note: wanted at most" in long.stderr) == (2, True)
    wrong = cases.run("list", "--status", "closed")
    assert "statuses: open, confirmed, dismissed" in wrong.stderr
    assert cases.outcomes() == []
