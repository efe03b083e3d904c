"""Innocent groups that share what rings share: families, kiosks, offices, payees, clubs."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from enrichment.lab.population import Group, Registry, Slot
from enrichment.lab.scenario import (
    CLUB_SIZE,
    FAMILY_SIZE,
    KIOSK_SIZE,
    OFFICE_SIZE,
    PAYEE_SIZE,
    DecoyCounts,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoyKind:
    """What groups of a kind are like; devices and beneficiaries are bounds on their numbers.

    ``strangers`` is the share of members from another region. A family with one tablet and a
    landlord in common is, as a graph, a ring; only what it does tells them apart.
    """

    name: str
    slot: Slot
    size: tuple[int, int]
    devices: tuple[int, int]
    beneficiaries: tuple[int, int]
    share: float
    device_share: float
    beneficiary_share: float
    strangers: float = 0.0


FAMILY: Final = DecoyKind(
    name="family",
    slot=Slot.HOUSEHOLD,
    size=FAMILY_SIZE,
    devices=(1, 2),
    beneficiaries=(0, 2),
    share=0.35,
    device_share=0.85,
    beneficiary_share=0.5,
)
KIOSK: Final = DecoyKind(
    name="kiosk",
    slot=Slot.PLACE,
    size=KIOSK_SIZE,
    devices=(1, 1),
    beneficiaries=(0, 0),
    share=0.2,
    device_share=1.0,
    beneficiary_share=0.0,
)
OFFICE: Final = DecoyKind(
    name="office",
    slot=Slot.PLACE,
    size=OFFICE_SIZE,
    devices=(1, 1),
    beneficiaries=(0, 0),
    share=0.3,
    device_share=1.0,
    beneficiary_share=0.0,
    strangers=0.05,
)
PAYEE: Final = DecoyKind(
    name="payee",
    slot=Slot.PAYEE,
    size=PAYEE_SIZE,
    devices=(0, 0),
    beneficiaries=(1, 1),
    share=0.15,
    device_share=0.0,
    beneficiary_share=1.0,
    strangers=0.05,
)
CLUB: Final = DecoyKind(
    name="club",
    slot=Slot.PAYEE,
    size=CLUB_SIZE,
    devices=(0, 0),
    beneficiaries=(1, 1),
    share=0.25,
    device_share=0.0,
    beneficiary_share=1.0,
)


def plant_decoys(rng: np.random.Generator, counts: DecoyCounts, registry: Registry) -> list[Group]:
    """The decoys of a scenario; accounts of rings have families and clubs like all others."""
    wanted = (
        (OFFICE, counts.offices),
        (KIOSK, counts.kiosks),
        (PAYEE, counts.payees),
        (CLUB, counts.clubs),
        (FAMILY, counts.families),
    )
    return [_decoy(rng, kind, registry) for kind, count in wanted for _ in range(count)]


def _decoy(rng: np.random.Generator, kind: DecoyKind, registry: Registry) -> Group:
    region = registry.region(kind.slot)
    members = registry.members(kind.slot, region, registry.size(kind.size), kind.strangers)
    return Group(
        kind=kind.name,
        slot=kind.slot,
        region=region,
        members=tuple(sorted(members)),
        devices=registry.new_devices(int(rng.integers(kind.devices[0], kind.devices[1] + 1))),
        beneficiaries=registry.new_beneficiaries(
            int(rng.integers(kind.beneficiaries[0], kind.beneficiaries[1] + 1))
        ),
        share=kind.share,
        device_share=kind.device_share,
        beneficiary_share=kind.beneficiary_share,
    )
