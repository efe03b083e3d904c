"""Calls over HTTP: taken once, found again, and their results told as what they are."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException
from starlette.testclient import TestClient

from enrichment.console.calls import shard_of
from enrichment.console.folds import Jobs
from enrichment.console.limits import CALL_BYTES_MAX, CALLS, CALLS_OPEN_MAX, PROJECTED_MS
from enrichment.feature.reader import Features
from enrichment.feature.verdict import NEVER_SEEN, SUBGRAPH_UNKNOWN, TOO_OLD, UNAVAILABLE
from enrichment.records import (
    FeatureUpdate,
    JobEvent,
    JobState,
    MicroBatch,
    Source,
    Verdict,
)
from enrichment.records.job import JobRun
from tests.console.desks import CALLS as PIPELINE
from tests.console.desks import TOKEN, Console, MemoryTopic, job
from tests.console.test_api import is_problem
from tests.console.test_calls import RING

BEARER: Final = {"authorization": f"Bearer {TOKEN}"}
BODY: Final = {"problems": [RING]}
KEYED: Final = BEARER | {"idempotency-key": "order 7"}
ID: Final = f"calls|{shard_of('order 7')}|0|0"
NOW_MS: Final = 1_700_000_200_000  # as the console's clock has it


def console() -> tuple[Console, MemoryTopic]:
    """A console of a pipeline of calls, whose ledger is empty, and where its calls go."""
    made, topic = Console(pipeline=PIPELINE, topic=MemoryTopic()), MemoryTopic()
    made.topic, made.known.jobs = topic, Jobs()
    return made, topic


def post(client: TestClient, body: Any = BODY, headers: dict[str, str] = KEYED) -> Any:
    """What a call is answered with."""
    return client.post("/v1/jobs", json=body, headers=headers)


def test_a_call_is_on_its_topic_before_it_is_said_to_be_taken() -> None:
    """202, its job's id, and where it is found: at once, though no sampler has begun it."""
    made, topic = console()
    client = made.client()
    taken = post(client)
    assert (taken.status_code, taken.json()) == (202, {"job_id": ID, "state": "accepted"})
    assert [one.micro_batch_id for one in topic.batches] == [ID]
    told = client.get(taken.headers["location"]).json()
    assert (told["job"]["state"], told["job"]["problems"], told["events"]) == ("accepted", 1, [])
    standing = client.get(taken.headers["location"] + "/result")
    assert (standing.status_code, standing.json()["state"]) == (202, "accepted")
    assert "retry-after" in standing.headers
    assert is_problem(client.get("/v1/jobs/calls|k-1|0|0"), 404)


def test_the_same_call_under_its_key_is_the_same_job_and_another_a_conflict() -> None:
    """By this console's memory, and by the ledger's entry where another console took it."""
    made, topic = console()
    client = made.client()
    assert post(client).json() == post(client).json()
    other = {"problems": [RING | {"amount": 1}]}
    assert is_problem(post(client, other), 409, ID)
    assert len(topic.batches) == 1
    unkeyed = {post(client, headers=BEARER).json()["job_id"] for _ in range(2)}
    assert unkeyed == {"calls|r-0|0|0", "calls|r-1|0|0"}
    made.known.jobs = Jobs(rows={ID: job(ID, content_hash=topic.batches[0].content_hash)})
    fresh, elsewhere = console()
    fresh.known.jobs = made.known.jobs
    assert post(fresh.client()).status_code == 202
    assert is_problem(post(fresh.client(), other), 409)
    assert not elsewhere.batches


def test_who_came_second_under_a_key_is_told_so() -> None:
    """Two consoles took two contents at once: the ledger solves one, and the other is no result."""
    made, topic = console()
    client = made.client()
    post(client)
    made.known.jobs = Jobs(rows={ID: job(ID, content_hash="call.another")})
    for path in (f"/v1/jobs/{ID}", f"/v1/jobs/{ID}/result"):
        assert is_problem(client.get(path), 409, "came first")
    assert is_problem(post(client), 409)
    assert len(topic.batches) == 1


