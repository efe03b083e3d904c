"""What is in force: the same in every process, whatever order and compaction made of the topic."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.records import Control, FeatureUpdate, Source
from enrichment.rollout import control as rollout
from enrichment.rollout.control import (
    FOREVER_MS,
    RECORDS_MAX,
    VALUE_MAX,
    WITHDRAWALS_MAX,
    ControlFold,
    ControlState,
    MalformedControlError,
    Withdrawals,
    in_force,
    parsed,
)
from tests.feature.cached import NOW_MS, ring, update
from tests.rollout.controls import ISSUED_MS, control, record, tombstone

JOB = control("withdraw.job.j1", job_id="j1")
CALIBRATION = control("withdraw.calibration.c1", calibration_id="c1")
PAST = control("withdraw.until", until_ms=NOW_MS)
ALL = control("withdraw.all", everything=True)
CURRENT = control(
    "calibration.qsim", backend="qsim", current_calibration_id="c2", calibration_id="c1"
)
EVERYWHERE = control("withdraw.all", pipeline="*", everything=True)


def sampled(
    job: str = "j9",
    calibration: str = "",
    at_ms: int = NOW_MS,
    *,
    backend: str = "qsim",
    kept: str = "",
) -> FeatureUpdate:
    """A ring of that job, of samples that it drew or another did."""
    source = Source(
        backend=backend,
        micro_batch_id="m",
        job_id=job,
        calibration_id=calibration,
        kept_job_id=kept,
    )
    return msgspec.structs.replace(ring("account", "a1", 0.5, at_ms=at_ms), source=source)


GRAPH = update("account", "a1", "graph")


def folded(*records: tuple[bytes | None, bytes | None]) -> ControlState:
    """The state after these records, of which nothing need be said."""
    fold = ControlFold("payments")
    assert fold.take(records) == []
    return fold.state


def covered(state: ControlState, value: FeatureUpdate) -> bool:
    """Whether the value is withdrawn."""
    return state.withdrawals is not None and state.withdrawals.covers(value)


@pytest.mark.parametrize(
    ("given_", "gone", "kept"),
    [
        (JOB, [sampled("j1")], [sampled("j2"), GRAPH, sampled("")]),
        (JOB, [sampled("j2", kept="j1")], [sampled("j2", kept="j3")]),
        (
            CURRENT,
            [sampled(calibration="c1"), sampled(calibration="c0")],
            [
                sampled(calibration="c2"),
                sampled(),
                sampled(calibration="c3", backend="other"),
                GRAPH,
            ],
        ),
        (CALIBRATION, [sampled("j2", "c1")], [sampled("j2", "c2"), sampled(), GRAPH]),
        (PAST, [sampled(), GRAPH, sampled(at_ms=NOW_MS - 1)], [sampled(at_ms=NOW_MS + 1)]),
        (ALL, [sampled(), GRAPH, sampled(at_ms=NOW_MS + 10**9)], []),
        (EVERYWHERE, [sampled(), GRAPH], []),
        (
            control("narrow", calibration_id="c1", until_ms=NOW_MS),
            [sampled("j", "c1")],
            [sampled("j", "c1", NOW_MS + 1), sampled("j", "c2"), GRAPH],
        ),
        (control("other", pipeline="cards", everything=True), [], [sampled(), GRAPH]),
    ],
)
def test_a_withdrawal_covers_what_it_names(
    given_: Control, gone: list[FeatureUpdate], kept: list[FeatureUpdate]
) -> None:
    """A job's and a calibration's rings; a whole past or everything in both groups; no others'."""
    state = folded(record(given_))
    assert all(covered(state, value) for value in gone)
    assert not any(covered(state, value) for value in kept)


def test_a_tombstone_lifts_and_the_newest_record_of_a_key_counts() -> None:
    """What is lifted leaves no trace: the state is that of a topic without it."""
    nothing = folded()
    assert nothing == ControlState(pipeline="payments")
    assert nothing.withdrawals is None
    assert folded(record(JOB), tombstone(JOB)) == nothing
    assert folded(tombstone(JOB)) == nothing
    again = control("withdraw.job.j1", job_id="j2")
    state = folded(record(JOB), record(again))
    assert not covered(state, sampled("j1"))
    assert covered(state, sampled("j2"))


def test_of_two_withdrawals_the_wider_counts() -> None:
    """Whichever comes first, a job withdrawn for good is not narrowed by another record."""
    narrow = control("narrow", job_id="j1", until_ms=5, issued_at_ms=ISSUED_MS + 1)
    for records in ((record(JOB), record(narrow)), (record(narrow), record(JOB))):
        assert covered(folded(*records), sampled("j1"))
    assert folded(record(JOB), record(narrow), tombstone(JOB)).withdrawals == Withdrawals(
        jobs={"j1": 5}
    )


CHANGED = [
    JOB,
    CALIBRATION,
    PAST,
    ALL,
    EVERYWHERE,
    control("a", job_id="j5"),
    control("z", job_id="j0"),
    control("serve", serve="classical"),
    control("serve", serve="quantum"),
    control("serve", pipeline="*", serve="heuristic"),
    control("withdraw.job.j1", job_id="j1", issued_at_ms=ISSUED_MS + 1),
]
CHANGES = st.lists(
    st.builds(
        lambda one, lifted: tombstone(one) if lifted else record(one),
        st.sampled_from(CHANGED),
        st.booleans(),
    ),
    max_size=20,
)


