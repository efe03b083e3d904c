"""The HTTP API, asked as a client asks it, over hand-made state."""

import json
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException

from enrichment.console.access import COOKIE, CSRF_HEADER
from enrichment.console.commands import Said
from enrichment.console.endpoints import ENDPOINTS
from enrichment.console.folds import Cases, JobRow, Jobs
from enrichment.console.limits import BODY_BYTES_MAX, LOOKUPS, QUERY_BYTES_MAX
from enrichment.records import CaseStatus, JobEvent
from tests.console.desks import JOB, TOKEN, Console, case, gauged, job, killed

BEARER = {"authorization": f"Bearer {TOKEN}"}
KILL = {"by": "kim", "reason": "incident 42"}


def is_problem(response: Any, status: int, word: str = "") -> bool:
    """Whether the answer is a problem of that status, and says that word."""
    body = response.json()
    return (
        response.status_code == body["status"] == status
        and response.headers["content-type"] == "application/problem+json"
        and word in body["detail"]
    )


def test_features_come_with_their_verdict() -> None:
    """An entity's groups are read from the cache, each with why it may or may not be trusted."""
    client = Console().client()
    told = client.get("/v1/features/payments/account/42").json()
    assert [one["group"] for one in told["groups"]] == ["graph", "ring"]
    assert told["groups"][0]["verdict"] == {"name": "missing", "reason": "never_seen"}
    only = client.get("/v1/features/payments/account/a/b", params={"group": "ring"}).json()
    assert (only["id"], [one["group"] for one in only["groups"]]) == ("a/b", ["ring"])


def test_what_there_is_not_is_a_problem_that_says_what_there_is() -> None:
    """Unknown pipelines, entities, groups, jobs and cases are 404 or 400, with a hint."""
    client = Console().client()
    assert is_problem(client.get("/v1/features/cards/account/42"), 404, "payments")
    assert is_problem(client.get("/v1/features/payments/acount/42"), 404, "account")
    wrong = client.get("/v1/features/payments/account/42", params={"group": "rings"})
    assert is_problem(wrong, 400, "ring")
    assert is_problem(client.get("/v1/jobs/payments|eu|1|0"), 404, "ledger")
    assert is_problem(client.get("/v1/cases/case-9"), 404, "case-9")
    assert is_problem(client.get("/v1/nothing"), 404)
    assert is_problem(client.post("/v1/cases"), 405)
    allowed = client.put("/session").headers["allow"]
    assert set(allowed.replace(" ", "").split(",")) == {"GET", "HEAD", "POST", "DELETE"}


def test_jobs_are_listed_newest_first_and_by_state() -> None:
    """Counts are of all that are kept, `found` of what fits, and a limit cuts the list alone."""
    rows = {
        f"payments|s|{n}|0": job(f"payments|s|{n}|0", state=state, updated_ms=n)
        for n, state in enumerate(["failed", "failed", "succeeded"])
    }
    console = Console()
    console.known.jobs = Jobs(rows=rows, dropped=7)
    told = console.client().get("/v1/jobs", params={"state": "failed", "limit": 1}).json()
    assert told["counts"] == {"failed": 2, "succeeded": 1}
    assert (told["found"], told["dropped"]) == (2, 7)
    assert [one["job_id"] for one in told["jobs"]] == ["payments|s|1|0"]
    assert is_problem(console.client().get("/v1/jobs", params={"limit": "many"}), 400, "limit")
    assert is_problem(console.client().get("/v1/jobs", params={"limit": 501}), 400, "500")


def test_a_job_comes_with_its_transitions() -> None:
    """An id with slashes and bars is one path parameter; its history is asked for by its entry."""
    asked: list[JobRow] = []

    def history(row: JobRow) -> list[JobEvent]:
        asked.append(row)
        return []

    told = Console(history=history).client().get(f"/v1/jobs/{JOB}").json()
    assert told["job"]["job_id"] == JOB
    assert asked == [job()]


def test_cases_are_a_work_list() -> None:
    """Open ones with the most at risk first; found by member and by what ties them."""
    console = Console()
    console.known.cases = Cases(
        rows={
            "done": case("done", status=CaseStatus.CONFIRMED, amount_at_risk_minor=10**9),
            "small": case("small", amount_at_risk_minor=1),
            "large": case("large", amount_at_risk_minor=2),
        }
    )
    client = console.client()
    told = client.get("/v1/cases").json()
    assert [one["case_id"] for one in told["cases"]] == ["large", "small", "done"]
    assert told["cases"][0]["highest"] == {"quantum": 0.9}
    assert client.get("/v1/cases", params={"member": "acc-1"}).json()["found"] == 3
    assert client.get("/v1/cases", params={"member": "acc-9"}).json()["found"] == 0
    assert client.get("/v1/cases", params={"status": "confirmed"}).json()["found"] == 1


