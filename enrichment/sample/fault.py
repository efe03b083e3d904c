"""What is wrong with a result, if anything: what is wrong is a failure and never a feature."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from enrichment.problem.ising import Floats
from enrichment.provider.contract import SampleSet
from enrichment.records.micro_batch import Problem
from enrichment.sample.estimate import Answers

ENERGY_TOLERANCE: Final = 1e-6
"""Energies are recomputed sums of at most 190 terms of order one; a proven optimum allows this."""

ROUNDING: Final = 1e-9
"""A mean of ones may come out as 1 + 2e-16: clipped, not refused."""


def fault_of(problems: Sequence[Problem], answers: Answers, shots: int) -> str:
    """What is wrong with the answers, or "": the first fault, with its path and problem.

    `shots` is how many were asked for of each problem, of its twins too.
    """
    for path, sets in answers.items():
        if len(sets) != len(problems):
            return f"{path}: {len(sets)} sample sets for {len(problems)} problems"
        for problem, answer in zip(problems, sets, strict=True):
            if answer.variables != problem.nodes:
                fault = "variables are not the problem's nodes in their order"
            else:
                fault = _samples_fault(answer, shots) or _figures_fault(answer)
            if fault:
                return f"{path}, {problem.problem_id}: {fault}"
    return ""


def _samples_fault(answer: SampleSet, shots: int) -> str:
    """What is wrong with the strings and their energies, or ""."""
    wanted = (shots, len(answer.variables))
    if answer.bits.shape != wanted:
        return f"bits have shape {answer.bits.shape}, wanted {wanted}"
    if answer.bits.dtype != np.uint8 or answer.bits.max() > 1:
        return "bits are not noughts and ones"
    if answer.energies.shape != (shots,) or not np.isfinite(answer.energies).all():
        return "energies are not finite, or not one a shot"
    return ""


def _figures_fault(answer: SampleSet) -> str:
    """What is wrong with what was read off the strings, or proven beside them, or ""."""
    summary, optimum = answer.summary, answer.optimum_energy
    shares: list[Floats] = [summary.membership, summary.low, summary.high]
    if answer.marginals is not None:
        shares.append(answer.marginals)
    wanted = (len(answer.variables),)
    if summary.best.shape != wanted or any(share.shape != wanted for share in shares):
        return "not one membership a node"
    # NaN fails every comparison, so "all within" and not "any beyond".
    within = (bool(((share >= -ROUNDING) & (share <= 1.0 + ROUNDING)).all()) for share in shares)
    if not all(within):
        return "a membership is not within [0, 1]"
    if not np.isfinite((summary.best_energy, summary.mean_energy, summary.entropy_bits)).all():
        return "a figure of the samples is not finite"
    if optimum is not None and not (-np.inf < optimum <= summary.best_energy + ENERGY_TOLERANCE):
        return f"a sample of energy {summary.best_energy} beats the proven optimum {optimum}"
    return ""
