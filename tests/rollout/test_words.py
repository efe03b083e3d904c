"""What people are told of control records, and the times that they give."""

import pytest

from enrichment.records import Control
from enrichment.rollout.words import in_words, time_in_words, time_of
from tests.rollout.controls import control

AT_MS = 1_795_575_600_000
AT = "2026-11-25T03:00:00.000Z"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (control("x", job_id="j1"), "rings of job j1"),
        (
            control("x", calibration_id="c1", until_ms=AT_MS),
            f"rings of calibration c1 computed by {AT}",
        ),
        (control("x", until_ms=AT_MS), f"features computed by {AT}"),
        (control("x", everything=True), "all features"),
        (control("x", serve="classical"), "nothing above classical serves"),
        (
            control("x", serve="classical", everything=True),
            "nothing above classical serves, all features",
        ),
    ],
)
def test_a_record_is_said_in_words(given: Control, said: str) -> None:
    """What it covers, and up to when."""
    assert in_words(given) == said


def test_times_come_in_three_forms() -> None:
    """Now, RFC 3339 in any zone, and milliseconds; a time of no zone is nobody's."""
    assert time_of("now", 5) == 5
    assert time_of(AT, 5) == AT_MS
    assert time_of("2026-11-25T04:00:00+01:00", 5) == AT_MS
    assert time_of(str(AT_MS), 5) == AT_MS
    assert time_in_words(AT_MS) == AT
    assert time_in_words(2**53) == f"{2**53} ms"
    for bad, said in (("soon", "is not now"), ("2026-11-25T03:00:00", "in which zone")):
        with pytest.raises(ValueError, match=said):
            time_of(bad, 5)
