"""What the console remembers of topics, and how often it lets itself be asked: bounded, exact."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from enrichment.console.access import Access, Shown
from enrichment.console.answers import AnswersSample
from enrichment.console.flow import Flow, Reading, flow_of
from enrichment.console.folds import ENDED, CasesFold, ControlsFold, JobsFold
from enrichment.console.limits import HISTORY_POINTS, SESSION_S, SESSIONS_MAX
from enrichment.console.rates import Limiter
from enrichment.records import Control, JobState
from tests.console.desks import TOKEN, case, job, killed

READS = {"enrich": "in", "window": "digests"}


def job_record(number: int, state: str = "succeeded") -> tuple[bytes, bytes]:
    """One ledger entry as it travels, with a payload that nobody is to parse."""
    job_id = f"payments|s|{number}|0"
    fields = msgspec.to_builtins(job(job_id, state=state)) | {"micro_batch": {"problems": [1]}}
    return job_id.encode(), msgspec.json.encode(fields)


def test_the_newest_entry_of_a_job_counts_and_a_tombstone_ends_it() -> None:
    """As the ledger is compacted; jobs of other pipelines are not held."""
    fold = JobsFold("payments")
    assert fold.take([job_record(1, "pending"), job_record(1, "failed"), job_record(2)]) == []
    assert [row.state for row in fold.state.rows.values()] == ["failed", "succeeded"]
    fold.take([(b"payments|s|1|0", None), (b"cards|s|3|0", job_record(3)[1]), (None, b"{}")])
    assert list(fold.state.rows) == ["payments|s|2|0"]


def test_a_state_that_was_handed_out_never_changes() -> None:
    """A request that is being answered is not pulled from under its feet."""
    fold = JobsFold("payments")
    before = fold.state
    fold.take([job_record(1)])
    assert not before.rows
    assert fold.state is fold.state
    assert fold.state is not before


def test_too_many_jobs_drop_the_ended_ones_first() -> None:
    """Memory is bounded, and what still goes on is the last to be forgotten."""
    fold = JobsFold("payments", kept=2)
    fold.take([job_record(1, "executing"), job_record(2), job_record(3), job_record(4)])
    assert [row.job_id for row in fold.state.rows.values()] == ["payments|s|1|0", "payments|s|4|0"]
    assert fold.state.dropped == 2
    fold.take([job_record(number, "pending") for number in range(5, 8)])
    assert len(fold.state.rows) == 2


def test_what_is_no_record_is_said_and_takes_the_place_of_none() -> None:
    """Others may publish anything: the console goes on, and says what it left out."""
    jobs, cases, controls = JobsFold("payments"), CasesFold("payments"), ControlsFold("payments")
    assert "not a job" in jobs.take([(b"payments|s|1|0", b"{")])[0]
    assert "not a case" in cases.take([(b"payments|c", b'{"case_id": 1}')])[0]
    assert controls.take([(b"payments|serve", b"{}")]) == []
    assert not jobs.state.rows
    assert not cases.state.rows
    assert list(controls.state.malformed) == ["payments|serve"]


def test_cases_and_controls_are_the_newest_of_each_key() -> None:
    """Cases of the pipeline; controls of it and of all."""
    cases = CasesFold("payments", kept=1)
    value = msgspec.json.encode(case())
    cases.take([(b"payments|case-1", value), (b"cards|case-1", value)])
    assert list(cases.state.rows) == ["case-1"]
    cases.take([(b"payments|case-2", msgspec.json.encode(case("case-2")))])
    assert (list(cases.state.rows), cases.state.dropped) == (["case-2"], 1)
    cases.take([(b"payments|case-2", None)])
    assert not cases.state.rows
    controls = ControlsFold("payments", kept=2)
    [control] = killed().rows.values()
    every: Control = msgspec.structs.replace(control, pipeline="*")
    other: Control = msgspec.structs.replace(control, pipeline="cards")
    told = [
        (f"{one.pipeline}|serve".encode(), msgspec.json.encode(one))
        for one in (control, every, other)
    ]
    assert controls.take(told) == []
    assert list(controls.state.rows) == ["payments|serve", "*|serve"]
    third: Control = msgspec.structs.replace(control, name="more")
    assert "more than 2" in controls.take([(b"payments|more", msgspec.json.encode(third))])[0]


def test_the_machine_and_the_console_end_jobs_in_the_same_states() -> None:
    """The console imports no stage: that its table is the machine's is known by this test."""
    from enrichment.sample.machine import TERMINAL

    assert {state.value for state in TERMINAL} == ENDED
    assert {state.value for state in JobState} > ENDED


