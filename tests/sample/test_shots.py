"""How many shots an attempt asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.pipelines.definition import Sampling
from enrichment.sample.shots import SHOTS_MIN, Means, shots_for

USUAL = Sampling(shots=1_000)


@pytest.mark.parametrize(
    ("sampling", "means", "shots"),
    [
        (USUAL, Means(left_ms=10_000), 1_000),
        # A shot of 10 ms: half of ten seconds has room for 500.
        (USUAL, Means(left_ms=10_000, shot_ms=10.0), 500),
        (USUAL, Means(left_ms=10_000, shot_ms=1_000.0), SHOTS_MIN),
        (USUAL, Means(left_ms=-5, shot_ms=1.0), SHOTS_MIN),
        # At a hundredth of the currency a shot, three are left.
        (USUAL, Means(left_ms=10_000, shot_micro=10_000, left_micro=3_000_000), 300),
        (USUAL, Means(left_ms=10_000, shot_micro=10_000, left_micro=0), SHOTS_MIN),
        # Twice as wide as wanted: four times the shots, if the pipeline allows as many.
        (USUAL, Means(left_ms=10_000, width=0.2, width_shots=1_000), 1_000),
        (
            Sampling(shots=1_000, shots_max=5_000, interval_max=0.1),
            Means(left_ms=10_000, width=0.2, width_shots=1_000),
            4_000,
        ),
        (
            Sampling(shots=1_000, shots_max=3_000, interval_max=0.1),
            Means(left_ms=10_000, width=0.2, width_shots=1_000),
            3_000,
        ),
        # Narrow enough already: no fewer than usual for that.
        (
            Sampling(shots=1_000, shots_max=3_000, interval_max=0.4),
            Means(left_ms=10_000, width=0.2, width_shots=1_000),
            1_000,
        ),
        (Sampling(shots=60), Means(left_ms=0, shot_ms=1.0), 60),
        (Sampling(shots=1_000, shots_min=50), Means(left_ms=0, shot_ms=1.0), 50),
    ],
)
def test_shots_follow_time_money_and_width(sampling: Sampling, means: Means, shots: int) -> None:
    """Each bound alone, and the pipeline's least and most."""
    assert shots_for(sampling, means) == shots


amounts = st.floats(0, 1e9)


@given(
    left_ms=st.floats(-1e6, 1e9),
    shot_ms=st.none() | amounts,
    shot_micro=amounts,
    left_micro=st.none() | st.integers(0, 10**12),
    width=st.none() | st.floats(0, 1),
    most=st.integers(400, 100_000),
)
def test_shots_stay_within_bounds(
    left_ms: float,
    shot_ms: float | None,
    shot_micro: float,
    left_micro: int | None,
    width: float | None,
    most: int,
) -> None:
    """Whatever was measured: never below the least, never above the most or the contract's."""
    sampling = Sampling(shots=400, shots_min=100, shots_max=most, interval_max=0.05)
    means = Means(
        left_ms=left_ms,
        shot_ms=shot_ms,
        shot_micro=shot_micro,
        left_micro=left_micro,
        width=width,
        width_shots=500,
    )
    assert 100 <= shots_for(sampling, means) <= min(most, 10_000)
