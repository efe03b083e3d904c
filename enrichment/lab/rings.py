"""Collusive rings: accounts that pay a few mules from a few shared devices."""

from typing import Final

import numpy as np

from enrichment.lab.population import Group, Population, Registry, Slot
from enrichment.lab.scenario import SimulationSettings

RING: Final = "ring"

# Of a ring's payments most go from its device to its mule: those are the frauds. The rest touch
# only one of the two, as when a member pays his rent from the ring's telephone.
DEVICE_SHARE: Final = 0.9
BENEFICIARY_SHARE: Final = 0.85
STRANGERS: Final = 0.1  # share of members who live in another region
BORROWED_DEVICE_SHARE: Final = 0.5  # rings of which one device is a member's own
BORROWED_MULE_SHARE: Final = 0.5  # mules who are persons that innocent accounts pay as well
ACTIVE_FROM: Final = (0.02, 0.5)  # of the stream's length: there is a before and an after
MULE_TRIES: Final = 20


def plant_rings(
    rng: np.random.Generator,
    settings: SimulationSettings,
    population: Population,
    registry: Registry,
) -> list[Group]:
    """The rings of a scenario, each with its members, devices, mules and beginning."""
    rings = []
    mules_taken: set[int] = set()
    for _ in range(settings.rings):
        region = registry.region(Slot.RING)
        members = registry.members(Slot.RING, region, registry.size(settings.ring_size), STRANGERS)
        devices = list(registry.new_devices(int(rng.integers(1, 4))))
        if rng.random() < BORROWED_DEVICE_SHARE:
            devices[0] = int(population.own_devices[members[0], 0])
        mules = []
        for _ in range(int(rng.integers(1, 4))):
            mule = _known_person(rng, population, members, mules_taken)
            mules.append(registry.new_beneficiaries(1)[0] if mule is None else mule)
        mules_taken.update(mules)
        rings.append(
            Group(
                kind=RING,
                slot=Slot.RING,
                region=region,
                members=tuple(sorted(members)),
                devices=tuple(devices),
                beneficiaries=tuple(mules),
                share=settings.ring_strength,
                device_share=DEVICE_SHARE,
                beneficiary_share=BENEFICIARY_SHARE,
                active_from=float(rng.uniform(*ACTIVE_FROM)),
            )
        )
    return rings


def _known_person(
    rng: np.random.Generator, population: Population, members: list[int], taken: set[int]
) -> int | None:
    """A person whom others pay already, to be a mule; None if it is to be a new one.

    Nobody whom a member pays anyway: that payment would be innocent and look like the ring's.
    """
    if rng.random() >= BORROWED_MULE_SHARE:
        return None
    out_of_question = taken.union(population.favourites[members].ravel().tolist())
    for _ in range(MULE_TRIES):
        person = population.merchants + int(rng.integers(population.persons))
        if person not in out_of_question:
            return person
    return None