def test_a_case_that_was_taken_in_is_found_in_the_other() -> None:
    """Whoever kept the old id is told the new one."""
    told = Console().client().get("/v1/cases/case-0").json()
    assert (told["case"]["case_id"], told["taken_in_by"]) == ("case-1", "case-1")


def test_the_rollout_says_what_caps_it_and_on_whose_word() -> None:
    """The kill switch is seen with its reason, in the API and on the board."""
    console = Console()
    console.known.controls = killed()
    client = console.client()
    told = client.get("/v1/rollout").json()
    assert told["serve"] == "heuristic"
    assert told["caps"][0]["reason"] == "incident 42"
    assert not any(path["serves"] for path in told["paths"])
    assert client.get("/v1/board").json()["rollout"] == told


def test_the_flow_is_told_with_what_it_is_a_sample_of() -> None:
    """Rates between two readings, lag of what is late, and the window's as held."""
    console = Console()
    console.known.gauged = gauged()
    told = console.client().get("/v1/flow").json()
    enrich, window = told["flow"]["stages"]
    assert (enrich["per_s"], enrich["lag"], enrich["held"]) == (1_000.0, 100, None)
    assert (window["lag"], window["held"]) == (None, 10)
    assert told["flow"]["topics"]["payments.events"] == {"per_s": 1_000.0, "end": 3_000}
    fresh = {"kind": "account", "group": "ring", "sampled": 2, "verdicts": {"fresh": 2}}
    assert told["answers"]["freshness"] == [fresh | {"age_p50_ms": 200.0}]


def test_an_event_is_what_the_lineage_command_says_of_it() -> None:
    """Its arguments are one each, the id behind `--`; a difference found is shown, not an error."""
    console = Console()
    client = console.client()
    console.commands.says = Said(code=3, out=b'{"records": []}', error="")
    assert client.get("/v1/events/-e/1", params={"account": "--x"}).json() == {"records": []}
    assert console.commands.asked == [
        ("lineage", "--pipeline=payments", "--json", "--account=--x", "--", "-e/1")
    ]
    console.commands.says = Said(code=2, out=b"", error="there is no event '5'")
    assert is_problem(client.get("/v1/events/5"), 404, "no event '5'")
    console.commands.says = Said(code=1, out=b"", error="Kafka does not answer")
    assert is_problem(client.get("/v1/events/5"), 502, "Kafka")


def test_a_job_is_drawn_once_while_it_stays_as_it_is() -> None:
    """Seconds of computing are kept; a job that has not ended cannot be drawn."""
    console = Console()
    client = console.client()
    console.commands.says = Said(code=3, out=b'{"problem": {"number": 2}}', error="")
    assert client.get(f"/v1/drawn/{JOB}").json() == client.get(f"/v1/drawn/{JOB}").json()
    assert len(console.commands.asked) == 1
    assert is_problem(client.get(f"/v1/circuits/{JOB}?problem=2"), 404, "no circuit")
    assert len(console.commands.asked) == 1
    console.known.jobs = Jobs(rows={JOB: job(state="executing")})
    assert is_problem(client.get(f"/v1/drawn/{JOB}"), 409, "executing")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, BEARER])
def test_without_a_token_the_console_does_nothing(headers: dict[str, str]) -> None:
    """Read-only is what it is by default, whatever anybody shows."""
    console = Console(token=None)
    client = console.client()
    assert is_problem(client.post("/v1/rollout/kill", json=KILL, headers=headers), 403)
    assert is_problem(client.post("/session", json={"token": TOKEN}), 403)
    assert not console.commands.asked


def test_every_action_asks_for_the_token() -> None:
    """No action of the table is open, whatever its body."""
    console = Console()
    actions = [one for one in ENDPOINTS if one.cost.value in {"action", "call"}]
    assert {one.path for one in actions} == {
        one.path for one in ENDPOINTS if one.method == "POST" and one.path != "/session"
    }
    for one in actions:
        client = console.client()
        assert is_problem(client.post(one.path, json={}), 401)
        for wrong in ("Bearer wrong", f"Basic {TOKEN}"):
            shown = {"authorization": wrong}
            assert is_problem(client.post(one.path, json={}, headers=shown), 401)
    assert not console.commands.asked