@given(changes=CHANGES, cut=st.integers(0, 20))
def test_compaction_and_batches_change_nothing(
    changes: list[tuple[bytes, bytes | None]], cut: int
) -> None:
    """The newest record of each key, in any batches, gives the state and its revision."""
    whole = ControlFold("payments")
    whole.take(changes)
    halves = ControlFold("payments")
    halves.take(changes[:cut])
    halves.take(changes[cut:])
    newest = dict(changes)
    compacted = ControlFold("payments")
    compacted.take(sorted((key, value) for key, value in newest.items() if value is not None))
    assert whole.state == halves.state == compacted.state
    mirrored = msgspec.json.decode(msgspec.json.encode(whole.state), type=ControlState)
    assert mirrored == whole.state


def test_the_same_state_is_the_same_object() -> None:
    """Whoever compares by identity is told of changes alone; equal revisions mean equal states."""
    fold, revisions = ControlFold("payments"), set[str]()
    fold.take([record(JOB)])
    first = fold.state
    fold.take([record(JOB), record(control("x", pipeline="cards", everything=True)), (b"k", b"")])
    assert fold.state is first
    fold.take([record(CALIBRATION)])
    assert fold.state is not first
    assert fold.state.revision != first.revision
    fold.take([tombstone(CALIBRATION)])
    assert fold.state.revision == first.revision
    assert first.revision != "" == ControlFold("payments").state.revision
    for early, late in (("j1", "j2"), ("j2", "j1")):
        later = control("later", job_id=late, issued_at_ms=ISSUED_MS + 1)
        revisions.add(folded(record(control("sooner", job_id=early)), record(later)).revision)
    assert len(revisions) == 1


def test_of_several_caps_the_lowest_counts() -> None:
    """A weaker one of the pipeline's own, or a newer one, does not undo a kill switch for all."""
    everywhere = control("serve", pipeline="*", serve="heuristic")
    own = control("serve", serve="classical", issued_at_ms=ISSUED_MS + 9)
    assert folded(record(own), record(everywhere)).serve == "heuristic"
    newer = control("serve.b", serve="quantum", issued_at_ms=ISSUED_MS + 10)
    assert folded(record(newer), record(own)).serve == "classical"
    assert folded(record(newer)).serve == "quantum"
    assert folded(record(JOB)).serve == ""


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (b"payments|x", b"junk", "not a control record"),
        (b"payments|x", b"", "not a control record"),
        (b"payments|x", b"{}", "not a control record"),
        (b"payments|x", b" " * (VALUE_MAX + 1), "bytes"),
        (b"payments|x", record(JOB)[1], "the key should be 'payments|withdraw.job.j1'"),
        (*record(control("x")), "nobody"),
        (*record(control("x", job_id="")), "names nothing"),
        (*record(control("x", until_ms=-5)), "names nothing"),
        (*record(control("x", serve="oracle")), "no path 'oracle'"),
    ],
)
def test_what_instructs_nobody_is_skipped_and_said(key: bytes, value: bytes, said: str) -> None:
    """What was in force stays so, and what comes behind it counts."""
    with pytest.raises(MalformedControlError, match=said):
        parsed(key, value)
    fold = ControlFold("payments")
    complaints = fold.take([record(JOB), (key, value), (None, value), record(CALIBRATION)])
    assert len(complaints) == 2
    assert said in complaints[0]
    assert fold.state == folded(record(JOB), record(CALIBRATION))


def test_a_record_without_a_key_is_said() -> None:
    """A compacted topic takes none, but the topic may not always have been one."""
    fold = ControlFold("payments")
    assert fold.take([(None, b"{}"), record(JOB)]) == ["skipped: a control record without a key"]
    assert covered(fold.state, sampled("j1"))


def test_too_many_withdrawals_withdraw_everything() -> None:
    """It is said once, ends when enough are lifted, and needs no memory of their order."""
    many = [control(f"j{n}", job_id=f"j{n}") for n in range(WITHDRAWALS_MAX + 2)]
    fold = ControlFold("payments")
    assert fold.take(record(one) for one in many[:-2]) == []
    assert not covered(fold.state, sampled("fine"))
    [said] = fold.take([record(many[-2])])
    assert "more than 256 withdrawals" in said
    assert fold.take([record(many[-1])]) == []
    assert covered(fold.state, sampled("fine"))
    assert covered(fold.state, GRAPH)
    assert fold.state == in_force("payments", reversed(many))
    assert fold.take([tombstone(many[0])]) == []
    [said] = fold.take([tombstone(many[1])])
    assert "no more than 256" in said
    assert not covered(fold.state, sampled("fine"))
    assert not covered(fold.state, sampled("j1"))
    assert covered(fold.state, sampled("j2"))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what is held at all, everything counts as withdrawn for as long as we live."""
    assert RECORDS_MAX > WITHDRAWALS_MAX
    monkeypatch.setattr(rollout, "RECORDS_MAX", 3)
    many = [control(f"j{n}", job_id=f"j{n}") for n in range(5)]
    fold = ControlFold("payments")
    [said] = fold.take(record(one) for one in many)
    assert "more than 3 control records" in said
    assert fold.state.withdrawals == Withdrawals(until_ms=FOREVER_MS)
    fold.take(tombstone(one) for one in many)
    assert fold.state.withdrawals == Withdrawals(until_ms=FOREVER_MS)