def test_rates_are_of_what_both_readings_know() -> None:
    """A new partition, a topic made anew and a first reading give no false rate."""
    before = Reading(at_s=0.0, ends={"in": {0: 100, 1: 500}}, committed={"enrich": {0: 90}})
    now = Reading(
        at_s=2.0,
        ends={"in": {0: 300, 1: 0, 2: 40}, "digests": {0: 9}},
        committed={"enrich": {0: 290, 2: 10}},
    )
    first = flow_of(None, before, READS, None)
    assert first.topics == {"in": None}
    flow = flow_of(before, now, READS, first)
    assert flow.topics == {"in": 100.0, "digests": None}
    enrich, window = flow.stages
    assert (enrich.per_s, enrich.lag) == (100.0, 40)
    assert (window.per_s, window.lag, window.held) == (None, None, None)
    assert flow.history == ((100.0, 100.0),)


def test_a_transactions_marker_is_no_lag() -> None:
    """Stages that read what was written in transactions rest one offset before the end."""
    reads = {"enrich": "in", "sample": "batches"}
    now = Reading(
        at_s=1.0,
        ends={"in": {0: 10}, "batches": {0: 11, 1: 13}},
        committed={"enrich": {0: 9}, "sample": {0: 10, 1: 10}},
    )
    enrich, sample = flow_of(None, now, reads, None).stages
    assert (enrich.lag, sample.lag) == (1, 3)


def test_the_history_is_bounded() -> None:
    """A console that runs for months holds three minutes of rates."""
    flow: Flow | None = None
    before: Reading | None = None
    for second in range(HISTORY_POINTS + 5):
        now = Reading(at_s=float(second), ends={"in": {0: second * 10}})
        flow, before = flow_of(before, now, READS, flow), now
    assert flow is not None
    assert len(flow.history) == HISTORY_POINTS
    assert flow.history[-1] == (10.0, 0.0)


def test_the_sample_forgets_what_is_a_minute_old() -> None:
    """Shares are of the last readings alone, and what cannot be read is counted."""
    answer = (
        b'{"verdict":{"name":"%s"},"path":"heuristic","decision":"approve","level":"normal",'
        b'"features":[{"kind":"account","group":"graph","verdict":{"name":"%s"},"age_ms":7}]}'
    )
    sample = AnswersSample(points=2)
    sample.take([answer % (b"fresh", b"fresh"), b"{"])
    sample.take([answer % (b"missing", b"missing")])
    shares = sample.shares()
    assert (shares.sampled, shares.unreadable) == (2, 1)
    assert shares.verdicts == {"fresh": 1, "missing": 1}
    [group] = shares.freshness
    assert (group.sampled, group.age_p50_ms) == (2, 7.0)
    sample.take([])
    sample.take([])
    assert sample.shares().sampled == 0


@given(st.lists(st.floats(0, 5), max_size=60))
def test_nobody_gets_more_than_the_rate_and_the_burst(pauses_s: list[float]) -> None:
    """Whatever the pace, and a clock that stands still fills nothing."""
    limiter, now_s, passed = Limiter(0.5, 3.0, 10), 0.0, 0
    for pause_s in pauses_s:
        now_s += pause_s
        passed += limiter.wait_s("one", now_s) == 0.0
    assert passed <= 3 + 0.5 * now_s + 1e-9


def test_whoever_waits_as_long_as_told_is_let_in() -> None:
    """What is said with 429 is true, and one client's rate is not another's."""
    limiter = Limiter(0.5, 1.0, 2)
    assert limiter.wait_s("one", 0.0) == 0.0
    wait_s = limiter.wait_s("one", 0.0)
    assert wait_s == 2.0
    assert limiter.wait_s("two", 0.0) == 0.0
    assert limiter.wait_s("one", wait_s) == 0.0


def test_no_more_clients_are_remembered_than_said() -> None:
    """Addresses are for free: a table of all of them would be an attack of its own."""
    limiter = Limiter(1.0, 1.0, 3)
    for number in range(100):
        limiter.wait_s(f"client {number}", 0.0)
    assert len(limiter._buckets) == 3


def test_sessions_are_bounded_and_end() -> None:
    """The oldest makes room, a shift ends one, and signing out ends one at once."""
    secrets = iter(range(10_000))
    access = Access(TOKEN, new_secret=lambda: str(next(secrets)))
    first = access.sign_in(TOKEN, 0.0)
    assert first is not None
    assert access.session(first.session_id, SESSION_S - 1) == first
    assert access.session(first.session_id, SESSION_S) is None
    made = [access.sign_in(TOKEN, 0.0) for _ in range(SESSIONS_MAX + 1)]
    assert made[0] is not None
    assert access.session(made[0].session_id, 0.0) is None
    last = made[-1]
    assert last is not None
    shown = Shown(cookie=last.session_id, csrf=last.csrf, origin="http://h:1", host="h:1")
    assert access.refusal(shown, 0.0) is None
    access.sign_out(last.session_id)
    refusal = access.refusal(shown, 0.0)
    assert refusal is not None
    assert refusal.status == 401