def test_a_call_that_is_being_taken_is_not_taken_twice() -> None:
    """Whoever sends it again meanwhile is told to wait: only then is its id known to be good."""
    made, _ = console()
    told: list[Any] = []

    class Asked(MemoryTopic):
        """A broker that takes its time, in which the same call comes again."""

        def publish(self, batch: MicroBatch) -> None:
            """Take it, after the other was answered."""
            if not told:
                told.append(None)
                told.append(post(client))
            self.batches.append(batch)

    topic = made.topic = Asked()
    client = made.client()
    assert post(client).status_code == 202
    assert is_problem(told[1], 409, "being taken")
    assert "retry-after" in told[1].headers
    assert len(topic.batches) == 1


@pytest.mark.parametrize(
    "error",
    [TimeoutError("not acknowledged"), KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))],
)
def test_what_is_not_acknowledged_is_not_taken_and_may_be_sent_again(error: Exception) -> None:
    """503 says what sending it again would do, with a key and without; nothing is remembered."""
    made, topic = console()
    topic.fails = error
    client = made.client()
    refused = post(client)
    assert is_problem(refused, 503, "same idempotency-key")
    assert int(refused.headers["retry-after"]) >= 1
    assert is_problem(post(client, headers=BEARER), 503, "may be solved twice")
    assert is_problem(client.get(f"/v1/jobs/{ID}"), 404)
    topic.fails = None
    assert post(client).status_code == 202


def test_so_many_jobs_are_open_at_once() -> None:
    """Those of the ledger and those that no sampler has begun; one that ends makes room."""
    made, topic = console()
    rows = {f"j{n}": job(f"j{n}", state="pending") for n in range(CALLS_OPEN_MAX - 1)}
    made.known.jobs = Jobs(rows=rows)
    client = made.client()
    assert post(client).status_code == 202
    full = post(client, headers=BEARER)
    assert is_problem(full, 503, "not over")
    assert int(full.headers["retry-after"]) >= 1
    assert post(client).status_code == 202  # which is no other job
    made.known.jobs = Jobs(rows=rows | {"j0": job("j0")})
    assert post(client, headers=BEARER).status_code == 202
    assert len(topic.batches) == 2


def test_calls_are_bounded_in_rate_and_size_and_need_the_token() -> None:
    """Beyond the burst 429 with Retry-After; a body of its own size; nobody without the token."""
    made, topic = console()
    client = made.client()
    assert is_problem(post(client, headers={}), 401)
    large = b" " * (CALL_BYTES_MAX + 1)
    headers = BEARER | {"content-type": "application/json"}
    assert is_problem(client.post("/v1/jobs", content=large, headers=headers), 413)
    for _ in range(int(CALLS[1]) - 2):
        assert is_problem(post(client, {"problems": []}), 400, "wanted 1 to 64")
    refused = post(client)
    assert is_problem(refused, 429, "call")
    assert "retry-after" in refused.headers
    assert not topic.batches


def test_a_call_may_be_larger_than_an_action() -> None:
    """As many problems as a pipeline allows, of as many nodes, all of them tied."""
    made, topic = console()
    edges = [[i, j, 0.5] for i in range(12) for j in range(i)]
    problems = [{"nodes": [f"{n}-{i}" for i in range(12)], "edges": edges} for n in range(64)]
    body = {"problems": problems}
    assert 50_000 < len(msgspec.json.encode(body)) < CALL_BYTES_MAX
    assert post(made.client(), body).status_code == 202
    assert len(topic.batches[0].problems) == 64


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"problems": [RING | {"edges": [[0, 3, 0.5]]}]}, 400, "problems[0].edges[0]: there is"),
        ({"problems": [RING | {"edges": [[0, 1]]}]}, 422, "$.problems[0].edges[0]"),
        ({"problems": [RING | {"nodes": ["a", "b", ""]}]}, 422, "$.problems[0].nodes[2]"),
        ({"problems": [RING], "shard": "eu"}, 422, "shard"),
    ],
)
def test_a_body_that_is_no_call_is_told_what_is_wrong_and_where(
    body: Any, status: int, said: str
) -> None:
    """What its shape shows by 422, what it means by 400; neither reaches the topic."""
    made, topic = console()
    assert is_problem(post(made.client(), body), status, said)
    assert not topic.batches


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x01b"])
def test_a_key_is_a_short_printable_text(key: str) -> None:
    """An empty one is a mistake, and not no key."""
    made, _ = console()
    headers = [(b"idempotency-key", key.encode()), (b"authorization", f"Bearer {TOKEN}".encode())]
    answer = made.client().post("/v1/jobs", json=BODY, headers=headers)
    assert is_problem(answer, 400, "idempotency-key")


