"""The gate: each check alone can refuse, nothing unknown passes, and wider is never better."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.pipelines.rollout import Gate
from enrichment.records.enriched import Path, Stage
from enrichment.rollout.evidence import Figure
from enrichment.rollout.gate import judge
from enrichment.rollout.judgement import CheckVerdict, Judgement, Proofs
from enrichment.rollout.looks import level_of
from tests.rollout.evidences import (
    EXPERIMENT,
    GATE,
    PROVED,
    differing,
    evidence,
    figure,
    question,
    sampling,
)

TO_LIVE: dict[str, Any] = {"before": Stage.CANARY, "target": Stage.LIVE}


def against(judgement: Judgement) -> dict[str, CheckVerdict]:
    """The checks that kept the path out."""
    fine = {CheckVerdict.PASSED, CheckVerdict.NOT_APPLICABLE}
    return {one.name: one.verdict for one in judgement.checks if one.verdict not in fine}


@pytest.mark.parametrize("path", [Path.CLASSICAL, Path.QUANTUM])
@pytest.mark.parametrize("stages", [{}, TO_LIVE])
def test_what_has_shown_everything_is_let_in(path: Path, stages: dict[str, Any]) -> None:
    """To canary and to live; the twin itself is not held against itself."""
    judgement = judge(evidence(), question(path, **stages), GATE, PROVED)
    assert judgement.passed, judgement.conclusion
    names = {one.name: one.verdict for one in judgement.checks}
    twin = CheckVerdict.NOT_APPLICABLE if path is Path.CLASSICAL else CheckVerdict.PASSED
    assert names["not_inferior"] is twin


@pytest.mark.parametrize(
    ("changed", "name", "verdict"),
    [
        ({"look": 0}, "outcomes", CheckVerdict.NOT_ENOUGH),
        ({"look": 2}, "outcomes", CheckVerdict.NOT_ENOUGH),
        ({"look": 4, "bad": 900}, "outcomes", CheckVerdict.NOT_ENOUGH),
        ({"looks": (10, 20, 30)}, "outcomes", CheckVerdict.FAILED),
        ({"level": 0.95}, "outcomes", CheckVerdict.FAILED),
        ({"level": math.nan}, "outcomes", CheckVerdict.FAILED),
        ({"pipeline": "cards"}, "versions", CheckVerdict.FAILED),
        ({"pipeline_version": "p2"}, "versions", CheckVerdict.FAILED),
        ({"score_version": "s2"}, "versions", CheckVerdict.FAILED),
        ({"experiment_id": "e0"}, "versions", CheckVerdict.FAILED),
        ({"sampling": sampling(repeat_deviation=0.11)}, "repeat_deviation", CheckVerdict.FAILED),
        ({"sampling": sampling(latency_p99_ms=10_001)}, "latency_p99_ms", CheckVerdict.FAILED),
        ({"sampling": sampling(failed_share=0.06)}, "failed_share", CheckVerdict.FAILED),
        ({"sampling": sampling(failed_share=None)}, "failed_share", CheckVerdict.NOT_ENOUGH),
        ({"sampling": sampling(failed_share=math.nan)}, "failed_share", CheckVerdict.NOT_ENOUGH),
        ({"paths": {}}, "cost_per_caught", CheckVerdict.NOT_ENOUGH),
    ],
)
def test_each_fact_of_the_evidence_can_refuse_alone(
    changed: dict[str, Any], name: str, verdict: CheckVerdict
) -> None:
    """And is the only one named then."""
    found = judge(evidence(**changed), question(), GATE, PROVED)
    assert against(found) == {name: verdict}
    assert not found.passed


@pytest.mark.parametrize(
    ("changed", "name", "verdict"),
    [
        ({"rescored": 0, "rescored_equal": 0}, "rescored", CheckVerdict.NOT_ENOUGH),
        ({"rescored_equal": 99}, "rescored", CheckVerdict.FAILED),
        ({"energies_right": 49}, "energies", CheckVerdict.FAILED),
        ({"energies": 0, "energies_right": 0}, "energies", CheckVerdict.NOT_ENOUGH),
        ({"reproduced_equal": 4}, "reproduced", CheckVerdict.FAILED),
        ({"reproduced": 4, "reproduced_equal": 4}, "reproduced", CheckVerdict.NOT_ENOUGH),
        ({"canary_bad": None}, "canary", CheckVerdict.NOT_ENOUGH),
        ({"canary_bad": 19}, "canary", CheckVerdict.NOT_ENOUGH),
    ],
)
def test_each_proof_can_refuse_alone(
    changed: dict[str, Any], name: str, verdict: CheckVerdict
) -> None:
    """What was not done again proves nothing."""
    proofs = msgspec.structs.replace(PROVED, **changed)
    assert against(judge(evidence(), question(**TO_LIVE), GATE, proofs)) == {name: verdict}


def test_the_files_of_now_are_those_of_the_experiment() -> None:
    """Another file or table, or no experiment at all, and the evidence is of something else."""
    for changed in ({"pipeline_version": "p2"}, {"score_version": "s2"}, {"experiment": None}):
        found = against(judge(evidence(), question(**changed), GATE, PROVED))
        assert found == {"versions": CheckVerdict.FAILED}
    later = msgspec.structs.replace(EXPERIMENT, pipeline_version="p0")
    assert against(judge(evidence(), question(experiment=later), GATE, PROVED))


def test_nothing_goes_live_but_a_canary() -> None:
    """Whatever its evidence."""
    found = judge(evidence(), question(target=Stage.LIVE), GATE, PROVED)
    assert against(found) == {"canary": CheckVerdict.FAILED}


def test_without_a_look_nothing_is_known() -> None:
    """No evidence at all is a refusal of its own, on record like any other."""
    found = judge(None, question(), GATE, PROVED)
    assert against(found) == {"outcomes": CheckVerdict.NOT_ENOUGH}
    assert not found.passed


def test_margin_and_nought_are_not_passed_by_touching_them() -> None:
    """A low end at the threshold is inferior by the margin, or no better than nothing."""
    at_margin = differing(evidence(), quantum_classical=figure(0.0, -GATE.margin, 0.1))
    assert against(judge(at_margin, question(), GATE, PROVED)) == {
        "not_inferior": CheckVerdict.FAILED
    }
    at_nought = differing(evidence(), quantum_heuristic=figure(0.1, 0.0, 0.2))
    assert against(judge(at_nought, question(), GATE, PROVED)) == {"superior": CheckVerdict.FAILED}


def test_looks_share_out_what_may_go_wrong() -> None:
    """Three looks at 95 % in all: each interval at 98.33 %."""
    assert level_of(GATE) == pytest.approx(1 - 0.05 / 3)
    assert level_of(Gate(looks=(100,))) == 0.95


def test_a_judgement_is_kept_as_json() -> None:
    """And read back the same; what is no number is null."""
    unknown = differing(evidence(), quantum_classical=figure(math.nan))
    found = judge(unknown, question(), GATE, PROVED)
    kept = msgspec.json.decode(msgspec.json.encode(found), type=Judgement)
    assert (kept.checks, kept.conclusion, kept.proofs) == (found.checks, found.conclusion, PROVED)
    assert kept.evidence is not None
    assert kept.evidence.differences["quantum-classical"] == figure(None)
    check = next(one for one in found.checks if one.name == "not_inferior")
    assert (check.figure, check.verdict) == (None, CheckVerdict.NOT_ENOUGH)


numbers = st.floats(allow_nan=True, allow_infinity=True)
maybe = st.none() | numbers
figures = st.builds(Figure, value=maybe, low=maybe, high=maybe)


@given(
    ends=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("quantum_heuristic", "quantum_classical"), figures)
    ),
    jobs=st.dictionaries(
        st.sampled_from(("repeat_deviation", "latency_p99_ms", "failed_share")), maybe
    ),
    look=st.integers(0, 4),
    bad=st.integers(0, 900),
)
def test_what_is_let_in_is_known_in_every_figure(
    ends: dict[str, Figure], jobs: dict[str, float | None], look: int, bad: int
) -> None:
    """Nulls, NaN and infinities of any kind never pass a check."""
    asked = differing(evidence(look=look, bad=bad, sampling=sampling(**jobs)), **ends)
    found = judge(asked, question(), GATE, PROVED)
    for check in found.checks:
        if check.verdict is CheckVerdict.PASSED and check.name != "versions":
            assert check.figure is not None
            assert math.isfinite(check.figure)
    if found.passed:
        assert asked.differences["quantum-classical"].low > -GATE.margin  # type: ignore[operator]
        assert asked.differences["quantum-heuristic"].low > 0  # type: ignore[operator]


@given(
    value=st.floats(-0.2, 0.2),
    below=st.floats(0, 0.2),
    wider=st.floats(0, 0.5),
    path=st.sampled_from((Path.CLASSICAL, Path.QUANTUM)),
)
def test_a_wider_interval_never_lets_in(
    value: float, below: float, wider: float, path: Path
) -> None:
    """Whoever is refused on an interval is refused on a wider one about the same figure."""

    def asked(by: float) -> bool:
        told = figure(value, value - below - by, value + below + by)
        names = ("quantum_heuristic", "classical_heuristic", "quantum_classical")
        given_ = differing(evidence(), **dict.fromkeys(names, told))
        return judge(given_, question(path), GATE, PROVED).passed

    assert asked(0.0) or not asked(wider)


def test_proofs_default_to_nothing_proved() -> None:
    """Whoever forgets to look does not get a path in."""
    assert len(against(judge(evidence(), question(**TO_LIVE), GATE, Proofs()))) == 4
