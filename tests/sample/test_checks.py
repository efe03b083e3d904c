"""Spot checks: a second job that is recorded, never published, and in nobody's way."""

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrichment.provider.contract import Failure, FailureKind
from enrichment.records import Experiment, Job, JobState
from enrichment.sample.choice import CHECK_MS, CHECKS_OPEN_MAX, is_checked
from enrichment.sample.estimate import check_name, differences_of, job_of, request_name
from enrichment.sample.machine import TERMINAL
from enrichment.sample.quarantine import SUSPECT_AT
from enrichment.stream.topics import CASES, FEATURES, JOBS
from tests.sample.fakes import Bench
from tests.sample.streams import batch, problem
from tests.sample.told_orders import RETRY, order

LASTING = Failure(kind=FailureKind.VALIDATION, detail="too many variables")


def bench_with_checks(every: int = 1, **options: bool) -> Bench:
    """A worker whose jobs are checked by `virtual`."""
    bench = Bench()
    bench.add("virtual", **options)
    bench.instruct(check_provider="virtual", check_every=every)
    return bench


def check_of(bench: Bench, number: int = 0) -> Job:
    """The newest entry of a micro-batch's check."""
    return bench.topics.jobs()[check_name(bench.sent[number].micro_batch_id)]


def test_a_check_is_in_the_ledger_with_its_job_and_records_how_far_the_simulator_is() -> None:
    """One transaction holds both; at the end its event has the figures from each twin."""
    bench = bench_with_checks()
    bench.send(batch(1, (problem(0), problem(1, seed=3))))
    bench.turn()
    first = bench.sent[0].micro_batch_id
    assert [key for key, _ in bench.topics.records[JOBS]] == [first, check_name(first)]
    assert bench.topics.consumed == 1
    bench.turns(5)
    check = check_of(bench)
    assert (check.state, check.check_of, check.provider) == (JobState.SUCCEEDED, first, "virtual")
    last = [event for event in bench.topics.events() if event.job_id == check.job_id][-1]
    assert (last.check_of, last.chosen, last.provider) == (first, "virtual", "virtual")
    for figures in last.differences.values():
        for figure in ("energy_gap", "membership_gap", "histogram_distance", "mean_energy"):
            assert f"simulator_{figure}" in figures
        assert {"membership_gap", "mean_energy_gap", "random_mean_energy"} < set(figures)
    assert set(last.sample_hashes) == {"quantum", "classical", "random", "simulator"}
    of_job = [event for event in bench.topics.events() if event.job_id == first][-1]
    assert "simulator" not in of_job.sample_hashes
    assert of_job.check_of == ""
    assert last.seeds == of_job.seeds  # the simulator draws what its job drew, or would have


def published(bench: Bench) -> list[tuple[str, str, bytes | None]]:
    """Everything that anybody uses, but for when it was made."""
    features = [
        (key, msgspec.json.encode(msgspec.structs.replace(update, computed_at_ms=0)))
        for key, update in bench.topics.features()
    ]
    cases = bench.topics.records.get(CASES, [])
    return sorted([(FEATURES, *each) for each in features] + [(CASES, *each) for each in cases])


@settings(max_examples=25, deadline=None)
@given(st.integers(min_value=0, max_value=2**32), st.integers(min_value=1, max_value=3))
def test_whatever_crashes_checks_publish_nothing_and_are_one_for_each_micro_batch(
    seed: int, every: int
) -> None:
    """What is published is what is published without them; each is begun once, and ends once."""
    draw = random.Random(seed)
    batches = [batch(number, (problem(0, seed=number),)) for number in range(4)]
    bare, checked = Bench(), bench_with_checks(every)
    bare.send(*batches)
    bare.turns(10)
    checked.send(*batches)
    while checked.topics.consumed < len(batches):
        checked.poll()
        checked.worker.tick()
        checked.write(aborts=draw.random() < 0.5)
        if draw.random() < 0.3:
            checked.restart()
    for _ in range(draw.randint(0, 2)):
        checked.turns(draw.randint(0, 3))
        checked.restart()
    checked.turns(40, ms=50)
    assert published(checked) == published(bare)
    begun = Counter(e.job_id for e in checked.topics.events() if e.event == "CheckBegun")
    wanted = [one.micro_batch_id for one in batches if is_checked(one.micro_batch_id, every)]
    assert begun == Counter(check_name(one) for one in wanted)
    assert all(job.state in TERMINAL for job in checked.topics.jobs().values())
    ended = Counter(job.job_id for job in checked.topics.job_records() if job.state in TERMINAL)
    assert set(ended.values()) == {1}


