"""What a membership has been worth: the map from it to `ring_probability`, as its file holds it.

`ring_probability` is the share of events that turned out bad among those whose entity had so much
*surplus*: its membership times what its subgraph's best string falls below zero energy. Of events
of that entity kind, with a fresh feature of that path, as recorded; it is no statement about a
circuit, and none about who is in a ring, which nobody ever tells. `enrichment fit --calibrate`
writes such a file; docs/decisions/ring-probability.md says why it is so.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Final, Literal

from msgspec import Meta

from enrichment.pipelines.table import Field, Name, Provenance, Table

RING_PROBABILITY: Final = "ring_probability"
# What the surplus is made of: estimates of the group `ring`, under the names they bear there.
MEMBERSHIP, ENERGY = "membership", "optimum_energy"

Share = Annotated[float, Meta(ge=0, le=1)]


class Sampled(Table, frozen=True):
    """`[sampled]`: whose memberships the map is of. Of any others it says nothing."""

    path: Literal["classical", "quantum"]
    # The provider that drew the path's samples, with so many layers (0: no circuit) and shots.
    sampler: Name
    layers: Annotated[int, Meta(ge=0)]
    shots: Annotated[int, Meta(gt=0)]
    # The problems: another model's energies are on another scale.
    problem: Name
    variables_max: Annotated[int, Meta(gt=0)]
    weight_min: Share

    def differences(self, other: "Sampled") -> Iterator[str]:
        """What is not the same in both, in words."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                yield f"{name} is {theirs}, and was {mine}"


class Steps(Table, frozen=True):
    """`[[steps]]`: the map of one entity kind, rising: from each surplus on, so much."""

    kind: Name
    # The share of bad events among all that the map was fitted on: what nothing known is worth.
    share: Share
    surplus: Annotated[tuple[float, ...], Meta(min_length=1)]
    probability: Annotated[tuple[Share, ...], Meta(min_length=1)]

    def at(self, surplus: float) -> float:
        """The probability of that surplus; below the first step it is the first's."""
        return self.probability[max(0, bisect_right(self.surplus, surplus) - 1)]

    @property
    def fault(self) -> str:
        """What is wrong with it, or ""."""
        if len(self.surplus) != len(self.probability):
            return "surplus and probability must have the same length"
        # NaN is in no order: "all rise", and not "any falls".
        if not all(low < high for low, high in pairwise((float("-inf"), *self.surplus))):
            return "surplus must rise"
        if not all(low <= high for low, high in pairwise(self.probability)):
            return "probability must not fall"
        return ""


class RingProbability(Table, frozen=True):
    """A calibration's file, `payments.probability.toml`."""

    version: Field
    sampled: Sampled
    steps: Annotated[tuple[Steps, ...], Meta(min_length=1)]
    provenance: Provenance

    def of(self, path: str, sampler: str, kind: str) -> Steps | None:
        """The map of that kind, where it is of that path as that sampler draws it; else None."""
        if (path, sampler) != (self.sampled.path, self.sampled.sampler):
            return None
        return next((steps for steps in self.steps if steps.kind == kind), None)


def surplus_of(estimate: Mapping[str, float]) -> float | None:
    """The surplus that an estimate of the group `ring` tells of; None where it does not.

    At least 0: no string is better than none, and a sampler that found only worse has found
    nothing.
    """
    membership, energy = estimate.get(MEMBERSHIP), estimate.get(ENERGY)
    if membership is None or energy is None:
        return None
    return max(0.0, -energy * membership)
