"""Correcting the readout brings means nearer to the truth, and is left where it would not."""

import numpy as np
import pytest

from enrichment.circuit.angles import ising_scaled_angles
from enrichment.circuit.direct import sample
from enrichment.circuit.readout import (
    Confusion,
    confusion,
    corrected_marginals,
    corrected_mean_energy,
)
from enrichment.problem.ising import Bits, Floats, energies, ising
from tests.circuit.models import random_model

SIZE = 6
MODEL = ising(random_model(SIZE, "BINARY", seed=2))


def read(bits: Bits, e: Floats, f: Floats, random: np.random.Generator) -> Bits:
    """Return the bits as a readout with these errors says them."""
    flips = random.random(bits.shape) < np.where(bits == 1, f, e)
    return bits ^ flips.astype(np.uint8)


def calibrated(e: Floats, f: Floats, shots: int, random: np.random.Generator) -> Confusion:
    """Return the confusion measured with so many shots."""
    zeros = np.zeros((shots, len(e)), dtype=np.uint8)
    return confusion(read(zeros, e, f, random), read(zeros + 1, e, f, random))


def drawn(shots: int, random: np.random.Generator) -> Bits:
    """Return the circuit's samples as they are before the readout."""
    return sample(MODEL, *ising_scaled_angles(MODEL, 2), shots, random)


TRUTH = drawn(400_000, np.random.default_rng(99))


def test_means_come_nearer_to_the_truth() -> None:
    """With errors as a device has them, both figures are corrected and their errors fall by half.

    Over 40 runs of 1,000 shots with 2,000 calibration shots each; the stated errors are the true
    ones within a third.
    """
    random = np.random.default_rng(1)
    e, f = random.uniform(0.01, 0.03, SIZE), random.uniform(0.04, 0.1, SIZE)
    marginals, mean = TRUTH.mean(axis=0), energies(MODEL, TRUTH).mean()
    errors = []
    for _ in range(40):
        bits = read(drawn(1000, random), e, f, random)
        measured = calibrated(e, f, 2000, random)
        one = corrected_marginals(bits, measured)
        two = corrected_mean_energy(MODEL, bits, measured)
        assert one.applied
        assert two.applied
        assert two.read == pytest.approx(energies(MODEL, bits).mean())
        errors.append(
            (
                np.square(one.read - marginals).sum(),
                np.square(one.value - marginals).sum(),
                one.error_corrected**2,
                (two.read - mean) ** 2,
                (two.value - mean) ** 2,
                two.error_corrected**2,
            )
        )
    found = np.sqrt(np.mean(errors, axis=0))
    assert found[1] < found[0] / 2
    assert found[4] < found[3] / 2
    assert found[1] == pytest.approx(found[2], rel=1 / 3)
    assert found[4] == pytest.approx(found[5], rel=1 / 3)


def test_correction_is_unbiased() -> None:
    """With very many shots of both kinds the corrected figures are the true ones."""
    random = np.random.default_rng(2)
    e, f = np.full(SIZE, 0.02), np.full(SIZE, 0.15)
    bits = read(TRUTH, e, f, random)
    measured = Confusion(zero_as_one=e, one_as_zero=f, shots=10**9)
    one, two = corrected_marginals(bits, measured), corrected_mean_energy(MODEL, bits, measured)
    assert one.value == pytest.approx(TRUTH.mean(axis=0), abs=0.005)
    assert two.value == pytest.approx(energies(MODEL, TRUTH).mean(), abs=0.02)
    assert abs(two.read - two.value) > 0.1


def test_it_is_left_where_it_would_not_help() -> None:
    """With hardly an error and few shots the figures stay as read in most runs, and say so."""
    random = np.random.default_rng(3)
    e = np.full(SIZE, 0.001)
    left = 0
    for _ in range(50):
        bits = read(drawn(100, random), e, e, random)
        measured = calibrated(e, e, 100, random)
        one, two = corrected_marginals(bits, measured), corrected_mean_energy(MODEL, bits, measured)
        for found in (one, two):
            assert found.applied == (found.error_corrected < found.error_read)
            if not found.applied:
                left += 1
                assert found.value is found.read
    assert left > 50


def test_a_readout_that_says_nothing_is_not_inverted() -> None:
    """Where a qubit reads the same whatever it holds, figures stay as read."""
    bits = TRUTH[:100]
    measured = Confusion(
        zero_as_one=np.full(SIZE, 0.5), one_as_zero=np.full(SIZE, 0.48), shots=1000
    )
    for found in (
        corrected_marginals(bits, measured),
        corrected_mean_energy(MODEL, bits, measured),
    ):
        assert not found.applied
        assert found.error_corrected == np.inf


def test_shapes_are_checked() -> None:
    """Calibration shots of two shapes, and bits of other qubits, are ValueErrors."""
    shots = np.zeros((4, SIZE), dtype=np.uint8)
    with pytest.raises(ValueError, match="one shape"):
        confusion(shots, shots[:2])
    with pytest.raises(ValueError, match="shots, 6"):
        corrected_marginals(shots[:, :2], confusion(shots, shots))
