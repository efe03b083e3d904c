"""Fits of score tables: folds that know nothing of what they are judged on, and honest odds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from enrichment.lab.calibration import Brier, PlotError, calibration_bins, check_plot, wilson
from enrichment.lab.fit import JUDGED_POSITIVES_MIN, Fit, Fitting, fit, table_of
from enrichment.lab.fit_run import Sources, made, read
from enrichment.lab.folds import fit_weights, folds_of, parts_of
from enrichment.lab.groups import groups_of
from enrichment.lab.recorded import Recorder, Recording, RecordingError, Selection, outcomes_of
from enrichment.lab.score_file import next_version, written
from enrichment.pipelines import load
from enrichment.pipelines.loader import parse_table
from enrichment.rollout.bootstrap import Bootstrap
from enrichment.rollout.metrics import value_of
from tests.lab.recordings import (
    BIAS,
    DEVICE_IN_RING,
    NEAR_KNOWN_BAD,
    PAYMENTS,
    START_MS,
    drawn,
    enriched,
    outcomes,
    write,
)

PIPELINES = Path(__file__).resolve().parents[2] / "enrichment" / "pipelines"
QUICK = Fitting(draws=Bootstrap(seed=0, resamples=20))
TERMS = [term.name for term in PAYMENTS.score.terms]


def recording(
    seed: int, count: int, *, start_ms: int = START_MS, simulated: bool = True
) -> Recording:
    """A drawn stream as a fit sees it."""
    events = drawn(seed, count, start_ms=start_ms, simulated=simulated)
    recorder = Recorder(PAYMENTS, outcomes_of(outcomes(events)), serve="quantum")
    recorder.take(each.value for each in events)
    return recorder.recording(Selection())


@pytest.fixture(scope="module")
def fitted() -> Fit:
    """A table of one seed, judged on another."""
    return fit(PAYMENTS, recording(1, 6_000), QUICK, recording(2, 4_000))


@given(
    groups=st.lists(st.integers(0, 8), min_size=12, max_size=60),
    bad=st.integers(0, 2**12),
    step_ms=st.integers(0, 2),
)
def test_no_fold_knows_what_it_is_judged_on(groups: list[int], bad: int, step_ms: int) -> None:
    """Neither a group nor a time of the judged part is in the fitted part of any fold."""
    group = np.array(groups)
    at_ms = np.arange(len(groups)) * step_ms
    label = np.array([bool(bad >> (n % 12) & 1) for n in range(len(groups))])
    for fold in folds_of(at_ms, group, label, blocks=4, parts=3):
        assert not set(group[fold.train]) & set(group[fold.test])
        if fold.train.any() and fold.test.any():
            assert at_ms[fold.train].max() < at_ms[fold.test].min()


def test_folds_judge_every_later_event_once() -> None:
    """All but the first block, each event by one fold; and parts share the bad events."""
    group = np.repeat(np.arange(100), 10)
    label = np.repeat(np.arange(100) % 5 == 0, 10)
    folds = list(folds_of(np.arange(1_000), group, label, blocks=4, parts=3))
    times = np.sum([fold.test for fold in folds], axis=0)
    assert times.tolist() == [0] * 250 + [1] * 750
    part = parts_of(group, label, 3)
    assert sorted(np.bincount(part, label).tolist()) == [60, 70, 70]
    assert sorted(np.bincount(part).tolist()) == [330, 330, 340]


def test_the_drawn_odds_are_found_again(fitted: Fit) -> None:
    """Weights of the two features that tell, the bias, and nothing for what never varied."""
    weights = {each.name: each for each in (fitted.bias, *fitted.coefficients)}
    assert weights["device_near_known_bad"].weight == pytest.approx(NEAR_KNOWN_BAD, abs=0.3)
    assert weights["device_in_ring"].weight == pytest.approx(DEVICE_IN_RING, abs=0.3)
    assert weights["bias"].weight == pytest.approx(BIAS, abs=0.4)
    assert weights["amount"].weight == pytest.approx(0.0, abs=0.15)
    silent = weights["density"]
    assert (silent.weight, silent.told) == (0.0, False)
    spread = weights["device_near_known_bad"]
    assert spread.least < spread.weight < spread.most
    assert spread.deviation > 0


def test_rare_events_keep_their_odds(fitted: Fit) -> None:
    """As many bad events are expected as come, by folds and elsewhere: no class is weighted up."""
    assert fitted.by_folds is not None
    assert fitted.elsewhere is not None
    for judged in (fitted.by_folds, fitted.elsewhere):
        assert judged.expected == pytest.approx(judged.positives, rel=0.15)
        assert judged.brier.value < judged.brier_of_share
        assert judged.average_precision.low < judged.average_precision.value
        within = sum(each.low <= each.predicted <= each.high for each in judged.bins)
        assert within >= len(judged.bins) - 2
    # Ring terms do tell in this stream: at their priors less is known.
    assert fitted.elsewhere.without_ring is not None
    assert fitted.elsewhere.without_ring.value < fitted.elsewhere.average_precision.value


def test_a_fit_is_the_same_every_time() -> None:
    """Equal recordings and seeds give equal tables and figures."""
    one, other = (fit(PAYMENTS, recording(1, 1_000), QUICK, recording(2, 1_000)) for _ in range(2))
    assert one.coefficients == other.coefficients
    assert (one.by_folds, one.elsewhere) == (other.by_folds, other.elsewhere)


def test_too_few_bad_events_are_refused() -> None:
    """With how many there are, how many are wanted, and why."""
    with pytest.raises(RecordingError, match=r"of 100 to fit on, wanted 30: 10 for each"):
        fit(PAYMENTS, recording(1, 100), QUICK)


def test_too_few_to_judge_by_are_refused() -> None:
    """An average precision of a handful says nothing."""
    few = recording(2, 40)
    assert few.positives < JUDGED_POSITIVES_MIN
    with pytest.raises(RecordingError, match="bad events to judge by, wanted 20"):
        fit(PAYMENTS, recording(1, 2_000), QUICK, few)


def test_what_was_fitted_on_is_no_judge() -> None:
    """Neither the same seed in other events, nor the same events, nor earlier ones."""
    ours = recording(1, 500)
    with pytest.raises(RecordingError, match="a simulated run that the table is fitted on"):
        fit(PAYMENTS, ours, QUICK, recording(1, 400, start_ms=START_MS + 10**7))
    real = recording(3, 500, simulated=False)
    with pytest.raises(RecordingError, match="holds events that the table is fitted on"):
        fit(PAYMENTS, real, QUICK, real)
    with pytest.raises(RecordingError, match="begins before the end of the fitted one"):
        fit(PAYMENTS, real, QUICK, recording(4, 500, simulated=False))


def test_the_table_in_force_is_not_judged_on_its_own_seed() -> None:
    """The shipped table was fitted on seed 101: there it is not compared."""
    fitted = fit(PAYMENTS, recording(1, 2_000), QUICK, recording(101, 2_000))
    assert fitted.elsewhere is not None
    assert fitted.in_force is None


def test_an_outcome_that_was_corrected_counts_as_corrected() -> None:
    """The latest word stands, in whatever order the words come."""
    first, last = (
        b'{"outcome_id":"%d","event_id":"e","entity":"account","id":"a","shard":"s","kind":"%s",'
        b'"decided_at_ms":%d}' % (at, kind, at)
        for at, kind in ((1, b"confirmed_fraud"), (2, b"analyst_cleared"))
    )
    assert outcomes_of([first, last]) == outcomes_of([last, first]) == {"e": False}
    assert outcomes_of([first]) == {"e": True}


def test_a_recording_of_another_pipeline_is_refused() -> None:
    """Its fields and features mean something else, and would all stand at their priors."""
    recorder = Recorder(load("cards"), {}, serve="classical")
    with pytest.raises(RecordingError, match="record 1 is of pipeline 'payments', wanted 'cards'"):
        recorder.take(each.value for each in drawn(1, 1))


def test_what_nobody_spoke_of_may_be_left_out() -> None:
    """By default it is good; left out, only events with an outcome remain."""
    events = drawn(1, 300)
    recorder = Recorder(PAYMENTS, outcomes_of(outcomes(events)), serve="quantum")
    recorder.take(each.value for each in [*events, *events])  # a repeated event counts once
    assert len(recorder.recording(Selection())) == 300
    told = recorder.recording(Selection(unreported_are_good=False))
    assert len(told) == len(list(outcomes(events)))
    assert told.told.all()
    assert told.positives == sum(each.bad for each in events)


@pytest.mark.parametrize(
    ("links", "together"),
    [
        ({"device": 9}, True),  # 1 / sqrt(8) = .354
        ({"device": 10}, False),  # 1 / sqrt(9) = .333, less than weight_min
        ({"device": 31}, False),  # more than degree_max: a hub
        ({"beneficiary": 2}, False),  # a shop in common: .3
        ({"device": 10, "beneficiary": 10}, True),  # .333 + .1
    ],
)
def test_groups_are_those_that_the_window_stage_ties(links: dict[str, int], together: bool) -> None:
    """An attribute of degree d ties by weight / sqrt(d - 1); below weight_min nobody is tied."""
    values = [
        enriched(
            {
                "event_id": f"e{n}",
                "account_id": f"a{n}",
                "device_id": "d" if n < links.get("device", 0) else f"d{n}",
                "beneficiary_id": "b" if n < links.get("beneficiary", 0) else f"b{n}",
                "occurred_at": START_MS + n,
                "amount": 1.0,
            },
            [],
        )
        for n in range(40)
    ]
    recorder = Recorder(PAYMENTS, {}, serve="quantum")
    recorder.take(values)
    groups = groups_of(PAYMENTS, recorder.recording(Selection()))
    tied = max(links.values())
    assert (len(set(groups[:tied].tolist())) == 1) == together
    assert len(set(groups.tolist())) == (40 - tied + 1 if together else 40)


def test_a_regularised_fit_needs_no_variance() -> None:
    """Where no column varies, the probability is the share of bad events."""
    bad = np.arange(1_000) % 50 == 0
    weights = fit_weights(np.ones((1_000, 3)), bad, np.arange(1_000))
    assert weights.weights.tolist() == [0.0, 0.0, 0.0]
    assert weights.probabilities(np.ones((1, 3)))[0] == pytest.approx(0.02)


@given(
    chances=st.lists(st.floats(0.001, 0.999), min_size=1, max_size=200),
    seed=st.integers(0, 2**32 - 1),
)
def test_bins_hold_every_event_once(chances: list[float], seed: int) -> None:
    """In rising order of what is predicted, each with an interval around what was observed."""
    chance = np.array(chances)
    bad = np.random.default_rng(seed).random(len(chance)) < chance
    bins = calibration_bins(bad, chance)
    assert sum(each.events for each in bins) == len(chances)
    assert sum(each.bad for each in bins) == bad.sum()
    assert [each.predicted for each in bins] == sorted(each.predicted for each in bins)
    assert all(each.low <= each.observed <= each.high for each in bins)
    assert value_of(Brier(bad, chance), len(bad)) == pytest.approx(brier_score_loss(bad, chance))


def test_wilsons_interval_is_wilsons() -> None:
    """As in Brown, Cai and DasGupta (2001) and most tables: 1 of 10, and none of 20."""
    assert wilson(1, 10) == pytest.approx((0.0179, 0.4042), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


@pytest.mark.parametrize("name", ["cards", "payments", "trust"])
def test_a_table_reads_back_as_it_was_written(name: str) -> None:
    """The shipped ones, written anew by the fit's own hand."""
    score = load(name).score
    table = parse_table((PIPELINES / score.table).read_bytes(), score.table)
    assert parse_table(written(table, name).encode(), name) == table