def test_a_failed_check_is_a_failed_check() -> None:
    """No fallback, no quarantine, and its job knows nothing of it."""
    bench = bench_with_checks()
    bench.providers["virtual"].answers[:] = [LASTING]
    bench.send(batch(1, (problem(0),)))
    bench.turns(6)
    check = check_of(bench)
    assert (check.state, check.quarantined, check.provider) == (JobState.FAILED, False, "virtual")
    assert "too many variables" in check.detail
    assert bench.topics.jobs()[bench.sent[0].micro_batch_id].state is JobState.SUCCEEDED
    assert len(bench.providers["exact"].accepted) == 0


def test_a_slow_check_holds_nobody_back_and_ends_at_its_own_deadline() -> None:
    """Younger windows of its shard publish meanwhile; later it is cancelled, and failed."""
    bench = bench_with_checks(holds=True)
    bench.send(*(batch(number, (problem(0),)) for number in range(3)))
    bench.turns(6)
    done = [job for job in bench.topics.jobs().values() if not job.check_of]
    assert {job.state for job in done} == {JobState.SUCCEEDED}
    assert len(bench.topics.features()) == 3 * 8
    bench.turns(4, ms=bench.pipeline.sampling.deadline_ms)
    assert check_of(bench).state not in TERMINAL
    bench.turns(6, ms=CHECK_MS // 4)
    assert check_of(bench).state is JobState.FAILED
    assert "out of time" in check_of(bench).detail
    assert request_name(check_of(bench).job_id, 1, 0) in bench.providers["virtual"].cancelled


def test_one_check_is_sent_at_a_time_and_few_are_open() -> None:
    """Beyond the bound none is begun; the jobs themselves all are."""
    bench = bench_with_checks(holds=True)
    count = CHECKS_OPEN_MAX + 3
    bench.send(*(batch(number, (problem(0),)) for number in range(count)))
    bench.turns(6)
    jobs = bench.topics.jobs().values()
    assert sum(bool(job.check_of) for job in jobs) == CHECKS_OPEN_MAX
    assert sum(job.state is JobState.SUCCEEDED for job in jobs) == count
    assert len(bench.providers["virtual"].accepted) == 1
    bench.providers["virtual"].holds = False
    bench.turns(40)
    assert len(bench.providers["virtual"].accepted) == CHECKS_OPEN_MAX


def test_checks_take_no_places_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a provider of two places a check leaves one, and of the worker's own it takes none."""
    bench = Bench()
    bench.providers["qsim"].holds, bench.providers["qsim"].jobs_max = True, 2
    bench.instruct(check_provider="qsim", check_every=1)
    bench.send(batch(1, (problem(0),)), batch(2, (problem(0),)))
    bench.turns(4)
    assert [job_of(one) for one in bench.providers["qsim"].accepted] == [
        one.micro_batch_id for one in bench.sent
    ]
    monkeypatch.setattr("enrichment.sample.worker.OPEN_MAX", 3)
    assert bench.worker.open_jobs == 4
    assert not bench.worker.full


def test_a_check_found_again_and_again_is_left() -> None:
    """It is no suspect that others wait for: the third worker sets it aside at once."""
    bench = bench_with_checks(holds=True)
    bench.send(batch(1, (problem(0),)))
    bench.turns(4)
    for _ in range(SUSPECT_AT + 1):
        bench.restart()
        bench.turns(3)
    check = check_of(bench)
    assert (check.state, check.quarantined) == (JobState.FAILED, True)


def test_a_check_that_is_ordered_again_asks_its_own_provider_and_publishes_nothing() -> None:
    """Whatever control names meanwhile; with the deadline of a check."""
    bench = bench_with_checks()
    bench.providers["virtual"].answers[:] = [LASTING]
    bench.send(batch(1, (problem(0),)))
    bench.turns(6)
    before = published(bench)
    bench.instruct(provider="exact")
    one = order(RETRY, bench.sent[0], bench.clock() + 1)
    bench.give(msgspec.structs.replace(one, job_id=check_of(bench).job_id))
    bench.turns(6)
    check = check_of(bench)
    assert (check.state, check.provider, check.attempt) == (JobState.SUCCEEDED, "virtual", 2)
    assert check.deadline_ms - bench.clock() > CHECK_MS // 2
    assert published(bench) == before


def test_one_in_so_many_is_checked_and_always_the_same() -> None:
    """About a tenth of many; none where nothing is said."""
    ids = [f"payments|eu|{number}|0" for number in range(5_000)]
    chosen = [one for one in ids if is_checked(one, 10)]
    assert 400 < len(chosen) < 600
    assert [one for one in reversed(ids) if is_checked(one, 10)] == chosen[::-1]
    assert all(is_checked(one, 1) for one in ids)
    assert not any(is_checked(one, 0) for one in ids)


def test_new_jobs_go_where_control_says_and_those_in_flight_stay() -> None:
    """A switch is in force for the next micro-batch; fallbacks are the file's, each once."""
    bench = Bench()
    bench.add("virtual")
    bench.providers["qsim"].holds = True
    bench.send(batch(1, (problem(0),)))
    bench.turns(3)
    bench.instruct(provider="virtual")
    bench.send(batch(2, (problem(0),)))
    bench.turns(3)
    bench.providers["qsim"].holds = False
    bench.turns(3)
    one, two = (bench.topics.jobs()[each.micro_batch_id] for each in bench.sent)
    assert (one.provider, one.chosen) == ("qsim", "qsim")
    assert (two.provider, two.chosen) == ("virtual", "virtual")
    bench.instruct(provider="exact")  # a fallback of the file
    bench.send(batch(3, (problem(0),)))
    bench.turns(4)
    three = bench.topics.jobs()[bench.sent[2].micro_batch_id]
    assert (three.provider, three.state) == ("exact", JobState.SUCCEEDED)
    bench.providers["exact"].answers[:] = [LASTING]
    bench.send(batch(4, (problem(0),)))
    bench.turns(8)
    four = bench.topics.jobs()[bench.sent[3].micro_batch_id]
    assert (four.provider, four.state) == ("annealing", JobState.FALLBACK_COMPLETE)


def test_a_provider_that_cannot_be_asked_is_said_once_and_the_files_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Unknown, or with a price where nothing may be spent; the next instruction is judged anew."""
    bench = Bench()
    bench.add("dear", price_per_shot=0.01)
    bench.instruct(provider="dear", check_provider="nowhere", check_every=1)
    bench.send(*(batch(number, (problem(0),)) for number in range(3)))
    bench.turns(6)
    jobs = bench.topics.jobs()
    assert {job.provider for job in jobs.values()} == {"qsim"}
    assert len(jobs) == 3
    said = capsys.readouterr().out
    assert said.count("cannot be asked here") == 2
    assert "unknown provider 'nowhere'" in said
    assert "may spend nothing" in said
    bench.add("nowhere")
    bench.instruct(provider="nowhere")
    bench.send(batch(4, (problem(0),)))
    bench.turns(4)
    assert bench.topics.jobs()[bench.sent[3].micro_batch_id].provider == "nowhere"


def test_a_job_left_at_a_provider_that_cannot_be_asked_here_falls_back() -> None:
    """Its former owner had the key; this worker has none, and does not end of it."""
    bench = Bench()
    bench.add("virtual", holds=True)
    bench.instruct(provider="virtual")
    bench.send(batch(1, (problem(0),)))
    bench.turns(3)
    bench.providers = {k: one for k, one in bench.providers.items() if k != "virtual"}
    bench.restart()
    bench.turns(6)
    job = bench.topics.jobs()[bench.sent[0].micro_batch_id]
    assert (job.state, job.provider) == (JobState.FALLBACK_COMPLETE, "exact")
    assert job.chosen == "virtual"


def test_jobs_and_their_events_bear_the_experiment_that_they_began_in() -> None:
    """One that starts later changes nothing of what is under way."""
    bench = bench_with_checks()

    def experiment(name: str) -> None:
        told = Experiment(experiment_id=name, started_ms=0, pipeline_version="v", score_version="s")
        bench.control = msgspec.structs.replace(bench.control, experiment=told)

    experiment("e1")
    bench.send(batch(1, (problem(0),)))
    bench.turn()
    experiment("e2")
    bench.send(batch(2, (problem(0),)))
    bench.turns(5)
    of = {job.job_id: job.experiment_id for job in bench.topics.jobs().values()}
    first, second = (one.micro_batch_id for one in bench.sent)
    wanted = {first: "e1", check_name(first): "e1", second: "e2", check_name(second): "e2"}
    assert of == wanted
    assert all(event.experiment_id == wanted[event.job_id] for event in bench.topics.events())


def test_the_normalised_gap_can_be_told_from_the_event_alone() -> None:
    """It is the share of the way from the classical twin's mean energy to random strings'."""
    bench = Bench()
    bench.send(batch(1, (problem(0),)))
    bench.turns(4)
    figures = bench.topics.events()[-1].differences["p0"]
    own, twin, null = (figures[f"{p}_mean_energy"] for p in ("quantum", "classical", "random"))
    assert figures["mean_energy_gap"] == pytest.approx((own - twin) / (null - twin))
    assert differences_of((problem(0),), {}) == {}