def test_a_program_acts_by_the_very_commands() -> None:
    """The kill switch, an order and a verdict become commands whose texts are one argument each."""
    console = Console()
    client = console.client()
    client.headers.update(BEARER)
    assert client.post("/v1/rollout/kill", json=KILL).json() == {"done": "so"}
    order = {"job_id": JOB, "order": "retry", "by": "kim", "reason": "--yes"}
    assert client.post("/v1/orders", json=order).status_code == 200
    verdict = {"case_id": "-c", "verdict": "dismiss", "by": "kim", "note": "a family"}
    assert client.post("/v1/verdicts", json=verdict).status_code == 200
    assert client.post("/v1/rollout/restore", json=KILL).status_code == 200
    kill, retry, dismiss, restore = console.commands.asked
    assert kill[:4] == ("rollout", "kill", "--pipeline=payments", "--path=classical")
    assert (retry[1], retry[3], retry[-2:]) == ("retry", "--reason=--yes", ("--", JOB))
    assert dismiss[:2] == ("cases", "dismiss")
    assert dismiss[-2:] == ("--", "-c")
    assert restore[:2] == ("rollout", "restore")


def test_what_a_command_refuses_is_refused() -> None:
    """Exit codes become statuses: refused, not yet heard, misuse, and servers that are away."""
    console = Console()
    client = console.client()
    client.headers.update(BEARER)
    order = {"job_id": JOB, "order": "cancel", "by": "kim", "reason": "test"}
    for code, out, error, status in (
        (3, b'{"counts": {"refused": 1}}', "", 409),
        (4, b'{"counts": {"unheard": 1}}', "", 202),
        (2, b"", "cannot cancel: it is succeeded", 409),
        (1, b"", "Kafka does not answer", 502),
    ):
        console.commands.says = Said(code=code, out=out, error=error)
        assert client.post("/v1/orders", json=order).status_code == status
    unknown = client.post("/v1/orders", json=order | {"job_id": "cards|eu|1|0"})
    assert is_problem(unknown, 404, "payments")


def test_a_page_acts_with_its_session_and_its_word() -> None:
    """A cookie alone is not enough: another site's page could have the browser send it."""
    console = Console()
    client = console.client()
    assert is_problem(client.post("/session", json={"token": TOKEN[::-1]}), 401)
    signed = client.post("/session", json={"token": TOKEN})
    cookie = signed.headers["set-cookie"].lower()
    assert COOKIE in cookie
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    csrf = signed.json()["csrf"]
    assert is_problem(client.post("/v1/rollout/kill", json=KILL), 403, CSRF_HEADER)
    other = {CSRF_HEADER: csrf, "origin": "http://evil.example"}
    assert is_problem(client.post("/v1/rollout/kill", json=KILL, headers=other), 403, "site")
    own = {CSRF_HEADER: csrf, "origin": "http://127.0.0.1"}
    assert client.post("/v1/rollout/kill", json=KILL, headers=own).status_code == 200
    assert client.get("/session").json() == {"can_act": True, "signed_in": True, "csrf": csrf}
    console.now_s += 9 * 3_600
    assert is_problem(client.post("/v1/rollout/kill", json=KILL, headers=own), 401)
    assert client.delete("/session").json()["signed_in"] is False


def test_bodies_are_bounded_in_size_depth_and_shape() -> None:
    """What is too large, too deep, of another type, or holds what we know not, is refused."""
    client = Console().client()
    client.headers.update(BEARER)
    where = "/v1/rollout/kill"
    json_type = {"content-type": "application/json"}
    assert is_problem(client.post(where, content=b"x=1"), 415)
    large = b'"' + b"x" * BODY_BYTES_MAX + b'"'
    assert is_problem(client.post(where, content=large, headers=json_type), 413)
    deep = b"[" * 9 + b"]" * 9
    assert is_problem(client.post(where, content=deep, headers=json_type), 400, "deeper")
    assert is_problem(client.post(where, content=b"{", headers=json_type), 400, "JSON")
    assert is_problem(client.post(where, content=b'{"\xff', headers=json_type), 400)
    client = Console().client()
    client.headers.update(BEARER)
    assert is_problem(client.post(where, json=KILL | {"force": True}), 422, "force")
    assert is_problem(client.post(where, json=KILL | {"by": ""}), 422)
    assert is_problem(client.post(where, json=KILL | {"by": "a\x00b"}), 422)
    assert is_problem(client.post(where, json=KILL | {"reason": "x" * 501}), 422)


def test_ids_and_queries_are_bounded() -> None:
    """An id that can be nobody's reaches no command and no cache."""
    console = Console()
    client = console.client()
    assert is_problem(client.get("/v1/events/" + "x" * 513), 400, "512")
    assert is_problem(client.get("/v1/events/a%00b"), 400, "control")
    assert is_problem(client.get("/v1/events/"), 404)
    assert is_problem(client.get("/v1/jobs?x=" + "y" * QUERY_BYTES_MAX), 414)
    assert not console.commands.asked