def test_a_fitted_table_keeps_what_was_not_fitted(fitted: Fit) -> None:
    """Priors, transforms, levels and decisions are the old table's; weights are the fit's."""
    table = table_of(PAYMENTS, fitted, "payments-2")
    old = PAYMENTS.score
    assert (table.levels, table.decisions) == (old.levels, old.decisions)
    assert [t.prior for t in table.terms] == [t.prior for t in old.terms]
    assert [t.weight for t in table.terms] == [each.weight for each in fitted.coefficients]
    assert [t.name for t in table.terms] == TERMS


def test_tables_are_counted_on() -> None:
    """The next table is called by the next number."""
    assert next_version("payments-1") == "payments-2"
    assert next_version("payments-9") == "payments-10"
    assert next_version("mine") == "mine-2"


def test_a_simulated_recording_must_say_its_seed(tmp_path: Path) -> None:
    """And a seed must be in it; what is fitted and judged are different seeds."""
    records, told = write(tmp_path, "one", drawn(1, 300))

    def sources(**more: tuple[int, ...]) -> Sources:
        return Sources(files=(records,), outcomes=(told,), **more)  # type: ignore[arg-type]

    for given_, said in (
        (sources(), "say of which seed with --seed"),
        (sources(seeds=(7,)), "--seed 7: the recording holds no event of that seed"),
        (sources(seeds=(1,), judge_seeds=(1,)), "--judge-seed 1: the table is fitted on that seed"),
        (sources(seeds=(1,), judge_seeds=(2,)), "--judge-seed 2: the recording holds no event"),
    ):
        with pytest.raises(RecordingError, match=said):
            read(None, PAYMENTS, given_, lambda *_: None)


