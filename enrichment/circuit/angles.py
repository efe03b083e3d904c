"""The angles of the ansatz: fixed ones, scaled to a model by a norm of its local fields.

Nothing is optimised per problem: refining the angles on a simulator gained nothing measurable.
"""

from collections.abc import Mapping
from math import sqrt
from typing import Final

import dimod

from enrichment.problem.ising import Ising, ising, local_norm

Angles = tuple[tuple[float, ...], tuple[float, ...]]
"""The gammas and the betas in radians, one of each per layer, the first applied first."""

FIXED: Final[Mapping[int, Angles]] = {
    1: ((0.616,), (0.393,)),
    2: ((0.488, 0.898), (0.555, 0.293)),
    3: ((0.422, 0.798, 0.937), (0.609, 0.459, 0.235)),
}
LAYERS_MAX: Final = max(FIXED)
"""Three layers: beyond, a device's noise costs more than the layer gains, and no angles are kept"""


def fixed_angles(layers: int) -> Angles:
    """Return the angles that are optimal on any 3-regular graph without short cycles.

    Wurtz and Lykov, "The fixed angle conjecture for QAOA on regular MaxCut graphs", 2021
    (arXiv:2107.00677), and Wurtz and Love (arXiv:2010.11209): at these angles the expected share
    of cut edges is .6925 (p = 1), .7559 (p = 2) and .7924 (p = 3) on a 3-regular graph whose
    shortest cycle has at least 2p + 2 edges. On any 3-regular graph the expected cut is at least
    that share (p = 3: conjectured) of the *maximum* cut, not of the edges: Petersen's graph, of
    girth 5, is cut by .7326 at p = 2. The digits are the published ones, in the convention of
    `enrichment.circuit.ansatz` with E = -cut; on the infinite tree (the iteration of Basso et al.,
    arXiv:2110.14206) they are within 1e-3 of the maximum's. Raises ValueError for other than 1, 2
    or 3 layers.
    """
    if layers not in FIXED:
        msg = f"angles are known for 1 to {LAYERS_MAX} layers: {layers}"
        raise ValueError(msg)
    return FIXED[layers]


def scaled_angles(model: dimod.BinaryQuadraticModel, layers: int) -> Angles:
    """Return `fixed_angles` with the gammas scaled to the model's local norm; betas unchanged.

    gamma = (gamma_3 / 2) sqrt(3) / sqrt(mean_i [h_i^2 + sum_j J_ij^2]) over the Ising form, so that
    for E = -cut of a 3-regular graph (J = 1/2, three a spin) gamma = gamma_3. Measured at p = 2,
    n = 12 on models with fields: (mean - E) / (mean - min) of .71, against .49 for the arctan rule.
    A model without any coefficient has no phase to scale and gets the fixed angles.
    """
    return ising_scaled_angles(ising(model), layers)


def ising_scaled_angles(model: Ising, layers: int) -> Angles:
    """Return `scaled_angles` of a model that is already in Ising form."""
    gammas, betas = fixed_angles(layers)
    norm = local_norm(model)
    if norm == 0.0:
        return gammas, betas
    factor = sqrt(3.0) / (2.0 * norm)
    return tuple(gamma * factor for gamma in gammas), betas