def test_a_client_that_asks_too_often_is_told_when_to_come_back() -> None:
    """Each kind of request has its own rate; time makes it whole again."""
    console = Console()
    client = console.client()
    for _ in range(int(LOOKUPS[1])):
        assert client.get("/v1/events/5").status_code == 200
    refused = client.get("/v1/events/5")
    assert is_problem(refused, 429, "lookup")
    assert int(refused.headers["retry-after"]) >= 1
    assert client.get("/v1/jobs").status_code == 200
    console.now_s += 1 / LOOKUPS[0]
    assert client.get("/v1/events/5").status_code == 200


def test_another_name_of_our_address_is_not_answered() -> None:
    """A page that resolves its own name to us learns nothing; a probe comes by address."""
    client = Console().client()
    assert is_problem(client.get("/v1/jobs", headers={"host": "evil.example"}), 421)
    assert client.get("/healthz/live", headers={"host": "10.0.0.7:8180"}).status_code == 200
    assert client.get("/v1/jobs", headers={"host": "127.0.0.1:8180"}).status_code == 200
    any_name = Console(hosts=("*",)).client()
    assert any_name.get("/v1/jobs", headers={"host": "console.example"}).status_code == 200


def test_probes_tell_the_truth() -> None:
    """A broker that is away makes us unready, and no restart would help; nor before the start."""
    console = Console()
    client = console.client()
    probes = ("live", "ready", "startup")

    def statuses() -> list[int]:
        return [client.get(f"/healthz/{probe}").status_code for probe in probes]

    assert statuses() == [200, 200, 200]
    console.known.troubles = {"sampling.jobs": "not followed now"}
    assert statuses() == [200, 503, 200]
    assert client.get("/healthz/ready").json()["trouble"] == console.known.troubles
    console.known.is_started = False
    assert statuses() == [200, 503, 503]
    console.known.is_alive = False
    assert statuses() == [503, 503, 503]


def test_nothing_may_be_framed_run_or_kept() -> None:
    """Every answer, a problem too, bears the headers that bind a browser."""
    client = Console().client()
    for path in ("/", "/page/console.js", "/v1/jobs", "/v1/nothing", "/healthz/live"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] in {"no-store", "no-cache"}
        assert "access-control-allow-origin" not in headers


def test_kafka_away_and_our_own_mistakes_are_problems() -> None:
    """What cannot be answered is said as such, and a mistake's words stay in the log."""

    def away(_: JobRow) -> list[JobEvent]:
        raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN, "all down"))

    def broken(_: JobRow) -> list[JobEvent]:
        raise ZeroDivisionError("secret")

    assert is_problem(Console(history=away).client().get(f"/v1/jobs/{JOB}"), 502, "all down")
    answer = Console(history=broken).client().get(f"/v1/jobs/{JOB}")
    assert is_problem(answer, 500)
    assert "secret" not in answer.text


def test_the_document_describes_what_is_served() -> None:
    """Every endpoint is in it, every reference resolves, and a job's answer fits its schema."""
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    client = Console().client()
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, of in document["paths"].items() for method in of}
    assert described == {(one.method, one.path) for one in ENDPOINTS}
    names = [of["operationId"] for each in document["paths"].values() for of in each.values()]
    assert len(names) == len(set(names))
    resource = Resource.from_contents(
        document | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    )
    registry: Any = Registry().with_resource("urn:api", resource)
    for path, name in (
        (f"/v1/jobs/{JOB}", "JobShown"),
        ("/v1/jobs", "JobsListed"),
        ("/v1/cases/case-1", "CaseShown"),
        ("/v1/board", "Board"),
        ("/v1/features/payments/account/42", "FeaturesShown"),
        ("/v1/nothing", "ProblemBody"),
    ):
        schema = {"$ref": f"urn:api#/components/schemas/{name}"}
        Draft202012Validator(schema, registry=registry).validate(client.get(path).json())
    for text in json.dumps(document).split('"$ref": "')[1:]:
        name = text.split('"', 1)[0].rpartition("/")[2]
        assert name in document["components"]["schemas"]


def test_the_board_is_encoded_once_for_all_who_follow() -> None:
    """Within a second everybody is told by the same bytes; then by new ones."""
    console = Console()
    client = console.client()
    first = client.get("/v1/board").content
    console.known.jobs = Jobs()
    assert client.get("/v1/board").content == first
    console.now_s += 1
    assert msgspec.json.decode(client.get("/v1/board").content)["jobs"] == []