def test_provenance_says_what_was_done(tmp_path: Path) -> None:
    """Seeds, events, bad events, figures on what was held out; and that it was simulated."""
    records, told = write(tmp_path, "both", [*drawn(1, 2_000), *drawn(2, 2_000)])
    sources = Sources(files=(records,), outcomes=(told,), seeds=(1,), judge_seeds=(2,))
    recorded = read(None, PAYMENTS, sources, lambda *_: None)
    fitted, table = made(PAYMENTS, recorded, sources, QUICK)
    provenance = table.provenance
    assert provenance is not None
    assert (provenance.seeds, provenance.judged_seeds) == ((1,), (2,))
    assert provenance.simulated
    assert (provenance.events, provenance.positives) == (2_000, fitted.positives)
    assert "unreported events it was assumed that they are good" in provenance.note
    assert fitted.elsewhere is not None
    value = fitted.elsewhere.average_precision.value
    assert provenance.metrics["average_precision"] == pytest.approx(value, abs=1e-6)
    assert parse_table(written(table, "payments").encode(), "x") == table


@pytest.mark.parametrize(("name", "said"), [("x.pdf", "wanted a file ending in .png or .svg"),
                                            ("none/x.png", "there is no folder")])  # fmt: skip
def test_a_plot_that_cannot_be_is_refused_before_the_work(
    name: str, said: str, tmp_path: Path
) -> None:
    """A wrong ending, or a folder that is not there."""
    with pytest.raises(PlotError, match=said):
        check_plot(tmp_path / name)