def test_only_a_console_of_a_pipeline_of_calls_takes_them() -> None:
    """Another pipeline's micro-batches are its window stage's log: 409 says what to do."""
    client = Console().client()
    assert is_problem(post(client), 409, "[calls]")


def test_a_console_that_has_not_read_the_ledger_takes_none() -> None:
    """It could not tell another content under the key from the first."""
    made, topic = console()
    made.known.is_started = False
    assert is_problem(post(made.client()), 503, "ledger")
    assert not topic.batches


class Cached:
    """A cache that has of each node what a test says: a job's value, or a verdict without one."""

    def __init__(self, of: Mapping[str, str | Verdict], computed_ms: int = NOW_MS) -> None:
        self._of, self._computed_ms = of, computed_ms

    def read_many(self, wanted: list[tuple[str, str, str]]) -> list[Features]:
        """What is there."""
        return [self._one(kind, id_, self._of[id_]) for kind, id_, _ in wanted]

    def _one(self, kind: str, id_: str, held: str | Verdict) -> Features:
        common = {"kind": kind, "id": id_, "group": "ring", "age_ms": 0, "half_life_ms": 1}
        if isinstance(held, Verdict):
            return msgspec.convert(common | {"verdict": held}, Features, from_attributes=True)
        share = {"membership": 0.75, "membership_low": 0.7, "membership_high": 0.8, "entropy": 3.0}
        value = FeatureUpdate(
            version=0, pipeline="calls", entity=kind, id=id_, group="ring", subgraph="s",
            event_time_ms=0, computed_at_ms=self._computed_ms,
            estimates=dict.fromkeys(("quantum", "classical", "random"), share),
            source=Source(backend="qsim", micro_batch_id=held, job_id=held),
        )  # fmt: skip
        return Features(
            kind=kind, id=id_, group="ring", age_ms=0, half_life_ms=1, verdict=SUBGRAPH_UNKNOWN,
            computed_at_ms=self._computed_ms, raw=msgspec.json.encode(value),
        )  # fmt: skip


def answered(**changes: Any) -> JobEvent:
    """The transition that bears the answer of the job."""
    known: dict[str, Any] = {
        "job_id": ID, "pipeline": "calls", "shard": "s", "attempt": 1, "at_ms": NOW_MS,
        "event": "SamplesReceived", "state_before": JobState.EXECUTING,
        "state_after": JobState.SUCCEEDED, "seeds": (7,), "circuit_hashes": ("c1",),
        "differences": {f"{ID}|0": {"energy_gap": 0.0}}, "calibration_id": "cal",
        "run": JobRun(problem_kind="ring", template="qaoa", template_version=1, layers=2,
                      shots=1_000),
    }  # fmt: skip
    return JobEvent(**known | changes)


def over(
    of: Mapping[str, str | Verdict], *, computed_ms: int = NOW_MS, **changes: Any
) -> tuple[TestClient, Console]:
    """A console whose one call is over, and whose cache holds that of its nodes."""
    made, topic = console()
    client = made.client()
    post(client)
    row: dict[str, Any] = {
        "content_hash": topic.batches[0].content_hash, "problems": 1, "chosen": "qsim",
        "updated_ms": NOW_MS,
    }  # fmt: skip
    made.known.jobs = Jobs(rows={ID: job(ID, **row | changes)})
    made.features = Cached(of, computed_ms)
    made.history = lambda _: [answered()]
    made.micro_batch = lambda _: topic.batches[0]
    return made.client(), made


def test_a_result_is_the_jobs_own_values_and_its_record() -> None:
    """By node and path with intervals; seed, shots, circuit and differences as on record."""
    client, _ = over(dict.fromkeys("abc", ID))
    told = client.get(f"/v1/jobs/{ID}/result").json()
    assert (told["state"], told["asked"], told["provider"]) == ("succeeded", "qsim", "qsim")
    assert (told["shots"], told["calibration_id"], told["complete"]) == (1_000, "cal", True)
    [problem] = told["problems"]
    assert (problem["seed"], problem["circuit_hash"]) == (7, "c1")
    assert problem["differences"] == {"energy_gap": 0.0}
    assert [node["id"] for node in problem["nodes"]] == ["a", "b", "c"]
    shown = {"membership": 0.75, "membership_low": 0.7, "membership_high": 0.8}
    assert problem["nodes"][0]["estimates"] == dict.fromkeys(
        ("quantum", "classical", "random"), shown
    )


def test_what_a_later_job_has_found_is_named_and_not_shown() -> None:
    """A node that was superseded or is too old has no value here, and says why."""
    client, _ = over({"a": ID, "b": "calls|k-later|0|0", "c": TOO_OLD})
    told = client.get(f"/v1/jobs/{ID}/result").json()
    assert told["complete"] is False
    _, b, c = told["problems"][0]["nodes"]
    assert (b["missing"], b["superseded_by"], b["estimates"]) == (
        "superseded", "calls|k-later|0|0", {},
    )  # fmt: skip
    assert (c["missing"], c["superseded_by"]) == ("too_old", "")
    client, _ = over({"a": "later", "b": "later", "c": TOO_OLD})
    gone = client.get(f"/v1/jobs/{ID}/result")
    assert is_problem(gone, 410, "/v1/drawn/")
    assert "2 superseded, 1 too_old" in gone.json()["detail"]


@pytest.mark.parametrize("held", ["calls|k-before|0|0", NEVER_SEEN])
def test_a_value_on_its_way_to_the_cache_is_waited_for_so_long(held: str | Verdict) -> None:
    """What a job before has found is no word of this one; after half a minute nothing will come."""
    of: dict[str, str | Verdict] = {"a": held, "b": ID, "c": ID}
    client, _ = over(of, computed_ms=NOW_MS - 1)
    assert client.get(f"/v1/jobs/{ID}/result").status_code == 202
    late = NOW_MS - PROJECTED_MS
    client, _ = over(of, computed_ms=late - 1, updated_ms=late)
    [problem] = client.get(f"/v1/jobs/{ID}/result").json()["problems"]
    assert problem["nodes"][0]["missing"] == "not_in_cache"


def test_a_job_that_failed_or_fell_back_has_no_result_of_what_was_asked() -> None:
    """409 says what it fell back to; whoever takes that says so, and is told whose it is."""
    own = dict.fromkeys("abc", ID)
    client, _ = over(own, state="failed", detail="qsim: quota")
    assert is_problem(client.get(f"/v1/jobs/{ID}/result"), 409, "qsim: quota")
    fell: dict[str, Any] = {"state": "fallback_complete", "provider": "exact", "detail": "late"}
    client, _ = over(own, **fell)
    refused = client.get(f"/v1/jobs/{ID}/result")
    assert is_problem(refused, 409, "from qsim to exact (late)")
    told = client.get(f"/v1/jobs/{ID}/result?fallback=true").json()
    assert (told["state"], told["asked"], told["provider"]) == (
        "fallback_complete", "qsim", "exact",
    )  # fmt: skip
    assert is_problem(client.get(f"/v1/jobs/{ID}/result?fallback=yes"), 400)
    client, _ = over(own, check_of="calls|k-1|0|0")
    assert is_problem(client.get(f"/v1/jobs/{ID}/result"), 409, "spot check")


def test_what_a_result_is_made_of_may_be_away_or_gone() -> None:
    """The cache, the record of the answer, the micro-batch: each is a problem of its own."""
    own = dict.fromkeys("abc", ID)
    client, _ = over(dict.fromkeys("abc", UNAVAILABLE))
    assert is_problem(client.get(f"/v1/jobs/{ID}/result"), 503, "cache")
    client, made = over(own)
    made.history = lambda _: []
    assert is_problem(made.client().get(f"/v1/jobs/{ID}/result"), 410, "sampling.job-events")
    made.history = lambda _: [answered(withheld="a newer window has published")]
    assert is_problem(made.client().get(f"/v1/jobs/{ID}/result"), 409, "a newer window")
    made.history, made.micro_batch = lambda _: [answered()], lambda _: None
    assert is_problem(made.client().get(f"/v1/jobs/{ID}/result"), 410, "sampling.micro-batches")
